# SPDX-License-Identifier: MIT
"""A write on a saturated line starts at the next transaction boundary."""

import json
import random
import time

import pytest

import harness

WRITES = 15


@pytest.fixture
def saturated(folder, broker, mqtt, start_sim, start_gateway):
    """Ten devices with blocks of 60 registers on 9600 8E1: a transaction takes 0.16 s, a round 1.6 s."""
    devices = [harness.device(f"dev{unit}", unit, [
        '{ name = "led"; holding = 0; type = "uint16"; write = true; }', *harness.registers(1, 59)],
        "interval_ms = 100;") for unit in range(1, 11)]
    text = harness.conf(harness.bus(folder / "line", devices, 'baud = 9600; format = "8E1";'),
                        harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    sim = start_sim("--values", "zero", folder / "sim.conf")
    sim.wait_ready()
    start_gateway(text)
    for unit in range(1, 11):
        mqtt.wait(f"mbgate/dev{unit}/led", "0")
    return sim


def test_at_most_one_poll_begins_before_it(saturated, mqtt):
    published = []
    phase = random.Random(1)
    for number in range(1, WRITES + 1):
        unit = number % 10 + 1
        # Not always right behind the read-back, when the next poll is just about to begin.
        time.sleep(phase.uniform(0, 0.32))
        start = mqtt.mark()
        published.append((time.monotonic(), unit, number))
        mqtt.publish(f"mbgate/dev{unit}/led/set", str(number), qos=0)
        assert json.loads(mqtt.wait(f"mbgate/dev{unit}/led/result", start=start).text)["ok"] is True
        mqtt.wait(f"mbgate/dev{unit}/led", str(number), start=start)  # read back, then published
    requests = [(at, data) for at, direction, data, _ in saturated.quit() if direction == ">>"]
    between = []
    for at, unit, number in published:
        write = next(t for t, data in requests if data[0] == unit and data[1] in (6, 16) and t >= at
                     and int.from_bytes(data[4:6], "big") == number)
        between.append(len([1 for t, _ in requests if at < t < write]))
    # The one that ran when we published is before `at`; one more may begin until the command has come through the broker.
    assert max(between) <= 1, between
    assert sum(between) < len(between), between


def test_polls_live_on_under_many_writes(saturated, mqtt):
    """Commands without end must not starve the polling."""
    sim = saturated
    sim.ask("reset")
    for number in range(200):
        mqtt.client.publish("mbgate/dev1/led/set", str(number), 1)
    harness.wait_until(lambda: sim.stats()["units"].get("1", {}).get("written", 0) >= 20, "writes go out")
    stats = sim.stats()
    reads = stats["registers_read"] // 60
    assert reads >= 3, stats
