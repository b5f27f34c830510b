# SPDX-License-Identifier: MIT
"""An MQTT 3.1.1 client that does next to nothing while it is measured: it notes what came when, for later."""

import socket
import struct
import threading
import time

CONNACK, PUBLISH, SUBACK = 2, 3, 9
LIMIT_S = 10
PIECE_BYTES = 1 << 18


def varint(n):
    out = b""
    while True:
        n, low = n >> 7, n & 0x7F
        out += bytes([low | (0x80 if n else 0)])
        if not n:
            return out


def text(value):
    data = value.encode()
    return struct.pack("!H", len(data)) + data


def packet(first, body):
    return bytes([first]) + varint(len(body)) + body


def publish_packet(topic, payload):
    return packet(PUBLISH << 4, text(topic) + payload.encode())


class Reader:
    """Takes a stream by pieces and gives its packets: (time of its last byte, type and flags, body)."""

    def __init__(self):
        self.rest = b""

    def feed(self, at, piece):
        data = self.rest + piece
        begin = 0
        while True:
            end, body = self._packet_at(data, begin)
            if end is None:
                break
            yield at, data[begin], data[body:end]
            begin = end
        self.rest = data[begin:]

    @staticmethod
    def _packet_at(data, begin):
        """(end, where the body begins), or (None, None) when it is not whole."""
        n = shift = 0
        for at in range(begin + 1, min(begin + 5, len(data))):
            n |= (data[at] & 0x7F) << shift
            shift += 7
            if not data[at] & 0x80:
                end = at + 1 + n
                return (end, at + 1) if end <= len(data) else (None, None)
        return None, None


def message_of(at, first, body):
    """(time, topic, payload, retained) of a PUBLISH of QoS 0."""
    n = struct.unpack_from("!H", body)[0]
    return at, body[2:2 + n].decode(), body[2 + n:].decode(), bool(first & 1)


def messages_of(pieces):
    """All messages in (time, bytes) of one connection."""
    reader = Reader()
    for at, piece in pieces:
        for when, first, body in reader.feed(at, piece):
            if first >> 4 == PUBLISH:
                yield message_of(when, first, body)


class Peer:
    """One connection. Either record() in a thread of its own, or wait() for a message."""

    def __init__(self, port, name, *filters):
        self.socket = socket.create_connection(("127.0.0.1", port), LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pieces = []
        self.reader = Reader()
        self.thread = None
        self.socket.sendall(packet(0x10, text("MQTT") + b"\x04\x02\x00\x00" + text(name)))
        self._await(CONNACK)
        if filters:
            body = b"\x00\x01" + b"".join(text(f) + b"\x00" for f in filters)
            self.socket.sendall(packet(0x82, body))
            self._await(SUBACK)

    def _receive(self):
        """(time, bytes); no bytes at the end. TCP acknowledges at once, so that Nagle holds nothing back."""
        data = self.socket.recv(PIECE_BYTES)
        at = time.monotonic()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return at, data

    def _packets(self):
        at, data = self._receive()
        if not data:
            raise ConnectionError("the broker closed the connection")
        return list(self.reader.feed(at, data))

    def _await(self, kind):
        # Retained messages may come right behind a SUBACK: nobody needs them.
        while not any(first >> 4 == kind for _, first, _ in self._packets()):
            pass

    def publish(self, *messages):
        """(topic, payload) … in one write, QoS 0; when that began."""
        data = b"".join(publish_packet(*message) for message in messages)
        at = time.monotonic()
        self.socket.sendall(data)
        return at

    def wait(self, topic):
        """The next message of that topic: (time, topic, payload, retained)."""
        while True:
            for at, first, body in self._packets():
                if first >> 4 == PUBLISH:
                    message = message_of(at, first, body)
                    if message[1] == topic:
                        return message

    def record(self):
        """From now on everything is noted, until close()."""
        self.pieces.append((time.monotonic(), self.reader.rest))
        self.socket.settimeout(None)
        self.thread = threading.Thread(target=self._record, daemon=True)
        self.thread.start()

    def _record(self):
        while True:
            try:
                piece = self._receive()
            except OSError:
                return
            if not piece[1]:
                return
            self.pieces.append(piece)

    def messages(self):
        return messages_of(list(self.pieces))

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        if self.thread:
            self.thread.join()
        self.socket.close()
