"""Eigenvalues that stand clear of the bulk of a spectrum."""

from dataclasses import dataclass

import numpy as np

from .._checks import number
from ..errors import ArgumentError
from ._eigsh import EigenInfo, eigsh
from ._operators import host_operator
from ._probes import count_argument

__all__ = ["Outliers", "outliers", "separated"]

_BULK = 12  # eigenvalues behind the last outlier from which the spacing at the edge is taken


@dataclass(frozen=True)
class Outliers:
    """What `outliers` returns.

    Attributes
    ----------
    low, high : array, float64
        Outliers below and above the bulk, increasing.
    low_vectors, high_vectors : array, shape (n, number), float64
        Their eigenvectors.
    edges : (float, float)
        Outermost eigenvalues of the bulk.
    info : EigenInfo
    """

    low: np.ndarray
    high: np.ndarray
    low_vectors: np.ndarray
    high_vectors: np.ndarray
    edges: tuple
    info: EigenInfo

    def __repr__(self):
        return f"Outliers({len(self.low)} below, {len(self.high)} above, bulk from {self.edges[0]:.6g} to {self.edges[1]:.6g})"


def outliers(op, most=10, *, factor=6.0, **options):
    """Separate outliers from the bulk at both ends of a spectrum.

    At a square-root edge the j-th eigenvalue of the bulk is followed at a distance proportional to j^(-1/3). Counted
    from outside, the last gap that exceeds `factor` times this law, scaled to the median of the 12 gaps behind it, ends
    the outliers.

    Parameters
    ----------
    op : as for `eigsh`
        With more than 2 (most + 13) rows.
    most : int
        Outliers that are looked for on either side.
    factor : float
        At a Tracy-Widom edge (GOE) the law is exceeded sixfold by chance in less than one case in 1000.
    **options
        tol, ncv, seed, ... of `eigsh`.

    Returns
    -------
    Outliers

    Raises
    ------
    ArgumentError
        If the operator is too small, or `factor` not above 1.

    Notes
    -----
    Costs `eigsh` for 2 (most + 13) pairs. Edge spacing: airy zeros, P. Forrester, Nucl. Phys. B 402 (1993) 709.

    Examples
    --------
    >>> A = np.diag(np.concatenate([np.linspace(-1, 1, 200), [3.0, 9.0]]))
    >>> outliers(A, 5)
    Outliers(0 below, 2 above, bulk from -1 to 1)
    """
    op, most = host_operator(op, "outliers()"), count_argument(most, "most")
    factor = number("factor", factor, above=1.0)
    reach = most + _BULK + 1
    if 2 * reach > op.shape[0]:
        raise ArgumentError(
            f"{most} outliers on either side need {2 * reach} eigenvalues; the operator has {op.shape[0]}"
        )
    w, V, info = eigsh(op, 2 * reach, which="BE", return_info=True, **options)
    below, above = separated(w[:reach], factor), separated(-w[::-1][:reach], factor)
    stop = len(w) - above
    return Outliers(w[:below], w[stop:], V[:, :below], V[:, stop:], (float(w[below]), float(w[stop - 1])), info)


def separated(values, factor):
    """Number of outliers among values that increase from the outside into the bulk."""
    gaps = np.diff(values)
    rank = np.arange(1, _BULK + 1)
    for last in range(len(gaps) - _BULK - 1, -1, -1):
        behind = gaps[last + 1 : last + 1 + _BULK] * rank ** (1 / 3)
        if gaps[last] > factor * np.median(behind) and gaps[last] > 1e-9 * abs(values).max():
            return last + 1
    return 0
