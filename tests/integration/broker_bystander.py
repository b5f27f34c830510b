# SPDX-License-Identifier: MIT
"""An innocent client, as a program of its own: a QoS 0 message to itself, again and again.

broker_bystander.py PORT. Writes a line with the seconds of each round trip; ends with the connection.
"""

import sys
import time

import broker_raw as raw

PAUSE_S = 0.003


def main():
    with raw.Peer(int(sys.argv[1])) as peer:
        peer.connect("bystander")
        peer.subscribe(("bystander/ping", 0))
        n = 0
        while True:
            n += 1
            begin = time.monotonic()
            peer.send(raw.publish("bystander/ping", str(n)))
            message = peer.published()
            assert message.payload == str(n).encode(), message.payload
            print(f"{time.monotonic() - begin:.6f}", flush=True)
            time.sleep(PAUSE_S)


main()
