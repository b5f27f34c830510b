# SPDX-License-Identifier: MIT
"""A client that sends exactly what a test says and looks at every packet that comes."""

import base64
import hashlib
import itertools
import os
import socket
import ssl

import mqtt_wire as w

LIMIT = int(os.environ.get("MQTT_LIMIT", 60))  # seconds until a packet that must come counts as missing
COUNTER = itertools.count(1)


def unique(name="c"):
    """A client id or topic level that no other test uses: letters and digits, at most 23 of them."""
    return f"{name}{os.getpid():x}x{next(COUNTER)}"


class WebSocket:
    """RFC 6455, the client's side, as far as MQTT needs it."""

    def __init__(self, raw, protocols="mqtt"):
        self.raw, self.buffer, self.closed, self.close_code = raw, b"", False, None
        key = base64.b64encode(os.urandom(16)).decode()
        offer = f"Sec-WebSocket-Protocol: {protocols}\r\n" if protocols else ""
        raw.sendall(f"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = raw.recv(1)
            if not byte:
                break
            head += byte
        self.status, *lines = head.decode().split("\r\n")
        self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines if ":" in line)}
        accept = base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()
        self.accepted = " 101 " in self.status + " " and self.headers.get("sec-websocket-accept") == accept

    @staticmethod
    def framed(data, opcode=2, final=True):
        mask = os.urandom(4)
        size = len(data)
        head = bytes([(128 if final else 0) | opcode])
        head += bytes([128 | size]) if size < 126 else bytes([254]) + w.u16(size) if size < 65536 else \
            bytes([255]) + size.to_bytes(8, "big")
        return head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(data))

    def frame(self, data, opcode=2, final=True):
        self.raw.sendall(self.framed(data, opcode, final))

    def sendall(self, data):
        self.frame(data)

    def _exactly(self, n):
        data = b""
        while len(data) < n:
            piece = self.raw.recv(n - len(data))
            if not piece:
                return None
            data += piece
        return data

    def recv(self, _size):
        while not self.closed:
            head = self._exactly(2)
            if head is None:
                return b""
            opcode, size = head[0] & 15, head[1]
            assert size < 128 and not head[0] & 0x70, "a frame of a server: not masked, no extension"
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
            data = self._exactly(size) if size else b""
            if data is None:
                return b""
            assert opcode != 1, "[MQTT-6.0.0-1] a text frame"
            if opcode == 8:
                self.closed, self.close_code = True, int.from_bytes(data[:2], "big")
            elif opcode in (0, 2) and data:
                return data
        return b""

    def close(self):
        self.raw.close()


def another_address():
    """One of this machine's that no other test uses: who fails to log in has to wait, and with him his address."""
    n = next(COUNTER)
    return f"127.{os.getpid() % 200 + 2}.{n >> 8 & 255}.{n & 255}"


def open_stream(server, transport, source=None):
    raw = socket.create_connection(("127.0.0.1", server.ports[transport]), LIMIT, (source, 0) if source else None)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if transport in ("tls", "wss"):
        context = ssl.create_default_context(cafile=str(server.folder / "ca.pem"))
        raw = context.wrap_socket(raw, server_hostname="localhost")
    if transport in ("ws", "wss"):
        raw = WebSocket(raw)
        assert raw.accepted, raw.status
    return raw


class Client:
    """Not connected in the sense of MQTT: connect() does that."""

    def __init__(self, server, transport, fragment, v, source=None):
        self.server, self.v, self.fragment, self.buffer = server, v, fragment, b""
        self.stream = open_stream(server, transport, source)
        self.waiting = []  # what came while we waited for something else
        self.pids = itertools.count(1)
        self.id = unique()

    def send(self, *packets):
        data = b"".join(packets)
        try:
            if self.fragment:
                for i in range(min(len(data), 300)):
                    self.stream.sendall(data[i:i + 1])
                data = data[300:]
            if data:
                self.stream.sendall(data)
        except (ConnectionError, ssl.SSLError):
            pass  # what it has to do with the rest is asked by receive()
        return self

    def receive(self):
        """The next packet; None at the end of the connection."""
        return self.waiting.pop(0) if self.waiting else self._receive()

    def _receive(self):
        while True:
            raw = self._cut()
            if raw is not None:
                return w.Packet(self.v, raw)
            try:
                piece = self.stream.recv(65536)
            except (ConnectionError, ssl.SSLError):
                piece = b""
            if not piece:
                assert not self.buffer, f"half a packet: {self.buffer.hex()}"
                return None
            self.buffer += piece

    def _cut(self):
        for n in range(1, 5):
            if len(self.buffer) <= n:
                return None
            if not self.buffer[n] & 128:
                break
        length = sum((b & 127) << 7 * i for i, b in enumerate(self.buffer[1:n + 1]))
        if len(self.buffer) < n + 1 + length:
            return None
        raw, self.buffer = self.buffer[:n + 1 + length], self.buffer[n + 1 + length:]
        return raw

    def want(self, kind):
        packet = self.receive()
        assert packet is not None and packet.kind == kind, f"{w.NAMES[kind]} wanted, got {packet}"
        return packet

    def find(self, kind, pid=0):
        """The next packet of this kind and packet id; publications that come before it are left for later."""
        while True:
            packet = self._receive()
            assert packet is not None, f"{w.NAMES[kind]} wanted, the connection ended after {self.waiting}"
            if packet.kind == kind and packet.pid == pid:
                return packet
            assert packet.kind == w.PUBLISH or packet.kind == w.PUBREL, f"{w.NAMES[kind]} {pid} wanted, got {packet}"
            self.waiting.append(packet)

    def expect(self, *packets):
        """Exactly these bytes."""
        for wanted in packets:
            packet = self.receive()
            assert packet is not None and packet.raw == wanted, f"wanted {wanted.hex()}, got {packet}"

    # ---- a client that behaves ----

    def connect(self, client_id=None, code=0, **k):
        if client_id is not None:
            self.id = client_id
        self.send(w.connect(self.v, self.id, **k))
        self.connack = self.want(w.CONNACK)
        assert self.connack.code == code, f"{self.connack}"
        return self

    def subscribe(self, *filters, qos=0, props=()):
        """The codes of SUBACK. A filter may be a pair with its options."""
        pid = next(self.pids)
        pairs = [f if isinstance(f, tuple) else (f, qos) for f in filters]
        self.send(w.subscribe(self.v, pid, pairs, props))
        suback = self.want(w.SUBACK)
        assert suback.pid == pid and len(suback.codes) == len(pairs), f"{suback}"
        return suback.codes

    def unsubscribe(self, *filters):
        pid = next(self.pids)
        self.send(w.unsubscribe(self.v, pid, filters))
        unsuback = self.want(w.UNSUBACK)
        assert unsuback.pid == pid
        if self.v == 5:
            assert len(unsuback.codes) == len(filters)
        else:
            assert unsuback.raw == w.packet(w.UNSUBACK, w.u16(pid))
        return unsuback.codes

    def publish(self, topic, payload=b"", qos=0, retain=False, props=(), dup=False, pid=None):
        """With all its acknowledgements (for QoS 0: when the server has seen it); the reason code."""
        pid = (pid or next(self.pids)) if qos else 0
        self.send(w.publish(self.v, topic, payload, qos, retain, dup, pid, props))
        if qos == 0:
            self.send(w.PING).find(w.PINGRESP)
            return 0
        answer = self.find(w.PUBACK if qos == 1 else w.PUBREC, pid)
        if qos == 2 and answer.code < 0x80:
            assert self.send(w.ack(w.PUBREL, pid)).find(w.PUBCOMP, pid).code == 0
        return answer.code

    def gets(self, topic, payload=b"", qos=0, retain=False, dup=False, pid=None, props=(), acknowledge=True):
        """The next packet must be this PUBLISH; properties in any order, but those of the user in theirs."""
        got = self.want(w.PUBLISH)
        payload = payload.encode() if isinstance(payload, str) else payload
        wanted = (topic, payload, qos, retain, dup, sorted(props, key=lambda p: p[0]))
        assert (got.topic, got.payload, got.qos, got.retain, got.dup, sorted(got.props, key=lambda p: p[0])) == wanted, \
            f"wanted {wanted}, got {got}"
        assert pid is None or got.pid == pid, f"packet id {pid} wanted, got {got}"
        if acknowledge:
            self.acknowledge(got)
        return got

    def acknowledge(self, got):
        if got.qos == 1:
            self.send(w.ack(w.PUBACK, got.pid))
        elif got.qos == 2:
            self.send(w.ack(w.PUBREC, got.pid))
            self.find(w.PUBREL, got.pid)
            self.send(w.ack(w.PUBCOMP, got.pid))

    def ping(self):
        """A barrier: the server has handled what we sent, and what it had for us before was taken by the test."""
        self.send(w.PING)
        self.expect(w.PONG)

    def quiet(self):
        """Nothing comes. Retained messages may come a turn of the server's loop later: hence more than one."""
        for _ in range(3):
            self.ping()

    def until_ping(self):
        """All packets that come before the answer to a PINGREQ."""
        self.send(w.PING)
        got = []
        while True:
            packet = self.receive()
            assert packet is not None, f"closed after {got}"
            if packet.kind == w.PINGRESP:
                return got
            got.append(packet)

    def ends(self, *codes):
        """The server closes: with one of these codes to a client of 5.0, silently to others."""
        packet = self.receive()
        if self.v == 5 and codes:
            assert packet is not None and packet.kind == w.DISCONNECT and packet.code in codes, \
                f"DISCONNECT {[hex(c) for c in codes]} wanted, got {packet}"
            packet = self.receive()
        assert packet is None, f"end of the connection wanted, got {packet}"

    def refused(self, *codes):
        """It closes instead of letting us in: 5.0 may be told why by CONNACK, 3.1.1 only where a code is given."""
        packet = self.receive()
        if packet is not None:
            assert packet.kind == w.CONNACK and packet.code in codes and not packet.present, f"{packet}"
            packet = self.receive()
        else:
            assert self.v == 5 or not codes, "closed without CONNACK"
        assert packet is None, f"end of the connection wanted, got {packet}"

    def leave(self):
        """DISCONNECT, and wait until the server has seen it."""
        self.send(w.packet(w.DISCONNECT))
        assert self.receive() is None
        self.close()

    def drop(self):
        """The connection breaks."""
        self.close()

    def close(self):
        self.stream.close()
