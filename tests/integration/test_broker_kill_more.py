# SPDX-License-Identifier: MIT
"""kill -9 under load with durability = "sync": sessions here and away, MQTT 3.1.1 and 5.0, retained messages, order. A few times
here, a hundred times in test_broker_kill_long.py; MBGATE_SEED chooses another seed."""

import os

import broker_kill
from broker_server import mbgated_only, new_server  # noqa: F401: a fixture

SEED = int(os.environ.get("MBGATE_SEED", "1"))
ROOM = "max_queued_messages = 1000000; max_queued_bytes = 268435456; max_queued_bytes_total = 536870912;"


def kill(new_server, rounds):
    server = new_server(store=True, more=f'durability = "sync"; {ROOM}')
    print(broker_kill.kill_rounds(server, rounds, SEED))


@mbgated_only
def test_killed_a_few_times(new_server):
    kill(new_server, 8)
