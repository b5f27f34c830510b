# SPDX-License-Identifier: MIT
"""mbpoll beside us on the same simulator: both must see the same values."""

import re
import subprocess

import harness


def mbpoll(port, *arguments):
    out = subprocess.run(["mbpoll", "-m", "tcp", "-p", str(port), "-a", "10", "-0", "-1", *arguments, "127.0.0.1"],
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.LIMIT, check=True)
    return {int(a): int(v) for a, v in re.findall(r"^\[(\d+)\]:\s+(-?\d+)", out.stdout, re.M)}


def test_same_values(folder, broker, mqtt, start_sim, start_gateway):
    port = harness.free_port()
    points = harness.registers(0, 20) + harness.registers(100, 5, "input") + \
        ['{ name = "led"; holding = 50; type = "uint16"; write = true; }']
    text = harness.conf(harness.bus(f"tcp://127.0.0.1:{port}",
                                    [harness.device("dev", 10, points, "interval_ms = 200;")], ""),
                        harness.link(broker.port))
    plan = folder / "sim.conf"
    plan.write_text(text)
    start_sim("--values", "unit-address", "--set", "dev.led=7", plan).wait_ready()
    start_gateway(text)
    for address in (*range(20), *range(100, 105)):
        mqtt.wait(f"mbgate/dev/r{address}")
    theirs = mbpoll(port, "-t", "4", "-r", "0", "-c", "20")
    theirs.update(mbpoll(port, "-t", "3", "-r", "100", "-c", "5"))
    ours = {address: int(mqtt.find(f"mbgate/dev/r{address}").text) for address in theirs}
    assert ours == theirs and len(ours) == 25

    mqtt.publish("mbgate/dev/led/set", "512")
    mqtt.wait("mbgate/dev/led", "512")
    assert mbpoll(port, "-t", "4", "-r", "50", "-c", "1") == {50: 512}
    mbpoll_write = ["mbpoll", "-m", "tcp", "-p", str(port), "-a", "10", "-0", "-1", "-r", "50", "127.0.0.1", "99"]
    subprocess.run(mbpoll_write, stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.LIMIT, check=True)
    mqtt.wait("mbgate/dev/led", "99")
