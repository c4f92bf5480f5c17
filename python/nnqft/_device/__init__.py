"""What runs on a CUDA device, one module per family: from checked arguments to launches. `_backend` finds the device."""

from ._ensemble import DeviceEnsemble
from ._runs import on_each, paced

__all__ = ["DeviceEnsemble", "on_each", "paced"]
