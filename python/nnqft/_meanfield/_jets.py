"""Second-order Taylor expansions of array-valued functions of a few variables: value, gradient, Hessian."""

import numpy as np

__all__ = ["Jet"]


class Jet:
    """f(v + d) = value + grad . d + d . hess . d / 2, arrays (...), (n, ...), (n, n, ...) that broadcast together."""

    __slots__ = ("grad", "hess", "value")

    def __init__(self, value, grad, hess):
        self.value, self.grad, self.hess = value, grad, hess

    @classmethod
    def variables(cls, *values):
        """The n variables themselves."""
        n = len(values)
        flat = (1,) * np.ndim(values[0])
        return [cls(v, np.eye(n)[k].reshape(n, *flat), np.zeros((n, n) + flat)) for k, v in enumerate(values)]

    @classmethod
    def integral(cls, value, slopes):
        """The function with this value whose partial derivatives are the jets `slopes`."""
        grad = np.stack([s.value for s in slopes])
        hess = np.stack([s.grad for s in slopes])
        return cls(value, grad, (hess + hess.swapaxes(0, 1)) / 2)

    def __add__(self, other):
        return Jet(self.value + other.value, self.grad + other.grad, self.hess + other.hess)

    def __mul__(self, other):
        if not isinstance(other, Jet):
            return Jet(self.value * other, self.grad * other, self.hess * other)
        mixed = _outer(self.grad, other.grad)
        return Jet(
            self.value * other.value,
            self.value * other.grad + other.value * self.grad,
            self.value * other.hess + other.value * self.hess + mixed + mixed.swapaxes(0, 1),
        )

    __rmul__ = __mul__

    def __pow__(self, p):
        first, second = p * self.value ** (p - 1), p * (p - 1) * self.value ** (p - 2)
        return Jet(self.value**p, first * self.grad, first * self.hess + second * _outer(self.grad, self.grad))


def _outer(a, b):
    return a[:, None] * b[None, :]
