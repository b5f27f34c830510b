# SPDX-License-Identifier: MIT
"""A Modbus device made of pymodbus, which nobody here wrote: pymodbus_device.py rtu PORT | tcp HOST:PORT.

Unit 10: holding registers 0..9 = 215 450 0 65379 4 5 6 7 8 9, input registers 0..9 = 100..109, coils 0..9 alternate,
discrete inputs 0..9 alternate the other way round.
"""

import asyncio
import inspect
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartAsyncSerialServer, StartAsyncTcpServer


def context():
    slave = ModbusSlaveContext(
        hr=ModbusSequentialDataBlock(0, [215, 450, 0, 65379, 4, 5, 6, 7, 8, 9]),
        ir=ModbusSequentialDataBlock(0, list(range(100, 110))),
        co=ModbusSequentialDataBlock(0, [False, True] * 5),
        di=ModbusSequentialDataBlock(0, [True, False] * 5),
        zero_mode=True)
    if "zero_mode" not in inspect.signature(ModbusSlaveContext.__init__).parameters and not hasattr(slave, "zero_mode"):
        slave.zero_mode = True
    return ModbusServerContext(slaves={10: slave}, single=False)


def rtu_framer():
    try:
        from pymodbus.transaction import ModbusRtuFramer  # 3.0, Debian 12
        return ModbusRtuFramer
    except ImportError:
        from pymodbus import FramerType  # 3.8, Debian 13
        return FramerType.RTU


async def main():
    kind, where = sys.argv[1:]
    if kind == "rtu":
        await StartAsyncSerialServer(context=context(), framer=rtu_framer(), port=where, baudrate=19200, timeout=0.02)
    else:
        host, port = where.rsplit(":", 1)
        await StartAsyncTcpServer(context=context(), address=(host, int(port)))


asyncio.run(main())
