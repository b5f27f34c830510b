# SPDX-License-Identifier: MIT
"""The formula of README.md on cases worked by hand."""

import pytest

import limit


def test_characters_and_silence():
    assert limit.char_s(9600, "8E1") == pytest.approx(11 / 9600)
    assert limit.char_s(9600, "8N1") == pytest.approx(10 / 9600)
    assert limit.char_s(9600, "8N2") == pytest.approx(11 / 9600)
    assert limit.t35_s(9600) == pytest.approx(0.0040104, abs=1e-7)
    assert limit.t35_s(19200) == pytest.approx(0.0020052, abs=1e-7)
    assert limit.t35_s(115200) == 0.00175


def test_one_read():
    # 100 registers: 8 + 205 characters of 1.1458 ms, 4.01 ms before, 4.01 ms between: 252.08 ms
    assert limit.read_s(100, 9600, "8E1", 0.0040104) == pytest.approx(0.252083, abs=1e-5)


def test_100_contiguous_registers_at_9600_8e1():
    assert limit.limit_registers_per_s([range(100)], 9600, "8E1", limit.t35_s(9600)) == pytest.approx(396.69, abs=0.05)


def test_1000_contiguous_registers_at_115200_8n1():
    # eight reads of 125: 263 characters of 86.8 us and 3.5 ms are 26.33 ms
    assert limit.limit_registers_per_s([range(1000)], 115200, "8N1", 0.00175) == pytest.approx(1000 / (8 * 0.0263299),
                                                                                            rel=1e-4)


def test_a_gap_is_read_when_that_is_cheaper():
    # 19200 8N1: 7, gap 5, 7, gap 5, 6. One read of 30: 73 · 0.52083 + 4.0104 = 42.03 ms.
    # Three of 7, 7, 6: 27 + 27 + 25 characters and 3 · 4.0104 ms = 53.18 ms.
    addresses = [*range(7), *range(12, 19), *range(24, 30)]
    assert limit.best_round_s(addresses, 19200, "8N1", limit.t35_s(19200)) == pytest.approx(0.042031, abs=1e-5)


def test_a_gap_is_not_read_when_that_costs_more():
    # A gap of 20 at 9600 8E1 costs 40 characters, 45.8 ms; another request 13 characters and 8.02 ms, 22.9 ms.
    addresses = [0, 1, 22, 23]
    two = 2 * limit.read_s(2, 9600, "8E1", 0.004)
    assert limit.best_round_s(addresses, 9600, "8E1", 0.004) == pytest.approx(two)


def test_no_read_is_longer_than_125():
    assert limit.best_round_s([0, 125], 1000000, "8N1", 10.0) > 20
    assert limit.best_round_s([0, 124], 1000000, "8N1", 10.0) < 20


def test_two_dead_devices_leave_what_eight_can_have():
    # Each of the eight: one read of 30 for 20 useful ones in 42.03 ms, with ten as with eight 475.84 a second
    eight = [[*range(7), *range(12, 19), *range(24, 30)]] * 8
    assert limit.limit_registers_per_s(eight, 19200, "8N1", limit.t35_s(19200)) == pytest.approx(475.84, abs=0.02)


def test_half_load():
    # ten reads of 42.03 ms are half of 840.6 ms
    ten = [[*range(7), *range(12, 19), *range(24, 30)]] * 10
    assert limit.interval_for_load_s(ten, 19200, "8N1", limit.t35_s(19200), 0.5) == pytest.approx(0.840625, abs=1e-5)


def test_the_longest_read_for_quick_writes():
    # p50 12 ms, p99 22 ms, 2 ms on the way: half a read may take 10 ms, a whole one 20 ms: 20 ms
    assert limit.block_cap_s(0.012, 0.022, 0.002) == pytest.approx(0.020)
    # p50 12 ms, p99 40 ms: the middle decides; p50 30 ms, p99 40 ms: the worst
    assert limit.block_cap_s(0.012, 0.040, 0.002) == pytest.approx(0.020)
    assert limit.block_cap_s(0.030, 0.040, 0.002) == pytest.approx(0.038)


def test_the_setting_counts_as_a_read_does():
    # characters, t3.5 once, and a turnaround that holds the silence before the reply
    assert limit.block_cap_setting_ms(limit.block_cap_s(0.012, 0.022, 0.002)) == 20


def test_short_reads():
    # 19200 8N1: 13 + 2 · 8 characters and twice 2.005 ms are 19.11 ms, of 9 registers 20.16 ms
    t35 = limit.t35_s(19200)
    assert limit.most_registers(19200, "8N1", t35, 0.020) == 8
    assert limit.most_registers(19200, "8N1", t35, 0.001) == 1
    assert limit.most_registers(19200, "8N1", t35) == 125
    # so that 7, gap, 7, gap, 6 take three: 18.07 + 18.07 + 17.03 = 53.18 ms
    addresses = [*range(7), *range(12, 19), *range(24, 30)]
    assert limit.best_round_s(addresses, 19200, "8N1", t35, 0.020) == pytest.approx(0.053177, abs=1e-5)
