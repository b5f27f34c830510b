# SPDX-License-Identifier: MIT
"""The programs of an integration test as objects: each is started, waited for by events, and killed at the end."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import compat

LIMIT = 60  # seconds until an event that must come counts as missing: sanitizers on a busy machine are slow
SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("MBGATE_BUILD", SOURCE / "build" / "dev")).resolve()
SANITIZER_EXIT = 99  # what tools/test sets in ASAN_OPTIONS and TSAN_OPTIONS


def find_program(name):
    for folder in (BUILD / "src" / "app", BUILD / "tools" / name, BUILD):
        if (folder / name).is_file():
            return str(folder / name)
    raise FileNotFoundError(f"{name} is not in {BUILD}: build it, or set MBGATE_BUILD")


def free_port():
    """A loopback TCP port that nobody listens on now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_until(condition, what, limit=LIMIT):
    """Waits for something that no event tells us of; what it returns, when true."""
    end = time.monotonic() + limit
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"after {limit} s: {what}")
        time.sleep(0.01)


class Process:
    """A child whose output (both streams, unless it is split) is kept by lines and can be waited for."""

    def __init__(self, command, cwd=None, env=None):
        self.command = [str(c) for c in command]
        self.lines = []
        self.changed = threading.Condition()
        self.closed = False
        self.child = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, cwd=cwd, env={**os.environ, **(env or {})})
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.child.stdout:
            with self.changed:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def find_line(self, pattern, start=0):
        return next((line for line in self.lines[start:] if re.search(pattern, line)), None)

    def wait_line(self, pattern, start=0, limit=LIMIT):
        """The first line from number `start` that matches."""
        with self.changed:
            self.changed.wait_for(lambda: self.find_line(pattern, start) is not None or self.closed, limit)
            line = self.find_line(pattern, start)
        assert line is not None, f"no line like \"{pattern}\" of {self.command[0]}:\n" + self.text()[-6000:]
        return line

    def text(self):
        return "\n".join(self.lines)

    def alive(self):
        return self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, limit=LIMIT):
        """Its exit code."""
        code = self.child.wait(limit)
        self.reader.join(limit)
        return code

    def kill(self):
        if self.alive():
            self.child.kill()
        self.child.wait()
        self.reader.join(5)
        self.child.stdout.close()


class Broker:
    """A mosquitto on a loopback port of its own; it can be killed and started again on the same port."""

    def __init__(self, folder, settings="allow_anonymous true", port=None, plain=True):
        self.folder = pathlib.Path(folder)
        self.port = port or free_port()
        self.file = self.folder / f"mosquitto-{self.port}.conf"
        listener = f"listener {self.port} 127.0.0.1\n"
        # As root it would change to the user mosquitto, who cannot read our folder. Its own limit of 1000 messages
        # that wait for a client must not hide what ours do.
        self.file.write_text(f"user root\nmax_queued_messages 0\n{listener}{settings}\n")
        self.process = None

    def start(self):
        self.process = Process(["/usr/sbin/mosquitto", "-c", self.file])
        wait_until(self._listens, f"mosquitto listens on {self.port}")
        return self

    def _listens(self):
        assert self.process.alive(), "mosquitto ended:\n" + self.process.text()
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self):
        if self.process:
            self.process.kill()


class Message:
    def __init__(self, message):
        self.at = time.monotonic()
        self.topic = message.topic
        self.text = message.payload.decode("utf-8", "replace")
        self.retain = message.retain
        self.properties = getattr(message, "properties", None)

    def __repr__(self):
        return f"{self.topic} {self.text}"


class Mqtt:
    """A paho client that keeps every message and waits for some."""

    def __init__(self, port, filters=("#",), protocol=5, tls=None, host="127.0.0.1"):
        self.messages = []
        self.changed = threading.Condition()
        version = {4: paho.MQTTv311, 5: paho.MQTTv5}[protocol]
        self.client = compat.mqtt_client(version)
        self.subscribed = threading.Event()
        self.filters = filters
        self.client.on_connect = self._on_connect
        self.client.on_message = self._on_message
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.reconnect_delay_set(1, 1)
        if tls:
            self.client.tls_set(**tls)
        self.client.connect(host, port)
        self.client.loop_start()
        assert self.subscribed.wait(LIMIT), "the broker did not acknowledge our subscription"

    def _on_connect(self, client, *_):
        client.subscribe([(f, 1) for f in self.filters])

    def _on_message(self, _client, _user, message):
        with self.changed:
            self.messages.append(Message(message))
            self.changed.notify_all()

    def mark(self):
        """A place in what has come: wait() looks from there on."""
        return len(self.messages)

    def find(self, topic, match=None, start=0, fresh=False):
        """The first message with the topic whose text is `match`, or for which match(text) is true."""
        for m in self.messages[start:]:
            if m.topic == topic and not (fresh and m.retain):
                if match is None or (match(m.text) if callable(match) else m.text == str(match)):
                    return m
        return None

    def wait(self, topic, match=None, start=0, fresh=False, limit=LIMIT):
        with self.changed:
            self.changed.wait_for(lambda: self.find(topic, match, start, fresh), limit)
            found = self.find(topic, match, start, fresh)
        assert found, f"no message {topic} {match or ''} within {limit} s; the last that came: {self.messages[-30:]}"
        return found

    def values(self, topic, start=0):
        return [m.text for m in self.messages[start:] if m.topic == topic]

    def publish(self, topic, payload, qos=1, retain=False, response_topic=None, correlation=None):
        properties = None
        if response_topic:
            properties = Properties(PacketTypes.PUBLISH)
            properties.ResponseTopic = response_topic
            if correlation:
                properties.CorrelationData = correlation
        info = self.client.publish(topic, payload, qos, retain, properties)
        info.wait_for_publish(LIMIT)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


class Sim:
    """mbsim with a control socket."""

    def __init__(self, folder, *arguments, name="sim"):
        self.folder = pathlib.Path(folder)
        self.control = self.folder / f"{name}.ctl"
        self.csv_file = self.folder / f"{name}.csv"
        self.stats_file = self.folder / f"{name}.json"
        self.process = Process([find_program("mbsim"), "--control", self.control, "--csv", self.csv_file,
                                "--stats", self.stats_file, *arguments])

    def wait_ready(self, buses=1):
        """The address behind "on" of each ready line, in order."""
        def ready():
            return [line for line in self.process.lines if line.startswith("mbsim: ready:")]
        with self.process.changed:
            self.process.changed.wait_for(lambda: len(ready()) >= buses or self.process.closed, LIMIT)
        assert len(ready()) >= buses, "mbsim is not ready:\n" + self.process.text()
        return [re.search(r" on (\S+)", line)[1] for line in ready()]

    def ask(self, command):
        """One command to the control socket; its answer."""
        return self.ask_all([command])[0]

    def ask_all(self, commands):
        """Several, one after the other on one connection."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LIMIT)
            s.connect(str(self.control))
            return [self._ask_on(s, command) for command in commands]

    @staticmethod
    def _ask_on(connection, command):
        connection.sendall(command.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            piece = connection.recv(65536)
            if not piece:
                break
            answer += piece
        answer = answer.decode().strip()
        assert not answer.startswith("error"), f"mbsim: {command}: {answer}"
        return answer

    def stats(self, bus=0):
        return json.loads(self.ask("stats"))["buses"][bus]

    def get(self, target):
        return self.ask(f"get {target}").removeprefix("ok").split()

    def quit(self):
        """Ends it and returns the frames it saw."""
        if self.process.alive():
            self.process.signal(signal.SIGTERM)
            assert self.process.wait() == 0, self.process.text()
        return self.frames()

    def frames(self):
        """(monotonic seconds, direction, bytes, bus) of each frame in the CSV. Complete only after quit()."""
        frames = []
        for line in self.csv_file.read_text().splitlines()[1:]:
            if not line.endswith('"'):
                break  # still being written
            fields = line.split(",", 6)
            if fields[3] in (">>", "<<"):
                frames.append((int(fields[1]) / 1e6, fields[3], bytes.fromhex(fields[5]), fields[2]))
        return frames

    def kill(self):
        self.process.kill()


class Notify:
    """The service manager's end of sd_notify(3)."""

    def __init__(self, folder):
        self.path = str(pathlib.Path(folder) / "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        pathlib.Path(self.path).unlink(missing_ok=True)  # of a gateway before
        self.socket.bind(self.path)
        self.messages = []
        self.changed = threading.Condition()
        self.resume()

    def resume(self):
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        while True:
            text = self.socket.recv(65536).decode()
            if not text:
                return
            with self.changed:
                self.messages.extend(text.splitlines())
                self.changed.notify_all()

    def wait(self, text, start=0, limit=LIMIT, process=None):
        """The number behind the first message, from number `start`, that begins with the text."""
        def find():
            return next((n + 1 for n in range(start, len(self.messages)) if self.messages[n].startswith(text)), None)
        end = time.monotonic() + limit
        with self.changed:
            while find() is None and time.monotonic() < end and (process is None or process.alive()):
                self.changed.wait(0.2)
            found = find()
        assert found, f"no {text} among {self.messages[-20:]}\n" + (process.text()[-6000:] if process else "")
        return found

    def pause(self):
        """Reads no more, and leaves the daemon no room."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.path)
            self.reader.join()
            s.setblocking(False)
            try:
                while True:
                    s.sendto(b"FULL=1", self.path)
            except BlockingIOError:
                pass

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(b"", self.path)
        self.reader.join()
        self.socket.close()
        os.unlink(self.path)


class Gateway:
    """mbgated with a configuration file in a folder of its own."""

    def __init__(self, folder, text, environment=None, level="info"):
        self.folder = pathlib.Path(folder)
        self.file = self.folder / "mbgated.conf"
        self.file.write_text(text)
        self.level = level
        self.environment = environment or {}
        self.notify = None
        self.process = None
        self.stopped = False

    def start(self, ready=True):
        self.notify = Notify(self.folder)
        self.process = Process([find_program("mbgated"), "--config", self.file, "--log-target", "stderr",
                                "--log-level", self.level],
                               env={"NOTIFY_SOCKET": self.notify.path, **self.environment})
        if ready:
            self.notify.wait("READY=1", process=self.process)
        return self

    def reload(self, text):
        """Writes the new configuration, asks for a reload and waits until it is over."""
        start = len(self.notify.messages)
        self.file.write_text(text)
        self.process.signal(signal.SIGHUP)
        at = self.notify.wait("RELOADING=1", start, process=self.process)
        self.notify.wait("READY=1", at, process=self.process)

    def wait_line(self, pattern, start=0, limit=LIMIT):
        return self.process.wait_line(pattern, start, limit)

    def alive(self):
        return self.process.alive()

    def stop(self):
        """An orderly end: exit code 0, no report of a sanitizer."""
        self.process.signal(signal.SIGTERM)
        code = self.process.wait()
        self.stopped = True
        assert code == 0, f"mbgated ended with {code}:\n{self.process.text()[-8000:]}"
        assert "Sanitizer" not in self.process.text(), self.process.text()[-8000:]

    def finish(self):
        """At the end of a test: it must still live, and stop in order."""
        try:
            if self.process and not self.stopped:
                if not self.alive():
                    raise AssertionError(f"mbgated died ({self.process.child.returncode}):\n"
                                         + self.process.text()[-8000:])
                self.stop()
        finally:
            self.kill()

    def kill(self):
        if self.process:
            self.process.kill()
        if self.notify:
            self.notify.close()
            self.notify = None


REFERENCE_POINTS = """
          { name = "temp"; holding = 0; type = "int16";  scale = 0.1; unit = "°C"; },
          { name = "hum";  holding = 1; type = "uint16"; scale = 0.1; unit = "%"; },
          { name = "led";  holding = 2; type = "uint16"; write = true; min = 0; max = 1023;
            topic = "modbusgateway/led/state"; command_topic = "modbusgateway/led"; accept_retained = true; },
          { name = "test"; holding = 3; type = "int16"; publish = "always"; }
"""


def link(port, name="local", more=""):
    return f'{{ name = "{name}"; host = "127.0.0.1"; port = {port}; reconnect_max_s = 2; {more} }}'


def conf(buses, links, gateway=""):
    """A configuration of buses and links (texts, or lists of them)."""
    def listed(items):
        return ",\n  ".join([items] if isinstance(items, str) else items)
    return f'gateway = {{ name = "mbgate"; {gateway} }};\n' \
           f"buses = (\n  {listed(buses)}\n);\nlinks = (\n  {listed(links)}\n);\n"


def reference_bus(port, line='baud = 9600; format = "8E1";', more="", points=REFERENCE_POINTS, interval_ms=2000,
                  send_interval_s=10):
    """The bus of the reference installation."""
    return f"""{{ name = "rs485"; port = "{port}"; {line} {more}
    devices = (
      {{ name = "modbusgateway"; unit_id = 10; topic = "modbusgateway";
        interval_ms = {interval_ms}; send_interval_s = {send_interval_s};
        points = ({points}); }}
    ); }}"""


def device(name, unit, points, more=""):
    return f'{{ name = "{name}"; unit_id = {unit}; {more} points = ({", ".join(points)}); }}'


def registers(first, count, area="holding", more=""):
    """One uint16 point a register, named by its address."""
    return [f'{{ name = "r{a}"; {area} = {a}; type = "uint16"; {more} }}' for a in range(first, first + count)]


def bus(port, devices, line='baud = 115200; format = "8N1";', name="line", more=""):
    return f'{{ name = "{name}"; port = "{port}"; {line} {more} devices = ({", ".join(devices)}); }}'
