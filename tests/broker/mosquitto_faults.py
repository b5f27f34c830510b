# SPDX-License-Identifier: MIT
"""Tests that mosquitto 2.0.11 fails, with what it does instead: used with --server mosquitto only. Never for mbgated."""

FAULTS = {
}
