# SPDX-License-Identifier: MIT
"""A USB adapter that is not there yet, returns under another name, or is wanted by two."""

import os
import subprocess
import time

import harness


def sim_with(start_sim, folder, name, value):
    sim = start_sim("--reference", "--link", folder / name, "--baud", "115200", name=name)
    sim.wait_ready()
    sim.ask(f"set 10:holding:0 = {value}")
    return sim


def point_to(link, target):
    """As udev does: the new link takes the place of the old one in one step."""
    link.parent.mkdir(exist_ok=True)
    os.symlink(target, str(link) + ".new")
    os.rename(str(link) + ".new", link)


def test_returns_under_another_name(folder, broker, mqtt, start_sim, start_gateway):
    name = folder / "by-id" / "usb-adapter"
    bus = harness.reference_bus(name, 'baud = 115200; format = "8E1";', interval_ms=100, send_interval_s=1)
    gateway = start_gateway(harness.conf(bus, harness.link(broker.port)))
    gateway.wait_line("cannot open .*usb-adapter: No such file or directory")
    # Long enough that the next try by the clock is seconds away: what follows is told by inotify.
    first = sim_with(start_sim, folder, "ttyUSB0", 111)
    time_1 = time.monotonic()
    point_to(name, "../ttyUSB0")
    gateway.wait_line("usb-adapter is open")
    print("opened after", time.monotonic() - time_1)
    mqtt.wait("modbusgateway/temp", "11.1")
    # The adapter goes, with its folder, and comes back as another node.
    start = len(gateway.process.lines)
    os.unlink(name)
    name.parent.rmdir()
    first.process.kill()
    gateway.wait_line("usb-adapter lost|lost: |next try in", start)
    mqtt.wait("modbusgateway/availability", "offline")
    sim_with(start_sim, folder, "ttyUSB1", 222)
    start = len(gateway.process.lines)
    point_to(name, "../ttyUSB1")
    gateway.wait_line("usb-adapter is open again", start)
    mqtt.wait("modbusgateway/temp", "22.2")


def test_two_buses_on_one_device_are_refused(folder, broker, mqtt, start_sim, start_gateway, new_gateway):
    sim_with(start_sim, folder, "ttyUSB0", 111)
    buses = [harness.bus(folder / n, [harness.device(f"dev{n}", 10, harness.registers(0, 2))], name=n)
             for n in ("one", "two")]
    text = harness.conf(buses, harness.link(broker.port))
    gateway = start_gateway(text)  # neither is there yet
    gateway.wait_line("bus two: cannot open")
    for n in ("one", "two"):
        os.symlink("ttyUSB0", folder / n)
    gateway.wait_line("bus (one|two): .* is open")
    gateway.wait_line("bus (one|two): cannot open .*held by another bus of this program")
    gateway.stop()
    # Now that both names lead to it, the configuration itself is an error.
    r = subprocess.run([harness.find_program("mbgated"), "--check-config", gateway.file], capture_output=True, text=True,
                       timeout=harness.LIMIT)
    assert r.returncode == 78 and "is the port of bus \"one\" already" in r.stderr, r.stderr


def test_the_holder_is_named(folder, broker, start_sim, start_gateway):
    sim_with(start_sim, folder, "ttyUSB0", 111)
    with open(folder / "held", "w") as out:
        holder = subprocess.Popen(["flock", "-F", folder / "ttyUSB0", "sleep", "1000"], stdout=out)
    try:
        harness.wait_until(lambda: subprocess.run(["flock", "-n", folder / "ttyUSB0", "true"]).returncode, "flock holds it")
        gateway = start_gateway(harness.conf(harness.reference_bus(folder / "ttyUSB0"), harness.link(broker.port)))
        gateway.wait_line(r"cannot open .*: held by (flock|sleep|mbsim) \(process \d+\)")
    finally:
        holder.kill()
        holder.wait()


def test_who_shares_without_a_lock_is_named(folder, broker, start_sim, start_gateway):
    sim_with(start_sim, folder, "ttyUSB0", 111)
    with open(folder / "ttyUSB0", "rb", buffering=0) as line:
        other = subprocess.Popen(["sleep", "1000"], stdin=line)
    try:
        gateway = start_gateway(harness.conf(harness.reference_bus(folder / "ttyUSB0"), harness.link(broker.port)))
        gateway.wait_line(rf"is open in sleep \(process {other.pid}\) as well")
    finally:
        other.kill()
        other.wait()
