# SPDX-License-Identifier: MIT
"""What the log says of a line that is not as it should be: each pattern once, and none of a healthy one."""

import re

import harness

UNITS = (10, 11, 12)


def bus(folder, name, more="baud = 115200;"):
    devices = [harness.device(f"{name}{unit}", unit, harness.registers(0, 4), "interval_ms = 60; response_timeout_ms = 100;")
               for unit in UNITS]
    return harness.bus(folder / name, devices, more, name=name)


def test_each_pattern_is_named_once(folder, broker, start_sim, start_gateway):
    names = ("healthy", "twice", "disturbed", "late", "foreign")
    plan = folder / "sim.conf"
    plan.write_text(harness.conf([bus(folder, n) for n in names], harness.link(broker.port)))
    start_sim("--fault", "wrong-crc@bus=twice,unit=11,p=0.4", "--fault", "wrong-crc@bus=disturbed,p=0.08",
              "--fault", "late:130ms@bus=late,unit=12,p=0.3", "--fault", "duplicate@bus=foreign,p=0.2",
              plan).wait_ready(len(names))
    deaf = folder / "deaf.conf"  # its devices are set to another speed
    deaf.write_text(harness.conf([bus(folder, "deaf", "baud = 9600;")], harness.link(broker.port)))
    start_sim("--exact-settings", deaf, name="deaf").wait_ready()
    gateway = start_gateway(harness.conf([bus(folder, n) for n in (*names, "deaf")], harness.link(broker.port)))
    for pattern in (r"bus twice: unit 11: hint: .*two devices may have this unit id",
                    r"bus disturbed: hint: .*termination",
                    r"bus late: unit 12: hint: .*raise response_timeout_ms",
                    r"bus foreign: hint: .*another master",
                    r"bus deaf: hint: nobody answers and nothing is heard"):
        gateway.wait_line(pattern, limit=harness.LIMIT * 2)
    hints = [line for line in gateway.process.lines if "hint:" in line]
    assert len(hints) == 5, hints
    assert not any(re.search("bus healthy: .*hint", line) for line in hints)
