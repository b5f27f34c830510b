# SPDX-License-Identifier: MIT
# label: one-thread
"""mbgated --scan and --dump against mbsim, which hears only a master that has set the line's speed and format."""

import os
import pty
import re
import signal
import subprocess
import threading
import tty

import pytest

import harness

TEMPLATES = harness.SOURCE / "etc" / "templates"

LINE = """
buses = (
  { name = "line"; port = "%s"; %s
    devices = (
      { name = "meter"; unit_id = 2; template = "eastron-sdm120"; },
      { name = "sensor"; unit_id = 10; points = (
          { name = "temp"; holding = 0; type = "int16"; scale = 0.1; unit = "°C"; },
          { name = "hum"; holding = 1; type = "uint16"; scale = 0.1; unit = "%%"; },
          { name = "power"; holding = 2; type = "float32"; unit = "W"; },
          { name = "relay"; coil = 0; type = "bool"; write = true; } ); },
      { name = "far"; unit_id = 77; points = ( { name = "x"; input = 100; type = "uint16"; } ); } ); }
);
"""


@pytest.fixture
def line(folder, start_sim):
    """Starts the simulator with a line's settings; returns (sim, port)."""
    def make(settings, *arguments):
        plan = folder / "line.conf"
        plan.write_text(LINE % (folder / "tty", settings))
        sim = start_sim("--template-dir", TEMPLATES, "--exact-settings", *arguments, plan)
        return sim, sim.wait_ready()[0]
    return make


def run(*arguments, limit=harness.LIMIT * 2):
    r = subprocess.run([harness.find_program("mbgated"), "--template-dir", TEMPLATES, *arguments],
                       capture_output=True, text=True, timeout=limit)
    assert "Sanitizer" not in r.stderr, r.stderr
    return r


def load(folder, text):
    file = folder / "found.conf"
    file.write_text(text)
    r = run("--check-config", file)
    assert r.returncode == 0, r.stderr
    return r.stdout


@pytest.mark.parametrize("settings", ['baud = 19200; format = "8E1";', 'baud = 57600; format = "8O1";',
                                      'baud = 9600; format = "8N2";'])
def test_an_unknown_line_is_found_and_described(folder, line, settings):
    sim, port = line(settings)
    r = run("--scan", port, "--units", "1-12,77", "--reply-timeout", "60")
    assert r.returncode == 0, r.stderr
    speed, form = re.search(r"baud = (\d+); format = \"(...)\"", settings).groups()
    for unit in (2, 10, 77):
        assert f"unit {unit} answers at {speed} {form}" in r.stderr
    assert "template eastron-sdm120 fits" in r.stderr
    effective = load(folder, r.stdout)
    assert f"baud = {speed};" in effective and f'format = "{form}";' in effective
    assert re.findall(r"unit_id = (\d+);", effective) == ["2", "10", "77"]
    assert 'product "mbsim"' in r.stdout
    assert "active_power" in effective  # of the template
    assert re.search(r'name = "holding3";\s+holding = 3;', effective)
    assert re.search(r'name = "input100";\s+input = 100;', effective)
    functions = {data[1] for _, direction, data, _ in sim.quit() if direction == ">>"}
    assert functions <= {1, 2, 3, 4, 17, 43}, functions  # nothing was written


def test_it_can_be_stopped_and_prints_what_it_has(folder, line):
    _, port = line('baud = 9600; format = "8N1";')
    scan = subprocess.Popen([harness.find_program("mbgated"), "--template-dir", TEMPLATES, "--scan", port],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for text in scan.stderr:
        if "unit 2 answers" in text:
            break
    scan.send_signal(signal.SIGINT)
    out, err = scan.communicate(timeout=harness.LIMIT)
    assert scan.returncode == 130, err
    assert "unit_id = 2;" in load(folder, out)


def test_nobody_there(folder, line):
    _, port = line('baud = 300; format = "8N1";')
    r = run("--scan", port, "--units", "1", "--speeds", "9600", "--reply-timeout", "10")
    assert r.returncode == 69
    assert "nobody answered" in r.stderr
    assert r.stdout == ""


def test_a_slow_device_is_asked_again(line):
    _, port = line('baud = 38400; format = "8N1";', "--fault", "late:150ms@unit=10")
    r = run("--scan", port, "--units", "8-14", "--reply-timeout", "60", "--speeds", "38400", "--formats", "8N1")
    assert "unit 10 answers" in r.stderr, r.stderr
    assert re.search(r"unit 10: answers after 1[5-9]\d ms", r.stdout), r.stdout


def test_broken_replies_are_told(line):
    _, port = line('baud = 38400; format = "8N1";', "--fault", "wrong-crc@unit=10")
    r = run("--scan", port, "--units", "2,10", "--reply-timeout", "60", "--speeds", "38400", "--formats", "8N1")
    assert r.returncode == 0, r.stderr
    assert "unit 10 answers, but never whole" in r.stderr
    assert "two devices with this unit id" in r.stdout


@pytest.mark.parametrize("kind", ["tcp", "rtu-tcp"])
def test_over_tcp(folder, start_sim, kind):
    plan = folder / "line.conf"
    plan.write_text(LINE % (folder / "tty", ""))
    sim = start_sim("--template-dir", TEMPLATES, f"--{kind}", "127.0.0.1:0", plan)
    port = sim.wait_ready()[0]
    r = run("--scan", port, "--units", "1-12", "--reply-timeout", "200")
    assert r.returncode == 0, r.stderr
    effective = load(folder, r.stdout)
    assert re.findall(r"unit_id = (\d+);", effective) == ["2", "10"]
    assert port in effective


def test_dump(line):
    sim, port = line('baud = 9600; format = "8E1";')
    sim.ask("set 10:holding:0 = 17254")
    sim.ask("set 10:holding:1 = 32768")
    common = ("--dump", port, "--units", "10", "--formats", "8E1")
    r = run(*common, "--registers", "holding:0-5")
    assert r.returncode == 0, r.stderr
    text = re.sub(" +", " ", r.stdout)
    assert "holding 0 (0x0000): 0x4366" in text
    assert " float32 230.500000* " in text
    assert "holding 4 (0x0004): exception 2, illegal data address" in text
    r = run(*common, "--registers", "coil:0-1")
    assert re.fullmatch(r"coil +0: [01] E2\n", r.stdout), r.stdout
    assert run("--dump", port, "--units", "11", "--formats", "8E1").returncode == 69


def on_terminal(*arguments):
    """What mbgated shows on a terminal."""
    master, slave = pty.openpty()
    shown = bytearray()
    process = subprocess.Popen([harness.find_program("mbgated"), "--template-dir", TEMPLATES, *arguments],
                               stdout=subprocess.DEVNULL, stderr=slave)
    os.close(slave)
    try:
        while True:
            shown += os.read(master, 4096)
    except OSError:  # it has closed the terminal
        pass
    os.close(master)
    assert process.wait(harness.LIMIT) == 0, shown
    return shown.decode()


def test_what_is_left_is_shown_in_each_phase(line):
    _, port = line('baud = 9600; format = "8N1";')
    common = (port, "--speeds", "9600", "--formats", "8N1", "--units")
    shown = on_terminal("--scan", *common, "2,77")
    assert re.search(r"questions, at most \d+:\d\d left", shown), shown
    assert re.search(r"unit \d+: [a-z0-9-]+; \d+ of 26, about \d+:\d\d left", shown), shown
    shown = on_terminal("--dump", *common, "2", "--registers", "holding:0-99")
    assert re.search(r"dump: \d+ of 100 read, about \d+:\d\d left", shown), shown


def test_a_port_that_is_not_there(folder):
    r = run("--scan", folder / "nothing")
    assert r.returncode == 66
    assert "No such file" in r.stderr
    assert run("--scan", "ttyUSB0").returncode == 64


def test_another_master_is_respected():
    """A pseudo-terminal on which a foreign master asks, and nobody answers."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    stop = threading.Event()

    def ask():
        while not stop.wait(0.2):
            os.write(master, bytes.fromhex("010300000001840A"))
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        r = run("--scan", os.ttyname(slave))
    finally:
        stop.set()
        thread.join()
        os.close(master)
        os.close(slave)
    assert r.returncode == 75, r.stderr
    assert "another master speaks" in r.stderr
