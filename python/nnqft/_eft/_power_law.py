"""Straight lines through logarithms: the exponent with which each of many numbers scales, its error and R^2."""

from dataclasses import dataclass

import numpy as np

from .._estimate import Estimate
from ..errors import ArgumentError
from ..tensor import SymmetricTensor

__all__ = ["PowerLaw", "fit_power_law"]


@dataclass(frozen=True, eq=False)
class PowerLaw:
    """value ~ scale^slope, fitted to every tuple on its own.

    Attributes
    ----------
    slope : SymmetricTensor
        Exponent per tuple; `stderr` from the errors of the values where they have some, else from the scatter about
        the line. nan where a value is 0 or changes its sign.
    r2 : array, shape (count,)
        Share of the variance of log |value| that the line explains.
    n_points : int
        Scales in the fit.
    inputs : int or None
        Distinct inputs behind the tuples, if known: with 1, all tuples say the same thing.
    """

    slope: SymmetricTensor
    r2: np.ndarray
    n_points: int
    inputs: int | None = None

    @property
    def mean(self):
        """Average slope over the tuples that have one; its error is that of all tuples off together."""
        known = np.isfinite(self.slope.mean)
        if not known.any():
            return Estimate(np.nan, np.nan, self.slope.n, self.slope.how)
        return Estimate(self.slope.mean[known].mean(), self.slope.stderr[known].mean(), self.slope.n, self.slope.how)

    def __repr__(self):
        known = np.isfinite(self.slope.mean)
        if not known.any():
            return f"PowerLaw({self.n_points} points, no tuple keeps its sign)"
        slope, r2 = self.slope.mean[known], self.r2[known].min()
        some = "" if known.all() else f", {np.sum(~known)} of {len(known)} tuples change sign"
        some += ", inputs degenerate: one random variable" if self.inputs == 1 and len(self.slope) > 1 else ""
        return f"PowerLaw({self.n_points} points, slope {slope.min():.7g} .. {slope.max():.7g}, R^2 >= {r2:.7g}{some})"


def fit_power_law(scale, values, stderr, layout, inputs=None):
    """Least squares of log |values| (n, count) on log scale (n,); `stderr` (n, count) weighs them where it is positive.

    `layout`: a SymmetricTensor of `count` entries, for the indices of the result.
    """
    if len(scale) < 2:
        raise ArgumentError(f"a slope needs at least two scales, {len(scale)} came")
    t = np.log(scale)
    good = (
        (np.sign(values) == np.sign(values[0])).all(axis=0)
        & (values != 0).all(axis=0)
        & np.isfinite(values).all(axis=0)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        y, error = np.log(np.abs(values)), np.abs(stderr / values)
        weighted = (error > 0).all(axis=0)
        w = np.where(weighted, 1 / error**2, 1.0)
        centre = (w * t[:, None]).sum(axis=0) / w.sum(axis=0)
        dt = t[:, None] - centre
        spread = (w * dt**2).sum(axis=0)
        slope = (w * dt * y).sum(axis=0) / spread
        level = (w * y).sum(axis=0) / w.sum(axis=0)
        residual = (w * (y - level - slope * dt) ** 2).sum(axis=0)
        total = (w * (y - level) ** 2).sum(axis=0)
        scatter = residual / (len(t) - 2) if len(t) > 2 else np.zeros_like(residual)
        of_slope = np.sqrt(np.where(weighted, 1.0, scatter) / spread)
        # A constant is explained by a slope of 0; its R^2 would be 0 / 0.
        r2 = np.where(total > (1e-14 * np.abs(y).max(axis=0)) ** 2, 1 - residual / total, 1.0)
    slope, of_slope, r2 = (np.where(good, a, np.nan) for a in (slope, of_slope, r2))
    return PowerLaw(layout._like(slope, of_slope), r2, len(t), inputs)
