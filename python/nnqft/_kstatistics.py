"""Multivariate k-statistics: unbiased estimates of joint cumulants of any order, by a quadrature over partition sums.

A cumulant is a sum over set partitions sigma of its legs, with J blocks and the weight (-1)^(J-1) (J-1)!, of products
of J moments. Without bias such a product is the average of prod f_block(r) over J distinct samples r; to get distinct
samples from power sums S_B = sum_r f_B(r) one sums over the ways to merge blocks of sigma, a merger of j blocks into C
having the weight (-1)^(j-1) (j-1)! S_C. Collected by the merged partitions pi, all signs agree:

    k(I) = sum_pi (-1)^(|pi|-1) L[ prod_{C in pi} beta_|C|(u) S_C ],    L[u^J] = (J-1)! / (R (R-1) .. (R-J+1)),

    beta_s(u) = sum_j (j-1)! N(s, j) u^j,    N(s, j) = number of partitions of s legs into j blocks.

L is an integral with a positive weight, L[u^J] = int_0^1 t^(J-1) (1-t)^(R-J) dt with u = t / (1-t), so the Gauss-Jacobi
rule of ceil(n/2) nodes is exact at order n. At a node the sum over pi is that of `moments_from_cumulants` at the
"cumulants" -beta_|C|(u) S_C. In an even theory blocks are even, the degree in u is n/2, and one or two nodes do.
"""

from math import comb, factorial

import numpy as np

from ._cumulants import FROM_CUMULANTS, PackedOrders, refuse_weighted
from .errors import ArgumentError, ShapeError

__all__ = ["degree", "kstatistics", "unbiased_rows"]


def kstatistics(sums, counts, *, even=False):
    """Unbiased estimates of joint cumulants from power sums of independent samples.

    k_ij = (S_ij - S_i S_j / R) / (R - 1), and so on: E[k_I] = kappa_I for every number of samples R >= n.

    Parameters
    ----------
    sums : dict {order: array}
        Power sums S_I = sum over samples of f_i1 .. f_in of the orders 1, 2, .., n <= 8, or 2, 4, .., n if `even`;
        float64, packed over sorted multi-indices: (count,), or (..., count) for several sets of samples. Any units.
    counts : float or array, shape (...)
        Number of samples R behind each set of sums, at least n (n / 2 if `even`).
    even : bool
        All odd moments of the theory vanish, the mean included; the estimates then use no odd sums:
        k_ijkl = S_ijkl / R - [3 of (S_ij S_kl - S_ijkl)] / (R (R-1)).

    Returns
    -------
    dict {order: array}
        k-statistics of the same orders, shape (..., count), in the units of the sums, without error bars: `connected`
        gives them.

    Raises
    ------
    ArgumentError
        If an order is missing or out of range, a count is too small or not finite, or the samples were weighted.
    ShapeError
        If an array has the wrong shape or is not float64.

    Notes
    -----
    Costs `moments_from_cumulants` ceil(n/2) times, ceil(n/4) times if `even`. Rounding: a few eps times the largest
    product of means S_I / R in the sum. If |mean| is large compared to the fluctuations, sum products of f - c with a
    constant c near the mean: orders >= 2 do not change. R. A. Fisher, Proc. London Math. Soc. 30 (1930) 199;
    multivariate: E. Di Nardo, G. Guarino, D. Senato, Bernoulli 14 (2008) 440, arXiv:math/0607623. The form used here is
    derived at the head of the module.

    Examples
    --------
    >>> x = np.array([1.0, 2.0, 4.0, 9.0])
    >>> sums = {n: np.array([np.sum(x**n)]) for n in (1, 2)}
    >>> round(float(kstatistics(sums, 4)[2][0]), 12), round(float(x.var(ddof=1)), 12)
    (12.666666666667, 12.666666666667)
    """
    refuse_weighted(sums)
    packed = PackedOrders(sums, None, even, "sums")
    lead = packed.restore(packed.rows)[packed.step].shape[:-1]
    counts = np.asarray(counts, dtype=np.float64)
    if counts.shape not in ((), lead):
        raise ShapeError(f"counts has shape {counts.shape}; expected {lead}, one per set of sums, or one number")
    least = degree(packed.orders[-1], packed.step)
    if not (np.isfinite(counts) & (counts >= least)).all():
        raise ArgumentError(
            f"order {packed.orders[-1]} needs at least {least} samples, got {counts.min(initial=np.inf):g}"
        )
    counts = np.broadcast_to(counts, lead).reshape(-1)
    means = [x / counts[:, np.newaxis] for x in packed.rows]
    return packed.restore(unbiased_rows(means, counts, packed.step, packed.size))


def degree(order, step):
    """Most blocks in a partition of `order` legs: the least number of samples, too."""
    return order // step


def unbiased_rows(means, counts, step, size):
    """k-statistics of rows of means of the orders step, 2 step, ..; nan where there are too few samples."""
    n = step * len(means)
    u, weights = _rule(counts, degree(n, step))
    total = [np.zeros(np.shape(x)) for x in means]
    for k in range(u.shape[1]):
        at = [-(_beta(step * (i + 1), step, u[:, k]) * counts)[:, np.newaxis] * x for i, x in enumerate(means)]
        for s, x in zip(total, FROM_CUMULANTS[step](at, size, None), strict=True):
            s -= np.multiply(x, weights[:, k, np.newaxis], out=x)
    return total


def _block_counts(legs, step):
    """N(legs, j) for j = 0 .. legs/step: the block of the first leg has b - 1 of the others."""
    if legs == 0:
        return [1]
    counts = [0] * (legs // step + 1)
    for b in range(step, legs + 1, step):
        for j, rest in enumerate(_block_counts(legs - b, step)):
            counts[j + 1] += comb(legs - 1, b - 1) * rest
    return counts


def _beta(legs, step, u):
    """sum_j (j-1)! N(legs, j) u^j = legs! [z^legs] of -log(1 - u (e^z - 1)), with cosh z - 1 if blocks are even."""
    return sum(factorial(j - 1) * number * u**j for j, number in enumerate(_block_counts(legs, step)) if j)


def _rule(counts, degree):
    """Nodes u and weights w, (batch, ceil(degree/2)): L[p] = sum w p(u) for polynomials p, p(0) = 0, up to this degree.

    With a = R - degree, L[p] = int_0^1 (1-t)^a Q(t) dt, Q = (1-t)^degree p(u) / t of degree - 1 in t. G. Golub and
    J. Welsch, Math. Comp. 23 (1969) 221, with the recurrence of the Jacobi polynomials P^(0,a) on [0, 1].
    """
    a = np.where(counts >= degree, counts - degree, np.nan)[:, np.newaxis]
    safe = np.nan_to_num(a)
    k = np.arange(1, (degree + 1) // 2)
    matrix = np.zeros((len(counts), len(k) + 1, len(k) + 1))
    matrix[:, 0, :1] = 1 / (safe + 2)
    matrix[:, k, k] = ((2 * k + 1) * safe + 2 * k * (k + 1)) / ((2 * k + safe) * (2 * k + safe + 2))
    matrix[:, k, k - 1] = k * (k + safe) / ((2 * k + safe) * np.sqrt((2 * k + safe - 1) * (2 * k + safe + 1)))
    t, vectors = np.linalg.eigh(matrix)
    weights = vectors[:, 0] ** 2 / (a + 1) * (1 - t) ** degree / t
    return t / (1 - t), weights
