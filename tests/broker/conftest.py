# SPDX-License-Identifier: MIT
"""One server for the whole run, a second one with narrow limits, and clients that end with their test."""

import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import client  # noqa: E402
import mosquitto_faults  # noqa: E402
import server as servers  # noqa: E402


def pytest_addoption(parser):
    group = parser.getgroup("broker")
    group.addoption("--server", choices=("mbgated", "mosquitto"), default="mbgated")
    group.addoption("--transport", choices=("tcp", "tls", "ws", "wss"), default="tcp")
    group.addoption("--fragment", action="store_true", help="clients send single bytes")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--server") == "mosquitto":
        for item in items:
            name = item.name.split("[")[0]
            version = item.callspec.params.get("v") if hasattr(item, "callspec") else None
            why = mosquitto_faults.FAULTS.get(name) or mosquitto_faults.FAULTS.get((name, version))
            if why:
                item.add_marker(pytest.mark.xfail(reason=why))


def start(request, small):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mqtt-"))
    try:
        started = servers.Server(request.config.getoption("--server"), folder, small)
        yield started
        started.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(request):
    yield from start(request, False)


@pytest.fixture(scope="session")
def small_server(request):
    yield from start(request, True)


class Maker:
    def __init__(self, server, options, v):
        self.server, self.options, self.v, self.made = server, options, v, []

    def raw(self, v=None, source=None):
        """A connection on which nothing was sent yet."""
        made = client.Client(self.server, self.options.getoption("--transport"),
                             self.options.getoption("--fragment"), v or self.v,
                             source)
        self.made.append(made)
        return made

    def __call__(self, client_id=None, v=None, **k):
        """A client that is in."""
        return self.raw(v).connect(client_id, **k)

    def close(self):
        for made in self.made:
            made.close()


@pytest.fixture
def new(server, request, v):
    maker = Maker(server, request.config, v)
    yield maker
    maker.close()


@pytest.fixture
def new_small(small_server, request, v):
    maker = Maker(small_server, request.config, v)
    yield maker
    maker.close()


@pytest.fixture
def topic():
    """A topic of this test alone."""
    return client.unique("t")
