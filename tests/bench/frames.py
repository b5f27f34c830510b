# SPDX-License-Identifier: MIT
"""What the frames that mbsim saw say about a line; see README.md. Times in seconds of CLOCK_MONOTONIC."""

import bisect
import collections
import math
import statistics

READ_HOLDING, WRITE_ONE, WRITE_SEVERAL = 3, 6, 16

# A good answer: when its request began, when its last byte was there, and what it said.
Read = collections.namedtuple("Read", "unit first asked ended values")


def _crc_table():
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xA001 if value & 1 else 0)
        yield value


CRC = list(_crc_table())


def crc_is_right(frame):
    crc = 0xFFFF  # over a frame and its own CRC it is 0
    for byte in frame:
        crc = crc >> 8 ^ CRC[(crc ^ byte) & 0xFF]
    return crc == 0


def word(data, at):
    return int.from_bytes(data[at:at + 2], "big")


def good_read(asked, request, ended, data):
    """The Read, or None when this is no good answer."""
    if request[1] != READ_HOLDING or data[:2] != request[:2]:
        return None
    first, count = word(request, 2), word(request, 4)
    if len(data) != 5 + 2 * count or not crc_is_right(data):
        return None
    return Read(data[0], first, asked, ended, [word(data, 3 + 2 * i) for i in range(count)])


def reads_of(frames):
    """All good answers among (time, direction, bytes, …)."""
    asked = request = None
    for at, direction, data, *_ in frames:
        if direction == ">>":
            asked, request = at, data
        elif request:
            read = good_read(asked, request, at, data)
            if read:
                yield read
            request = None


def percentile(values, share):
    """The least of the values that so many are not above."""
    values = sorted(values)
    return values[max(0, math.ceil(share * len(values)) - 1)] if values else math.nan


def useful(read, wanted):
    ours = wanted.get(read.unit, ())
    return sum(address in ours for address in range(read.first, read.first + len(read.values)))


def useful_rate(reads, wanted):
    """Useful registers a second, from the end of the first answer to that of the last.

    wanted: unit -> addresses.
    """
    if len(reads) < 3:
        return 0.0
    return sum(useful(read, wanted) for read in reads[1:]) / (reads[-1].ended - reads[0].ended)


def worst_staleness_s(reads, wanted, begun, ended):
    """The longest time for which one register had no good answer: up to one in the window, or to its end."""
    last = {(unit, address): begun for unit, addresses in wanted.items() for address in addresses}
    worst = 0.0
    for read in reads:
        for address in range(read.first, read.first + len(read.values)):
            key = read.unit, address
            if key not in last:
                continue
            if begun <= read.ended <= ended:
                worst = max(worst, read.ended - last[key])
            if read.ended <= ended:
                last[key] = read.ended
    return max([worst] + [ended - at for at in last.values()])


def jitter_s(requests, period_s):
    """How far each request lay from where its block's even beat would have it; period_s: unit -> seconds.

    The beat goes through the middle (median) of a block's requests, so that drift counts as well.
    """
    blocks = collections.defaultdict(list)
    for at, data in requests:
        if data[1] == READ_HOLDING:
            blocks[data[0], word(data, 2), word(data, 4)].append(at)
    found = []
    for (unit, *_), times in blocks.items():
        period = period_s[unit]
        rests = [at - times[0] - period * round((at - times[0]) / period) for at in times]
        middle = statistics.median(rests)
        found += [abs(rest - middle) for rest in rests]
    return found


def write_latencies(requests, published):
    """(seconds, requests begun in between) from each publication (time, unit, value) to its write."""
    found = []
    times = [at for at, _ in requests]
    for at, unit, value in published:
        begin = bisect.bisect_right(times, at)
        for number, (begun, data) in enumerate(requests[begin:]):
            if data[0] == unit and value_written(data) == value:
                found.append((begun - at, number))
                break
    return found


def value_written(data):
    """By a request, in one register; None when it is no such request."""
    if data[1] == WRITE_ONE:
        return word(data, 4)
    return word(data, 7) if data[1] == WRITE_SEVERAL else None


def wire_latencies(reads, messages):
    """(seconds of each message since the end of the answer that it tells of, number of those that fit none).

    messages: (time, unit, address, value). The value is drawn anew for each answer, so it names it.
    """
    known = collections.defaultdict(list)
    for read in reads:
        for number, value in enumerate(read.values):
            known[read.unit, read.first + number, value].append(read.ended)
    found, unexplained = [], 0
    for at, unit, address, value in messages:
        ends = known.get((unit, address, value), [])
        before = bisect.bisect_right(ends, at)
        if before:
            found.append(at - ends[before - 1])
        else:
            unexplained += 1
    return found, unexplained
