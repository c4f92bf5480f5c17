"""The runtime's functions; each thread has its own current device."""

import os
import threading

_local = threading.local()


class CUDARuntimeError(RuntimeError):
    def __init__(self, status, text=""):
        self.status = status
        super().__init__(f"CUDA error {status}: {text}")


def getDeviceCount():
    return int(os.environ.get("NNQFT_EMULATED_DEVICES", 2))


def getDevice():
    return getattr(_local, "device", 0)


def setDevice(device):
    if not 0 <= device < getDeviceCount():
        raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
    _local.device = device


def deviceSynchronize():
    pass


def streamSynchronize(stream):
    pass


def memGetInfo():
    from . import Device

    return Device().mem_info


def getDeviceProperties(device):
    return {
        "name": b"Emulated device",
        "multiProcessorCount": 4,
        "major": 9,
        "minor": 0,
        "totalGlobalMem": memGetInfo()[1],
    }


def runtimeGetVersion():
    return 13000


def driverGetVersion():
    return 13000


class PointerAttributes:
    def __init__(self, device):
        self.device, self.type = device, memoryTypeDevice


memoryTypeDevice = 2


def pointerGetAttributes(ptr):
    return PointerAttributes(getDevice())
