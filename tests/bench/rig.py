# SPDX-License-Identifier: MIT
"""The programs of one measurement: mosquitto, a recording subscriber, mbsim, mbgated."""

import collections
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("MBGATE_BUILD", str(SOURCE / "build" / "release"))
sys.path.insert(0, str(SOURCE / "tests" / "integration"))

import harness  # noqa: E402
import peer  # noqa: E402

TOPIC = re.compile(r"mbgate/b(\d+)d(\d+)/r(\d+)")


def device_name(bus, unit):
    return f"b{bus}d{unit}"


def cpu_s(pid):
    """Of the whole process, by its own clock (the clock id is the one of clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


def peak_memory_mb(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise KeyError("VmHWM")


def configuration(case, folder, port):
    buses = []
    for number in range(case.buses):
        devices = [harness.device(device_name(number, unit), unit, points(case, addresses),
                                  f"interval_ms = {case.interval_ms(unit)};")
                   for unit, addresses in case.devices.items()]
        line = f'baud = {case.baud}; format = "{case.fmt}";'
        buses.append(harness.bus(folder / f"line{number}", devices, line, f"bus{number}", more=case.bus_settings()))
    return harness.conf(buses, harness.link(port))


def points(case, addresses):
    """One for each register; the first takes writes."""
    return [point for address in addresses
            for point in harness.registers(address, 1, more=case.point_more + " write = true;" * (not address))]


def changes(case):
    """What mbsim is told, so that each reading brings other values."""
    return [f"set bus{number}/{device_name(number, unit)}.r{address} random 0..65535"
            for number in range(case.buses)
            for unit, addresses in case.devices.items() for address in addresses]


class Rig:
    """One case, started and settled; ended at the end of the with block."""

    def __init__(self, case, settle_s):
        self.case, self.settle_s = case, settle_s
        self.ends = []

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mbgate-"))
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for end in reversed(self.ends):
            end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start(self):
        self.broker = harness.Broker(self.folder)
        self.ends.append(self.broker.kill)
        self.broker.start()
        self.subscriber = self.peer("bench-subscriber", *self.case.topics())
        if not self.case.writes:
            self.subscriber.record()
        text = configuration(self.case, self.folder, self.broker.port)
        self._start_sim(text)
        self.gateway = harness.Gateway(self.folder, text, level="warning")
        self.ends.append(self.gateway.kill)
        self.gateway.start()
        harness.wait_until(self._all_answered, "every living device has answered")
        time.sleep(self.settle_s)

    def _start_sim(self, text):
        plan = self.folder / "sim.conf"
        plan.write_text(text)
        self.sim = harness.Sim(self.folder, "--values", "unit-address", "--sparse-ok", "--turnaround",
                               f"{self.case.turnaround_s() * 1e6:.0f}us", *self.case.faults, plan)
        self.ends.append(self.sim.kill)
        self.sim.wait_ready(self.case.buses)
        self.sim.ask_all([f"dead {unit}" for unit in self.case.dead])
        if self.case.changing:
            self.sim.ask_all(changes(self.case))

    def _all_answered(self):
        return all(bus["units"][str(unit)]["ok"] > 0 for bus in self.stats() for unit in self.case.alive())

    def peer(self, name, *filters):
        client = peer.Peer(self.broker.port, name, *filters)
        self.ends.append(client.close)
        return client

    def stats(self):
        """mbsim's counters of each bus."""
        return json.loads(self.sim.ask("stats"))["buses"]

    def pids(self):
        return {"mbgated": self.gateway.process.child.pid, "mbsim": self.sim.process.child.pid,
                "mosquitto": self.broker.process.child.pid, "subscriber": os.getpid()}

    def cpu(self):
        return {name: cpu_s(pid) for name, pid in self.pids().items()}

    def watch(self, load):
        """The Run while load(rig) goes on."""
        self.sim.ask("reset")
        cpu, begun = self.cpu(), time.monotonic()
        done = load(self)
        ended, after = time.monotonic(), self.cpu()
        stats = self.stats()
        run = Run(self.case, begun, ended, stats, {name: after[name] - cpu[name] for name in cpu})
        run.done = done
        run.memory_mb = peak_memory_mb(self.pids()["mbgated"])
        return run

    def frames(self):
        """bus -> frames; ends the simulator."""
        found = collections.defaultdict(list)
        for at, direction, data, bus in self.sim.quit():
            found[int(bus.removeprefix("bus"))].append((at, direction, data))
        return found


class Run:
    """What was seen of one case; what the figures are made of."""

    def __init__(self, case, begun, ended, stats, cpu):
        self.case, self.begun, self.ended, self.stats, self.cpu = case, begun, ended, stats, cpu
        self.frames = {}     # bus -> (time, direction, bytes)
        self.messages = []   # (time, bus, unit, address, payload), the retained ones left out
        self.done = None     # what the load did
        self.memory_mb = 0.0

    @property
    def seconds(self):
        return self.ended - self.begun

    def in_window(self, at):
        return self.begun <= at <= self.ended

    def take_messages(self, messages):
        for at, topic, payload, retained in messages:
            match = TOPIC.fullmatch(topic)
            if match and not retained:
                self.messages.append((at, *(int(part) for part in match.groups()), payload))
