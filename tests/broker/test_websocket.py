# SPDX-License-Identifier: MIT
"""Chapter 6: MQTT in WebSocket, whatever transport the other tests use."""

import socket

import pytest

import client as c
import mqtt_wire as w
from conformance import covers


@pytest.fixture
def web(server, v):
    made = []

    def make():
        client = c.Client(server, "ws", False, v)
        made.append(client)
        return client
    yield make
    for client in made:
        client.close()


@covers("6.0.0-1", "6.0.0-1")
def test_text_frames_end_it(web, v):
    client = web().connect()
    client.stream.frame(w.PING, opcode=1)
    packet = client.receive()
    assert packet is None or packet.kind == w.DISCONNECT and client.receive() is None


@covers("6.0.0-1", "6.0.0-1")
@pytest.mark.parametrize("what", ["connect", "subscribe", "publish"])
def test_text_frames_behind_data_end_it(server, web, v, topic, what):
    """In one segment with it: nothing else comes that could make the server look again. The will is sent."""
    will = w.Will(topic, "gone")
    watcher = web().connect()
    watcher.subscribe(topic)
    client = web()
    if what != "connect":
        client.connect(will=will)
    data = {"connect": w.connect(v, client.id, will=will), "subscribe": w.subscribe(v, 1, [("other/" + topic, 0)]),
            "publish": w.publish(v, "other/" + topic, "x")}[what]
    client.stream.raw.sendall(client.stream.framed(data) + client.stream.framed(w.PING, opcode=1))
    while client.receive():
        pass
    assert client.stream.close_code == 1003
    assert client.stream.raw.recv(1) == b""
    watcher.gets(topic, "gone")


@pytest.mark.parametrize("v", [4, 5])
def test_close_frame_behind_data(server, web, v, topic):
    """RFC 6455, 7.1.1: the server ends the TCP connection; without DISCONNECT the will is sent."""
    watcher = web().connect()
    watcher.subscribe(topic)
    client = web().connect(will=w.Will(topic, "gone"))
    client.stream.raw.sendall(client.stream.framed(w.publish(v, topic, "last words")) + client.stream.framed(b"\x03\xe8", opcode=8))
    while client.receive():
        pass
    assert client.stream.close_code == 1000
    assert client.stream.raw.recv(1) == b""
    watcher.gets(topic, "last words")
    watcher.gets(topic, "gone")


@covers("6.0.0-1", "6.0.0-1")
def test_binary_frames(web, v, topic):
    client = web().connect()
    client.subscribe(topic)
    for size in (0, 100, 126, 65535, 65536, 300000):
        client.publish(topic, b"x" * size)
        client.gets(topic, b"x" * size)


@covers("6.0.0-2", "6.0.0-2")
def test_frames_are_no_borders(web, v, topic):
    """Many packets in a frame, a packet in many frames, a message in fragments, a ping between them."""
    client = web()
    data = w.connect(v, c.unique()) + w.subscribe(v, 1, [(topic, 0)]) + w.publish(v, topic, "x") + w.PING
    client.send(data)
    assert [client.receive().kind for _ in range(4)] == [w.CONNACK, w.SUBACK, w.PUBLISH, w.PINGRESP]
    data = w.publish(v, topic, "y" * 200) + w.PING
    for i in range(len(data)):
        client.stream.frame(data[i:i + 1])
    client.gets(topic, "y" * 200)
    client.expect(w.PONG)
    client.stream.frame(data[:7], opcode=2, final=False)
    client.stream.frame(b"are you there", opcode=9)
    client.stream.frame(data[7:50], opcode=0, final=False)
    client.stream.frame(b"", opcode=0, final=False)
    client.stream.frame(data[50:], opcode=0)
    client.gets(topic, "y" * 200)
    client.expect(w.PONG)


def handshake(server, protocols):
    raw = socket.create_connection(("127.0.0.1", server.ports["ws"]), c.LIMIT)
    stream = c.WebSocket(raw, protocols)
    raw.close()
    return stream


@covers("6.0.0-4 6.0.0-3", "6.0.0-4 6.0.0-3")
@pytest.mark.parametrize("offer", ["mqtt", "mqtt, other", "other, mqtt", "mqttv3.1, mqtt"])
def test_sub_protocol(server, v, offer):
    stream = handshake(server, offer)
    assert stream.accepted and stream.headers["sec-websocket-protocol"] == "mqtt"


@covers("6.0.0-3", "6.0.0-3")
@pytest.mark.parametrize("offer", ["", "other", "mqttx"])
def test_no_sub_protocol_of_ours(server, v, offer):
    """Refused, or accepted without a sub-protocol; never with one that was not offered."""
    stream = handshake(server, offer)
    assert not stream.accepted or "sec-websocket-protocol" not in stream.headers


@covers("6.0.0-1", "6.0.0-1")
def test_frames_of_a_client_are_masked(web, v):
    """RFC 6455, 5.1."""
    client = web().connect()
    client.stream.raw.sendall(b"\x82\x02" + w.PING)
    packet = client.receive()
    assert packet is None or packet.kind == w.DISCONNECT and client.receive() is None
