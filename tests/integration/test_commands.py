# SPDX-License-Identifier: MIT
"""Commands that must not reach the wire, and retained ones."""

import json

import pytest

import harness

POINTS = """
  { name = "led"; holding = 2; type = "uint16"; write = true; min = 0; max = 1023; },
  { name = "lamp"; holding = 3; type = "uint16"; write = true; accept_retained = true; },
  { name = "level"; holding = 4; type = "int16"; scale = 0.1; write = true; },
  { name = "mode"; holding = 5; type = "uint16"; write = true;
    map = ( { value = 0; label = "off"; }, { value = 1; label = "heat"; }, { value = 2; label = "cool"; } ); },
  { name = "relay"; coil = 0; type = "bool"; write = true; },
  { name = "temp"; holding = 0; type = "int16"; scale = 0.1; }
"""
START = ("--set", "modbusgateway.led=7", "--set", "modbusgateway.lamp=7", "--set", "modbusgateway.level=1",
         "--set", "modbusgateway.mode=0", "--set", "modbusgateway.relay=off", "--set", "modbusgateway.temp=20")

BAD = [
    ("led", "1024"), ("led", "-1"), ("led", "65536"), ("led", "99999999999999999999999"), ("led", "1e400"),
    ("led", "nan"), ("led", "inf"), ("led", "abc"), ("led", ""), ("led", " "), ("led", "5 6"), ("led", "0x"),
    ("led", "1023.5"), ("led", "{"), ("led", '{"value":}'), ("led", '{"val": 5}'), ("led", '{"value": [1]}'),
    ("led", '{"value": null}'), ("led", "[5]"), ("led", "\0"), ("led", "5\x005"), ("led", b"\xff\xfe"),
    ("led", '{"value": 1024}'), ("led", '{"value": "x"}'), ("led", "null"),
    ("level", "3276.8"), ("level", "-3276.9"), ("level", "warm"),
    ("mode", "freeze"), ("mode", "65536"), ("mode", "-1"),
    ("relay", "2"), ("relay", "maybe"), ("relay", "-1"),
]


def writes(sim):
    """All of them; ends the simulator, since its log is complete only then."""
    return [data for _, direction, data, _ in sim.quit() if direction == ">>" and data[1] in (5, 6, 15, 16, 22, 23)]


@pytest.fixture
def running(start_reference, mqtt):
    gateway, sim = start_reference(sim=START, points=POINTS, interval_ms=500)
    for name, text in (("led", "7"), ("mode", "off"), ("level", "1.0")):
        mqtt.wait(f"modbusgateway/{name}", text)
    return gateway, sim


def test_bad_commands_get_an_error_and_reach_no_wire(running, mqtt):
    gateway, sim = running
    for name, command in BAD:
        start = mqtt.mark()
        mqtt.publish(f"modbusgateway/{name}/set", command)
        result = json.loads(mqtt.wait(f"modbusgateway/{name}/result", start=start).text)
        assert result["ok"] is False and result["error"], f"{name} {command!r}: {result}"
    # and it still works
    mqtt.publish("modbusgateway/led/set", "512")
    mqtt.wait("modbusgateway/led", "512")
    assert [data[:6].hex() for data in writes(sim)] == ["0a0600020200"]
    assert gateway.alive()


def test_a_megabyte(running, mqtt):
    gateway, sim = running
    start = mqtt.mark()
    for text in ("5" * 1000000, '{"value": ' + " " * 1000000 + "5}", "[" * 1000000):
        mqtt.publish("modbusgateway/led/set", text)
        result = json.loads(mqtt.wait("modbusgateway/led/result", start=start).text)
        start = mqtt.mark()
        assert result["ok"] is False and result["error"]
        assert len(json.dumps(result)) < 1000
    mqtt.publish("modbusgateway/led/set", "5")
    mqtt.wait("modbusgateway/led", "5")
    assert [data[:6].hex() for data in writes(sim)] == ["0a0600020005"]
    assert gateway.alive()


def test_unknown_and_unwritable_points(running, mqtt):
    gateway, sim = running
    for topic in ("modbusgateway/nosuch/set", "mbgate/nosuch/led/set", "modbusgateway/temp/set", "modbusgateway/led",
                  "modbusgateway/led/set/set", "modbusgateway//set"):
        mqtt.publish(topic, "1")
    mqtt.publish("modbusgateway/led/set", "6")
    mqtt.wait("modbusgateway/led", "6")
    # What no filter of ours covers never reaches us; what does has its line.
    gateway.wait_line("no point takes commands at \"modbusgateway/nosuch/set\"")
    assert [data[:6].hex() for data in writes(sim)] == ["0a0600020006"]


@pytest.mark.parametrize("command, words", [("on", "ff00"), ("OFF", "0000"), ("True", "ff00"), ("false", "0000"),
                                            ("1", "ff00"), ("0", "0000"), ('{"value": true}', "ff00")])
def test_words_of_a_switch(running, mqtt, command, words):
    _, sim = running
    mqtt.publish("modbusgateway/relay/set", command)
    assert json.loads(mqtt.wait("modbusgateway/relay/result").text)["ok"] is True
    assert [data[:6].hex() for data in writes(sim)] == ["0a050000" + words]


def test_labels_and_scale(running, mqtt):
    _, sim = running
    mqtt.publish("modbusgateway/mode/set", "cool")
    mqtt.wait("modbusgateway/mode", "cool")
    mqtt.publish("modbusgateway/level/set", "-12.3")
    mqtt.wait("modbusgateway/level", "-12.3")
    assert {data[:6].hex() for data in writes(sim)} == {"0a0600050002", "0a060004ff85"}


def test_an_exception_is_reported_with_its_code(running, mqtt):
    _, sim = running
    sim.ask("fault exception:4@write")
    mqtt.publish("modbusgateway/led/set", "9")
    result = json.loads(mqtt.wait("modbusgateway/led/result").text)
    assert result["ok"] is False and result["exception"] == 4
    sim.ask("clear")
    start = mqtt.mark()
    mqtt.publish("modbusgateway/led/set", "10")
    assert json.loads(mqtt.wait("modbusgateway/led/result", start=start).text)["ok"] is True


def test_retained_commands(start_reference, mqtt):
    """Only the point that allows it takes a command that was there before the gateway came."""
    mqtt.publish("modbusgateway/led/set", "100", retain=True)
    mqtt.publish("modbusgateway/lamp/set", "200", retain=True)
    gateway, sim = start_reference(sim=START, points=POINTS, interval_ms=500)
    mqtt.wait("modbusgateway/lamp", "200")
    mqtt.wait("modbusgateway/led", "7")
    gateway.wait_line("led.*retained|retained.*led")
    mqtt.publish("modbusgateway/led/set", "8")
    mqtt.wait("modbusgateway/led", "8")
    assert sorted(data[:6].hex() for data in writes(sim)) == ["0a0600020008", "0a06000300c8"]


def test_many_commands_at_once(running, mqtt):
    """Each is answered: done, or refused because too many wait; what was done last is what stays."""
    gateway, sim = running
    start = mqtt.mark()
    for value in range(100, 200):
        mqtt.client.publish("modbusgateway/led/set", str(value), 1)
    with mqtt.changed:
        assert mqtt.changed.wait_for(lambda: len(mqtt.values("modbusgateway/led/result", start)) >= 100,
                                     harness.LIMIT)
    results = [json.loads(text) for text in mqtt.values("modbusgateway/led/result", start)]
    done = [result["value"] for result in results if result["ok"]]
    assert done and all(result["error"] for result in results if not result["ok"])
    mqtt.wait("modbusgateway/led", str(done[-1]), start)
    assert gateway.alive()
    assert [int.from_bytes(data[4:6], "big") for data in writes(sim)] == done
