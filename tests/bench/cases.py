# SPDX-License-Identifier: MIT
"""The cases of tools/bench bus: one row or more of the table each."""

import limit
from figures import (Figure, cap_remark, cores_remark, cpu_per_1000, cpu_remark, jitter_ms, jitter_remark,
                     percent_of_limit, rate_remark, rounds, violations, wire_ms, wire_remark, write_ms,
                     write_remark, wrong_remark)

SCATTERED = [*range(7), *range(12, 19), *range(24, 30)]
TEN = {unit: SCATTERED for unit in range(1, 11)}
FLAT_OUT_MS = 10

# What a write may take with short reads, and what it needs besides waiting for one of them.
QUICK_P50_S, QUICK_P99_S, ON_ITS_WAY_S = 0.012, 0.022, 0.002
CAP_S = limit.block_cap_s(QUICK_P50_S, QUICK_P99_S, ON_ITS_WAY_S)
CAP_MS = limit.block_cap_setting_ms(CAP_S)


class Case:
    """Lines that are all alike, and how they are read."""

    buses = 1
    changing = False    # values are drawn anew for each reading
    faults = ()         # arguments of mbsim
    dead = ()           # units
    more = ""           # settings of the bus
    point_more = ""     # and of each point
    intervals_ms = {}   # unit -> interval; none: flat out
    settle_s = 3
    seconds_min = 0     # less says nothing, but with --quick
    writes = False      # measure them
    cap_ms = 0          # write_expected_block_ms
    share = False       # measure the bench's own share of a latency as well

    def __init__(self, name, devices, baud, fmt, figures, **others):
        self.name, self.devices, self.baud, self.fmt, self.figures = name, devices, baud, fmt, figures
        for key, value in others.items():
            assert hasattr(Case, key), key
            setattr(self, key, value)

    def bus_settings(self):
        return self.more + (f" write_expected_block_ms = {self.cap_ms};" if self.cap_ms else "")

    def topics(self):
        """For the subscriber: no values where it waits for results."""
        return ["mbgate/+/+/result"] if self.writes else ["mbgate/+/+", "bench/+"]

    def interval_ms(self, unit):
        return self.intervals_ms.get(unit, FLAT_OUT_MS)

    def is_flat_out(self):
        return not self.intervals_ms

    def alive(self):
        return [unit for unit in self.devices if unit not in self.dead]

    def turnaround_s(self):
        return limit.t35_s(self.baud)

    def limit(self):
        return limit.limit_registers_per_s([self.devices[unit] for unit in self.alive()], self.baud, self.fmt,
                                           self.turnaround_s())

    def round_s(self, capped=False):
        return sum(limit.best_round_s(self.devices[unit], self.baud, self.fmt, self.turnaround_s(),
                                      CAP_S if capped else None) for unit in self.alive())

    def read_s(self):
        """One poll of the first device: its whole round, or with short reads the longest of them."""
        addresses = list(next(iter(self.devices.values())))
        n = addresses[-1] - addresses[0] + 1
        if self.cap_ms:
            n = longest_run(addresses, limit.most_registers(self.baud, self.fmt, self.turnaround_s(), CAP_S))
        return limit.read_s(min(n, limit.MAX_REGISTERS), self.baud, self.fmt, self.turnaround_s())


def longest_run(addresses, most):
    """The most registers that lie together, up to `most`."""
    runs, n = [], 0
    for before, address in zip([None, *addresses], addresses):
        n = n + 1 if before is not None and address == before + 1 and n < most else 1
        runs.append(n)
    return max(runs)


def rate(aim):
    return Figure("useful registers, % of the limit", percent_of_limit, aim, more=True, form="{:.1f}",
                  remark=rate_remark)


def milliseconds(name, value, p50, p99, remark, remark_p50=None):
    return [Figure(f"{name}, p50, ms", value(0.5), p50, remark=remark_p50),
            Figure(f"{name}, p99, ms", value(0.99), p99, remark=remark)]


def cpu_and_memory(cpu_s, memory_mb):
    return [Figure("CPU s for 1000 registers read and published", cpu_per_1000, cpu_s, form="{:.4f}",
                   remark=cpu_remark),
            Figure("peak memory, MB", lambda r: r.run.memory_mb, memory_mb, form="{:.1f}")]


def whole_daemon():
    return [Figure("mbgated, processor cores", lambda r: r.cores("mbgated"), 0.5, remark=cores_remark),
            Figure("peak memory, MB", lambda r: r.run.memory_mb, 24, form="{:.1f}")]


OLDEST = Figure("oldest device, rounds", rounds, 1.1)
POLL_MS = 1e3 * limit.read_s(30, 19200, "8N1", limit.t35_s(19200))
HALF_LOAD_MS = round(1e3 * limit.interval_for_load_s(TEN.values(), 19200, "8N1", limit.t35_s(19200), 0.5))
TIMEOUT = "response_timeout_ms = 500;"
QOS_0 = "qos = 0;"  # the default is 1
LEARNED_S = 8  # more than 8 replies of each device: from then on it plans with the turnaround that it measured


def ten_published(name, point_more=""):
    figures = [rate(98), *cpu_and_memory(0.017, 7),
               *milliseconds("wire → subscriber", wire_ms, 0.4, 1.0, wire_remark)]
    return Case(name, TEN, 19200, "8N1", figures, changing=True, point_more=point_more, share=True)


def thousand_published(name, point_more=""):
    return Case(name, {1: range(1000)}, 115200, "8N1", [rate(97), *cpu_and_memory(0.006, 8)], changing=True,
                point_more=point_more)


CASES = [
    Case("100 contiguous, 9600 8E1", {1: range(100)}, 9600, "8E1", [rate(98)]),
    Case("1000 contiguous, 115200 8N1", {1: range(1000)}, 115200, "8N1", [rate(97)]),
    Case("10 devices × 20 scattered, 19200 8N1", TEN, 19200, "8N1", [rate(98), OLDEST]),
    Case("the same, strict devices", TEN, 19200, "8N1",
         [rate(98), OLDEST, Figure("t3.5 violations", violations, 0, form="{:.0f}")], faults=["--strict"]),
    Case("the same, 2 of 10 dead, 500 ms", TEN, 19200, "8N1", [rate(95)], dead=(4, 8), more=TIMEOUT,
         settle_s=12, seconds_min=40),
    Case("the same, 2 % lost, 2.7 % broken", TEN, 19200, "8N1",
         [rate(88), Figure("wrong values", lambda r: len(r.wrong), 0, form="{:.0f}", remark=wrong_remark)],
         faults=["--fault", "lost-reply@p=0.02", "--fault", "wrong-crc@p=0.027"], more=TIMEOUT,
         point_more='publish = "always";', seconds_min=60),
    ten_published("10 devices, values change"),
    ten_published("10 devices, values change, QoS 0", QOS_0),
    thousand_published("1000 contiguous, values change"),
    thousand_published("1000 contiguous, values change, QoS 0", QOS_0),
    Case("jitter, half load", TEN, 19200, "8N1",
         milliseconds("beside the beat", jitter_ms, None, POLL_MS, jitter_remark),
         intervals_ms={unit: HALF_LOAD_MS for unit in TEN}, seconds_min=60),
    Case("jitter, half load, intervals 500, 600 … 1400 ms", TEN, 19200, "8N1",
         milliseconds("beside the beat", jitter_ms, None, None, jitter_remark),
         intervals_ms={unit: 400 + 100 * unit for unit in TEN}, seconds_min=60),
    Case("32 buses, 10 devices each, 19200 8N1", TEN, 19200, "8N1", [rate(96), *whole_daemon()], buses=32),
    Case("32 buses, values change", TEN, 19200, "8N1", [rate(96), *whole_daemon()], buses=32, changing=True),
    Case("writes, line full", TEN, 19200, "8N1",
         milliseconds("publish → first byte", write_ms, None, POLL_MS + 2, write_remark), writes=True),
    Case("writes, line full, short reads", TEN, 19200, "8N1",
         milliseconds("publish → first byte", write_ms, 1e3 * QUICK_P50_S, 1e3 * QUICK_P99_S, write_remark,
                      cap_remark),
         writes=True, cap_ms=CAP_MS, settle_s=LEARNED_S),
]
