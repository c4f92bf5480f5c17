"""Error bars of nonlinear functions of means: the delete-one-group jackknife."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .errors import ArgumentError, NNQFTWarning, ShapeError

__all__ = ["Jackknife", "jackknife", "replicates"]


@dataclass(frozen=True)
class Jackknife:
    """What `jackknife` returns; the three results have the structure that the function returned.

    Attributes
    ----------
    estimate : array, or dict or tuple of arrays
        The function at the mean over all groups.
    corrected : same structure
        Estimate with its bias of first order in 1/groups removed.
    stderr : same structure
        Standard error; nan with fewer than `min_groups` groups.
    n_groups : int
        Groups that held samples.
    """

    estimate: object
    corrected: object
    stderr: object
    n_groups: int


def jackknife(values, counts=None, *, function, with_counts=False, min_groups=8, max_bytes=1 << 28):
    """Delete-one-group jackknife of a function of means, for groups of any sizes.

    With theta_g the estimate without group g, n_g its size and h_g = n / n_g:

        corrected = theta - sum_g (1 - 1/h_g) (theta_g - theta)
        stderr^2  = 1/G sum_g (P_g - corrected)^2 / (h_g - 1),   P_g = h_g theta - (h_g - 1) theta_g

    Parameters
    ----------
    values : array, shape (groups, ...), or dict or sequence of such arrays
        Sum of the samples of each group, any units.
    counts : array, shape (groups,), optional
        Number of samples in each group; groups with 0 are left out. Default: 1, so that `values` are single samples
        or means over groups of equal size.
    function : callable
        Maps means, float64 arrays of shape (batch, ...) in the structure of `values`, to results of shape
        (batch, ...): an array, or a dict or sequence of arrays. Rows must be independent of each other.
    with_counts : bool
        Call `function(means, n)` with the number of samples behind each row, float64, shape (batch,).
    min_groups : int
        With fewer groups there is no error bar (nan) and an `NNQFTWarning`.
    max_bytes : int
        Bound on the memory of one batch of leave-one-out means and results; at least one row is always taken.

    Returns
    -------
    Jackknife
        `.estimate`, `.corrected`, `.stderr` (without the batch axis) and `.n_groups`.

    Raises
    ------
    ShapeError
        If leading axes differ, or the function does not keep the batch axis.
    ArgumentError
        If no group has samples or a count is negative or not finite.

    Notes
    -----
    One call of `function` on every row, in batches; memory O(max_bytes + results). The error itself is known to about
    1 / sqrt(2 groups): 9 % with 64. Right for smooth functions of means, not for medians. F. Busing, E. Meijer,
    R. van der Leeden, Statistics and Computing 9 (1999) 3, "Delete-m jackknife for unequal m".

    Examples
    --------
    >>> sums = np.arange(1.0, 17.0)                         # 16 groups of 2 samples
    >>> result = jackknife(sums, np.full(16, 2), function=lambda mean: mean**2)
    >>> float(result.estimate), round(float(result.stderr), 3)
    (18.0625, 5.059)
    """
    sums, counts, rebuild = read_groups(values, counts)
    evaluate = on_rows(function, rebuild, with_counts)
    n_groups, n = len(counts), counts.sum()
    totals = [x.sum(axis=0, dtype=np.float64) for x in sums]

    theta, restore = evaluate([np.asarray(t)[np.newaxis] / n for t in totals], n[np.newaxis])
    theta = [x[0] for x in theta]
    min_groups = max(2, min_groups)
    if n_groups < min_groups:
        message = f"{n_groups} groups of samples give no error bar: {min_groups} are needed"
        warnings.warn(message, NNQFTWarning, stacklevel=2)
    if n_groups < 2:
        unknown = [np.full_like(x, np.nan) for x in theta]
        return Jackknife(restore(theta), restore(unknown), restore(unknown), n_groups)

    # Three sums over d_g = theta_g - theta give both results without storing the theta_g: with s = theta - corrected
    # = sum (1 - 1/h) d, stderr^2 = [sum (h - 1) d^2 - 2 s sum d + s^2 sum 1/(h - 1)] / G. s is small, so this is safe.
    h = n / counts
    s, linear, square = ([np.zeros_like(x) for x in theta] for _ in range(3))
    row_bytes = 8 * sum(2 * x.size for x in totals) + 8 * sum(3 * x.size for x in theta)
    batch = int(np.clip(max_bytes // max(row_bytes, 1), 1, n_groups))
    for first in range(0, n_groups, batch):
        g = slice(first, first + batch)
        with np.errstate(invalid="ignore"):  # a group may hold inf or nan: the results are nan then
            means = [((t - x[g]).T / (n - counts[g])).T for t, x in zip(totals, sums, strict=True)]
        for k, result in enumerate(evaluate(means, n - counts[g])[0]):
            with np.errstate(invalid="ignore"):
                d = result - theta[k]
                s[k] += np.einsum("g,g...->...", 1 - 1 / h[g], d)
                linear[k] += d.sum(axis=0)
                square[k] += np.einsum("g,g...,g...->...", h[g] - 1, d, d)
    curvature = np.sum(1 / (h - 1))
    corrected = [t - b for t, b in zip(theta, s, strict=True)]
    if n_groups < min_groups:
        stderr = [np.full_like(x, np.nan) for x in theta]
    else:
        terms = zip(square, s, linear, strict=True)
        stderr = [np.sqrt(np.maximum(a - 2 * b * c + b * b * curvature, 0) / n_groups) for a, b, c in terms]
    return Jackknife(restore(theta), restore(corrected), restore(stderr), n_groups)


def replicates(values, counts=None, *, function, max_bytes=1 << 28):
    """The same jackknife with what its errors are made of, for covariances: `function` returns one array (batch, n).

    Returns
    -------
    estimate, corrected : arrays, shape (n,)
        As in `Jackknife`.
    rows : array, shape (groups, n)
        (P_g - corrected) / sqrt(G (h_g - 1)): rows.T @ rows is the covariance, and its diagonal stderr^2.
    """
    sums, counts, rebuild = read_groups(values, counts)
    evaluate = on_rows(function, rebuild, False)
    n, totals = counts.sum(), [x.sum(axis=0, dtype=np.float64) for x in sums]
    estimate = evaluate([np.asarray(t)[np.newaxis] / n for t in totals], n[np.newaxis])[0][0][0]
    batch = int(np.clip(max_bytes // (16 * sum(t.size for t in totals) + 16 * estimate.size + 1), 1, len(counts)))
    change = []
    for first in range(0, len(counts), batch):
        g = slice(first, first + batch)
        with np.errstate(invalid="ignore"):  # a group may hold inf or nan: the results are nan then
            means = [((t - x[g]).T / (n - counts[g])).T for t, x in zip(totals, sums, strict=True)]
            change.append(evaluate(means, n - counts[g])[0][0] - estimate)
    change, h = np.concatenate(change), n / counts
    with np.errstate(invalid="ignore"):
        shift = np.einsum("g,gi->i", 1 - 1 / h, change)
        rows = (shift - (h - 1)[:, np.newaxis] * change) / np.sqrt(len(h) * (h - 1))[:, np.newaxis]
    return estimate, estimate - shift, rows


def read_groups(values, counts):
    """Sums of the groups that hold samples (a list of arrays), their sizes, and what puts such a list back together."""
    sums, rebuild = leaves(values)
    sums = [np.asarray(x) for x in sums]
    lengths = {x.shape[:1] for x in sums}
    if len(lengths) != 1 or lengths == {()}:
        raise ShapeError(f"values need one common leading axis of groups, got shapes {[x.shape for x in sums]}")
    n_groups = len(sums[0])
    counts = np.ones(n_groups) if counts is None else np.asarray(counts, dtype=np.float64)
    if counts.shape != (n_groups,):
        raise ShapeError(f"counts has shape {counts.shape}; expected ({n_groups},), one per group")
    if not (np.isfinite(counts).all() and (counts >= 0).all() and counts.any()):
        raise ArgumentError("counts must be finite and non-negative, and at least one group must hold samples")
    if not counts.all():
        sums, counts = [x[counts > 0] for x in sums], counts[counts > 0]
    return sums, counts, rebuild


def on_rows(function, rebuild, with_counts):
    """evaluate(means, counts) -> results as a list of arrays (batch, ...), and what restores their structure."""

    def evaluate(means, counts):
        results, restore = leaves(function(rebuild(means), counts) if with_counts else function(rebuild(means)))
        results = [np.asarray(x, dtype=np.float64) for x in results]
        if any(x.shape[:1] != means[0].shape[:1] for x in results):
            raise ShapeError(
                f"function() must keep the batch axis: {len(means[0])} rows in, shapes {[x.shape for x in results]} out"
            )
        return results, restore

    return evaluate


def leaves(tree):
    """The arrays of a dict, a sequence, or a single array, and the function that puts such a list back."""
    if isinstance(tree, Mapping):
        return list(tree.values()), lambda leaves: dict(zip(tree, leaves, strict=True))
    if isinstance(tree, tuple | list):
        return list(tree), tuple
    return [tree], lambda leaves: leaves[0]
