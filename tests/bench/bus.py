# SPDX-License-Identifier: MIT
"""Wire figures of mbgated against mbsim: see README.md. Started by tools/bench."""

import argparse
import random
import sys
import time

import rig as rigs  # first: it finds the modules of the integration tests
import figures
import report
from cases import CASES

WRITES_S = (0.05, 0.25)  # between two writes, drawn at random, so that they meet every moment of a poll
FIRST_WRITE, QUICK_WRITES = 20000, 20
SHARE_BURSTS, SHARE_PAUSE_S = 200, 0.02


def send_writes(rig, n):
    """(time, unit, value) of writes, each after the result of the one before."""
    rng = random.Random(1)
    published = []
    for value in range(FIRST_WRITE, FIRST_WRITE + n):
        unit = rng.choice(list(rig.case.devices))
        time.sleep(rng.uniform(*WRITES_S))
        published.append((write(rig, unit, value), unit, value))
    return published


def write(rig, unit, value):
    name = rigs.device_name(0, unit)
    at = rig.publisher.publish((f"mbgate/{name}/r0/set", str(value)))
    rig.subscriber.wait(f"mbgate/{name}/r0/result")
    return at


def prepare_writes(rig, settle_s):
    """After one write others are expected, so that the reads are as short as they will be."""
    rig.publisher = rig.peer("bench-publisher")
    write(rig, next(iter(rig.case.devices)), FIRST_WRITE - 1)
    time.sleep(settle_s)


def own_share(rig, bursts):
    """Seconds of messages through mosquitto to the same subscriber, as many at once as one answer brings."""
    publisher = rig.peer("bench-publisher")
    n = len(next(iter(rig.case.devices.values())))
    times = []
    for _ in range(bursts):
        first = len(times)
        messages = [("bench/share", str(first + number)) for number in range(n)]
        times += [publisher.publish(*messages)] * n
        time.sleep(SHARE_PAUSE_S)
    time.sleep(0.2)
    return [at - times[int(payload)] for at, topic, payload, _ in rig.subscriber.messages()
            if topic == "bench/share"]


def measure(case, options):
    settle_s = min(case.settle_s, 2) if options.quick and not case.dead else case.settle_s
    seconds = options.seconds if options.quick else max(options.seconds, case.seconds_min)
    with rigs.Rig(case, settle_s) as rig:
        if case.writes:
            prepare_writes(rig, settle_s)
        run = rig.watch(lambda _: send_writes(rig, options.writes) if case.writes else time.sleep(seconds))
        if case.share:
            run.share = own_share(rig, SHARE_BURSTS // 4 if options.quick else SHARE_BURSTS)
        if not case.writes:
            run.take_messages(rig.subscriber.messages())
        run.frames = rig.frames()
    return run


def parse():
    parser = argparse.ArgumentParser(prog="tools/bench bus", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three seconds, 20 writes: to try the bench")
    parser.add_argument("--seconds", type=float,
                        help="length of each measurement (20; some take 40 or 60 at least)")
    parser.add_argument("--writes", type=int, help="in each measurement of write latency (200)")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    options.seconds = options.seconds or (3 if options.quick else 20)
    options.writes = options.writes or (QUICK_WRITES if options.quick else 200)
    return options


def main():
    options = parse()
    cases = [case for case in CASES if options.only.lower() in case.name.lower()]
    if not cases:
        raise SystemExit("bench: cases are: " + "; ".join(case.name for case in CASES))
    rows, bars = [], []
    for case in cases:
        print(f"bench: {case.name} …", file=sys.stderr, flush=True)
        more_rows, more_bars = figures.rows_of(measure(case, options))
        rows, bars = rows + more_rows, bars + more_bars
    print("\n" + report.table(rows) + "\n")
    text = (f"{report.machine()}; {options.seconds:g} s for each case or as long as it needs, {options.writes} "
            "writes. Computation of the limits: tests/bench/README.md.")
    report.write("bus", "Wire figures", text, rows, bars, "times as good as the aim (green: it is met)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
