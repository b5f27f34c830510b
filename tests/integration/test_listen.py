# SPDX-License-Identifier: MIT
"""mode = "listen": mbpoll and pymodbus poll mbsim, and mbgated hears them through a tap in the line."""

import json
import os
import pty
import select
import subprocess
import threading
import tty

import pytest

import compat
import harness

POINTS = """
          { name = "temp"; holding = 0; type = "int16";  scale = 0.1; unit = "°C"; },
          { name = "hum";  holding = 1; type = "uint16"; scale = 0.1; unit = "%"; },
          { name = "led";  holding = 2; type = "uint16"; write = true; min = 0; max = 1023; },
          { name = "test"; holding = 3; type = "int16"; }
"""


class Tap:
    """A wire between a master and a simulator on which a third one listens. Pieces are as the bytes come."""

    def __init__(self, folder, sim_port, piece=256):
        self.sim = os.open(sim_port, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self.sim)
        self.piece = piece
        self.master, self.master_slave = self.pair()
        self.tap, self.tap_slave = self.pair()
        self.master_port = os.ttyname(self.master_slave)
        self.tap_port = folder / "tap"
        os.symlink(os.ttyname(self.tap_slave), self.tap_port)
        self.from_tap = b""
        self.stop_pipe = os.pipe()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    @staticmethod
    def pair():
        master, slave = pty.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        return master, slave

    def run(self):
        while True:
            ready = select.select([self.sim, self.master, self.tap, self.stop_pipe[0]], [], [])[0]
            if self.stop_pipe[0] in ready:
                return
            if self.tap in ready:
                self.from_tap += os.read(self.tap, 4096)
            for source, target in ((self.sim, self.master), (self.master, self.sim)):
                if source in ready:
                    data = os.read(source, self.piece)
                    os.write(target, data)
                    os.write(self.tap, data)

    def say(self, data):
        """Something on the wire that nobody asked for."""
        os.write(self.tap, data)

    def close(self):
        os.write(self.stop_pipe[1], b".")
        self.thread.join()
        for fd in (self.sim, self.master, self.master_slave, self.tap, self.tap_slave, *self.stop_pipe):
            os.close(fd)


@pytest.fixture
def make_tap(folder):
    made = []

    def make(*arguments, **k):
        made.append(Tap(folder, *arguments, **k))
        return made[-1]
    yield make
    for tap in made:
        tap.close()


@pytest.fixture
def listening(folder, broker, start_sim, make_tap, start_gateway):
    """(gateway, sim, tap): the reference sensor and a dead unit 11, heard through the tap."""
    def make(piece=256, sim=(), more="interval_ms = 20000;"):
        simulator = start_sim("--reference", "--link", folder / "line", "--baud", "115200", *sim)
        tap = make_tap(simulator.wait_ready()[0], piece)
        bus = f"""{{ name = "rs485"; port = "{tap.tap_port}"; mode = "listen"; baud = 115200; format = "8E1";
          stats_interval_s = 1; {more}
          devices = ( {{ name = "sensor"; unit_id = 10; points = ( {POINTS} ); }},
                      {{ name = "dead"; unit_id = 11; points = ( {{ name = "x"; holding = 0; }} ); }} ); }}"""
        return start_gateway(harness.conf(bus, [harness.link(broker.port)])), simulator, tap
    return make


def mbpoll(port, *arguments, write=()):
    r = subprocess.run(["mbpoll", "-m", "rtu", "-b", "115200", "-P", "even", "-0", "-1", "-o", "0.3", *arguments, port,
                        *write],
                       capture_output=True, text=True, timeout=harness.LIMIT)
    return r.returncode, r.stdout + r.stderr


@pytest.mark.parametrize("piece", [256, 1])
def test_what_mbpoll_reads_is_published(listening, mqtt, piece):
    gateway, sim, tap = listening(piece)
    gateway.wait_line("rs485: .* is open")
    sim.ask("set 10:holding:0 = 215")
    sim.ask("set 10:holding:1 = 447")
    code, text = mbpoll(tap.master_port, "-a", "10", "-r", "0", "-c", "4")
    assert code == 0 and "215" in text, text
    mqtt.wait("mbgate/sensor/temp", "21.5")
    mqtt.wait("mbgate/sensor/hum", "44.7")
    mqtt.wait("mbgate/sensor/test", "-157")
    mqtt.wait("mbgate/sensor/availability", "online")
    sim.ask("set 10:holding:0 = 65526")
    mark = mqtt.mark()
    mbpoll(tap.master_port, "-a", "10", "-r", "0", "-c", "1")  # one register only
    mqtt.wait("mbgate/sensor/temp", "-1.0", mark)
    assert tap.from_tap == b""
    sim.quit()


def test_writes_of_the_master_are_seen_when_they_are_read(listening, mqtt):
    gateway, sim, tap = listening()
    gateway.wait_line("rs485: .* is open")
    mark = mqtt.mark()
    code, text = mbpoll(tap.master_port, "-a", "10", "-r", "2", write=["512"])
    assert code == 0, text
    mbpoll(tap.master_port, "-a", "10", "-r", "2", "-c", "1")
    mqtt.wait("mbgate/sensor/led", "512", mark)


def test_our_own_commands_are_refused(listening, mqtt):
    gateway, sim, tap = listening()
    gateway.wait_line("rs485: .* is open")
    mqtt.wait("mbgate/status", "online")
    mqtt.publish("mbgate/sensor/led/set", "512")
    result = json.loads(mqtt.wait("mbgate/sensor/led/result").text)
    assert result["ok"] is False and "only listens" in result["error"], result
    mark = mqtt.mark()
    mqtt.publish("mbgate/sensor/temp/get", "")
    assert "only listens" in mqtt.wait("mbgate/sensor/temp/result", start=mark).text
    assert tap.from_tap == b""


def test_silence_exceptions_and_what_nobody_can_explain_are_counted(listening, mqtt):
    gateway, sim, tap = listening()
    gateway.wait_line("rs485: .* is open")
    for _ in range(4):
        mbpoll(tap.master_port, "-a", "11", "-r", "0", "-c", "1")
    mqtt.wait("mbgate/dead/availability", "offline")
    mbpoll(tap.master_port, "-a", "10", "-r", "900", "-c", "1")  # exception 2
    tap.say(bytes.fromhex("11030200073845"))  # a reply that nobody asked for
    tap.say(b"\x00\xff\x00")

    def counted(text):
        s = json.loads(text)
        return s["timeouts"] >= 4 and s["foreign"] >= 1 and s["junk_bytes"] >= 3 and \
            s["exceptions"].get("2", 0) >= 1
    mqtt.wait("mbgate/bus/rs485", counted)
    assert tap.from_tap == b""


def test_a_master_that_falls_silent_is_noticed(listening, mqtt):
    gateway, sim, tap = listening(more="interval_ms = 1000;")
    gateway.wait_line("rs485: .* is open")
    mbpoll(tap.master_port, "-a", "10", "-r", "0", "-c", "4")
    mqtt.wait("mbgate/sensor/availability", "online")
    heard = mqtt.mark()
    gateway.wait_line("unit 10: nobody has asked it for 10 s")
    mqtt.wait("mbgate/sensor/availability", "offline", heard)


def test_a_pymodbus_master(listening, mqtt):
    gateway, sim, tap = listening()
    gateway.wait_line("rs485: .* is open")
    sim.ask("set 10:holding:0 = 0")
    master = compat.serial_master(tap.master_port, baudrate=115200, timeout=2, retries=0)
    assert master.connect()
    for i in range(100):
        assert not master.read_holding_registers(i % 4, 1 + i % (4 - i % 4), 10).isError()
    master.close()
    counters = json.loads(mqtt.wait("mbgate/bus/rs485", lambda t: json.loads(t)["ok"] >= 100).text)
    assert counters["ok"] == counters["transactions"] == 100
    assert counters["foreign"] == counters["junk_bytes"] == counters["crc"] == counters["timeouts"] == 0
    mqtt.wait("mbgate/sensor/temp", "0.0")


def crc(data):
    c = 0xFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = c >> 1 ^ (0xA001 if c & 1 else 0)
    return data + c.to_bytes(2, "little")


def test_on_a_bad_line_no_wrong_value(listening, mqtt):
    """Hundreds of transactions with faults: whatever is published was a right reply's."""
    gateway, sim, tap = listening(more="interval_ms = 20000; response_timeout_ms = 250;", sim=("--fault", "wrong-crc@p=0.05", "--fault", "late:150ms@p=0.03",
                                       "--fault", "noise-before:4@p=0.05", "--fault", "truncate@p=0.05",
                                       "--fault", "lost-reply@p=0.03", "--fault", "duplicate@p=0.03"))
    gateway.wait_line("rs485: .* is open")
    sim.ask("set 10:holding:0 = 100")
    sim.ask("set 10:holding:1 = 1000")
    with open(tap.master_port, "r+b", buffering=0) as port:
        for i in range(400):
            first = i % 4
            sim.ask(f"set 10:holding:0 = {100 + i % 200}")
            sim.ask(f"set 10:holding:1 = {1000 + i}")
            os.write(port.fileno(), crc(bytes([10, 3, 0, first, 0, 1 + i % (4 - first)])))
            while select.select([port], [], [], 0.03)[0]:
                os.read(port.fileno(), 256)
    counters = json.loads(mqtt.wait("mbgate/bus/rs485", lambda t: json.loads(t)["transactions"] >= 395).text)
    assert counters["ok"] > 280, counters
    assert counters["crc"] > 0 and counters["junk_bytes"] > 0 and counters["timeouts"] > 0 and counters["foreign"] > 0
    for m in mqtt.messages:
        if m.topic == "mbgate/sensor/temp":
            assert 10 <= float(m.text) < 30, m
        if m.topic == "mbgate/sensor/hum":
            assert 100 <= float(m.text) < 140, m
        if m.topic == "mbgate/sensor/test":
            assert m.text == "-157"
    assert len(mqtt.values("mbgate/sensor/temp")) > 20
    assert tap.from_tap == b""


def test_what_was_heard_is_shared(listening, mqtt):
    """Others can have by Modbus TCP what the master has read lately, and nothing else: nothing is sent."""
    port = harness.free_port()
    gateway, sim, tap = listening(more=f'interval_ms = 20000; share = {{ listen = "127.0.0.1:{port}"; max_age_ms = 60000; }};')
    gateway.wait_line("rs485: .* is open")
    other = compat.tcp_master(port)
    assert other.connect()
    assert other.read_holding_registers(0, 2, 10).exception_code == 10
    sim.ask("set 10:holding:0 = 215")
    mbpoll(tap.master_port, "-a", "10", "-r", "0", "-c", "4")
    mqtt.wait("mbgate/sensor/temp", "21.5")
    mqtt.wait("mbgate/sensor/test", "-157")
    assert other.read_holding_registers(0, 4, 10).registers[0::3] == [215, 65536 - 157]
    assert other.read_holding_registers(3, 2, 10).exception_code == 10
    assert other.write_register(2, 5, 10).exception_code == 10
    assert mbpoll(tap.master_port, "-a", "10", "-r", "2", write=["512"])[0] == 0
    harness.wait_until(lambda: other.read_holding_registers(2, 1, 10).isError(), "after a write it is not known")
    mbpoll(tap.master_port, "-a", "10", "-r", "2", "-c", "1")
    mqtt.wait("mbgate/sensor/led", "512")
    assert other.read_holding_registers(2, 1, 10).registers == [512]
    other.close()
    assert tap.from_tap == b""
