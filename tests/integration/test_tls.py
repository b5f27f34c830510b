# SPDX-License-Identifier: MIT
"""A link with TLS, to mosquitto with certificates of a test CA."""

import socket
import subprocess

import pytest

import harness


def openssl(folder, *arguments):
    subprocess.run(["openssl", *arguments], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=True,
                   timeout=harness.LIMIT)


def make_ca(folder, name):
    openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", f"{name}.key",
            "-out", f"{name}.pem")
    return folder / f"{name}.pem"


def make_certificate(folder, name, alternatives, ca="ca"):
    (folder / f"{name}.ext").write_text(f"subjectAltName={alternatives}\nsubjectKeyIdentifier=hash\n"
                                        "authorityKeyIdentifier=keyid\n")  # RFC 5280 §4.2.1.1: Python 3.13 insists
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
            "-keyout", f"{name}.key", "-out", f"{name}.csr")
    openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial",
            "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")
    (folder / f"{name}.key").chmod(0o600)


@pytest.fixture
def setup(folder, start_broker, start_sim):
    """(broker, text of a configuration with these settings of the link)"""
    make_ca(folder, "ca")
    make_certificate(folder, "server", "DNS:localhost,IP:127.0.0.1")
    make_certificate(folder, "gateway", "DNS:gateway")
    bus = harness.reference_bus(folder / "line", 'baud = 115200; format = "8N1";')

    def make(tls, broker_more="", host="127.0.0.1"):
        broker = start_broker(f"allow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/server.pem\n"
                              f"keyfile {folder}/server.key\n{broker_more}")
        text = harness.conf(bus, f'{{ name = "secure"; host = "{host}"; port = {broker.port}; reconnect_max_s = 1; '
                                 f"tls = {{ {tls} }}; }}")
        (folder / "sim.conf").write_text(text)
        start_sim("--set", "modbusgateway.led=0", folder / "sim.conf").wait_ready()
        return broker, text
    return make


def resolves(name):
    try:
        return bool(socket.getaddrinfo(name, 1))
    except socket.gaierror:
        return False


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("localhost", marks=pytest.mark.skipif(
    not resolves("localhost"), reason="localhost is unknown here: there is no /etc/hosts"))])
def test_values_and_commands(folder, setup, new_mqtt, start_gateway, host):
    broker, text = setup(f'ca_file = "{folder}/ca.pem";', host=host)
    start_gateway(text)
    mqtt = new_mqtt(broker.port, tls={"ca_certs": str(folder / "ca.pem")})
    mqtt.wait("modbusgateway/led/state", "0")
    mqtt.publish("modbusgateway/led", "512")
    mqtt.wait("modbusgateway/led/state", "512")


def test_client_certificate(folder, setup, start_gateway):
    broker, text = setup(f'ca_file = "{folder}/ca.pem"; cert_file = "{folder}/gateway.pem"; '
                         f'key_file = "{folder}/gateway.key";',
                         "require_certificate true\nuse_identity_as_username true")
    start_gateway(text)
    broker.process.wait_line(r"New client connected .*u'gateway'")


def test_unknown_ca_is_refused(folder, setup, start_gateway):
    other = make_ca(folder, "other")
    broker, text = setup(f'ca_file = "{other}";')
    gateway = start_gateway(text)
    gateway.wait_line(r"(?i)link secure: .*(certificate|tls)")
    assert not broker.process.find_line("New client connected")
