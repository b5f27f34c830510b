# SPDX-License-Identifier: MIT
# label: long
"""kill -9 under load, a hundred times."""

import test_broker_kill_more
from broker_server import mbgated_only, new_server  # noqa: F401: a fixture


@mbgated_only
def test_killed_a_hundred_times(new_server):
    test_broker_kill_more.kill(new_server, 100)
