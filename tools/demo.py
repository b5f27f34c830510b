# SPDX-License-Identifier: MIT
"""The running part of tools/demo: starts everything, prints every message, checks what was seen."""

import argparse
import ctypes
import json
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

SOURCE = pathlib.Path(__file__).resolve().parents[1]
BUILD = SOURCE / "build" / "release"
NEW_INTERVAL_S = 2
START_LIMIT_S = 20
PR_SET_PDEATHSIG = 1


class Failed(Exception):
    pass


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    # However we end, even by SIGKILL: nothing of ours stays behind.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Demo:
    def __init__(self, folder):
        self.folder = folder
        self.children = []
        self.messages = []  # (seconds, topic, text)
        self.incoming = queue.Queue()
        self.port = 0

    def start(self, name, *command, stdout=None):
        with open(self.folder / f"{name}.log", "ab") as log:
            child = subprocess.Popen([str(c) for c in command], stdin=subprocess.DEVNULL, stdout=stdout or log,
                                     stderr=log, preexec_fn=die_with_parent)
        self.children.append((name, child))
        return child

    def log_of(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-4000:]

    def stop(self):
        """All children, the youngest first."""
        for name, child in reversed(self.children):
            child.terminate()
            try:
                child.wait(8)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children.clear()

    def wait_for(self, condition, child, name, what):
        end = time.monotonic() + START_LIMIT_S
        while not condition():
            if child.poll() is not None or time.monotonic() > end:
                raise Failed(f"{name} does not work: {what}\n{self.log_of(name)}")
            time.sleep(0.02)

    def write_configuration(self):
        """etc/examples/sensor.conf with our line, and with ports and a store of our own."""
        self.port = free_port()
        text = (SOURCE / "etc/examples/sensor.conf").read_text()
        text, lines = re.subn(r'port = "/dev/[^"]*"', f'port = "{self.folder}/line"', text)
        text, ports = re.subn(r"port = 1883;", f"port = {self.port};", text)
        text, webs = re.subn(r"port = 1884;", f"port = {free_port()};", text)
        text, brokers = re.subn(r"^broker = \{", f'broker = {{ store_directory = "{self.folder}";', text, flags=re.MULTILINE)
        if (lines, ports, webs, brokers) != (1, 1, 1, 1):
            raise Failed("etc/examples/sensor.conf has not one serial port and one broker with ports 1883 and 1884")
        file = self.folder / "mbgated.conf"
        file.write_text(text)
        return file

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def start_listener(self):
        child = self.start("mosquitto_sub", "mosquitto_sub", "-v", "-V", "5", "-h", "127.0.0.1", "-p", self.port, "-t", "#",
                           stdout=subprocess.PIPE)

        def read():
            for line in child.stdout:
                topic, _, text = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
                self.incoming.put((topic, text))
        threading.Thread(target=read, daemon=True).start()

    def start_all(self):
        file = self.write_configuration()
        sim = self.start("mbsim", BUILD / "tools/mbsim/mbsim", "--set", "modbusgateway.temp=walk 18..25 step 0.1",
                         "--set", "modbusgateway.hum=walk 40..60 step 0.2", "--set", "modbusgateway.led=0",
                         "--set", "modbusgateway.test=-157", file)
        self.wait_for(lambda: "mbsim: ready" in self.log_of("mbsim"), sim, "mbsim", "it did not become ready")
        gateway = self.start("mbgated", BUILD / "src/app/mbgated", "--config", file, "--log-target", "stderr")
        self.wait_for(self.listens, gateway, "mbgated", f"nobody listens on port {self.port}")
        self.start_listener()

    def publish(self, topic, text):
        print(f"demo: mosquitto_pub -t {topic} -m {text}", flush=True)
        subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(self.port), "-q", "1", "-t", topic, "-m", text], check=True,
                       timeout=START_LIMIT_S)

    def alive(self):
        for name, child in self.children:
            if child.poll() is not None:
                raise Failed(f"{name} ended with {child.returncode}\n{self.log_of(name)}")

    def seen(self, topic, good=lambda text: True, since=0.0):
        return [at for at, t, text in self.messages if t == topic and at >= since and good(text)]

    def run(self, seconds):
        """Prints messages; sets the LED when its state has come, then the send interval."""
        end = time.monotonic() + seconds if seconds else float("inf")
        written = changed = None
        while time.monotonic() < end:
            try:
                topic, text = self.incoming.get(timeout=min(0.2, max(0.0, end - time.monotonic())))
            except queue.Empty:
                self.alive()
                continue
            self.messages.append((time.monotonic(), topic, text))
            print(topic, text, flush=True)
            if written is None and topic == "modbusgateway/led/state":
                written = time.monotonic()
                self.publish("modbusgateway/led", "512")
            elif changed is None and written and (topic, text) == ("modbusgateway/led/state", "512"):
                changed = time.monotonic()
                self.publish("modbusgateway/send_interval", str(NEW_INTERVAL_S))
        return written, changed

    def missing(self, written, changed):
        """What a user would miss."""
        def number(low, high):
            return lambda text: bool(re.fullmatch(r"-?\d+\.\d", text)) and low <= float(text) <= high
        missing = []
        if not self.seen("modbusgateway/temp", number(18, 25)):
            missing.append("a temperature on modbusgateway/temp")
        if not self.seen("modbusgateway/hum", number(40, 60)):
            missing.append("a humidity on modbusgateway/hum")
        if not self.seen("mbgate/status", lambda text: text == "online"):
            missing.append("online on mbgate/status")
        if written is None:
            missing.append("the LED's state on modbusgateway/led/state")
        elif not self.seen("modbusgateway/led/state", lambda text: text == "512", written):
            missing.append("the LED's new state, 512, on modbusgateway/led/state")
        elif not self.seen("modbusgateway/led/result", lambda text: json.loads(text)["ok"] is True, written):
            missing.append("the command's result on modbusgateway/led/result")
        # With 10 s, as it was, at most two could have come since.
        if changed is None or len(self.seen("modbusgateway/test", since=changed)) < 3:
            missing.append(f"publications every {NEW_INTERVAL_S} s on modbusgateway/test")
        return missing


def stop_on_signal(number, _frame):
    raise SystemExit(128 + number)


def main():
    parser = argparse.ArgumentParser(prog="tools/demo", description="see tools/demo --help")
    parser.add_argument("--for", dest="seconds", type=float, default=0, metavar="SECONDS")
    seconds = parser.parse_args().seconds
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, stop_on_signal)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mbgate-demo-"))
    demo = Demo(folder)
    try:
        demo.start_all()
        print(f"demo: mbsim on {folder}/line, mbgated with its broker on 127.0.0.1:{demo.port}"
              + ("" if seconds else "; Ctrl-C ends"), flush=True)
        written, changed = demo.run(seconds)
        missing = demo.missing(written, changed)
        if not missing:
            print(f"demo: all was seen: {len(demo.messages)} messages, LED written and read back, "
                  "send interval changed")
            return 0
        for what in missing:
            print(f"demo: missing: {what}", file=sys.stderr)
        print("demo: mbgated said:\n" + demo.log_of("mbgated"), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: stopped")
        return 0
    except Failed as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1
    finally:
        # A second Ctrl-C must not leave children behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        demo.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
