# SPDX-License-Identifier: MIT
"""Other people's clients and brokers at the embedded broker: over TCP, TLS and WebSocket, in every version of MQTT."""

import functools
import http.server
import os
import pathlib
import shutil
import socket
import subprocess
import threading
import urllib.parse

import pytest

import broker_raw as raw
import compat
import harness
from broker_server import mbgated_only, serve

paho = harness.paho
HERE = pathlib.Path(__file__).parent
VERSIONS = ["mqttv31", "mqttv311", "mqttv5"]
MANY = 10000
# What 10 000 messages in one go need when the subscriber is the slower one.
ROOM = "max_queued_messages = 20000; max_queued_bytes = 16777216;"


def needs(*programs):
    missing = [p for p in programs if not (pathlib.Path(p).exists() if p.startswith("/") else shutil.which(p))]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {missing}; see tools/install-dependencies clients")


node = needs("node", "/usr/share/nodejs/mqtt")


@pytest.fixture(scope="module")
def server():
    yield from serve(more=ROOM, tls=True, mosquitto_more="allow_anonymous true\nmax_queued_messages 20000")


@pytest.fixture
def start_process():
    processes = []

    def start(*command, **k):
        processes.append(harness.Process(command, **k))
        return processes[-1]
    yield start
    for process in processes:
        process.kill()


def run(*command, feed=None):
    done = subprocess.run([str(c) for c in command], input=feed, stdin=None if feed else subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=harness.LIMIT)
    assert done.returncode == 0, f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def to(server, version="mqttv311", tls=False):
    if tls:
        return ("-h", "localhost", "-p", server.tls, "-V", version, "--cafile", server.ca)
    return ("-h", "127.0.0.1", "-p", server.port, "-V", version)


# ---- mosquitto's programs ----

@pytest.fixture
def start_sub(start_process):
    def start(server, *arguments, version="mqttv311", tls=False, subscribed=r"^Subscribed|received SUBACK"):
        """One that has subscribed."""
        process = start_process("stdbuf", "-oL", "mosquitto_sub", *to(server, version, tls), "-d", "-v", *arguments)
        process.wait_line(subscribed)
        return process
    return start


def messages(process):
    """(topic, payload) of mosquitto_sub -v -d."""
    return [tuple(line.split(" ", 1)) for line in process.lines if "/" in line.split(" ", 1)[0]]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_pub_and_sub(server, start_sub, version, tls):
    top = f"pubsub/{version}/{tls}"
    watch = start_sub(server, "-t", f"{top}/+/x", "-t", f"{top}/deep/#", "-q", "2", version=version, tls=tls)
    for qos in "012":
        run("mosquitto_pub", *to(server, version, tls), "-q", qos, "-t", f"{top}/{qos}/x", "-m", f"qos {qos}")
        run("mosquitto_pub", *to(server, version, tls), "-q", qos, "-t", f"{top}/{qos}/y", "-m", "not wanted")
        run("mosquitto_pub", *to(server, version, tls), "-q", qos, "-t", f"{top}/deep/a/b/c", "-m", f"deep {qos}")
    run("mosquitto_pub", *to(server, version, tls), "-q", "1", "-t", f"{top}/deep", "-m", "the parent, too")
    watch.wait_line("the parent, too$")
    expected = [(f"{top}/{qos}/x", f"qos {qos}") for qos in "012"] + \
        [(f"{top}/deep/a/b/c", f"deep {qos}") for qos in "012"] + [(f"{top}/deep", "the parent, too")]
    # QoS 2 takes longer: only messages of the same QoS keep their order.
    harness.wait_until(lambda: len(messages(watch)) >= len(expected), f"{len(expected)} messages")
    assert sorted(messages(watch)) == sorted(expected)


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_retained(server, version):
    topic = f"retained/{version}"
    run("mosquitto_pub", *to(server, version), "-r", "-q", "1", "-t", topic, "-m", "kept")
    assert run("mosquitto_sub", *to(server, version), "-C", "1", "-W", "30", "-F", "%r %p", "-t", topic) == "1 kept\n"
    run("mosquitto_pub", *to(server, version), "-r", "-q", "1", "-t", topic, "-n")
    run("mosquitto_pub", *to(server, version), "-r", "-q", "1", "-t", topic + "/end", "-m", "end")
    assert run("mosquitto_sub", *to(server, version), "-C", "1", "-W", "30", "-t", topic + "/#") == "end\n"


@pytest.mark.parametrize("version", VERSIONS)
def test_mosquitto_session_and_will(server, start_sub, start_process, version):
    me = f"keeper-{version}"
    keep = ("-c", "-i", me, "-q", "2", "-t", f"offline/{version}/#")
    if version == "mqttv5":
        keep += ("-x", "600")
    run("mosquitto_sub", *to(server, version), "-E", *keep)
    for qos in "12":
        run("mosquitto_pub", *to(server, version), "-q", qos, "-t", f"offline/{version}/{qos}", "-m", f"waited {qos}")
    got = run("mosquitto_sub", *to(server, version), "-C", "2", "-W", "30", *keep)
    assert sorted(got.splitlines()) == ["waited 1", "waited 2"]
    watch = start_sub(server, "-t", f"will/{version}")
    dying = start_sub(server, "-t", "none/of/it", "--will-topic", f"will/{version}", "--will-payload", "died",
                      "--will-qos", "1", version=version)
    dying.kill()
    watch.wait_line(f"^will/{version} died$")


def test_mosquitto_rr(server, start_sub):
    answer = start_sub(server, "-F", "%R %D %p", "-t", "service", "-C", "1", version="mqttv5")
    asking = threading.Thread(target=lambda: results.append(run(
        "mosquitto_rr", *to(server, "mqttv5"), "-W", "30", "-t", "service", "-e", "service/answer", "-m", "question",
        "-D", "publish", "correlation-data", "number 7")))
    results = []
    asking.start()
    answer.wait_line("^service/answer .*question$")
    run("mosquitto_pub", *to(server, "mqttv5"), "-t", "service/answer", "-m", "the answer",
        "-D", "publish", "correlation-data", "number 7")
    asking.join(harness.LIMIT)
    assert results == ["the answer\n"]


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_ten_thousand_messages(server, start_sub, version, qos):
    topic = f"many/{version}/{qos}"
    process = start_sub(server, "-t", topic, "-q", qos, "-C", str(MANY), version=version)
    run("mosquitto_pub", *to(server, version), "-q", str(qos), "-t", topic, "-l",
        feed="".join(f"{i}\n" for i in range(MANY)))
    assert process.wait() == 0, f"{len(messages(process))} of {MANY} messages came"
    assert [text for _, text in messages(process)] == [str(i) for i in range(MANY)]


# ---- paho ----

class Paho:
    """A paho client with a loop of its own; every callback waits for its event."""

    def __init__(self, server, version, client_id="", clean=True, tls=False, websocket=False, will=None):
        self.messages, self.changed = [], threading.Condition()
        self.present = self.granted = None
        self.version = version
        number = {3: paho.MQTTv31, 4: paho.MQTTv311, 5: paho.MQTTv5}[version]
        # paho 1.6 takes clean_session in the constructor only.
        self.client = compat.mqtt_client(number, client_id or f"paho{id(self)}", "websockets" if websocket else "tcp")
        if version < 5:
            self.client._clean_session = clean
        self.client.on_connect = lambda _c, _u, flags, *_: self._set(
            "present", bool(flags["session present"] if isinstance(flags, dict) else flags.session_present))
        self.client.on_subscribe = lambda *a: self._set("granted", True)
        self.client.on_message = self._on_message
        if tls:
            self.client.tls_set(str(server.ca))
        if will:
            self.client.will_set(*will)
        more = {}
        if version == 5:
            properties = harness.Properties(harness.PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if clean else 600
            more = {"clean_start": clean, "properties": properties}
        port = (server.wss if tls else server.web) if websocket else (server.tls if tls else server.port)
        self.client.connect("localhost" if tls else "127.0.0.1", port, 60, **more)
        self.client.loop_start()
        self.wait(lambda: self.present is not None, "CONNACK")

    def _set(self, name, value):
        with self.changed:
            setattr(self, name, value)
            self.changed.notify_all()

    def _on_message(self, _client, _user, message):
        with self.changed:
            self.messages.append((message.topic, message.payload, message.qos, bool(message.retain)))
            self.changed.notify_all()

    def wait(self, condition, what):
        with self.changed:
            assert self.changed.wait_for(condition, harness.LIMIT), f"no {what}; got {self.messages[-10:]}"

    def subscribe(self, *filters):
        self.granted = None
        self.client.subscribe(list(filters))
        self.wait(lambda: self.granted, "SUBACK")
        return self

    def publish(self, topic, payload, qos=0, retain=False):
        self.client.publish(topic, payload, qos, retain).wait_for_publish(harness.LIMIT)

    def wait_messages(self, n):
        self.wait(lambda: len(self.messages) >= n, f"{n} messages")
        return self.messages

    def vanish(self):
        """No DISCONNECT."""
        self.client._thread_terminate = True
        self.client.socket().shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def new_paho(server):
    made = []

    def make(*a, **k):
        made.append(Paho(server, *a, **k))
        return made[-1]
    yield make
    for one in made:
        one.close()


@pytest.mark.parametrize("how", ["tcp", "tls", "websocket", "wss"])
@pytest.mark.parametrize("version", [3, 4, 5])
def test_paho(new_paho, version, how):
    way = {"tls": how in ("tls", "wss"), "websocket": how in ("websocket", "wss")}
    top = f"paho/{version}/{how}"
    a = new_paho(version, **way)
    b = new_paho(version, **way).subscribe((f"{top}/+", 2), (f"{top}/a/#", 1))
    large = os.urandom(1 << 20)
    for qos in (0, 1, 2):
        a.publish(f"{top}/x", f"{qos}", qos)
        a.publish(f"{top}/a/b/c", f"{qos}", qos)
    a.publish(f"{top}/large", large, 1)
    assert sorted(b.wait_messages(7)) == sorted([
        (f"{top}/x", b"0", 0, False), (f"{top}/a/b/c", b"0", 0, False),
        (f"{top}/x", b"1", 1, False), (f"{top}/a/b/c", b"1", 1, False),
        (f"{top}/x", b"2", 2, False), (f"{top}/a/b/c", b"2", 1, False), (f"{top}/large", large, 1, False)])
    a.publish(f"{top}/kept", "k", 2, True)
    late = new_paho(version, **way).subscribe((f"{top}/kept", 2))
    assert late.wait_messages(1)[0] == (f"{top}/kept", b"k", 2, True)


@pytest.mark.parametrize("version", [3, 4, 5])
def test_paho_session_and_will(new_paho, version):
    me, top = f"sleeper{version}", f"paho/session/{version}"
    sleeper = new_paho(version, me, clean=False).subscribe((f"{top}/#", 2))
    assert not sleeper.present
    sleeper.close()
    a = new_paho(version, will=(f"{top}/will", "gone", 2, True))
    for i in range(100):
        a.publish(f"{top}/{i % 3}", str(i), 1 + i % 2)
    a.vanish()
    again = new_paho(version, me, clean=False)
    assert again.present or version == 3  # MQTT 3.1 has no such flag
    got = again.wait_messages(101)
    for qos in (1, 2):  # in order each
        assert [int(text) for topic, text, q, _ in got if q == qos and topic != f"{top}/will"] == \
            list(range(qos - 1, 100, 2))
    assert (f"{top}/will", b"gone", 2, False) in got
    again.close()
    assert not new_paho(version, me, clean=True).present
    a = new_paho(version)
    a.publish(f"{top}/will", "", 1, True)


def test_take_over(new_paho):
    first = new_paho(5, "twin", clean=False).subscribe(("twin", 1))
    first.client.reconnect_delay_set(60, 60)
    second = new_paho(4, "twin", clean=False)
    assert second.present
    new_paho(4).publish("twin", "for the second", 1)
    assert second.wait_messages(1)[0][1] == b"for the second"
    assert first.messages == []


# ---- mqtt.js ----

@node
@pytest.mark.parametrize("how", ["mqtt", "mqtts", "ws", "wss"])
def test_mqtt_js_in_node(server, how):
    host = "localhost" if how in ("mqtts", "wss") else "127.0.0.1"
    port = {"mqtt": server.port, "mqtts": server.tls, "ws": server.web, "wss": server.wss}[how]
    done = subprocess.run(["node", HERE / "browser" / "run.js", f"{how}://{host}:{port}",
                           *([server.ca] if host == "localhost" else [])], env={**os.environ, "NODE_PATH": "/usr/share/nodejs"},
                          capture_output=True, text=True, timeout=2 * harness.LIMIT)
    assert done.stdout == "MQTT 3: ok\nMQTT 4: ok\nMQTT 5: ok\n" and done.returncode == 0, done.stdout + done.stderr


class Page(http.server.BaseHTTPRequestHandler):
    """Gives the page and its script, takes its result."""

    protocol_version = "HTTP/1.1"
    results = {}
    changed = threading.Condition()

    def __init__(self, script, *a):
        self.script = script
        super().__init__(*a)

    def _answer(self, kind, body):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path.startswith("/page.js"):
            self._answer("text/javascript", self.script)
        else:
            self._answer("text/html", b"<!DOCTYPE html><meta charset=utf-8><title>t</title><script src=/page.js></script>")

    def do_POST(self):
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self._answer("text/plain", b"")
        with self.changed:
            self.results[self.server.server_port] = text
            self.changed.notify_all()

    def log_message(self, *_):
        pass


@node
@needs("chromium", "esbuild", "/usr/share/nodejs/buffer", "/usr/share/nodejs/events", "/usr/share/nodejs/process", "/usr/share/nodejs/url")
def test_mqtt_js_in_chromium(server, folder, start_process):
    """Debian has mqtt.js without a bundle for pages: it is made here."""
    modules = pathlib.Path("/usr/share/nodejs")
    subprocess.run(["esbuild", "page.js", "--bundle", "--platform=browser", "--inject:globals.js",
                    "--define:global=globalThis", f"--alias:ws={modules}/ws/browser.js",
                    f"--alias:readable-stream={modules}/readable-stream/readable-browser.js", "--log-level=error",
                    f"--outfile={folder}/page.js"], cwd=HERE / "browser",
                   env={**os.environ, "NODE_PATH": str(modules)}, check=True, timeout=harness.LIMIT)
    handler = functools.partial(Page, (folder / "page.js").read_bytes())
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    urls = [("url", f"ws://127.0.0.1:{server.web}"), ("url", f"wss://localhost:{server.wss}")]
    # No sandbox: in a container there is none to be had, and the only page is ours. It knows nothing of the test's authority.
    chromium = start_process(
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-dev-shm-usage", "--no-proxy-server", "--ignore-certificate-errors",
        "--host-resolver-rules=MAP localhost 127.0.0.1", f"--user-data-dir={folder}/profile", "--remote-debugging-port=0",
        f"http://127.0.0.1:{web.server_port}/?{urllib.parse.urlencode(urls)}", env={"HOME": str(folder)})
    try:
        with Page.changed:
            Page.changed.wait_for(lambda: web.server_port in Page.results or chromium.closed, 2 * harness.LIMIT)
        text = Page.results.get(web.server_port)
        assert text, "the page said nothing:\n" + chromium.text()[-4000:]
        assert text.splitlines() == [f"{url} MQTT {v}: ok" for _, url in urls for v in (3, 4, 5)] + ["done"], text
    finally:
        web.shutdown()
        web.server_close()


# ---- other gateways and brokers ----

def values_bus(folder, line="line"):
    return harness.reference_bus(folder / line, 'baud = 115200; format = "8E1";', interval_ms=100)


@mbgated_only
@pytest.mark.parametrize("version", [4, 5])
def test_another_mbgate(folder, server, new_mqtt, start_sim, new_gateway, version):
    text = harness.conf(values_bus(folder), harness.link(server.port, more=f"protocol = {version};"))
    (folder / "sim.conf").write_text(text)
    start_sim("--set", "modbusgateway.led=0", "--set", "modbusgateway.temp=21.5", folder / "sim.conf").wait_ready()
    gateway = new_gateway(text).start()
    client = new_mqtt(server.port, filters=("modbusgateway/#", "mbgate/#"))
    client.wait("mbgate/status", "online")
    client.wait("modbusgateway/temp", "21.5")
    client.publish("modbusgateway/led", "600")
    client.wait("modbusgateway/led/state", "600")
    # Its last word, when it is killed.
    start = client.mark()
    gateway.kill()
    gateway.stopped = True
    client.wait("mbgate/status", "offline", start)
    again = new_gateway(text).start()
    client.wait("mbgate/status", "online", start)
    start = client.mark()
    again.stop()
    client.wait("mbgate/status", "offline", start)
    for topic in {m.topic for m in client.messages if m.retain}:
        client.publish(topic, "", retain=True)


@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_mosquitto_as_bridge(folder, server, start_broker, new_mqtt, version):
    name = f"bridge-{version}"
    # Its tries at keeping messages from coming back are part of it.
    bridge = start_broker(f"allow_anonymous true\nconnection {name}\naddress 127.0.0.1:{server.port}\n"
                          f"bridge_protocol_version {version}\ntopic {name}/# both 2\ncleansession true\n"
                          f"restart_timeout 1\nnotifications false\n")
    there, here = new_mqtt(bridge.port), new_mqtt(server.port)

    def through():
        there.publish(f"{name}/up", "?")
        return here.find(f"{name}/up")
    harness.wait_until(through, "the bridge stands")
    here.publish(f"{name}/kept", "k", 1, retain=True)
    for i in range(200):
        here.publish(f"{name}/down", str(i), i % 3)
        there.publish(f"{name}/rise", str(i), i % 3)
    here.publish(f"{name}/down", "end", 2)
    there.publish(f"{name}/rise", "end", 2)
    there.wait(f"{name}/down", "end")
    here.wait(f"{name}/rise", "end")
    numbers = [str(i) for i in range(200)]
    for client, topic in ((there, "down"), (here, "rise"), (here, "down"), (there, "rise")):
        came = [v for v in client.values(f"{name}/{topic}") if v != "end"]
        # QoS 0 may overtake; nothing is lost, nothing comes twice.
        assert sorted(came) == sorted(numbers), (topic, len(came))
    there.wait(f"{name}/kept", "k")
    here.publish(f"{name}/kept", "", 1, retain=True)


class Rabbit:
    """A RabbitMQ of its own with MQTT: all that it opens is on the loopback, all that it writes is in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.port = harness.free_port()
        self.epmd = harness.free_port()
        settings = folder / "rabbitmq.conf"
        settings.write_text(f"listeners.tcp.default = 127.0.0.1:{harness.free_port()}\n"
                            f"mqtt.listeners.tcp.default = 127.0.0.1:{self.port}\nmqtt.allow_anonymous = true\n"
                            "loopback_users = none\n")  # who has no name is guest: the default of 3 and 4
        (folder / "plugins").write_text("[rabbitmq_mqtt].\n")
        (folder / "inetrc").write_text("{host, {127,0,0,1}, [\"localhost\"]}.\n{lookup, [file, native]}.\n")
        self.environment = {
            "HOME": str(folder), "ERL_EPMD_PORT": str(self.epmd), "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"mbgate{self.port}@localhost", "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"), "RABBITMQ_LOGS": "-", "RABBITMQ_CONFIG_FILE": str(settings),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"), "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_DIST_PORT": str(harness.free_port()), "RABBITMQ_PID_FILE": str(folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} "
                                                   f"-kernel inetrc '\"{folder}/inetrc\"' +S 1:1 +sbwt none"}
        self.daemon = harness.Process(["epmd", "-port", str(self.epmd), "-address", "127.0.0.1"], env=self.environment)
        self.process = harness.Process(["/usr/lib/rabbitmq/bin/rabbitmq-server"], env=self.environment)
        self.process.wait_line("Server startup complete", limit=2 * harness.LIMIT)

    def kill(self):
        """The script hands signals on to the Erlang machine."""
        self.process.signal(15)
        try:
            self.process.wait(harness.LIMIT)
        except subprocess.TimeoutExpired:
            pass
        pid = self.folder / "pid"
        if pid.exists() and self.process.alive():
            os.kill(int(pid.read_text()), 9)
        self.process.kill()
        self.daemon.kill()


@mbgated_only
@needs("/usr/lib/rabbitmq/bin/rabbitmq-server", "epmd")
def test_rabbitmq_as_peer(folder, new_mqtt, start_sim, start_gateway):
    """A gateway between two brokers, its own and RabbitMQ: both sides see the values, each commands."""
    rabbit = Rabbit(folder)
    try:
        port = harness.free_port()
        bus = values_bus(folder)
        text = harness.conf(bus, harness.link(rabbit.port, "rabbit", "protocol = 4;")) + \
            f'broker = {{ listeners = ( {{ address = "127.0.0.1"; port = {port}; }} ); store_directory = ""; }};\n'
        (folder / "sim.conf").write_text(harness.conf(bus, harness.link(1)))
        start_sim("--set", "modbusgateway.led=0", "--set", "modbusgateway.temp=21.5", folder / "sim.conf").wait_ready()
        start_gateway(text)
        ours, theirs = new_mqtt(port), new_mqtt(rabbit.port, protocol=4)
        for client in (ours, theirs):
            client.wait("modbusgateway/temp", "21.5")
        theirs.publish("modbusgateway/led", "77")
        for client in (ours, theirs):
            client.wait("modbusgateway/led/state", "77")
        ours.publish("modbusgateway/led", "78")
        for client in (ours, theirs):
            client.wait("modbusgateway/led/state", "78")
        theirs.wait("mbgate/status", "online")
    finally:
        rabbit.kill()


# ---- a small device with the usual Arduino library, by the byte ----

def test_arduino_client(server, new_paho):
    """MQTT 3.1.1, QoS 0, keepalive 15 s, nothing but what fits into 256 bytes."""
    home = new_paho(5)
    home.subscribe(("example1/#", 0))

    def device():
        peer = raw.Peer(server.port)
        peer.send(bytes.fromhex("1014 0004 4d515454 04 02 000f 0008 6578616d706c6531"))
        assert peer.next() == (0x20, b"\0\0")
        return peer
    with device() as peer:
        peer.send(b"\x30\x14" + raw.text("example1/temp") + b"21.50")
        peer.send(b"\x82\x1b\x00\x02" + raw.text("example1/send_interval")[:2] + b"example1/send_interval\x00")
        assert peer.next() == (0x90, b"\0\2\0")
        peer.send(b"\x82\x11\x00\x03" + raw.text("example1/led") + b"\x00")
        assert peer.next() == (0x90, b"\0\3\0")
        home.wait(lambda: ("example1/temp", b"21.50", 0, False) in home.messages, "example1/temp")
        home.publish("example1/send_interval", "5000", 1, True)
        home.publish("example1/led", "1", 1, True)
        assert peer.next() == (0x30, raw.text("example1/send_interval") + b"5000")
        assert peer.next() == (0x30, raw.text("example1/led") + b"1")
        peer.send(b"\xc0\x00")
        assert peer.next() == (0xD0, b"")
    # Its power was off: it comes back as the same client, and is told where things stand.
    home.publish("example1/led", "0", 1, True)
    with device() as peer:
        peer.send(b"\x82\x1b\x00\x02" + raw.text("example1/send_interval") + b"\x00")
        assert peer.next() == (0x90, b"\0\2\0")
        assert peer.next() == (0x31, raw.text("example1/send_interval") + b"5000")
        peer.send(b"\x82\x11\x00\x03" + raw.text("example1/led") + b"\x00")
        assert peer.next() == (0x90, b"\0\3\0")
        assert peer.next() == (0x31, raw.text("example1/led") + b"0")
        # While the old connection still seems to stand, as after a loss of Wi-Fi, the new one is let in.
        with device() as again:
            again.send(b"\xc0\x00")
            assert again.next() == (0xD0, b"")
            assert peer.next() is None
            again.send(b"\xe0\x00")
            assert again.next() is None
    for topic in ("send_interval", "led"):
        home.publish(f"example1/{topic}", "", 1, True)
