# SPDX-License-Identifier: MIT
"""The embedded broker beside mosquitto, in turns, in one run: see README.md. Started by tools/bench."""

import argparse
import json
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import report

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MBGATE_BUILD", SOURCE / "build" / "release"))
LOAD = BUILD / "tests" / "bench" / "mqtt_load"
START_S = 10
LATENCY_S = 5  # at least: p99.9 of fewer messages says nothing

MOSQUITTO_CONF = """listener {port} 127.0.0.1
allow_anonymous true
"""
# mosquitto keeps nothing on the disk by default, so nothing is kept here either; --store shows what it costs.
MBGATED_CONF = """gateway = {{ name = "bench"; }};
buses = ();
broker = {{
        listeners = ( {{ address = "127.0.0.1"; port = {port}; }} );
        anonymous = true;
        store_directory = "{store}";
}};
"""


class Figure:
    """What a run's JSON is worth: `more` is whether more is better, `aim` how many times mosquitto's."""

    def __init__(self, unit, value, aim, more=True, absolute=None, form="{:,.0f}"):
        self.unit, self.value, self.aim, self.more, self.absolute, self.form = unit, value, aim, more, absolute, form

    def aim_text(self):
        if self.absolute is not None:
            return f"≤ {self.absolute:g}"
        return f"{'≥' if self.more else '≤'} {self.aim:g} ×"

    def met(self, ours, ratio):
        if self.absolute is not None:
            return ours <= self.absolute
        return ratio >= self.aim if self.more else ratio <= self.aim


def per_second(key):
    return lambda run: run[key] / run["seconds"]


def per_free_second(run):
    """As if nobody else used the machine: without the time in which the broker could run but had no processor."""
    return run["deliveries"] / max(1e-3, run["seconds"] - run["broker_wait_s"])


def cpu_us(run):
    return 1e6 * run["broker_cpu_s"] / max(1, run["deliveries"] or run["visits"])


DELIVERIES = Figure("deliveries/s", per_second("deliveries"), 2)
FREE = Figure("deliveries/s, processor waits taken off", per_free_second, 2)
CPU = Figure("CPU µs a delivery", cpu_us, 0.5, more=False, form="{:.2f}")
MEMORY = Figure("bytes a client", lambda run: run["rss_bytes_each"], 1, more=False)

FLOWS = {
    "1 to 1, QoS 0": ["--qos", "0"],
    "1 to 1, QoS 1": ["--qos", "1"],
    "1 to 1, QoS 2": ["--qos", "2"],
    "1 to 100, QoS 0": ["--subscribers", "100", "--window", "32"],
    "1 to 100, QoS 1": ["--subscribers", "100", "--window", "32", "--qos", "1"],
    "100 to 1, QoS 0": ["--publishers", "100", "--window", "8"],
}


class Case:
    """`free`: the kernel places both sides, as it does at home; a wake-up of another processor costs more than the broker."""

    realtime = False  # --realtime

    def __init__(self, name, mode, arguments, figures, free=False):
        self.name, self.mode, self.arguments, self.figures, self.free = name, mode, arguments, figures, free


CASES = [Case(name, "flow", ["--quick-ack", *arguments], [DELIVERIES, FREE, CPU]) for name, arguments in FLOWS.items()] + [
    Case("1000 messages a second", "flow", ["--rate", "1000"],
         [Figure(f"{key}, ms", lambda run, key=key: run[f"{key}_us"] / 1e3, 1, more=False, form="{:.3f}",
                 absolute=0.3 if key == "p99.9" else None) for key in ("p50", "p99", "p99.9", "max")]
         + [Figure("CPU µs a delivery", cpu_us, 1, more=False, form="{:.1f}")], free=True),
    Case("1000 idle clients", "idle", [], [MEMORY]),
    Case("1000 idle subscribers", "idle", ["--subscribe"], [MEMORY]),
    Case("connects", "connects", [], [Figure("connects/s", per_second("visits"), 1),
                                      Figure("CPU µs a connect", cpu_us, 1, more=False, form="{:.1f}")]),
]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Machine:
    """Which processor each side has, and whether we may ask for a better place in the queue."""

    def __init__(self):
        processors = sorted(os.sched_getaffinity(0))
        self.broker, self.load = processors[:1], processors[1:2] or processors[:1]
        self.spin = len(processors) > 1
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
            self.realtime = True
        except PermissionError:
            self.realtime = False

    def enter(self, processors, case):
        """Runs in the child before the program."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        if not case.free:
            os.sched_setaffinity(0, processors)
        if case.realtime and self.realtime:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(5))


class Broker:
    """One broker process, started for one measurement and ended after it."""

    def __init__(self, kind, machine, case, store):
        self.kind, self.machine, self.case, self.store = kind, machine, case, store

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mbgate-"))
        self.folder.chmod(0o755)  # mosquitto, started by root, reads as another user
        self.port = free_port()
        file = self.folder / "broker.conf"
        if self.kind == "mosquitto":
            file.write_text(MOSQUITTO_CONF.format(port=self.port))
            command = [shutil.which("mosquitto", path=os.environ["PATH"] + ":/usr/sbin"), "-c", file]
        else:
            store = self.folder / "store"
            store.mkdir()
            file.write_text(MBGATED_CONF.format(port=self.port, store=store if self.store else ""))
            command = [BUILD / "src" / "app" / "mbgated", "--config", file]
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=lambda: self.machine.enter(self.machine.broker, self.case))
        try:
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def wait(self):
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise SystemExit(f"bench: {self.kind} does not start:\n{(self.folder / 'log').read_text()}")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def measure(kind, machine, case, options):
    with Broker(kind, machine, case, options.store) as broker:
        seconds = max(options.seconds, LATENCY_S) if "--rate" in case.arguments else options.seconds
        command = [LOAD, case.mode, "--port", str(broker.port), "--pid", str(broker.process.pid),
                   "--seconds", str(seconds), "--warmup", "0.3", "--version", str(options.version),
                   *case.arguments]
        # What never sleeps must not be put before all others.
        if machine.spin and not case.free and not (case.realtime and machine.realtime):
            command.append("--spin")
        result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False,
                                preexec_fn=lambda: machine.enter(machine.load, case))
        if result.returncode != 0:
            raise SystemExit(f"bench: {case.name} on {kind}: {result.stderr.strip()}\n"
                             f"{(broker.folder / 'log').read_text()[-2000:]}")
        return json.loads(result.stdout)


def alternate(case, machine, kinds, options):
    """{0: runs, 1: runs} of both kinds, in turns: whatever else the machine does meets both."""
    runs = {0: [], 1: []}
    for number in range(options.rounds):
        for side in ((0, 1), (1, 0))[number % 2]:
            print(f"bench: {case.name}: {kinds[side]} {number + 1}/{options.rounds} …", file=sys.stderr, flush=True)
            runs[side].append(measure(kinds[side], machine, case, options))
    return runs


def remarks(case, runs):
    """Why a figure may not be the broker's."""
    found = []
    for side in (0, 1):
        lost = sum(run.get("lost", 0) for run in runs[side])
        if lost:
            found.append(f"{'AB'[side]} lost {lost:,}")
        if "idle" in runs[side][0] and not case.realtime and not case.free and statistics.median(run["idle"] for run in runs[side]) < 0.03:
            found.append(f"{'AB'[side]}: the load is the limit")
    return "; ".join(found)


def median_ratio(figure, runs):
    """The median of the rounds' ratios: neighbours in time have met the same machine."""
    ratios = [figure.value(b) / figure.value(a) for a, b in zip(*runs.values()) if figure.value(a) > 0]
    return statistics.median(ratios) if ratios else float("nan")


def rows_of(case, runs, kinds):
    for figure in case.figures:
        a, b = (statistics.median(figure.value(run) for run in runs[side]) for side in (0, 1))
        ratio = median_ratio(figure, runs)
        yield {"case": case.name, "figure": figure.unit, f"A: {kinds[0]}": figure.form.format(a),
               f"B: {kinds[1]}": figure.form.format(b), "B ÷ A": f"{ratio:.2f}", "aim": figure.aim_text(),
               "met?": "yes" if figure.met(b, ratio) else "no", "remark": remarks(case, runs)}


def bars_of(rows, kinds):
    return [report.Bar(f"{row['case']}: {row['figure']}", float(row["B ÷ A"]),
                       f"{row['B: ' + kinds[1]]} ({row['B ÷ A']} ×)", row["met?"]) for row in rows]


def describe(machine, options):
    version = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    place = (f"broker on processor {machine.broker[0]}, load on {machine.load[0]}" if machine.spin
             else "broker and load on one processor")
    return (f"{report.machine()}; {place}; {version}; payloads of 64 bytes, MQTT "
            f"{'3.1.1' if options.version == 4 else '5.0'}; medians of {options.rounds} rounds of {options.seconds:g} s in "
            "turns. Latency: both sides where the kernel places them."
            f"{' With a store.' if options.store else ''}")


def parse():
    parser = argparse.ArgumentParser(prog="tools/bench broker", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three rounds of one second")
    parser.add_argument("--rounds", type=int, default=5, help="of each case (5)")
    parser.add_argument("--seconds", type=float, default=3, help="length of each measurement (3)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--version", type=int, choices=(4, 5), default=4, help="4: MQTT 3.1.1; 5: MQTT 5.0")
    parser.add_argument("--store", action="store_true", help="mbgated with a store")
    parser.add_argument("--realtime", action="store_true",
                        help="before all other programs; for machines that others use, with --seconds below 1")
    parser.add_argument("--server-a", choices=("mosquitto", "mbgated"), default="mosquitto")
    parser.add_argument("--server-b", choices=("mosquitto", "mbgated"), default="mbgated",
                        help="mosquitto: the method against itself, ratios must be about 1")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds = 3, 1
    return options


def main():
    options = parse()
    machine, kinds = Machine(), (options.server_a, options.server_b)
    for case in CASES:
        case.realtime |= options.realtime
    cases = [case for case in CASES if options.only.lower() in case.name.lower()]
    if not cases:
        raise SystemExit("bench: cases are: " + "; ".join(case.name for case in CASES))
    rows = []
    for case in cases:
        rows += rows_of(case, alternate(case, machine, kinds, options), kinds)
    print("\n" + report.table(rows) + "\n")
    report.write("broker", "Broker", describe(machine, options), rows, bars_of(rows, kinds),
                 f"{kinds[1]} ÷ {kinds[0]} (green: the aim is met)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
