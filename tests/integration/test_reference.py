# SPDX-License-Identifier: MIT
"""The reference installation, on its own line of 9600 8E1: exactly the topics that users know."""

import json
import time

import harness

LINE = 'baud = 9600; format = "8E1";'
SENSOR = ("--set", "modbusgateway.temp=21.5", "--set", "modbusgateway.hum=45", "--set", "modbusgateway.test=-157",
          "--set", "modbusgateway.led=0")


def test_topics_and_values(start_reference, mqtt):
    start_reference(LINE, SENSOR)
    for topic, text in (("modbusgateway/temp", "21.5"), ("modbusgateway/hum", "45.0"), ("modbusgateway/test", "-157"),
                        ("modbusgateway/led/state", "0"), ("mbgate/status", "online"),
                        ("modbusgateway/availability", "online")):
        mqtt.wait(topic, text)
    seen = {m.topic for m in mqtt.messages if not m.topic.startswith("mbgate/bus/")}
    assert seen == {"modbusgateway/temp", "modbusgateway/hum", "modbusgateway/test", "modbusgateway/led/state",
                    "mbgate/status", "modbusgateway/availability"}


def test_values_are_retained(start_reference, mqtt, broker, new_mqtt):
    start_reference(LINE, SENSOR)
    mqtt.wait("modbusgateway/hum")
    mqtt.wait("modbusgateway/temp")
    late = new_mqtt(broker.port)
    assert late.wait("modbusgateway/temp", "21.5").retain
    assert late.wait("mbgate/status", "online").retain
    assert late.wait("modbusgateway/availability", "online").retain


def test_led_is_written_and_read_back(start_reference, mqtt):
    _, sim = start_reference(LINE, SENSOR)
    mqtt.wait("modbusgateway/led/state", "0")
    mqtt.publish("modbusgateway/led", "512")
    mqtt.wait("modbusgateway/led/state", "512")
    result = json.loads(mqtt.wait("modbusgateway/led/result").text)
    assert result["ok"] is True and result["value"] == 512
    requests = [data for _, direction, data, _ in sim.quit() if direction == ">>"]
    writes = [data for data in requests if data[1] != 3]
    assert [data[:6].hex(" ") for data in writes] == ["0a 06 00 02 02 00"]


def test_temperature_below_zero(start_reference, mqtt):
    _, sim = start_reference(LINE, SENSOR)
    mqtt.wait("modbusgateway/temp", "21.5")
    sim.ask("set modbusgateway.temp -3.4")
    mqtt.wait("modbusgateway/temp", "-3.4")


def test_send_interval(start_reference, mqtt):
    start_reference('baud = 115200; format = "8E1";', SENSOR, interval_ms=200)
    mqtt.wait("modbusgateway/test")
    mqtt.publish("modbusgateway/send_interval", "1")
    begun = time.monotonic()
    start = mqtt.mark()
    with mqtt.changed:
        assert mqtt.changed.wait_for(lambda: len(mqtt.values("modbusgateway/test", start)) >= 5, harness.LIMIT)
    assert time.monotonic() - begun < 30, "five publications at the default interval take 40 s"
    times = [m.at for m in mqtt.messages[start:] if m.topic == "modbusgateway/test"]
    # The first may come at once, with the new interval.
    assert times[4] - times[1] > 2, "they came faster than once a second"


def test_unreadable_send_interval_means_the_default(start_reference, mqtt):
    gateway, _ = start_reference('baud = 115200; format = "8E1";', SENSOR, interval_ms=200)
    mqtt.wait("modbusgateway/test")
    for text in ("", "abc", "-5", "1.5", "0", "999999999999999999999"):
        mqtt.publish("modbusgateway/send_interval", text)
    mqtt.publish("modbusgateway/send_interval/set", "1")
    start = mqtt.mark()
    with mqtt.changed:
        assert mqtt.changed.wait_for(lambda: len(mqtt.values("modbusgateway/test", start)) >= 3, harness.LIMIT)
    assert gateway.alive()
