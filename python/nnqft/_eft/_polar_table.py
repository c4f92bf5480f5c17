"""A function of |y| and of the angle between y and x, tabulated: for kernels that cost 30 us per pair.

Panels [0, a], [a, 2a], [2a, 4a], .. in r = |y|, a quarter of the kernel's length: the nearest singularities lie on the
imaginary axis, so 24 Chebyshev terms reach rounding on every panel. In the angle, Chebyshev polynomials of its cosine, as
many as their coefficients ask for.
"""

import numpy as np
from scipy.fft import dctn

__all__ = ["PolarTable"]

_RADIAL = 24
_ANGULAR = (32, 64, 128, 256, 512)
_SMALL = 1e-13  # last coefficients, relative to the largest


class PolarTable:
    """function(r, c) for r >= 0 and c in [-1, 1], arrays of one shape; panels are made when they are first needed."""

    def __init__(self, function, length):
        self._function, self._first = function, length / 4
        self._panels = {}

    def __call__(self, r, c):
        with np.errstate(divide="ignore"):
            number = np.maximum(1 + np.floor(np.log2(r / self._first)), 0).astype(int)
        out = np.empty_like(r)
        for panel in np.unique(number):
            chosen = number == panel
            low, high = self._edges(panel)
            if panel not in self._panels:
                self._panels[panel] = self._coefficients(low, high)
            table = self._panels[panel]
            if table is None:
                out[chosen] = self._function(r[chosen], c[chosen])
                continue
            radial = np.polynomial.chebyshev.chebvander((2 * r[chosen] - low - high) / (high - low), _RADIAL - 1)
            angular = np.polynomial.chebyshev.chebvander(c[chosen], table.shape[1] - 1)
            out[chosen] = np.einsum("nk,nk->n", radial @ table, angular)
        return out

    def _edges(self, panel):
        return (0.0 if panel == 0 else self._first * 2.0 ** (panel - 1)), self._first * 2.0**panel

    def _coefficients(self, low, high):
        """Chebyshev coefficients (radial, angular) of one panel; None if the angle varies too fast."""
        for terms in _ANGULAR:
            t, c = (np.cos(np.pi * (np.arange(n) + 0.5) / n) for n in (_RADIAL, terms))
            r, c = np.broadcast_arrays((low + high + (high - low) * t[:, None]) / 2, c)
            table = dctn(self._function(r, c)) / (_RADIAL * terms)
            table[0] /= 2
            table[:, 0] /= 2
            if np.abs(table[:, -terms // 4 :]).max() <= _SMALL * np.abs(table).max():
                return table
        return None
