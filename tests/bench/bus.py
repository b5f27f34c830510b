# SPDX-License-Identifier: MIT
"""Wire figures of mbgated against mbsim: see README.md. Started by tools/bench."""

import argparse
import os
import pathlib
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("MBGATE_BUILD", str(SOURCE / "build" / "release"))
sys.path.insert(0, str(SOURCE / "tests" / "integration"))

import harness  # noqa: E402
import limit  # noqa: E402

SCATTERED = [*range(7), *range(12, 19), *range(24, 30)]
FLAT_OUT = "interval_ms = 10;"


class Case:
    """One line, polled flat out."""

    def __init__(self, name, devices, baud, fmt, faults=(), dead=(), more=""):
        self.name = name
        self.devices = devices  # unit -> addresses
        self.baud = baud
        self.fmt = fmt
        self.faults = faults
        self.dead = dead
        self.more = more

    def turnaround_s(self):
        return limit.t35_s(self.baud)

    def limit(self):
        alive = [a for unit, a in self.devices.items() if unit not in self.dead]
        return limit.limit_registers_per_s(alive, self.baud, self.fmt, self.turnaround_s())


TEN = {unit: SCATTERED for unit in range(1, 11)}
CASES = [
    Case("100 contiguous, 9600 8E1", {1: range(100)}, 9600, "8E1"),
    Case("1000 contiguous, 115200 8N1", {1: range(1000)}, 115200, "8N1"),
    Case("10 devices × 20 scattered, 19200 8N1", TEN, 19200, "8N1"),
    Case("the same, strict devices", TEN, 19200, "8N1", ("--strict",)),
    Case("the same, 2 of 10 dead, 500 ms", TEN, 19200, "8N1", dead=(4, 8), more="response_timeout_ms = 500;"),
    Case("the same, 2 % lost, 2.7 % broken", TEN, 19200, "8N1",
         ("--fault", "lost-reply@p=0.02", "--fault", "wrong-crc@p=0.027"), more="response_timeout_ms = 500;"),
]


class Bench:
    """Everything that one measurement starts, ended at its end."""

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mbgate-"))
        self.ends = []
        self.broker = harness.Broker(self.folder)
        self.ends.append(self.broker.kill)
        self.broker.start()
        return self

    def __exit__(self, *_):
        for end in reversed(self.ends):
            end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sim(self, *arguments, name="sim"):
        sim = harness.Sim(self.folder, *arguments, name=name)
        self.ends.append(sim.kill)
        sim.wait_ready()
        return sim

    def gateway(self, text):
        gateway = harness.Gateway(self.folder, text, level="warning")
        self.ends.append(gateway.kill)
        return gateway.start()

    def mqtt(self, *filters):
        client = harness.Mqtt(self.broker.port, filters or ("#",))
        self.ends.append(client.close)
        return client

    def line(self, case, point_more=""):
        """(sim, gateway) of a case."""
        devices = [harness.device(f"dev{unit}", unit,
                                  [p for a in addresses for p in harness.registers(a, 1, more=point_more)], FLAT_OUT)
                   for unit, addresses in case.devices.items()]
        text = harness.conf(harness.bus(self.folder / "line", devices, f'baud = {case.baud}; format = "{case.fmt}";',
                                        more=case.more), harness.link(self.broker.port))
        plan = self.folder / "sim.conf"
        plan.write_text(text)
        sim = self.sim("--values", "unit-address", "--sparse-ok", "--turnaround", f"{case.turnaround_s() * 1e6:.0f}us",
                       *case.faults, plan)
        for unit in case.dead:
            sim.ask(f"dead {unit}")
        return sim, self.gateway(text)


def useful_rate(frames, case):
    """Useful registers a second in good replies, from the end of the first reply to the end of the last."""
    wanted = {unit: set(addresses) for unit, addresses in case.devices.items()}
    request, replies = None, []
    for at, direction, data, _ in frames:
        if direction == ">>":
            request = data
        elif request and data[:2] == request[:2] and data[1] == 3:
            first, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
            if len(data) == 5 + 2 * count:
                replies.append((at, len(wanted.get(data[0], set()) & set(range(first, first + count)))))
            request = None
    if len(replies) < 3:
        return 0.0
    return sum(n for _, n in replies[1:]) / (replies[-1][0] - replies[0][0])


def measure(case, seconds):
    with Bench() as bench:
        sim, _ = bench.line(case)
        mqtt = bench.mqtt("mbgate/+/+")
        for unit, addresses in case.devices.items():
            if unit not in case.dead:
                mqtt.wait(f"mbgate/dev{unit}/r{max(addresses)}")
        time.sleep(3)  # past the first round, and, with dead ones, past their first tries
        sim.ask("reset")
        begun = time.monotonic()
        time.sleep(seconds)
        stats = sim.stats()
        ended = time.monotonic()
        frames = [f for f in sim.quit() if begun <= f[0] <= ended]
        rate, best = useful_rate(frames, case), case.limit()
        staleness = max(u["worst_staleness_us"] for unit, u in stats["units"].items() if int(unit) not in case.dead)
        return {"case": case.name, "useful registers/s": f"{rate:.1f}", "limit": f"{best:.1f}",
                "%": f"{100 * rate / best:.1f}", "worst staleness": f"{staleness / 1e3:.0f} ms",
                "smallest gap": f"{stats['gap_min_us'] / 1e3:.2f} ms", "t3.5": f"{stats['t35_us'] / 1e3:.2f} ms",
                "t3.5 violations": stats["t35_violations"]}


def measure_writes(case, writes):
    """Writes at random moments on a saturated line."""
    rng = random.Random(1)
    with Bench() as bench:
        sim, _ = bench.line(case, "write = true;")
        mqtt = bench.mqtt("mbgate/+/+/result", "mbgate/+/+")
        for unit in case.devices:
            mqtt.wait(f"mbgate/dev{unit}/r{max(case.devices[unit])}")
        published = []
        for number in range(20000, 20000 + writes):
            unit = rng.choice(list(case.devices))
            time.sleep(rng.uniform(0.05, 0.25))
            start = mqtt.mark()
            published.append((time.monotonic(), unit, number))
            mqtt.publish(f"mbgate/dev{unit}/r0/set", str(number), qos=0)
            mqtt.wait(f"mbgate/dev{unit}/r0/result", start=start)
        requests = [(at, data) for at, direction, data, _ in sim.quit() if direction == ">>"]
    between, latency = [], []
    for at, unit, number in published:
        write = next(t for t, d in requests if t >= at and d[0] == unit and d[1] in (6, 16)
                     and int.from_bytes(d[4:6] if d[1] == 6 else d[7:9], "big") == number)
        between.append(len([1 for t, _ in requests if at < t < write]))
        latency.append(write - at)
    latency.sort()
    return {"case": "writes on: " + case.name, "writes": writes,
            "polls begun between publish and write, max": max(between),
            "mean": f"{statistics.mean(between):.2f}",
            "p50": f"{1e3 * latency[len(latency) // 2]:.1f} ms",
            "p99": f"{1e3 * latency[int(len(latency) * 0.99)]:.1f} ms",
            "one poll takes": f"{1e3 * limit.best_round_s(case.devices[1], case.baud, case.fmt, case.turnaround_s()):.1f} ms"}


def proc_status(pid, key):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1])
    raise KeyError(key)


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure_memory(seconds):
    """1000 points on 4 buses; the values change with each reading."""
    with Bench() as bench:
        buses, sets = [], []
        for number in range(4):
            devices = [harness.device(f"b{number}d{unit}", unit, harness.registers(0, 25), "interval_ms = 500;")
                       for unit in range(1, 11)]
            buses.append(harness.bus(bench.folder / f"line{number}", devices, name=f"bus{number}"))
        text = harness.conf(buses, harness.link(bench.broker.port))
        plan = bench.folder / "sim.conf"
        plan.write_text(text)
        for number in range(4):
            sets = [a for unit in range(1, 11) for address in range(25)
                    for a in ("--set", f"b{number}d{unit}.r{address}=random 0..60000")]
            bench.sim("--bus", f"bus{number}", *sets, plan, name=f"sim{number}")
        gateway = bench.gateway(text)
        mqtt = bench.mqtt("mbgate/+/+")
        pid = gateway.process.child.pid
        for number in range(4):
            for unit in range(1, 11):
                mqtt.wait(f"mbgate/b{number}d{unit}/r24")
        before, cpu = mqtt.mark(), cpu_s(pid)
        time.sleep(seconds)
        values, cpu = mqtt.mark() - before, cpu_s(pid) - cpu
        return {"case": "1000 points on 4 buses, 115200 8N1", "published values/s": f"{values / seconds:.0f}",
                "RSS": f"{proc_status(pid, 'VmRSS') / 1024:.1f} MB", "peak RSS": f"{proc_status(pid, 'VmHWM') / 1024:.1f} MB",
                "of it anonymous": f"{proc_status(pid, 'RssAnon') / 1024:.1f} MB",
                "CPU s per 1000 values": f"{1000 * cpu / max(1, values):.4f}"}


def table(rows):
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(row[key]) for key in head) + " |" for row in rows])


def main():
    parser = argparse.ArgumentParser(prog="tools/bench bus", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20, help="length of each measurement (20)")
    parser.add_argument("--writes", type=int, default=60, help="writes in the latency measurement (60)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    parts = []

    def show(rows):
        parts.append(table(rows))
        print("\n" + parts[-1] + "\n", flush=True)

    def progress(name):
        print(f"bench: {name} …", file=sys.stderr, flush=True)
    cases = [c for c in CASES if options.only in c.name]
    rows = []
    for case in cases:
        progress(case.name)
        rows.append(measure(case, options.seconds))
    if rows:
        show(rows)
    if options.only in "writes":
        progress("write latency")
        show([measure_writes(CASES[2], options.writes)])
    if options.only in "memory":
        progress("memory and CPU")
        show([measure_memory(options.seconds)])
    folder = SOURCE / "build" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bus.md").write_text(f"# Wire figures\n\n{platform.machine()}, Linux {platform.release()}, "
                                   f"{os.cpu_count()} processors\n\n" + "\n\n".join(parts) + "\n")
    print(f"written to {folder / 'bus.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
