# SPDX-License-Identifier: MIT
"""What a Run of a bus case is worth: figures with their aims, and the rows of the table."""

import functools
import math

import frames
import limit
import report

LATE_MS = 0.1  # a simulator whose replies are later than this on average is the measurement


class Figure:
    """`value` of a Run, shown as `form`; `aim` may be missing; `more`: whether more is better."""

    def __init__(self, name, value, aim=None, more=False, form="{:.2f}", remark=None):
        self.name, self.value, self.aim, self.more, self.form = name, value, aim, more, form
        self.remark = remark or (lambda run: "")

    def aim_text(self):
        return "" if self.aim is None else f"{'≥' if self.more else '≤'} {self.form.format(self.aim)}"

    def met(self, value):
        if self.aim is None:
            return ""
        return "yes" if (value >= self.aim if self.more else value <= self.aim) else "no"

    def score(self, value):
        """How many times as good as the aim; None when that says nothing."""
        if not self.aim or not value or math.isnan(value):
            return None
        return value / self.aim if self.more else self.aim / value


class Reading:
    """A Run with what is computed from it once."""

    def __init__(self, run):
        self.run, self.case = run, run.case
        self.wanted = {unit: set(self.case.devices[unit]) for unit in self.case.alive()}

    @functools.cached_property
    def reads(self):
        """bus -> all good answers, also those before the window."""
        return {bus: list(frames.reads_of(self.run.frames.get(bus, []))) for bus in range(self.case.buses)}

    def reads_in_window(self, bus):
        return [read for read in self.reads[bus] if self.run.in_window(read.ended)]

    def requests_in_window(self, bus):
        return [(at, data) for at, direction, data in self.run.frames[bus]
                if direction == ">>" and self.run.in_window(at)]

    def messages_in_window(self):
        return [message for message in self.run.messages if self.run.in_window(message[0])]

    @functools.cached_property
    def rates(self):
        return [frames.useful_rate(self.reads_in_window(bus), self.wanted) for bus in range(self.case.buses)]

    @functools.cached_property
    def staleness_s(self):
        return max(frames.worst_staleness_s(self.reads[bus], self.wanted, self.run.begun, self.run.ended)
                   for bus in range(self.case.buses))

    @functools.cached_property
    def jitter_s(self):
        period_s = {unit: self.case.interval_ms(unit) / 1e3 for unit in self.case.devices}
        return [late for bus in range(self.case.buses)
                for late in frames.jitter_s(self.requests_in_window(bus), period_s)]

    @functools.cached_property
    def writes(self):
        return frames.write_latencies(self.requests_in_window(0), self.run.done)

    @functools.cached_property
    def wire(self):
        messages = [(at, unit, address, int(payload))
                    for at, _, unit, address, payload in self.messages_in_window()]
        return frames.wire_latencies(self.reads[0], messages)

    @functools.cached_property
    def wrong(self):
        """Messages of all the run, from the start on, with a value that is not the point's own."""
        return [m for m in self.run.messages if m[4] != str(m[2] * 1000 + m[3])]

    def useful_registers(self):
        return sum(frames.useful(read, self.wanted)
                   for bus in self.reads for read in self.reads_in_window(bus))

    def cores(self, program):
        return self.run.cpu[program] / self.run.seconds


def percent_of_limit(r):
    """Of the slowest bus."""
    return 100 * min(r.rates) / r.case.limit()


def rate_remark(r):
    parts = [f"{min(r.rates):.1f} of {r.case.limit():.1f} registers/s"]
    if r.case.buses > 1:
        parts[0] += f" on the slowest bus, the quickest has {100 * max(r.rates) / r.case.limit():.1f} %"
    late_ms = max(bus.get("lateness_mean_us", 0) for bus in r.run.stats) / 1e3
    if late_ms > LATE_MS:
        parts.append(f"replies of the simulator late by {late_ms:.2f} ms in the mean")
    return "; ".join(parts)


def rounds(r):
    return r.staleness_s / r.case.round_s()


def violations(r):
    return sum(bus["t35_violations"] for bus in r.run.stats)


def jitter_ms(share):
    return lambda r: 1e3 * frames.percentile(r.jitter_s, share)


def jitter_remark(r):
    busy_us, line_us = (sum(bus[key] for bus in r.run.stats) for key in ("busy_us", "line_us"))
    return (f"{len(r.jitter_s)} requests, at most {1e3 * max(r.jitter_s):.2f} ms; one transaction takes "
            f"{1e3 * r.case.read_s():.1f} ms; characters {100 * busy_us / line_us:.0f} % of the time")


def write_ms(share):
    return lambda r: 1e3 * frames.percentile([seconds for seconds, _ in r.writes], share)


def write_remark(r):
    unseen = len(r.run.done) - len(r.writes)
    return (f"{len(r.writes)} writes; one poll takes {1e3 * r.case.read_s():.1f} ms; polls begun between: at most "
            f"{max((n for _, n in r.writes), default=0)}{f'; {unseen} NOT ON THE LINE' if unseen else ''}")


def cap_remark(r):
    setting, cost_s = r.case.cap_ms, r.case.round_s(capped=True)
    return (f"write_expected_block_ms = {setting}; meanwhile a round takes {1e3 * cost_s:.0f} ms instead of "
            f"{1e3 * r.case.round_s():.0f}")


def wire_ms(share):
    return lambda r: 1e3 * frames.percentile(r.wire[0], share)


def wire_remark(r):
    own = [f"{1e3 * frames.percentile(r.run.share, share):.2f}" for share in (0.5, 0.99)]
    unexplained = f"; {r.wire[1]} WITH A VALUE THAT NO REPLY HAD" if r.wire[1] else ""
    return (f"{len(r.wire[0])} messages{unexplained}; of it mosquitto and the subscriber, measured with a "
            f"publisher of the bench: p50 {own[0]}, p99 {own[1]} ms")


def cpu_per_1000(r):
    return 1000 * r.run.cpu["mbgated"] / max(1, len(r.messages_in_window()))


def cpu_remark(r):
    return f"{r.useful_registers()} registers read, {len(r.messages_in_window())} published"


def cores_remark(r):
    others = ", ".join(f"{name} {r.cores(name):.2f}" for name in r.run.cpu if name != "mbgated")
    published = len(r.messages_in_window()) / r.run.seconds
    return f"others: {others}; {published:.0f} values/s published"


def wrong_remark(r):
    return f"{len(r.run.messages)} values seen by the subscriber" + "".join(f"; {m[1:]}" for m in r.wrong[:3])


def line_columns(r):
    """Beside every figure: what the line looked like meanwhile."""
    gaps = [bus["gap_min_us"] for bus in r.run.stats if "gap_min_us" in bus]
    return {"worst staleness, ms": f"{1e3 * r.staleness_s:.0f}",
            "in rounds": f"{rounds(r):.2f}" if r.case.is_flat_out() else "",
            "smallest gap, ms": f"{min(gaps, default=0) / 1e3:.2f}",
            "t3.5, ms": f"{r.run.stats[0]['t35_us'] / 1e3:.2f}", "t3.5 violations": str(violations(r))}


def rows_of(run):
    """(rows of the table, bars of the plot)."""
    r = Reading(run)
    rows, bars = [], []
    for figure in run.case.figures:
        value = figure.value(r)
        row = {"case": run.case.name, "figure": figure.name, "aim": figure.aim_text(),
               "measured": figure.form.format(value), "met?": figure.met(value), **line_columns(r),
               "remark": figure.remark(r)}
        rows.append(row)
        if figure.score(value):
            bars.append(report.Bar(f"{row['case']}: {figure.name}", figure.score(value),
                                   f"{row['measured']} (aim {row['aim']})", row["met?"]))
    return rows, bars
