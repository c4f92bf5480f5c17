"""Exceptions and warnings of the library.

Every class also derives from the builtin that fits, so ``except ValueError`` works as one expects.
"""

__all__ = ["ArgumentError", "DeviceError", "DivergenceError", "NNQFTError", "NNQFTWarning", "ShapeError", "StateError"]


class NNQFTError(Exception):
    """Base class of every error that the library raises on purpose."""


class ShapeError(NNQFTError, ValueError):
    """An array has the wrong number of axes, the wrong length or the wrong dtype."""


class ArgumentError(NNQFTError, ValueError):
    """An argument has a value that the computation cannot be done for."""


class StateError(NNQFTError, RuntimeError):
    """Stored or accumulated state does not fit: a corrupt file, another run's checkpoint, an overlapping merge."""


class DeviceError(NNQFTError, RuntimeError):
    """The requested device, driver or device library is missing or failed."""


class DivergenceError(NNQFTError, ArithmeticError):
    """The number asked for is infinite: an integral without a limit, a sum that does not converge."""


class NNQFTWarning(UserWarning):
    """The number is right, but something about it deserves attention (no error bar, infinite variance, ...)."""
