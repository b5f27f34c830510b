# SPDX-License-Identifier: MIT
"""PUBLISH and its acknowledgements, retained messages. 3.1.1 and 5.0."""

import time

import pytest

import client as c
import mqtt_wire as w
from conformance import covers


def keep(v, seconds=100):
    return [(w.SESSION_EXPIRY, seconds)] if v == 5 else []


@covers("4.3.1-1 3.3.1-2 2.3.1-5", "4.3.1-1 3.3.1-2 2.2.1-2")
def test_qos_0(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic, qos=2)
    client.publish(topic, b"\0\xffx")
    other.expect(w.publish(v, topic, b"\0\xffx"))
    client.quiet()


@covers("4.3.2-1 3.3.1-3 2.3.1-4", "4.3.2-1 4.3.2-2 3.3.1-3 2.2.1-4")
def test_qos_1_to_a_subscriber(new, v, topic):
    """Packet ids from 1 upward, DUP as far as it concerns this hop."""
    client, other = new(), new()
    other.subscribe(topic, qos=1)
    for i in range(1, 6):
        client.publish(topic, str(i), 1, dup=True)
        other.expect(w.publish(v, topic, str(i), 1, pid=i))  # not acknowledged: each needs another id
    for i in range(1, 6):
        other.send(w.ack(w.PUBACK, i))
    other.quiet()


@covers("4.3.2-2 2.3.1-6 3.3.4-1", "4.3.2-4 2.2.1-5 3.3.4-1 3.4.2-1")
def test_puback(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic, qos=1)
    for pid in (1, 5, 65535):
        client.send(w.publish(v, topic, "x", 1, pid=pid))
        client.expect(w.packet(w.PUBACK, w.u16(pid)))
    for _ in range(3):
        other.gets(topic, "x", 1)


@covers("4.3.2-2", "4.3.2-5")
def test_after_puback_an_id_is_new(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic, qos=1)
    for i in range(3):
        client.publish(topic, str(i), 1, dup=i > 0, pid=7)
        other.gets(topic, str(i), 1)


@covers("4.3.2-1", "4.3.2-3 4.4.0-1")
def test_unacknowledged_until_puback(new, v, topic):
    """It is sent again after a reconnection, with its id and DUP, and only then."""
    other = new(clean=False, props=keep(v))
    other.subscribe(topic, qos=1)
    client = new()
    client.publish(topic, "1", 1)
    client.publish(topic, "2", 1)
    other.gets(topic, "1", 1, pid=1, acknowledge=False)
    other.gets(topic, "2", 1, pid=2)
    other.quiet()
    other.drop()
    again = new(other.id, clean=False, props=keep(v))
    again.expect(w.publish(v, topic, "1", 1, dup=True, pid=1))
    again.send(w.ack(w.PUBACK, 1)).quiet()
    again.leave()
    new(other.id, clean=False, props=keep(v)).quiet()


@covers("4.3.3-1 2.3.1-4 2.3.1-6", "4.3.3-1 4.3.3-2 4.3.3-4 3.6.2-1 2.2.1-4 2.2.1-5")
def test_qos_2_to_a_subscriber(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic, qos=2)
    for i in (1, 2):
        client.publish(topic, str(i), 2, dup=False)
        other.expect(w.publish(v, topic, str(i), 2, pid=i))
    for i in (1, 2):
        other.send(w.ack(w.PUBREC, i))
        other.expect(w.packet(w.PUBREL, w.u16(i), 2))
    for i in (1, 2):
        other.send(w.ack(w.PUBCOMP, i))
    other.quiet()


@covers("4.3.3-1 4.4.0-1 3.3.1-1", "4.3.3-3 4.4.0-1 3.3.1-1")
def test_unacknowledged_until_pubrec(new, v, topic):
    other = new(clean=False, props=keep(v))
    other.subscribe(topic, qos=2)
    new().publish(topic, "x", 2)
    other.expect(w.publish(v, topic, "x", 2, pid=1))
    for _ in range(2):
        other.drop()
        other = new(other.id, clean=False, props=keep(v))
        other.expect(w.publish(v, topic, "x", 2, dup=True, pid=1))
    other.send(w.ack(w.PUBREC, 1))
    other.expect(w.ack(w.PUBREL, 1))
    other.send(w.ack(w.PUBCOMP, 1)).quiet()


@covers("4.3.3-1 4.4.0-1", "4.3.3-5 4.3.3-6 4.4.0-1")
def test_pubrel_until_pubcomp(new, v, topic):
    other = new(clean=False, props=keep(v))
    other.subscribe(topic, qos=2)
    new().publish(topic, "x", 2)
    other.expect(w.publish(v, topic, "x", 2, pid=1))
    other.send(w.ack(w.PUBREC, 1))
    other.expect(w.ack(w.PUBREL, 1))
    for _ in range(2):
        other.drop()
        other = new(other.id, clean=False, props=keep(v))
        other.expect(w.ack(w.PUBREL, 1))  # PUBLISH is not sent again
        other.quiet()
    other.send(w.ack(w.PUBCOMP, 1)).quiet()
    other.drop()
    new(other.id, clean=False, props=keep(v)).quiet()


@covers("4.3.3-2 2.3.1-6 3.3.4-1", "4.3.3-8 4.3.3-10 4.3.3-11 4.3.3-12 2.2.1-5 3.5.2-1 3.7.2-1")
def test_qos_2_from_a_publisher(new, v, topic):
    """Once for each id, until PUBREL; the id is new again after PUBCOMP."""
    client, other = new(), new()
    other.subscribe(topic, qos=1)
    for round_ in ("a", "b"):
        for i in range(3):
            client.send(w.publish(v, topic, round_, 2, dup=i > 0, pid=9))
            client.expect(w.packet(w.PUBREC, w.u16(9)))
        client.send(w.ack(w.PUBREL, 9))
        client.expect(w.packet(w.PUBCOMP, w.u16(9)))
        other.gets(topic, round_, 1)
        other.quiet()


@covers("4.3.3-2 4.4.0-1", "4.3.3-10 4.4.0-1 4.1.0-1")
def test_qos_2_state_of_a_publisher_outlives_the_connection(new, v, topic):
    other = new()
    other.subscribe(topic)
    client = new(clean=False, props=keep(v))
    client.send(w.publish(v, topic, "x", 2, pid=9)).expect(w.ack(w.PUBREC, 9))
    client.drop()
    client = new(client.id, clean=False, props=keep(v))
    assert client.connack.present
    client.send(w.publish(v, topic, "x", 2, dup=True, pid=9)).want(w.PUBREC)
    client.send(w.ack(w.PUBREL, 9)).expect(w.ack(w.PUBCOMP, 9))
    other.gets(topic, "x")
    other.quiet()


@covers("4.3.3-2", "4.3.3-11 3.7.2-1")
def test_pubrel_of_an_unknown_id(new, v):
    client = new().send(w.ack(w.PUBREL, 77))
    if v == 4:
        client.expect(w.ack(w.PUBCOMP, 77))
    else:
        got = client.want(w.PUBCOMP)
        assert (got.pid, got.code) == (77, 0x92)


@covers("4.8.0-1", "4.13.1-1")
def test_acknowledgements_of_unknown_ids_do_no_harm(new, v):
    """They may be late ones. PUBREC of an unknown id is answered in 5.0 with 0x92."""
    client = new().send(w.ack(w.PUBACK, 5), w.ack(w.PUBCOMP, 6))
    client.ping()
    client.send(w.ack(w.PUBREC, 7), w.PING)
    got = client.receive()
    if got.kind == w.PUBREL:
        assert got.pid == 7 and got.code in ((0,) if v == 4 else (0x92,))
        got = client.receive()
    assert got.raw == w.PONG


@covers("4.6.0-6 4.6.0-5 4.6.0-1", "4.6.0-5 4.6.0-6")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_order(new, v, topic, qos):
    client, other = new(), new()
    other.subscribe(topic + "/+", qos=qos)
    n = 15
    for i in range(n):
        client.send(w.publish(v, f"{topic}/{i % 2}", str(i), qos, pid=i + 1))
    if qos:
        for i in range(n):
            assert client.want(w.PUBACK if qos == 1 else w.PUBREC).pid == i + 1  # 4.6.0-2 and -3, as a receiver
    if qos == 2:
        for i in range(n):
            client.send(w.ack(w.PUBREL, i + 1))
        for i in range(n):
            assert client.want(w.PUBCOMP).pid == i + 1
    for i in range(n):
        other.gets(f"{topic}/{i % 2}", str(i), qos)


@covers("4.6.0-1", "4.4.0-1 4.6.0-5")
@pytest.mark.parametrize("qos", [1, 2])
def test_order_of_what_is_sent_again(new, v, topic, qos):
    other = new(clean=False, props=keep(v))
    other.subscribe(topic, qos=qos)
    client = new()
    for i in range(5):
        client.publish(topic, str(i), qos)
    for i in range(5):
        other.gets(topic, str(i), qos, acknowledge=False)
    other.drop()
    for i in range(5, 8):
        client.publish(topic, str(i), qos)
    other = new(other.id, clean=False, props=keep(v))
    for i in range(8):
        other.gets(topic, str(i), qos, dup=i < 5, pid=i + 1)


@covers("4.6.0-4", "")
def test_order_of_pubrel(new, v, topic):
    """A server that sends PUBREL is a sender, too."""
    client, other = new(), new()
    other.subscribe(topic, qos=2)
    for i in range(4):
        client.publish(topic, str(i), 2)
        other.gets(topic, str(i), 2, acknowledge=False)
    other.send(*(w.ack(w.PUBREC, i) for i in (1, 2, 3, 4)))
    other.expect(*(w.ack(w.PUBREL, i) for i in (1, 2, 3, 4)))


@covers("3.3.1-4 4.8.0-1", "3.3.1-4 4.13.1-1")
def test_qos_3(new, v, topic):
    new().send(w.publish(v, topic, "x", 3, pid=1)).ends(0x81)


@covers("3.3.1-2", "3.3.1-2")
def test_dup_of_qos_0_is_not_passed_on(new, v, topic):
    """A server may close or ignore it; a subscriber never sees it."""
    client, other = new(), new()
    other.subscribe(topic)
    client.send(w.publish(v, topic, "x", dup=True))
    got = client.send(w.PING).receive()
    if got is not None and got.kind == w.PINGRESP:
        other.expect(w.publish(v, topic, "x"))
    else:
        assert got is None or got.code in (0x81, 0x82)
        other.quiet()


@covers("2.3.1-1 4.8.0-1", "2.2.1-3 4.13.1-1")
@pytest.mark.parametrize("kind", ["publish 1", "publish 2", "subscribe", "unsubscribe", "puback", "pubrec", "pubrel", "pubcomp"])
def test_packet_id_0(new, v, topic, kind):
    data = {"publish 1": w.publish(v, topic, "x", 1), "publish 2": w.publish(v, topic, "x", 2),
            "subscribe": w.subscribe(v, 0, [(topic, 0)]), "unsubscribe": w.unsubscribe(v, 0, [topic]),
            "puback": w.ack(w.PUBACK, 0), "pubrec": w.ack(w.PUBREC, 0), "pubrel": w.ack(w.PUBREL, 0),
            "pubcomp": w.ack(w.PUBCOMP, 0)}[kind]
    new().send(data).ends(0x81, 0x82)


@covers("3.3.2-1 1.5.3-1 1.5.3-2 4.7.3-2", "3.3.2-1 1.5.4-1 1.5.4-2 4.7.3-2")
@pytest.mark.parametrize("text", [b"a\0b", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xc3", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"a\xff",
                                  b"\xe2\x82"])
def test_topic_is_utf8(new, v, text):
    new().send(w.publish(v, text, "x")).ends(0x81, 0x90)


@covers("1.5.3-3 4.7.3-4", "1.5.4-3 4.7.3-4")
@pytest.mark.parametrize("text", ["\ufeff", "a\ufeff/b", "ä", "a\u0308", "\U0001f600", "A", " a ", "a//b", "/", "\u2028"])
def test_strings_are_not_changed(new, v, topic, text):
    """No normalization, no case folding, and U+FEFF is a character."""
    name = topic + text
    client, other = new(), new()
    other.subscribe(name)
    client.publish(name, "x")
    other.expect(w.publish(v, name, "x"))
    for near in (topic, topic + "a", topic + "\u00e4" if text != "ä" else topic + "a\u0308"):
        client.publish(near, "no")
    other.quiet()


@covers("3.3.2-2 4.7.1-1", "3.3.2-2 4.7.0-1")
@pytest.mark.parametrize("name", ["#", "+", "a/#", "a/+/b", "a+", "a#b"])
@pytest.mark.parametrize("qos", [0, 1])
def test_no_wildcards_in_names(new, v, name, qos):
    new().send(w.publish(v, name, "x", qos, pid=1)).ends(0x81, 0x82, 0x90)


@covers("4.7.3-1", "4.7.3-1")
def test_empty_topic(new, v):
    new().send(w.publish(v, "", "x")).ends(0x82, 0x90, 0x81)


@covers("4.7.3-3", "4.7.3-3")
def test_longest_topic(new, v, topic):
    name = topic + "x" * (65535 - len(topic))
    client, other = new(), new()
    other.subscribe(name, qos=1)
    client.publish(name, "x", 1)
    other.gets(name, "x", 1)


@covers("3.3.2-1", "3.3.2-1")
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\5ab", b"\xff\xff"])
def test_publish_without_a_whole_topic(new, v, body):
    new().send(w.packet(w.PUBLISH, body)).ends(0x81, 0x82)


@covers("2.3.1-1", "2.2.1-3")
def test_publish_without_a_packet_id(new, v):
    new().send(w.packet(w.PUBLISH, w.binary("a"), 2)).ends(0x81)


@covers("3.3.2-3", "3.3.2-3")
def test_who_gets_what(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic + "/+/x")
    for name in ("a/y", "a", "x", "a/x/b", "a/x"):
        client.publish(f"{topic}/{name}", name)
    other.gets(topic + "/a/x", "a/x")
    other.quiet()


@covers("3.3.1-5 3.3.1-6 3.3.1-8", "3.3.1-5 3.3.1-9")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retained(new, v, topic, qos):
    client, other = new(), new()
    client.publish(topic, "old", 2, retain=True)
    client.publish(topic, "new", qos, retain=True)
    other.subscribe(topic, qos=2)
    other.gets(topic, "new", qos, retain=True)
    other.quiet()
    client.publish(topic, retain=True)


@covers("3.3.1-7", "3.3.1-5")
def test_retained_qos_0_replaces_qos_2(new, v, topic):
    client, other = new(), new()
    client.publish(topic, "old", 2, retain=True)
    client.publish(topic, "new", 0, retain=True)
    other.subscribe(topic, qos=2)
    other.gets(topic, "new", 0, retain=True)
    client.publish(topic, retain=True)


@covers("3.3.1-9", "3.3.1-12")
def test_retain_flag_of_what_is_forwarded(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic)
    client.publish(topic, "x", retain=True)
    other.gets(topic, "x", retain=False)
    client.publish(topic, retain=True)


@covers("3.3.1-10 3.3.1-11", "3.3.1-6 3.3.1-7")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_empty_payload_clears(new, v, topic, qos):
    client, other, late = new(), new(), new()
    client.publish(topic, "x", 1, retain=True)
    other.subscribe(topic, qos=0)
    other.gets(topic, "x", retain=True)
    client.publish(topic, "", qos, retain=True)
    other.gets(topic, "")
    late.subscribe(topic)
    late.quiet()
    client.publish(topic, "", qos)  # an empty message is one like any other
    late.gets(topic, "")


@covers("3.3.1-12", "3.3.1-8")
def test_not_retained_changes_nothing(new, v, topic):
    client, other = new(), new()
    client.publish(topic, "kept", retain=True)
    client.publish(topic, "passing")
    client.publish(topic, "")
    client.publish(topic + "/2", "passing")
    other.subscribe(topic + "/#")
    other.gets(topic, "kept", retain=True)
    other.quiet()
    client.publish(topic, retain=True)


@covers("3.3.5-1", "3.3.4-2")
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_overlapping_subscriptions(new, v, topic, order):
    """One copy, with the highest QoS."""
    client, other = new(), new()
    other.subscribe(*zip((topic + "/a", topic + "/#", topic + "/+"), order))
    client.publish(topic + "/a", "x", 2)
    other.gets(topic + "/a", "x", 2)
    other.quiet()


@covers("3.3.5-2", "-")
def test_publication_that_is_not_allowed(new, v):
    """3.1.1: acknowledged, but not passed on. 5.0: it is said."""
    client, alice = new(), new(user="alice", password="secret")
    name = "forbidden/" + c.unique()
    alice.subscribe(name)
    assert client.publish(name, "x", 1) == (0x87 if v == 5 else 0)
    assert client.publish(name, "x", 2) == (0x87 if v == 5 else 0)
    client.publish(name, "x", 0)
    alice.quiet()
    client.ping()


@covers("3.6.1-1 2.2.2-1 2.2.2-2", "3.6.1-1 2.1.3-1 4.13.1-1")
@pytest.mark.parametrize("flags", [0, 1, 3, 4, 8, 10])
def test_flags_of_pubrel(new, v, flags):
    new().send(w.packet(w.PUBREL, w.u16(1), flags)).ends(0x81)


@covers("2.2.2-1 2.2.2-2 4.8.0-1", "2.1.3-1 4.13.1-1")
@pytest.mark.parametrize("kind", [w.PUBACK, w.PUBREC, w.PUBCOMP, w.PINGREQ, w.DISCONNECT])
@pytest.mark.parametrize("flags", [1, 2, 4, 8])
def test_reserved_flags(new, v, kind, flags):
    body = b"" if kind in (w.PINGREQ, w.DISCONNECT) else w.u16(1)
    new().send(w.packet(kind, body, flags)).ends(0x81)


@covers("3.14.1-1", "3.14.1-1")
def test_flags_of_disconnect(new, v, topic):
    """Not a DISCONNECT, hence the will is published."""
    other = new()
    other.subscribe(topic)
    new(will=w.Will(topic, "gone")).send(b"\xe1\0").ends(0x81)
    other.gets(topic, "gone")


@covers("4.8.0-1", "4.13.1-1")
@pytest.mark.parametrize("kind", [w.CONNACK, w.SUBACK, w.UNSUBACK, w.PINGRESP, 0])
def test_packets_of_a_server(new, v, kind):
    body = {w.CONNACK: b"\0\0" + (b"\0" if v == 5 else b""), w.PINGRESP: b"", 0: b""}.get(kind, b"\0\1\0\0")
    new().send(w.packet(kind, body)).ends(0x81, 0x82)


@covers("4.8.0-1", "4.13.1-1 1.5.5-1")
@pytest.mark.parametrize("data", [b"\x30\xff\xff\xff\xff\x01", b"\x30\x80\x80\x80\x80\x00", b"\xc0\x01x", b"\x40\x01\x00",
                                  b"\x62\x00", b"\xe0\xff\xff\xff\xff"])
def test_malformed_packets(new, v, data):
    new().send(data).ends(0x81, 0x82, 0x95)


@covers("3.12.4-1", "3.12.4-1")
def test_ping(new, v):
    client = new().send(w.PING * 50)
    client.expect(*[w.PONG] * 50)


@covers("3.14.4-3", "3.14.4-3 3.14.4-2")
def test_disconnect(new, v):
    client = new().send(w.packet(w.DISCONNECT), w.PING)
    assert client.receive() is None


@covers("7.1.1-1", "4.2-1")
def test_many_packets_in_one_piece(new, v, topic):
    """A stream of bytes: it has no borders but those of the packets."""
    client, other = new(), new()
    other.subscribe(topic, qos=1)
    client.send(b"".join(w.publish(v, topic, str(i), 1, pid=1 + i) for i in range(100)), w.PING)
    for i in range(100):
        assert client.want(w.PUBACK).pid == 1 + i
    client.expect(w.PONG)
    for i in range(100):
        other.gets(topic, str(i), 1)


@covers("7.1.1-1", "4.2-1")
@pytest.mark.parametrize("size", [0, 1, 126, 127, 128, 16383, 16384, 65536, 2097152])
def test_sizes(new, v, topic, size):
    client, other = new(), new()
    other.subscribe(topic)
    client.publish(topic, b"x" * size)
    other.gets(topic, b"x" * size)


@covers("4.5.0-1", "4.5.0-1")
def test_every_subscriber_gets_it(new, v, topic):
    clients = [new() for _ in range(10)]
    for client in clients:
        client.subscribe(topic, qos=1)
    clients[0].publish(topic, "x", 1)
    for client in clients:
        client.gets(topic, "x", 1)


@covers("4.1.0-2 4.1.0-1", "4.1.0-1")
def test_the_session_lives_while_the_connection_does(new, v, topic):
    client = new()  # 5.0: expires at once after, but not before, its end
    client.subscribe(topic)
    time.sleep(1)
    new().publish(topic, "x")
    client.gets(topic, "x")


@covers("7.0.0-2", "-")
def test_nothing_but_the_standard_is_needed(new, v, topic):
    client = new()
    client.subscribe(topic)
    client.publish(topic, "x")
    client.gets(topic, "x")
    client.leave()
