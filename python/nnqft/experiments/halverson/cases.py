"""What is measured: three nets, their inputs, ten widths, two estimators, two sizes of the study.

    f(x) = b1 + sum_j a_j h_j(x);   w ~ N(0, sigma_w^2 / d), a ~ N(0, sigma_w^2 / N), biases N(0, sigma_b^2)

sigma_w = 1; sigma_b = 1, for relu 0. Halverson, Maiti and Stoner, arXiv:2008.08601.
"""

from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from ...errors import ArgumentError
from ...networks import erf_net, gauss_net, relu_net

__all__ = ["CASES", "ESTIMATORS", "ORDERS", "PAPER", "QUICK", "WIDTHS", "Case", "Scale", "experiment_seed"]

WIDTHS = (2, 3, 4, 5, 10, 20, 50, 100, 500, 1000)
ORDERS = (2, 4, 6)
ESTIMATORS = ("direct", "gram")
LAWS = {"gauss": gauss_net, "relu": relu_net, "erf": erf_net}
NET_KEYS = {"gauss": 0, "relu": 1, "erf": 2}  # in the seeds of stored results: never renumber

_SQUARE = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_TETRAHEDRON = ((-1, -1, -1), (1, 1, -1), (-1, 1, 1), (1, -1, 1))
_INPUTS = {
    ("gauss", 1): np.array([-1, -0.6, -0.2, 0.2, 0.6, 1]) / 100,
    ("gauss", 2): np.array(_SQUARE) / 100,
    ("gauss", 3): np.array(_TETRAHEDRON) / 100,
    ("relu", 1): np.array([0.2, 0.4, 0.6, 0.8, 1.0, 1.2]),
    ("relu", 2): np.array([(0.5, 0.5), (0.5, 1), (1, 0.5), (1, 1)]),
    ("relu", 3): np.array([(0.2, 0.2, 0.2), (1, 1, 0.2), (0.2, 1, 1), (1, 0.2, 1)]),
    ("erf", 1): np.array([-1, -0.6, -0.2, 0.2, 0.6, 1]),
    ("erf", 2): np.array(_SQUARE, dtype=float),
    ("erf", 3): np.array(_TETRAHEDRON, dtype=float),
}


@dataclass(frozen=True)
class Case:
    """One net at the paper's inputs for one dimension."""

    net: str
    dim_in: int

    @cached_property
    def x(self):
        """Inputs, float64, shape (n_points, dim_in)."""
        return _INPUTS[self.net, self.dim_in].reshape(-1, self.dim_in)

    def law(self, width):
        """The ensemble at one width."""
        return LAWS[self.net](width, dim_in=self.dim_in)

    @property
    def title(self):
        return f"{self.net.capitalize() if self.net != 'relu' else 'ReLU'}-net, d = {self.dim_in}"


CASES = tuple(Case(net, dim_in) for net, dim_in in _INPUTS)


@dataclass(frozen=True)
class Scale:
    """Size of a study: `n_experiments` runs of `n_nets` drawn networks for every net, dimension, width and estimator.

    The spread of the experiments gives the error bars, so there must be 8 or more. `budget` (seconds, two cores) is
    only reported.
    """

    name: str
    n_experiments: int
    n_nets: int
    widths: tuple = WIDTHS
    dims: tuple = (1, 2, 3)
    budget: float | None = None

    def __post_init__(self):
        if self.n_experiments < 8:
            raise ArgumentError(f"n_experiments={self.n_experiments}: error bars from their spread take 8 or more")
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "dims", tuple(self.dims))
        rising = bool(self.widths) and all(a < b for a, b in zip((0, *self.widths), self.widths))
        if self.n_nets < 16 or not rising or not self.dims or list(self.dims) != sorted({1, 2, 3} & set(self.dims)):
            raise ArgumentError(
                f"a scale needs n_nets >= 16, rising widths >= 1, rising dims among 1, 2, 3; got {self}"
            )

    @property
    def total(self):
        """Networks for every net, dimension, width and estimator."""
        return self.n_experiments * self.n_nets

    @property
    def cases(self):
        return tuple(case for case in CASES if case.dim_in in self.dims)

    def to_dict(self):
        state = asdict(self)
        del state["budget"]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in state.items()}

    @classmethod
    def of(cls, scale):
        """The scale of that name, or a Scale as it is."""
        if isinstance(scale, cls):
            return scale
        known = {"quick": QUICK, "paper": PAPER}
        if not isinstance(scale, str) or scale not in known:
            raise ArgumentError(f"scale must be 'quick', 'paper' or a Scale, got {scale!r}")
        return known[scale]


QUICK = Scale("quick", 16, 40_000, widths=(2, 3, 4, 5, 10, 20, 50, 100), budget=60.0)
PAPER = Scale("paper", 100, 100_000, budget=1200.0)


def experiment_seed(seed, case, width, experiment):
    """Seed of one experiment, its own stream for every net, width, dimension and number; both estimators use it.

    Examples
    --------
    >>> experiment_seed(0, Case("erf", 1), 5, 3).spawn_key
    (2, 5, 1, 3)
    """
    return np.random.SeedSequence(seed, spawn_key=(NET_KEYS[case.net], width, case.dim_in, experiment))
