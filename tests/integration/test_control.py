# SPDX-License-Identifier: MIT
"""The control socket: mbgatectl's requests, and what strangers send."""

import json
import os
import socket
import stat
import subprocess

import pytest

import harness

LINE = 8192


@pytest.fixture
def running(folder, broker, mqtt, start_sim, new_gateway):
    """Unit 1 with ten registers, the first writable: (gateway, sim, socket)."""
    def make(environment=None):
        points = ['{ name = "led"; holding = 0; write = true; max = 2000; }', *harness.registers(1, 9)]
        text = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, points, "interval_ms = 500;")]),
                            harness.link(broker.port))
        (folder / "sim.conf").write_text(text)
        sim = start_sim("--values", "unit-address", folder / "sim.conf")
        sim.wait_ready()
        gateway = new_gateway(text, environment=environment or {"RUNTIME_DIRECTORY": str(folder)}).start()
        mqtt.wait("mbgate/dev1/r9", "1009")
        gateway.text_of = text
        return gateway, sim, folder / "control"
    return make


def ctl(path, *words):
    """(exit code, standard output, standard error)"""
    done = subprocess.run([harness.find_program("mbgatectl"), "--socket", path, *words], capture_output=True,
                          text=True, timeout=harness.LIMIT)
    return done.returncode, done.stdout, done.stderr


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(harness.LIMIT)
    s.connect(str(path))
    return s


def lines_of(s):
    """All that comes until the other side ends."""
    text = b""
    while piece := s.recv(65536):
        text += piece
    return text.decode().splitlines()


def talk(path, data):
    with connect(path) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return [json.loads(line) for line in lines_of(s)]


def test_requests(running, mqtt):
    _, sim, path = running()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o660
    assert ctl(path, "get", "dev1/r3") == (0, "1003\n", "")
    start = mqtt.mark()
    assert ctl(path, "set", "dev1/led", "17") == (0, "17\n", "")
    mqtt.wait("mbgate/dev1/led", "17", start)
    assert json.loads(mqtt.wait("mbgate/dev1/led/result", start=start).text)["ok"]
    assert ctl(path, "raw", "line", "01", "03", "0000", "0002") == (0, "01 03 04 00 11 03 E9\n", "")
    assert ctl(path, "raw", "line", '{"unit": 1, "function": 43, "data": "0E 01 00"}')[1].startswith("01 2B 0E 01")
    code, out, _ = ctl(path, "--json", "raw", "line", '{"unit":1,"function":3,"address":1,"count":3,"id":7}')
    answer = json.loads(out)
    assert code == 0 and answer["value"]["values"] == [1001, 1002, 1003] and answer["id"] == 7, out
    code, out, _ = ctl(path, "status")
    assert code == 0 and "bus line: " in out and ": open" in out and "online" in out, out
    for words, text in ((("set", "dev1/led", "9999"), "out of range"), (("set", "dev1/r3", "1"), "not writable"),
                        (("get", "dev1/x"), "no such point"), (("raw", "x", "01", "03"), "no such bus"),
                        (("raw", "line", "01 03 1388 0001"), "exception 2"),
                        (("raw", "line", "zz"), "unreadable")):
        code, out, err = ctl(path, *words)
        assert code == 1 and out == "" and text in err, (words, code, out, err)
    for words in ((), ("get",), ("set", "dev1/led"), ("status", "x"), ("reboot",), ("--nonsense",), ("get", "a b")):
        code, out, err = ctl(path, *words)
        assert code == 64 and out == "" and "mbgatectl" in err, (words, code, out, err)
    writes = [f[2] for f in sim.quit() if f[1] == ">>" and f[2][1] in (5, 6, 15, 16)]
    assert len(writes) == 1 and writes[0][:6] == bytes.fromhex("010600000011"), writes


def test_many_lines_are_answered_in_order(running):
    _, _, path = running()
    answers = talk(path, b"get dev1/r1\r\n\n  \nset dev1/led 5\nget dev1/led\nget dev1/nope\nget dev1/r2")
    assert [(a["ok"], a.get("value")) for a in answers] == [
        (True, 1001), (False, None), (True, 5), (True, 5), (False, None), (True, 1002)], answers


def test_strangers(running):
    gateway, _, path = running()
    for rubbish in (b"\0" * 100 + b"\n", b"\xff\xfe\n", b"set dev1/+ 1\n", b"set\n", b"#\n", b"raw line " + b"00" * 400):
        answers = talk(path, rubbish)
        assert len(answers) == 1 and not answers[0]["ok"] and answers[0]["error"], (rubbish, answers)
    answers = talk(path, b"x" * (LINE + 1))
    assert len(answers) == 1 and "too long" in answers[0]["error"], answers
    crowd = [connect(path) for _ in range(16)]
    for s in crowd:  # each is known when it is answered
        s.sendall(b"get dev1/nope\n")
        assert json.loads(s.recv(4096))["ok"] is False
    with connect(path) as s:
        assert "too many clients" in lines_of(s)[0]
    for s in crowd:
        s.sendall(b"get dev1/r1\n" * 20)
        s.close()  # and does not wait for an answer
    harness.wait_until(lambda: ctl(path, "get", "dev1/r1")[0] == 0, "there is room again")
    with connect(path) as s:  # nobody reads the answers: the next requests wait
        s.setblocking(False)
        try:
            while True:
                s.send(b"status\n" * 100)
        except BlockingIOError:
            pass
        assert ctl(path, "get", "dev1/r2") == (0, "1002\n", "")
    assert gateway.alive()


def test_over_a_reload(running):
    gateway, sim, path = running()
    with connect(path) as s:
        s.sendall(b"get dev1/r1\n")
        assert json.loads(s.recv(4096))["value"] == 1001
        gateway.reload(gateway.text_of.replace('"led"', '"lamp"'))
        s.sendall(b"set dev1/lamp 3\n")
        assert json.loads(s.recv(4096))["ok"]
        s.sendall(b"set dev1/led 3\n")
        assert "no such point" in json.loads(s.recv(4096))["error"]
        sim.ask("dead 1")
        s.sendall(b"get dev1/r1\n")
        gateway.reload(gateway.text_of.replace("interval_ms = 500", "interval_ms = 600"))
        assert not json.loads(s.recv(4096))["ok"]
    gateway.stop()
    assert not path.exists()
    code, _, err = ctl(path, "status")
    assert code == 69 and "does mbgated run?" in err, err


def test_who_has_the_path(folder, running):
    path = folder / "control"
    with socket.socket(socket.AF_UNIX) as dead:  # left behind by one that was killed
        dead.bind(str(path))
    gateway, _, _ = running()
    assert ctl(path, "get", "dev1/r1")[0] == 0
    gateway.stop()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        gateway.kill()  # its folder is free for the next
        gateway.stopped = False
        gateway.start()
        gateway.wait_line("control: cannot listen on .*Address already in use")
        gateway.stop()
    assert path.exists()  # it is the other's
