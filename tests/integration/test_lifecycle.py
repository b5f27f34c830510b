# SPDX-License-Identifier: MIT
"""Start, stop, what the service manager is told, and exit codes."""

import signal
import subprocess

import pytest

import harness


def run(*arguments, text=None, folder=None):
    if text is not None:
        (folder / "mbgated.conf").write_text(text)
        arguments = (*arguments, str(folder / "mbgated.conf"))
    return subprocess.run([harness.find_program("mbgated"), *arguments], stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, timeout=harness.LIMIT)


def test_notifications(start_reference, broker, mqtt, new_mqtt):
    gateway, _ = start_reference()
    notify = gateway.notify
    mqtt.wait("modbusgateway/availability", "online")
    assert any(m.startswith("STATUS=") for m in notify.messages[:20])
    gateway.reload(gateway.file.read_text())
    at = [n for n, m in enumerate(notify.messages) if m == "RELOADING=1"][0]
    assert notify.messages[at + 1].startswith("MONOTONIC_USEC=")
    gateway.stop()
    notify.wait("STOPPING=1")
    late = new_mqtt(broker.port)
    assert late.wait("mbgate/status").text == "offline"
    assert late.wait("modbusgateway/availability").text == "offline"


def test_watchdog(folder, broker, start_sim, new_gateway):
    text = harness.conf(harness.reference_bus(folder / "line"), harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    start_sim(folder / "sim.conf").wait_ready()
    gateway = new_gateway(text, environment={"WATCHDOG_USEC": "1000000"}).start()
    at = 0
    for _ in range(5):
        at = gateway.notify.wait("WATCHDOG=1", at, process=gateway.process)


def test_a_watchdog_that_cannot_be_read(folder, new_gateway):
    bus = harness.bus(folder / "nowhere", [harness.device("dev", 1, harness.registers(0, 3))])
    gateway = new_gateway(harness.conf(bus, []), environment={"WATCHDOG_USEC": "abc"}).start()
    gateway.wait_line("warning: environment: WATCHDOG_USEC must be a number")
    gateway.stop()


def test_a_manager_that_does_not_read(folder, broker, mqtt, start_reference):
    """A full notification socket holds up nothing; what waits arrives when it is read again."""
    gateway, _ = start_reference()
    mqtt.wait("modbusgateway/availability", "online")
    gateway.notify.pause()
    text = gateway.file.read_text()
    for turn in range(5):
        gateway.file.write_text(text.replace("send_interval_s = 10", f"send_interval_s = {11 + turn}"))
        gateway.process.signal(signal.SIGHUP)
        harness.wait_until(lambda: gateway.process.text().count("taken over") > turn, "a reload")
    start = mqtt.mark()
    mqtt.publish("modbusgateway/led", "77")
    mqtt.wait("modbusgateway/led/state", "77", start)
    start = len(gateway.notify.messages)
    gateway.notify.resume()
    at = gateway.notify.wait("RELOADING=1", start)
    gateway.notify.wait("READY=1", at)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_orderly_stop(start_reference, mqtt, number):
    gateway, _ = start_reference()
    mqtt.wait("mbgate/status", "online")
    gateway.process.signal(number)
    assert gateway.process.wait() == 0
    gateway.stopped = True
    mqtt.wait("mbgate/status", "offline")


def test_stop_without_broker_and_devices(folder, start_gateway):
    bus = harness.bus(folder / "nowhere", [harness.device("dev", 1, harness.registers(0, 3))])
    gateway = start_gateway(harness.conf(bus, harness.link(harness.free_port())))
    gateway.wait_line("bus line")
    gateway.stop()


def test_stop_at_once(folder, start_gateway):
    """Within the first moments, many times: whatever was half done is undone."""
    bus = harness.bus(folder / "nowhere", [harness.device("dev", 1, harness.registers(0, 3))])
    for _ in range(5):
        gateway = start_gateway(harness.conf(bus, harness.link(harness.free_port())))
        gateway.stop()
        gateway.kill()


def test_stop_with_dead_devices(folder, broker, mqtt, start_sim, start_gateway):
    """A request that waits for its reply must not hold up the end."""
    bus = harness.bus(folder / "line", [harness.device("dev", 1, harness.registers(0, 3), "interval_ms = 100;")],
                      more="response_timeout_ms = 10000;")
    text = harness.conf(bus, harness.link(broker.port))
    (folder / "sim.conf").write_text(text)
    sim = start_sim("--fault", "no-reply", folder / "sim.conf")
    sim.wait_ready()
    gateway = start_gateway(text)
    harness.wait_until(lambda: sim.stats()["requests"] >= 1, "a request")
    gateway.process.signal(signal.SIGTERM)
    assert gateway.process.wait(8) == 0
    gateway.stopped = True


def test_help_and_version():
    shown = run("--help")
    assert shown.returncode == 0 and "--check-config" in shown.stdout and shown.stderr == ""
    assert run("--version").returncode == 0


def test_exit_codes(folder):
    good = harness.conf(harness.reference_bus("/dev/ttyUSB0"), harness.link(1883))
    checked = run("--check-config", text=good, folder=folder)
    assert checked.returncode == 0, checked.stderr
    assert "modbusgateway/led/state" in checked.stdout
    for text, message in (
            ("nonsense", "mbgated.conf:"),
            (good.replace("unit_id", "unitid"), 'did you mean "unit_id"'),
            (good.replace("9600", "0"), "baud")):
        for option in ("--check-config", "--config"):
            refused = run(option, text=text, folder=folder)
            assert refused.returncode == 78, (option, text[:40], refused.stderr)
            assert message in refused.stderr + refused.stdout, refused.stderr
    missing = run("--config", str(folder / "missing.conf"))
    assert missing.returncode in (66, 78) and "missing.conf" in missing.stderr
    assert run("--no-such-option").returncode == 64
    assert run("--config").returncode == 64


def test_the_checked_configuration_loads_again(folder):
    good = harness.conf(harness.reference_bus("/dev/ttyUSB0"), harness.link(1883))
    first = run("--check-config", text=good, folder=folder)
    again = run("--check-config", text=first.stdout, folder=folder)
    assert again.returncode == 0, again.stderr
