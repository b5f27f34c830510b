# SPDX-License-Identifier: MIT
"""The server that is tested: mbgated, or mosquitto to try the suite itself. All names of options stand here."""

import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

import harness  # noqa: E402
import test_tls  # noqa: E402

ACL = """topic readwrite #
topic read $SYS/#
topic readwrite $test/#
topic deny forbidden/#
user alice
topic readwrite #
user bob
topic read read/#
topic write write/#
"""
USERS = {"alice": "secret", "bob": "hush"}
# The second server is one with few resources: what it refuses, it has to say.
LIMITS = {"max_packet_bytes": 2048, "max_keepalive_s": 30, "max_retained_messages": 0, "max_topic_alias": 3, "max_inflight": 5,
          "max_subscriptions_per_client": 4, "max_session_expiry_s": 100}


class Server:
    def __init__(self, kind, folder, small=False):
        self.kind, self.folder, self.small = kind, pathlib.Path(folder), small
        self.ports = {name: harness.free_port() for name in ("tcp", "ws", "tls", "wss")}
        test_tls.make_ca(self.folder, "ca")
        test_tls.make_certificate(self.folder, "server", "DNS:localhost,IP:127.0.0.1")
        self._users()
        getattr(self, "_start_" + kind)()

    def _users(self):
        self.passwd, self.acl = self.folder / "passwd", self.folder / "acl"
        self.passwd.touch(0o600)
        for user, password in USERS.items():
            subprocess.run(["mosquitto_passwd", "-b", self.passwd, user, password], check=True, timeout=harness.LIMIT)
        self.passwd.chmod(0o600)
        self.acl.write_text(ACL)
        self.acl.chmod(0o600)

    def _start_mbgated(self):
        tls = f'tls = {{ cert_file = "{self.folder}/server.pem"; key_file = "{self.folder}/server.key"; }};'
        listeners = ", ".join(
            f'{{ address = "127.0.0.1"; port = {port}; protocol = "{"websocket" if name[0] == "w" else "mqtt"}"; '
            f'{tls if name in ("tls", "wss") else ""} }}' for name, port in self.ports.items())
        limits = "".join(f"{name} = {value}; " for name, value in LIMITS.items()) if self.small else ""
        text = f"""gateway = {{ name = "t"; }};
broker = {{ listeners = ( {listeners} ); password_file = "{self.passwd}"; acl_file = "{self.acl}"; anonymous = true;
           store_directory = ""; {limits} }};
"""
        self.gateway = harness.Gateway(self.folder, text).start()
        self.process = self.gateway.process

    def _start_mosquitto(self):
        tls = f"certfile {self.folder}/server.pem\nkeyfile {self.folder}/server.key\n"
        listeners = "".join(
            f'listener {port} 127.0.0.1\n{"protocol websockets" if name[0] == "w" else ""}\n'
            f'{tls if name in ("tls", "wss") else ""}' for name, port in self.ports.items())
        limits = "max_packet_size 2048\nmax_keepalive 30\nretain_available false\nmax_topic_alias 3\nmax_inflight_messages 5\n"
        file = self.folder / "mosquitto.conf"
        file.write_text(f"user root\nallow_anonymous true\npassword_file {self.passwd}\nacl_file {self.acl}\n"
                        f"{limits if self.small else ''}{listeners}")
        self.gateway = None
        self.process = harness.Process(["/usr/sbin/mosquitto", "-c", file])
        self.process.wait_line("mosquitto version .* running")

    def stop(self):
        if self.gateway:
            self.gateway.finish()
        else:
            self.process.kill()
