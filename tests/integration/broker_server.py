# SPDX-License-Identifier: MIT
"""The broker under test, seen from outside: mbgated, or with MBGATE_SERVER=mosquitto the real mosquitto, to test the tests."""

import os
import pathlib
import re
import shutil
import signal
import socket
import tempfile

import pytest

import harness
import test_tls

MOSQUITTO = os.environ.get("MBGATE_SERVER") == "mosquitto"
SANITIZED = False
if not MOSQUITTO:
    with open(harness.find_program("mbgated"), "rb") as program:
        SANITIZED = re.search(rb"__(asan|tsan|ubsan)_(init|func_entry|handle)", program.read()) is not None

mbgated_only = pytest.mark.skipif(MOSQUITTO, reason="not a feature of mosquitto")


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Server:
    """One broker with a plain and a WebSocket listener and, if asked for, both with TLS."""

    def __init__(self, folder, more="", listener="", tls=False, mosquitto_more="allow_anonymous true", environment=None,
                 store=False, before=""):
        self.folder = pathlib.Path(folder)
        self.port, self.web = harness.free_port(), harness.free_port()
        self.tls = self.wss = None
        self.more, self.listener, self.before, self.mosquitto_more = more, listener, before, mosquitto_more
        self.environment = environment or {}
        self.store = self.folder / "store" if store else None
        self.gateway = self.process = None
        self.ca = self.folder / "ca.pem"
        if tls:
            self.tls, self.wss = harness.free_port(), harness.free_port()
            test_tls.make_ca(self.folder, "ca")
            test_tls.make_certificate(self.folder, "server", "DNS:localhost,IP:127.0.0.1")

    def text(self):
        own = f'cert_file = "{self.folder}/server.pem"; key_file = "{self.folder}/server.key";'
        listeners = [f"port = {self.port};", f'port = {self.web}; protocol = "websocket";']
        if self.tls:
            listeners += [f"port = {self.tls}; tls = {{ {own} }};",
                          f'port = {self.wss}; protocol = "websocket"; tls = {{ {own} }};']
        groups = ",\n        ".join(f'{{ address = "127.0.0.1"; {one} {self.listener} }}' for one in listeners)
        return (f'{self.before}broker = {{ listeners = (\n        {groups} );\n'
                f'        store_directory = "{self.store or ""}"; sys_interval_s = 1; {self.more} }};\n')

    def _mosquitto_text(self):
        own = f"cafile {self.ca}\ncertfile {self.folder}/server.pem\nkeyfile {self.folder}/server.key\n"
        text = (f"user root\nsys_interval 1\n{self.mosquitto_more}\nlistener {self.port} 127.0.0.1\n"
                f"listener {self.web} 127.0.0.1\nprotocol websockets\n")
        if self.tls:
            text += f"listener {self.tls} 127.0.0.1\n{own}listener {self.wss} 127.0.0.1\nprotocol websockets\n{own}"
        return text

    def start(self):
        if self.store:
            self.store.mkdir(exist_ok=True)
        if MOSQUITTO:
            file = self.folder / "mosquitto.conf"
            file.write_text(self._mosquitto_text())
            self.process = harness.Process(["/usr/sbin/mosquitto", "-c", file])
            for port in filter(None, (self.port, self.web, self.tls, self.wss)):
                harness.wait_until(lambda p=port: listens(p) or not self.process.alive(), f"mosquitto listens on {port}")
            assert self.process.alive(), self.process.text()
        else:
            self.gateway = harness.Gateway(self.folder, self.text(), self.environment, level="warning")
            self.gateway.start()
            self.process = self.gateway.process
        return self

    def reload(self):
        if MOSQUITTO:
            self.process.signal(signal.SIGHUP)
        else:
            self.gateway.reload(self.text())

    def kill9(self):
        self.process.signal(signal.SIGKILL)
        self.process.wait()
        self.kill()

    def stop(self):
        """An orderly end, else what it said."""
        if self.gateway:
            try:
                self.gateway.finish()
            except Exception:
                print("---- mbgated said:\n" + self.process.text()[-20000:])
                raise
            self.gateway = None
        elif self.process:
            assert self.process.alive(), self.process.text()
            self.process.kill()
        self.process = None

    def kill(self):
        for one in (self.gateway, self.process):
            if one:
                one.kill()
        self.gateway = self.process = None

    @property
    def pid(self):
        return self.process.child.pid

    def rss(self):
        """Bytes."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def cpu(self):
        """Seconds of processor time."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def serve(**kwargs):
    """For a fixture: a server in a folder of its own, ended in order."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mbgate-"))
    server = Server(folder, **kwargs)
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def new_server(folder):
    """Several of them: each in a folder below."""
    made = []

    def make(**kwargs):
        below = folder / f"server{len(made)}"
        below.mkdir()
        made.append(Server(below, **kwargs))
        return made[-1].start()
    yield make
    try:
        for server in made:
            if server.process:
                server.stop()
    finally:
        for server in made:
            server.kill()
