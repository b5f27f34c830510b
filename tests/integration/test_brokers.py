# SPDX-License-Identifier: MIT
"""Brokers that are not there, come, die and return; and two of them."""

import harness


def plan_of(folder, text):
    (folder / "sim.conf").write_text(text)
    return folder / "sim.conf"


def test_broker_comes_after_us(folder, start_broker, new_mqtt, start_sim, start_gateway):
    port = harness.free_port()
    text = harness.conf(harness.reference_bus(folder / "line", 'baud = 115200; format = "8N1";', interval_ms=200),
                        harness.link(port))
    sim = start_sim("--set", "modbusgateway.temp=21.5", plan_of(folder, text))
    sim.wait_ready()
    gateway = start_gateway(text)  # READY=1 waits for no broker
    gateway.wait_line("link local: .*refused")
    harness.wait_until(lambda: sim.stats()["requests"] >= 5, "polling does not wait for the broker")
    start_broker(port=port)
    mqtt = new_mqtt(port)
    mqtt.wait("modbusgateway/temp", "21.5")
    mqtt.wait("mbgate/status", "online")
    mqtt.publish("modbusgateway/led", "99")
    mqtt.wait("modbusgateway/led/state", "99")


def test_broker_dies_and_returns(start_reference, broker, mqtt, new_mqtt):
    gateway, sim = start_reference(sim=("--set", "modbusgateway.temp=21.5"), interval_ms=200)
    mqtt.wait("modbusgateway/temp", "21.5")
    broker.kill()
    lines = len(gateway.process.lines)
    requests = sim.stats()["requests"]
    harness.wait_until(lambda: sim.stats()["requests"] >= requests + 10, "polling goes on")
    sim.ask("set modbusgateway.temp 30.5")
    broker.start()
    again = new_mqtt(broker.port)
    again.wait("modbusgateway/temp", "30.5")
    again.wait("mbgate/status", "online")
    again.publish("modbusgateway/led", "512")
    again.wait("modbusgateway/led/state", "512")
    assert len([line for line in gateway.process.lines[lines:] if "link local" in line]) < 20, "once, not each try"


def test_the_will_says_offline(start_reference, mqtt):
    gateway, _ = start_reference()
    mqtt.wait("mbgate/status", "online")
    gateway.kill()
    mqtt.wait("mbgate/status", "offline")
    dead = mqtt.mark()
    gateway.start()
    mqtt.wait("mbgate/status", "online", dead)


def test_two_links(folder, start_broker, new_mqtt, start_sim, start_gateway):
    near, far = start_broker(), start_broker()
    links = [harness.link(near.port, "near"),
             harness.link(far.port, "far", 'protocol = 4; prefix = "site1/"; publish = [ "modbusgateway/temp", '
                                           '"mbgate/status", "modbusgateway/led/#" ];')]
    text = harness.conf(harness.reference_bus(folder / "line", 'baud = 115200; format = "8N1";', interval_ms=200), links)
    sim = start_sim("--set", "modbusgateway.temp=21.5", "--set", "modbusgateway.hum=45", plan_of(folder, text))
    sim.wait_ready()
    start_gateway(text)
    here, there = new_mqtt(near.port), new_mqtt(far.port)
    here.wait("modbusgateway/temp", "21.5")
    here.wait("modbusgateway/hum", "45.0")
    there.wait("site1/modbusgateway/temp", "21.5")
    there.publish("site1/modbusgateway/led", "111")
    there.wait("site1/modbusgateway/led/state", "111")
    here.wait("modbusgateway/led/state", "111")
    here.publish("modbusgateway/led", "222")
    there.wait("site1/modbusgateway/led/state", "222")
    assert all(m.topic.startswith("site1/") for m in there.messages)
    assert not [m for m in there.messages if "hum" in m.topic]

    # One dies: nothing changes for the other.
    near.kill()
    sim.ask("set modbusgateway.temp -1")
    there.wait("site1/modbusgateway/temp", "-1.0")
    near.start()
    new_mqtt(near.port).wait("modbusgateway/temp", "-1.0")


def test_more_points_than_the_queue_takes(folder, start_broker, new_mqtt, start_sim, start_gateway):
    """Every topic is there after a start and after a restart of a broker that keeps nothing, with default queues."""
    broker, device_port = start_broker(), harness.free_port()
    devices = [harness.device(f"dev{unit}", unit, harness.registers(0, 100), "interval_ms = 500;")
               for unit in range(1, 16)]
    text = harness.conf(harness.bus(f"tcp://127.0.0.1:{device_port}", devices, ""), harness.link(broker.port))
    expected = {f"mbgate/dev{unit}/r{a}": str(1000 * unit + a) for unit in range(1, 16) for a in range(100)}
    expected.update({f"mbgate/dev{unit}/availability": "online" for unit in range(1, 16)})
    expected["mbgate/status"] = "online"
    sim = start_sim("--values", "unit-address", plan_of(folder, text))
    sim.wait_ready()

    def wait_for_all(mqtt):
        def missing():
            kept = {m.topic: m.text for m in mqtt.messages}
            return {t: kept.get(t) for t, value in expected.items() if kept.get(t) != value}
        try:
            harness.wait_until(lambda: not missing(), "every state is there")
        except AssertionError:
            few = missing()
            raise AssertionError(f"{len(few)} of {len(expected)} are missing: {list(few.items())[:10]}") from None

    gateway = start_gateway(text)
    wait_for_all(new_mqtt(broker.port))
    broker.kill()
    gateway.wait_line("link local: .*refused")
    broker.start()
    gateway.wait_line("link local: .*connected")
    again = new_mqtt(broker.port)
    wait_for_all(again)
    assert not gateway.process.find_line("its queue is full")

    # The newest is what stays.
    sim.ask("set 15:holding:99 7")
    again.wait("mbgate/dev15/r99", "7")
