# SPDX-License-Identifier: MIT
"""What is read out of frames and of an MQTT stream, on cases worked by hand."""

import struct

import pytest

import frames
import peer


def with_crc(*data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return bytes(data) + struct.pack("<H", crc)


def read(unit, first, ended, *values, asked=None):
    return frames.Read(unit, first, ended - 0.01 if asked is None else asked, ended, list(values))


REQUEST = with_crc(10, 3, 0, 0, 0, 2)
REPLY = with_crc(10, 3, 4, 0, 215, 1, 194)


def test_crc_of_the_serial_line_guide():
    assert frames.crc_is_right(bytes.fromhex("02 07 41 12"))  # Modbus over serial line 1.02, appendix B
    assert not frames.crc_is_right(bytes.fromhex("02 07 41 13"))


def test_only_whole_answers_count():
    broken = REPLY[:-1] + bytes([REPLY[-1] ^ 0x55])
    seen = [(1.0, ">>", REQUEST), (1.1, "<<", REPLY), (2.0, ">>", REQUEST), (2.1, "<<", broken),
            (3.0, ">>", REQUEST), (4.0, ">>", REQUEST), (4.1, "<<", with_crc(10, 0x83, 2))]
    assert list(frames.reads_of(seen)) == [frames.Read(10, 0, 1.0, 1.1, [215, 450])]


def test_rate_counts_what_is_wanted():
    # the first answer only starts the clock: 2 · 2 wanted registers in 2 s, the third of each is a gap
    reads = [read(1, 0, at, 7, 8, 9) for at in (1.0, 2.0, 3.0)]
    assert frames.useful_rate(reads, {1: {0, 2}}) == pytest.approx(2.0)


def test_staleness_of_the_worst_register():
    reads = [read(1, 0, 0.5, 1), read(1, 1, 1.0, 1), read(1, 0, 2.0, 1), read(1, 1, 5.0, 1),
             read(1, 0, 5.5, 1)]
    # from 2.0 to 5.5 register 0, from 1.0 to 5.0 register 1; then 1.5 s until the end
    assert frames.worst_staleness_s(reads, {1: [0, 1]}, 0.0, 7.0) == pytest.approx(4.0)
    # one that never came is as old as the window; what nobody wants is nothing
    assert frames.worst_staleness_s(reads, {1: [0], 2: [0]}, 0.0, 7.0) == pytest.approx(7.0)


def test_percentile_is_the_nearest_rank():
    assert frames.percentile(range(1, 101), 0.5) == 50
    assert frames.percentile(range(1, 101), 0.99) == 99
    assert frames.percentile([3], 0.99) == 3


def test_jitter_against_an_even_beat():
    # every second, but the third 30 ms late and the fourth missing
    requests = [(at, REQUEST) for at in (10.0, 11.0, 12.03, 14.0, 15.0)]
    assert sorted(frames.jitter_s(requests, {10: 1.0})) == pytest.approx([0, 0, 0, 0, 0.03])


def test_a_block_that_drifts_is_late():
    requests = [(10 + 1.01 * n, REQUEST) for n in range(5)]
    assert max(frames.jitter_s(requests, {10: 1.0})) == pytest.approx(0.02)


def test_write_latency_and_polls_before_it():
    one, several = with_crc(10, 6, 0, 0, 0, 77), with_crc(10, 16, 0, 0, 0, 1, 2, 0, 78)
    requests = [(1.0, REQUEST), (1.1, one), (2.0, REQUEST), (2.1, REQUEST), (2.2, several)]
    found = frames.write_latencies(requests, [(1.05, 10, 77), (1.95, 10, 78), (2.0, 10, 79)])
    assert [n for _, n in found] == [0, 2]
    assert [s for s, _ in found] == pytest.approx([0.05, 0.25])


def test_a_message_tells_of_the_last_answer_with_its_value():
    reads = [read(1, 5, 1.0, 100, 200), read(1, 5, 2.0, 101, 200)]
    messages = [(1.001, 1, 5, 100), (2.002, 1, 6, 200), (2.1, 1, 5, 999)]
    found, unexplained = frames.wire_latencies(reads, messages)
    assert found == pytest.approx([0.001, 0.002])
    assert unexplained == 1


def test_stream_in_pieces():
    stream = peer.publish_packet("a/b", "17") + peer.publish_packet("c", "x" * 200)
    pieces = [(number, stream[number:number + 1]) for number in range(len(stream))]
    expected = [(8, "a/b", "17", False), (len(stream) - 1, "c", "x" * 200, False)]
    assert list(peer.messages_of(pieces)) == expected
    assert [m[1] for m in peer.messages_of([(0, stream)])] == ["a/b", "c"]
