"""Stochastic Lanczos quadrature: the spectral density of an operator that can only be applied to vectors."""

import numpy as np

from .._checks import shown
from ..errors import ArgumentError
from ._density import SpectralDensity
from ._driver import LanczosState, lanczos
from ._operators import as_operator, gram
from ._probes import count_argument

__all__ = ["singular_values", "slq", "spectral_moments"]

_BASIS_BYTES = 1 << 30  # up to here "auto" keeps all vectors and reorthogonalises


def slq(op, k=50, *, probes=10, seed=None, distribution=None, reorth="auto", dtype=None, state=None,
        progress=None, threads=None, check_symmetric=True):  # fmt: skip
    """Spectral density of a symmetric operator by stochastic Lanczos quadrature.

    Lanczos with k steps from each random vector v gives nodes and weights, the Gauss rule of v's own measure; their
    mean over probes is an unbiased estimate of the density's moments up to order 2k - 1.

    Parameters
    ----------
    op : array, sparse array, LinearOperator, Hessian, ...
        Symmetric, shape (n, n), float32 or float64: whatever `lanczos` takes.
    k : int
        Steps; at most n are taken.
    probes : int
        Random vectors. The error bars come from their spread: one gives none.
    seed : int, SeedSequence or Generator, optional
        Default: that of `state`, else 0.
    distribution : "rademacher", "gaussian" or "sphere", optional
        Law of the probes. Rademacher is exact for diagonal operators and has the smallest variance of traces. Default:
        that of `state`, else "rademacher".
    reorth : "auto", "full", "partial" or "none"
        Densities do not suffer without reorthogonalisation, but nodes repeat. "auto": "full" while probes * k vectors
        fit into 1 GiB, else "none", which keeps three vectors.
    state : LanczosState, optional
        An empty one is filled; one of an earlier call with the same operator goes on: with more steps (k), more probes
        (their number in all) or both, to the bits of one run that had them from the beginning.
    dtype, progress, threads, check_symmetric
        As for `lanczos`.

    Returns
    -------
    SpectralDensity
        `.nodes`, `.weights`, `.moment(j)`, `.density(grid)`, `.cdf(x)`, `.trace(f)`, `.logdet()`, ...

    Raises
    ------
    ShapeError, ArgumentError, StateError
        As `lanczos` does.

    Notes
    -----
    The bits of products with several vectors at once are the operator's affair: with a state, those of a Python
    operator may differ in rounding from one run's, as its probes meet in other blocks.

    Cost: probes * k products, O(probes n k^2) for "full" on top. Relative error of tr A: sqrt(2 / (n probes)) |A|_F /
    |tr A| sqrt(n) or less. S. Ubaru, J. Chen, Y. Saad, SIAM J. Matrix Anal. Appl. 38 (2017) 1075; B. Ghorbani, S.
    Krishnan, Y. Xiao, arXiv:1901.10159 (network Hessians).

    Examples
    --------
    >>> S = slq(np.diag(np.linspace(-1.0, 1.0, 200)), 20, probes=4, seed=1)
    >>> S.nodes.shape, round(float(S.moment(2)), 4)
    ((4, 20), 0.3367)
    >>> round(float(S.cdf(0.0)), 3)
    0.5
    >>> A, state = np.diag(np.linspace(-1.0, 1.0, 200)), LanczosState()
    >>> for probes in (4, 8):                                   # until the error bar is small enough
    ...     S = slq(A, 20, probes=probes, state=state)
    >>> bool((S.nodes == slq(A, 20, probes=8).nodes).all())
    True
    """
    op = as_operator(op)
    k, probes = count_argument(k, "k"), count_argument(probes, "probes")
    steps = min(k, op.shape[0])
    auto = isinstance(reorth, str) and reorth == "auto"
    if auto and isinstance(state, LanczosState) and len(state.steps):
        reorth = state.reorth
    elif auto:
        reorth = "full" if 8 * probes * steps * op.shape[0] <= _BASIS_BYTES else "none"
    run = lanczos(op, steps, probes=probes, seed=seed, distribution=distribution, reorth=reorth, dtype=dtype, state=state,
                  progress=progress, threads=threads, check_symmetric=check_symmetric)  # fmt: skip
    nodes, weights = run.eigen()
    how = {"estimator": "slq", "k": max(k, run.alpha.shape[1]), "seed": run.seed, "distribution": run.distribution, "reorth": run.reorth}
    complete = np.asarray(run.breakdown) | (np.asarray(run.steps) >= op.shape[0])
    return SpectralDensity(nodes, weights, op.shape[0], complete=complete, how=how)


def singular_values(J, k=50, *, probes=10, **options):
    """Density of the singular values of a rectangular operator: quadrature for the smaller of J^T J and J J^T.

    Parameters
    ----------
    J : array, sparse array, or object with matmat and rmatmat, shape (m, n)
        A `nnqft.hessian.Jacobian`, say; float32 or float64.
    k, probes, **options
        As for `slq`: k steps take k products with J and k with its transpose.

    Returns
    -------
    SpectralDensity
        Of the min(m, n) singular values, in the units of J: nodes are square roots, so even moments up to 4k - 2 are
        exact in each probe, and `trace(np.square)` is the squared Frobenius norm.

    Raises
    ------
    ShapeError, ArgumentError
        As `gram` and `slq` do.

    Notes
    -----
    Squares cost digits: singular values below sqrt(eps) times the largest (1.5e-8; in float32 3.5e-4) come out as
    rounding of that size. Moments, and all that is large, do not suffer.

    Examples
    --------
    >>> J = np.diag([3.0, 4.0]) @ np.eye(2, 5)
    >>> singular_values(J, 2, probes=2).nodes.round(9).tolist()
    [[3.0, 4.0], [3.0, 4.0]]
    """
    smaller = gram(J)
    if J.shape[0] < J.shape[1]:
        smaller = gram(J.T)
    S = slq(smaller, k, probes=probes, **options)
    how = {**S.how, "estimator": "slq of squares"}
    return SpectralDensity(np.sqrt(np.maximum(S.nodes, 0.0)), S.weights, S.n, complete=S.complete, how=how)


def spectral_moments(op, orders, *, probes=10, **options):
    """Moments tr A^j / n of a spectrum, as many products as the highest order needs.

    Parameters
    ----------
    op : as for `slq`
    orders : sequence of int
        Orders j >= 0.
    probes, **options
        As for `slq`.

    Returns
    -------
    list of Estimate
        One per order, in units of op ** j.

    Notes
    -----
    Exact for each probe: the Gauss rule with floor(max(orders) / 2) + 1 nodes.

    Examples
    --------
    >>> first, second = spectral_moments(np.diag([1.0, 2.0, 4.0]), [1, 2], probes=2)
    >>> round(first.mean, 9), round(second.mean, 9)                     # +-1 probes are exact for diagonals
    (2.333333333, 7.0)
    """
    if not np.iterable(orders) or isinstance(orders, str):
        raise ArgumentError(f"orders is {shown(orders)}; expected a sequence of integers")
    orders = [count_argument(j, "orders", 0) for j in orders]
    k = max(orders, default=0) // 2 + 1
    density = slq(op, k, probes=probes, **options)
    return [density.moment(j) for j in orders]
