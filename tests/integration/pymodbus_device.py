# SPDX-License-Identifier: MIT
"""A Modbus device made of pymodbus, which nobody here wrote: pymodbus_device.py rtu PORT | tcp HOST:PORT.

Unit 10: holding registers 0..9 = 215 450 0 65379 4 5 6 7 8 9, input registers 0..9 = 100..109, coils 0..9 alternate,
discrete inputs 0..9 alternate the other way round.
"""

import asyncio
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer

import compat


def context():
    # pymodbus counts registers from 1, the wire from 0.
    slave = ModbusSlaveContext(
        hr=ModbusSequentialDataBlock(1, [215, 450, 0, 65379, 4, 5, 6, 7, 8, 9]),
        ir=ModbusSequentialDataBlock(1, list(range(100, 110))),
        co=ModbusSequentialDataBlock(1, [False, True] * 5),
        di=ModbusSequentialDataBlock(1, [True, False] * 5))
    return ModbusServerContext(slaves={10: slave}, single=False)


async def main():
    kind, where = sys.argv[1:]
    if kind == "rtu":
        await StartAsyncSerialServer(context=context(), framer=compat.RTU, port=where, baudrate=19200, timeout=0.02)
    else:
        host, port = where.rsplit(":", 1)
        await StartAsyncTcpServer(context=context(), address=(host, int(port)))


asyncio.run(main())
