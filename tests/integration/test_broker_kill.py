# SPDX-License-Identifier: MIT
"""kill -9 of the broker under load, again and again on one store: what it has acknowledged is never lost, and nothing of QoS 2 comes
twice. Both clients keep their sessions, and go on after each start as MQTT says (3.1.1 §4.4)."""

import os
import random
import select
import signal
import socket
import struct
import time

import broker_raw as raw
import harness

SEED = int(os.environ.get("MBGATE_SEED", 1123))
ROUNDS = int(os.environ.get("MBGATE_ROUNDS", 100))
WINDOW = 16


class Peer:
    """A client in a loop of select(): its session is its own, its connection comes and goes."""

    def __init__(self, name):
        self.name, self.socket, self.buffer = name, None, bytearray()
        self.n_lost_sessions = -1  # the first one is new
        self.is_in = self.is_subscribed = False

    def open(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), harness.LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer.clear()
        self.is_in = False
        self.send(raw.connect(self.name, clean=False))

    def send(self, data):
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass  # it has been killed: said again after its start

    def close(self):
        if self.socket:
            self.socket.close()
        self.socket = None

    def read(self):
        """Takes what has come. False: the connection has ended."""
        try:
            piece = self.socket.recv(65536)
        except ConnectionError:
            piece = b""
        self.buffer += piece
        for first, body in raw.split(self.buffer):
            self.take(first >> 4, first, body)
        return bool(piece)

    def take(self, kind, first, body):
        if kind == raw.CONNACK:
            assert body[1] == 0, body
            self.n_lost_sessions += not body[0] & 1
            self.is_in = True
            self.begin(present=bool(body[0] & 1))
        elif kind == raw.SUBACK:
            self.is_subscribed = True
        else:
            self.on(kind, first, body)


class Publisher(Peer):
    def __init__(self):
        super().__init__("publisher")
        self.n = 0
        self.pending = {}  # packet id → [QoS, number, whether PUBREC has come], oldest first
        self.acked = {1: set(), 2: set()}
        self.pid = 0

    def begin(self, present):
        if not present:  # 3.1.1 §3.1.2.4: then nothing of the old session is known there
            assert not self.acked[2], "the session is lost"
        for pid, (qos, number, released) in self.pending.items():
            self.send(raw.ack(raw.PUBREL, pid) if released else
                      raw.publish(f"q/{qos}", str(number), qos, pid, dup=True))

    def on(self, kind, _first, body):
        pid, = struct.unpack(">H", body[:2])
        entry = self.pending[pid]
        if kind == raw.PUBREC:
            self.acked[2].add(entry[1])
            entry[2] = True
            self.send(raw.ack(raw.PUBREL, pid))
            return
        if kind == raw.PUBACK:
            self.acked[1].add(entry[1])
        del self.pending[pid]

    def more(self):
        while self.is_in and len(self.pending) < WINDOW:
            self.pid = self.pid % 65535 + 1
            qos = 1 + self.n % 2
            self.pending[self.pid] = [qos, self.n, False]
            self.send(raw.publish(f"q/{qos}", str(self.n), qos, self.pid))
            self.n += 1


class Subscriber(Peer):
    def __init__(self):
        super().__init__("subscriber")
        self.unreleased = set()
        self.got = {1: {}, 2: {}}

    def begin(self, present):
        if not present:
            self.unreleased.clear()
            self.send(raw.subscribe(1, [("q/#", 2)]))

    def on(self, kind, first, body):
        if kind == raw.PUBREL:
            pid, = struct.unpack(">H", body[:2])
            self.unreleased.discard(pid)
            self.send(raw.ack(raw.PUBCOMP, pid))
            return
        m = raw.Published(first, body)
        if m.qos == 1:
            self.send(raw.ack(raw.PUBACK, m.pid))
        else:
            self.send(raw.ack(raw.PUBREC, m.pid))
            if m.pid in self.unreleased:
                return  # again, since our PUBREC was lost
            self.unreleased.add(m.pid)
        number = int(m.payload)
        assert m.qos == 1 + number % 2
        self.got[m.qos][number] = self.got[m.qos].get(number, 0) + 1


def state(peers):
    return [{k: v for k, v in vars(p).items() if k not in ("acked", "got")} for p in peers]


def run(peers, until, more=None):
    """Until a moment, a condition, or the end of all connections."""
    peers = [p for p in peers if p.socket]
    everybody = list(peers)
    end = until if isinstance(until, float) else time.monotonic() + harness.LIMIT
    while peers:
        if callable(until) and until():
            return
        left = end - time.monotonic()
        if left <= 0:
            assert not callable(until), f"that did not come to an end: {state(everybody)}"
            return
        if more:
            more()
        for p in select.select(peers_of(peers), [], [], min(left, 0.05))[0]:
            peer = next(x for x in peers if x.socket is p)
            if not peer.read():
                peers.remove(peer)
    assert not callable(until) or until(), f"the broker has gone: {state(everybody)}"


def peers_of(peers):
    return [p.socket for p in peers]


def test_nothing_acknowledged_is_lost(folder, new_gateway):
    port = harness.free_port()
    store = folder / "store"
    text = (f'broker = {{ listeners = ( {{ port = {port}; }} ); store_directory = "{store}"; durability = "sync"; '
            f'sys_interval_s = 0; max_queued_messages = 100000; max_queued_bytes = 67108864; }};\n')
    rng = random.Random(SEED)
    publisher, subscriber = Publisher(), Subscriber()
    errors = []

    def start():
        gateway = new_gateway(text).start()
        gateway.stopped = True  # it is killed, or stopped by the test
        return gateway

    gateway = start()
    subscriber.open(port)
    run([subscriber], lambda: subscriber.is_subscribed)
    publisher.open(port)
    run([publisher, subscriber], lambda: len(publisher.acked[2]) > 3, publisher.more)
    for _ in range(ROUNDS):
        run([publisher, subscriber], time.monotonic() + rng.uniform(0, 0.15), publisher.more)
        gateway.process.signal(signal.SIGKILL)
        gateway.process.wait()
        run([publisher, subscriber], time.monotonic() + 5)  # what was sent before it died has been said
        errors += [line for line in gateway.process.lines if "store:" in line or "Sanitizer" in line]
        gateway.kill()
        publisher.close()
        subscriber.close()
        gateway = start()
        publisher.open(port)
        if rng.random() < 0.7:
            subscriber.open(port)
    if not subscriber.socket:
        subscriber.open(port)
    run([publisher, subscriber], lambda: publisher.is_in and subscriber.is_in and not publisher.pending
        and len(subscriber.got[1]) + len(subscriber.got[2]) == publisher.n and not subscriber.unreleased)
    gateway.stopped = False
    gateway.finish()
    publisher.close()
    subscriber.close()

    print(f"seed {SEED}: {ROUNDS} kills, {publisher.n} messages, "
          f"{sum(n - 1 for n in subscriber.got[1].values())} of QoS 1 came again")
    assert not errors, errors
    assert publisher.n_lost_sessions == 0 and subscriber.n_lost_sessions == 0
    assert not publisher.acked[1] - set(subscriber.got[1]), "QoS 1 lost"
    assert not publisher.acked[2] - set(subscriber.got[2]), "QoS 2 lost"
    assert [n for n, times in subscriber.got[2].items() if times > 1] == []
