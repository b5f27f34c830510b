# SPDX-License-Identifier: MIT
"""CONNECT and CONNACK: who comes in, and with which session. 3.1.1 and 5.0."""

import time

import pytest

import client as c
import mqtt_wire as w
from conformance import covers


@covers("3.1.4-4 3.2.0-1 3.2.2-1", "3.1.4-5 3.2.0-1 3.2.2-2")
def test_connack_comes_first(new, v):
    client = new.raw().send(w.connect(v, c.unique()), w.PING)
    connack = client.want(w.CONNACK)
    assert connack.code == 0 and not connack.present
    if v == 4:
        assert connack.raw == b"\x20\x02\x00\x00"
    client.expect(w.PONG)


@covers("", "3.2.2-1 3.2.2-8")
def test_connack_flags_and_code(new, v):
    raw = new().connack.raw
    assert raw[0] == 0x20 and raw[2] == 0 and raw[3] == 0
    assert new.raw(source=c.another_address()).send(
        w.connect(v, "", user="alice", password="wrong")).want(w.CONNACK).raw[2:4] == b"\x00\x86"


@covers("", "3.2.0-2 3.1.0-2")
def test_no_second_connack(new, v):
    new().send(w.connect(v, c.unique())).ends(0x82)


@covers("3.1.0-1", "3.1.0-1")
@pytest.mark.parametrize("kind", range(16))
def test_first_packet_must_be_connect(new, v, kind):
    bodies = {w.CONNECT: None, w.PUBLISH: w.publish(v, "a"), w.SUBSCRIBE: w.subscribe(v, 1, [("a", 0)]),
              w.UNSUBSCRIBE: w.unsubscribe(v, 1, ["a"]), w.PINGREQ: w.PING, w.DISCONNECT: w.packet(w.DISCONNECT),
              w.PUBREL: w.ack(w.PUBREL, 1), w.CONNACK: b"\x20\x02\x00\x00"}
    data = bodies.get(kind, w.packet(kind, b"\0\1"))
    if data is None:
        return
    assert new.raw().send(data).receive() is None


@covers("3.1.0-2", "-")
def test_second_connect(new, v):
    new().send(w.connect(v, c.unique())).ends(0x82)


@covers("3.1.2-1", "3.1.2-1")
@pytest.mark.parametrize("name", ["MQTX", "mqtt", "", "MQTTT", "MQIsdp"])
def test_protocol_name(new, v, name):
    client = new.raw().send(w.connect(v, c.unique(), name=name), w.PING)
    packet = client.receive()
    if packet:  # 5.0 allows 0x84; 3.1.1 another specification's answer
        assert packet.kind == w.CONNACK and packet.code in (0x84, 1)
        packet = client.receive()
    assert packet is None


@covers("3.1.2-2", "3.1.2-2")
@pytest.mark.parametrize("level", [0, 1, 2, 6, 7, 127, 255])
def test_protocol_level(new, v, level):
    """3.1.1 demands an answer in its own form to every level that is unknown; 5.0 allows one."""
    client = new.raw(4).send(w.connect(v, c.unique(), level=level))
    client.expect(b"\x20\x02\x00\x01")
    assert client.receive() is None


@covers("3.1.2-3", "3.1.2-3")
def test_reserved_connect_flag(new, v):
    new.raw().send(w.connect(v, c.unique(), flags=3)).refused(*([0x81, 0x82] if v == 5 else []))


@covers("3.1.2-6 3.1.4-3 3.2.2-1", "3.1.2-4 3.1.4-4 3.2.2-2")
def test_clean_start_discards_the_session(new, v, topic):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    first = new(clean=False, props=keep)
    first.subscribe(topic, qos=1)
    first.leave()
    new().publish(topic, "lost", 1)
    second = new(first.id, clean=True, props=keep)
    assert not second.connack.present
    new().publish(topic, "lost", 1)
    second.quiet()
    second.leave()
    if v == 4:  # and a clean session is not kept
        assert not new(first.id, clean=False).connack.present


@covers("3.1.2-4 3.2.2-2 4.1.0-1", "3.1.2-5 3.1.2-23 3.2.2-3 3.1.3-2")
def test_session_is_resumed(new, v, topic):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    first = new(clean=False, props=keep)
    assert not first.connack.present
    first.subscribe(topic, qos=1)
    first.leave()
    second = new(first.id, clean=False, props=keep)
    assert second.connack.present
    if v == 4:
        assert second.connack.raw == b"\x20\x02\x01\x00"
    new().publish(topic, "x", 1)
    second.gets(topic, "x", 1)


@covers("3.1.2-4 3.2.2-3", "3.1.2-6 3.2.2-3")
def test_new_session_is_made(new, v, topic):
    client = new(clean=False, props=[(w.SESSION_EXPIRY, 100)] if v == 5 else [])
    assert not client.connack.present
    client.subscribe(topic)
    new().publish(topic, "x")
    client.gets(topic, "x")


@covers("3.1.2-5", "4.5.0-1")
@pytest.mark.parametrize("qos", [1, 2])
def test_messages_are_kept_for_who_is_away(new, v, topic, qos):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    first = new(clean=False, props=keep)
    first.subscribe(topic, qos=2)
    first.drop()
    other = new()
    for i in range(30):
        assert other.publish(topic, str(i), qos) == 0
    second = new(first.id, clean=False, props=keep)
    for i in range(30):
        second.gets(topic, str(i), qos)
    second.quiet()


@covers("3.1.2-6", "")
def test_a_clean_session_ends_with_its_connection(new, v, topic):
    first = new(clean=True)
    first.subscribe(topic, qos=1)
    first.leave()
    new().publish(topic, "x", 1)
    second = new(first.id, clean=False)
    assert not second.connack.present
    second.quiet()


@covers("3.1.2-7", "")
def test_retained_messages_outlive_the_session(new, v, topic):
    first = new(clean=True)
    first.publish(topic, "kept", 1, retain=True)
    first.leave()
    other = new()
    other.subscribe(topic)
    other.gets(topic, "kept", retain=True)
    other.publish(topic, retain=True)


@covers("3.1.3-1 3.1.2-9 3.1.2-19 3.1.2-21 3.1.2-14", "3.1.3-1 3.1.2-9 3.1.2-17 3.1.2-19 3.1.2-12")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_all_fields_in_their_order(new, v, topic, qos):
    other = new()
    other.subscribe(topic, qos=2)
    will = w.Will(topic, b"\0bytes\xff", qos)
    client = new(will=will, user="alice", password="secret", keepalive=60)
    client.drop()
    other.gets(topic, b"\0bytes\xff", qos)


def wrong_flags(v):
    """CONNECT packets whose flags and payload do not fit, by name."""
    i = "x"
    return {
        "no will topic": w.connect(v, i, flags=6),
        "no will message": w.connect(v, i, flags=6, rest=(b"\0" if v == 5 else b"") + w.binary("t")),
        "will but no flag": w.connect(v, i, flags=2, rest=w.binary("t") + w.binary("m")),
        "user but no flag": w.connect(v, i, flags=2, rest=w.binary("alice")),
        "flag but no user": w.connect(v, i, flags=0x82),
        "password but no flag": w.connect(v, i, flags=0x82, rest=w.binary("alice") + w.binary("secret")),
        "flag but no password": w.connect(v, i, flags=0xC2, rest=w.binary("alice")),
        "will qos but no will": w.connect(v, i, flags=2 | 8),
        "will retain but no will": w.connect(v, i, flags=2 | 32),
        "will qos 3": w.connect(v, i, flags=2 | 4 | 24, rest=(b"\0" if v == 5 else b"") + w.binary("t") + w.binary("m")),
        "bytes left": w.connect(v, i, rest=b"\0"),
        "no client id": w.connect(v, i)[:1] + bytes([w.connect(v, i)[1] - 3]) + w.connect(v, i)[2:-3],
        "long client id": w.connect(v, i)[:-2] + b"\x05x",
    }


FLAGS = {
    "no will topic": ("3.1.2-9", "3.1.2-9"), "no will message": ("3.1.2-9", "3.1.2-9"),
    "will but no flag": ("3.1.2-11", "3.1.4-1"), "user but no flag": ("3.1.2-18", "3.1.2-16"),
    "flag but no user": ("3.1.2-19", "3.1.2-17"), "password but no flag": ("3.1.2-20", "3.1.2-18"),
    "flag but no password": ("3.1.2-21", "3.1.2-19"), "will qos but no will": ("3.1.2-13", "3.1.2-11"),
    "will retain but no will": ("3.1.2-15", "3.1.2-13"), "will qos 3": ("3.1.2-14", "3.1.2-12"),
    "bytes left": ("3.1.4-1", "3.1.4-1"), "no client id": ("3.1.3-3", "3.1.3-3"), "long client id": ("3.1.4-1", "3.1.4-1"),
}


def make_flag_test(name, numbers):
    def test(new, v):
        new.raw().send(wrong_flags(v)[name]).refused(*([0x81, 0x82] if v == 5 else []))
    test.__name__ = "test_connect_with_" + name.replace(" ", "_")
    return covers(*numbers)(test)


for key, value in FLAGS.items():
    made = make_flag_test(key, value)
    globals()[made.__name__] = made


@covers("3.1.2-22", "")
def test_password_without_user(new, v):
    new.raw().send(w.connect(v, "x", password="secret")).refused()


@covers("", "-")
def test_password_without_user_is_allowed_in_5(new, v):
    """3.1.2.9: a password alone is a token. Here it is nobody's: refused or taken as anonymous, but not malformed."""
    client = new.raw().send(w.connect(v, c.unique(), password="secret"))
    assert client.want(w.CONNACK).code in (0, 0x86, 0x87)


@covers("3.1.3-2", "3.1.3-2")
def test_client_ids_are_told_apart(new, v, topic):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    first, second = new(clean=False, props=keep), new(clean=False, props=keep)
    first.subscribe(topic + "/1")
    second.subscribe(topic + "/2")
    first.leave()
    second.leave()
    again = new(first.id, clean=False, props=keep)
    other = new()
    other.publish(topic + "/2", "no")
    other.publish(topic + "/1", "yes")
    again.gets(topic + "/1", "yes")


@covers("3.1.3-4 1.5.3-1", "3.1.3-4 1.5.4-1")
@pytest.mark.parametrize("text", [b"\xc3", b"\xed\xa0\x80", b"\xff", b"\xc0\x80"])
def test_client_id_is_utf8(new, v, text):
    new.raw().send(w.connect(v, text)).refused(*([0x81, 0x85] if v == 5 else []))


@covers("3.1.3-5", "3.1.3-5")
def test_allowed_client_ids(new, v):
    letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for text in ("7", "z", letters[:23], letters[23:46], letters[39:]):
        new(text).leave()


@covers("3.1.3-6", "3.1.3-6 3.1.3-7 3.2.2-16")
def test_server_makes_a_client_id(new, v, topic):
    one, two = new(""), new("")
    if v == 5:
        given = one.connack.get(w.ASSIGNED_ID)
        assert given and two.connack.get(w.ASSIGNED_ID) not in (None, "", given)
    for client in (one, two):  # two that are there at a time
        client.subscribe(topic)
    one.publish(topic, "x", 1)
    two.gets(topic, "x")
    if v == 5:
        new(given)  # it is one like any other
        two.ping()
        assert [p.kind for p in (one.receive(), one.receive())] == [w.PUBLISH, w.DISCONNECT]


@covers("", "3.1.3-7")
def test_no_assigned_id_for_who_brings_one(new, v):
    assert new().connack.get(w.ASSIGNED_ID) is None


@covers("3.1.3-8 3.1.3-9 3.2.2-5 3.2.2-4", "")
def test_empty_client_id_and_kept_session(new, v):
    client = new.raw().send(w.connect(v, "", clean=False))
    client.expect(b"\x20\x02\x00\x02")
    assert client.receive() is None


@covers("", "3.1.3-6")
def test_empty_client_id_without_clean_start(new, v):
    """Allowed in 5.0."""
    client = new("", clean=False)
    assert client.connack.get(w.ASSIGNED_ID) and not client.connack.present


@covers("3.1.3-10 1.5.3-1", "3.1.3-11 1.5.4-1")
def test_will_topic_is_utf8(new, v):
    new.raw().send(w.connect(v, c.unique(), will=w.Will(b"a\xf0\x82\x82\xac"))).refused(*([0x81, 0x90] if v == 5 else []))


@covers("4.7.1-1", "4.7.0-1")
@pytest.mark.parametrize("text", ["a/+", "#", ""])
def test_will_topic_is_a_name(new, v, text):
    new.raw().send(w.connect(v, c.unique(), will=w.Will(text))).refused(*([0x81, 0x82, 0x90] if v == 5 else []))


@covers("3.1.3-11 1.5.3-1", "3.1.3-12 1.5.4-1")
def test_user_name_is_utf8(new, v):
    new.raw().send(w.connect(v, c.unique(), user=b"\xed\xbf\xbf", password="x")).refused(*([0x81] if v == 5 else []))


def trickle(v):
    whole = w.connect(v, "x")
    return [whole[:1] + b"\xff\xff\xff\xff\x7f", whole[:1] + b"\x80\x80\x80\x80\x01" + whole[2:], bytes([0x11]) + whole[1:],
            bytes([0x1F]) + whole[1:], w.packet(w.CONNECT), w.packet(w.CONNECT, b"\x00\x04MQTT")]


@covers("3.1.4-1 2.2.2-2", "3.1.4-1 2.1.3-1")
@pytest.mark.parametrize("number", range(6))
def test_malformed_connect(new, v, number):
    new.raw().send(trickle(v)[number]).refused(*([0x81, 0x82, 0x95] if v == 5 else []))


@covers("3.1.4-2", "3.1.4-3")
def test_take_over(new, v):
    first = new()
    second = new(first.id)
    first.ends(0x8E)
    second.ping()


@covers("3.1.4-2", "3.1.4-3")
def test_take_over_keeps_the_session(new, v, topic):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    first = new(clean=False, props=keep)
    first.subscribe(topic)
    second = new(first.id, clean=False, props=keep)
    assert second.connack.present
    first.ends(0x8E)
    new().publish(topic, "x")
    second.gets(topic, "x")


@covers("3.1.4-5", "3.1.4-6 3.1.4-2")
def test_nothing_is_done_for_who_is_refused(new, v, topic):
    other = new()
    other.subscribe(topic)
    client = new.raw(source=c.another_address())
    client.send(w.connect(v, c.unique(), user="alice", password="wrong"), w.publish(v, topic, "x"), w.PING)
    client.refused(*([0x86, 0x87] if v == 5 else [4, 5]))
    other.quiet()


@covers("3.2.2-4 3.2.2-5", "3.1.4-2 3.2.2-6 3.2.2-7 4.13.2-1")
def test_wrong_password(new, v):
    for user, password in (("alice", "wrong"), ("alice", ""), ("nobody", "secret")):
        client = new.raw(source=c.another_address()).send(w.connect(v, c.unique(), user=user, password=password))
        client.refused(*([0x86, 0x87] if v == 5 else [4, 5]))
    new(user="alice", password="secret").ping()


@covers("", "3.14.0-1 3.2.0-1")
def test_no_disconnect_before_connack(new, v):
    for data in (w.PING, w.connect(v, "x", flags=3), w.connect(v, "x", props=[(w.RECEIVE_MAX, 0)])):
        packet = new.raw().send(data).receive()
        assert packet is None or packet.kind == w.CONNACK


@covers("3.2.2-6", "")
def test_no_connack_where_no_code_fits(new, v):
    new.raw().send(w.connect(v, c.unique(), flags=3)).refused()


@covers("3.1.2-24", "3.1.2-22 3.2.2-22")
def test_keepalive(new, v):
    other = new()
    will = c.unique("w")
    other.subscribe(will)
    start = time.monotonic()
    client = new(keepalive=1, will=w.Will(will, "gone"))
    client.ends(0x8D)
    assert 1.4 <= time.monotonic() - start < 20
    other.gets(will, "gone")


@covers("3.1.2-24", "3.1.2-22")
def test_any_packet_keeps_alive(new, v, topic):
    """Publications prolong it; no keepalive is never the end."""
    client, lazy = new(keepalive=1), new(keepalive=0)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        client.publish(topic, "x", 1)
        time.sleep(0.2)
    client.ping()
    lazy.ping()


@covers("-", "-")
def test_mqtt_3_1(new, v, topic):
    """The predecessor of 3.1.1: another name, level 3."""
    if v == 5:
        return
    client = new.raw().send(w.connect(v, c.unique(), name="MQIsdp", level=3))
    client.expect(b"\x20\x02\x00\x00")
    client.subscribe(topic, qos=1)
    client.send(w.publish(v, topic, "x"))
    client.gets(topic, "x")


@covers("", "3.1.2-7 3.1.2-8")
def test_will_delay(new, v, topic):
    other = new()
    other.subscribe(topic)
    client = new(will=w.Will(topic, "late", props=[(w.WILL_DELAY, 1)]), props=[(w.SESSION_EXPIRY, 60)])
    start = time.monotonic()
    client.drop()
    other.gets(topic, "late")
    assert 1.0 <= time.monotonic() - start < 20


@covers("", "3.1.2-8")
def test_will_comes_with_the_end_of_the_session(new, v, topic):
    other = new()
    other.subscribe(topic)
    ends = new(will=w.Will(topic, "at once", props=[(w.WILL_DELAY, 600)]))
    start = time.monotonic()
    ends.drop()
    other.gets(topic, "at once")
    expires = new(will=w.Will(topic, "soon", props=[(w.WILL_DELAY, 600)]), props=[(w.SESSION_EXPIRY, 1)])
    start = time.monotonic()
    expires.drop()
    other.gets(topic, "soon")
    assert 1.0 <= time.monotonic() - start < 20


@covers("", "3.1.3-9")
def test_no_will_when_the_client_is_back_in_time(new, v, topic):
    """And none of the broken connection's later; the barrier is a will with a shorter delay that began later."""
    other = new()
    other.subscribe(topic)
    client = new(clean=False, will=w.Will(topic, "no", props=[(w.WILL_DELAY, 1)]), props=[(w.SESSION_EXPIRY, 60)])
    client.drop()
    back = new(client.id, clean=False, props=[(w.SESSION_EXPIRY, 60)])
    assert back.connack.present
    new(will=w.Will(topic, "yes", props=[(w.WILL_DELAY, 1)]), props=[(w.SESSION_EXPIRY, 60)]).drop()
    other.gets(topic, "yes")
    other.quiet()


@covers("3.1.2-8 3.1.2-16", "3.1.2-7 3.1.2-8 3.1.2-14")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_will(new, v, topic, qos):
    other = new()
    other.subscribe(topic, qos=2)
    new(will=w.Will(topic, "gone", qos)).drop()
    other.gets(topic, "gone", qos)
    late = new()
    late.subscribe(topic)
    late.quiet()


@covers("3.1.2-17", "3.1.2-15")
def test_will_is_retained(new, v, topic):
    other = new()
    other.subscribe((topic, 8 if v == 5 else 0))
    new(will=w.Will(topic, "gone", retain=True)).drop()
    other.gets(topic, "gone", retain=v == 5)  # as published
    late = new()
    late.subscribe(topic)
    late.gets(topic, "gone", retain=True)
    late.publish(topic, retain=True)


@covers("3.1.2-8", "3.1.2-8")
def test_will_after_a_protocol_error(new, v, topic):
    other = new()
    other.subscribe(topic)
    new(will=w.Will(topic, "gone")).send(b"\xf5\0").receive()
    other.gets(topic, "gone")


@covers("3.1.2-8", "3.1.2-8")
def test_will_at_take_over(new, v, topic):
    other = new()
    other.subscribe(topic)
    first = new(will=w.Will(topic, "gone"))
    new(first.id)
    other.gets(topic, "gone")


@covers("3.1.2-10 3.14.4-3", "3.1.2-10 3.14.4-3")
def test_no_will_after_disconnect(new, v, topic):
    other = new()
    other.subscribe(topic)
    client = new(will=w.Will(topic, "no"))
    client.leave()
    new(client.id).leave()
    other.quiet()


@covers("3.1.2-10", "3.1.2-10")
def test_will_is_published_once(new, v, topic):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    other = new()
    other.subscribe(topic)
    client = new(clean=False, will=w.Will(topic, "once"), props=keep)
    client.drop()
    other.gets(topic, "once")
    new(client.id, clean=False, props=keep).drop()
    new(client.id, clean=False, props=keep).leave()
    other.quiet()


@covers("3.1.2-12", "")
def test_no_will_no_message(new, v, topic):
    other = new()
    other.subscribe(topic + "/#")
    new().drop()
    new().leave()
    other.quiet()


@covers("", "3.1.3-10 3.3.2-17 3.3.2-18")
def test_properties_of_a_will(new, v, topic):
    props = [(w.FORMAT, 1), (w.CONTENT_TYPE, "text"), (w.RESPONSE_TOPIC, "answer"), (w.CORRELATION, b"\0\1"),
             (w.USER, ("z", "1")), (w.USER, ("a", "2")), (w.USER, ("z", "1")), (w.USER, ("", ""))]
    other = new()
    other.subscribe(topic)
    new(will=w.Will(topic, "gone", props=[(w.WILL_DELAY, 0), *props])).drop()
    other.gets(topic, "gone", props=props)
