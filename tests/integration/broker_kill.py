# SPDX-License-Identifier: MIT
"""Clients that keep their side of MQTT's bargain to the letter, to find out whether a broker that is killed keeps its own.

Publishers and subscribers with sessions that outlive connections: what is unacknowledged is sent again (MQTT 3.1.1 and 5.0 §4.4),
a packet id of QoS 2 is held until PUBREL (§4.3.3). One thread, so that a round depends on the seed and the machine only.
"""

import collections
import random
import select
import socket
import struct
import time

import broker_raw as raw
import harness

WINDOW = 10  # unacknowledged messages of a publisher
TOPICS = 5   # retained
LAG = 200    # messages by which a subscriber that is there may be behind: publishers wait for it


class Client:
    """The state of a client that outlives its connection."""

    def __init__(self, name, version):
        self.name, self.version = name, version
        self.socket = None
        self.known = False  # the broker has said that it has the session
        self.buffer, self.out = bytearray(), bytearray()

    def connect(self, port):
        self.buffer.clear()
        self.out.clear()
        self.socket = socket.create_connection(("127.0.0.1", port), harness.LIMIT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        expiry = b"\x11" + struct.pack(">I", 3600)
        self.socket.sendall(raw.connect(self.name, self.version, clean=False, props=expiry))
        (first, body), = self._read_until(1)
        assert first == 0x20 and body[1] == 0, f"{self.name}: CONNACK {body.hex()}"
        assert bool(body[0]) == self.known, f"{self.name}: session present is {body[0]}, it had one: {self.known}"
        self.known = True
        self.resume()

    def _read_until(self, n):
        """The first packets; what comes behind them stays."""
        found = []
        while len(found) < n:
            piece = self.socket.recv(1)
            assert piece, f"{self.name}: the connection ended"
            self.buffer += piece
            found += raw.split(self.buffer)
        return found

    def resume(self):
        pass

    def handle(self, first, body):
        raise NotImplementedError

    def on_writable(self):
        try:
            sent = self.socket.send(self.out)
            del self.out[:sent]
        except OSError:
            self.out.clear()

    def on_readable(self):
        """False: the connection has ended."""
        try:
            piece = self.socket.recv(65536)
        except OSError:
            return False
        self.buffer += piece
        for first, body in raw.split(self.buffer):
            self.handle(first, body)
        return bool(piece)

    def drop(self):
        if self.socket:
            self.socket.close()
            self.socket = None


class Publisher(Client):
    def __init__(self, name, version, qos, retain=False):
        super().__init__(name, version)
        self.qos, self.retain = qos, retain
        self.next, self.pid = 1, 0
        self.flying = collections.OrderedDict()  # packet id: (number, is released)
        self.acknowledged = set()
        self.producing = False

    def topic(self, number):
        return f"r/{number % TOPICS}" if self.retain else f"load/{self.name}"

    def _send(self, pid, number, dup):
        self.out += raw.publish(self.topic(number), f"{self.name} {number}", self.qos, pid, self.retain, dup, self.version)

    def resume(self):
        for pid, (number, released) in self.flying.items():
            if released:
                self.out += raw.ack(raw.PUBREL, pid)
            else:
                self._send(pid, number, True)
        self.produce()

    def produce(self):
        while self.producing and len(self.flying) < WINDOW:
            self.pid = self.pid % 65535 + 1
            if self.pid in self.flying:
                continue
            self.flying[self.pid] = (self.next, False)
            self._send(self.pid, self.next, False)
            self.next += 1

    def handle(self, first, body):
        kind, pid = first >> 4, int.from_bytes(body[:2], "big")
        reason = body[2] if len(body) > 2 else 0
        assert reason < 0x80 or kind == raw.PUBCOMP, f"{self.name}: {kind} {body.hex()}"
        assert kind != raw.DISCONNECT, f"{self.name}: DISCONNECT {body.hex()}"
        if kind == raw.PUBACK:
            self.acknowledged.add(self.flying.pop(pid)[0])
        elif kind == raw.PUBREC:
            number, _ = self.flying[pid]
            self.acknowledged.add(number)
            # PUBRELs go in the order of the PUBRECs, also after a reconnection: §4.6.
            del self.flying[pid]
            self.flying[pid] = (number, True)
            self.out += raw.ack(raw.PUBREL, pid)
        elif kind == raw.PUBCOMP:
            assert self.flying.pop(pid)[1], f"{self.name}: PUBCOMP without PUBREL"
        self.produce()


class Subscriber(Client):
    def __init__(self, name, version, qos):
        super().__init__(name, version)
        self.qos = qos
        self.got = collections.defaultdict(list)  # publisher: numbers
        self.seen = collections.defaultdict(set)  # the same, each once
        self.held = {}                            # packet id of QoS 2: payload
        self.newest = collections.Counter()

    def subscribe(self):
        self.socket.sendall(raw.subscribe(1, [("load/#", self.qos), ("r/#", self.qos)], self.version))
        (first, body), = self._read_until(1)
        assert first == 0x90 and body[-2:] == bytes([self.qos]) * 2, body

    def handle(self, first, body):
        kind = first >> 4
        if kind == raw.PUBREL:
            self.held.pop(int.from_bytes(body[:2], "big"), None)
            self.out += raw.ack(raw.PUBCOMP, int.from_bytes(body[:2], "big"))
            return
        assert kind == raw.PUBLISH, f"{self.name}: {first:#x} {body.hex()}"
        message = raw.Published(first, body, self.version)
        if message.qos == 2:
            self.out += raw.ack(raw.PUBREC, message.pid)
            if message.pid in self.held:
                assert message.dup and self.held[message.pid] == message.payload, \
                    f"{self.name}: packet id {message.pid} used again before PUBREL"
                return
            self.held[message.pid] = message.payload
        else:
            self.out += raw.ack(raw.PUBACK, message.pid)
        publisher, number = message.payload.decode().split()
        self.got[publisher].append(int(number))
        self.seen[publisher].add(int(number))
        self.newest[publisher] = max(self.newest[publisher], int(number))

    def missing(self, publisher):
        return set(range(1, publisher.next)) - self.seen[publisher.name]


class Load:
    """The clients together, and what must be true of them."""

    def __init__(self, server, seed):
        self.server = server
        self.dice = random.Random(seed)
        self.publishers = [Publisher("p1", 4, 1), Publisher("p2", 5, 2), Publisher("p3", 5, 1, retain=True)]
        self.subscribers = [Subscriber("s1", 5, 1), Subscriber("s2", 4, 2)]
        self.sleepers = [Subscriber("o1", 4, 1), Subscriber("o2", 5, 2)]
        for one in self.subscribers + self.sleepers:
            one.connect(server.port)
            one.subscribe()
        self.disconnect()

    def disconnect(self):
        for one in self.publishers + self.subscribers + self.sleepers:
            one.drop()

    def connect(self, sleepers):
        for one in self.publishers + self.subscribers + (self.sleepers if sleepers else []):
            one.connect(self.server.port)

    def pace(self):
        """A queue that only grows would be another test."""
        for p in self.publishers:
            if p.socket:
                p.producing = all(p.next - s.newest[p.name] < LAG for s in self.subscribers + self.sleepers if s.socket)
                p.produce()

    def run(self, end, producing=True):
        """Exchanges packets until end() is true."""
        while not end():
            if producing:
                self.pace()
            clients = {c.socket: c for c in self.publishers + self.subscribers + self.sleepers if c.socket}
            readable, writable, _ = select.select(list(clients), [s for s, c in clients.items() if c.out], [], 0.02)
            for s in writable:
                clients[s].on_writable()
            for s in readable:
                if not clients[s].on_readable():
                    clients[s].drop()

    def kill(self):
        """What had left the broker before is still read, by some of the clients: they get on differently far."""
        self.server.kill9()
        for one in self.publishers + self.subscribers + self.sleepers:
            if one.socket and self.dice.random() < 0.5:
                while one.on_readable():
                    pass
            one.drop()

    def check_retained(self):
        """Not older than what was acknowledged."""
        newest = {}
        publisher = self.publishers[2]
        for number in publisher.acknowledged:
            newest[number % TOPICS] = max(number, newest.get(number % TOPICS, 0))
        with raw.Peer(self.server.port) as peer:
            peer.connect()
            peer.subscribe(("r/#", 0))
            for _ in newest:
                message = peer.published()
                kept, number = int(message.topic[2:]), int(message.payload.split()[1])
                assert message.retain and number >= newest.get(kept, 0), \
                    f"{message.topic} is {number}, but {newest.get(kept)} was acknowledged"

    def drain(self):
        """To the last message and acknowledgement."""
        for publisher in self.publishers:
            publisher.producing = False
        last = [0, time.monotonic()]

        def missing():
            return sum(p.next - 1 - len(s.seen[p.name]) for p in self.publishers for s in self.subscribers + self.sleepers)

        def is_over():
            left = missing() + sum(len(p.flying) + len(p.out) for p in self.publishers) + \
                sum(len(s.out) + len(s.held) for s in self.subscribers + self.sleepers)
            if left != last[0]:
                last[:] = left, time.monotonic()
            assert time.monotonic() < last[1] + harness.LIMIT / 2, "lost: " + str({
                (p.name, s.name): sorted(s.missing(p))[:10] for p in self.publishers
                for s in self.subscribers + self.sleepers if s.missing(p)})
            return left == 0
        self.run(is_over, producing=False)

    def judge(self):
        for publisher in self.publishers:
            assert publisher.acknowledged == set(range(1, publisher.next))
            for subscriber in self.subscribers + self.sleepers:
                got = subscriber.got[publisher.name]
                which = f"{publisher.name} to {subscriber.name}"
                if publisher.qos == 2 and subscriber.qos == 2:
                    doubled = [n for n, times in collections.Counter(got).items() if times > 1]
                    assert not doubled, f"{which}: QoS 2 messages came twice: {doubled[:20]}"
                first = list(dict.fromkeys(got))
                wrong = [(a, b) for a, b in zip(first, first[1:]) if b < a]
                assert not wrong, f"{which}: not in order: {wrong[:10]}"


def kill_rounds(server, rounds, seed):
    """What the test does; returns a line about it."""
    load = Load(server, seed)
    for n in range(rounds):
        load.connect(sleepers=n % 3 == 2)
        end = time.monotonic() + load.dice.uniform(0.02, 0.4)
        load.run(lambda: time.monotonic() > end)
        load.kill()
        server.start()
        complaints = [line for line in server.process.lines if "store" in line or "corrupt" in line]
        assert not complaints, complaints
        load.check_retained()
    load.connect(sleepers=True)
    load.drain()
    load.disconnect()
    load.judge()
    return f"seed {seed}: {rounds} times killed, " + ", ".join(
        f"{p.name} {p.next - 1} messages of QoS {p.qos}" for p in load.publishers)
