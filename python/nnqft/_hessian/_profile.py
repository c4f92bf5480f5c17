"""Variance profile of a matrix with blocks, measured: what `dyson_density` takes.

S_ij = n |H_ij|_F^2 / (n_i n_j),   |H_ij|_F^2 = E |H_ij v|^2  for random v on block j with E[v v^T] = 1
"""

from dataclasses import dataclass

import numpy as np

from .._checks import shown
from .._lanczos._driver import require_symmetric
from .._lanczos._operators import host_operator
from .._lanczos._probes import count_argument, probe_vectors
from ..errors import ArgumentError, ShapeError
from ..networks import as_key

__all__ = ["VarianceProfile", "variance_profile"]

_COLUMNS = 16


@dataclass(frozen=True, eq=False)
class VarianceProfile:
    """What `variance_profile` returns; `dyson_density` takes it whole.

    Attributes
    ----------
    variance : array, shape (blocks, blocks)
        S, n times the mean square of the entries of each block, in squared units of the matrix.
    stderr : array, shape (blocks, blocks)
        Standard errors over probes; 0 for a dense matrix.
    weights : array, shape (blocks,)
        Shares of the rows.
    """

    variance: np.ndarray
    stderr: np.ndarray
    weights: np.ndarray


def variance_profile(op, sizes, *, probes=8, seed=0, check_symmetric=True):
    """Mean square of the entries of each block of a symmetric matrix, times its size.

    Parameters
    ----------
    op : array, sparse array, LinearOperator, Hessian, ...
        Symmetric, shape (n, n). An array is measured entry by entry, anything else by products.
    sizes : sequence of int
        Rows of each block, which follow one another: n in all. For a network's Hessian the weights of each layer.
    probes : int
        Products for each block; at least 2, for an error bar.
    seed : int, SeedSequence or Generator
    check_symmetric : bool
        As for `lanczos`: two more products, or a look at both triangles of an array.

    Returns
    -------
    VarianceProfile

    Raises
    ------
    ShapeError
        If `sizes` do not add up to n.
    ArgumentError
        If a size or `probes` is too small, the matrix is not symmetric or lives on a device, or a product is not finite.

    Notes
    -----
    Cost: blocks * probes products. Relative error of a block: sqrt(2 / probes) times |H_ij^T H_ij|_F / |H_ij|_F^2 or
    less, small for blocks without dominant directions. Limit laws assume independent entries; a measured spectrum that
    departs from the law of its own profile shows correlations.

    Examples
    --------
    >>> H = np.array([[0.0, 0.0, 2.0], [0.0, 0.0, 4.0], [2.0, 4.0, 0.0]])
    >>> profile = variance_profile(H, [2, 1])
    >>> profile.variance.round(9).tolist()
    [[0.0, 30.0], [30.0, 0.0]]
    >>> law = nnqft.hessian.dyson_density(profile, np.linspace(-12, 12, 49))
    >>> round(law.atom, 6)
    0.333333
    """
    if not np.iterable(sizes) or isinstance(sizes, str):
        raise ArgumentError(f"sizes is {shown(sizes)}; expected the rows of each block")
    sizes = [count_argument(size, "sizes") for size in sizes]
    probes, key = count_argument(probes, "probes", 2), as_key(seed)
    operator = host_operator(op, "variance_profile()")
    n, ends = operator.shape[0], np.cumsum(sizes)
    if not sizes or ends[-1] != n:
        raise ShapeError(f"sizes add up to {sum(sizes)}; the matrix has {n} rows")
    if check_symmetric:
        require_symmetric(operator)
    starts, weights = ends - sizes, np.array(sizes) / n
    area = np.outer(sizes, sizes) / n
    if isinstance(op, np.ndarray):
        squares = np.add.reduceat(np.add.reduceat(np.square(op, dtype=np.float64), starts, axis=0), starts, axis=1)
        require_finite(squares)
        return VarianceProfile((squares + squares.T) / (2 * area), np.zeros_like(squares), weights)
    squares = np.empty((probes, len(sizes), len(sizes)))
    for j, (start, end) in enumerate(zip(starts, ends, strict=True)):
        for first in range(0, probes, _COLUMNS):
            V = np.zeros((n, min(_COLUMNS, probes - first)))
            V[start:end] = probe_vectors(end - start, V.shape[1], seed=key, first=first + j * probes)
            Y = np.asarray(operator.matmat(V.astype(operator.dtype)), dtype=np.float64)
            squares[first : first + V.shape[1], :, j] = np.add.reduceat(Y**2, starts, axis=0).T
    require_finite(squares)
    # H_ij and H_ji have one norm: their estimates, from independent probes, are averaged.
    S = squares / area
    mean, error = S.mean(axis=0), S.std(axis=0, ddof=1) / np.sqrt(probes)
    off = ~np.eye(len(sizes), dtype=bool)
    error = np.where(off, np.hypot(error, error.T) / 2, error)
    return VarianceProfile((mean + mean.T) / 2, error, weights)


def require_finite(squares):
    if not np.isfinite(squares).all():
        raise ArgumentError(
            "the squares of the matrix's entries are not finite: it holds nan or inf, or is too large (scale it)"
        )
