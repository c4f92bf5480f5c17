"""Where a Gaussian times a polynomial is negative, direction by direction: zeros and masses along rays are exact."""

from dataclasses import dataclass

import numpy as np
from scipy import special

from ..tensor import Estimate

__all__ = ["Negativity", "negative_shells"]


@dataclass(frozen=True)
class Negativity:
    """Where an Edgeworth density is negative.

    Attributes
    ----------
    radius : float
        Distance sqrt(f Xi f) to the nearest point found where it is negative, in standard deviations; inf if there is
        none.
    where : array, shape (m,), or None
        That point.
    mass : Estimate
        Integral of max(-P, 0).
    """

    radius: float
    where: np.ndarray | None
    mass: Estimate


def negative_shells(p, r):
    """Along directions with ratio sum_k p_k s^k, s = rho^2: the smallest rho where it is negative, and the mass there.

    The mass is int max(-ratio, 0) chi_r(rho) d rho; int_0^a rho^2k chi_r = E[rho^2k] P(r/2 + k, a^2/2), P = gammainc.
    """
    degree = p.shape[1] - 1
    edges = np.full((len(p), degree + 2), np.inf)
    edges[:, 0] = 0.0
    for k in range(degree, 0, -1):  # the highest coefficient may vanish
        rows = (p[:, k] != 0) & ~(p[:, k + 1 :] != 0).any(axis=1)
        if rows.any():
            companion = np.zeros((np.count_nonzero(rows), k, k))
            companion[:, range(1, k), range(k - 1)] = 1.0
            with np.errstate(over="ignore"):
                companion[:, :, -1] = -p[rows, :k] / p[rows, k : k + 1]
            good = np.isfinite(companion).all(axis=(1, 2))
            roots = np.full((len(companion), k), np.inf)
            found = np.linalg.eigvals(companion[good])
            real = (abs(found.imag) < 1e-9 * abs(found)) & (found.real > 0)
            roots[good] = np.where(real, found.real, np.inf)
            edges[np.ix_(rows, range(1, k + 1))] = roots
    edges.sort(axis=1)
    low, high = edges[:, :-1], edges[:, 1:]
    middle = np.where(np.isfinite(high), (low + np.where(np.isfinite(high), high, 0.0)) / 2, 2 * low + 1.0)
    middle = np.where(np.isfinite(low), middle, 0.0)
    value = np.polynomial.polynomial.polyval(middle, p.T[:, :, np.newaxis], tensor=False)
    negative = np.isfinite(low) & (low < high) & (value < 0)
    start = np.sqrt(np.where(negative, low, np.inf).min(axis=1))
    k = np.arange(degree + 1)
    moments = 2.0**k * np.exp(special.gammaln(r / 2 + k) - special.gammaln(r / 2))
    shells = [special.gammainc(r / 2 + k, edge[:, :, np.newaxis] / 2) for edge in (low, high)]
    content = np.einsum(
        "dk,dsk,k->ds", p, np.where(np.isfinite(low)[:, :, np.newaxis], shells[1] - shells[0], 0.0), moments
    )
    return start, -np.where(negative, content, 0.0).sum(axis=1)
