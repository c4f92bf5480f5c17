"""The Wick engine: hafnians, Gaussian correlators, moments, cumulants, Feynman diagrams, and error bars of what is made of them.

    G(x_1 .. x_n) = sum over the (n-1)!! pairings of prod K(x_a, x_b)      (the free theory, infinite width)
"""

from . import _core
from ._bootstrap import Bootstrap, bootstrap
from ._connected import connected
from ._cumulants import cumulants, moments_from_cumulants
from ._diagrams import Diagram, diagrams, evaluate_diagrams
from ._hafnian import hafnian, hafnian_cost, hafnian_vjp
from ._hafnian_batch import hafnian_batch, hafnian_batch_vjp
from ._jackknife import Jackknife, jackknife
from ._kstatistics import kstatistics
from ._moments import MomentAccumulator, moments
from ._wick_all import wick_all, wick_all_vjp

__all__ = [
    "hafnian", "hafnian_cost", "hafnian_vjp", "hafnian_batch", "hafnian_batch_vjp", "wick_all", "wick_all_vjp", "pairings",
    "moments", "MomentAccumulator", "cumulants", "moments_from_cumulants", "kstatistics", "connected",
    "jackknife", "Jackknife", "bootstrap", "Bootstrap", "diagrams", "Diagram", "evaluate_diagrams",
]  # fmt: skip


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
