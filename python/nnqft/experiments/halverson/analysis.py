"""From moments to what the paper plots: deviations and connected functions with error bars, backgrounds, exact values.

    m_n = (G^(n) - G_GP^(n)) / G_GP^(n),    g_n = G_c^(n) / G_GP^(n)          (per tuple of inputs; plotted: mean |.|)

Means are those of all networks together, error bars the delete-one jackknife over experiments; the background is the
standard deviation between experiments. "direct" takes the 2-point function in m_n from the same sample, as the paper
does; "gram" puts the kernel K for it, an identity at every width, so that its m_4 and g_4 are the same number.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from ..._plan import make_plan
from ...ensemble import exact_correlators
from ...wick import jackknife
from .cases import ORDERS, Case
from .noise import QUANTITIES, OneNet, one_net

__all__ = ["Measured", "Series", "analyse", "exact_values", "series"]

HEAVY_TAIL = 0.25  # an error bar that is not known better than this is not used
LEAST_SIGNAL = 3.0  # standard errors


@dataclass(frozen=True, eq=False)
class Measured:
    """One quantity of one net at one width by one estimator; arrays run over the unique tuples of inputs."""

    case: Case
    width: int
    estimator: str
    quantity: str
    mean: np.ndarray
    stderr: np.ndarray
    exact: np.ndarray
    value: float  # mean |.| over tuples, biased upward by noise where noise dominates
    value_stderr: float
    aligned: float  # mean of sign(exact) times the quantity: the same number without that bias
    aligned_stderr: float
    background: float  # mean over tuples of the standard deviation between experiments
    spread: float  # that of the first tuple, n times the first input
    n_nets: int  # per experiment
    n_experiments: int
    one_net: OneNet

    @property
    def exact_value(self):
        return float(abs(self.exact).mean())

    @property
    def exact_spread(self):
        """What `spread` should be, from exact moments."""
        return self.one_net.std / sqrt(self.n_nets)

    @property
    def tail(self):
        """Relative standard error of the error bars, were they drawn from exact moments' kurtosis."""
        return self.one_net.tail(self.n_nets * self.n_experiments)

    @property
    def verdict(self):
        """ "heavy tail": neither mean nor error bar can be trusted; "background": not above it; else "measured"."""
        if self.tail > HEAVY_TAIL:
            return "heavy tail"
        return "measured" if self.value > self._level else "background"

    @property
    def in_reach(self):
        """Should it stand above the background, by its exact value? Fits use these points.

        Chosen by the measured value instead, points near the background would be there because they fluctuated upward,
        and slopes would come out too flat.
        """
        return self.tail <= HEAVY_TAIL and self.exact_value > self._level

    @property
    def _level(self):
        return max(self.background, LEAST_SIGNAL * self.value_stderr)


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity of one net by one estimator against width: what `nnqft.plot.against_width` draws."""

    case: Case
    estimator: str
    quantity: str
    points: tuple

    def _array(self, name):
        return np.array([getattr(point, name) for point in self.points])

    widths = property(lambda self: self._array("width"))
    value = property(lambda self: self._array("value"))
    stderr = property(lambda self: self._array("value_stderr"))
    background = property(lambda self: self._array("background"))
    exact = property(lambda self: self._array("exact_value"))
    trusted = property(lambda self: self._array("verdict") != "heavy tail")
    resolved = property(lambda self: self._array("verdict") == "measured")
    in_reach = property(lambda self: self._array("in_reach"))


def exact_values(scale):
    """Exact correlators of every case, dict case -> ExactCorrelators at width 1 (see its `at_width`)."""
    return {case: exact_correlators(case.law(1), case.x, orders=ORDERS) for case in scale.cases}


def analyse(sample, exact):
    """All quantities of one sample.

    sample : Sample; exact : ExactCorrelators at its width. Returns dict, name -> Measured.
    """
    plan = make_plan(sample.case.law(sample.width), len(sample.case.x), ORDERS, sample.estimator, None)
    truth = {
        name: (exact.deviation(n) if name[0] == "m" else exact.connected(n)).mean for name, n in QUANTITIES.items()
    }
    truth |= {name: truth[name] / exact.gp(n).mean for name, n in QUANTITIES.items() if name[0] == "g"}
    signs = {name: np.where(value < 0, -1.0, 1.0) for name, value in truth.items()}

    def functions(rows):
        out = _quantities(plan, exact, rows)
        averages = {name + "/value": abs(out[name]).mean(1) for name in QUANTITIES}
        averages |= {name + "/aligned": (signs[name] * out[name]).mean(1) for name in QUANTITIES}
        return out | averages

    result = jackknife(sample.moments, function=functions)
    each = _quantities(plan, exact, sample.moments)
    measured = {}
    for name in QUANTITIES:
        mean, spread = result.corrected[name], each[name].std(axis=0, ddof=1)
        measured[name] = Measured(
            sample.case, sample.width, sample.estimator, name, mean, result.stderr[name], truth[name],
            value=float(abs(mean).mean()), value_stderr=float(result.stderr[name + "/value"]),
            aligned=float((signs[name] * mean).mean()), aligned_stderr=float(result.stderr[name + "/aligned"]),
            background=float(spread.mean()), spread=float(spread[0]), n_nets=sample.n_nets,
            n_experiments=len(sample.moments), one_net=one_net(sample.case, sample.width, name, sample.estimator),
        )  # fmt: skip
    return measured


def _quantities(plan, exact, rows):
    """m_n and g_n of every row of moments, dict name -> array (rows, tuples)."""
    gaussian = {n: exact.gp(n).mean for n in ORDERS}
    connected = {n: plan.connected(rows, n) for n in ORDERS}
    out = {f"g{n}": connected[n] / gaussian[n] for n in ORDERS[1:]}
    for n in ORDERS:
        if n == 2 or plan.name == "direct":
            difference = plan.full(rows, n) - gaussian[n]
        else:
            difference = exact._exact_difference(connected, n)
        out[f"m{n}"] = difference / gaussian[n]
    return out


def series(measured, case, estimator, quantity):
    """The points of one curve from the list of all `analyse`d samples."""
    points = [m[quantity] for m in measured if (m[quantity].case, m[quantity].estimator) == (case, estimator)]
    return Series(case, estimator, quantity, tuple(sorted(points, key=lambda p: p.width)))
