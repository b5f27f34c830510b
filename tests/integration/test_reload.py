# SPDX-License-Identifier: MIT
"""SIGHUP: what changed is changed, the rest does not notice; a bad file changes nothing."""

import pytest

import harness


def plan(folder, broker_port, *, scale="1", unit=1, extra="", interval_ms=200, name="r0"):
    """Bus a has dev1, whose first point can be varied; bus b has dev2 and stays."""
    points = [f'{{ name = "{name}"; holding = 0; type = "uint16"; scale = {scale}; }}', *harness.registers(1, 4)]
    a = harness.bus(folder / "a", [harness.device("dev1", unit, points, f"interval_ms = {interval_ms};"),
                                   *([extra] if extra else [])], name="a")
    b = harness.bus(folder / "b", [harness.device("dev2", 2, harness.registers(0, 5), "interval_ms = 200;")], name="b")
    return harness.conf([a, b], harness.link(broker_port))


@pytest.fixture
def running(folder, broker, mqtt, start_sim, start_gateway):
    def make():
        text = plan(folder, broker.port)
        (folder / "sim.conf").write_text(plan(folder, broker.port, extra=harness.device(
            "dev3", 3, harness.registers(0, 5))))
        sim = start_sim("--values", "unit-address", "--sparse-ok", folder / "sim.conf")
        sim.wait_ready(2)
        gateway = start_gateway(text)
        # What was read before the link was there comes first, and once more with all the rest behind "online".
        online = mqtt.messages.index(mqtt.wait("mbgate/status", "online"))
        mqtt.wait("mbgate/dev1/r4", "1004", online)
        mqtt.wait("mbgate/dev2/r4", "2004", online)
        return gateway, sim
    return make


def closings(sim, bus):
    return [line for line in sim.csv_file.read_text().splitlines() if f",{bus},--," in line and "closed" in line]


def connections(broker):
    return len([line for line in broker.process.lines if "New client connected" in line and "mbgate" in line])


def test_a_changed_point_and_nothing_else(folder, broker, mqtt, running):
    gateway, sim = running()
    before = connections(broker)
    start = mqtt.mark()
    gateway.reload(plan(folder, broker.port, scale="0.1"))
    mqtt.wait("mbgate/dev1/r0", "100.0", start)
    requests = sim.stats(1)["requests"]
    harness.wait_until(lambda: sim.stats(1)["requests"] > requests + 3, "bus b goes on")
    assert closings(sim, "a") == [] and closings(sim, "b") == []
    assert connections(broker) == before
    assert mqtt.find("mbgate/status", "offline") is None
    assert mqtt.find("mbgate/dev2/availability", "offline") is None
    # What did not change was not published again.
    assert mqtt.values("mbgate/dev2/r4", start) == []


def test_a_new_device_and_one_less(folder, broker, mqtt, new_mqtt, running):
    gateway, sim = running()
    gateway.reload(plan(folder, broker.port, extra=harness.device("dev3", 3, harness.registers(0, 5))))
    mqtt.wait("mbgate/dev3/r4", "3004")
    mqtt.wait("mbgate/dev3/availability", "online")
    gateway.reload(plan(folder, broker.port))
    # Its retained topics are cleared: who comes now sees none.
    mqtt.wait("mbgate/dev3/r4", "")
    mqtt.wait("mbgate/dev3/availability", "")
    late = new_mqtt(broker.port)
    late.wait("mbgate/dev1/r4", "1004")
    assert late.find("mbgate/dev3/r4") is None


def test_a_renamed_point(folder, broker, mqtt, running):
    gateway, _ = running()
    gateway.reload(plan(folder, broker.port, name="level"))
    mqtt.wait("mbgate/dev1/level", "1000")
    mqtt.wait("mbgate/dev1/r0", "")


def test_another_unit(folder, broker, mqtt, running):
    gateway, _ = running()
    gateway.reload(plan(folder, broker.port, unit=3))
    mqtt.wait("mbgate/dev1/r4", "3004")


def test_another_broker(folder, broker, start_broker, new_mqtt, running):
    gateway, sim = running()
    other = start_broker()
    old = new_mqtt(broker.port)
    old.wait("mbgate/bus/a")
    gateway.reload(plan(folder, other.port))
    mqtt = new_mqtt(other.port)
    mqtt.wait("mbgate/dev1/r4", "1004")
    mqtt.wait("mbgate/status", "online")
    old.wait("mbgate/status", "offline")
    late = new_mqtt(broker.port)
    for topic, text in (("mbgate/status", "offline"), ("mbgate/dev1/availability", "offline"), ("mbgate/dev1/r4", "1004")):
        assert late.wait(topic).text == text
    assert late.find("mbgate/bus/a") is None
    assert closings(sim, "a") == [] and closings(sim, "b") == []


def test_a_bad_file_changes_nothing(folder, broker, mqtt, running):
    gateway, sim = running()
    before = connections(broker)
    line = len(gateway.process.lines)
    gateway.reload(plan(folder, broker.port).replace("baud", "bauds", 1).replace("unit_id = 2", "unit_id = 2222"))
    gateway.wait_line(r'mbgated\.conf:\d+: error: .*bauds', line)
    gateway.wait_line(r"mbgated\.conf:\d+: error: .*2222", line)
    start = mqtt.mark()
    sim.ask("set a/1:holding:4 77")
    mqtt.wait("mbgate/dev1/r4", "77", start)
    assert connections(broker) == before
    gateway.reload("this is no configuration")
    # It is seen by `systemctl status` until a reload succeeds, whatever happens meanwhile.
    start = len(gateway.notify.messages)
    broker.kill()
    gateway.notify.wait("STATUS=reload failed, the old configuration stays: see the journal; 2 buses, 2 devices "
                        "(2 online), 0 of 1 links online", start)
    broker.start()
    gateway.notify.wait("STATUS=reload failed, the old configuration stays: see the journal; 2 buses, 2 devices "
                        "(2 online), 1 of 1 links online", start)
    start = len(gateway.notify.messages)
    gateway.reload(plan(folder, broker.port, scale="0.1"))
    mqtt.wait("mbgate/dev1/r0", "100.0")
    gateway.notify.wait("STATUS=2 buses", start)


def test_many_reloads(folder, broker, mqtt, running):
    gateway, _ = running()
    for turn in range(20):
        gateway.reload(plan(folder, broker.port, scale="0.1" if turn % 2 else "1", interval_ms=100 + turn))
    mqtt.wait("mbgate/dev1/r0", "100.0")
    assert gateway.alive()


def test_late_replies_belong_to_nobody(folder, broker, mqtt, start_sim, start_gateway):
    """The worker of a line is replaced while its device is late: its replies are not taken for the successor's."""
    def text(n):
        point = f'{{ name = "r{n % 5}"; holding = {n % 5}; publish = "always"; }}'
        more = f'low_latency = {"true" if n % 2 else "false"};'  # a line that is set up otherwise has a new worker
        return harness.conf(harness.bus(folder / "line", [harness.device(
            "dev", 1, [point], "interval_ms = 20; response_timeout_ms = 100; retries = 0;")], more=more),
            harness.link(broker.port))
    (folder / "sim.conf").write_text(harness.conf(harness.bus(folder / "line", [harness.device(
        "dev", 1, harness.registers(0, 5))]), harness.link(broker.port)))
    sim = start_sim("--values", "unit-address", "--fault", "late:150ms@p=0.5", folder / "sim.conf")
    sim.wait_ready()
    gateway = start_gateway(text(0))
    for n in range(1, 31):
        requests = sim.stats()["requests"]
        gateway.reload(text(n))
        harness.wait_until(lambda: sim.stats()["requests"] > requests, "a request of the new worker")
    for n in range(5):
        assert set(mqtt.values(f"mbgate/dev/r{n}")) <= {f"100{n}", ""}
    assert sim.stats()["t35_violations"] == 0


SLOW = """{{ name = "led"; holding = 2; type = "uint16"; write = true; {more} }},
  {{ name = "lamp"; holding = 3; type = "uint16"; write = true; }}"""


@pytest.fixture
def commanded(folder, broker, mqtt, start_sim, start_gateway):
    """A device that takes its time, polled once a minute: what a reload loses is not made good by a poll."""
    def text(more=""):
        points = SLOW.format(more=more)
        return harness.conf(harness.bus(folder / "line", [harness.device(
            "dev", 1, [points], "interval_ms = 60000; response_timeout_ms = 900;")]), harness.link(broker.port))
    (folder / "sim.conf").write_text(text())
    sim = start_sim("--turnaround", "400", "--set", "dev.led=0", "--set", "dev.lamp=0", folder / "sim.conf")
    sim.wait_ready()
    gateway = start_gateway(text())
    mqtt.wait("mbgate/dev/lamp", "0")

    def written():
        return [data[2:6].hex() for _, way, data, _ in sim.quit() if way == ">>" and data[1] == 6]
    return gateway, sim, text, written


@pytest.mark.parametrize("more", ["", "max_interval_s = 300;"], ids=["same file", "another key"])
def test_commands_do_not_notice(commanded, mqtt, more):
    """One write on the wire and two that wait, then one between its write and its read-back."""
    gateway, sim, text, written = commanded
    start = mqtt.mark()
    requests = sim.stats()["requests"]
    for name, value in (("led", "5"), ("lamp", "6"), ("led", "7")):
        mqtt.publish(f"mbgate/dev/{name}/set", value)
    harness.wait_until(lambda: sim.stats()["requests"] > requests, "the first write")
    gateway.reload(text(more))
    mqtt.wait("mbgate/dev/led", "7", start)
    mqtt.wait("mbgate/dev/lamp", "6", start)
    mqtt.publish("mbgate/dev/lamp/set", "8")
    at = mqtt.messages.index(mqtt.wait("mbgate/dev/lamp/result", lambda t: '"value":8' in t, start))
    gateway.reload(text())  # the read-back is on the wire or about to be
    mqtt.wait("mbgate/dev/lamp", "8", at)
    results = mqtt.values("mbgate/dev/led/result", start) + mqtt.values("mbgate/dev/lamp/result", start)
    assert len(results) == 4 and all('"ok":true' in r for r in results), results
    assert sorted(written()) == ["00020005", "00020007", "00030006", "00030008"]


def test_a_write_on_the_wire_of_a_bus_that_is_replaced_is_told_as_it_was(commanded, mqtt):
    gateway, sim, text, written = commanded
    start = mqtt.mark()
    requests = sim.stats()["requests"]
    mqtt.publish("mbgate/dev/led/set", "5")
    mqtt.publish("mbgate/dev/lamp/set", "6")
    harness.wait_until(lambda: sim.stats()["requests"] > requests, "the first write")
    gateway.reload(text().replace("115200", "57600"))
    assert '"ok":true' in mqtt.wait("mbgate/dev/led/result", start=start).text
    assert "reconfigured" in mqtt.wait("mbgate/dev/lamp/result", start=start).text
    assert written() == ["00020005"]
