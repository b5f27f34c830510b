# SPDX-License-Identifier: MIT
"""Against a device made of pymodbus: RTU on a pseudo-terminal, and Modbus TCP."""

import json
import os
import pathlib
import select
import socket
import threading
import tty

import pytest

import harness

POINTS = [
    '{ name = "temp"; holding = 0; type = "int16"; scale = 0.1; }',
    '{ name = "hum"; holding = 1; type = "uint16"; scale = 0.1; }',
    '{ name = "led"; holding = 2; type = "uint16"; write = true; max = 1023; }',
    '{ name = "test"; holding = 3; type = "int16"; }',
    '{ name = "wide"; holding = 4; type = "uint32"; write = true; }',
    '{ name = "input"; input = 9; type = "uint16"; }',
    '{ name = "relay"; coil = 2; type = "bool"; write = true; }',
    '{ name = "door"; discrete = 4; type = "bool"; }',
]


class Cable:
    """Two pseudo-terminals, joined: each end is a serial port for a program."""

    def __init__(self):
        self.pairs = [os.openpty(), os.openpty()]
        for _, slave in self.pairs:
            tty.setraw(slave)
        self.ends = [os.ttyname(slave) for _, slave in self.pairs]
        self.wake = os.pipe()
        self.thread = threading.Thread(target=self._relay, daemon=True)
        self.thread.start()

    def _relay(self):
        (a, _), (b, _) = self.pairs
        while True:
            for fd in select.select([a, b, self.wake[0]], [], [])[0]:
                if fd == self.wake[0]:
                    return
                os.write(b if fd == a else a, os.read(fd, 4096))

    def close(self):
        os.write(self.wake[1], b"x")
        self.thread.join()
        for fd in (*self.pairs[0], *self.pairs[1], *self.wake):
            os.close(fd)


@pytest.fixture
def device(request):
    program = pathlib.Path(__file__).with_name("pymodbus_device.py")
    cable = None
    if request.param == "rtu":
        cable = Cable()
        arguments, port = ["rtu", cable.ends[1]], cable.ends[0]
    else:
        address = f"127.0.0.1:{harness.free_port()}"
        arguments, port = ["tcp", address], f"tcp://{address}"
    process = harness.Process(["/usr/bin/python3", "-B", program, *arguments])
    if request.param == "tcp":
        host, number = address.split(":")

        def listens():
            with socket.socket() as s:
                return s.connect_ex((host, int(number))) == 0
        harness.wait_until(listens, "pymodbus listens")
    yield port
    process.kill()
    if cable:
        cable.close()


@pytest.mark.parametrize("device", ["rtu", "tcp"], indirect=True)
def test_reads_and_writes(device, broker, mqtt, start_gateway):
    bus = harness.bus(device, [harness.device("dev", 10, POINTS, "interval_ms = 300;")],
                      'baud = 19200; format = "8N1"; response_timeout_ms = 1000;')
    start_gateway(harness.conf(bus, harness.link(broker.port)))
    for name, text in (("temp", "21.5"), ("hum", "45.0"), ("led", "0"), ("test", "-157"), ("wide", str(4 << 16 | 5)),
                       ("input", "109")):
        mqtt.wait(f"mbgate/dev/{name}", text)
    relay, door = mqtt.wait("mbgate/dev/relay").text, mqtt.wait("mbgate/dev/door").text
    assert (relay, door) in (("0", "1"), ("false", "true"), ("off", "on"))
    for name, command, text in (("led", "512", "512"), ("wide", "70000", "70000"), ("relay", "on", door)):
        mqtt.publish(f"mbgate/dev/{name}/set", command)
        mqtt.wait(f"mbgate/dev/{name}", text)
        assert json.loads(mqtt.wait(f"mbgate/dev/{name}/result").text)["ok"] is True
