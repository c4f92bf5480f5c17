"""Kernels K_W(|x - y|) of cos-nets with a momentum spectrum of their own, tabulated.

The momenta end at k_max, so K_W is band-limited: Chebyshev polynomials of degree 19 on panels of 4 / k_max reproduce it
to rounding (their coefficients fall off as the Bessel functions J_k(2)).
"""

from functools import lru_cache

import numpy as np
from scipy.fft import dct

from .._spectrum import amplitude_and_momentum, spectral_average
from ..errors import ArgumentError

__all__ = ["RadialKernel", "radial_kernel"]

_TERMS = 20
_PHASE = 4.0  # k_max times the length of a panel
_REACH = 9.0  # normal momenta: exp(-40)
_MOST_TABLE = 1e4  # k_max times a distance: some seconds and 0.5 MB
_MOST_PHASE = {1: 4000.0, 2: 2000.0, 3: 1000.0}  # k_max times the largest distance: what cubature can afford


@lru_cache(maxsize=8)
def radial_kernel(net):
    """The kernel of a hashable law; its table is kept."""
    return RadialKernel(net)


class RadialKernel:
    """K_W(r), tabulated as far as it was asked for."""

    def __init__(self, net):
        self._net = net
        ball = amplitude_and_momentum(net)[1]
        self._dim = net.dim_in
        self.highest = ball if ball is not None else _REACH * net.sigma_w / np.sqrt(net.dim_in)
        self._panel = _PHASE / self.highest
        self._table = np.empty((0, _TERMS))
        self.at_zero = self._exact(np.zeros(1))[0]
        if not 0 < self.at_zero < np.inf:
            raise ArgumentError(
                f"K_W(x, x) of {net!r} is {self.at_zero:g}: the kernel under- or overflows float64, use other units"
            )

    def __call__(self, r):
        """K_W at distances r >= 0, any shape."""
        farthest = r.max(initial=0.0) * self.highest
        if not farthest <= _MOST_TABLE:
            raise ArgumentError(
                f"a cos-net with momenta up to {self.highest:.3g} oscillates over {farthest:.3g} radians between points "
                f"{r.max():.3g} apart, at most {_MOST_TABLE:g} are tabulated: use closer points, a smaller cutoff or smaller momenta"
            )
        t = r / self._panel
        panel = t.astype(np.int64)
        if r.size:
            self._extend(int(panel.max()) + 1)
        t = 2 * (2 * (t - panel) - 1)
        c = self._table
        b1 = b2 = np.zeros_like(t)
        for k in range(_TERMS - 1, 0, -1):  # Clenshaw
            b1, b2 = c[panel, k] + t * b1 - b2, b1
        return c[panel, 0] + t / 2 * b1 - b2

    def envelope(self, radius):
        """Largest |K_W| between radius / 2 and radius."""
        return np.abs(self(np.linspace(radius / 2, radius, 4 * int(radius * self.highest) + 64))).max()

    def truncation(self, order, power, tolerance):
        """(radius R, bound of the integral outside, exponent s of |K_W| ~ r^-s) for products of `order` legs.

        R is the first at which the rest is below tolerance * K_W(0)^order / k_max^(d + power), or the largest possible.
        """
        dim, unit = self._dim, 1.0 / self.highest
        sphere = (2.0, 2 * np.pi, 4 * np.pi)[dim - 1]
        radius = 16.0 * unit
        before = self.envelope(radius)
        while True:
            radius *= 2
            now = self.envelope(radius)
            decay = np.log2(before / now) if now > 0 else np.inf
            excess = order * decay - dim - power
            rest = sphere * now**order * radius ** (dim + power) / excess if excess > 0.2 else np.inf
            if rest <= tolerance * self.at_zero**order * unit ** (dim + power) or 4 * radius > _MOST_PHASE[dim] * unit:
                return radius, rest, decay
            before = now

    def _extend(self, panels):
        have = len(self._table)
        if panels <= have:
            return
        panels = max(panels, have + have // 2, 64)
        node = (1 + np.cos(np.pi * (np.arange(_TERMS) + 0.5) / _TERMS)) / 2
        parts = [self._table]
        for first in range(have, panels, 64):
            r = self._panel * (np.arange(first, min(first + 64, panels))[:, None] + node)
            coefficient = dct(self._exact(r), axis=1) / _TERMS
            coefficient[:, 0] /= 2
            parts.append(coefficient)
        self._table = np.concatenate(parts)

    def _exact(self, r):
        with np.errstate(all="ignore"):
            return self._net.sigma_w**2 * spectral_average(self._net, 2, r) / 2
