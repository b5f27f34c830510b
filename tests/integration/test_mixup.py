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
N_BUSES = 4
UNITS = (1, 2, 3)
STARTS = range(0, 160, 16)  # blocks of 4, with gaps that are not joined
FAULTS = ("late:10ms..90ms@p=0.012", "lost-reply@p=0.003", "no-reply@p=0.003", "noise-before:3@p=0.006",
          "noise-after:3@p=0.006", "wrong-crc@p=0.003", "truncate:3@p=0.003",
          "wrong-unit@p=0.003", "trickle:1ms@p=0.003")


def points():
    return [p for start in STARTS for p in harness.registers(start, 4)]


def test_no_value_under_a_wrong_point(folder, broker, new_mqtt, start_sim, start_gateway):
    buses = []
    for number in range(N_BUSES):
        devices = [harness.device(f"b{number}u{unit}", unit, points(),
                                  "interval_ms = 10; join_gaps = false; max_registers = 4;") for unit in UNITS]
        buses.append(harness.bus(folder / f"line{number}", devices, 'baud = 1000000; format = "8N1";',
                                 name=f"bus{number}", more="response_timeout_ms = 50; retries = 1;"))
    text = harness.conf(buses, harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    faults = [argument for fault in FAULTS for argument in ("--fault", fault)]
    sims = []
    for number in range(N_BUSES):
        sims.append(start_sim("--bus", f"bus{number}", "--values", "address", "--turnaround", "0", "--seed",
                              str(1000 + number), *faults, folder / "sim.conf", name=f"sim{number}"))
        sims[-1].wait_ready()
    mqtt = new_mqtt(broker.port, filters=("mbgate/+/+",))
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
    assert wrong == []
    assert len(seen) == N_BUSES * len(UNITS) * len(points())
    counted = {}
    for sim in sims:
        for kind, count in sim.stats()["faults"].items():
            counted[kind] = counted.get(kind, 0) + count
    print(f"faults: {counted}")
    for fault in FAULTS:
        kind = fault.split(":")[0].split("@")[0]
        assert counted.get(kind, 0) >= TRANSACTIONS / 1000, counted
