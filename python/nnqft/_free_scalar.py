"""The free massive scalar field below a momentum cutoff, and the cos-net amplitude that makes it.

    K(r) = int_{|p| < Lambda} d^d p / (2 pi)^d  e^{i p.r} / (p^2 + m^2)

A neuron A(|w|) cos(w.x + c) with w uniform in the ball of radius Lambda (volume V) and c uniform has the two-point
function (1/2V) int_ball A(|w|)^2 cos(w.r) d^d w, which is K for A(k)^2 = 2 V / (2 pi)^d / (k^2 + m^2)
(Halverson, arXiv:2112.04527).
"""

from dataclasses import dataclass
from math import gamma, inf, isinf, pi, sqrt
from types import SimpleNamespace

import numpy as np
from scipy.special import kv

from ._checks import integer, number, real_array
from ._spectrum import spectral_average
from .errors import ArgumentError, DivergenceError

__all__ = ["FreeScalarAmplitude", "free_propagator"]

# The kernels interpolate A linearly between 16385 momenta: an error of (cutoff / mass)^2 / 2e9 near k = 0.
_LARGEST_RATIO = 1000.0
_LARGEST = 1e75  # momentum of which the fourth power is a double


@dataclass(frozen=True)
class FreeScalarAmplitude:
    """A(k) = sqrt(2 V / (2 pi)^d / (k^2 + m^2)), V the volume of the ball of radius `cutoff` in d dimensions."""

    dim: int
    mass: float
    cutoff: float

    def __post_init__(self):
        _check(self.dim, self.mass)
        object.__setattr__(self, "mass", float(self.mass))
        object.__setattr__(self, "cutoff", number("cutoff", self.cutoff, above=0))
        for name in ("mass", "cutoff"):
            if not 1 / _LARGEST < getattr(self, name) < _LARGEST:
                raise ArgumentError(
                    f"{name} = {getattr(self, name):g}: powers of it leave the range of float64; choose units in which "
                    "it is of order 1"
                )
        if self.cutoff > _LARGEST_RATIO * self.mass:
            raise ArgumentError(
                f"cutoff / mass = {self.cutoff / self.mass:.3g}: a cos-net's table of amplitudes resolves masses "
                f"down to cutoff / {_LARGEST_RATIO:g}"
            )

    def __call__(self, k):
        volume = pi ** (self.dim / 2) / gamma(self.dim / 2 + 1) * (self.cutoff / (2 * pi)) ** self.dim
        return sqrt(2 * volume) / np.hypot(k, self.mass)


def free_propagator(distance, *, dim, mass=1.0, cutoff=inf):
    """Two-point function of the free massive scalar field, 1 / (p^2 + m^2) in momentum space up to a cutoff.

    K(r) = int_{|p| < cutoff} d^d p / (2 pi)^d  e^{i p.r} / (p^2 + m^2); without cutoff e^{-mr} / 2m, K_0(mr) / 2 pi and
    e^{-mr} / 4 pi r for d = 1, 2, 3.

    Parameters
    ----------
    distance : array, any shape
        |x - y| >= 0, in units of 1 / momentum.
    dim : {1, 2, 3}
    mass, cutoff : float
        Momenta > 0.

    Returns
    -------
    array, the shape of `distance`, float64
        In units of momentum ** (dim - 2).

    Raises
    ------
    ArgumentError
        For dimensions, masses, cutoffs or distances out of range.
    DivergenceError
        At distance 0 without a cutoff, for dim 2 and 3.

    Notes
    -----
    Closed form without cutoff; with one, Gauss-Legendre panels whose two orders agree to 1e-9 of K(0), microseconds per
    distance and oscillation. Halverson, arXiv:2112.04527.

    Examples
    --------
    >>> r = np.array([0.0, 1.0, 2.0])
    >>> free_propagator(r, dim=1).round(4)                      # exp(-r) / 2
    array([0.5   , 0.1839, 0.0677])
    >>> free_propagator(r, dim=1, cutoff=10.0).round(4)
    array([0.4683, 0.1828, 0.069 ])
    """
    _check(dim, mass)
    r, mass = real_array("distance", distance), float(mass)
    if (r < 0).any():
        raise ArgumentError("distance must be finite and >= 0")
    cutoff = number("cutoff", cutoff, above=0, infinite=True)
    if isinf(cutoff):
        if dim > 1 and (r == 0).any():
            growth = {2: "log(cutoff / mass) / 2 pi", 3: "cutoff / 2 pi^2"}[dim]
            raise DivergenceError(
                f"the propagator at distance 0 grows like {growth} with the cutoff: give a finite one"
            )
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            if dim == 1:
                K = np.exp(-mass * r) / (2 * np.float64(mass))
            else:
                K = (2 * pi) ** (-dim / 2) * (mass / r) ** (dim / 2 - 1) * kv(dim / 2 - 1, mass * r)
        if not np.isfinite(K).all():
            raise ArgumentError(
                f"the propagator of mass {mass:g} overflows float64 at these distances: choose other units"
            )
        return K
    amplitude = FreeScalarAmplitude(dim, mass, cutoff)
    law = SimpleNamespace(dim_in=dim, sigma_w=1.0, momentum=("ball", cutoff), amplitude=amplitude)
    return spectral_average(law, 2, r) / 2


def _check(dim, mass):
    if integer("dim", dim, 0, 1 << 31) not in (1, 2, 3):
        raise ArgumentError(f"the free scalar exists here in 1, 2 or 3 dimensions, got {dim}")
    number("mass", mass, above=0)  # a massless field needs a finite volume
