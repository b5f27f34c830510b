# SPDX-License-Identifier: MIT
"""When points are read and written: on demand, once, only the newest, not too often, again; and what is told of it."""

import json

import harness

POINTS = """
  { name = "temp"; holding = 0; type = "int16"; },
  { name = "serial"; holding = 20; type = "uint16"; poll = "once"; },
  { name = "log"; holding = 40; type = "uint16"; poll = "demand"; },
  { name = "new"; holding = 60; type = "uint16"; write = true; poll = "demand"; writes = "newest"; },
  { name = "all"; holding = 61; type = "uint16"; write = true; poll = "demand"; },
  { name = "eeprom"; holding = 62; type = "uint16"; write = true; poll = "demand"; write_pause_ms = 400; },
  { name = "same"; holding = 63; type = "uint16"; write = true; poll = "demand"; write_unchanged = false; },
  { name = "again"; holding = 64; type = "uint16"; write = true; poll = "demand"; write_repeat_s = 1; }
"""
DEVICE = "modbusgateway"


def frames(sim, *functions):
    """(time, unit, address, word, function) of requests; ends the simulator, since its log is complete only then."""
    return [(at, data[0], int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big"), data[1])
            for at, direction, data, _ in sim.quit() if direction == ">>" and data[1] in functions]


def results(mqtt, point, n, start):
    topic = f"{DEVICE}/{point}/result"
    harness.wait_until(lambda: len(mqtt.values(topic, start)) >= n, f"{n} results of {point}")
    return [json.loads(text) for text in mqtt.values(topic, start)]


def test_once_and_on_demand(start_reference, mqtt):
    _, sim = start_reference(sim=("--values", "address"), points=POINTS, interval_ms=100)
    mqtt.wait(f"{DEVICE}/temp", "0")
    mqtt.wait(f"{DEVICE}/serial", "20")
    harness.wait_until(lambda: sim.stats()["units"]["10"]["requests"] >= 20, "it polls")
    assert mqtt.find(f"{DEVICE}/log") is None
    mqtt.publish(f"{DEVICE}/log/get", "")
    mqtt.wait(f"{DEVICE}/log", "40")
    reads = frames(sim, 3)
    assert len([r for r in reads if r[2] <= 20 < r[2] + r[3]]) == 1
    assert len([r for r in reads if r[2] <= 40 < r[2] + r[3]]) == 1
    assert len([r for r in reads if r[2] == 0]) >= 15


def test_all_or_the_newest(start_reference, mqtt):
    _, sim = start_reference('baud = 4800; format = "8E1";', points=POINTS, interval_ms=100)
    mqtt.wait(f"{DEVICE}/temp")
    start = mqtt.mark()
    for number in range(15):
        for point in ("new", "all"):
            mqtt.publish(f"{DEVICE}/{point}/set", str(number), qos=0)
    new, all_of_them = (results(mqtt, point, 15, start) for point in ("new", "all"))
    assert all(r["ok"] for r in all_of_them)
    assert new[-1]["ok"] and all(r["ok"] or "newer" in r["error"] for r in new), new
    mqtt.wait(f"{DEVICE}/new", "14")
    writes = frames(sim, 6)
    assert [w[3] for w in writes if w[2] == 61] == list(range(15))
    sent = [w[3] for w in writes if w[2] == 60]
    assert sent == sorted(sent) and sent[-1] == 14 and len(sent) < 15, sent


def test_not_too_often_not_for_nothing_and_again(start_reference, mqtt):
    _, sim = start_reference(points=POINTS, interval_ms=100)
    mqtt.wait(f"{DEVICE}/temp")
    start = mqtt.mark()
    for number in (1, 2, 3):
        mqtt.publish(f"{DEVICE}/eeprom/set", str(number))
    for number in (5, 5, 5, 6, 5):
        mqtt.publish(f"{DEVICE}/same/set", str(number))
    mqtt.publish(f"{DEVICE}/again/set", "7")
    for point, n in (("eeprom", 3), ("same", 5), ("again", 1)):
        assert all(r["ok"] for r in results(mqtt, point, n, start))

    def repeated():
        return sim.stats()["units"]["10"]["requests"]
    begun = repeated()
    harness.wait_until(lambda: repeated() >= begun + 25, "two seconds of polls")
    writes = frames(sim, 6)
    times = [w[0] for w in writes if w[2] == 62]
    assert len(times) == 3 and all(b - a >= 0.395 for a, b in zip(times, times[1:])), times
    assert [w[3] for w in writes if w[2] == 63] == [5, 6, 5]
    again = [w for w in writes if w[2] == 64]
    assert len(again) >= 2 and all(w[3] == 7 for w in again)
    assert all(b[0] - a[0] >= 0.99 for a, b in zip(again, again[1:]))


def test_counters_of_a_device_and_its_blocks(start_reference, mqtt):
    start_reference('baud = 1200; format = "8E1";', more="stats_interval_s = 1;", points=POINTS, interval_ms=20)
    report = json.loads(mqtt.wait("mbgate/bus/rs485/modbusgateway", lambda text: '"reads":0' not in text).text)
    assert report["ok"] >= 1 and report["round_trip_ms"]["max"] >= report["round_trip_ms"]["p50"] > 0, report
    blocks = {b["address"]: b for b in report["blocks"]}
    assert blocks[0]["interval_ms"] == 20 and blocks[20]["interval_ms"] == 0, report
    # A line of 1200 Bd cannot give it every 20 ms: it is late, and says so.
    harness.wait_until(lambda: json.loads(mqtt.values("mbgate/bus/rs485/modbusgateway")[-1])["blocks"][0]["missed"] > 10,
                       "missed turns")


def test_a_flood_of_writes_leaves_half_of_the_line(start_reference, mqtt):
    points = POINTS + ', { name = "flood"; holding = 70; type = "uint16"; write = true; poll = "demand"; read_back = false; }'
    _, sim = start_reference('baud = 9600; format = "8E1";', points=points, interval_ms=10)
    mqtt.wait(f"{DEVICE}/temp")
    start = mqtt.mark()
    number = 0

    def enough():
        nonlocal number
        for _ in range(20):
            number += 1
            mqtt.publish(f"{DEVICE}/flood/set", str(number % 1000), qos=0)
        return sim.stats()["units"]["10"]["requests"] >= 300
    harness.wait_until(enough, "the line is busy")
    answers = [json.loads(text) for text in mqtt.values(f"{DEVICE}/flood/result", start)]
    assert any(not r["ok"] for r in answers), "more came than the line can carry"
    log = frames(sim, 3, 6)
    first = next(n for n, frame in enumerate(log) if frame[4] == 6)
    last = max(n for n, frame in enumerate(log) if frame[4] == 6)
    during = log[first:last]
    polls = len([f for f in during if f[4] == 3])
    # A read and a write of one register are about as long; writes may be ahead by 0.3 s.
    assert len(during) > 100 and polls >= 0.45 * len(during) - 10, (polls, len(during))
    assert polls <= 0.7 * len(during), (polls, len(during))
