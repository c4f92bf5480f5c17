"""haf(G G^T) for few columns: the average of prod_i (G x)_i over r normal x, which is a polynomial.

The polynomial is homogeneous of degree n, so x = |x| u splits into E|x|^n = r (r+2) .. (r+n-2) and an average over the unit sphere, which
quadrature with n/2 + 1 nodes per angle does exactly.
"""

import cmath
import math
import warnings

import numpy as np
from scipy.special import roots_gegenbauer

from .. import wick
from ..errors import ArgumentError, NNQFTWarning

_CHUNK = 1 << 11  # nodes at a time, in cache


def low_rank_hafnian(G):
    """haf(G G^T) for finite G (n, r), float64 or complex128.

    By the sieve up to n = 16, where integers stay exact, and where quadrature would take much longer. The sieve's error is relative to
    haf|G G^T|, which exceeds the hafnian by 10^4 at n = 40, r = 2; the quadrature's to the average of the product's modulus.
    """
    n, r = G.shape
    if n == 0:
        return G.dtype.type(1).item()
    if n % 2 or not G.any(axis=1).all():
        return G.dtype.type(0).item()
    exponents = np.frexp(np.abs(np.concatenate([G.real, G.imag], axis=1)).max(axis=1))[1]
    G = _ldexp(G, -exponents[:, np.newaxis])
    K = G @ G.T
    K = 0.5 * (K + K.T)  # BLAS may add the two triangles in different order
    sieve = wick.hafnian_cost(K)["seconds"]
    quadrature = _quadrature_seconds(n, r)
    if min(sieve, quadrature) > 1e9:
        raise ArgumentError(f"the hafnian of {n} points of rank {r} is out of reach")
    value = wick.hafnian(K, max_seconds=math.inf) if n <= 16 or sieve < quadrature > 1e-2 else _by_quadrature(G)
    value = _ldexp(value, int(exponents.sum())).item()
    if not cmath.isfinite(value):
        warnings.warn(f"the hafnian exceeds the range of {G.dtype}: {value}", NNQFTWarning, stacklevel=3)
    return value


def _quadrature_seconds(n, r):
    """To a factor of two or so; products of more than a thousand factors would underflow."""
    digits = (r - 1) * math.log2(n // 2 + 1)
    return (4e-8 + 8e-10 * n * r) * 2.0**digits if n <= 1000 and digits < 60 else math.inf


def _by_quadrature(G):
    n, r = G.shape
    mantissa, exponent = 1.0, 0  # of E |x|^n, which overflows before the hafnian does
    for j in range(n // 2):
        mantissa, more = math.frexp(mantissa * (r + 2 * j))
        exponent += more
    mean = G.prod() if r == 1 else _sphere_average(G)
    return _ldexp(mantissa * mean, exponent)


def _sphere_average(G):
    """Average of prod_i (G u)_i over the unit sphere in r >= 2 dimensions.

    u = (s_r .. s_3 cos a, s_r .. s_3 sin a, s_r .. s_4 t_3, .., t_r), s = sqrt(1 - t^2): a goes over half the circle, since the product is
    even, and t_d has the density (1 - t^2)^((d-3)/2), whose quadrature is Gauss and Gegenbauer's.
    """
    n, r = G.shape
    size = n // 2 + 1
    rules = [roots_gegenbauer(size, d / 2 - 1) for d in range(3, r + 1)]
    count = size ** (r - 1)
    total = 0.0
    for start in range(0, count, _CHUNK):
        a, *rest = np.unravel_index(np.arange(start, min(start + _CHUNK, count)), (size,) * (r - 1))
        u = np.empty((r, len(a)))
        u[0], u[1] = np.cos(np.pi / size * a), np.sin(np.pi / size * a)
        weight = np.full(len(a), 1.0 / size)
        for d, ((t, w), at) in enumerate(zip(rules, rest, strict=True), start=2):
            u[:d] *= np.sqrt((1.0 - t) * (1.0 + t))[at]
            u[d] = t[at]
            weight *= (w / w.sum())[at]
        total += weight @ np.prod(G @ u, axis=0)
    return total


def _ldexp(x, exponent):
    x = np.asarray(x)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(x.real, exponent) + 1j * np.ldexp(x.imag, exponent) if x.dtype.kind == "c" else np.ldexp(x, exponent)
