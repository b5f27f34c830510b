# SPDX-License-Identifier: MIT
"""What can go wrong with lines, devices and commands, one test each, in the daemon as a whole.

Two devices on one fast line; what fails is told to the simulator while it runs. Each test ends with the line healthy again.
"""

import fcntl
import json
import os
import termios
import time

import pytest

import harness

POINTS = [*harness.registers(0, 4), *harness.registers(100, 4), *harness.registers(50, 1, more="write = true; max = 60000;"),
          '{ name = "f"; holding = 60; type = "float32"; payload = "json"; }',
          '{ name = "na"; holding = 70; invalid = [ 0x8000 ]; payload = "json"; }',
          '{ name = "counter"; holding = 80; type = "uint32"; }']
DEVICE = "interval_ms = 50; join_gaps = false;"
FLOOD = 500  # more than wait anywhere
BUS = "response_timeout_ms = 200; retries = 1; stats_interval_s = 1;"


class Rig:
    def __init__(self, gateway, sim, mqtt):
        self.gateway, self.sim, self.mqtt = gateway, sim, mqtt

    def fault(self, rule):
        self.sim.ask(f"fault {rule}")

    def faulted(self, kind, n):
        """Until a fault has taken effect so often."""
        harness.wait_until(lambda: self.sim.stats()["faults"].get(kind, 0) >= n, f"{n} times {kind}")

    def counted(self, what, least=1):
        """Until the counters of the bus say so."""
        self.mqtt.wait("mbgate/bus/line", lambda text: json.loads(text)[what] >= least)

    def fresh(self, unit, address=3):
        """A value that the device gets now is published."""
        value, start = 5000 + time.monotonic_ns() % 50000, self.mqtt.mark()
        before = self.sim.get(f"{unit}:holding:{address}")[0]
        self.sim.ask(f"set {unit}:holding:{address} {value}")
        self.mqtt.wait(f"mbgate/dev{unit}/r{address}", str(value), start)
        self.sim.ask(f"set {unit}:holding:{address} {int(before, 0)}")
        self.mqtt.wait(f"mbgate/dev{unit}/r{address}", str(unit * 1000 + address), start)

    def ask(self, topic, payload, start=None):
        """A command and its result."""
        start = self.mqtt.mark()
        self.mqtt.publish(f"mbgate/{topic}/set", payload)
        return json.loads(self.mqtt.wait(f"mbgate/{topic}/result", start=start).text)

    def never_offline(self, *units):
        for unit in units:
            assert self.mqtt.find(f"mbgate/dev{unit}/availability", "offline") is None

    def all_right(self):
        """No value ever stood under a wrong point; and the line is healthy."""
        self.sim.ask("clear")
        self.fresh(1)
        self.fresh(2)
        for message in self.mqtt.messages:
            parts = message.topic.split("/")
            if len(parts) == 3 and parts[2].startswith("r") and parts[2] not in ("r50", "r3"):
                assert message.text == str(int(parts[1][3:]) * 1000 + int(parts[2][1:])), message

    def writes(self):
        return [(data[0], int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big"))
                for _, direction, data, _ in self.sim.quit() if direction == ">>" and data[1] == 6]


@pytest.fixture
def rig(folder, broker, mqtt, start_sim, start_gateway):
    def make(*arguments, bus=BUS, device=DEVICE, points=POINTS):
        devices = [harness.device(f"dev{unit}", unit, points, device) for unit in (1, 2)]
        # Room for the results of a flood.
        text = harness.conf(harness.bus(folder / "line", devices, more=bus),
                            harness.link(broker.port, more="queue_messages = 10000;"))
        (folder / "sim.conf").write_text(text)
        sim = start_sim("--values", "unit-address", "--turnaround", "2", *arguments, folder / "sim.conf")
        sim.wait_ready()
        gateway = start_gateway(text)
        for unit in (1, 2):
            mqtt.wait(f"mbgate/dev{unit}/r103", f"{unit}103")
            mqtt.wait(f"mbgate/dev{unit}/availability", "online")
        return Rig(gateway, sim, mqtt)
    return make


@pytest.mark.parametrize("kind, counter", [("noise-before", "junk_bytes"), ("noise-after", "junk_bytes")])
def test_fault_01_noise(rig, kind, counter):
    r = rig()
    r.fault(f"{kind}:3@every=2")
    r.faulted(kind, 20)
    r.counted(counter)
    r.never_offline(1, 2)
    r.all_right()


def test_fault_02_bad_crc(rig):
    r = rig()
    r.fault("wrong-crc@every=3")
    r.faulted("wrong-crc", 10)
    r.counted("crc")
    r.counted("retries")
    r.never_offline(1, 2)
    r.all_right()


def test_fault_03_truncated(rig):
    r = rig()
    r.fault("truncate:3@every=4")
    r.faulted("truncate", 10)
    r.counted("timeouts")
    r.all_right()


def test_fault_04_late_reply(rig):
    r = rig()
    r.fault("late:300ms@unit=1,every=5")
    r.faulted("late", 8)
    r.counted("foreign")
    r.never_offline(2)
    r.all_right()


def test_fault_05_unsolicited_frames(rig):
    r = rig("--collision", "garble")  # who speaks when it is not its turn spoils what it meets
    r.fault("duplicate@every=5")
    r.faulted("duplicate", 10)
    r.all_right()


def test_fault_06_local_echo(rig):
    r = rig("--fault", "echo")
    r.counted("echo")
    assert r.ask("dev1/r50", "17")["ok"]
    r.mqtt.wait("mbgate/dev1/r50", "17")
    r.sim.ask("dead 1")  # now the echo of a write is all that comes
    assert not r.ask("dev1/r50", "18")["ok"]
    r.sim.ask("alive 1")
    r.mqtt.wait("mbgate/dev1/availability", "online", r.mqtt.mark() if r.mqtt.find("mbgate/dev1/availability", "offline") else 0)
    assert int(r.sim.get("1:holding:50")[0], 0) == 17


def test_fault_07_dead_device(rig):
    r = rig()
    r.sim.ask("dead 2")
    r.mqtt.wait("mbgate/dev2/availability", "offline")
    before = r.sim.stats()["units"]["1"]["requests"]
    harness.wait_until(lambda: r.sim.stats()["units"]["1"]["requests"] >= before + 100, "unit 1 is polled")
    r.never_offline(1)
    start = r.mqtt.mark()
    r.sim.ask("alive 2")
    r.mqtt.wait("mbgate/dev2/availability", "online", start)
    r.all_right()


def test_fault_08_slow_device(folder, broker, mqtt, start_sim, start_gateway):
    """Two seconds for each reply of one: it is read all the same, and the other is not starved."""
    devices = [harness.device("dev1", 1, harness.registers(0, 4), "interval_ms = 500;"),
               harness.device("dev2", 2, harness.registers(0, 4), "interval_ms = 500; response_timeout_ms = 4000;")]
    text = harness.conf(harness.bus(folder / "line", devices), harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    sim = start_sim("--values", "unit-address", "--fault", "late:2s@unit=2", folder / "sim.conf")
    sim.wait_ready()
    start_gateway(text)
    mqtt.wait("mbgate/dev2/r3", "2003")
    sim.ask("reset")
    harness.wait_until(lambda: sim.stats()["units"].get("2", {"requests": 0})["requests"] >= 4, "unit 2 is read again")
    units = sim.stats()["units"]
    # Turn and turn about, once it is known that both want more than there is.
    assert units["1"]["requests"] >= units["2"]["requests"] - 2, units
    assert mqtt.find("mbgate/dev2/availability", "offline") is None
    assert mqtt.find("mbgate/dev1/availability", "offline") is None


def test_fault_09_two_devices_of_one_id(rig):
    r = rig()
    r.fault("wrong-crc@unit=2,p=0.6")  # replies that overlap arrive destroyed
    r.gateway.wait_line("unit 2: hint: .*two devices may have this unit id")
    r.never_offline(1)
    r.all_right()


def test_fault_10_wrong_format(folder, broker, mqtt, start_sim, start_gateway):
    """Silence, and nothing is made of it; the hint comes after many tries: test_hints.py."""
    text = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, harness.registers(0, 4), "interval_ms = 100;")],
                                    'baud = 9600; format = "8N1";', more="response_timeout_ms = 100;"), harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    start_sim("--exact-settings", "--baud", "19200", folder / "sim.conf").wait_ready()
    gateway = start_gateway(text)
    gateway.wait_line("bus line: unit 1: no reply")
    mqtt.wait("mbgate/dev1/availability", "offline")
    assert mqtt.find("mbgate/dev1/r3") is None


def test_fault_11_illegal_address_in_a_block(folder, broker, mqtt, start_sim, start_gateway):
    points = [p for a in (0, 1, 4, 5) for p in harness.registers(a, 1)]
    text = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, points, "interval_ms = 50;")]),
                        harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    sim = start_sim("--values", "unit-address", folder / "sim.conf")  # 2 and 3 are not there
    sim.wait_ready()
    gateway = start_gateway(text)
    for a in (0, 1, 4, 5):
        mqtt.wait(f"mbgate/dev1/r{a}", f"100{a}")
    sim.ask("reset")
    harness.wait_until(lambda: sim.stats()["ok"] >= 40, "it is polled")
    assert sim.stats()["exceptions"] == 0, sim.stats()
    assert gateway.alive()


def test_fault_12_busy_and_acknowledge(rig):
    r = rig()
    r.fault("exception:6@write,n=1")
    result = r.ask("dev1/r50", "17")
    assert result["ok"], result
    assert int(r.sim.get("1:holding:50")[0], 0) == 17
    r.sim.ask("clear")
    r.fault("exception:5@read,every=3")
    r.faulted("exception", 20)
    r.never_offline(1, 2)
    r.all_right()


def test_fault_13_exception_storm(rig):
    r = rig()
    start = len(r.gateway.process.lines)
    r.fault("exception:4@unit=1")
    r.faulted("exception", 100)
    assert len([line for line in r.gateway.process.lines[start:] if "exception 4" in line]) <= len(POINTS), "the log is flooded"
    r.never_offline(1, 2)
    r.all_right()


def test_fault_14_reply_of_another_unit(rig):
    r = rig()
    r.fault("wrong-unit:9@every=4")
    r.faulted("wrong-unit", 10)
    r.counted("foreign")
    r.all_right()


def quality(text, wanted):
    value = json.loads(text)
    return value["quality"] == wanted and (value["value"] is None) == (wanted == "bad")


def test_fault_15_sentinel(rig):
    r = rig()
    r.mqtt.wait("mbgate/dev1/na", lambda text: quality(text, "good"))
    r.sim.ask("set 1:holding:70 0x8000")
    r.mqtt.wait("mbgate/dev1/na", lambda text: quality(text, "bad"))
    r.sim.ask("set 1:holding:70 7")
    r.mqtt.wait("mbgate/dev1/na", lambda text: json.loads(text)["value"] == 7)


@pytest.mark.parametrize("word", [0x7FC0, 0x7F80, 0xFF80])
def test_fault_16_not_a_number(rig, word):
    r = rig()
    r.mqtt.wait("mbgate/dev1/f", lambda text: quality(text, "good"))
    r.sim.ask(f"set 1:holding:61 0")
    start = r.mqtt.mark()
    r.sim.ask(f"set 1:holding:60 {word}")
    r.mqtt.wait("mbgate/dev1/f", lambda text: quality(text, "bad"), start)
    assert not [m for m in r.mqtt.messages if "nan" in m.text.lower() or "inf" in m.text.lower()]


def test_fault_17_counter_starts_anew(rig):
    r = rig()
    for high, low in ((0xFFFF, 0xFFFF), (0, 0), (0, 5)):  # rolls over, as it is
        r.sim.ask(f"set 1:holding:80 {high}")
        r.sim.ask(f"set 1:holding:81 {low}")
        r.mqtt.wait("mbgate/dev1/counter", str(high << 16 | low))


def test_fault_18_adapter_unplugged(rig):
    r = rig("--fault", "late:150ms@write")
    start = r.mqtt.mark()
    r.mqtt.publish("mbgate/dev1/r50/set", "17")
    r.sim.ask("hangup line 1.5")
    at = time.monotonic()
    for unit in (1, 2):
        r.mqtt.wait(f"mbgate/dev{unit}/availability", "offline", start)
    print(f"offline after {time.monotonic() - at:.2f} s")
    assert r.mqtt.wait("mbgate/dev1/r50/result", start=start)  # whatever it says
    r.mqtt.wait("mbgate/bus/line", lambda text: json.loads(text)["port"] == "lost", start)
    for unit in (1, 2):
        r.mqtt.wait(f"mbgate/dev{unit}/availability", "online", start)
    r.all_right()


def test_fault_19_adapter_under_another_name(folder, broker, mqtt, start_sim, start_gateway):
    """By a stable name that leads to another node than before (by-path here; by-id in test_adapter.py)."""
    name = folder / "by-path" / "platform-usb-0:1:1.0-port0"
    name.parent.mkdir()
    text = harness.conf(harness.bus(name, [harness.device("dev1", 1, harness.registers(0, 4), "interval_ms = 100;")]),
                        harness.link(broker.port))
    (folder / "sim.conf").write_text(text.replace(str(name), str(folder / "unused")))
    sims = []
    for node, base in (("ttyUSB0", 100), ("ttyUSB1", 200)):
        sims.append(start_sim("--link", folder / node, "--set", f"1:holding:3={base}", folder / "sim.conf", name=node))
        sims[-1].wait_ready()
    os.symlink("../ttyUSB0", name)
    start_gateway(text)
    mqtt.wait("mbgate/dev1/r3", "100")
    os.unlink(name)
    sims[0].kill()
    mqtt.wait("mbgate/dev1/availability", "offline")
    os.symlink("../ttyUSB1", name)
    mqtt.wait("mbgate/dev1/r3", "200")


def test_fault_20_port_is_busy(folder, broker, mqtt, start_sim, start_gateway):
    text = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, harness.registers(0, 4))]), harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    start_sim("--values", "unit-address", folder / "sim.conf").wait_ready()
    with open(folder / "line", "rb+", buffering=0) as port:
        fcntl.flock(port, fcntl.LOCK_EX)
        gateway = start_gateway(text)
        gateway.wait_line(r"cannot open .*held by .*\(process \d+\)")
        assert gateway.alive()
    mqtt.wait("mbgate/dev1/r3", "1003")


def test_fault_21_no_permission(folder, broker, start_gateway):
    """Root may everything: a device that nobody may open stands for a port that is not allowed."""
    directory = folder / "dir"
    directory.mkdir()
    gateway = start_gateway(harness.conf(harness.bus(directory, [harness.device("dev1", 1, harness.registers(0, 1))]),
                                         harness.link(broker.port)))
    gateway.wait_line("bus line: cannot open .*: (Is a directory|not a serial)")
    assert gateway.alive()


def test_fault_22_port_takes_nothing(folder, broker, start_gateway):
    """Output that is stopped stands for a driver that is stuck: after three tries the port is opened anew, and that is said."""
    master, slave = os.openpty()
    os.symlink(os.ttyname(slave), folder / "line")
    device = harness.device("dev1", 1, harness.registers(0, 1), "interval_ms = 10; response_timeout_ms = 20; retries = 0;")
    gateway = start_gateway(harness.conf(harness.bus(folder / "line", [device]), harness.link(broker.port)))
    gateway.wait_line("bus line: .* is open")
    termios.tcflow(slave, termios.TCOOFF)
    gateway.wait_line("bus line: .*lost")
    termios.tcflow(slave, termios.TCOON)
    gateway.wait_line("bus line: .* is open again")
    gateway.stop()
    os.close(master)
    os.close(slave)


def test_fault_37_flood_of_commands(rig):
    r = rig()
    before = r.sim.stats()["registers_read"]
    for n in range(FLOOD):
        r.mqtt.client.publish("mbgate/dev1/r50/set", str(n % 1000), 0)
    r.mqtt.publish("mbgate/dev2/r50/set", "7")
    harness.wait_until(lambda: len([m for m in r.mqtt.messages if m.topic == "mbgate/dev1/r50/result"]) >= FLOOD, "all are answered")
    assert r.sim.stats()["registers_read"] > before
    r.never_offline(1, 2)
    r.all_right()


def test_fault_38_unreadable_commands(rig):
    r = rig()
    for payload in (b"x" * 100000, b"\xff\xfe", b"\0\0", b"{", b'{"value":', b'{"value":{"a":[[[[[]]]]]}}', b"[" * 3000, b"", b"1 2"):
        result = r.ask("dev1/r50", payload)
        assert not result["ok"] and result["error"], (payload[:20], result)
    r.all_right()
    assert r.writes() == []


def test_fault_39_out_of_range(rig):
    r = rig()
    for payload in ("1e30", "-1", "60001", "65536", "NaN", "inf", "-inf", "1e400", "99999999999999999999"):
        result = r.ask("dev1/r50", payload)
        assert not result["ok"] and result["error"], (payload, result)
    r.all_right()
    assert r.writes() == []


def test_fault_40_nothing_to_write_to(rig):
    r = rig()
    assert r.ask("dev1/r0", "1")["error"] == "not writable"
    r.mqtt.publish("mbgate/dev1/nothing/set", "1")
    r.gateway.wait_line("no point takes commands at .mbgate/dev1/nothing/set")
    r.all_right()
    assert r.writes() == []


def test_fault_41_write_without_reply(rig):
    r = rig("--fault", "lost-reply@unit=1,write")
    result = r.ask("dev1/r50", "17")
    assert not result["ok"] and "not known" in result["error"], result
    r.mqtt.wait("mbgate/dev1/r50", "17")  # read back, or polled: what the device says
    r.all_right()
    assert r.writes() == [(1, 50, 17)]  # once
