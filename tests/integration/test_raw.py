# SPDX-License-Identifier: MIT
"""Raw requests by MQTT: any function, as bytes or as fields, answered; off unless the bus allows them."""

import json
import time

import pytest

import harness

SET, RESULT = "mbgate/bus/line/raw/set", "mbgate/bus/line/raw/result"


@pytest.fixture
def running(folder, broker, mqtt, start_sim, start_gateway):
    """Unit 1 with holding registers 0..9, read once an hour, and unit 3 that nobody polls: (gateway, sim)."""
    def make(more="raw = true;"):
        points = harness.registers(0, 10, more="write = true;") + ['{ name = "c0"; coil = 0; }']
        devices = [harness.device(f"dev{unit}", unit, points, "interval_ms = 3600000; response_timeout_ms = 200;")
                   for unit in (1, 3)]

        def text(n, more=more):
            return harness.conf(harness.bus(folder / "line", devices[:n], 'baud = 19200; format = "8N1";', more=more),
                                harness.link(broker.port))
        (folder / "sim.conf").write_text(text(2))
        sim = start_sim("--values", "unit-address", folder / "sim.conf")
        sim.wait_ready()
        gateway = start_gateway(text(1))
        mqtt.wait("mbgate/dev1/r9", "1009")
        gateway.text_of = text
        return gateway, sim
    return make


def ask(mqtt, request):
    start = mqtt.mark()
    mqtt.publish(SET, request if isinstance(request, (str, bytes)) else json.dumps(request))
    return json.loads(mqtt.wait(RESULT, start=start).text)


def wait_taken(mqtt):
    """The broker has learned of our subscription: it is not waited for by a reload."""
    start = mqtt.mark()

    def is_answered():
        mqtt.publish(SET, "x")
        return mqtt.find(RESULT, lambda text: "unreadable" in text, start)
    harness.wait_until(is_answered, "raw requests are taken")


def test_requests(running, mqtt):
    running()
    answer = ask(mqtt, "01 03 0000 0003")
    assert answer["ok"] and answer["value"] == {"unit": 1, "function": 3, "bytes": "01 03 06 03 E8 03 E9 03 EA",
                                                "values": [1000, 1001, 1002]}, answer
    answer = ask(mqtt, {"unit": 3, "function": 3, "address": 9, "id": "x"})  # no device of ours
    assert answer["value"]["values"] == [3009] and answer["id"] == "x", answer
    assert ask(mqtt, {"unit": 1, "function": 43, "data": "0E 01 00"})["value"]["bytes"].startswith("01 2B 0E 01")
    assert ask(mqtt, {"unit": 1, "function": 17})["value"]["bytes"].startswith("01 11 ")
    answer = ask(mqtt, {"unit": 1, "function": 3, "address": 5000})
    assert not answer["ok"] and answer["exception"] == 2 and "illegal data address" in answer["error"], answer
    assert ask(mqtt, "01 66 00")["exception"] == 1
    answer = ask(mqtt, {"unit": 77, "function": 3, "address": 0, "timeout_ms": 50})
    assert not answer["ok"] and answer["error"] == "no reply", answer
    for bad in ("", "hello", "01", "{}", '{"unit": 1, "function": 6, "address": 0}', b"\xff\x00"):
        answer = ask(mqtt, bad)
        assert not answer["ok"] and "unreadable" in answer["error"], (bad, answer)


def test_a_write_is_published_at_once(running, mqtt):
    running()
    answer = ask(mqtt, {"unit": 1, "function": 16, "address": 4, "values": [17, 18]})
    assert answer["ok"] and answer["value"]["bytes"] == "01 10 00 04 00 02", answer
    mqtt.wait("mbgate/dev1/r4", "17")
    mqtt.wait("mbgate/dev1/r5", "18")
    assert ask(mqtt, {"unit": 1, "function": 22, "address": 4, "and_mask": 0xFFFE, "or_mask": 0})["ok"]
    mqtt.wait("mbgate/dev1/r4", "16")
    assert ask(mqtt, {"unit": 1, "function": 23, "address": 4, "count": 2, "write_address": 5, "values": [99]})[
        "value"]["values"] == [16, 99]
    mqtt.wait("mbgate/dev1/r5", "99")
    assert ask(mqtt, {"unit": 0, "function": 6, "address": 8, "value": 55})["value"]["bytes"] is None  # a broadcast
    mqtt.wait("mbgate/dev1/r8", "55")


def test_response_topic(running, mqtt, broker, new_mqtt):
    running()
    mqtt.publish(SET, "01 03 0001 0001", response_topic="my/answers", correlation=b"\x01\x02")
    answer = mqtt.wait("my/answers")
    assert json.loads(answer.text)["value"]["values"] == [1001]
    assert answer.properties.CorrelationData == b"\x01\x02"


def test_off_unless_allowed(running, mqtt):
    gateway, sim = running("")
    before = sim.stats()["units"]["1"]["requests"]
    mqtt.publish(SET, "01 06 0001 0001", response_topic="my/answers")
    gateway.reload(gateway.text_of(1, "raw = true;"))
    wait_taken(mqtt)
    start = mqtt.mark()
    mqtt.publish(SET, "01 03 0001 0001")
    mqtt.wait(RESULT, lambda text: '"values":[1001]' in text, start)
    assert mqtt.find("my/answers") is None
    assert sim.stats()["units"]["1"]["requests"] == before + 1
    mqtt.publish(SET, "01 06 0001 0002", retain=True)  # comes live now, and would again
    mqtt.wait("mbgate/dev1/r1", "2")
    mqtt.publish(SET, "01 06 0001 0003")
    mqtt.wait("mbgate/dev1/r1", "3")
    gateway.reload(gateway.text_of(1, ""))
    gateway.reload(gateway.text_of(1, "raw = true;"))
    gateway.wait_line("retained raw request ignored")
    start = mqtt.mark()
    mqtt.publish(SET, "01 03 0001 0001")
    mqtt.wait(RESULT, lambda text: '"values":[3]' in text, start)


def test_a_flood(running, mqtt):
    """A thousand at once: each is answered, at most sixteen wait, and the rest is told so."""
    running()
    start = mqtt.mark()
    for i in range(1000):
        mqtt.publish(SET, json.dumps({"unit": 1, "function": 3, "address": i % 10, "id": i}), qos=0)
    harness.wait_until(lambda: len(mqtt.values(RESULT, start)) >= 1000, "each is answered")
    answers = [json.loads(text) for text in mqtt.values(RESULT, start)]
    assert sorted(a["id"] for a in answers) == list(range(1000))
    good = [a for a in answers if a["ok"]]
    assert len(good) >= 16 and all(a["value"]["values"] == [1000 + a["id"] % 10] for a in good)
    errors = {a["error"] for a in answers if not a["ok"]}
    assert all("too many" in error or error == "no reply" for error in errors), errors  # the simulator may be late
    begun = time.monotonic()
    assert ask(mqtt, "01 03 0001 0001")["ok"]
    assert time.monotonic() - begun < 5
