# SPDX-License-Identifier: MIT
"""mbsim against masters that nobody here wrote: mbpoll (libmodbus) and pymodbus, on the pseudo-terminal and TCP."""
import csv
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import termios
import threading
import time

import pytest

import compat

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PATIENCE_S = 20
TIOCGEXCL = 0x80045440  # not in module termios


def find_mbsim():
    build = os.path.abspath(os.environ.get("MBGATE_BUILD", ""))
    for path in [os.path.join(build, "tools/mbsim/mbsim")] + [os.environ.get("MBSIM", "")]:
        if path and os.access(path, os.X_OK):
            return path
    built = [os.path.join(ROOT, "build", d, "tools/mbsim/mbsim") for d in sorted(os.listdir(os.path.join(ROOT, "build")))]
    built = [p for p in built if os.access(p, os.X_OK)]
    return max(built, key=os.path.getmtime) if built else shutil.which("mbsim")


MBSIM = find_mbsim()
pytestmark = pytest.mark.skipif(MBSIM is None, reason="mbsim is not built")

CONFIG = """
gateway = { name = "mbgate"; };
buses = (
  { name = "rs485"; port = "%(port)s"; baud = 19200; format = "8N1";
    devices = (
      { name = "sensor"; unit_id = 10;
        points = (
          { name = "temp"; holding = 0; type = "int16"; scale = 0.1; unit = "°C"; },
          { name = "hum"; holding = 1; type = "uint16"; scale = 0.1; unit = "%%"; },
          { name = "led"; holding = 2; type = "uint16"; write = true; min = 0; max = 1023; },
          { name = "test"; holding = 3; type = "int16"; }
        ); },
      { name = "meter"; unit_id = 1;
        points = (
          { name = "power"; input = 0; type = "float32"; unit = "W"; },
          { name = "relay"; coil = 4; type = "bool"; write = true; }
        ); } ); }
);
"""


class Sim:
    """A running mbsim, its ready lines read."""

    def __init__(self, tmp_path, *args, n_buses=1):
        self.stats_path = str(tmp_path / "stats.json")
        self.control_path = str(tmp_path / "control")
        self.process = subprocess.Popen(
            [MBSIM, "--stats", self.stats_path, "--control", self.control_path, *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        self.places = {}
        watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        watchdog.start()
        for _ in range(n_buses):
            line = self.process.stdout.readline()
            m = re.fullmatch(r"mbsim: ready: bus (\S+) on (\S+) \((\d+) (\S+)\)\n", line)
            assert m, line + self.process.stderr.read()
            self.places[m[1]] = m[2]
        watchdog.cancel()
        self.place = list(self.places.values())[0]

    def tell(self, command):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE_S)
            s.connect(self.control_path)
            s.sendall(command.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                part = s.recv(65536)
                assert part, answer
                answer += part
        return answer.decode().rstrip("\n")

    def stats(self):
        return json.loads(self.tell("stats"))["buses"][0]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, err
        with open(self.stats_path) as f:
            return json.load(f)

    def tcp(self):
        m = re.fullmatch(r"(?:rtu\+)?tcp://127\.0\.0\.1:(\d+)", self.place)
        return int(m[1])


@pytest.fixture
def sim(tmp_path):
    running = []

    def start(*args, **kwargs):
        running.append(Sim(tmp_path, *args, **kwargs))
        return running[-1]

    yield start
    for s in running:
        if s.process.poll() is None:
            s.process.kill()
        s.process.communicate()


def link(tmp_path):
    return ["--link", str(tmp_path / "port")]


def serial_client(place, baud=9600, timeout=2):
    """Parity N, whatever the simulated line has: a pty has none, which pyserial takes for an error. Whole seconds."""
    client = compat.serial_master(place, baudrate=baud, parity="N", timeout=timeout, retries=0)
    assert client.connect()
    return client


def mbpoll(*args, check=True):
    r = subprocess.run(["mbpoll", "-1", "-0", "-q", *args], capture_output=True, text=True, timeout=60)
    if check:
        assert r.returncode == 0, r.stdout + r.stderr
    return {int(a): v for a, v in re.findall(r"^\[(\d+)\]:\s+(\S+)", r.stdout, re.M)}, r


def registers_file(tmp_path, text):
    path = tmp_path / "registers.txt"
    path.write_text(text)
    return ["--registers", str(path)]


def test_mbpoll_reads_and_writes_the_reference_sensor(sim, tmp_path):
    s = sim("--reference", *link(tmp_path))
    rtu = ["-m", "rtu", "-b", "9600", "-P", "even", "-a", "10"]
    values, _ = mbpoll(*rtu, "-r", "0", "-c", "4", s.place)
    assert 205 <= int(values[0]) <= 225 and 400 <= int(values[1]) <= 500
    assert values[2] == "0" and values[3] == "65379"
    mbpoll(*rtu, "-r", "2", s.place, "512")
    values, _ = mbpoll(*rtu, "-r", "2", "-c", "1", s.place)
    assert values[2] == "512"
    total = s.stop()["buses"][0]
    assert total["requests"] == 3 and total["units"]["10"]["ok"] == 3
    assert total["registers_read"] == 5 and total["written"] == 1
    assert not os.path.lexists(tmp_path / "port")


def test_pymodbus_uses_every_function_on_the_line(sim, tmp_path):
    s = sim(*registers_file(tmp_path, "unit 7\nholding 0..99 = address\ninput 0..9 = unit-address\n"
                                      "coil 0..15 = 0\ndiscrete 0..15 = address\n"), *link(tmp_path), "--baud", "115200")
    c = serial_client(s.place, 115200)
    assert c.read_holding_registers(10, 90, unit=7).registers == list(range(10, 100))
    assert c.read_input_registers(0, 3, unit=7).registers == [7000, 7001, 7002]
    assert c.read_discrete_inputs(0, 4, unit=7).bits[:4] == [False, True, False, True]
    assert not c.write_coil(3, True, unit=7).isError()
    assert not c.write_coils(5, [True, False, True], unit=7).isError()
    assert c.read_coils(0, 8, unit=7).bits == [False, False, False, True, False, True, False, True]
    assert not c.write_register(20, 0xABCD, unit=7).isError()
    assert not c.write_registers(21, [1, 2, 3], unit=7).isError()
    assert c.read_holding_registers(20, 5, unit=7).registers == [0xABCD, 1, 2, 3, 24]
    assert not c.mask_write_register(20, 0xFF00, 0x0012, unit=7).isError()
    assert c.read_holding_registers(20, 1, unit=7).registers == [0xAB12]
    r = c.readwrite_registers(read_address=30, read_count=2, write_address=30, values=[8], unit=7)
    assert r.registers == [8, 31]
    assert c.read_holding_registers(99, 2, unit=7).exception_code == 2
    assert c.write_register(100, 1, unit=7).exception_code == 2
    assert c.read_holding_registers(0, 1, unit=8).isError()
    total = s.stop()["buses"][0]
    assert total["unknown_unit"] == 1 and total["exceptions"] == 2 and total["broken"] == 0


@pytest.mark.parametrize("framing", ["tcp", "rtu-tcp"])
def test_tcp(sim, tmp_path, framing):
    s = sim("--reference", f"--{framing}", "127.0.0.1:0")
    c, other = (compat.tcp_master(s.tcp(), rtu=framing == "rtu-tcp", timeout=5) for _ in range(2))
    assert c.connect() and other.connect()
    assert not c.write_register(2, 700, unit=10).isError()
    assert other.read_holding_registers(2, 2, unit=10).registers == [700, 65379]
    if framing == "tcp":
        values, _ = mbpoll("-m", "tcp", "-p", str(s.tcp()), "-a", "10", "-r", "2", "-c", "2", "127.0.0.1")
        assert values[2] == "700"
        assert c.read_holding_registers(0, 1, unit=3).exception_code == 11
    assert s.stats()["t35_violations"] == 0


def test_a_configuration_is_played_where_it_says(sim, tmp_path):
    config = tmp_path / "mbgated.conf"
    config.write_text(CONFIG % {"port": tmp_path / "line"})
    s = sim(str(config), "--set", "sensor.temp=sine -5..-5 period 10")
    assert s.places == {"rs485": str(tmp_path / "line")}
    c = serial_client(s.place, 19200)
    temp, hum, led, test = c.read_holding_registers(0, 4, unit=10).registers
    assert (temp, led, test) == (65536 - 50, 0, 65379) and 400 <= hum <= 500
    assert not c.write_register(2, 512, unit=10).isError()
    assert c.write_register(0, 512, unit=10).exception_code == 2
    assert not c.read_input_registers(0, 2, unit=1).isError()
    assert not c.write_coil(4, True, unit=1).isError()
    assert c.read_coils(4, 1, unit=1).bits[0] is True
    assert s.tell("get sensor.led") == "ok 512"
    assert s.tell("set sensor.led 7") == "ok"
    assert c.read_holding_registers(2, 1, unit=10).registers == [7]


def test_values_can_be_addresses(sim, tmp_path):
    config = tmp_path / "mbgated.conf"
    config.write_text(CONFIG % {"port": tmp_path / "line"})
    s = sim(str(config), "--values", "unit-address")
    c = serial_client(s.place, 19200)
    assert c.read_holding_registers(0, 4, unit=10).registers == [10000, 10001, 10002, 10003]
    assert c.read_input_registers(0, 2, unit=1).registers == [1000, 1001]


def test_sparse_maps_read_zero(sim, tmp_path):
    s = sim("--reference", "--sparse-ok", *link(tmp_path))
    c = serial_client(s.place)
    assert c.read_holding_registers(2, 4, unit=10).registers == [0, 65379, 0, 0]


def test_the_line_has_its_pace(sim, tmp_path):
    """10 reads of 4 registers at 9600 8E1 take 10 x (21 characters + turnaround) at least; never less."""
    s = sim("--reference", "--turnaround", "10", *link(tmp_path), "--csv", str(tmp_path / "frames.csv"))
    c = serial_client(s.place)
    for _ in range(10):
        assert not c.read_holding_registers(0, 4, unit=10).isError()
    s.stop()
    with open(tmp_path / "frames.csv") as f:
        rows = [r for r in csv.DictReader(f) if r["direction"] in (">>", "<<")]
    assert [r["direction"] for r in rows] == [">>", "<<"] * 10
    shortest = 21 * 11 / 9600 + 0.010
    for request, reply in zip(rows[::2], rows[1::2]):
        assert float(reply["time_s"]) - float(request["time_s"]) >= shortest - 2e-6


def test_speed_shortens_everything(sim, tmp_path):
    s = sim("--reference", "--speed", "50", "--baud", "300", *link(tmp_path))
    c = serial_client(s.place)
    begin = time.monotonic()
    for _ in range(20):
        assert not c.read_holding_registers(0, 4, unit=10).isError()
    assert time.monotonic() - begin < 20 * 21 * 11 / 300  # 15 s at speed 1
    total = s.stop()
    assert total["speed"] == 50
    assert total["buses"][0]["line_us"] > 20 * 21 * 11 / 300 * 1e6


def test_strict_mode_ignores_hasty_masters(sim, tmp_path):
    """At 300 Bd t3.5 is 128 ms: a second request 0 ms after the reply is not heard, after 300 ms it is."""
    s = sim("--reference", "--strict", "--baud", "300", "--speed", "1", *link(tmp_path))
    fd = os.open(s.place, os.O_RDWR | os.O_NOCTTY)
    request = bytes.fromhex("0A03000000018571")
    try:
        assert ask_raw(fd, request, 7) is not None
        os.write(fd, request)
        assert not select.select([fd], [], [], 1.5)[0]
        assert ask_raw(fd, request, 7) is not None
    finally:
        os.close(fd)
    total = s.stop()["buses"][0]
    assert total["t35_violations"] == 1 and total["requests"] == 3 and total["ok"] == 2
    assert total["gap_min_us"] < total["t35_us"]


def ask_raw(fd, request, n_reply):
    """Writes a request, reads as many bytes as the reply has."""
    os.write(fd, request)
    reply = b""
    while len(reply) < n_reply:
        if not select.select([fd], [], [], PATIENCE_S)[0]:
            return None
        reply += os.read(fd, 300)
    return reply


def test_broken_requests_are_counted_and_the_next_is_heard(sim, tmp_path):
    s = sim("--reference", *link(tmp_path))
    fd = os.open(s.place, os.O_RDWR | os.O_NOCTTY)
    request = bytes.fromhex("0A03000000018571")
    try:
        os.write(fd, request[:-1] + b"\x00")
        assert not select.select([fd], [], [], 0.3)[0]
        os.write(fd, request[:5])
        assert not select.select([fd], [], [], 0.3)[0]
        os.write(fd, request[:3])
        os.write(fd, request[3:])
        assert ask_raw(fd, b"", 7)[:3] == b"\x0a\x03\x02"
    finally:
        os.close(fd)
    assert s.stats()["broken"] == 2


def test_faults_from_the_command_line(sim, tmp_path):
    s = sim("--reference", *link(tmp_path), "--log", str(tmp_path / "log"),
            "--fault", "exception:6@n=1", "--fault", "wrong-crc@n=2", "--fault", "no-reply@n=3",
            "--fault", "truncate@n=4", "--fault", "wrong-unit@n=5")
    c = serial_client(s.place, timeout=1)
    assert c.read_holding_registers(0, 1, unit=10).exception_code == 6
    for _ in range(4):
        assert c.read_holding_registers(0, 1, unit=10).isError()
        c.close()
        assert c.connect()
    assert not c.read_holding_registers(0, 1, unit=10).isError()
    total = s.stop()["buses"][0]
    assert total["faults"] == {"no-reply": 1, "wrong-crc": 1, "truncate": 1, "wrong-unit": 1, "exception": 1}
    log = (tmp_path / "log").read_text()
    assert re.search(r"^\d+\.\d{6} rs485 >> 0A 03 00 00 00 01 85 71  # exception$", log, re.M)
    assert re.search(r"^\d+\.\d{6} rs485 << 0A 83 06 [0-9A-F]{2} [0-9A-F]{2}  # exception$", log, re.M)


def test_the_same_seed_gives_the_same_faults(sim, tmp_path):
    outcomes = []
    for seed in ("5", "5", "6"):
        s = sim("--reference", "--tcp", "127.0.0.1:0", "--fault", "exception:6@p=0.3", "--seed", seed)
        c = compat.tcp_master(s.tcp(), timeout=5)
        assert c.connect()
        outcomes.append([c.read_holding_registers(0, 1, unit=10).isError() for _ in range(60)])
        c.close()
        s.stop()
    assert outcomes[0] == outcomes[1] != outcomes[2]
    assert 5 < sum(outcomes[0]) < 35


def test_devices_die_and_come_back(sim, tmp_path):
    s = sim(*registers_file(tmp_path, "unit 1\nholding 0 = 1\nunit 2\nholding 0 = 2\n"), "--tcp", "127.0.0.1:0")
    c = compat.tcp_master(s.tcp(), timeout=1, retries=0)
    assert c.connect()
    assert s.tell("dead 2") == "ok"
    assert c.read_holding_registers(0, 1, unit=1).registers == [1]
    assert c.read_holding_registers(0, 1, unit=2).isError()
    assert s.tell("alive 2") == "ok"
    assert c.read_holding_registers(0, 1, unit=2).registers == [2]
    assert s.tell("fault exception:4@unit=1") == "ok"
    assert c.read_holding_registers(0, 1, unit=1).exception_code == 4
    assert s.tell("clear") == "ok"
    assert c.read_holding_registers(0, 1, unit=1).registers == [1]
    assert s.tell("dead 9").startswith("error: ")
    assert s.tell("bogus").startswith("error: ")
    assert s.tell("reset") == "ok" and s.stats()["requests"] == 0


def test_a_port_hangs_up_and_returns_under_its_name(sim, tmp_path):
    s = sim("--reference", *link(tmp_path))
    c = serial_client(s.place)
    assert not c.read_holding_registers(0, 1, unit=10).isError()
    fd = os.open(s.place, os.O_RDWR | os.O_NOCTTY)
    assert s.tell("hangup 0.5") == "ok"
    assert not os.path.lexists(s.place)
    assert select.select([fd], [], [], PATIENCE_S)[0]
    try:
        assert os.read(fd, 10) == b""
    except OSError:
        pass
    os.close(fd)
    c.close()
    end = time.monotonic() + PATIENCE_S
    while not os.path.exists(s.place) and time.monotonic() < end:
        time.sleep(0.02)
    c = serial_client(s.place)
    assert not c.read_holding_registers(0, 1, unit=10).isError()
    assert s.stats()["hangups"] == 1


def test_masters_come_and_go(sim, tmp_path):
    """What one master left unread, the next does not find; an exclusive one does not shut the next out."""
    s = sim("--reference", *link(tmp_path), "--fault", "late:300ms@n=1", "--log", str(tmp_path / "log"))
    fd = os.open(s.place, os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(fd, termios.TIOCEXCL)
    os.write(fd, bytes.fromhex("0A03000000018571"))
    assert select.select([fd], [], [], PATIENCE_S)[0]
    os.close(fd)
    end = time.monotonic() + PATIENCE_S
    while "closed by its last user" not in (tmp_path / "log").read_text() and time.monotonic() < end:
        time.sleep(0.01)
    fd = os.open(s.place, os.O_RDWR | os.O_NOCTTY)
    assert fcntl.ioctl(fd, TIOCGEXCL, bytes(4)) == bytes(4)
    os.close(fd)
    for _ in range(3):
        c = serial_client(s.place)
        assert c.read_holding_registers(3, 1, unit=10).registers == [65379]
        c.close()


def test_many_lines_in_one_process(sim, tmp_path):
    config = tmp_path / "mbgated.conf"
    bus = '{ name = "b%d"; port = "/dev/ttyS%d"; baud = 115200; devices = ( { name = "d%d"; unit_id = 1; ' \
          'points = ( { name = "v"; holding = 0; type = "uint16"; } ); } ); }'
    config.write_text("buses = (" + ",".join(bus % (i, i, i) for i in range(32)) + ");")
    s = sim(str(config), "--link-dir", str(tmp_path / "lines"), "--values", "address", n_buses=32)
    assert sorted(os.listdir(tmp_path / "lines")) == sorted(f"b{i}" for i in range(32))
    fds = [os.open(p, os.O_RDWR | os.O_NOCTTY) for p in s.places.values()]
    request = bytes.fromhex("010300000001840A")
    for _ in range(20):
        for fd in fds:
            os.write(fd, request)
        for fd in fds:
            assert ask_raw(fd, b"", 7) == bytes.fromhex("0103020000B844")
    for fd in fds:
        os.close(fd)
    assert sum(b["ok"] for b in s.stop()["buses"]) == 640


@pytest.mark.parametrize("args, code, text", [
    ([], 64, "name one thing to play"),
    (["--reference", "x.conf"], 64, "name one thing to play"),
    (["--reference", "--link", "a", "--tcp", "127.0.0.1:0"], 64, "exclude each other"),
    (["--registers", "/nowhere"], 66, "No such file"),
    (["/nowhere.conf"], 66, "nowhere.conf: No such file"),
    (["--reference", "--baud", "x"], 64, "--baud x: give a whole number"),
    (["--reference", "--format", "9Q1"], 64, "such as 8E1"),
    (["--reference", "--fault", "norely"], 64, "did you mean \"no-reply\""),
    (["--reference", "--set", "a.b=1"], 64, "there is no \"a.b\""),
    (["--reference", "--link", "/dev/null"], 73, "no symbolic link"),
    (["--reference", "--tcp", "nowhere"], 64, "such as 127.0.0.1:1502"),
    (["--reference", "--log", "/nowhere/log"], 73, "/nowhere/log"),
    (["--bogus"], 64, "mbsim --help"),
])
def test_errors_name_thing_and_remedy(tmp_path, args, code, text):
    r = subprocess.run([MBSIM, "--for", "5", *args],
                       capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert r.returncode == code, r.stderr
    assert text in r.stderr


def test_help_and_version(tmp_path):
    r = subprocess.run([MBSIM, "--help"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and r.stdout.startswith("Usage: mbsim") and r.stderr == ""
    r = subprocess.run([MBSIM, "--version"], capture_output=True, text=True, timeout=60)
    assert r.returncode == 0 and re.fullmatch(r"mbsim \d+\.\d+\.\d+\n", r.stdout)


def test_commands_from_standard_input(tmp_path):
    r = subprocess.run([MBSIM, "--reference", "--link", str(tmp_path / "p"), "--control", "-"], text=True, timeout=60,
                       input="set 10:holding:2 9\nget 10:holding:2\nstats\nquit\n", capture_output=True)
    assert r.returncode == 0, r.stderr
    lines = r.stdout.splitlines()
    assert lines[1:3] == ["ok", "ok 9"] and json.loads(lines[3])["buses"][0]["name"] == "rs485" and lines[4] == "ok"
