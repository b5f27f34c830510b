# SPDX-License-Identifier: MIT
"""Other people's MQTT clients, in both versions of the protocol."""

import json
import subprocess

import pytest

import harness


def run(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.LIMIT,
                          check=True).stdout.strip()


def test_mosquitto_sub_and_pub(start_reference, broker):
    start_reference(sim=("--set", "modbusgateway.temp=21.5", "--set", "modbusgateway.led=0"))
    to = ("-h", "127.0.0.1", "-p", str(broker.port))  # not every system knows localhost
    assert run("mosquitto_sub", *to, "-W", "50", "-C", "1", "-t", "modbusgateway/temp") == "21.5"
    watch = harness.Process(["mosquitto_sub", "-v", *to, "-t", "modbusgateway/led/#"])
    try:
        watch.wait_line("^modbusgateway/led/state 0$")
        run("mosquitto_pub", *to, "-q", "1", "-t", "modbusgateway/led", "-m", "300")
        watch.wait_line("^modbusgateway/led/state 300$")
        assert json.loads(watch.wait_line("led/result").split(" ", 1)[1])["ok"] is True
    finally:
        watch.kill()


@pytest.mark.parametrize("ours", [4, 5])
@pytest.mark.parametrize("theirs", [4, 5])
def test_versions(folder, broker, new_mqtt, start_sim, start_gateway, ours, theirs):
    port = folder / "line"
    text = harness.conf(harness.reference_bus(port, 'baud = 115200; format = "8N1";'),
                        harness.link(broker.port, more=f"protocol = {ours};"))
    (folder / "sim.conf").write_text(text)
    start_sim("--set", "modbusgateway.led=0", folder / "sim.conf").wait_ready()
    start_gateway(text)
    mqtt = new_mqtt(broker.port, protocol=theirs)
    mqtt.wait("modbusgateway/led/state", "0")
    mqtt.publish("modbusgateway/led", "on")  # unreadable: no label, and 1 would be "on" of a switch
    mqtt.publish("modbusgateway/led", '{"value": 77}')
    mqtt.wait("modbusgateway/led/state", "77")


def test_response_topic_and_correlation_data(start_reference, mqtt):
    start_reference(sim=("--set", "modbusgateway.led=0"))
    mqtt.wait("modbusgateway/led/state", "0")
    mqtt.publish("modbusgateway/led", "512", response_topic="answers/me", correlation=b"\x00\x01abc")
    answer = mqtt.wait("answers/me")
    assert json.loads(answer.text)["ok"] is True
    assert answer.properties.CorrelationData == b"\x00\x01abc"
    mqtt.publish("modbusgateway/led", "5000", response_topic="answers/other", correlation=b"2")
    answer = mqtt.wait("answers/other")
    refused = json.loads(answer.text)
    assert refused["ok"] is False and refused["error"]
    assert answer.properties.CorrelationData == b"2"


def test_get_reads_now(start_reference, mqtt):
    _, sim = start_reference(sim=("--set", "modbusgateway.temp=21.5"), interval_ms=3600000)
    mqtt.wait("modbusgateway/temp", "21.5")
    sim.ask("set modbusgateway.temp 22.5")
    mqtt.publish("modbusgateway/temp/get", "")
    mqtt.wait("modbusgateway/temp", "22.5")


def test_password(folder, start_broker, new_mqtt, start_sim, start_gateway):
    passwords = folder / "passwords"
    run("mosquitto_passwd", "-b", "-c", str(passwords), "gateway", "right")
    broker = start_broker(f"allow_anonymous false\npassword_file {passwords}")
    secret = folder / "secret"
    secret.write_text("wrong\n")
    secret.chmod(0o600)
    text = harness.conf(harness.reference_bus(folder / "line", 'baud = 115200; format = "8N1";'),
                        harness.link(broker.port, more=f'username = "gateway"; password_file = "{secret}";'))
    (folder / "sim.conf").write_text(text)
    sim = start_sim(folder / "sim.conf")
    sim.wait_ready()
    gateway = start_gateway(text)
    gateway.wait_line(r"(?i)link local.*(not authori[sz]ed|bad user)")
    assert "wrong" not in gateway.process.text()
    requests = sim.stats()["requests"]
    harness.wait_until(lambda: sim.stats()["requests"] > requests, "polling goes on")
    secret.write_text("right\n")
    gateway.reload(text)
    broker.process.wait_line(r"New client connected .*u'gateway'")
