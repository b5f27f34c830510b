# SPDX-License-Identifier: MIT
"""What homes expect of a broker beside MQTT: the options of its listeners, users and rules, and what it tells of itself."""

import contextlib
import re
import subprocess
import time

import pytest

import broker_raw as raw
import harness
from broker_server import mbgated_only, new_server  # noqa: F401: a fixture

pytestmark = mbgated_only


@pytest.fixture
def client():
    """A new client that is in."""
    with contextlib.ExitStack() as stack:
        def make(server, name="", version=4, port=None, **k):
            peer = stack.enter_context(raw.Peer(port or server.port))
            peer.connect(name, version, **k)
            return peer
        yield make


def send(peer, topic, payload, qos=1, retain=False):
    """Published and acknowledged; messages that come meanwhile stay to be read."""
    peer.send(raw.publish(topic, payload, qos, 9, retain, version=peer.version))
    early = []
    if qos:
        while True:
            got = peer.next()
            assert got, "the connection ended"
            if got[0] >> 4 == raw.PUBACK:
                break
            early.append(got)
        peer.packets = early + peer.packets


def come(peer):
    """What has come before an answer to PINGREQ: (topic, payload, retain) each."""
    peer.send(raw.PING)
    found = []
    while True:
        first, body = peer.next()
        if first >> 4 == raw.PINGRESP:
            return found
        if first >> 4 == raw.PUBLISH:
            m = raw.Published(first, body, peer.version)
            found.append((m.topic, m.payload.decode(), m.retain))


def take(peer, n):
    """The next messages."""
    return [(m.topic, m.payload.decode(), m.retain) for m in (peer.published() for _ in range(n))]


# ---- options of listeners ----

def test_on_change(new_server, client):
    """A repeated payload stays here; a changed one, and the same one at another topic, go on."""
    server = new_server(more="on_change = true;")
    a, b = client(server), client(server)
    b.subscribe(("t/#", 0))
    for topic, payload in (("t/a", "1"), ("t/a", "1"), ("t/b", "1"), ("t/a", "2"), ("t/a", "2"), ("t/a", "1"),
                           ("t/a", ""), ("t/a", ""), ("t/a", "1"), ("t/end", "")):
        send(a, topic, payload)
    assert take(b, 7) == [("t/a", "1", False), ("t/b", "1", False), ("t/a", "2", False), ("t/a", "1", False),
                          ("t/a", "", False), ("t/a", "1", False), ("t/end", "", False)]


def test_on_change_is_off_by_default(new_server, client):
    server = new_server()
    a, b = client(server), client(server)
    b.subscribe(("t", 0))
    for _ in range(3):
        send(a, "t", "1")
    assert take(b, 3) == [("t", "1", False)] * 3


def test_remember(new_server, client):
    """The last value of a topic is told to who subscribes later, though nobody retained it."""
    server = new_server(more="remember = true;")
    a = client(server)
    send(a, "t/plain", "1")
    send(a, "t/plain", "2")
    send(a, "t/kept", "3", retain=True)
    b = client(server)
    b.subscribe(("t/+", 0))
    assert sorted((t, p) for t, p, _ in take(b, 2)) == [("t/kept", "3"), ("t/plain", "2")]
    assert come(b) == []


def test_remember_is_off_by_default(new_server, client):
    server = new_server()
    a, b = client(server), client(server)
    send(a, "t/plain", "1")
    send(a, "t/kept", "2", retain=True)
    b.subscribe(("t/+", 0))
    assert take(b, 1) == [("t/kept", "2", True)]
    assert come(b) == []


def test_publish_on_connect(new_server, client):
    """What is known goes to each client that connects, subscribed or not: after a while, and paced."""
    server = new_server(more='publish_on_connect = [ "t/#" ]; publish_delay_ms = 300; publish_pause_ms = 50;')
    a = client(server)
    for i in range(10):
        send(a, f"t/{i}", str(i), retain=True)
        send(a, f"u/{i}", "not asked for", retain=True)
    begin = time.monotonic()
    b = client(server)
    got = take(b, 1)
    first = time.monotonic() - begin
    got += take(b, 9)
    last = time.monotonic() - begin
    assert sorted((t, p) for t, p, _ in got) == [(f"t/{i}", str(i)) for i in range(10)]
    assert first >= 0.29 and last >= 0.29 + 9 * 0.049, (first, last)
    assert come(b) == []


def test_ignore(new_server, client):
    server = new_server(more='ignore = [ "debug/#", "+/noise" ];')
    a, b = client(server), client(server)
    wanted = (("debug/#", 0), ("+/noise", 0), ("room/#", 0))
    b.subscribe(*wanted)
    send(a, "debug/x", "1", retain=True)
    send(a, "room/noise", "1", retain=True)
    send(a, "room/value", "1", retain=True)
    assert take(b, 1) == [("room/value", "1", False)]
    c = client(server)
    c.subscribe(*wanted)
    assert take(c, 1) == [("room/value", "1", True)]
    assert come(b) == come(c) == []


def test_strip_retain(new_server, client):
    server = new_server(more="strip_retain = true;")
    a = client(server)
    send(a, "t", "1", retain=True)
    b = client(server)
    b.subscribe(("t", 0))
    assert take(b, 1) == [("t", "1", False)]


@pytest.mark.parametrize("session", ["client", "clean", "keep"])
@pytest.mark.parametrize("clean", [False, True], ids=["asks to keep", "asks for clean"])
def test_session(new_server, session, clean):
    server = new_server(more=f'session = "{session}";')
    with raw.Peer(server.port) as peer:
        assert not peer.connect("me", clean=clean)
        peer.subscribe(("t", 1))
        peer.send(raw.GOODBYE)
        peer.wait_end()
    with raw.Peer(server.port) as other:
        other.connect("other", clean=True)
        send(other, "t", "while away")
    kept = session == "keep" or session == "client" and not clean
    with raw.Peer(server.port) as peer:
        # A clean start empties even a session that is kept by force, unless force means that it does not.
        present = peer.connect("me", clean=False)
        assert present == kept
        if kept:
            assert peer.published().payload == b"while away"


def test_prefix(folder, new_server, client, start_sim):
    """Before the gateway's own topics, commands among them, and nobody else's."""
    bus = harness.reference_bus(folder / "line", 'baud = 115200; format = "8E1";', interval_ms=100)
    (folder / "sim.conf").write_text(harness.conf(bus, harness.link(1)))
    start_sim("--set", "modbusgateway.led=0", folder / "sim.conf").wait_ready()
    server = new_server(before=f'gateway = {{ name = "mbgate"; }};\nbuses = (\n{bus}\n);\n', more='prefix = "cellar/";')
    a = client(server)
    a.subscribe(("#", 0))
    found = set()
    while "cellar/modbusgateway/led/state" not in found:
        found.add(a.published().topic)
    send(a, "cellar/modbusgateway/led", "5")
    while (m := a.published()).topic != "cellar/modbusgateway/led/state" or m.payload != b"5":
        pass
    send(a, "someone/else", "1")
    while (m := a.published()).topic != "someone/else":
        assert m.topic.startswith("cellar/")
    assert all(t.startswith("cellar/") for t in found), found


# ---- users and rules ----

def users(file, **passwords):
    """As mosquitto_passwd writes them."""
    file.write_text("")
    file.chmod(0o600)
    for name, password in passwords.items():
        subprocess.run(["mosquitto_passwd", "-b", file, name, password], check=True, timeout=harness.LIMIT)
    file.chmod(0o600)


def answer(server, version=4, **k):
    """The CONNACK's code."""
    with raw.Peer(server.port) as peer:
        peer.send(raw.connect("c", version, **k))
        return peer.expect(raw.CONNACK)[1]


def test_passwords(new_server, folder):
    file = folder / "passwd"
    users(file, alice="one", bob="")
    server = new_server(more=f'password_file = "{file}";')
    assert answer(server, user="alice", password="one") == 0
    assert answer(server, 5, user="alice", password="one") == 0
    assert answer(server, user="alice", password="two") in (4, 5)
    assert answer(server, 5, user="alice", password="two") in (0x86, 0x87)
    assert answer(server, user="mallory", password="one") in (4, 5)
    assert answer(server, user="alice") in (4, 5)
    assert answer(server) in (4, 5)
    assert answer(server, 5) in (0x86, 0x87)
    # Another password, another user: at the next reload, not before.
    users(file, alice="two", carol="three")
    assert answer(server, user="alice", password="one") == 0
    server.reload()
    assert answer(server, user="alice", password="two") == 0
    assert answer(server, user="carol", password="three") == 0
    assert answer(server, user="alice", password="one") in (4, 5)
    assert answer(server, user="bob", password="") in (4, 5)


def test_rules(new_server, folder, client):
    """ACLs as mosquitto reads them: for anonymous clients, users, patterns, deny; checked at SUBSCRIBE and at delivery."""
    passwords, acl = folder / "passwd", folder / "acl"
    users(passwords, alice="one", bob="two")
    acl.write_text("# anonymous clients\ntopic read public/#\n\nuser alice\ntopic readwrite home/#\ntopic deny home/secret\n"
                   "topic read public/#\n\nuser bob\ntopic read home/#\ntopic write public/news\n\n"
                   "pattern readwrite own/%u/#\npattern write from/%c/up\n")
    server = new_server(more=f'password_file = "{passwords}"; acl_file = "{acl}"; anonymous = true;')
    alice = client(server, "a", 5, user="alice", password="one")
    bob = client(server, "b", 4, user="bob", password="two")
    nobody = client(server, "n", 5)
    assert nobody.subscribe(("public/#", 0), ("home/x", 0), ("from/n/up", 0)) == [0, 0x87, 0x87]
    assert bob.subscribe(("home/#", 0), ("own/bob/#", 0), ("own/alice/#", 0), ("public/x", 0)) == [0, 0, 0x80, 0x80]
    assert alice.subscribe(("home/secret", 0), ("home/x", 0)) == [0x87, 0]
    send(alice, "home/x", "1")
    send(alice, "home/secret", "not for bob either")
    send(alice, "own/alice/x", "1")
    send(bob, "home/x", "bob may not")
    send(bob, "public/news", "n")
    send(bob, "own/bob/y", "2")
    send(nobody, "public/news", "anonymous may not")
    assert [m for m in come(nobody) if m[0].startswith(("home", "own"))] == []
    assert take(alice, 1) == [("home/x", "1", False)] and come(alice) == []
    # Taken away and given at a reload, without a new connection.
    acl.write_text("topic read public/#\nuser alice\ntopic readwrite #\nuser bob\ntopic read home/y\n")
    server.reload()
    send(alice, "home/x", "2")
    send(alice, "home/y", "3")
    got = come(bob)
    while ("home/y", "3", False) not in got:
        got += come(bob)
    assert ("home/x", "2", False) not in got
    # One that cannot be read changes nothing.
    acl.write_text("user alice\ntopic sometimes #\n")
    server.reload()
    send(alice, "home/y", "4")
    while ("home/y", "4", False) not in come(bob):
        pass


def test_rules_reach_retained_and_wills(new_server, folder, client):
    """What somebody may not write, his will may not either; what was retained is given only to who may read it now."""
    passwords, acl = folder / "passwd", folder / "acl"
    users(passwords, alice="one", bob="two")
    rules = "user alice\ntopic readwrite #\nuser bob\ntopic read a/#\ntopic write b/will\n"
    acl.write_text(rules)
    server = new_server(more=f'password_file = "{passwords}"; acl_file = "{acl}";')
    alice = client(server, "a", user="alice", password="one")
    send(alice, "a/1", "r1", retain=True)
    send(alice, "b/1", "r2", retain=True)
    bob = client(server, "b", user="bob", password="two")
    assert bob.subscribe(("a/#", 0)) == [0]
    assert take(bob, 1) == [("a/1", "r1", True)]
    alice.subscribe(("b/will", 0), ("a/will", 0))
    for topic in ("a/will", "b/will"):
        with raw.Peer(server.port) as peer:
            with contextlib.suppress(AssertionError):
                peer.connect("w", user="bob", password="two", will=(topic, topic, 0, False))
    assert take(alice, 1) == [("b/will", "b/will", False)]
    acl.write_text(rules.replace("read a/#", "read c/#"))
    server.reload()
    bob = client(server, "b2", user="bob", password="two")
    assert bob.subscribe(("a/#", 0)) == [0x80]
    assert come(bob) == []


# ---- what it tells of itself ----

def test_sys_topics(new_server, client):
    server = new_server()
    a = client(server, "watcher")
    a.subscribe(("$SYS/#", 0))
    b = client(server, "worker")
    b.subscribe(("w/#", 0))
    for _ in range(10):
        send(b, "w/x", "12345")
    send(b, "w/kept", "1", retain=True)
    values = {}

    def numbers():
        m = a.published()
        assert m.topic.startswith("$SYS/broker/"), m.topic
        values[m.topic.removeprefix("$SYS/broker/")] = m.payload.decode()
        return (int(values.get("publish/messages/received", 0)) >= 11 and values.get("clients/connected") == "2"
                and int(values.get("publish/messages/sent", 0)) >= 11)
    harness.wait_until(numbers, f"numbers of what was done: {values}")
    for topic, pattern in {
            "version": r"mbgate version .+", "uptime": r"\d+ seconds", "clients/total": r"2", "clients/maximum": r"2",
            "clients/disconnected": r"0", "messages/received": r"\d+", "messages/sent": r"\d+", "bytes/received": r"\d+",
            "bytes/sent": r"\d+", "subscriptions/count": r"\d+", "retained messages/count": r"\d+", "heap/current": r"\d+",
            "load/messages/received/1min": r"\d+\.\d\d", "clients/list": r"\{.*\"worker\".*\}"}.items():
        while not re.fullmatch(pattern, values.get(topic, ""), re.S):  # some come every second, some once
            numbers()
    # Not matched by a leading wildcard, and nobody else's to write.
    b.subscribe(("#", 0), ("+/broker/uptime", 0), pid=2)
    send(b, "$SYS/broker/uptime", "forged", retain=True)
    assert not [m for m in come(b) if m[0].startswith("$")]
    assert "forged" not in [p for _, p, _ in come(a)]
