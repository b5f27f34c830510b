# SPDX-License-Identifier: MIT
# label: long
"""10^5 transactions with late replies, losses and noise: no value ever stands under a wrong point.

Every register holds its address, so that every value that is published anywhere tells where it came from. All blocks
have the same length, and several devices of one bus too: the hardest case for an RTU master, whose replies carry no
transaction number. A reply may come later than the time-out, but within twice the time-out: later ones nobody could tell from the
answer to the next request (src/bus/README.md). The seeds are fixed. The lines run at 1 MBd, so that a transaction takes
some 3 ms.
"""

import os
import threading

import harness

TRANSACTIONS = int(os.environ.get("MBGATE_MIXUP_TRANSACTIONS", "100000"))
ATTEMPTS = 3
STALL_MAX_MS = 150  # with the latest fault below the quarantine of 300 ms
N_BUSES = 4
UNITS = (1, 2, 3)
STARTS = range(0, 160, 16)  # blocks of 4, with gaps that are not joined
FAULTS = ("late:10ms..90ms@p=0.012", "lost-reply@p=0.003", "no-reply@p=0.003", "noise-before:3@p=0.006",
          "noise-after:3@p=0.006", "wrong-crc@p=0.003", "truncate:3@p=0.003",
          "wrong-unit@p=0.003", "trickle:1ms@p=0.003")


def points():
    return [p for start in STARTS for p in harness.registers(start, 4)]


def run(folder, port, new_mqtt, start_sim, start_gateway):
    """The wrong values, what was seen, the faults, and for how many ms a simulated device got no processor."""
    buses = []
    for number in range(N_BUSES):
        devices = [harness.device(f"b{number}u{unit}", unit, points(),
                                  "interval_ms = 10; join_gaps = false; max_registers = 4;") for unit in UNITS]
        buses.append(harness.bus(folder / f"line{number}", devices, 'baud = 1000000; format = "8N1";',
                                 name=f"bus{number}", more="response_timeout_ms = 50; retries = 1;"))
    text = harness.conf(buses, harness.link(port))
    (folder / "sim.conf").write_text(text)
    faults = [argument for fault in FAULTS for argument in ("--fault", fault)]
    sims = []
    for number in range(N_BUSES):
        sims.append(start_sim("--bus", f"bus{number}", "--values", "address", "--turnaround", "0", "--seed",
                              str(1000 + number), *faults, folder / "sim.conf", name=f"sim{number}"))
        sims[-1].wait_ready()
    mqtt = new_mqtt(port, filters=("mbgate/+/+",))
    gateway = start_gateway(text)

    def enough():
        assert gateway.alive()
        return sum(sim.stats()["requests"] for sim in sims) >= TRANSACTIONS
    watch = threading.Event()
    end = harness.LIMIT * 9
    waited = 0
    while not enough():
        watch.wait(1)
        waited += 1
        assert waited < end, "too slow"

    seen, wrong = set(), []
    for message in mqtt.messages:
        _, device, name = message.topic.split("/")
        if name.startswith("r") and name != "result":
            seen.add((device, name))
            if message.text != name[1:] and message.text != "":
                wrong.append(message)
    stall_ms = max(sim.stats()["stall_max_us"] for sim in sims) / 1000
    counted = {}
    for sim in sims:
        for kind, count in sim.stats()["faults"].items():
            counted[kind] = counted.get(kind, 0) + count
    gateway.stop()
    for sim in sims:
        sim.quit()
    return wrong, seen, counted, stall_ms


def test_no_value_under_a_wrong_point(folder, start_broker, new_mqtt, start_sim, start_gateway):
    for attempt in range(ATTEMPTS):
        (folder / str(attempt)).mkdir()
        wrong, seen, counted, stall_ms = run(folder / str(attempt), start_broker().port, new_mqtt, start_sim, start_gateway)
        # A machine that holds a device up for longer than the quarantine makes replies that come later than these faults.
        if stall_ms < STALL_MAX_MS or not wrong:
            break
        print(f"a simulated device was held up for {stall_ms:.0f} ms: again")
    assert wrong == []
    assert len(seen) == N_BUSES * len(UNITS) * len(points())
    print(f"faults: {counted}")
    for fault in FAULTS:
        kind = fault.split(":")[0].split("@")[0]
        assert counted.get(kind, 0) >= TRANSACTIONS / 1000, counted
