# SPDX-License-Identifier: MIT
"""What Debian 12 and Debian 13 call differently: pymodbus 3.0 and 3.8, paho 1.6 and 2.1. Versions matter nowhere else."""

import inspect

import paho.mqtt.client as paho
from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ModbusException

try:
    from pymodbus import FramerType
    RTU = FramerType.RTU
except ImportError:  # before 3.7
    from pymodbus.transaction import ModbusRtuFramer as RTU

# 3.0 hands what it does not know on to the request, which knows other names.
OLD_PYMODBUS = "slave" not in inspect.signature(ModbusTcpClient.mask_write_register).parameters


def mqtt_client(version, client_id="", transport="tcp"):
    """Callbacks take what comes, since MQTT 3.1.1 and paho 1 pass less than MQTT 5 and paho 2."""
    if hasattr(paho, "CallbackAPIVersion"):
        return paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=version, transport=transport)
    return paho.Client(client_id, protocol=version, transport=transport)


class NoReply:
    """What 3.0 returns when nothing or nonsense comes, and 3.8 raises."""

    registers = bits = ()
    exception_code = None

    @staticmethod
    def isError():
        return True


class Master:
    """A synchronous pymodbus client whose calls are the same for all versions."""

    def __init__(self, client):
        self.client = client
        self.connect = client.connect
        self.close = client.close

    def _ask(self, function, *args, **kwargs):
        try:
            return function(*args, **kwargs)
        except ModbusException:
            return NoReply()

    def read_coils(self, address, count, unit):
        return self._ask(self.client.read_coils, address, count=count, slave=unit)

    def read_discrete_inputs(self, address, count, unit):
        return self._ask(self.client.read_discrete_inputs, address, count=count, slave=unit)

    def read_holding_registers(self, address, count, unit):
        return self._ask(self.client.read_holding_registers, address, count=count, slave=unit)

    def read_input_registers(self, address, count, unit):
        return self._ask(self.client.read_input_registers, address, count=count, slave=unit)

    def write_coil(self, address, value, unit):
        return self._ask(self.client.write_coil, address, value, slave=unit)

    def write_coils(self, address, values, unit):
        return self._ask(self.client.write_coils, address, values, slave=unit)

    def write_register(self, address, value, unit):
        return self._ask(self.client.write_register, address, value, slave=unit)

    def write_registers(self, address, values, unit):
        return self._ask(self.client.write_registers, address, values, slave=unit)

    def mask_write_register(self, address, and_mask, or_mask, unit):
        to = {"unit" if OLD_PYMODBUS else "slave": unit}
        return self._ask(self.client.mask_write_register, address=address, and_mask=and_mask, or_mask=or_mask, **to)

    def readwrite_registers(self, read_address, read_count, write_address, values, unit):
        to = {"write_registers": values, "unit": unit} if OLD_PYMODBUS else {"values": values, "slave": unit}
        return self._ask(self.client.readwrite_registers, read_address=read_address, read_count=read_count,
                         write_address=write_address, **to)


def serial_master(port, **kwargs):
    return Master(ModbusSerialClient(port, **kwargs))


def tcp_master(port, rtu=False, **kwargs):
    if rtu:
        kwargs["framer"] = RTU
    return Master(ModbusTcpClient("127.0.0.1", port=port, **kwargs))
