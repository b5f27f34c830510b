# SPDX-License-Identifier: MIT
"""SUBSCRIBE, UNSUBSCRIBE and which topics match. 3.1.1 and 5.0."""

import pytest

import client as c
import mqtt_wire as w
from conformance import covers


@covers("3.8.4-1 3.8.4-2 2.3.1-7 3.9.3-2", "3.8.4-1 3.8.4-2 2.2.1-6 3.9.3-2 2.2.2-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("pid", [1, 256, 65535])
def test_suback(new, v, topic, qos, pid):
    client = new().send(w.subscribe(v, pid, [(topic, qos)]))
    client.expect(w.packet(w.SUBACK, w.u16(pid) + (b"\0" if v == 5 else b"") + bytes([qos])))


@covers("3.8.4-4 3.8.4-5 3.9.3-1", "3.8.4-5 3.8.4-6 3.8.4-7 3.9.3-1")
def test_many_filters(new, v, topic):
    client = new()
    client.send(w.subscribe(v, 3, [(topic + "/1", 2), ("forbidden/x", 1), (topic + "/2", 0), (topic + "/3", 1)]))
    failed = 0x87 if v == 5 else 0x80
    client.expect(w.packet(w.SUBACK, b"\0\3" + (b"\0" if v == 5 else b"") + bytes([2, failed, 0, 1])))
    other = new()
    for i, qos in ((1, 2), (2, 0), (3, 1)):
        other.publish(f"{topic}/{i}", "x", 2)
        client.gets(f"{topic}/{i}", "x", qos)


@covers("3.8.4-5", "3.8.4-7")
@pytest.mark.parametrize("name", ["forbidden/x", "forbidden/+", "forbidden/#"])
def test_subscription_that_is_not_allowed(new, v, name):
    assert new().subscribe(name) == [0x87 if v == 5 else 0x80]


@covers("3.8.1-1 2.2.2-2", "3.8.1-1 2.1.3-1")
@pytest.mark.parametrize("flags", [0, 1, 3, 4, 6, 8, 10, 15])
def test_flags_of_subscribe(new, v, topic, flags):
    data = w.subscribe(v, 1, [(topic, 0)])
    new().send(bytes([0x80 | flags]) + data[1:]).ends(0x81)


@covers("3.10.1-1 2.2.2-2", "3.10.1-1 2.1.3-1")
@pytest.mark.parametrize("flags", [0, 1, 3, 4, 6, 8, 10, 15])
def test_flags_of_unsubscribe(new, v, topic, flags):
    data = w.unsubscribe(v, 1, [topic])
    new().send(bytes([0xA0 | flags]) + data[1:]).ends(0x81)


@covers("3.8.3-1 1.5.3-1 1.5.3-2 4.7.3-2", "3.8.3-1 1.5.4-1 1.5.4-2 4.7.3-2")
@pytest.mark.parametrize("name", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"a\0b", b"\xc0\x80"])
def test_filter_is_utf8(new, v, name):
    new().send(w.subscribe(v, 1, [("a", 0), (name, 0)])).ends(0x81, 0x8F)


@covers("3.10.3-1 1.5.3-1", "3.10.3-1 1.5.4-1 1.5.4-2")
@pytest.mark.parametrize("name", [b"\xff", b"a\xc3", b"\xed\xa0\x80", b"a\0b"])
def test_filter_to_unsubscribe_is_utf8(new, v, name):
    new().send(w.unsubscribe(v, 1, ["a", name])).ends(0x81, 0x8F)


@covers("3.8.3-2", "-")
def test_wildcards_are_supported(new, v, topic):
    client = new()
    if v == 5:
        assert client.connack.get(w.WILDCARD_OK, 1) == 1
    assert client.subscribe(topic + "/+/#") == [0]


@covers("3.8.3-3", "3.8.3-2")
def test_subscribe_to_nothing(new, v):
    new().send(w.subscribe(v, 1, [])).ends(0x81, 0x82)


@covers("3.10.3-2", "3.10.3-2")
def test_unsubscribe_from_nothing(new, v):
    new().send(w.unsubscribe(v, 1, [])).ends(0x81, 0x82)


@covers("3.8.3-4", "3.8.3-5")
@pytest.mark.parametrize("bit", [0x40, 0x80, 0xC0, 0x30, 3])
def test_reserved_subscription_options(new, v, topic, bit):
    """5.0: retain handling 3 and QoS 3 as well; 3.1.1: all but the QoS."""
    new().send(w.subscribe(v, 1, [("ok", 0), (topic, bit)])).ends(0x81, 0x82)


@covers("3.8.3-4", "")
@pytest.mark.parametrize("bit", [4, 8, 16, 32])
def test_options_of_5_are_reserved_in_3(new, v, topic, bit):
    new().send(w.subscribe(v, 1, [(topic, bit)])).ends()


@covers("4.8.0-1", "4.13.1-1")
@pytest.mark.parametrize("kind", ["filter", "options", "packet id", "unsubscribe"])
def test_cut_packets(new, v, kind):
    no = b"\0" if v == 5 else b""
    data = {"filter": w.packet(w.SUBSCRIBE, b"\0\1" + no + b"\0\5ab\0", 2),
            "options": w.packet(w.SUBSCRIBE, b"\0\1" + no + b"\0\1a", 2),
            "packet id": w.packet(w.SUBSCRIBE, b"\1", 2), "unsubscribe": w.packet(w.UNSUBSCRIBE, b"\0\1" + no + b"\0\2a", 2)}
    new().send(data[kind]).ends(0x81, 0x82)


@covers("3.8.4-3", "3.8.4-3 3.8.4-4")
def test_a_filter_again_replaces(new, v, topic):
    client, other = new(), new()
    other.publish(topic, "kept", 1, retain=True)
    for qos in (0, 1, 2, 0):
        client.subscribe(topic, qos=qos)
        client.gets(topic, "kept", min(qos, 1), retain=True)
    other.publish(topic, "x", 2)
    client.gets(topic, "x", 0)
    client.quiet()
    other.publish(topic, retain=True)


@covers("3.8.4-3", "3.8.4-4")
def test_replacing_loses_nothing(new, v, topic):
    client, other = new(), new()
    client.subscribe(topic, qos=1)
    for i in range(20):
        other.publish(topic, str(i), 1)
        client.send(w.subscribe(v, 100 + i, [(topic, 1)]))
    got, subacks = [], 0
    while len(got) < 20 or subacks < 20:
        packet = client.receive()
        if packet.kind == w.SUBACK:
            subacks += 1
        else:
            got.append(packet.payload)
            client.acknowledge(packet)
    assert got == [str(i).encode() for i in range(20)]


@covers("3.8.4-6", "3.8.4-8")
@pytest.mark.parametrize("sent", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_lower_qos_of_both(new, v, topic, sent, granted):
    client, other = new(), new()
    assert client.subscribe(topic, qos=granted) == [granted]
    other.publish(topic, "x", sent)
    client.gets(topic, "x", min(sent, granted))
    other.publish(topic, "kept", sent, retain=True)
    client.gets(topic, "kept", min(sent, granted))
    client.subscribe(topic, qos=granted)
    client.gets(topic, "kept", min(sent, granted), retain=True)
    other.publish(topic, retain=True)


@covers("3.10.4-1 3.10.4-2", "3.10.4-1 3.10.4-2")
def test_unsubscribe_compares_bytes(new, v, topic):
    client, other = new(), new()
    client.subscribe(topic + "/+", topic + "/a")
    client.unsubscribe(topic + "/#", topic + "/b", topic + "/A", topic + "/a/")
    client.unsubscribe(topic + "/+")
    other.publish(topic + "/b", "no")
    other.publish(topic + "/a", "x")
    client.gets(topic + "/a", "x")
    client.unsubscribe(topic + "/a")
    other.publish(topic + "/a", "no")
    client.quiet()


@covers("3.10.4-3", "3.10.4-3")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_has_begun_is_completed(new, v, topic, qos):
    keep = [(w.SESSION_EXPIRY, 100)] if v == 5 else []
    client, other = new(clean=False, props=keep), new()
    client.subscribe(topic, qos=qos)
    other.publish(topic, "x", qos)
    got = client.gets(topic, "x", qos, acknowledge=False)
    client.unsubscribe(topic)
    client.drop()
    client = new(client.id, clean=False, props=keep)
    client.gets(topic, "x", qos, dup=True, pid=got.pid)
    client.quiet()


@covers("3.10.4-4 2.3.1-7", "3.10.4-4 3.10.4-5 2.2.1-6")
def test_unsuback(new, v, topic):
    client = new()
    client.subscribe(topic)
    client.send(w.unsubscribe(v, 0x1234, [topic]))
    client.expect(w.packet(w.UNSUBACK, b"\x12\x34" + (b"\0\0" if v == 5 else b"")))


@covers("3.10.4-5", "3.10.4-5 3.11.3-2")
def test_unsubscribe_from_what_was_not_subscribed(new, v, topic):
    client = new().send(w.unsubscribe(v, 7, [topic]))
    client.expect(w.packet(w.UNSUBACK, b"\0\7" + (b"\0\x11" if v == 5 else b"")))


@covers("3.10.4-6", "3.10.4-6 3.11.3-1")
def test_unsubscribe_from_many(new, v, topic):
    client, other = new(), new()
    client.subscribe(topic + "/1", topic + "/2", topic + "/3")
    client.send(w.unsubscribe(v, 7, [topic + "/1", topic + "/no", topic + "/3"]))
    client.expect(w.packet(w.UNSUBACK, b"\0\7" + (b"\0\0\x11\0" if v == 5 else b"")))
    for i in (1, 3, 2):
        other.publish(f"{topic}/{i}", "x")
    client.gets(topic + "/2", "x")
    client.quiet()


BAD_FILTERS = ["a#", "a/#/b", "#/a", "a/b#", "##", "#a", "a+", "+a", "a/+b", "a/b+/c", "++", "a/+#", ""]
NUMBERS = {"#": ("4.7.1-2", "4.7.1-1"), "+": ("4.7.1-3", "4.7.1-2"), "": ("4.7.3-1", "4.7.3-1")}


def make_filter_test(kind, names):
    def test(new, v, name):
        client = new().send(w.subscribe(v, 1, [(name, 0)]))
        packet = client.receive()
        if packet is not None and packet.kind == w.SUBACK:  # 5.0 has a code for it
            assert packet.codes == [0x8F if v == 5 else 0x80]
            return
        assert packet is None or packet.code in (0x8F, 0x81, 0x82)
        assert packet is None or client.receive() is None
    test.__name__ = {"#": "test_misplaced_multi_level_wildcard", "+": "test_misplaced_single_level_wildcard",
                     "": "test_empty_filter"}[kind]
    return covers(*NUMBERS[kind])(pytest.mark.parametrize("name", names)(test))


test_misplaced_multi_level_wildcard = make_filter_test("#", [f for f in BAD_FILTERS if "#" in f])
test_misplaced_single_level_wildcard = make_filter_test("+", [f for f in BAD_FILTERS if "+" in f and "#" not in f])
test_empty_filter = make_filter_test("", [""])

# filter, names that match, names that do not; each behind a level of the test's own
MATCHES = [
    ("sport/tennis/player1/#", ["sport/tennis/player1", "sport/tennis/player1/ranking", "sport/tennis/player1/score/wimbledon"],
     ["sport/tennis/player2", "sport/tennis", "sport/tennis/player11"]),
    ("sport/#", ["sport", "sport/", "sport/a/b"], ["sports", ""]),
    ("sport/tennis/+", ["sport/tennis/player1", "sport/tennis/"], ["sport/tennis/player1/ranking", "sport/tennis"]),
    ("sport/+", ["sport/"], ["sport", "sport//"]),
    ("+/+", ["/finance", "a/b", "/"], ["a", "a/b/c"]),
    ("/+", ["/finance"], ["finance", "a/b"]),
    ("+", ["finance", ""], ["/finance"]),
    ("+/tennis/#", ["a/tennis", "/tennis/x"], ["tennis", "a/b/tennis"]),
    ("a/+/b/+/c", ["a/1/b/2/c", "a//b//c"], ["a/1/b/c", "a/1/2/b/3/c"]),
    ("a//b", ["a//b"], ["a/b", "a///b"]),
    ("a/", ["a/"], ["a"]),
    ("A", ["A"], ["a"]),
    ("#", ["a", "a/b", "/", ""], []),
    ("+/b", ["a/b", "/b"], ["x/bc", "a/b/"]),
]


@covers("3.3.2-3 4.7.1-2 4.7.1-3", "3.3.2-3 4.7.1-1 4.7.1-2")
@pytest.mark.parametrize("number", range(len(MATCHES)))
def test_matching(new, v, topic, number):
    name, yes, no = MATCHES[number]
    client, other = new(), new()
    client.subscribe(f"{topic}/{name}")
    for level in no:
        other.publish(f"{topic}/{level}", "no")
    other.publish(topic + "x/" + yes[0], "no")
    for level in yes:
        other.publish(f"{topic}/{level}", "yes")
        client.gets(f"{topic}/{level}", "yes")
    client.quiet()


@covers("3.3.1-6 4.7.1-2 4.7.1-3", "3.3.1-9 4.7.1-1 4.7.1-2")
@pytest.mark.parametrize("number", range(len(MATCHES)))
def test_matching_of_retained_messages(new, v, topic, number):
    name, yes, no = MATCHES[number]
    client, other = new(), new()
    for level in no:
        other.publish(f"{topic}/{level}", "no", retain=True)
    for level in yes:
        other.publish(f"{topic}/{level}", "yes", retain=True)
    client.subscribe(f"{topic}/{name}")
    got = set()
    for _ in yes:
        packet = client.want(w.PUBLISH)
        assert packet.retain and packet.payload == b"yes"
        got.add(packet.topic)
    assert got == {f"{topic}/{level}" for level in yes}
    client.quiet()
    for level in yes + no:
        other.publish(f"{topic}/{level}", retain=True)


@covers("4.7.2-1", "4.7.2-1")
@pytest.mark.parametrize("name", ["#", "+/{0}", "+/#", "+/+", "/#"])
def test_dollar_topics_are_not_matched_by_leading_wildcards(new, v, topic, name):
    client, exact, other = new(), new(), new()
    client.subscribe(name.format(topic))
    assert exact.subscribe("$test/" + topic, "$test/+") == [0, 0]
    other.publish(f"$test/{topic}", "x")
    exact.gets(f"$test/{topic}", "x")
    got = client.until_ping()  # others may publish meanwhile
    assert not [p for p in got if p.topic.startswith("$")]


@covers("4.7.2-1", "4.7.2-1")
def test_retained_dollar_topics_are_not_matched_by_leading_wildcards(new, v, topic):
    client, other = new(), new()
    other.publish(f"$test/{topic}", "x", retain=True)
    client.subscribe("+/" + topic)
    client.quiet()
    client.subscribe(f"$test/{topic}/#")
    client.gets(f"$test/{topic}", "x", retain=True)
    other.publish(f"$test/{topic}", retain=True)


@covers("4.7.3-4", "4.7.3-4")
def test_filters_are_not_changed(new, v, topic):
    client, other = new(), new()
    client.subscribe(topic + "/é", topic + "/ \t")
    other.publish(topic + "/e\u0301", "no")
    other.publish(topic + "/", "no")
    other.publish(topic + "/é", "1")
    other.publish(topic + "/ \t", "2")
    client.gets(topic + "/é", "1")
    client.gets(topic + "/ \t", "2")
    client.quiet()


@covers("4.7.3-3", "4.7.3-3")
def test_longest_filter(new, v, topic):
    name = topic + "/" + "y" * (65535 - len(topic) - 3) + "/#"
    assert new().subscribe(name) == [0]


@covers("3.3.1-6", "3.3.1-9")
def test_retained_after_suback(new, v, topic):
    """SUBACK first, then what was kept."""
    other = new()
    for i in range(50):
        other.publish(f"{topic}/{i}", str(i), 1, retain=True)
    client = new()
    client.subscribe(topic + "/#", qos=1)
    got = {}
    for _ in range(50):
        packet = client.want(w.PUBLISH)
        assert packet.retain
        client.acknowledge(packet)
        got[packet.topic] = packet.payload.decode()
    assert got == {f"{topic}/{i}": str(i) for i in range(50)}
    client.quiet()
    for i in range(50):
        other.publish(f"{topic}/{i}", retain=True)


@covers("-", "-")
def test_rules_hold_at_delivery(new, v):
    """Who may read a part only gets that part, also through a wildcard that was granted."""
    bob, alice = new(user="bob", password="hush"), new(user="alice", password="secret")
    name = c.unique()
    assert bob.subscribe("read/#", f"write/{name}") == [0, 0x87 if v == 5 else 0x80]
    alice.publish(f"write/{name}", "no")
    alice.publish(f"read/{name}", "yes")
    bob.gets(f"read/{name}", "yes")
    assert bob.publish(f"read/{name}", "no", 1) == (0x87 if v == 5 else 0)
    bob.publish(f"write/{name}", "x", 1)
    bob.quiet()
