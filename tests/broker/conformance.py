# SPDX-License-Identifier: MIT
"""Which test covers which numbered statement, and what mosquitto 2.0.11 is known to fail."""

import os
import re

import pytest

COVERED = {4: {}, 5: {}}  # version -> number -> names of tests
ALLOWED = {4: "v311", 5: "v5"}


def covers(v311="", v5=""):
    """The test runs once for each version that has numbers, as its argument v, with the numbers in its name. "-": none."""
    def mark(test):
        params = []
        for version, numbers in ((4, v311.split()), (5, v5.split())):
            if not numbers:
                continue
            numbers = [n for n in numbers if n != "-"]
            for number in numbers:
                assert re.fullmatch(r"\d+(\.\d+)+-\d+", number), number
                COVERED[version].setdefault(number, []).append(f"{os.path.basename(test.__code__.co_filename)}::{test.__name__}")
            params.append(pytest.param(version, id="-".join([ALLOWED[version]] + [f"MQTT_{n}" for n in numbers])))
        return pytest.mark.parametrize("v", params)(test)
    return mark
