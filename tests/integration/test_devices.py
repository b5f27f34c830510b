# SPDX-License-Identifier: MIT
"""Dead devices, and ports that vanish."""

import time

import pytest

import harness


@pytest.fixture
def two_devices(folder, broker, mqtt, start_sim, start_gateway):
    """Units 1 and 2 on a fast line: (gateway, sim)."""
    def make(*arguments):
        devices = [harness.device(f"dev{unit}", unit, harness.registers(0, 10), "interval_ms = 100;")
                   for unit in (1, 2)]
        text = harness.conf(harness.bus(folder / "line", devices, more="response_timeout_ms = 200; retries = 1;"),
                            harness.link(broker.port))
        (folder / "sim.conf").write_text(text)
        sim = start_sim("--values", "unit-address", *arguments, folder / "sim.conf")
        sim.wait_ready()
        gateway = start_gateway(text)
        for unit in (1, 2):
            mqtt.wait(f"mbgate/dev{unit}/r9", f"{unit}009")
            mqtt.wait(f"mbgate/dev{unit}/availability", "online")
        return gateway, sim
    return make


def test_a_dead_device_does_not_slow_the_other(two_devices, mqtt):
    _, sim = two_devices()
    sim.ask("dead 2")
    mqtt.wait("mbgate/dev2/availability", "offline")
    sim.ask("reset")
    harness.wait_until(lambda: sim.stats()["units"]["1"]["requests"] >= 100, "unit 1 is polled")
    stats = sim.stats()
    dead = stats["units"].get("2", {"requests": 0})["requests"]
    # At most 5 % of the bus for the dead: of some 10 s, 0.5 s, which is two or three time-outs; twice that is allowed here.
    assert dead * 0.2 <= 0.10 * stats["elapsed_us"] / 1e6 + 0.4, stats
    assert stats["units"]["1"]["silent"] == 0
    assert mqtt.find("mbgate/dev1/availability", "offline") is None


def test_it_comes_back_within_ten_seconds(two_devices, mqtt):
    _, sim = two_devices()
    sim.ask("dead 2")
    mqtt.wait("mbgate/dev2/availability", "offline")
    # Long enough dead for its pauses to have grown.
    end = time.monotonic() + 12
    harness.wait_until(lambda: time.monotonic() > end, "the pauses grow")
    sim.ask("set 2:holding:9 4711")
    start = mqtt.mark()
    sim.ask("alive 2")
    back = time.monotonic()
    mqtt.wait("mbgate/dev2/availability", "online", start)
    mqtt.wait("mbgate/dev2/r9", "4711", start)
    assert time.monotonic() - back < 10.5


def test_hang_up_and_return(two_devices, mqtt):
    gateway, sim = two_devices()
    sim.ask("hangup line 2")
    for unit in (1, 2):
        mqtt.wait(f"mbgate/dev{unit}/availability", "offline")
    start = mqtt.mark()
    sim.ask("set 1:holding:9 4711")
    mqtt.wait("mbgate/dev1/r9", "4711", start)
    for unit in (1, 2):
        mqtt.wait(f"mbgate/dev{unit}/availability", "online", start)
    assert gateway.alive()


def test_a_port_that_appears_later(folder, broker, mqtt, start_sim, start_gateway):
    text = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, harness.registers(0, 4))]),
                        harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    gateway = start_gateway(text)
    gateway.wait_line("bus line: .*(No such file|not there)")
    start_sim("--values", "unit-address", folder / "sim.conf").wait_ready()
    mqtt.wait("mbgate/dev1/r3", "1003")


def test_a_tcp_device_that_appears_goes_and_returns(folder, broker, mqtt, start_sim, start_gateway):
    port = harness.free_port()
    text = harness.conf(harness.bus(f"tcp://127.0.0.1:{port}",
                                    [harness.device("dev1", 1, harness.registers(0, 4), "interval_ms = 200;")], ""),
                        harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    gateway = start_gateway(text)
    gateway.wait_line("bus line: .*refused")
    sim = start_sim("--values", "unit-address", folder / "sim.conf")
    sim.wait_ready()
    mqtt.wait("mbgate/dev1/r3", "1003")
    start = mqtt.mark()
    sim.quit()
    mqtt.wait("mbgate/dev1/availability", "offline", start)
    start = mqtt.mark()
    start_sim("--values", "address", folder / "sim.conf", name="again").wait_ready()
    mqtt.wait("mbgate/dev1/r3", "3", start)
    mqtt.wait("mbgate/dev1/availability", "online", start)


def test_a_wrong_address_keeps_the_rest(folder, broker, mqtt, start_sim, start_gateway):
    """Points of which one does not exist in the device: all others must be read."""
    points = harness.registers(0, 4) + harness.registers(6, 4)
    good = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, points, "interval_ms = 200;")]),
                        harness.link(broker.port))
    (folder / "sim.conf").write_text(good)
    start_sim("--values", "unit-address", folder / "sim.conf").wait_ready()
    more = points + harness.registers(20, 1)
    start_gateway(harness.conf(harness.bus(folder / "line",
                                           [harness.device("dev1", 1, more, "interval_ms = 200;")]),
                               harness.link(broker.port)))
    for address in (0, 1, 2, 3, 6, 7, 8, 9):
        mqtt.wait(f"mbgate/dev1/r{address}", str(1000 + address))
    assert mqtt.find("mbgate/dev1/r20") is None


def test_what_a_device_refuses_is_remembered(folder, broker, mqtt, start_sim, new_gateway):
    """Gaps that are answered with exception 2 are found once, not again after a restart, and forgotten with the map."""
    points = [p for first in (0, 4, 9, 20) for p in harness.registers(first, 2)]
    state = folder / "state"
    learned = state / "learned"

    def text(points):
        return harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, points, "interval_ms = 50;")],
                                        line='baud = 9600; format = "8N1";'),
                            harness.link(broker.port), f'state_directory = "{state}";')
    (folder / "sim.conf").write_text(text(points))
    sim = start_sim("--values", "address", folder / "sim.conf")
    sim.wait_ready()

    def requests():
        return sim.stats()["units"]["1"]["requests"]

    def run(gateway):
        start = mqtt.mark()
        gateway.start()
        for register in (0, 5, 10, 21):
            mqtt.wait(f"mbgate/dev1/r{register}", str(register), start)
        return gateway

    gateway = run(new_gateway(text(points)))
    harness.wait_until(learned.exists, "what was learned is written")
    assert sim.stats()["units"]["1"]["exceptions"] >= 1
    gateway.stop()
    gateway.kill()
    holes = [line for line in learned.read_text().splitlines() if not line.startswith("#")]
    assert holes and all(line.startswith("holding ") and line.endswith(" line dev1") for line in holes), holes
    sim.ask("reset")
    gateway = run(new_gateway(text(points)))
    harness.wait_until(lambda: requests() >= 40, "it goes on")
    assert sim.stats()["units"]["1"]["exceptions"] == 0
    # Another map: nothing is known of it.
    gateway.reload(text(points[:2]))
    harness.wait_until(lambda: "line dev1" not in learned.read_text(), "what was learned is forgotten")
    gateway.stop()
    gateway.kill()
    # Whatever stands there, it starts.
    learned.write_bytes(b"holding 1 1 x\n\0\xff\n" + b"a" * 5000)
    sim.ask("reset")
    gateway = run(new_gateway(text(points)))
    gateway.stop()
    gateway.kill()


def test_a_function_without_replies(folder, broker, mqtt, start_sim, start_gateway):
    """It never takes the device down, is named once and asked less and less often; the others keep their rate."""
    points = harness.registers(0, 4) + ['{ name = "input"; input = 0; type = "uint32"; }']
    text = harness.conf(harness.bus(folder / "line", [harness.device("dev1", 1, points, "interval_ms = 500;")],
                                    more="response_timeout_ms = 100; retries = 1;"), harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    sim = start_sim("--values", "unit-address", "--fault", "no-reply@function=4", folder / "sim.conf")
    sim.wait_ready()
    gateway = start_gateway(text)
    mqtt.wait("mbgate/dev1/availability", "online")
    gateway.wait_line("unit 1: point input: no reply to function 4")
    sim.ask("reset")
    harness.wait_until(lambda: sim.stats()["units"]["1"]["requests"] >= 40, "unit 1 is polled")
    stats = sim.stats()
    # In 20 s: 4, 16 and then 60 times the interval apart.
    assert stats["units"]["1"]["silent"] <= 6, stats
    assert stats["units"]["1"]["requests"] >= 0.8 * stats["elapsed_us"] / 500000, stats
    assert mqtt.find("mbgate/dev1/availability", "offline") is None
    assert len([line for line in gateway.process.lines if "point input: no reply" in line]) == 1
