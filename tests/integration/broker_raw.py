# SPDX-License-Identifier: MIT
"""MQTT and WebSocket by the byte: what a client library would never send, and exact control of what it would."""

import base64
import os
import socket
import ssl
import struct

import harness

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, \
    PINGRESP, DISCONNECT, AUTH = range(1, 16)


def varint(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | 0x80 if n else low)
        if not n:
            return bytes(out)


def text(s):
    raw = s.encode() if isinstance(s, str) else s
    return struct.pack(">H", len(raw)) + raw


def packet(first, body=b""):
    return bytes([first]) + varint(len(body)) + body


def properties(version, raw=b""):
    return varint(len(raw)) + raw if version == 5 else b""


def connect(client_id="", version=4, clean=True, keepalive=0, will=None, user=None, password=None, props=b""):
    """will: (topic, payload, QoS, retain)."""
    flags = 2 if clean else 0
    payload = text(client_id)
    if will:
        topic, message, qos, retain = will
        flags |= 4 | qos << 3 | retain << 5
        payload += properties(version) + text(topic) + text(message)
    if user is not None:
        flags |= 0x80
        payload += text(user)
    if password is not None:
        flags |= 0x40
        payload += text(password)
    name = "MQIsdp" if version == 3 else "MQTT"
    return packet(0x10, text(name) + bytes([version, flags]) + struct.pack(">H", keepalive)
                  + properties(version, props) + payload)


def publish(topic, payload=b"", qos=0, pid=1, retain=False, dup=False, version=4, props=b""):
    payload = payload.encode() if isinstance(payload, str) else payload
    head = text(topic) + (struct.pack(">H", pid) if qos else b"") + properties(version, props)
    return packet(0x30 | dup << 3 | qos << 1 | retain, head + payload)


def subscribe(pid, filters, version=4, props=b""):
    """filters: (filter, QoS and options) each."""
    return packet(0x82, struct.pack(">H", pid) + properties(version, props)
                  + b"".join(text(f) + bytes([options]) for f, options in filters))


def ack(kind, pid):
    """PUBACK, PUBREC, PUBREL or PUBCOMP: success in its short form is the same in all versions."""
    return packet(kind << 4 | (2 if kind == PUBREL else 0), struct.pack(">H", pid))


PING = packet(0xC0)
GOODBYE = packet(0xE0)


def split(buffer):
    """Takes the whole packets out of a bytearray: a list of (first byte, body)."""
    found, at = [], 0
    while at + 2 <= len(buffer):
        length, shift, i = 0, 0, at + 1
        while i < len(buffer) and shift <= 21:
            length |= (buffer[i] & 0x7F) << shift
            shift += 7
            i += 1
            if not buffer[i - 1] & 0x80:
                break
        else:
            assert shift <= 21, "a remaining length of more than four bytes"
            break
        if i + length > len(buffer):
            break
        found.append((buffer[at], bytes(buffer[i:i + length])))
        at = i + length
    del buffer[:at]
    return found


class Published:
    """A PUBLISH that came."""

    def __init__(self, first, body, version=4):
        self.dup, self.qos, self.retain = bool(first & 8), first >> 1 & 3, bool(first & 1)
        n, = struct.unpack_from(">H", body)
        self.topic, at = body[2:2 + n].decode(), 2 + n
        self.pid = 0
        if self.qos:
            self.pid, = struct.unpack_from(">H", body, at)
            at += 2
        if version == 5:
            length, shift = 0, 0
            while True:
                byte = body[at]
                at += 1
                length |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    break
            at += length
        self.payload = body[at:]


def frame(payload, opcode=2, fin=True, mask=True):
    """A WebSocket frame of a client."""
    n = len(payload)
    head = bytes([fin << 7 | opcode])
    bit = 0x80 if mask else 0
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack(">H", n)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    repeated = (key * (n // 4 + 1))[:n]
    return head + key + (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(n, "big")


def upgrade_request(protocol="mqtt", key=None):
    key = key or base64.b64encode(os.urandom(16)).decode()
    return (f"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n").encode()


def client_context(ca=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    else:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Peer:
    """One blocking connection whose packets are read one by one."""

    def __init__(self, port, tls=None, websocket=False, limit=harness.LIMIT, receive_buffer=None):
        self.version = 4
        self.websocket = websocket
        self.raw, self.buffer, self.packets = bytearray(), bytearray(), []
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(limit)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        if websocket:
            self.socket.sendall(upgrade_request())
            while b"\r\n\r\n" not in self.raw:
                piece = self.socket.recv(4096)
                assert piece, f"no upgrade: {bytes(self.raw)}"
                self.raw += piece
            head, _, rest = bytes(self.raw).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
            assert b"sec-websocket-protocol: mqtt" in head.lower(), head
            self.raw = bytearray(rest)

    def send(self, data):
        self.socket.sendall(frame(data) if self.websocket else data)

    def _unframe(self):
        while len(self.raw) >= 2:
            n, at = self.raw[1] & 0x7F, 2
            if n >= 126:
                size = 2 if n == 126 else 8
                if len(self.raw) < 2 + size:
                    return
                n, at = int.from_bytes(self.raw[2:2 + size], "big"), 2 + size
            if len(self.raw) < at + n:
                return
            if self.raw[0] & 0x0F in (0, 2):
                self.buffer += self.raw[at:at + n]
            del self.raw[:at + n]

    def read(self):
        """Some bytes more; False at the end of the connection."""
        try:
            piece = self.socket.recv(65536)
        except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return False
        if not piece:
            return False
        if self.websocket:
            self.raw += piece
            self._unframe()
        else:
            self.buffer += piece
        self.packets += split(self.buffer)
        return True

    def next(self):
        """(first byte, body); None at the end of the connection."""
        while not self.packets:
            if not self.read():
                return None
        return self.packets.pop(0)

    def expect(self, kind):
        """The body of the next packet, which must be of this kind."""
        got = self.next()
        assert got and got[0] >> 4 == kind, f"{got} instead of packet type {kind}"
        return got[1]

    def published(self):
        got = self.next()
        assert got and got[0] >> 4 == PUBLISH, f"{got} instead of a message"
        return Published(*got, self.version)

    def connect(self, client_id="", version=4, **k):
        self.version = version
        self.send(connect(client_id, version, **k))
        body = self.expect(CONNACK)
        assert body[1] == 0, f"refused: {body.hex()}"
        return bool(body[0] & 1)

    def subscribe(self, *filters, pid=1):
        """The codes; messages that come before the SUBACK stay to be read."""
        self.send(subscribe(pid, filters, self.version))
        early = []
        while True:
            got = self.next()
            assert got, "the connection ended"
            if got[0] >> 4 == SUBACK:
                break
            early.append(got)
        self.packets = early + self.packets
        return list(got[1][3 if self.version == 5 else 2:])

    def ping(self):
        """Everything that was sent before has been handled."""
        self.send(PING)
        self.expect(PINGRESP)

    def wait_end(self):
        """What came until the connection ended: packets."""
        got = []
        while True:
            one = self.next()
            if one is None:
                return got
            got.append(one)

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
