# SPDX-License-Identifier: MIT
"""The embedded broker as a part of the program: one board is a whole system. What MQTT itself demands is in tests/broker."""

import hashlib
import json
import re
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import compat
import harness
import test_tls

paho = harness.paho


def broker(port, more="", listener=""):
    return f'broker = {{ listeners = ( {{ port = {port}; {listener} }} ); store_directory = ""; sys_interval_s = 1; {more} }};\n'


@pytest.fixture
def port():
    return harness.free_port()


@pytest.fixture
def start(folder, port, start_sim, start_gateway):
    """The reference installation with nothing but the embedded broker: (gateway, text without the broker)."""
    def make(more="", **k):
        bus = harness.reference_bus(folder / "line", 'baud = 115200; format = "8E1";', interval_ms=100)
        text = f'gateway = {{ name = "mbgate"; }};\nbuses = (\n{bus}\n);\n'
        (folder / "sim.conf").write_text(text + 'links = ( { name = "none"; host = "127.0.0.1"; } );\n')
        start_sim("--set", "modbusgateway.led=0", folder / "sim.conf").wait_ready()
        return start_gateway(text + broker(port, more), **k), text
    return make


def passwd(folder, *users):
    """Users whose password is their name backwards."""
    file = folder / "passwd"
    file.write_text("")
    file.chmod(0o600)
    for user in users:
        subprocess.run(["mosquitto_passwd", "-b", file, user, user[::-1]], check=True, timeout=harness.LIMIT)
    file.chmod(0o600)
    return file


class Client:
    """A paho client that connects once and tells how it went."""

    def __init__(self, port, user=None, password=None, client_id="", tls=None, websocket=False):
        self.messages = []
        self.changed = threading.Condition()
        self.code = self.end = None
        self.client = compat.mqtt_client(paho.MQTTv5, client_id, "websockets" if websocket else "tcp")
        if tls:
            self.client.tls_set(**tls)
        if user:
            self.client.username_pw_set(user, password)
        self.client.on_connect = lambda _c, _u, _f, code, *_: self._set("code", code)
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda _c, _u, _mid, codes, *_: self._set("granted", codes)
        self.granted = None
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        self._wait(lambda: self.code is not None or self.end is not None, "CONNACK")

    def _set(self, name, value):
        with self.changed:
            setattr(self, name, value)
            self.changed.notify_all()

    def _on_disconnect(self, _client, _user, code, *_):
        if self.end is None:
            self._set("end", code)
        self.client.disconnect()  # it is not to try again

    def _on_message(self, _client, _user, message):
        with self.changed:
            self.messages.append(harness.Message(message))
            self.changed.notify_all()

    def _wait(self, condition, what, limit=harness.LIMIT):
        with self.changed:
            assert self.changed.wait_for(condition, limit), f"no {what}; got {self.messages[-20:]}"

    def is_in(self):
        return self.code is not None and str(self.code) in ("0", "Success")

    def subscribe(self, topic, qos=1):
        self.granted = None
        self.client.subscribe(topic, qos)
        self._wait(lambda: self.granted is not None, "SUBACK")
        return int(getattr(self.granted[0], "value", self.granted[0]))

    def wait(self, topic, text=None):
        def find():
            return next((m for m in self.messages if m.topic == topic and text in (None, m.text)), None)
        self._wait(find, f"{topic} {text or ''}")
        return find()

    def wait_end(self):
        """paho 1.6 does not tell the reason: it looks for one only in longer packets."""
        self._wait(lambda: self.end is not None, "end of the connection")

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def new_client():
    clients = []

    def make(*a, **k):
        clients.append(Client(*a, **k))
        return clients[-1]
    yield make
    for client in clients:
        client.close()


def listening(gateway, port):
    """The addresses at which the program listens on a port."""
    found = set()
    for family, name in ((socket.AF_INET, "tcp"), (socket.AF_INET6, "tcp6")):
        with open(f"/proc/{gateway.process.child.pid}/net/{name}") as f:
            for line in f.readlines()[1:]:
                local, state = line.split()[1], line.split()[3]
                address, number = local.split(":")
                if state == "0A" and int(number, 16) == port:
                    raw = bytes.fromhex(address)
                    raw = b"".join(raw[i:i + 4][::-1] for i in range(0, len(raw), 4))
                    found.add(socket.inet_ntop(family, raw))
    return found


def test_values_and_commands(start, port, new_mqtt):
    start()
    mqtt = new_mqtt(port)
    mqtt.wait("mbgate/status", "online")
    mqtt.wait("modbusgateway/availability", "online")
    assert re.fullmatch(r"-?\d+\.\d", mqtt.wait("modbusgateway/temp").text)
    at = mqtt.mark()
    mqtt.publish("modbusgateway/led", "77", response_topic="answers/1", correlation=b"id")
    answer = mqtt.wait("answers/1", start=at)
    assert json.loads(answer.text)["ok"] is True and answer.properties.CorrelationData == b"id"
    mqtt.wait("modbusgateway/led/state", "77", start=at)
    late = new_mqtt(port, protocol=4)
    assert late.wait("modbusgateway/led/state", "77").retain


def test_prefix(start, port, new_mqtt):
    start('prefix = "house/";')
    mqtt = new_mqtt(port)
    mqtt.wait("house/mbgate/status", "online")
    mqtt.publish("house/modbusgateway/led", "5")
    mqtt.wait("house/modbusgateway/led/state", "5")
    mqtt.publish("modbusgateway/led", "6")
    time.sleep(0.5)
    assert "6" not in mqtt.values("house/modbusgateway/led/state")
    assert not [m for m in mqtt.messages if m.topic.startswith("modbusgateway/") and m.topic != "modbusgateway/led"]


def test_without_users_only_this_machine(start, port):
    gateway, _ = start()
    gateway.wait_line("only for this machine, since no users are configured")
    assert listening(gateway, port) <= {"127.0.0.1", "::1"} and listening(gateway, port)


def test_users(folder, start, port, new_client):
    file = passwd(folder, "alice", "bob")
    gateway, _ = start(f'password_file = "{file}";')
    assert listening(gateway, port) & {"0.0.0.0", "::"}
    assert not new_client(port).is_in()
    assert not new_client(port, "alice", "qzx-guess").is_in()
    assert not new_client(port, "carol", "lorac").is_in()
    alice, bob = new_client(port, "alice", "ecila"), new_client(port, "bob", "bob"[::-1])
    assert alice.is_in() and bob.is_in()
    text = gateway.process.text()
    assert "qzx-guess" not in text and "ecila" not in text
    # Reloaded: who is not in it any more goes, the other does not notice.
    file.write_text("".join(line for line in file.read_text().splitlines(True) if not line.startswith("bob:")))
    gateway.reload(gateway.file.read_text())
    bob.wait_end()
    assert not new_client(port, "bob", "bob"[::-1]).is_in()
    alice.subscribe("mbgate/status")
    alice.wait("mbgate/status", "online")
    # A file that cannot be read is not taken over.
    file.write_text("alice\n")
    gateway.reload(gateway.file.read_text())
    gateway.wait_line(r"passwd:1: error: ")
    gateway.wait_line("the running configuration stays")
    assert new_client(port, "alice", "ecila").is_in()
    assert alice.end is None
    # Whose entry is another one has to show the password again.
    passwd(folder, "alice")
    gateway.reload(gateway.file.read_text())
    alice.wait_end()
    assert new_client(port, "alice", "ecila").is_in()


def test_anonymous_beside_users(folder, start, port, new_client):
    start(f'password_file = "{passwd(folder, "alice")}"; anonymous = true;')
    assert new_client(port).is_in()
    assert not new_client(port, "alice", "x").is_in()


def test_rules_protect_the_gateway(folder, start, port, new_client):
    acl = folder / "acl"
    acl.write_text("user alice\ntopic readwrite #\nuser bob\ntopic read modbusgateway/temp\n")
    gateway, _ = start(f'password_file = "{passwd(folder, "alice", "bob")}"; acl_file = "{acl}";')
    alice, bob = new_client(port, "alice", "ecila"), new_client(port, "bob", "bob"[::-1])
    assert alice.subscribe("#") == 1
    assert bob.subscribe("modbusgateway/temp") == 1
    assert bob.subscribe("mbgate/status") == 0x87
    bob.client.publish("modbusgateway/led", "9", 1).wait_for_publish(harness.LIMIT)
    bob.wait("modbusgateway/temp")
    alice.client.publish("modbusgateway/led", "8", 1).wait_for_publish(harness.LIMIT)
    alice.wait("modbusgateway/led/state", "8")
    assert "9" not in [m.text for m in alice.messages if m.topic == "modbusgateway/led/state"]
    assert {m.topic for m in bob.messages} == {"modbusgateway/temp"}
    # A rule that is taken away ends what was allowed before.
    acl.write_text("user alice\ntopic readwrite #\n")
    gateway.reload(gateway.file.read_text())
    n = len(bob.messages)
    alice.client.publish("modbusgateway/temp", "1", 1).wait_for_publish(harness.LIMIT)
    alice.wait("modbusgateway/temp", "1")
    time.sleep(0.3)
    assert len(bob.messages) == n


def test_reload_of_listeners(start, port, new_client):
    gateway, text = start()
    stays = new_client(port)
    stays.subscribe("mbgate/status")
    second = harness.free_port()
    two = f'broker = {{ listeners = ( {{ port = {port}; trace = true; }}, {{ port = {second}; }} ); store_directory = ""; }};\n'
    gateway.reload(text + two)
    goes = new_client(second)
    assert goes.is_in()
    gateway.reload(text + broker(port))
    goes.wait_end()
    with socket.socket() as s:
        assert s.connect_ex(("127.0.0.1", second)) != 0
    stays.client.publish("x", "1", 1).wait_for_publish(harness.LIMIT)
    assert stays.end is None
    # One that cannot be opened is told; the rest is in force.
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", second))
        s.listen()
        gateway.reload(text + two)
        gateway.wait_line(rf"{second}.*in use|in use.*{second}")
        gateway.wait_line("taken over, but not all of the broker")
    assert stays.end is None and new_client(port).is_in()


def test_broker_comes_and_goes(start, port, new_client):
    gateway, text = start()
    client = new_client(port)
    client.subscribe("mbgate/status")
    client.wait("mbgate/status", "online")
    gateway.reload(text)
    client.wait("mbgate/status", "offline")
    client.wait_end()
    harness.wait_until(lambda: not listening(gateway, port), "the listener is closed")
    gateway.reload(text + broker(port))
    harness.wait_until(lambda: listening(gateway, port), "the broker is back")
    again = new_client(port)
    again.subscribe("modbusgateway/temp")
    again.wait("modbusgateway/temp")


def test_stop_says_offline_and_why(start, port, new_client):
    gateway, _ = start()
    client = new_client(port)
    client.subscribe("#")
    client.wait("modbusgateway/availability", "online")
    gateway.stop()
    client.wait("modbusgateway/availability", "offline")
    client.wait("mbgate/status", "offline")
    client.wait_end()


def test_port_in_use(port, new_gateway):
    with socket.socket() as s:
        s.bind(("127.0.0.1", port))
        s.listen()
        gateway = new_gateway(broker(port)).start(ready=False)
        assert gateway.process.wait() not in (0, 78)
        gateway.wait_line(rf"{port}.*in use|in use.*{port}")
        gateway.stopped = True


def test_bad_user_file_is_a_bad_configuration(folder, port, new_gateway):
    file = passwd(folder)
    file.write_text("alice:clear\n")
    gateway = new_gateway(broker(port, f'password_file = "{file}";')).start(ready=False)
    assert gateway.process.wait() == 78
    gateway.wait_line(r"passwd:1: error: .*mosquitto_passwd -U")
    gateway.stopped = True


def test_sys(start, port, new_client):
    start()
    client = new_client(port, client_id="it's \"me\"")
    client.subscribe("$SYS/#")
    assert client.wait("$SYS/broker/version").text.startswith("mbgate version ")

    def listed():
        texts = [m.text for m in client.messages if m.topic == "$SYS/broker/clients/list"]
        return texts and json.loads(texts[-1])["clients"]
    harness.wait_until(listed, "a list with a client")
    (me,) = listed()
    assert me["id"] == "it's \"me\"" and me["address"] == "127.0.0.1" and me["protocol"] == "5.0" and me["user"] is None
    client.wait("$SYS/broker/clients/connected", "1")
    client.client.publish("$SYS/broker/uptime", "x", 1, retain=True)
    time.sleep(1.5)
    assert all(m.text.endswith(" seconds") for m in client.messages if m.topic == "$SYS/broker/uptime")


def served_certificate(port):
    """The serial number of what the port shows now."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with context.wrap_socket(s) as t:
            return hashlib.sha256(t.getpeercert(True)).hexdigest()


def test_tls_and_websocket_and_a_renewed_certificate(folder, port, start_gateway, new_client):
    test_tls.make_ca(folder, "ca")
    test_tls.make_certificate(folder, "server", "DNS:localhost,IP:127.0.0.1")
    test_tls.make_certificate(folder, "alice", "DNS:alice")
    web = harness.free_port()
    group = f'cert_file = "{folder}/server.pem"; key_file = "{folder}/server.key"'
    users = f'ca_file = "{folder}/ca.pem"; require_certificate = true; certificate_is_user = true;'
    text = f"""broker = {{ store_directory = ""; sys_interval_s = 1; anonymous = true; listeners = (
        {{ port = {port}; tls = {{ {group}; {users} }}; }},
        {{ port = {web}; protocol = "websocket"; tls = {{ {group}; }}; }} ); }};"""
    gateway = start_gateway(text)
    trust = {"ca_certs": str(folder / "ca.pem")}
    own = {**trust, "certfile": str(folder / "alice.pem"), "keyfile": str(folder / "alice.key")}
    alice, page = new_client(port, tls=own), new_client(web, tls=trust, websocket=True)
    assert alice.is_in() and page.is_in()
    page.subscribe("#")
    alice.client.publish("a", "x" * 100000, 1).wait_for_publish(harness.LIMIT)
    page.wait("a", "x" * 100000)
    page.subscribe("$SYS/broker/clients/list")
    harness.wait_until(lambda: any('"user":"alice"' in m.text for m in page.messages), "alice is who her certificate says")
    old = served_certificate(web)
    test_tls.make_certificate(folder, "server", "DNS:localhost,IP:127.0.0.1")
    gateway.reload(text)
    assert served_certificate(web) != old
    alice.client.publish("a", "still", 1).wait_for_publish(harness.LIMIT)
    page.wait("a", "still")
    # One that cannot be used: the old one goes on.
    now = served_certificate(web)
    (folder / "server.pem").write_text("nonsense")
    gateway.reload(text)
    gateway.wait_line(r"server\.pem")
    assert served_certificate(web) == now
    assert alice.end is None and page.end is None


def test_socket_of_the_service_manager(folder, port):
    config = folder / "mbgated.conf"
    config.write_text('broker = { anonymous = true; store_directory = ""; listeners = ( { address = "systemd:mqtt"; } ); };\n')
    process = harness.Process(["systemd-socket-activate", "-l", f"127.0.0.1:{port}", "--fdname=mqtt",
                               harness.find_program("mbgated"), "--config", config, "--log-target", "stderr"])
    try:
        process.wait_line("Listening on")
        client = Client(port)
        assert client.is_in()
        client.subscribe("mbgate/status")
        client.wait("mbgate/status", "online")
        client.close()
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.text()
    finally:
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_what_outlives_the_program(folder, port, new_gateway, new_client, how):
    store = folder / "store"
    store.mkdir()
    text = f'broker = {{ listeners = ( {{ port = {port}; }} ); store_directory = "{store}"; durability = "sync"; }};\n'
    gateway = new_gateway(text).start()
    properties = harness.Properties(harness.PacketTypes.CONNECT)
    properties.SessionExpiryInterval = 3600
    keeper = compat.mqtt_client(paho.MQTTv5, "keeper")
    done = threading.Event()
    keeper.on_connect = lambda c, *_: c.subscribe("queued", 1)
    keeper.on_subscribe = lambda *_: done.set()
    keeper.connect("127.0.0.1", port, clean_start=True, properties=properties)
    keeper.loop_start()
    assert done.wait(harness.LIMIT)
    keeper.disconnect()
    keeper.loop_stop()
    client = new_client(port)
    client.client.publish("kept", "here", 1, retain=True).wait_for_publish(harness.LIMIT)
    client.client.publish("queued", "for later", 1).wait_for_publish(harness.LIMIT)
    gateway.process.signal(how)
    gateway.process.wait()
    gateway.kill()
    gateway.stopped = True
    new_gateway(text).start()
    late = new_client(port)
    late.subscribe("kept")
    assert late.wait("kept", "here").retain
    got = []
    keeper.on_connect = None
    keeper.on_message = lambda _c, _u, m: got.append(m.payload)
    keeper.connect("127.0.0.1", port, clean_start=False, properties=properties)
    keeper.loop_start()
    harness.wait_until(lambda: got == [b"for later"], "what was queued")
    keeper.disconnect()
    keeper.loop_stop()


def test_beside_a_link(folder, port, start_broker, start_sim, start_gateway, new_mqtt):
    """The same values here and at another broker; a command is taken from either; $SYS tells of the link."""
    other = start_broker()
    bus = harness.reference_bus(folder / "line", 'baud = 115200; format = "8E1";', interval_ms=100)
    text = harness.conf(bus, harness.link(other.port, "cloud", 'prefix = "site1/";'))
    (folder / "sim.conf").write_text(text)
    start_sim("--set", "modbusgateway.led=0", folder / "sim.conf").wait_ready()
    start_gateway(text + broker(port))
    here, there = new_mqtt(port, ("#", "$SYS/broker/connection/#")), new_mqtt(other.port)
    here.wait("$SYS/broker/connection/cloud/state", "1")
    here.publish("modbusgateway/led", "3")
    there.wait("site1/modbusgateway/led/state", "3")
    there.publish("site1/modbusgateway/led", "4")
    here.wait("modbusgateway/led/state", "4")
    at = here.mark()
    other.kill()
    here.wait("$SYS/broker/connection/cloud/state", "0", start=at)
