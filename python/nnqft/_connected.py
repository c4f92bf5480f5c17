"""Connected n-point functions of samples, with their statistical errors.

Samples -> power sums of groups -> an estimate of the joint cumulant from the sums of all groups, and from those of
all but one for the error bar.
"""

import operator
import os
import warnings
from collections.abc import Mapping

import numpy as np

from . import _core
from ._cumulants import FROM_MOMENTS, PackedOrders, check_order, refuse_weighted
from ._jackknife import jackknife
from ._kstatistics import degree, unbiased_rows
from ._run import thread_count
from .errors import ArgumentError, NNQFTWarning, ShapeError
from .tensor import SymmetricTensor

__all__ = ["connected"]

_ESTIMATORS = {"kstat": "kstat", "jackknife": "jackknife", None: "plug-in"}
_LARGEST_EXPONENT = 900  # of a product of n fields: sums and products of a few such stay within 2**+-1022
_TILE = 8  # rows that the kernels work on at a time
_SURPRISE = 8.0  # standard errors; 16 normal samples have a mean that far off with a probability of 1e-6


def connected(samples, n, *, counts=None, even=True, unbiased="kstat", blocks=64):
    """Connected n-point function (joint cumulant) of an ensemble, with its statistical error.

    G_c^(4)_{ijkl} = <f_i f_j f_k f_l> - [3 pairings of <f f><f f>] in an even theory; without `even` also the
    partitions with odd blocks: see `cumulants`.

    Parameters
    ----------
    samples : array, shape (nets, points), float32 or float64; or dict {order: array, shape (groups, count)}, float64
        One row per network, independent of each other, any units. Or the sums of products over groups of networks,
        packed, of the orders 1, 2, .., n (2, 4, .., n if `even`), as `MomentAccumulator.sums` gives them.
    n : int
        Number of legs: 2, 4, 6, 8, or 1 .. 8 with `even=False`.
    counts : array, shape (groups,)
        Number of networks in each group, with group sums only: `connected(sums, n, counts=counts)`.
    even : bool
        All odd moments of the theory vanish, as for networks whose last layer's law is symmetric. That is assumed, not
        enforced, but a mean that is 8 standard errors off zero draws a warning. With False no mean is assumed.
    unbiased : {"kstat", "jackknife", None}
        How the bias O(1/nets) of products of measured moments is removed: k-statistics have none; the jackknife leaves
        O(1/nets^2) at a third to a half of the cost; None leaves it.
    blocks : int
        Number of groups, of consecutive networks, at most one per network; the error bar comes from their scatter.

    Returns
    -------
    SymmetricTensor
        `.mean`, `.stderr` packed over sorted multi-indices, in units of `samples` ** n; `.how` names the estimator.
        With fewer than 8 groups there is no error bar (nan), and a warning says so.

    Raises
    ------
    ShapeError
        If `samples` is not a float array with two axes, 2 networks or more and 1 point or more, or sums do not fit
        each other.
    ArgumentError
        If an argument is out of range, a sample is not finite, there are fewer networks than the k-statistic needs
        (n, or n/2 if `even`), or the sums would not fit into memory.

    Notes
    -----
    Sums: C(m+n-1, n) products per network over m points. Then blocks + 1 evaluations of 2^(n-1) - 1 products per entry
    (2^(n-2) - 1 if even), times ceil(n/2) (ceil(n/4)) for k-statistics. Memory 8 blocks C(m+n-1, n) bytes. Fields are
    centred first unless `even`, and scaled by powers of two if products would leave the range of doubles. The relative
    error of the error bar is 1 / sqrt(2 blocks). Formulas and sources: `cumulants`, `kstatistics`, `jackknife`.

    Examples
    --------
    >>> samples = np.random.default_rng(1).normal(size=(10_000, 3))
    >>> G4 = nnqft.wick.connected(samples, 4)                      # a Gaussian has none
    >>> G4.dense().shape, bool(np.all(abs(G4.mean) < 5 * G4.stderr))
    ((3, 3, 3, 3), True)
    """
    step = 2 if even else 1
    n = check_order(n, step, "connected functions")
    if unbiased not in _ESTIMATORS:
        raise ArgumentError(f'unbiased must be "kstat", "jackknife" or None, got {unbiased!r}')
    shift = exponents = None
    if isinstance(samples, Mapping):
        rows, counts, size = _read_sums(samples, counts, n, even)
    elif counts is not None:
        raise ArgumentError("counts goes with group sums {order: array}; every row of samples counts once")
    else:
        samples, exponents = _scaled(_check_samples(samples), n)
        size, shift = samples.shape[1], samples.mean(axis=0, dtype=np.float64)
        if even:
            _warn_of_means(samples, shift)
            shift = np.zeros(size)
        rows, counts = _group_sums(samples, range(step, n + 1, step), blocks, shift)

    least = degree(n, step)
    if unbiased == "kstat" and counts.sum() < least:
        raise ArgumentError(f"the k-statistic of order {n} needs at least {least} samples, got {counts.sum():g}")
    enough = unbiased != "kstat" or counts.sum() - counts.max() >= least  # without a group, too

    def estimate(means, counts):
        if unbiased == "kstat":
            return unbiased_rows(means, counts, step, size)[-1]
        return FROM_MOMENTS[step](list(means), size, None)[-1]

    min_groups = 8 if enough else np.count_nonzero(counts) + 1
    max_bytes = max(1 << 24, _TILE * 40 * sum(x.shape[1] for x in rows))  # stays in cache, fills the tiles
    result = jackknife(rows, counts, function=estimate, with_counts=True, min_groups=min_groups, max_bytes=max_bytes)
    mean, stderr = result.corrected if unbiased == "jackknife" else result.estimate, result.stderr
    if n == 1 and shift is not None:
        mean = mean + shift
    if exponents is not None:
        exponents = exponents[_core.multiset_index(size, n)].sum(axis=1)
        with np.errstate(over="ignore", under="ignore"):
            mean, stderr = np.ldexp(mean, exponents), np.ldexp(stderr, exponents)
    how = {"estimator": _ESTIMATORS[unbiased], "even": bool(even), "groups": result.n_groups}
    return SymmetricTensor(mean, stderr, order=n, size=size, n=int(counts.sum()), how=how)


def _read_sums(sums, counts, n, even):
    """(rows, counts, number of fields) of group sums."""
    refuse_weighted(sums)
    packed = PackedOrders(sums, n, even, "group sums")
    shape, counts = np.shape(sums[packed.step]), np.asarray([] if counts is None else counts, dtype=np.float64)
    if len(shape) != 2 or counts.shape != shape[:1]:
        raise ShapeError(
            f"group sums have shape {shape} and counts {counts.shape}; (groups, count) and (groups,) are expected"
        )
    if not (np.isfinite(counts) & (counts >= 0)).all() or not counts.any():
        raise ArgumentError("counts must be finite and non-negative, and at least one group must hold samples")
    return packed.rows, counts, packed.size


def _check_samples(samples):
    if isinstance(samples, np.ma.MaskedArray):
        raise ShapeError("samples is a masked array; connected() takes plain arrays: select the networks that count")
    samples = samples if isinstance(samples, np.ndarray) else np.asarray(samples, dtype=np.float64)
    if samples.dtype not in (np.float32, np.float64):
        raise ShapeError(
            f"samples has dtype {samples.dtype}; connected() takes float32 or float64: call samples.astype(np.float64)"
        )
    if samples.ndim != 2 or samples.shape[0] < 2 or samples.shape[1] < 1:
        raise ShapeError(
            f"samples has shape {samples.shape}; expected (nets, points) with 2 networks or more and 1 point or more"
        )
    bad = ~np.isfinite(samples).all(axis=1)
    if bad.any():
        raise ArgumentError(
            f"{np.count_nonzero(bad)} of {len(samples)} networks have values that are not finite, the first is row "
            f"{np.argmax(bad)}: leave them out if that is meant"
        )
    return samples


def _scaled(samples, n):
    """(samples / 2**e, e), |f| < 2**e, if products of n fields could over- or underflow; else (samples, None)."""
    _, exponents = np.frexp(np.maximum(samples.max(axis=0), -samples.min(axis=0)).astype(np.float64))
    if np.abs(exponents).max() * n <= _LARGEST_EXPONENT:
        return samples, None
    return np.ldexp(samples.astype(np.float64), -exponents), exponents.astype(np.int64)


def _warn_of_means(samples, mean):
    """Odd moments that do not vanish make all numbers of an even theory wrong; the mean is the one cheap to see."""
    error = samples.std(axis=0, ddof=1, dtype=np.float64) / np.sqrt(len(samples))
    off = np.abs(mean) > _SURPRISE * error
    if len(samples) >= 16 and off.any():
        i = int(np.argmax(off))
        message = (
            f"even=True assumes that odd moments vanish, but the mean of point {i} is "
            f"{abs(mean[i]) / error[i] if error[i] else np.inf:.3g} standard errors off zero: pass even=False"
        )
        warnings.warn(message, NNQFTWarning, stacklevel=3)


def _group_sums(samples, orders, blocks, shift):
    """Sums of all products of f - shift over groups of rows, one array (groups, count) per order, and group sizes."""
    n_samples, size = samples.shape
    blocks = min(operator.index(blocks), n_samples)
    if blocks < 1:
        raise ArgumentError(f"blocks must be positive, got {blocks}")
    length = n_samples // blocks
    counts = np.diff(np.append(np.arange(0, n_samples, length), n_samples)).astype(np.float64)
    entries = [_core.multiset_count(size, n) for n in orders]
    need = 8 * sum(entries) * (len(counts) + 10 * _TILE)
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else need
    if need > have:
        raise ArgumentError(
            f"sums of {sum(entries)} products over {blocks} groups take about {need / 1e9:.3g} GB, this machine has "
            f"{have / 1e9:.3g}: use fewer points or blocks"
        )
    # To subtract the shift a copy is made, of 64 MB at a time.
    step = length * max(1, (1 << 23) // (length * size)) if shift.any() else n_samples
    parts = (samples[first : first + step] for first in range(0, n_samples, step))
    parts = (part - shift if shift.any() else part for part in parts)
    sums = [_core.moment_block_sums(part, orders, length, thread_count(None)) for part in parts]
    sums = sums[0] if len(sums) == 1 else np.concatenate(sums)
    more = len(sums) - blocks  # rows that remain make shorter blocks, and join the first groups
    sums[:more] += sums[blocks:]
    counts[:more] += counts[blocks:]
    return np.split(sums[:blocks], np.cumsum(entries)[:-1], axis=1), counts[:blocks]
