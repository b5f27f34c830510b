# SPDX-License-Identifier: MIT
# label: long
"""A long mixture of all that can go wrong on a line, with writes in between, from fixed seeds.

Eight lines at 1 MBd with three units each, read flat out. Registers hold unit × 1000 + address; what is written to a point names
the point. mbsim's record of the lines is the witness. What must hold:

- no value stands under a wrong point;
- a write that is reported done was done, and one that is reported as not sent was not;
- no line is idle for longer than twice the longest time-out, as long as its port is there;
- memory stays what it was.

MBGATE_CHAOS_TRANSACTIONS says how many; the figure of a release is a million.
"""

import json
import os
import random
import threading

import harness

TRANSACTIONS = int(os.environ.get("MBGATE_CHAOS_TRANSACTIONS", "20000"))
SEED = os.environ.get("MBGATE_CHAOS_SEED", "4711")
ATTEMPTS = 3
TIMEOUT_MS = 150
N_BUSES = 8
UNITS = (1, 2, 3)
STARTS = range(0, 160, 16)  # blocks of 4, with gaps that are not joined
WRITABLE = (500, 520, 540, 560)
WRITE_PAUSE_S = 0.002
IDLE_MAX_MS = 2 * TIMEOUT_MS + 30  # and what the requests on both sides take
STALL_MAX_MS = 80  # a machine that holds the devices up for longer makes replies later than the faults
GROWTH_MAX_KB = 1024
# No replies that come twice: without transaction ids they are known by their content only (src/bus/README.md), not always.
# A wrong unit is one that is not there: a late reply that names a unit that is asked just then is that unit's for all who listen.
# A device that acknowledges (exception 5) will do it: what is said of such a write is that it is done.
# Late ones come within twice the time-out: later ones nobody could tell from the next answer (src/bus/README.md).
FAULTS = ("late:10ms..200ms@p=0.006", "lost-reply@p=0.003", "no-reply@p=0.003", "noise-before:3@p=0.004", "noise-after:3@p=0.004",
          "wrong-crc@p=0.004", "truncate:3@p=0.003", "wrong-unit:9@p=0.003", "trickle:1ms@p=0.003",
          "exception:4@p=0.002", "exception:6@p=0.002", "exception:5@read,p=0.001", "hangup-and-return:300ms@p=0.00003")

# What a result says of a command that never was on the line.
NOT_SENT = ("the port is not there", "the device does not answer", "the bus was too busy: not sent in time",
            "a newer command for this point came first: not sent", "too many commands wait for this bus: try again later",
            "too many commands wait for this point or its device: try again later")


def name_of(number, unit):
    return f"b{number}u{unit}"


def mark_of(number, unit, address):
    """0..95: which point a written value belongs to."""
    return (number * len(UNITS) + unit - 1) * len(WRITABLE) + WRITABLE.index(address)


def configuration(folder, port):
    points = [p for start in STARTS for p in harness.registers(start, 4)]
    points += [p for address in WRITABLE for p in harness.registers(address, 1, more="write = true;")]
    buses = []
    for number in range(N_BUSES):
        devices = [harness.device(name_of(number, unit), unit, points, "interval_ms = 10; join_gaps = false; max_registers = 4;")
                   for unit in UNITS]
        buses.append(harness.bus(folder / f"line{number}", devices, 'baud = 1000000; format = "8N1";', name=f"bus{number}",
                                 more=f"response_timeout_ms = {TIMEOUT_MS}; retries = 1;"))
    return harness.conf(buses, harness.link(port))


class Writer(threading.Thread):
    """Writes points at random; kills units for a while now and then."""

    def __init__(self, mqtt, sim):
        super().__init__(daemon=True)
        self.mqtt, self.sim, self.end = mqtt, sim, threading.Event()
        self.random, self.error = random.Random(7), None
        self.n_written, self.n_of, self.dead = 0, {}, None

    def run(self):
        try:
            while not self.end.wait(WRITE_PAUSE_S):
                self.write()
                if self.n_written % 500 == 0:
                    self.kill_another()
        except Exception as error:  # the test says it
            self.error = error

    def write(self):
        point = self.random.randrange(N_BUSES), self.random.choice(UNITS), self.random.choice(WRITABLE)
        count = self.n_of[point] = self.n_of.get(point, 0) + 1
        value = count % 650 * 100 + mark_of(*point)
        self.n_written += 1
        self.mqtt.client.publish(f"mbgate/{name_of(*point[:2])}/r{point[2]}/set", json.dumps({"value": value, "id": self.n_written}), 0)

    def kill_another(self):
        if self.dead:
            self.sim.ask(f"alive {self.dead}")
        self.dead = f"bus{self.random.randrange(N_BUSES)}/{self.random.choice(UNITS)}"
        self.sim.ask(f"dead {self.dead}")


def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def n_requests(sim):
    return sum(bus["requests"] for bus in json.loads(sim.ask("stats"))["buses"])


def is_own(topic, text):
    """Whether a value belongs to the point under whose topic it stands."""
    _, device, name = topic.split("/")
    number, unit, address = int(device[1:device.index("u")]), int(device[device.index("u") + 1:]), int(name[1:])
    own = int(text) == unit * 1000 + address
    return own or address in WRITABLE and int(text) % 100 == mark_of(number, unit, address)


class Line:
    """What the simulator recorded of one bus: writes that were done, and idle times."""

    def __init__(self):
        self.done = set()
        self.last_at, self.is_open, self.idle_s = None, True, 0.0


def read_record(sim):
    lines = {}
    with open(sim.csv_file, encoding="ascii") as record:
        next(record)
        for row in record:
            _, at, bus, direction, _, data, note = row.rstrip("\n").split(",", 6)
            line = lines.setdefault(bus, Line())
            if direction == "--":
                line.last_at = None  # the port goes or comes
            elif direction == ">>":
                take_request(line, int(at) / 1e6, bytes.fromhex(data), note)
    return lines


def take_request(line, at, data, note):
    if line.last_at is not None:
        line.idle_s = max(line.idle_s, at - line.last_at)
    line.last_at = at
    if len(data) == 8 and data[1] == 6:
        if not any(word in note for word in ("no-reply", "exception", "dead", "not heard")):
            line.done.add((data[0], int.from_bytes(data[2:4], "big"), int.from_bytes(data[4:6], "big")))


def run(folder, port, new_mqtt, start_sim, start_gateway):
    text = configuration(folder, port)
    (folder / "sim.conf").write_text(text)
    faults = [argument for fault in FAULTS for argument in ("--fault", fault)]
    sim = start_sim("--values", "unit-address", "--turnaround", "0", "--seed", SEED, *faults, folder / "sim.conf")
    sim.wait_ready(N_BUSES)
    mqtt = new_mqtt(port, filters=("mbgate/+/+", "mbgate/+/+/result"))
    gateway = start_gateway(text)
    writer = Writer(mqtt, sim)
    writer.start()
    early_kb = None
    pause = threading.Event()
    while (n := n_requests(sim)) < TRANSACTIONS:
        assert gateway.alive() and not writer.error, writer.error
        if early_kb is None and n >= TRANSACTIONS // 4:
            early_kb = rss_kb(gateway.process.child.pid)
        pause.wait(0.5)
    writer.end.set()
    writer.join()
    grown_kb = rss_kb(gateway.process.child.pid) - (early_kb or 0)
    stats = json.loads(sim.ask("stats"))["buses"]
    gateway.stop()
    sim.quit()
    return mqtt.messages, read_record(sim), stats, grown_kb


def wrong_values(messages):
    values = [m for m in messages if m.topic.count("/") == 2 and m.topic.rsplit("/", 1)[1].startswith("r") and m.text
              and not m.topic.endswith("/result")]
    return [m for m in values if not is_own(m.topic, m.text)], len(values)


def wrong_results(messages, record):
    """Results that the record of the line gives the lie, and how many said what."""
    lies, counts = [], {}
    for message in messages:
        if not message.topic.endswith("/result"):
            continue
        _, device, name, _ = message.topic.split("/")
        result = json.loads(message.text)
        number, unit = device[1:].split("u")
        line, write = record[f"bus{number}"], (int(unit), int(name[1:]), int(result["value"] or 0))
        counts[result["error"] or "ok"] = counts.get(result["error"] or "ok", 0) + 1
        if result["ok"] and write not in line.done or result["error"] in NOT_SENT and write in line.done:
            lies.append(message)
    return lies, counts


def test_chaos(folder, start_broker, new_mqtt, start_sim, start_gateway):
    for attempt in range(ATTEMPTS):
        (folder / str(attempt)).mkdir()
        messages, record, stats, grown_kb = run(folder / str(attempt), start_broker().port, new_mqtt, start_sim, start_gateway)
        stall_ms = max(bus["stall_max_us"] for bus in stats) / 1000
        wrong, n_values = wrong_values(messages)
        lies, results = wrong_results(messages, record)
        idle_ms = max(line.idle_s for line in record.values()) * 1000
        faults = {}
        for bus in stats:
            for kind, count in bus["faults"].items():
                faults[kind] = faults.get(kind, 0) + count
        print(f"{sum(bus['requests'] for bus in stats)} transactions, {n_values} values, longest idle {idle_ms:.0f} ms, "
              f"memory {grown_kb:+d} kB, machine stalled {stall_ms:.0f} ms\nfaults: {faults}\nresults: {results}")
        if stall_ms < STALL_MAX_MS or not wrong and idle_ms <= IDLE_MAX_MS:
            break
    assert not wrong, wrong[:10]
    assert not lies, lies[:10]
    assert idle_ms <= IDLE_MAX_MS + stall_ms, f"a line was idle for {idle_ms:.0f} ms"
    assert grown_kb <= GROWTH_MAX_KB, f"{grown_kb} kB more than after a quarter"
    assert results.get("ok", 0) > TRANSACTIONS / 1000, results
    for fault in FAULTS:
        if TRANSACTIONS >= 1000000 or "hangup" not in fault:
            assert faults.get(fault.split(":")[0].split("@")[0], 0) >= TRANSACTIONS / 3000, faults
