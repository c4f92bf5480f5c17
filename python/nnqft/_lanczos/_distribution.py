"""Distribution functions of quadratures: running sums, what k steps leave open, counts.

In exact arithmetic, with x between the nodes j and j + 1 of a probe's rule, its measure has
w_1 + .. + w_{j-1} <= F(x) <= w_1 + .. + w_{j+1}  (Chebyshev, Markov, Stieltjes; Szego, Orthogonal Polynomials, 3.41).
"""

from dataclasses import dataclass

import numpy as np

from .._estimate import Estimate

__all__ = ["CESM", "Count", "below", "bounds", "mean_and_error"]


@dataclass(frozen=True)
class Count:
    """Number of eigenvalues in an interval.

    Attributes
    ----------
    estimate : Estimate
        The number, with its standard error over probes; nan where a probe has no node inside and its Krylov space is
        not closed: k steps may not have resolved what is there.
    low, high : float
        What k steps of Lanczos leave open for certain, averaged over probes: the Chebyshev-Markov-Stieltjes bounds.
        They are wider than the usual error by the two nodes next to each end; more steps bring them together.
    interval : (float, float)
        Closed at both ends, in the operator's units.
    """

    estimate: Estimate
    low: float
    high: float
    interval: tuple

    def __float__(self):
        return float(self.estimate)

    def __repr__(self):
        return f"Count({self.estimate!r} in [{self.interval[0]:.3g}, {self.interval[1]:.3g}], bounds {self.low:.4g} to {self.high:.4g})"


@dataclass(frozen=True, eq=False, repr=False)
class CESM:
    """Cumulative empirical spectral measure, without bins or smoothing, at every node of every probe.

    Attributes
    ----------
    x : array, shape (m,), float64
        All nodes, increasing, each once, in the operator's units; the curves are constant between them.
    share : array, shape (m,)
        Weight at or below x, the mean over probes; the last one is 1.
    above : array, shape (m,)
        Weight above x: 1 - share, summed from the other end, so that a small tail keeps its digits.
    stderr : array, shape (m,)
        Standard error of both over probes: nan from one probe, 0 if exact.
    low, high : arrays, shape (m,)
        Bounds on `share` from finite k, averaged over probes.
    """

    x: np.ndarray
    share: np.ndarray
    above: np.ndarray
    stderr: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, nodes, weights, complete, exact):
        """From nodes and weights of probes (probes, k), nan as padding."""
        x = np.unique(nodes[~np.isnan(nodes)])
        share, stderr = mean_and_error(below(nodes, weights, x, "right"), exact)
        above = below(-nodes[:, ::-1], weights[:, ::-1], -x, "left").mean(axis=0)
        low, high = bounds(nodes, weights, complete, x)
        return cls(x, share, above, stderr, low.mean(axis=0), high.mean(axis=0))

    def __repr__(self):
        return f"CESM({len(self.x)} steps from {self.x[0]:.6g} to {self.x[-1]:.6g})"


def mean_and_error(values, exact=False):
    """Mean over the first axis and its standard error: nan from one value, 0 if `exact`."""
    values = np.asarray(values, dtype=np.float64)
    mean = values.mean(axis=0)
    if exact:
        return mean, np.zeros_like(mean)
    if len(values) < 2:
        return mean, np.full_like(mean, np.nan)
    return mean, values.std(axis=0, ddof=1) / np.sqrt(len(values))


def below(nodes, weights, x, side):
    """Mass of every probe below x ("left") or up to and with x ("right"): shape (probes, len(x))."""
    out = np.empty((len(nodes), len(x)))
    for row, here, shares in zip(out, nodes, weights, strict=True):
        used = ~np.isnan(here)
        total = np.concatenate([[0.0], np.cumsum(shares[used])])
        row[:] = np.minimum(total[np.searchsorted(here[used], x, side=side)], 1.0)
    return out


def bounds(nodes, weights, complete, x):
    """Lower and upper bound on the mass of every probe's own measure up to x: two arrays (probes, len(x))."""
    low, high = np.empty((2, len(nodes), len(x)))
    for p, (here, shares) in enumerate(zip(nodes, weights, strict=True)):
        used = ~np.isnan(here)
        at = np.searchsorted(here[used], x, side="right")
        total = np.concatenate([[0.0], np.minimum(np.cumsum(shares[used]), 1.0)])
        if complete[p]:
            low[p] = high[p] = total[at]
        else:
            low[p], high[p] = total[np.maximum(at - 1, 0)], total[np.minimum(at + 1, len(total) - 1)]
    return low, high
