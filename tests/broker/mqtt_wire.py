# SPDX-License-Identifier: MIT
"""MQTT packets as bytes, written and read by hand: shares nothing with the program that is tested."""

import struct

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT, AUTH = 8, 9, 10, 11, 12, 13, 14, 15
NAMES = ["0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
         "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"]

# Properties: the numbers of 2.2.2.2.
FORMAT, EXPIRY, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION, SUBSCRIPTION_ID = 1, 2, 3, 8, 9, 11
SESSION_EXPIRY, ASSIGNED_ID, SERVER_KEEPALIVE, AUTH_METHOD, AUTH_DATA, WANT_PROBLEM = 17, 18, 19, 21, 22, 23
WILL_DELAY, WANT_RESPONSE, RESPONSE_INFORMATION, SERVER_REFERENCE, REASON, RECEIVE_MAX = 24, 25, 26, 28, 31, 33
ALIAS_MAX, ALIAS, MAX_QOS, RETAIN_OK, USER, MAX_PACKET, WILDCARD_OK, SUB_ID_OK, SHARED_OK = range(34, 43)
KINDS = {"byte": (1, 23, 25, 36, 37, 40, 41, 42), "u16": (19, 33, 34, 35), "u32": (2, 17, 24, 39), "varint": (11,),
         "utf8": (3, 8, 18, 21, 26, 28, 31), "binary": (9, 22), "pair": (38,)}
KIND = {number: kind for kind, numbers in KINDS.items() for number in numbers}
# What a server may send where: 2.2.2.2.
FROM_SERVER = {
    CONNACK: {17, 18, 19, 21, 22, 26, 28, 31, 33, 34, 36, 37, 38, 39, 40, 41, 42},
    PUBLISH: {1, 2, 3, 8, 9, 11, 35, 38}, PUBACK: {31, 38}, PUBREC: {31, 38}, PUBREL: {31, 38}, PUBCOMP: {31, 38},
    SUBACK: {31, 38}, UNSUBACK: {31, 38}, DISCONNECT: {28, 31, 38}, AUTH: {21, 22, 31, 38},
}
# Reason codes a server may send in which packet of 5.0; 3.1.1 has return codes of its own.
ERRORS = {0x80, 0x83, 0x87, 0x97}
CODES = {
    CONNACK: {0, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A,
              0x9B, 0x9C, 0x9D, 0x9F},
    PUBACK: {0, 0x10, 0x90, 0x91, 0x99} | ERRORS, PUBREC: {0, 0x10, 0x90, 0x91, 0x99} | ERRORS, PUBREL: {0, 0x92},
    PUBCOMP: {0, 0x92}, SUBACK: {0, 1, 2, 0x8F, 0x91, 0x9E, 0xA1, 0xA2} | ERRORS, UNSUBACK: {0, 0x11, 0x80, 0x83, 0x87, 0x8F, 0x91},
    DISCONNECT: {0, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97,
                 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2},
    AUTH: {0, 0x18},
}


def u16(n):
    return struct.pack(">H", n)


def u32(n):
    return struct.pack(">I", n)


def varint(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 127
        out.append(low | (128 if n else 0))
        if not n:
            return bytes(out)


def binary(data):
    data = data.encode() if isinstance(data, str) else data
    return u16(len(data)) + data


def prop(number, value):
    kind = KIND[number]
    if kind == "pair":
        return bytes([number]) + binary(value[0]) + binary(value[1])
    encode = {"byte": lambda v: bytes([v]), "u16": u16, "u32": u32, "varint": varint, "utf8": binary, "binary": binary}
    return bytes([number]) + encode[kind](value)


def properties(v, props):
    """With their length; nothing in 3.1.1. `props`: pairs (number, value), or bytes as they are."""
    if v < 5:
        assert not props
        return b""
    body = props if isinstance(props, bytes) else b"".join(prop(*p) for p in props)
    return varint(len(body)) + body


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + varint(len(body)) + body


class Will:
    def __init__(self, topic, payload=b"will", qos=0, retain=False, props=()):
        self.topic, self.payload, self.qos, self.retain, self.props = topic, payload, qos, retain, props


def connect(v, client_id, clean=True, keepalive=0, will=None, user=None, password=None, props=(), name="MQTT",
            level=None, flags=None, rest=b""):
    f = (2 if clean else 0) | (128 if user is not None else 0) | (64 if password is not None else 0)
    payload = binary(client_id)
    if will:
        f |= 4 | will.qos << 3 | (32 if will.retain else 0)
        payload += properties(v, will.props) + binary(will.topic) + binary(will.payload)
    payload += b"".join(binary(x) for x in (user, password) if x is not None)
    body = binary(name) + bytes([v if level is None else level, f if flags is None else flags]) + u16(keepalive)
    return packet(CONNECT, body + properties(v, props) + payload + rest)


def publish(v, topic, payload=b"", qos=0, retain=False, dup=False, pid=0, props=()):
    flags = (8 if dup else 0) | qos << 1 | (1 if retain else 0)
    payload = payload.encode() if isinstance(payload, str) else payload
    return packet(PUBLISH, binary(topic) + (u16(pid) if qos else b"") + properties(v, props) + payload, flags)


def ack(kind, pid, code=None, v=5, props=None):
    """PUBACK, PUBREC, PUBREL or PUBCOMP, in the short form without a code."""
    body = u16(pid) + (b"" if code is None else bytes([code])) + (b"" if props is None else properties(v, props))
    return packet(kind, body, 2 if kind == PUBREL else 0)


def subscribe(v, pid, filters, props=()):
    """`filters`: pairs (filter, options)."""
    return packet(SUBSCRIBE, u16(pid) + properties(v, props) + b"".join(binary(f) + bytes([o]) for f, o in filters), 2)


def unsubscribe(v, pid, filters, props=()):
    return packet(UNSUBSCRIBE, u16(pid) + properties(v, props) + b"".join(binary(f) for f in filters), 2)


def disconnect(code=None, props=None):
    return packet(DISCONNECT, (b"" if code is None else bytes([code])) + (b"" if props is None else properties(5, props)))


def auth(code, props):
    return packet(AUTH, bytes([code]) + properties(5, props))


PING, PONG = packet(PINGREQ), packet(PINGRESP)


class Cursor:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        assert self.at + n <= len(self.data), f"too short: {self.data.hex()}"
        self.at += n
        return self.data[self.at - n:self.at]

    def byte(self):
        return self.take(1)[0]

    def u16(self):
        return struct.unpack(">H", self.take(2))[0]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def varint(self):
        start, value, shift = self.at, 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if not byte & 128:
                break
        assert self.data[start:self.at] == varint(value), "[MQTT-1.5.5-1] more bytes than needed"
        return value

    def binary(self):
        return self.take(self.u16())

    def utf8(self):
        text = self.binary().decode()  # strict: ill-formed raises
        assert "\0" not in text
        return text

    def pair(self):
        return self.utf8(), self.utf8()

    def more(self):
        return self.at < len(self.data)

    def properties(self):
        inner = Cursor(self.take(self.varint()))
        found = []
        while inner.more():
            number = inner.varint()
            assert number in KIND, f"property {number}"
            found.append((number, getattr(inner, KIND[number])()))
        once = [n for n, _ in found if n not in (USER, SUBSCRIPTION_ID)]
        assert len(once) == len(set(once)), f"a property twice: {found}"
        return found


class Packet:
    """One packet of a server, checked for all that can be said of it alone."""

    def __init__(self, v, raw):
        head = Cursor(raw)
        first = head.byte()
        self.v, self.raw, self.kind, self.flags = v, raw, first >> 4, first & 15
        length = head.varint()
        body = self.body = Cursor(head.take(length))
        assert not head.more()
        self.code, self.pid, self.props = 0, 0, []
        assert self.flags == (2 if self.kind == PUBREL else 0) or self.kind == PUBLISH, f"flags: {self}"
        getattr(self, "_" + NAMES[self.kind].lower())(body)
        assert not body.more(), f"bytes left: {self}"
        if v == 5:
            assert {n for n, _ in self.props} <= FROM_SERVER.get(self.kind, set()), f"properties: {self}"
            for code in getattr(self, "codes", [self.code]):
                assert self.kind not in CODES or code in CODES[self.kind], f"code: {self}"

    def _connack(self, body):
        flags = body.byte()
        assert flags & ~1 == 0, "reserved flags of CONNACK"
        self.present, self.code = bool(flags), body.byte()
        if self.v == 5:
            self.props = body.properties()
        else:
            assert self.code <= 5
        assert not (self.present and self.code)

    def _publish(self, body):
        self.dup, self.qos, self.retain = bool(self.flags & 8), self.flags >> 1 & 3, bool(self.flags & 1)
        assert self.qos < 3 and not (self.dup and not self.qos), f"flags: {self}"
        self.topic = body.utf8()
        assert not set(self.topic) & set("+#")
        if self.qos:
            self.pid = body.u16()
            assert self.pid
        if self.v == 5:
            self.props = body.properties()
        self.payload = body.take(len(body.data) - body.at)

    def _puback(self, body):
        self.pid = body.u16()
        if body.more():
            assert self.v == 5
            self.code = body.byte()
            if body.more():
                self.props = body.properties()

    _pubrec = _pubrel = _pubcomp = _puback

    def _suback(self, body):
        self.pid = body.u16()
        if self.v == 5:
            self.props = body.properties()
        self.codes = list(body.take(len(body.data) - body.at))
        if self.v < 5:
            assert set(self.codes) <= {0, 1, 2, 0x80}

    def _unsuback(self, body):
        if self.v == 5:
            return self._suback(body)
        self.pid = body.u16()
        self.codes = []
        return None

    def _pingresp(self, body):
        pass

    def _disconnect(self, body):
        assert self.v == 5, "a server of 3.1.1 sends no DISCONNECT"
        if body.more():
            self.code = body.byte()
            if body.more():
                self.props = body.properties()

    def _auth(self, body):
        assert self.v == 5
        if body.more():
            self.code, self.props = body.byte(), body.properties()

    def get(self, number, default=None):
        return next((value for n, value in self.props if n == number), default)

    def all(self, number):
        return [value for n, value in self.props if n == number]

    def __repr__(self):
        return f"{NAMES[self.kind]} {self.raw.hex()}"
