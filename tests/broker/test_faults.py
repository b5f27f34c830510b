# SPDX-License-Identifier: MIT
"""The exact code for each fault, where the standard leaves two, or other servers differ: README.md says which and why."""

import pytest

import client as c
import mqtt_wire as w
from conformance import covers

EXAMPLE = {"byte": 1, "u16": 5, "u32": 5, "varint": 1, "utf8": "p", "binary": b"p", "pair": ("p", "q")}
# What 2.2.2.2 allows in which packet, whoever sends it.
ALLOWED = {
    "connect": {17, 21, 22, 23, 25, 33, 34, 38, 39}, "will": {1, 2, 3, 8, 9, 24, 38}, "publish": {1, 2, 3, 8, 9, 11, 35, 38},
    "puback": {31, 38}, "pubrec": {31, 38}, "pubrel": {31, 38}, "pubcomp": {31, 38}, "subscribe": {11, 38}, "unsubscribe": {38},
    "disconnect": {17, 28, 31, 38},
}
PIDS = {"puback": w.PUBACK, "pubrec": w.PUBREC, "pubrel": w.PUBREL, "pubcomp": w.PUBCOMP}


def send(new, v, place, props):
    """A packet with these properties to a server; the client that sent it."""
    if place == "connect":
        return new.raw().send(w.connect(v, c.unique(), props=props))
    if place == "will":
        return new.raw().send(w.connect(v, c.unique(), will=w.Will(c.unique("t"), props=props)))
    data = {"publish": lambda: w.publish(v, c.unique("t"), "x", props=props), "subscribe": lambda: w.subscribe(v, 1, [("a", 0)], props),
            "unsubscribe": lambda: w.unsubscribe(v, 1, ["a"], props), "disconnect": lambda: w.disconnect(0, props)}
    make = data.get(place) or (lambda: w.ack(PIDS[place], 9, 0, props=props))
    return new().send(make())


def ends(client, place, code):
    if place in ("connect", "will"):
        client.expect(bytes([0x20, 3, 0, code, 0]))
        assert client.receive() is None
    else:
        client.expect(bytes([0xE0, 1, code]))
        assert client.receive() is None


@covers(v5="4.13.1-1")
@pytest.mark.parametrize("place", ALLOWED)
def test_properties_of_other_packets(new, v, place):
    """2.2.2.2: an identifier that is not valid for the type of packet makes it malformed, whoever may send it elsewhere."""
    for number in sorted(set(w.KIND) - ALLOWED[place]):
        ends(send(new, v, place, [(number, EXAMPLE[w.KIND[number]])]), place, 0x81)


@covers(v5="4.13.1-1 2.2.2-1")
@pytest.mark.parametrize("place", ALLOWED)
def test_unknown_and_cut_properties(new, v, place):
    for props in (b"\0\1", b"\x04\1", b"\x7f\1", b"\x80\1\1", b"\xff\x7f\1", b"\x80\x80\x80\x80\1\1"):
        ends(send(new, v, place, props), place, 0x81)
    for number in sorted(ALLOWED[place]):
        ends(send(new, v, place, bytes([number])), place, 0x81)


@covers(v5="4.13.1-1 3.3.4-6")
@pytest.mark.parametrize("place", ALLOWED)
def test_properties_twice(new, v, place):
    for number in sorted(ALLOWED[place] - {w.USER, w.AUTH_DATA}):
        one = (number, EXAMPLE[w.KIND[number]])
        ends(send(new, v, place, [one, one]), place, 0x82)


@covers("3.3.2-2 4.7.1-1", "3.3.2-2 4.7.0-1")
@pytest.mark.parametrize("name", ["+", "#", "a/+", "#/a", "a+b"])
def test_wildcards_in_a_name_are_malformed(new, v, name):
    """0x90 is for names that are "correctly formed, but not accepted" (2.4)."""
    new().send(w.publish(v, name, "x")).ends(0x81)
    will = new.raw().send(w.connect(v, c.unique(), will=w.Will(name)))
    if v == 5:
        will.expect(b"\x20\x03\0\x81\0")
    assert will.receive() is None


@covers("4.7.1-2 4.7.1-3 4.7.3-1", "4.7.1-1 4.7.1-2 4.7.3-1")
@pytest.mark.parametrize("name", ["a/#/b", "#a", "a+", "", "$share/#/a", "$share/a+/b"])
def test_misplaced_wildcards_are_malformed(new, v, name):
    new().send(w.subscribe(v, 1, [("a", 0), (name, 0)])).ends(0x81)
    new().send(w.unsubscribe(v, 1, ["a", name])).ends(0x81)


@covers(v5="4.8.2-1 4.8.2-2")
@pytest.mark.parametrize("name", ["$share/g", "$share/g/", "$share/", "$share//a", "$share/+/a"])
def test_filters_that_no_group_can_share(new, v, name):
    """Well-formed as filters; that the name is missing or wrong hurts the protocol."""
    new().send(w.subscribe(v, 1, [(name, 0)])).ends(0x82)


@covers(v5="4.7.3-3")
def test_filters_and_names_beyond_a_limit(new, v, topic):
    """Correctly formed, but not accepted: told with 0x8F and 0x90, and the connection lives."""
    deep = "/".join([topic] * 201)
    client = new()
    assert client.subscribe(deep) == [0x8F]
    assert client.publish(deep, "x", 1, retain=True) == 0x90
    new.raw().send(w.connect(v, c.unique(), will=w.Will(deep))).refused(0x90)


# ---- acknowledgements of what awaits another one ----

WRONG = [(1, w.PUBREC), (1, w.PUBCOMP), (2, w.PUBACK), (2, w.PUBCOMP)]


@covers("4.8.0-1 4.3.2-1 4.3.3-1", "4.13.1-1")
@pytest.mark.parametrize("qos,kind", WRONG)
def test_acknowledgement_of_the_wrong_kind(new, v, topic, qos, kind):
    client = new()
    client.subscribe(topic, qos=qos)
    new().publish(topic, "x", qos)
    client.gets(topic, "x", qos, acknowledge=False)
    client.send(w.ack(kind, 1)).ends(0x82)


@covers("4.8.0-1", "4.13.1-1")
def test_puback_instead_of_pubcomp(new, v, topic):
    client = new()
    client.subscribe(topic, qos=2)
    new().publish(topic, "x", 2)
    client.gets(topic, "x", 2, acknowledge=False)
    client.send(w.ack(w.PUBREC, 1)).expect(w.ack(w.PUBREL, 1))
    client.send(w.ack(w.PUBACK, 1)).ends(0x82)


@covers("4.3.3-1", "4.3.3-4 4.3.3-5")
def test_pubrec_again(new, v, topic):
    """It may have been sent before PUBREL arrived: PUBREL again."""
    client = new()
    client.subscribe(topic, qos=2)
    new().publish(topic, "x", 2)
    client.gets(topic, "x", 2, acknowledge=False)
    for _ in range(3):
        client.send(w.ack(w.PUBREC, 1)).expect(w.ack(w.PUBREL, 1))
    client.send(w.ack(w.PUBCOMP, 1)).quiet()


@covers(v5="4.3.3-4")
def test_no_pubrel_for_a_refused_pubrec(new, v):
    """Also where the id is unknown: PUBREL answers only what is below 0x80."""
    client = new().send(w.ack(w.PUBREC, 7, 0x80), w.ack(w.PUBREC, 8, 0x97, props=[]))
    client.ping()


# ---- wills ----

@covers(v5="3.3.2-14")
@pytest.mark.parametrize("name", ["a/#", "+", ""])
def test_response_topic_of_a_will(new, v, topic, name):
    """What would not be taken in a PUBLISH is not sent on as a will either."""
    new.raw().send(w.connect(v, c.unique(), will=w.Will(topic, props=[(w.RESPONSE_TOPIC, name)]))).refused(0x82)
    new().send(w.publish(v, topic, "x", props=[(w.RESPONSE_TOPIC, name)])).ends(0x82)


@covers(v5="-")
def test_payload_format_of_a_will(new, v, topic):
    new.raw().send(w.connect(v, c.unique(), will=w.Will(topic, b"\xff", props=[(w.FORMAT, 1)]))).refused(0x99)
    new(will=w.Will(topic, b"\xff", props=[(w.FORMAT, 0)])).leave()


@covers("3.1.2-8 3.2.2-4", "3.1.2-8 3.2.2-7")
@pytest.mark.parametrize("name", ["forbidden/x", "$SYS/x", "$SYS"])
def test_will_that_is_not_allowed(new, v, name):
    """One that would never be sent is not promised."""
    new.raw().send(w.connect(v, c.unique(), will=w.Will(name))).refused(0x87 if v == 5 else 5)


@covers("-", "-")
def test_will_of_a_bridge_of_mosquitto(new, v):
    """It tells its state so; refused, no bridge would come in."""
    new(will=w.Will(f"$SYS/broker/connection/{c.unique()}/state", "0", 1, retain=True)).leave()


# ---- the largest packet that a client takes ----

@covers(v5="3.1.2-24")
@pytest.mark.parametrize("limit", [1, 2, 4, 5, 15])
def test_connack_larger_than_allowed(new, v, limit):
    client = new.raw().send(w.connect(v, c.unique(), props=[(w.MAX_PACKET, limit)]))
    if limit >= 5:
        client.expect(b"\x20\x03\0\x95\0")
    assert client.receive() is None


@covers(v5="3.1.2-24")
def test_connack_of_just_the_size_allowed(new, v):
    """With an id that the server has made it is larger than without."""
    size = len(new().connack.raw)
    assert len(new(props=[(w.MAX_PACKET, size)]).connack.raw) == size
    new.raw().send(w.connect(v, "", props=[(w.MAX_PACKET, size)])).refused(0x95)
    new.raw().send(w.connect(v, "a", props=[(w.MAX_PACKET, 4), (w.AUTH_METHOD, "none")])).refused()


@covers(v5="3.1.2-24")
@pytest.mark.parametrize("kind", ["subscribe", "unsubscribe"])
def test_suback_larger_than_allowed(new, v, topic, kind):
    names = [f"{topic}/{i}" for i in range(40)]
    client = new(props=[(w.MAX_PACKET, 20)])
    client.subscribe(*names[:15])
    client.send(w.subscribe(v, 9, [(n, 0) for n in names]) if kind == "subscribe" else w.unsubscribe(v, 9, names)).ends(0x95)


# ---- retained messages and what comes right behind SUBSCRIBE ----

@covers("3.3.1-6 3.10.4-2", "3.3.1-9 3.10.4-2")
@pytest.mark.parametrize("qos", [0, 1])
def test_unsubscribe_behind_subscribe(new, v, topic, qos):
    client, other = new(), new()
    other.publish(topic, "old", 1, retain=True)
    client.send(w.subscribe(v, 1, [(topic, qos)]) + w.unsubscribe(v, 2, [topic]))
    client.want(w.SUBACK)
    client.gets(topic, "old", qos, retain=True)
    assert client.want(w.UNSUBACK).pid == 2
    client.quiet()
    other.publish(topic, retain=True)


@covers("3.3.1-6", "3.3.1-9")
@pytest.mark.parametrize("old", ["old", ""])
@pytest.mark.parametrize("fresh", ["new", ""])
def test_publish_behind_subscribe(new, v, topic, old, fresh):
    """The old one as retained, then the new one as it comes; each once."""
    client, other = new(), new()
    other.publish(topic, old, retain=True)
    client.send(w.subscribe(v, 1, [(topic, 0)]) + w.publish(v, topic, fresh, retain=True))
    client.want(w.SUBACK)
    if old:
        client.gets(topic, old, retain=True)
    client.gets(topic, fresh)
    client.quiet()
    other.publish(topic, retain=True)


@covers("3.3.1-6 3.10.4-2", "3.3.1-9 3.10.4-2")
def test_unsubscribe_ends_a_long_walk(new, v, topic):
    """More is retained than goes out at a time: nothing of it comes behind UNSUBACK, and what is new comes once."""
    client, other = new(), new()
    names = [f"{topic}/{i}" for i in range(2000)]
    other.send(*(w.publish(v, name, "old", retain=True) for name in names)).ping()
    client.send(w.subscribe(v, 1, [(topic + "/#", 0)]) + w.unsubscribe(v, 2, [topic + "/#"]))
    client.want(w.SUBACK)
    client.find(w.UNSUBACK, 2)
    client.waiting.clear()
    client.quiet()
    client.send(w.subscribe(v, 3, [(topic + "/#", 0)]) + b"".join(w.publish(v, name, "new", retain=True) for name in names))
    fresh, seen = [], {}
    client.want(w.SUBACK)
    while len(fresh) < len(names):
        got = client.want(w.PUBLISH)
        seen.setdefault(got.topic, []).append(got.payload)
        fresh += [got.topic] if got.payload == b"new" else []
    client.quiet()
    assert fresh == names and all(s in ([b"old", b"new"], [b"new"]) for s in seen.values())
    other.send(*(w.publish(v, name, retain=True) for name in names)).ping()


# ---- MQTT 3.1 ----

@pytest.fixture
def old(new):
    """Clients of 3.1."""
    def make():
        client = new.raw(3).send(w.connect(3, c.unique(), name="MQIsdp", level=3))
        client.expect(b"\x20\x02\0\0")
        return client
    return make


@covers("-")
def test_flags_of_3_1(old, v, topic):
    """It sets DUP when it sends SUBSCRIBE, UNSUBSCRIBE and PUBREL again, and "does not use" most other flags."""
    client = old()
    client.send(b"\x8a" + w.subscribe(3, 1, [(topic, 1)])[1:]).expect(b"\x90\3\0\1\1")
    client.send(w.publish(3, topic, "x", 2, pid=5)).expect(w.ack(w.PUBREC, 5))
    client.gets(topic, "x", 1)
    client.send(b"\x6a\2\0\5").expect(w.ack(w.PUBCOMP, 5))
    client.send(b"\xaa" + w.unsubscribe(3, 2, [topic])[1:]).expect(b"\xb0\2\0\2")
    client.send(b"\xc2\0").expect(w.PONG)
    client.send(b"\x80" + w.subscribe(3, 1, [(topic, 1)])[1:]).ends()


@covers("-")
def test_connect_of_3_1(new, v):
    """Flags without a use, and user name and password that are announced and not there."""
    for flags, connect in ((0x14, 3), (0x10, 0x82), (0x10, 0xC2)):
        client = new.raw(3).send(bytes([0x10 | flags]) + w.connect(3, c.unique(), name="MQIsdp", level=3, flags=connect)[1:])
        client.expect(b"\x20\x02\0\0")
    new.raw(3).send(b"\x14" + w.connect(4, c.unique())[1:]).refused()
