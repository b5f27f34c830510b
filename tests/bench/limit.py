# SPDX-License-Identifier: MIT
"""What a line can carry at best; see README.md. Times in seconds."""

MAX_REGISTERS = 125
REQUEST_CHARS = 8
REPLY_CHARS = 5  # and two a register


def char_s(baud, fmt):
    """One character: start bit, data bits, parity bit, stop bits."""
    return (1 + int(fmt[0]) + (fmt[1] != "N") + int(fmt[2])) / baud


def t35_s(baud):
    return 3.5 * 11 / baud if baud <= 19200 else 0.00175


def read_s(n_registers, baud, fmt, turnaround_s):
    chars = REQUEST_CHARS + REPLY_CHARS + 2 * n_registers
    return t35_s(baud) + chars * char_s(baud, fmt) + turnaround_s


def best_round_s(addresses, baud, fmt, turnaround_s):
    """The least time in which all registers of one device can be read."""
    addresses = sorted(addresses)
    best = [0.0]  # for the first k of them
    for end in range(1, len(addresses) + 1):
        best.append(min(
            best[begin] + read_s(addresses[end - 1] - addresses[begin] + 1, baud, fmt, turnaround_s)
            for begin in range(end) if addresses[end - 1] - addresses[begin] < MAX_REGISTERS))
    return best[-1]


def limit_registers_per_s(devices, baud, fmt, turnaround_s):
    """devices: a list of lists of addresses."""
    round_s = sum(best_round_s(addresses, baud, fmt, turnaround_s) for addresses in devices)
    return sum(len(addresses) for addresses in devices) / round_s
