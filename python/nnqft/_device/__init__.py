"""What runs on a CUDA device, one module per family: from checked arguments to launches. `_backend` finds the device."""

from ._runs import on_each, paced

__all__ = ["on_each", "paced"]
