# SPDX-License-Identifier: MIT
"""What ten years bring: every kind of value both ways, floods, nonsense, storms of signals, and short resources."""

import json
import random
import signal
import struct

import pytest

import harness


def words(data, order):
    """The registers of big-endian bytes sent in an order, told by struct(3) and not by the program's own codec."""
    regs = list(struct.unpack(f">{len(data) // 2}H", data))
    if order in ("CDAB", "DCBA"):
        regs.reverse()
    if order in ("BADC", "DCBA"):
        regs = [(r >> 8) | (r & 0xFF) << 8 for r in regs]
    return regs


LIMITS = {
    "int16": (">h", [-32768, 32767, -1, 0]),
    "uint16": (">H", [65535, 1, 0]),
    "int32": (">i", [-2147483648, 2147483647, -2]),
    "uint32": (">I", [4294967295, 0x01020304]),
    "int64": (">q", [-9223372036854775808, 9223372036854775807, -3]),
    "uint64": (">Q", [18446744073709551615, 0x0102030405060708]),
    "float32": (">f", [-0.5, 1234.5, 16777216.0]),
    "float64": (">d", [-0.5, 1234567.125, 4503599627370497.0]),
    "bcd16": (None, [9999, 1234, 0]),
    "bcd32": (None, [99999999, 12345678, 7]),
}


def raw_bytes(kind, value):
    if kind == "bcd16":
        return bytes.fromhex(f"{value:04d}")
    if kind == "bcd32":
        return bytes.fromhex(f"{value:08d}")
    return struct.pack(LIMITS[kind][0], value)


@pytest.fixture
def tcp_line(folder, broker, mqtt, start_sim, start_gateway):
    """Points of one writable device over Modbus TCP: (gateway, sim)."""
    def make(points, sim=(), gateway="", more="interval_ms = 500;"):
        port = harness.free_port()
        text = harness.conf(harness.bus(f"tcp://127.0.0.1:{port}", [harness.device("dev", 1, points, more)], ""),
                            harness.link(broker.port, "local", "queue_messages = 10000; queue_bytes = 16777216;"), gateway)
        (folder / "sim.conf").write_text(text)
        simulator = start_sim("--values", "zero", "--sparse-ok", *sim, folder / "sim.conf")
        simulator.wait_ready()
        return start_gateway(text), simulator
    return make


def read_registers(sim, first, n):
    return [int(sim.get(f"1:holding:{first + i}")[-1], 0) for i in range(n)]


def test_every_type_and_order_both_ways(tcp_line, mqtt):
    cases, points, address = [], [], 0
    for kind, (_, values) in LIMITS.items():
        n_regs = len(raw_bytes(kind, 0)) // 2
        for order in ("ABCD", "CDAB", "BADC", "DCBA"):
            name = f"{kind}-{order}"
            points.append(f'{{ name = "{name}"; holding = {address}; type = "{kind}"; order = "{order}"; '
                          'write = true; }')
            cases.append((name, kind, order, address, n_regs, values))
            address += n_regs + 1
    _, sim = tcp_line(points)
    for name, *_ in cases:
        mqtt.wait(f"mbgate/dev/{name}", lambda t: float(t) == 0)
    for name, kind, order, first, n_regs, values in cases:
        for value in values:
            start = mqtt.mark()
            mqtt.publish(f"mbgate/dev/{name}/set", str(value))
            result = json.loads(mqtt.wait(f"mbgate/dev/{name}/result", start=start).text)
            assert result["ok"] is True, (name, value, result)
            assert read_registers(sim, first, n_regs) == words(raw_bytes(kind, value), order), (name, value)
            shown = mqtt.wait(f"mbgate/dev/{name}",
                              lambda t, v=value: (int(t) if "." not in t else float(t)) == v, start=start).text
            assert "e" not in shown
    # One beyond each limit never reaches the wire.
    for name, kind, order, first, n_regs, values in cases:
        if kind.startswith("float"):
            continue
        before = read_registers(sim, first, n_regs)
        for value in (max(values) + 1, min(values) - 1 if min(values) <= 0 else -1):
            start = mqtt.mark()
            mqtt.publish(f"mbgate/dev/{name}/set", str(value))
            result = json.loads(mqtt.wait(f"mbgate/dev/{name}/result", start=start).text)
            assert result["ok"] is False, (name, value, result)
        assert read_registers(sim, first, n_regs) == before


NONSENSE = ["", " ", "0x10", "NaN", "nan", "inf", "-Infinity", "1e308", "1e999999999999", "-1e-", "1,5", "٣", "１２",
            "--1", "1 2", "1;2", "{", "[]", "null", '{"value":null}', '{"value":[1]}', '{"value":1e400}',
            '{"value":{"value":1}}', '"1"x', "[" * 4000, '{"value":' * 400 + "1" + "}" * 400, b"\xff\xfe\x00",
            b"1\x00", "9" * 4000, '{"Value":1}', "\u0000", "x" * 5000, b"\x00" * 1048576]


def test_nonsense_never_reaches_the_wire(tcp_line, mqtt):
    gateway, sim = tcp_line(['{ name = "w"; holding = 0; type = "uint16"; write = true; }',
                             '{ name = "f"; holding = 2; type = "float32"; write = true; }',
                             '{ name = "r"; holding = 8; }'])
    mqtt.wait("mbgate/dev/w", "0")
    for point in ("w", "f"):
        for payload in NONSENSE:
            start = mqtt.mark()
            mqtt.publish(f"mbgate/dev/{point}/set", payload)
            result = json.loads(mqtt.wait(f"mbgate/dev/{point}/result", start=start).text)
            assert result["ok"] is False and result["error"], (point, payload[:40], result)
    start = mqtt.mark()
    mqtt.publish("mbgate/dev/w/set", "77")
    assert json.loads(mqtt.wait("mbgate/dev/w/result", start=start).text)["ok"] is True
    assert read_registers(sim, 0, 1) == [77]
    gateway.stop()
    sim.quit()
    assert [f[2].hex()[14:] for f in sim.frames() if f[1] == ">>" and f[2][7] in (5, 6, 15, 16, 22, 23)] == ["060000004d"]


def test_bits_leave_their_neighbours_alone(tcp_line, mqtt):
    """By read-modify-write and by function 22, alternately and at once."""
    points = ['{ name = "all"; holding = 0; type = "uint16"; write = true; }',
              '{ name = "low"; holding = 0; bits = [ 0, 3 ]; type = "uint16"; write = true; }',
              '{ name = "mid"; holding = 0; bits = [ 4, 7 ]; type = "uint16"; write = true; write_function = 22; }',
              '{ name = "b15"; holding = 0; bit = 15; write = true; }',
              '{ name = "b14"; holding = 0; bit = 14; write = true; write_function = 22; }',
              '{ name = "wide"; holding = 4; type = "uint32"; order = "CDAB"; bits = [ 12, 19 ]; write = true; }',
              '{ name = "whole"; holding = 4; type = "uint32"; order = "CDAB"; write = true; }']
    _, sim = tcp_line(points)
    mqtt.wait("mbgate/dev/all", "0")

    def write(point, text):
        start = mqtt.mark()
        mqtt.publish(f"mbgate/dev/{point}/set", text)
        result = json.loads(mqtt.wait(f"mbgate/dev/{point}/result", start=start).text)
        assert result["ok"] is True, result
        return start

    write("all", str(0xA5A5))
    for point, text, expected in (("low", "3", 0xA5A3), ("mid", "12", 0xA5C3), ("b15", "off", 0x25C3),
                                  ("b14", "on", 0x65C3), ("mid", "0", 0x6503), ("low", "15", 0x650F)):
        start = write(point, text)
        assert read_registers(sim, 0, 1) == [expected]
        mqtt.wait("mbgate/dev/all", str(expected), start=start)
    write("whole", str(0x12345678))
    write("wide", "255")
    assert read_registers(sim, 4, 2) == [0xF678, 0x123F]
    start = mqtt.mark()
    mqtt.publish("mbgate/dev/low/set", "16")
    assert json.loads(mqtt.wait("mbgate/dev/low/result", start=start).text)["ok"] is False
    # At once, to many fields of one register: none may undo another.
    write("all", "0")
    start = mqtt.mark()
    for point, text in (("low", "9"), ("b15", "1"), ("mid", "6"), ("b14", "1")):
        mqtt.client.publish(f"mbgate/dev/{point}/set", text, 1)
    for point in ("low", "b15", "mid", "b14"):
        assert json.loads(mqtt.wait(f"mbgate/dev/{point}/result", start=start).text)["ok"] is True
    assert read_registers(sim, 0, 1) == [0xC069]


def test_strings_maps_and_scales_both_ways(tcp_line, mqtt):
    points = ['{ name = "odd"; holding = 0; type = "string"; length = 7; write = true; }',
              '{ name = "swap"; holding = 10; type = "string"; length = 8; order = "BADC"; write = true; }',
              '{ name = "mode"; holding = 20; type = "int16"; write = true; map = ( { value = -1; label = "Aus"; }, '
              '{ value = 2; label = "2 Heizen"; }, { value = 3; label = "true"; } ); }',
              '{ name = "tenth"; holding = 22; type = "int16"; scale = 0.1; offset = -40.0; write = true; }',
              '{ name = "neg"; holding = 24; type = "uint16"; scale = -1.0; write = true; min = -10; max = -1; }',
              '{ name = "big"; holding = 26; type = "uint32"; scale = 0.001; write = true; }']
    _, sim = tcp_line(points)
    mqtt.wait("mbgate/dev/big", "0.000")
    for point, text, first, registers, shown in (
            ("odd", "Grüße", 0, [0x4772, 0xC3BC, 0xC39F, 0x6500], "Grüße"),
            ("odd", "a", 0, [0x6100, 0, 0, 0], "a"),
            ("swap", "abcdefgh", 10, [0x6261, 0x6463, 0x6665, 0x6867], "abcdefgh"),
            ("mode", "AUS", 20, [0xFFFF], "Aus"), ("mode", "2 heizen", 20, [2], "2 Heizen"),
            ("mode", "true", 20, [3], "true"), ("mode", "-5", 20, [0xFFFB], "-5"),
            ("tenth", "21.45", 22, [615], "21.5"), ("tenth", "-40.1", 22, [0xFFFF], "-40.1"),
            ("tenth", "3236.7", 22, [32767], "3236.7"),
            ("neg", "-10", 24, [10], "-10"), ("big", "4294967.295", 26, [0xFFFF, 0xFFFF], "4294967.295")):
        start = mqtt.mark()
        mqtt.publish(f"mbgate/dev/{point}/set", text)
        result = json.loads(mqtt.wait(f"mbgate/dev/{point}/result", start=start).text)
        assert result["ok"] is True, (point, text, result)
        assert read_registers(sim, first, len(registers)) == registers, (point, text)
        mqtt.wait(f"mbgate/dev/{point}", shown, start=start)
    for point, text in (("odd", "Grüßen!!"), ("tenth", "3236.8"), ("tenth", "-3316.9"), ("neg", "0"), ("neg", "-11"),
                        ("big", "-0.001"), ("mode", "Kochen")):
        start = mqtt.mark()
        mqtt.publish(f"mbgate/dev/{point}/set", text)
        assert json.loads(mqtt.wait(f"mbgate/dev/{point}/result", start=start).text)["ok"] is False, (point, text)


@pytest.mark.parametrize("n_points", [1, 20])
def test_a_flood_is_answered_and_polls_go_on(tcp_line, mqtt, n_points):
    """3000 commands as fast as they go: a result for each, values still read, the last accepted one stays."""
    points = [f'{{ name = "w{i}"; holding = {i}; type = "uint16"; write = true; }}' for i in range(n_points)]
    points.append('{ name = "watch"; input = 0; publish = "always"; interval_ms = 100; }')
    gateway, sim = tcp_line(points)
    mqtt.wait("mbgate/dev/watch")
    total, start = 3000, mqtt.mark()
    for number in range(total):
        mqtt.client.publish(f"mbgate/dev/w{number % n_points}/set", str(number), 1)

    def results():
        return [m for m in list(mqtt.messages[start:]) if m.topic.endswith("/result")]
    harness.wait_until(lambda: len(results()) >= total, "a result for each command")
    watched = mqtt.values("mbgate/dev/watch", start)
    assert watched, "polls must go on in a flood"
    last = {}
    for m in results():
        result = json.loads(m.text)
        if result["ok"]:
            last[m.topic.split("/")[2]] = result["value"]
    for point, value in last.items():
        assert read_registers(sim, int(point[1:]), 1) == [value]
    assert len(results()) == total and gateway.alive()


def test_reload_storm(folder, broker, new_mqtt, start_sim, start_gateway):
    """Points, devices, buses, links and ports that come and go, and errors between, while it polls."""
    rng = random.Random(4711)
    ports = [folder / "line0", folder / "line1"]

    def variant(n):
        buses = [harness.bus(port, [harness.device(f"d{i}-{unit}", unit, harness.registers(n % 5, 1 + n % 4),
                                                   "interval_ms = 50;") for unit in range(1, 2 + n % 3)],
                             name=f"bus{i}") for i, port in enumerate(ports) if n % 4 != i + 2]
        links = [harness.link(broker.port)]
        if n % 3 == 0:
            links.append(harness.link(broker.port, "second", f'prefix = "p{n % 2}/"; client_id = "second";'))
        if n % 5 == 0:
            links.append(harness.link(harness.free_port(), "nobody", 'client_id = "third";'))
        return harness.conf(buses, links)
    full = harness.conf([harness.bus(port, [harness.device(f"d{i}-{unit}", unit, harness.registers(0, 12))
                                            for unit in (1, 2, 3)], name=f"bus{i}")
                         for i, port in enumerate(ports)], harness.link(broker.port))
    (folder / "sim.conf").write_text(full)
    sim = start_sim("--values", "unit-address", folder / "sim.conf")
    sim.wait_ready(2)
    gateway = start_gateway(variant(0))
    for _ in range(100):
        n = rng.randrange(60)
        kind = rng.randrange(10)
        if kind == 0:
            gateway.reload("nonsense = ;")
        elif kind < 4:  # nobody waits for it
            gateway.file.write_text(variant(n))
            gateway.process.signal(signal.SIGHUP)
        else:
            gateway.reload(variant(n))
    # What has not changed is not published again: what a newcomer gets must be right and complete.
    gateway.reload(variant(1))
    late = new_mqtt(broker.port)
    for bus in (0, 1):
        for unit in (1, 2):
            late.wait(f"mbgate/d{bus}-{unit}/r1", f"{unit}001")
            late.wait(f"mbgate/d{bus}-{unit}/r2", f"{unit}002")
            late.wait(f"mbgate/d{bus}-{unit}/availability", "online")
    for prefix in ("p0", "p1"):  # a link that is gone has said so
        late.wait(f"{prefix}/mbgate/status", "offline")
    # Whoever had the line before: each request kept its distance.
    assert [sim.stats(bus)["t35_violations"] for bus in (0, 1)] == [0, 0]
