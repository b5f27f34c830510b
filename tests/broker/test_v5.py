# SPDX-License-Identifier: MIT
"""What only 5.0 has: properties, reason codes, expiry, aliases, quotas, options of subscriptions, shared ones."""

import time

import pytest

import client as c
import mqtt_wire as w
from conformance import covers

KEEP = [(w.SESSION_EXPIRY, 100)]


# ---- properties in general ----

@covers(v5="1.5.5-1")
@pytest.mark.parametrize("data", [b"\x30\x80\x00", b"\x30\x86\x80\x80\x00" + b"\0\1a\0xx"])
def test_lengths_of_more_bytes_than_needed(new, v, data):
    """A receiver may take them; if it does not, it says 0x81."""
    client = new().send(data)
    packet = client.send(w.PING).receive()
    if packet is None or packet.kind == w.DISCONNECT:
        assert packet is None or packet.code in (0x81, 0x82, 0x90)
        assert packet is None or client.receive() is None


@covers(v5="1.5.7-1")
@pytest.mark.parametrize("pair", [(b"\xff", b"a"), (b"a", b"\xed\xa0\x80"), (b"a\0", b"")])
@pytest.mark.parametrize("kind", ["publish", "subscribe", "connect"])
def test_string_pairs_are_utf8(new, v, topic, pair, kind):
    props = [(w.USER, pair)]
    if kind == "connect":
        new.raw().send(w.connect(v, c.unique(), props=props)).refused(0x81)
    else:
        data = w.publish(v, topic, props=props) if kind == "publish" else w.subscribe(v, 1, [(topic, 0)], props)
        new().send(data).ends(0x81)


ONCE = [(w.FORMAT, 1), (w.EXPIRY, 5), (w.CONTENT_TYPE, "t"), (w.RESPONSE_TOPIC, "r"), (w.CORRELATION, b"x"), (w.ALIAS, 1)]


@covers(v5="4.13.1-1")
@pytest.mark.parametrize("one", ONCE, ids=lambda p: str(p[0]))
def test_property_twice(new, v, topic, one):
    new().send(w.publish(v, topic, "x", props=[one, one])).ends(0x82)


@covers(v5="4.13.1-1")
@pytest.mark.parametrize("one", [(w.SESSION_EXPIRY, 1), (w.RECEIVE_MAX, 9), (w.MAX_PACKET, 99), (w.ALIAS_MAX, 1),
                                 (w.WANT_RESPONSE, 1),
                                 (w.WANT_PROBLEM, 1), (w.AUTH_METHOD, "x")], ids=lambda p: str(p[0]))
def test_property_of_connect_twice(new, v, one):
    new.raw().send(w.connect(v, c.unique(), props=[one, one])).refused(0x82, 0x8C)


@covers(v5="4.13.1-1")
@pytest.mark.parametrize("one", [(w.RECEIVE_MAX, 0), (w.MAX_PACKET, 0), (w.WANT_RESPONSE, 2), (w.WANT_PROBLEM, 2),
                                 (w.AUTH_DATA, b"no method"), (w.ALIAS, 1), (w.SERVER_KEEPALIVE, 1), (w.WILL_DELAY, 1)],
                         ids=lambda p: str(p[0]))
def test_wrong_property_of_connect(new, v, one):
    new.raw().send(w.connect(v, c.unique(), props=[one])).refused(0x82, 0x81)


@covers(v5="4.13.1-1")
@pytest.mark.parametrize("props", [b"\x7f\0", b"\x01", b"\x01\x02", b"\x02\0\0", b"\x03\0\5a", b"\x26\0\1a", b"\x80\x01\0", b"\x23\0\0",
                                   b"\x21\0\1", b"\x11\0\0\0\1"], ids=lambda p: p.hex())
def test_wrong_properties_of_publish(new, v, topic, props):
    new().send(w.publish(v, topic, "x", props=props)).ends(0x81, 0x82, 0x94)


@covers(v5="2.2.2-1 4.13.1-1")
@pytest.mark.parametrize("data", [w.packet(w.PUBLISH, b"\0\1a"), w.packet(w.PUBLISH, b"\0\1a\5x"), w.packet(w.SUBSCRIBE, b"\0\1", 2),
                                  w.packet(w.SUBSCRIBE, b"\0\1\x09\0\1a\0", 2), w.packet(w.PUBACK, b"\0\1\0\4")], ids=lambda p: p.hex())
def test_property_length(new, v, data):
    new().send(data).ends(0x81)


@covers(v5="4.13.1-1")
@pytest.mark.parametrize("value", [0, b"\x0b\xff\xff\xff\xff\x01"])
def test_wrong_subscription_id(new, v, topic, value):
    props = value if value else [(w.SUBSCRIPTION_ID, 0)]
    new().send(w.subscribe(v, 1, [(topic, 0)], props)).ends(0x81, 0x82)


# ---- CONNECT ----

@covers(v5="3.1.2-23 4.1.0-2")
def test_session_expiry(new, v, topic):
    first = new(clean=False, props=[(w.SESSION_EXPIRY, 1)])
    first.subscribe(topic, qos=1)
    first.drop()
    second = new(first.id, clean=False, props=[(w.SESSION_EXPIRY, 1)])
    assert second.connack.present
    watch = new()
    watch.subscribe(topic)
    # The end of another session with the same expiry, told by its will, is the barrier.
    second.drop()
    new(will=w.Will(topic, "over", props=[(w.WILL_DELAY, 900)]), props=[(w.SESSION_EXPIRY, 2)]).drop()
    watch.gets(topic, "over")
    assert not new(first.id, clean=False).connack.present


@covers(v5="4.1.0-2 3.2.2-3")
def test_session_of_no_expiry_ends_at_once(new, v, topic):
    first = new(clean=False)
    first.subscribe(topic, qos=1)
    first.leave()
    assert not new(first.id, clean=False).connack.present


@covers(v5="3.1.2-23")
def test_session_expiry_changed_by_disconnect(new, v, topic):
    first = new(clean=False, props=KEEP)
    first.send(w.disconnect(0, [(w.SESSION_EXPIRY, 0)]))
    assert first.receive() is None
    assert not new(first.id, clean=False, props=KEEP).connack.present
    second = new(clean=False)  # 0 cannot become more
    second.send(w.disconnect(0, [(w.SESSION_EXPIRY, 5)])).ends(0x82)


@covers(v5="3.1.2-24 3.1.2-25")
def test_maximum_packet_size_of_a_client(new, v, topic):
    """What is too large is thrown away as if it had been sent; others get it."""
    client, rich = new(props=[(w.MAX_PACKET, 40)]), new()
    for each in (client, rich):
        each.subscribe(topic, qos=1)
    size = 40 - len(w.publish(v, topic, "", 1, pid=1))
    for n in (size, size + 1, size):
        rich.publish(topic, b"x" * n, 1)
        rich.gets(topic, b"x" * n, 1)
        if n == size:
            client.gets(topic, b"x" * n, 1)
    client.quiet()
    for _ in range(30):  # it takes none of the quota
        rich.publish(topic, b"y" * 50, 1)
        rich.gets(topic, b"y" * 50, 1)
    rich.publish(topic, "z", 1)
    client.gets(topic, "z", 1)


@covers(v5="3.2.2-19 3.2.2-20 3.4.2-2 3.4.2-3 3.5.2-2 3.5.2-3 3.6.2-2 3.6.2-3 3.7.2-2 3.7.2-3 3.9.2-1 3.9.2-2 3.11.2-1 3.11.2-2 "
           "3.14.2-3 3.14.2-4 3.15.2-2 3.15.2-3 3.1.2-24")
def test_answers_to_a_client_of_small_packets(new, v, topic):
    """Reason strings and user properties go first: no answer is longer than the client allows."""
    limit = 20
    client = new(props=[(w.MAX_PACKET, limit)])
    got = [client.connack]
    client.send(w.subscribe(v, 1, [("forbidden/a", 1)]), w.unsubscribe(v, 2, ["none"]), w.publish(v, "forbidden/a", "", 1, pid=3),
                w.publish(v, "forbidden/a", "", 2, pid=4), w.ack(w.PUBREL, 5), w.ack(w.PUBREC, 6), b"\xf5\0")
    while True:
        packet = client.receive()
        if packet is None:
            break
        got.append(packet)
    assert {w.SUBACK, w.UNSUBACK, w.PUBACK, w.PUBREC, w.PUBCOMP} <= {p.kind for p in got}
    assert all(len(p.raw) <= limit for p in got), got


@covers(v5="3.1.2-26 3.3.2-11")
@pytest.mark.parametrize("maximum", [1, 3])
def test_aliases_to_a_client(new, v, topic, maximum):
    client, other = new(props=[(w.ALIAS_MAX, maximum)]), new()
    client.subscribe(topic + "/#")
    names, used = {}, 0
    for i in range(24):
        name = f"{topic}/{i % 4}"
        other.publish(name, str(i))
        got = client.want(w.PUBLISH)
        alias = got.get(w.ALIAS)
        assert alias is None or 1 <= alias <= maximum
        if alias and got.topic:
            names[alias] = got.topic
        if not got.topic:
            used += 1
        assert (got.topic or names[alias]) == name and got.payload == str(i).encode()
    assert used, "none of them was ever used"


@covers(v5="3.1.2-27")
@pytest.mark.parametrize("props", [[], [(w.ALIAS_MAX, 0)]])
def test_no_aliases_to_a_client_that_allows_none(new, v, topic, props):
    client, other = new(props=props), new()
    client.subscribe(topic)
    for _ in range(3):
        other.publish(topic, "x")
        client.gets(topic, "x", props=[])


@covers(v5="3.1.2-28")
@pytest.mark.parametrize("props", [[], [(w.WANT_RESPONSE, 0)]])
def test_no_response_information(new, v, props):
    assert new(props=props).connack.get(w.RESPONSE_INFORMATION) is None


@covers(v5="3.1.2-29")
def test_no_problem_information(new, v, topic):
    client = new(props=[(w.WANT_PROBLEM, 0)])
    client.send(w.subscribe(v, 1, [("forbidden/a", 1)]),
                w.unsubscribe(v, 2, ["none"]), w.publish(v, "forbidden/a", "", 1, pid=3),
                w.publish(v, "forbidden/a", "", 2, pid=4), w.ack(w.PUBREL, 5), w.ack(w.PUBREC, 6), w.PING)
    while (packet := client.receive()).kind != w.PINGRESP:
        assert packet.props == [], f"{packet}"


@covers(v5="3.1.4-1 3.1.4-2")
def test_bytes_after_the_properties_of_a_will(new, v, topic):
    for props in (b"\x7f", b"\x21\0\1", b"\x18\0\0", b"\x01\x02"):
        new.raw().send(w.connect(v, c.unique(), will=w.Will(topic, props=props))).refused(0x81, 0x82)


@covers(v5="3.1.3-8")
def test_rejected_client_id(new, v):
    new.raw().send(w.connect(v, b"a\0b")).refused(0x81, 0x85)


@covers(v5="3.1.2-21 3.2.2-21 3.2.2-22")
def test_server_keepalive(new, v, new_small):
    """Told only where it is not the client's."""
    assert new(keepalive=60).connack.get(w.SERVER_KEEPALIVE) is None
    assert new_small(keepalive=20).connack.get(w.SERVER_KEEPALIVE) is None
    for asked in (31, 65535, 0):
        assert new_small(keepalive=asked).connack.get(w.SERVER_KEEPALIVE) == 30


@covers(v5="-")
def test_session_expiry_of_the_server(new_small, v):
    assert new_small(props=[(w.SESSION_EXPIRY, 101)]).connack.get(w.SESSION_EXPIRY) == 100
    assert new_small(props=[(w.SESSION_EXPIRY, 100)]).connack.get(w.SESSION_EXPIRY) in (None, 100)


@covers(v5="3.2.2-9")
def test_qos_2_is_supported(new, v):
    """Hence no Maximum QoS, for which 1 and 0 are the only values."""
    assert new().connack.get(w.MAX_QOS) is None


@covers(v5="3.2.2-13")
def test_will_that_cannot_be_retained(new_small, v, topic):
    new_small.raw().send(w.connect(v, c.unique(), will=w.Will(topic, retain=True))).refused(0x9A)


@covers(v5="3.2.2-14 4.13.1-1")
@pytest.mark.parametrize("qos", [0, 1])
def test_retain_not_supported(new_small, v, topic, qos):
    client = new_small()
    assert client.connack.get(w.RETAIN_OK) == 0
    client.send(w.publish(v, topic, "x", qos, retain=True, pid=1)).ends(0x9A)


@covers(v5="3.2.2-15")
def test_packet_too_large(new_small, v, topic):
    client = new_small()
    assert client.connack.get(w.MAX_PACKET) == 2048
    size = 2048 - len(w.publish(v, topic)) - 1
    client.publish(topic, b"x" * size)
    client.send(w.publish(v, topic, b"x" * (size + 1))).ends(0x95)


@covers(v5="3.2.2-15")
def test_connect_too_large(new_small, v, topic):
    new_small.raw().send(w.connect(v, c.unique(), will=w.Will(topic, b"x" * 3000))).refused(0x95)


# ---- PUBLISH ----

@covers(v5="3.3.2-4 3.3.2-15 3.3.2-16 3.3.2-17 3.3.2-18 3.3.2-20")
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
def test_properties_pass_unaltered(new, v, topic, qos, retain):
    props = [(w.FORMAT, 1), (w.CONTENT_TYPE, "te\ufeffxt/ä"), (w.RESPONSE_TOPIC, "answer/to"), (w.CORRELATION, bytes(range(256))),
             (w.USER, ("b", "1")), (w.USER, ("a", "2")), (w.USER, ("b", "1")), (w.USER, ("", "")), (w.USER, ("c", "x" * 200))]
    client, other = new(), new()
    if not retain:
        other.subscribe(topic, qos=2)
    client.publish(topic, "text", qos, retain=retain, props=props)
    if retain:
        other.subscribe(topic, qos=2)
    other.gets(topic, "text", qos, retain=retain, props=props)
    client.publish(topic, retain=retain)


@covers(v5="3.3.2-4 3.3.2-20")
@pytest.mark.parametrize("one", [(w.FORMAT, 0), (w.CONTENT_TYPE, ""), (w.CORRELATION, b"")])
def test_empty_properties_pass(new, v, topic, one):
    """A value that says nothing may be left out only where it is the default."""
    client, other = new(), new()
    other.subscribe(topic)
    client.publish(topic, "x", props=[one])
    got = other.want(w.PUBLISH)
    assert got.props == [one]


@covers(v5="3.3.2-4")
def test_properties_to_a_client_of_3(new, v, topic):
    client, other = new(), new(v=4)
    other.subscribe(topic)
    client.publish(topic, "x", props=[(w.USER, ("a", "b")), (w.CONTENT_TYPE, "t")])
    other.expect(w.publish(4, topic, "x"))


@covers(v5="3.3.2-5")
def test_expired_messages_are_not_delivered(new, v, topic):
    first, client = new(clean=False, props=KEEP), new()
    first.subscribe(topic, qos=1)
    first.drop()
    client.publish(topic, "expires", 1, props=[(w.EXPIRY, 1)])
    client.publish(topic, "kept", 1, retain=True, props=[(w.EXPIRY, 1)])
    client.publish(topic, "stays", 1)
    watch = new()
    watch.subscribe(topic + "/will")
    new(will=w.Will(topic + "/will", props=[(w.WILL_DELAY, 2)]), props=KEEP).drop()  # two seconds from now
    watch.gets(topic + "/will", "will")
    first = new(first.id, clean=False, props=KEEP)
    first.gets(topic, "stays", 1)
    first.quiet()
    late = new()
    late.subscribe(topic)
    late.quiet()


@covers(v5="3.3.2-6")
def test_expiry_is_what_is_left(new, v, topic):
    first, client, there = new(clean=False, props=KEEP), new(), new()
    first.subscribe(topic, qos=1)
    there.subscribe(topic, qos=1)
    first.drop()
    client.publish(topic, "x", 1, props=[(w.EXPIRY, 100)])
    assert there.want(w.PUBLISH).get(w.EXPIRY) in (100, 99)
    time.sleep(2)  # the time itself is what is tested
    got = new(first.id, clean=False, props=KEEP).want(w.PUBLISH)
    assert 60 <= got.get(w.EXPIRY) <= 98


@covers(v5="3.3.2-6")
def test_expiry_that_has_just_begun(new, v, topic):
    """A second that has begun is left: a retained message goes out at once as it came."""
    client, other = new(), new()
    client.publish(topic, "x", 1, retain=True, props=[(w.EXPIRY, 60)])
    other.subscribe(topic, qos=1)
    other.gets(topic, "x", 1, retain=True, props=[(w.EXPIRY, 60)])
    client.publish(topic, retain=True)


@covers(v5="3.3.2-5 3.3.2-6")
@pytest.mark.parametrize("qos", [0, 1])
def test_expiry_at_once(new, v, topic, qos):
    """0 s: for those who are there, as it came; neither kept for who is away nor retained."""
    away, client, there, old = new(clean=False, props=KEEP), new(), new(), new(v=4)
    away.subscribe(topic, qos=1)
    away.drop()
    for each in (there, old):
        each.subscribe(topic, qos=qos)
    client.publish(topic, "old", 1, retain=True)
    there.gets(topic, "old", qos)
    old.gets(topic, "old", qos)
    client.publish(topic, "now", 1, retain=True, props=[(w.EXPIRY, 0)])
    there.gets(topic, "now", qos, props=[(w.EXPIRY, 0)])
    old.gets(topic, "now", qos)
    away = new(away.id, clean=False, props=KEEP)
    away.gets(topic, "old", 1)
    away.quiet()
    late = new()
    late.subscribe(topic)
    late.quiet()


@covers(v5="4.3.3-7")
def test_expiry_does_not_apply_to_what_was_sent(new, v, topic):
    other = new(clean=False, props=KEEP)
    other.subscribe(topic, qos=2)
    new().publish(topic, "x", 2, props=[(w.EXPIRY, 1)])
    other.want(w.PUBLISH)
    time.sleep(1.5)
    other.drop()
    other = new(other.id, clean=False, props=KEEP)
    got = other.want(w.PUBLISH)
    assert got.dup and got.pid == 1
    other.send(w.ack(w.PUBREC, 1)).expect(w.ack(w.PUBREL, 1))
    other.send(w.ack(w.PUBCOMP, 1)).quiet()


@covers(v5="4.3.3-13")
def test_the_handshake_goes_on_after_expiry(new, v, topic):
    client = new().send(w.publish(v, topic, "x", 2, pid=5, props=[(w.EXPIRY, 1)]))
    client.want(w.PUBREC)
    time.sleep(1.5)
    client.send(w.ack(w.PUBREL, 5)).expect(w.ack(w.PUBCOMP, 5))


@covers(v5="3.3.2-7")
def test_aliases_end_with_the_connection(new, v, topic):
    client = new(clean=False, props=KEEP)
    client.publish(topic, "x", props=[(w.ALIAS, 1)])
    client.drop()
    new(client.id, clean=False, props=KEEP).send(w.publish(v, "", "x", props=[(w.ALIAS, 1)])).ends(0x82, 0x94)


@covers(v5="3.3.2-8 3.3.2-9 3.2.2-17")
def test_wrong_alias(new, v, topic):
    maximum = new().connack.get(w.ALIAS_MAX)
    assert maximum
    for alias in (0, maximum + 1, 65535):
        new().send(w.publish(v, topic, "x", props=[(w.ALIAS, alias)])).ends(0x94)


@covers(v5="3.3.2-12 3.2.2-18")
def test_aliases_of_a_client(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic + "/#")
    maximum = client.connack.get(w.ALIAS_MAX)
    for alias in range(1, maximum + 1):
        client.publish(f"{topic}/{alias}", "x", props=[(w.ALIAS, alias)])
        other.gets(f"{topic}/{alias}", "x")  # nothing of it is passed on
    for alias in range(1, maximum + 1):
        client.publish("", "y", alias % 2, props=[(w.ALIAS, alias)])
        other.gets(f"{topic}/{alias}", "y")
    client.publish(topic + "/new", "z", props=[(w.ALIAS, 1)])
    other.gets(topic + "/new", "z")
    client.publish("", "z", props=[(w.ALIAS, 1)])
    other.gets(topic + "/new", "z")


@covers(v5="4.13.1-1")
def test_alias_that_was_not_set(new, v):
    new().send(w.publish(v, "", "x", props=[(w.ALIAS, 2)])).ends(0x82, 0x94)


@covers(v5="3.3.2-13 3.3.2-14 3.3.2-19")
@pytest.mark.parametrize("one", [(w.RESPONSE_TOPIC, "a/#"), (w.RESPONSE_TOPIC, "+"), (w.RESPONSE_TOPIC, b"\xff"), (w.CONTENT_TYPE, b"\xed\xa0\x80")])
def test_malformed_string_properties(new, v, topic, one):
    new().send(w.publish(v, topic, "x", props=[one])).ends(0x81, 0x82, 0x90)


@covers(v5="3.3.4-1 3.4.2-1 3.5.2-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_no_matching_subscribers(new, v, topic, qos):
    client, other = new(), new()
    assert client.publish(topic, "x", qos) == 0x10
    other.subscribe(topic)
    assert client.publish(topic, "x", qos) == 0


@covers(v5="3.3.4-3 3.3.4-4 3.3.4-5 3.3.4-2")
def test_subscription_ids(new, v, topic):
    client, other = new(), new()
    client.subscribe(topic + "/a", qos=1, props=[(w.SUBSCRIPTION_ID, 1)])
    client.subscribe(topic + "/#", qos=0, props=[(w.SUBSCRIPTION_ID, 268435455)])
    client.subscribe(topic + "/+", qos=2)
    other.publish(topic + "/a", "x", 2)
    got = client.want(w.PUBLISH)
    assert sorted(got.all(w.SUBSCRIPTION_ID)) == [1, 268435455] and got.qos == 2 and got.payload == b"x"
    client.acknowledge(got)
    client.quiet()  # one copy
    other.publish(topic + "/b/c", "y", retain=True)
    client.gets(topic + "/b/c", "y", props=[(w.SUBSCRIPTION_ID, 268435455)])
    client.subscribe(topic + "/b/c", props=[(w.SUBSCRIPTION_ID, 128)])
    client.gets(topic + "/b/c", "y", retain=True, props=[(w.SUBSCRIPTION_ID, 128)])
    other.publish(topic + "/b/c", retain=True)


@covers(v5="3.3.4-3 3.8.4-3")
def test_subscription_id_is_replaced(new, v, topic):
    client, other = new(), new()
    for props in ([(w.SUBSCRIPTION_ID, 5)], [(w.SUBSCRIPTION_ID, 6)], []):
        client.subscribe(topic, props=props)
        other.publish(topic, "x")
        client.gets(topic, "x", props=props)


@covers(v5="3.3.4-6")
def test_subscription_id_from_a_client(new, v, topic):
    new().send(w.publish(v, topic, "x", props=[(w.SUBSCRIPTION_ID, 1)])).ends(0x82, 0x81)


@covers(v5="3.3.4-7")
def test_receive_maximum_of_the_server(new, v, topic):
    maximum = new().connack.get(w.RECEIVE_MAX)
    assert maximum == 20
    client = new()
    for pid in range(1, maximum + 1):
        client.send(w.publish(v, topic, "x", 2, pid=pid))
    for _ in range(maximum):
        client.want(w.PUBREC)
    client.send(w.publish(v, topic, "x", 0)).ping()
    client.send(w.publish(v, topic, "x", 2, pid=maximum + 1)).ends(0x93)


@covers(v5="4.3.3-10 3.3.4-7")
def test_the_same_message_again_takes_no_more_of_the_quota(new, v, topic):
    """Neither at once nor after a reconnection, when a client has to send all of them again."""
    client = new(clean=False, props=KEEP)
    pids = range(1, client.connack.get(w.RECEIVE_MAX) + 1)
    for pid in pids:
        client.send(w.publish(v, topic, "x", 2, pid=pid)).want(w.PUBREC)
    client.drop()
    client = new(client.id, clean=False, props=KEEP)
    for pid in pids:
        client.send(w.publish(v, topic, "x", 2, dup=True, pid=pid))
    for pid in pids:
        assert client.want(w.PUBREC).pid == pid
    client.send(w.publish(v, topic, "x", 2, dup=True, pid=1)).want(w.PUBREC)
    for pid in pids:
        client.send(w.ack(w.PUBREL, pid)).expect(w.ack(w.PUBCOMP, pid))


@covers(v5="3.3.4-9 3.3.4-10 4.9.0-1 4.9.0-2 4.9.0-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_receive_maximum_of_a_client(new, v, topic, qos):
    client, other = new(props=[(w.RECEIVE_MAX, 3)]), new()
    client.subscribe(topic, qos=qos)
    for i in range(7):
        other.publish(topic, str(i), qos)
    for i in range(3):
        client.gets(topic, str(i), qos, acknowledge=False, pid=i + 1)
    client.quiet()  # no more of them, but all others
    client.subscribe(topic + "/0")
    other.publish(topic + "/0", "x")
    client.gets(topic + "/0", "x")
    assert client.publish(topic + "/no", "x", 1) == 0x10
    for i in range(3, 7):
        pid = i - 2
        if qos == 1:
            client.send(w.ack(w.PUBACK, pid))
        else:
            client.send(w.ack(w.PUBREC, pid)).expect(w.ack(w.PUBREL, pid))
            client.quiet()  # PUBREC alone gives nothing back
            client.send(w.ack(w.PUBCOMP, pid))
        client.gets(topic, str(i), qos, acknowledge=False, pid=i + 1)
        client.quiet()


@covers(v5="4.9.0-2")
def test_an_error_in_pubrec_gives_the_quota_back(new, v, topic):
    client, other = new(props=[(w.RECEIVE_MAX, 1)]), new()
    client.subscribe(topic, qos=2)
    for i in range(3):
        other.publish(topic, str(i), 2)
    for i in range(3):
        client.gets(topic, str(i), 2, acknowledge=False, pid=i + 1)
        client.send(w.ack(w.PUBREC, i + 1, 0x97))
    client.quiet()


@covers(v5="4.4.0-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_refused_message_is_not_sent_again(new, v, topic, qos):
    client, other = new(clean=False, props=KEEP), new()
    client.subscribe(topic, qos=qos)
    other.publish(topic, "x", qos)
    client.gets(topic, "x", qos, acknowledge=False)
    client.send(w.ack(w.PUBACK if qos == 1 else w.PUBREC, 1, 0x80, props=[(w.REASON, "no")])).ping()
    client.drop()
    new(client.id, clean=False, props=KEEP).quiet()


@covers(v5="4.3.3-9")
def test_after_a_refused_pubrec_an_id_is_new(new, v, topic):
    client, other = new(), new()
    other.subscribe(topic)
    assert client.publish("forbidden/x", "no", 2, pid=4) == 0x87
    assert client.publish(topic, "yes", 2, pid=4) == 0
    other.gets(topic, "yes")


@covers(v5="3.4.2-1 3.6.2-1 3.7.2-1")
def test_long_forms_of_acknowledgements(new, v, topic):
    client, other = new(), new()
    client.subscribe((topic, 2))
    extra = [(w.REASON, "because"), (w.USER, ("a", "b"))]
    other.publish(topic, "x", 1)
    client.gets(topic, "x", 1, acknowledge=False)
    client.send(w.ack(w.PUBACK, 1, 0, props=extra))
    other.publish(topic, "y", 2)
    client.gets(topic, "y", 2, acknowledge=False)
    client.send(w.ack(w.PUBREC, 2, 0, props=extra)).expect(w.ack(w.PUBREL, 2))
    client.send(w.ack(w.PUBCOMP, 2, 0, props=[])).quiet()
    client.send(w.publish(v, topic + "/2", "z", 2, pid=9)).want(w.PUBREC)
    client.send(w.ack(w.PUBREL, 9, 0, props=extra)).expect(w.ack(w.PUBCOMP, 9))


@covers(v5="-")
def test_payload_format_is_checked_or_passed(new, v, topic):
    """3.3.2.3.2 lets a receiver check that the payload is UTF-8: 0x99 or delivery, never anything else."""
    client, other = new(), new()
    other.subscribe(topic)
    code = client.publish(topic, b"\xff\xff", 1, props=[(w.FORMAT, 1)])
    assert code in (0, 0x99)
    if code == 0:
        other.gets(topic, b"\xff\xff", props=[(w.FORMAT, 1)])
    other.quiet()


# ---- SUBSCRIBE ----

@covers(v5="3.3.1-9 3.8.4-4")
def test_retain_handling_0(new, v, topic):
    client, other = new(), new()
    other.publish(topic, "x", retain=True)
    for _ in range(2):
        client.subscribe((topic, 0))
        client.gets(topic, "x", retain=True)
    other.publish(topic, retain=True)


@covers(v5="3.3.1-10")
def test_retain_handling_1(new, v, topic):
    client, other = new(), new()
    other.publish(topic, "x", retain=True)
    client.subscribe((topic, 0x10))
    client.gets(topic, "x", retain=True)
    client.subscribe((topic, 0x11))
    client.quiet()
    client.unsubscribe(topic)
    client.subscribe((topic, 0x10))
    client.gets(topic, "x", retain=True)
    other.publish(topic, retain=True)


@covers(v5="3.3.1-11")
def test_retain_handling_2(new, v, topic):
    client, other = new(), new()
    other.publish(topic, "x", retain=True)
    client.subscribe((topic, 0x20))
    client.quiet()
    other.publish(topic, retain=True)
    client.gets(topic, "")


@covers(v5="3.3.1-12 3.3.1-13")
def test_retain_as_published(new, v, topic):
    plain, exact, other = new(), new(), new()
    plain.subscribe((topic, 0))
    exact.subscribe((topic, 8))
    for retain in (True, False):
        other.publish(topic, "x", retain=retain)
        plain.gets(topic, "x", retain=False)
        exact.gets(topic, "x", retain=retain)
    other.publish(topic, retain=True)


@covers(v5="3.8.3-3")
def test_no_local(new, v, topic):
    client, other = new(), new()
    client.subscribe((topic, 4))
    other.subscribe((topic, 4))
    client.publish(topic, "x")
    other.gets(topic, "x")
    client.quiet()
    client.subscribe((topic, 0))
    client.publish(topic, "y")
    client.gets(topic, "y")


@covers(v5="3.8.3-4")
def test_no_local_and_shared(new, v, topic):
    new().send(w.subscribe(v, 1, [(f"$share/g/{topic}", 4)])).ends(0x82)


@covers(v5="4.8.2-1 4.8.2-2")
@pytest.mark.parametrize("name", ["$share//{0}", "$share/g", "$share/g/", "$share/", "$share/+/{0}", "$share/#/{0}", "$share/a+/{0}",
                                  "$share/a#b/{0}", "$share/#"])
def test_wrong_shared_filter(new, v, topic, name):
    client = new().send(w.subscribe(v, 1, [(name.format(topic), 0)]))
    packet = client.receive()
    if packet.kind == w.SUBACK:
        assert packet.codes == [0x8F]
    else:
        assert packet.code in (0x81, 0x82, 0x8F) and client.receive() is None


@covers(v5="4.8.2-3 4.8.2-1")
def test_shared_subscription(new, v, topic):
    """Each message to one of a group, to each group, and to others; with the QoS granted."""
    ones, others, alone, client = [new(), new(), new()], [new(), new()], new(), new()
    for each in ones:
        assert each.subscribe(f"$share/one/{topic}/+", qos=1) == [1]
    for each in others:
        each.subscribe(f"$share/two/{topic}/#", qos=0)
    alone.subscribe(f"{topic}/a", qos=2)
    n = 30
    for i in range(n):
        client.publish(topic + "/a", str(i), 2)
    for group, qos in ((ones, 1), (others, 0), ([alone], 2)):
        got = []
        for each in group:
            packets = each.until_ping()
            while qos and packets:
                got += packets
                for packet in packets:
                    assert packet.qos == qos and not packet.retain
                    each.acknowledge(packet)
                packets = each.until_ping()
            got += packets
            assert all(p.qos == qos for p in packets)
        assert sorted(int(p.payload) for p in got) == list(range(n))
    ones[0].unsubscribe(f"$share/one/{topic}/+")
    client.publish(topic + "/a", "x", 1)
    ones[0].quiet()


@covers(v5="4.8.2-3")
def test_no_retained_messages_for_a_shared_subscription(new, v, topic):
    client, other = new(), new()
    client.publish(topic, "x", retain=True)
    other.subscribe(f"$share/g/{topic}")
    other.quiet()
    client.publish(topic, retain=True)
    other.gets(topic, "")


@covers(v5="4.8.2-4")
def test_shared_qos_2_is_completed_by_who_began(new, v, topic):
    first, second, client = new(clean=False, props=KEEP), new(), new()
    first.subscribe(f"$share/g/{topic}", qos=2)
    client.publish(topic, "x", 2)
    first.gets(topic, "x", 2, acknowledge=False)
    second.subscribe(f"$share/g/{topic}", qos=2)
    first.drop()
    client.ping()
    second.quiet()
    first = new(first.id, clean=False, props=KEEP)
    first.gets(topic, "x", 2, dup=True, pid=1)
    second.quiet()


@covers(v5="4.8.2-5")
def test_shared_qos_2_goes_to_nobody_else(new, v, topic):
    first, second, client = new(clean=False, props=KEEP), new(), new()
    first.subscribe(f"$share/g/{topic}", qos=2)
    client.publish(topic, "x", 2)
    first.gets(topic, "x", 2, acknowledge=False)
    second.subscribe(f"$share/g/{topic}", qos=2)
    first.drop()
    new(first.id, clean=True).ping()  # its session is over
    second.quiet()


@covers(v5="4.8.2-6")
@pytest.mark.parametrize("qos", [1, 2])
def test_shared_message_that_is_refused(new, v, topic, qos):
    first, second, client = new(), new(), new()
    first.subscribe(f"$share/g/{topic}", qos=qos)
    client.publish(topic, "x", qos)
    first.gets(topic, "x", qos, acknowledge=False)
    second.subscribe(f"$share/g/{topic}", qos=qos)
    first.send(w.ack(w.PUBACK if qos == 1 else w.PUBREC, 1, 0x83)).ping()
    second.quiet()
    first.quiet()


@covers(v5="-")
def test_quota_of_subscriptions(new_small, v, topic):
    assert new_small().subscribe(*(f"{topic}/{i}" for i in range(5))) == [0, 0, 0, 0, 0x97]


# ---- DISCONNECT and AUTH ----

@covers(v5="3.14.2-1 3.14.2-2 3.14.4-1 3.14.4-2 4.13.2-1")
def test_disconnect_of_the_server(new, v):
    """Nothing follows it."""
    client = new().send(b"\x82\0", w.PING, w.PING)
    packet = client.want(w.DISCONNECT)
    assert packet.code == 0x81 and packet.get(w.SESSION_EXPIRY) is None
    assert client.receive() is None


@covers(v5="3.14.4-3 3.1.2-10")
@pytest.mark.parametrize("code", [None, 0, 4, 0x80, 0x98])
def test_will_and_disconnect(new, v, topic, code):
    other = new()
    other.subscribe(topic)
    client = new(will=w.Will(topic, "gone")).send(w.disconnect(code, [(w.REASON, "so")] if code else None))
    assert client.receive() is None
    if code:
        other.gets(topic, "gone")
    other.quiet()


@covers(v5="3.14.2-1")
@pytest.mark.parametrize("code", [1, 3, 0x7F, 0x8C, 0xFF])
def test_wrong_reason_of_disconnect(new, v, topic, code):
    """Not one that there is for DISCONNECT: ends with an error, hence with the will."""
    other = new()
    other.subscribe(topic)
    client = new(will=w.Will(topic, "gone")).send(w.disconnect(code))
    packet = client.receive()
    assert packet is None or packet.kind == w.DISCONNECT and packet.code in (0x81, 0x82)
    other.gets(topic, "gone")


@covers(v5="3.15.1-1 2.1.3-1")
@pytest.mark.parametrize("flags", [1, 2, 4, 8])
def test_flags_of_auth(new, v, flags):
    new().send(w.packet(w.AUTH, b"", flags)).ends(0x81)


@covers(v5="4.12.0-1 4.12.0-4")
def test_unknown_authentication_method(new, v):
    new.raw().send(w.connect(v, c.unique(), props=[(w.AUTH_METHOD, "none such"), (w.AUTH_DATA, b"x")])).refused(0x8C, 0x87)


@covers(v5="4.12.0-6")
def test_no_authentication_method_but_the_clients(new, v):
    client = new()
    assert client.connack.get(w.AUTH_METHOD) is None
    client.quiet()


@covers(v5="4.12.0-7 4.12.1-2 4.13.1-1")
@pytest.mark.parametrize("code", [0, 0x18, 0x19])
def test_auth_without_a_method(new, v, code):
    new().send(w.auth(code, [(w.AUTH_METHOD, "x")])).ends(0x82, 0x8C)


@covers(v5="4.12.0-6 3.1.4-6")
def test_auth_before_connack(new, v):
    assert new.raw().send(w.auth(0x18, [(w.AUTH_METHOD, "x")])).receive() is None


@covers(v5="3.2.2-1")
def test_what_connack_tells(new, v):
    """Nothing that is the default, all that is not."""
    got = dict(new().connack.props)
    assert set(got) <= {w.RECEIVE_MAX, w.ALIAS_MAX, w.MAX_PACKET}, got
    assert got[w.RECEIVE_MAX] == 20 and got[w.ALIAS_MAX] == 10 and got[w.MAX_PACKET] == 4194304
