"""Fits against width, weighted by the errors: power laws and the two-term expansion A/N + B/N^2."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2 as chi2_law

__all__ = ["Fit", "expansion", "power_law"]


@dataclass(frozen=True)
class Fit:
    """Parameters of a weighted fit; with as many points as parameters there is no chi^2 (nan)."""

    values: np.ndarray
    stderr: np.ndarray
    chi2: float
    dof: int

    @property
    def p_value(self):
        return float(chi2_law.sf(self.chi2, self.dof)) if self.dof else float("nan")


def power_law(widths, values, stderr):
    """value = exp(a) width^slope: `Fit` of (slope, a), or None with fewer than two points.

    A straight line in logarithms starts it; then least squares of the values themselves, whose errors are symmetric
    and do not depend on the value, so that upward fluctuations get no larger weight.

    Examples
    --------
    >>> float(power_law([2, 4, 8], [1.0, 0.5, 0.25], [0.01] * 3).values[0].round(6))
    -1.0
    """
    widths, values, stderr = (np.asarray(a, dtype=float) for a in (widths, values, stderr))
    if len(widths) < 2:
        return None
    design = np.column_stack([np.log(widths), np.ones_like(widths)])
    fit = _linear(design, np.log(values), stderr / values)
    for _ in range(30):  # Gauss-Newton, from some 3 standard errors above 0
        model = np.exp(design @ fit.values)
        step = _linear(model[:, None] * design, values - model, stderr)
        fit = Fit(fit.values + step.values, step.stderr, step.chi2, step.dof)
        if np.abs(step.values).max() < 1e-12:
            break
    return fit


def expansion(widths, values, stderr):
    """value = A / width + B / width^2: `Fit` of (A, B), or None with fewer than two points.

    Examples
    --------
    >>> expansion([1, 2, 4], [3.0, 1.0, 0.375], [0.01] * 3).values.round(6).tolist()
    [1.0, 2.0]
    """
    widths, values, stderr = (np.asarray(a, dtype=float) for a in (widths, values, stderr))
    if len(widths) < 2:
        return None
    return _linear(np.column_stack([1 / widths, 1 / widths**2]), values, stderr)


def _linear(design, values, stderr):
    n, k = design.shape
    weighted, target = design / stderr[:, None], values / stderr
    scale = np.linalg.norm(weighted, axis=0)
    inverse = np.linalg.pinv(weighted / scale) / scale[:, None]
    parameters = inverse @ target
    residual = target - weighted @ parameters
    return Fit(parameters, np.sqrt((inverse**2).sum(1)), float(residual @ residual) if n > k else float("nan"), n - k)
