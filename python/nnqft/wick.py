"""Wick contractions: pairings, Gaussian correlators, and error bars of nonlinear functions of moments.

    G(x_1 .. x_n) = sum over the (n-1)!! pairings of prod K(x_a, x_b)      (the free theory, infinite width)
"""

import numpy as np

from . import _core
from ._jackknife import Jackknife, jackknife
from .errors import ArgumentError, ShapeError
from .tensor import SymmetricTensor

__all__ = ["pairings", "wick_all", "jackknife", "Jackknife"]


def pairings(n):
    """All perfect matchings of n legs.

    Parameters
    ----------
    n : int
        Number of legs, even, 0 <= n <= 16.

    Returns
    -------
    array, shape ((n-1)!!, n/2, 2), int32
        One matching per row. Canonical order: the first free leg is matched first, with its partners in
        increasing order, so every pair (a, b) has a < b and the pairs increase in a.

    Raises
    ------
    ArgumentError
        If n is odd, negative or above 16 (15!! = 2027025 matchings).

    Notes
    -----
    Cost and memory O(n (n-1)!!). Isserlis, Biometrika 12 (1918) 134: moments of a Gaussian are sums over these.

    Examples
    --------
    >>> pairings(4).tolist()
    [[[0, 1], [2, 3]], [[0, 2], [1, 3]], [[0, 3], [1, 2]]]
    """
    return _core.pairings(n)


def wick_all(K, order):
    """Gaussian n-point functions of all sorted index tuples.

    G_{i1..in} = sum over pairings of prod K_{ia ib}, e.g. G_{ijkl} = K_ij K_kl + K_ik K_jl + K_il K_jk.

    Parameters
    ----------
    K : array, shape (m, m), float64
        Symmetric kernel (two-point function), any units; it need not be positive. The upper triangle is used.
    order : {2, 4, 6, 8}
        Number of legs n.

    Returns
    -------
    SymmetricTensor
        `.mean` packed over the C(m+n-1, n) sorted multi-indices, float64, in units of K ** (n/2); `.stderr` is 0.

    Raises
    ------
    ShapeError
        If K is not a square float64 matrix.
    ArgumentError
        If the order is not among those above, or K is not finite or not symmetric: |K_ij - K_ji| may reach 1e-12
        of the smaller of the two rows' largest entries.

    Notes
    -----
    Cost 1, 3, 15, 105 products per entry at n = 2, 4, 6, 8. Nothing cancels: the error is below n ulp of the same
    sum over |K|, and integers come out exact. Isserlis, Biometrika 12 (1918) 134.

    Examples
    --------
    >>> G4 = wick_all(np.array([[2.0, 1.0], [1.0, 3.0]]), 4)
    >>> G4[0, 0, 1, 1].mean                                 # K_00 K_11 + 2 K_01^2
    8.0
    """
    K = K if isinstance(K, np.ndarray) else np.asarray(K, dtype=np.float64)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or not len(K):
        raise ShapeError(f"K has shape {K.shape}; wick_all() takes a square matrix (m, m)")
    if K.dtype != np.float64:
        raise ShapeError(f"K has dtype {K.dtype}; wick_all() takes float64: call K.astype(np.float64)")
    if not np.isfinite(K).all():
        raise ArgumentError(f"K has {np.count_nonzero(~np.isfinite(K))} entries that are not finite")
    scale = np.abs(K).max(axis=1)
    gap = np.abs(K - K.T)
    if np.any(gap > 1e-12 * np.minimum.outer(scale, scale)):
        i, j = np.unravel_index(np.argmax(gap), K.shape)
        raise ArgumentError(
            f"K is not symmetric: K[{i}, {j}] = {K[i, j]} but K[{j}, {i}] = {K[j, i]}; "
            "pass (K + K.T) / 2 if that is meant"
        )
    mean = _core.pairing_sums(np.ascontiguousarray(K)[np.newaxis], order)[0]
    return SymmetricTensor(mean, 0.0, order=order, size=len(K), how={"estimator": "wick"})
