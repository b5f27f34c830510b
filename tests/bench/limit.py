# SPDX-License-Identifier: MIT
"""What a line can carry at best; see README.md. Times in seconds."""

MAX_REGISTERS = 125
REQUEST_CHARS = 8
REPLY_CHARS = 5  # and two a register
ROUNDING_S = 1e-9


def char_s(baud, fmt):
    """One character: start bit, data bits, parity bit, stop bits."""
    return (1 + int(fmt[0]) + (fmt[1] != "N") + int(fmt[2])) / baud


def t35_s(baud):
    return 3.5 * 11 / baud if baud <= 19200 else 0.00175


def read_s(n_registers, baud, fmt, turnaround_s):
    chars = REQUEST_CHARS + REPLY_CHARS + 2 * n_registers
    return t35_s(baud) + chars * char_s(baud, fmt) + turnaround_s


def most_registers(baud, fmt, turnaround_s, longest_s=None):
    """So many registers has the largest read that takes no longer than `longest_s`: one at least."""
    if longest_s is None:
        return MAX_REGISTERS
    fitting = [n for n in range(1, MAX_REGISTERS + 1)
               if read_s(n, baud, fmt, turnaround_s) <= longest_s + ROUNDING_S]
    return max(fitting, default=1)


def best_round_s(addresses, baud, fmt, turnaround_s, longest_s=None):
    """The least time in which all registers of one device can be read."""
    addresses = sorted(addresses)
    most = most_registers(baud, fmt, turnaround_s, longest_s)
    best = [0.0]  # for the first k of them
    for end in range(1, len(addresses) + 1):
        best.append(min(
            best[begin] + read_s(addresses[end - 1] - addresses[begin] + 1, baud, fmt, turnaround_s)
            for begin in range(end) if addresses[end - 1] - addresses[begin] < most))
    return best[-1]


def limit_registers_per_s(devices, baud, fmt, turnaround_s):
    """devices: a list of lists of addresses."""
    round_s = sum(best_round_s(addresses, baud, fmt, turnaround_s) for addresses in devices)
    return sum(len(addresses) for addresses in devices) / round_s


def interval_for_load_s(devices, baud, fmt, turnaround_s, load):
    """Read so often, all devices take this share of the line."""
    return sum(best_round_s(addresses, baud, fmt, turnaround_s) for addresses in devices) / load


def block_cap_s(p50_s, p99_s, margin_s):
    """How long a read may keep the line so that a write has these latencies.

    A write comes at any moment of a read and begins at its end: it waits for half of it in the middle, for
    all of it at worst, and needs `margin_s` on its way.
    """
    return min(2 * (p50_s - margin_s), p99_s - margin_s)


def block_cap_setting_ms(cap_s):
    """The same for write_expected_block_ms, which counts as read_s() does."""
    return int((cap_s + ROUNDING_S) * 1000)
