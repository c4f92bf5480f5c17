"""Error bars and intervals of nonlinear functions of means: the bootstrap over groups of samples.

A replicate draws as many groups as there are, with replacement. How often each was drawn is a row of integer weights,
and one matrix product, weights (replicates, groups) @ sums (groups, ...), gives the means of a batch of replicates.
"""

import operator
import warnings
from dataclasses import dataclass

import numpy as np

from . import _core
from ._jackknife import leaves, on_rows, read_groups
from .errors import ArgumentError, NNQFTWarning, StateError
from .networks import as_key

__all__ = ["Bootstrap", "bootstrap"]

_TENSOR = 2**16 - 1  # of the addresses (docs/conventions.md): no network has as many layers
_MAX_REPLICATES = 1 << 24
_MAX_GROUPS = 1 << 24  # a draw is floor(groups * word / 2**32): its probability is off by at most groups / 2**32


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """What `bootstrap` returns; the results have the structure that the function returned.

    Attributes
    ----------
    estimate : array, or dict or tuple of arrays
        The function at the mean over all groups.
    corrected : same structure
        2 estimate - mean of the replicates: the bias of first order in 1/groups removed.
    stderr : same structure
        Standard deviation of the replicates; nan with fewer than `min_groups` groups.
    n_groups : int
        Groups that held samples.
    n_boot : int
        Number of replicates.
    replicates : same structure, with a leading axis (n_boot,), or None
        The function at the mean of each replicate, unless `keep=False`.
    """

    estimate: object
    corrected: object
    stderr: object
    n_groups: int
    n_boot: int
    replicates: object

    def __repr__(self):
        return f"Bootstrap(n_groups={self.n_groups}, n_boot={self.n_boot})"

    def quantiles(self, q):
        """Quantiles of the replicates.

        Parameters
        ----------
        q : float or array
            Probabilities in [0, 1].

        Returns
        -------
        array, or dict or tuple of arrays
            The shape of `q`, followed by that of the result; float64, in its units. nan where `stderr` is.

        Raises
        ------
        ArgumentError
            If a probability lies outside [0, 1].
        StateError
            If the replicates were not kept.

        Notes
        -----
        Linear interpolation between order statistics; a quantile q is known to about sqrt(q (1 - q) / n_boot) in
        probability. Cost O(n_boot) per entry.

        Examples
        --------
        >>> result = bootstrap(np.arange(16.0), function=lambda mean: mean, seed=1)
        >>> bool(result.quantiles(0.1) < 7.5 < result.quantiles(0.9))
        True
        """
        if self.replicates is None:
            raise StateError("the replicates were not kept: call bootstrap(..., keep=True)")
        q = np.asarray(q, dtype=np.float64)
        if not ((q >= 0) & (q <= 1)).all():
            raise ArgumentError(f"probabilities must lie in [0, 1], got {q}")
        parts, restore = leaves(self.replicates)
        with np.errstate(invalid="ignore"):  # infinite replicates interpolate to nan
            return restore([np.quantile(x, q, axis=0) for x in parts])

    def interval(self, level=0.6827):
        """The percentile interval: quantiles (1 - level) / 2 and (1 + level) / 2.

        Parameters
        ----------
        level : float
            Probability in (0, 1); 0.6827 is one standard deviation of a normal law.

        Returns
        -------
        low, high : arrays, or dicts or tuples of arrays
            In the units of the result. nan where `stderr` is.

        Raises
        ------
        ArgumentError
            If the level lies outside (0, 1).
        StateError
            If the replicates were not kept.

        Notes
        -----
        Right to O(1/sqrt(groups)) in coverage; it follows monotone reparametrisations, not biases. Cost O(n_boot) per
        entry. B. Efron, R. Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

        Examples
        --------
        >>> low, high = bootstrap(np.arange(16.0), function=np.exp, seed=1).interval(0.9)
        >>> bool(low < np.exp(7.5) < high)
        True
        """
        if not 0 < level < 1:
            raise ArgumentError(f"level must lie between 0 and 1, got {level}")
        return self.quantiles((1 - level) / 2), self.quantiles((1 + level) / 2)


def bootstrap(
    values, counts=None, *, function, n_boot=1000, seed, with_counts=False, min_groups=8, keep=True, max_bytes=1 << 28
):
    """Bootstrap of a function of means, for groups of any sizes.

    Replicate b draws G of the G groups with replacement, w_bg of them the group g, and takes the function at

        mean_b = sum_g w_bg values_g / sum_g w_bg n_g.

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
    n_boot : int
        Number of replicates, 2 .. 2**24.
    seed : int, SeedSequence or Generator
        Replicate b draws its groups from Philox words at addresses (seed, b): they are the same on every machine,
        whatever `n_boot` and `max_bytes` are.
    with_counts : bool
        Call `function(means, n)` with the number of samples behind each row, float64, shape (batch,).
    min_groups : int
        With fewer groups there is no error bar (nan) and an `NNQFTWarning`.
    keep : bool
        Keep the replicates, 8 n_boot bytes per number of the result: quantiles need them, `stderr` does not.
    max_bytes : int
        Bound on the memory of one batch of means and results; at least one row is always taken.

    Returns
    -------
    Bootstrap
        `.estimate`, `.corrected`, `.stderr`, `.quantiles(q)`, `.interval(level)`, `.replicates`, `.n_groups` and
        `.n_boot`.

    Raises
    ------
    ShapeError
        If leading axes differ, or the function does not keep the batch axis.
    ArgumentError
        If no group has samples, a count is negative or not finite, or `n_boot` or `seed` is out of range.

    Notes
    -----
    One call of `function` on every replicate, in batches, and one matrix product n_boot x groups x inputs. The error is
    known to about 1 / sqrt(2 groups) and 1 / sqrt(2 n_boot), whichever is larger; that of a mean comes out smaller than
    the jackknife's by sqrt(1 - 1/groups). The draws have the same bits everywhere, the means differ between BLAS
    libraries by rounding. A group's values weigh in with the weight 0, too: an inf or nan makes every result nan.
    B. Efron, Annals of Statistics 7 (1979) 1.

    Examples
    --------
    >>> sums = np.arange(1.0, 17.0)                         # 16 groups of 2 samples
    >>> result = bootstrap(sums, np.full(16, 2), function=lambda mean: mean**2, seed=1)
    >>> float(result.estimate), bool(abs(result.stderr - 5.06) < 0.6)    # the jackknife says 5.06
    (18.0625, True)
    """
    n_boot, key = operator.index(n_boot), as_key(seed)
    if not 2 <= n_boot <= _MAX_REPLICATES:
        raise ArgumentError(f"n_boot must lie in 2..{_MAX_REPLICATES}, got {n_boot}")
    sums, counts, rebuild = read_groups(values, counts)
    n_groups = len(counts)
    if n_groups > _MAX_GROUPS:
        raise ArgumentError(f"{n_groups} groups; at most {_MAX_GROUPS} can be drawn from: add neighbours up")
    evaluate = on_rows(function, rebuild, with_counts)

    def means_of(weights):
        n = weights @ counts
        with np.errstate(invalid="ignore", over="ignore"):
            products = (weights @ x.reshape(n_groups, -1).astype(np.float64, copy=False) for x in sums)
            return [(p / n[:, None]).reshape((len(n),) + x.shape[1:]) for p, x in zip(products, sums, strict=True)], n

    estimate, restore = evaluate(*means_of(np.ones((1, n_groups))))
    estimate = [x[0] for x in estimate]
    enough = n_groups >= max(2, min_groups)
    if not enough:
        message = f"{n_groups} groups of samples give no error bar: {max(2, min_groups)} are needed"
        warnings.warn(message, NNQFTWarning, stacklevel=2)
    kept = [np.full((n_boot,) + x.shape, np.nan) for x in estimate] if keep else None
    linear, square = ([np.full_like(x, 0.0 if enough else np.nan) for x in estimate] for _ in range(2))
    row_bytes = 24 * n_groups + 16 * sum(x[0].size for x in sums) + 24 * sum(x.size for x in estimate)
    batch = int(np.clip(max_bytes // row_bytes, 1, n_boot))
    for first in range(0, n_boot if enough else 0, batch):
        rows = slice(first, min(first + batch, n_boot))
        results, _ = evaluate(*means_of(_weights(key, rows, n_groups)))
        with np.errstate(invalid="ignore", over="ignore"):
            for k, result in enumerate(results):
                d = result - estimate[k]
                linear[k] += d.sum(axis=0)
                square[k] += np.einsum("b...,b...->...", d, d)
                if keep:
                    kept[k][rows] = result
    with np.errstate(invalid="ignore", over="ignore"):
        bias = [a / n_boot for a in linear]
        stderr = [np.sqrt(np.maximum(a - n_boot * b * b, 0) / (n_boot - 1)) for a, b in zip(square, bias, strict=True)]
        corrected = [a - b for a, b in zip(estimate, bias, strict=True)]
    results = [restore(x) for x in (estimate, corrected, stderr)]
    return Bootstrap(*results, n_groups, n_boot, restore(kept) if keep else None)


def _weights(key, rows, n_groups):
    """How often each group was drawn: float64 (replicates, groups), every row adds up to `n_groups`."""
    words = _core.philox_words(key, _TENSOR, rows.start, rows.stop - rows.start, n_groups, 1)[:, :, 0]
    drawn = (words.astype(np.uint64) * np.uint64(n_groups) >> np.uint64(32)).astype(np.int64)
    drawn += n_groups * np.arange(len(words))[:, None]
    return np.bincount(drawn.ravel(), minlength=words.size).reshape(words.shape).astype(np.float64)
