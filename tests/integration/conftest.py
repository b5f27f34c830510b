# SPDX-License-Identifier: MIT
"""Fixtures: a folder, and makers whose products are ended with the test, the gateway first and in order."""

import pathlib
import shutil
import tempfile

import pytest

import harness


@pytest.fixture
def folder():
    # Short on purpose: the path of a Unix socket has 107 bytes.
    path = pathlib.Path(tempfile.mkdtemp(prefix="mbgate-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def maker(make, end):
    made = []

    def function(*args, **kwargs):
        product = make(*args, **kwargs)
        made.append(product)
        return product

    def finish():
        errors = []
        for product in reversed(made):
            try:
                end(product)
            except Exception as error:  # the others must be ended, too
                errors.append(error)
        if errors:
            raise errors[0]
    return function, finish


@pytest.fixture
def start_broker(folder):
    function, finish = maker(lambda *a, **k: harness.Broker(folder, *a, **k).start(), lambda b: b.kill())
    yield function
    finish()


@pytest.fixture
def broker(start_broker):
    return start_broker()


@pytest.fixture
def start_sim(folder):
    def make(*arguments, **k):
        return harness.Sim(folder, *arguments, **k)
    function, finish = maker(make, lambda s: s.kill())
    yield function
    finish()


@pytest.fixture
def new_mqtt():
    function, finish = maker(harness.Mqtt, lambda c: c.close())
    yield function
    finish()


@pytest.fixture
def mqtt(broker, new_mqtt):
    return new_mqtt(broker.port)


@pytest.fixture
def new_gateway(folder, request, start_broker, start_sim):  # the last two: so that they outlive it
    """Not started yet. After a failed test its log is printed and it is killed, else it has to stop in order."""
    def end(gateway):
        report = getattr(request.node, "report_call", None)
        if report is None or report.failed:
            if gateway.process:
                print("---- mbgated said:\n" + gateway.process.text()[-20000:])
            gateway.kill()
        else:
            gateway.finish()

    def make(text, **k):
        return harness.Gateway(folder, text, **k)
    function, finish = maker(make, end)
    yield function
    finish()


@pytest.fixture
def start_gateway(new_gateway):
    return lambda *a, **k: new_gateway(*a, **k).start()


@pytest.fixture
def start_reference(folder, broker, start_sim, start_gateway):
    """The reference installation on a fast line: (gateway, sim)."""
    def make(line='baud = 115200; format = "8E1";', sim=(), more_links=(), gateway="", **k):
        port = folder / "line"
        text = harness.conf(harness.reference_bus(port, line, **k), [harness.link(broker.port), *more_links], gateway)
        plan = folder / "sim.conf"
        plan.write_text(text)
        simulator = start_sim(*sim, plan)
        simulator.wait_ready()
        return start_gateway(text), simulator
    return make


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.report_call = outcome.get_result()
