"""Interacting theories by deforming the density of the parameters: reweighted ensembles.

    P(theta) -> P(theta) exp(-S_int[f_theta]) / Z,   S_int = int_region d^d y sum_p c_p |f(y)|^p,   Z = E exp(-S_int)

makes <O> = E[O exp(-S_int)] / E[exp(-S_int)], averages over the undeformed networks with the weights exp(-S_int). The
deformation couples all neurons: the theory interacts at infinite width, too (Halverson, arXiv:2112.04527; Demirtas et
al., arXiv:2307.03223, who write c_4 = lambda / 4!).
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .. import _core
from .._checks import integer
from .._estimate import Estimate
from .._jackknife import jackknife
from .._moments import MomentAccumulator
from .._run import progress_bar, thread_count
from .._version import __version__
from ..ensemble import _check, _names
from ..errors import ArgumentError, NNQFTWarning
from ..networks import as_key
from ..tensor import SymmetricTensor
from ._region import Region, check_potential, check_region

__all__ = ["Reweighted", "reweight"]

# Self-normalised means are off by O(1 / n_eff), a tenth of their error at n_eff = 100. And n_eff is measured, too: if
# S_int is normal, n_eff / n = exp(-Var S_int) = e, while sum w^2 has the relative variance e^-4 / n. Where that passes
# 1, networks that were not drawn would have carried the result: at e = 10 % with 10^4 networks, 3 % with 10^6.
_LEAST_EFFECTIVE = 100
_LEAST_POWER = 0.75  # n_eff > n^(3/4) is e > n^(-1/4)
_VALUES_AT_A_TIME = 1 << 21
_FIRST = 256  # networks whose least action sets the scale of the weights
_LARGEST_EXPONENT = 300.0  # of a weight on that scale: its square, times a field or eight, is still a double


def reweight(
    net,
    x,
    *,
    potential,
    region,
    n_nets,
    orders=(2, 4),
    start=0,
    sampler="auto",
    dtype="float32",
    seed=0,
    threads=None,
    progress=None,
):
    """Correlators of an ensemble whose parameter density is deformed by exp(-S_int), by reweighting.

    S_int = int_region d^d y sum_p c_p |f(y)|^p, without factorials: c_4 = lambda / 4! for the papers' lambda.

    Parameters
    ----------
    net : Network
        Any law; with several outputs |f|^2 is their sum of squares, and the potential is O(dim_out) invariant.
    x : array, shape (n_points, dim_in), real
        Where correlators are measured; need not lie in the region.
    potential : mapping {p: c_p}, or sequence of such
        Even powers p in 2 .. 16 (2: a mass term), coefficients in units of 1 / (field ** p * volume); that of the
        highest power positive, else the action has no lower bound. Several potentials share one sample of networks.
    region : Region, or (points, weights)
        Quadrature of the integral: `box`, or any points (Q, dim_in) with positive weights (Q,).
    n_nets, start, sampler, dtype, seed, threads, progress
        As for `nnqft.ensemble.correlators`.
    orders : iterable of {2, 4, 6, 8}

    Returns
    -------
    Reweighted, or tuple of them
        `.full(n)`, `.connected(n)`, `.change(n)`, and how far they are to be trusted: `.n_eff`, `.efficiency`,
        `.largest_share`, `.log_z`.

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs; odd powers; an action without a lower bound.

    Warns
    -----
    NNQFTWarning
        When the effective number of networks collapses: below 100, or below n_nets ** 0.75 (10 % of 10^4, 3 % of 10^6).

    Notes
    -----
    Self-normalised weights: sums of w and w f .. f, jackknifed together over 64 replicas; bias O(1 / n_eff). Memory is
    bounded whatever `n_nets`; cost that of `nnqft.ensemble.outputs` at points and nodes. The same bits for any number
    of threads. n_eff falls like exp(-Var S_int), exponentially in volume and coupling squared: this is a tool for small
    boxes, and Markov chains are one for large ones. Halverson, arXiv:2112.04527; Demirtas et al., arXiv:2307.03223.

    Examples
    --------
    >>> net = nnqft.networks.free_scalar_net(100, dim_in=1, cutoff=10.0)
    >>> theory = reweight(net, [[0.0]], potential={4: 1.0}, region=nnqft.eft.box(-1, 1), n_nets=20_000)
    >>> theory
    Reweighted(potential={4: 1.0}, n_nets=20000, n_eff=14948, orders=(2, 4))
    >>> theory.full(2)[0, 0], theory.change(2)[0, 0]             # repulsion makes the field smaller
    (0.235(2), -0.232(5))
    """
    several = isinstance(potential, Iterable) and not isinstance(potential, Mapping)
    potentials = [check_potential(p) for p in (potential if several else [potential])]
    if not potentials:
        raise ArgumentError("there is no potential: give {4: c4}, for example")
    x, orders, n_nets, start = _check(net, x, orders, n_nets, start)
    region = check_region(region, net.dim_in)
    _, sampler, dtype = _names(net, len(x) + len(region.points), "direct", sampler, dtype)
    net.laws.check_range(start, start + n_nets)
    threads, seed = thread_count(threads), as_key(seed)
    orders = tuple(range(2, max(orders) + 1, 2))

    kernel = net.bind(np.concatenate([x, region.points]), seed=seed, sampler=sampler, dtype=dtype)
    step = max(_FIRST, _VALUES_AT_A_TIME // (len(x) + len(region.points)) // net.dim_out)

    def parts():
        """(networks done, fields at x, actions of each potential), some networks at a time."""
        for first in range(start, start + n_nets, step):
            last = min(first + step, start + n_nets)
            at_x, in_region = np.split(kernel.outputs(first, last, threads, None), [len(x)], axis=1)
            yield last - start, at_x.reshape(last - first, -1), _actions(in_region, potentials, region.weights)

    with progress_bar(progress, n_nets) as report:
        block = _core.block_size(n_nets, _core.moment_count(len(x) * net.dim_out, orders))
        sums = _measure(parts(), len(potentials), orders, block, threads, report)
        if sums is None:  # weights overflow: some network outweighs all of the first ones
            floor = np.min([[np.fmin.reduce(a) for a in actions] for _, _, actions in parts()], axis=0)
            sums = _measure(parts(), len(potentials), orders, block, threads, report, floor)
    made = [
        Reweighted(net, x, p, region, orders, sampler, seed, *kept) for p, kept in zip(potentials, sums, strict=True)
    ]
    for theory in made:
        theory._warn(stacklevel=3)
    return tuple(made) if several else made[0]


def _measure(parts, n_potentials, orders, block, threads, report, floor=None):
    """For each potential the scale of its weights, the largest one, and accumulators of weighted fields, of weights and
    of fields alone; None if a weight overflows."""
    sums, free, largest = None, None, np.zeros(n_potentials)
    for done, fields, actions in parts:
        if free is None:
            new = lambda m, powers: MomentAccumulator(m, orders=powers, block=block, threads=threads)
            free, sums = new(fields.shape[1], orders), [(new(fields.shape[1], orders), new(1, (1, 2))) for _ in actions]
            if floor is None:
                floor = np.array([np.fmin.reduce(a[:_FIRST]) for a in actions])
            floor = np.where(np.isfinite(floor), floor, 0.0)
        for k, action in enumerate(actions):
            exponent = floor[k] - action
            if exponent.max() > _LARGEST_EXPONENT:
                return None
            weight = np.exp(exponent)
            sums[k][0].push(fields, weights=weight)
            sums[k][1].push(weight[:, None])
            largest[k] = np.fmax(largest[k], np.fmax.reduce(weight))
        free.push(fields)
        if report is not None:
            report(done)
    return [(float(floor[k]), float(largest[k]), *pair, free) for k, pair in enumerate(sums)]


@dataclass(frozen=True, eq=False)
class Reweighted:
    """A deformed ensemble, as `reweight` measured it.

    Attributes
    ----------
    net, x, potential, region, orders, sampler, seed
        What was measured.
    """

    net: object
    x: np.ndarray
    potential: dict
    region: Region
    orders: tuple
    sampler: str
    seed: int
    _floor: float = field(repr=False)
    _largest: float = field(repr=False)
    _sums: MomentAccumulator = field(repr=False)
    _weights: MomentAccumulator = field(repr=False)
    _free: MomentAccumulator = field(repr=False)

    # ---- how far to trust it

    @cached_property
    def _weight_sums(self):
        values, counts = self._weights.sums()
        return values[1][:, 0], values[2][:, 0], counts

    @property
    def n_nets(self):
        """Networks drawn."""
        return self._free.n_samples

    @cached_property
    def n_eff(self):
        """(sum w)^2 / sum w^2: the number of networks of equal weight with the same error bars."""
        first, second, _ = self._weight_sums
        return float(first.sum() ** 2 / second.sum()) if second.sum() != 0 else 0.0

    @property
    def efficiency(self):
        """n_eff / n_nets."""
        return self.n_eff / self.n_nets

    @cached_property
    def largest_share(self):
        """The largest weight over the sum of all."""
        total = self._weight_sums[0].sum()
        return float(self._largest / total) if total > 0 else np.nan

    @cached_property
    def log_z(self):
        """log Z = log E exp(-S_int), minus the free energy of the interaction; an `Estimate`."""
        first, _, counts = self._weight_sums
        result = jackknife(first, counts, function=np.log)
        value = result.estimate if result.n_groups < 8 else result.corrected
        return Estimate(value - self._floor, result.stderr, self.n_nets, self._how)

    def _warn(self, stacklevel):
        least = max(_LEAST_EFFECTIVE, self.n_nets**_LEAST_POWER)
        if not self.n_eff < least:
            return  # nan: the sums have warned of networks that are not finite
        warnings.warn(
            f"reweighting by {self.potential} collapses: {self.n_nets} networks count like {self.n_eff:.3g}, the "
            f"heaviest alone for {self.largest_share:.2g} of all; with fewer than {least:.0f} neither values nor error "
            "bars can be trusted: use a smaller coupling or region, or more networks (n ** 0.75 of n must count)",
            NNQFTWarning,
            stacklevel=stacklevel + 1,
        )

    # ---- correlators

    @property
    def _how(self):
        return {
            "estimator": "reweighted",
            "sampler": self.sampler,
            "seed": self.seed,
            "n_eff": self.n_eff,
            "version": __version__,
        }

    def _jackknife(self, kind, n, difference):
        """(estimate, corrected, stderr) of an order's function, or of its change."""
        values, counts, function = self._problem(kind, n, difference)
        return jackknife(values, counts, function=function)

    def _problem(self, kind, n, difference=False):
        n = integer("order", n, 0, 1 << 31)
        if n not in self.orders:
            raise ArgumentError(f"order {n} is not at hand; this result has {self.orders}")
        values, counts = self._sums.sums()
        values = {("w", k): v for k, v in values.items()}
        if difference:
            values |= {("free", k): v for k, v in self._free.sums()[0].items()}
        fields = len(self.x) * self.net.dim_out

        def view(means, name):
            norm = means.get((name, 0), 1.0)
            with np.errstate(invalid="ignore", divide="ignore"):
                moments = [np.ascontiguousarray(means[name, k] / norm) for k in self.orders if k <= n]
            return moments[-1] if kind == "full" else np.asarray(_core.even_cumulants(moments, fields, None)[-1])

        function = (lambda m: view(m, "w") - view(m, "free")) if difference else (lambda m: view(m, "w"))
        return values, counts, function

    def _tensor(self, kind, n, difference=False):
        result = self._jackknife(kind, n, difference)
        mean = result.estimate if result.n_groups < 8 else result.corrected
        return SymmetricTensor(
            mean,
            result.stderr,
            order=n,
            size=len(self.x) * self.net.dim_out,
            d_out=self.net.dim_out,
            n=self.n_nets,
            how=self._how,
        )

    def full(self, n):
        """<f .. f>, the full n-point function of the deformed theory.

        Returns
        -------
        SymmetricTensor
            Over the sorted multi-indices of fields (point * dim_out + out), in units of the output ** n.
        """
        return self._tensor("full", n)

    def connected(self, n):
        """The connected n-point function of the deformed theory, in which odd functions vanish.

        Returns
        -------
        SymmetricTensor
        """
        return self._tensor("connected", n)

    def change(self, n, *, connected=False):
        """What the deformation adds to the n-point function, measured on the same networks: most of the noise cancels.

        Parameters
        ----------
        n : int
        connected : bool
            Of the connected function instead of the full one.

        Returns
        -------
        SymmetricTensor
            Added to `exact_correlators(net, x)` it is the sharper estimate at small couplings; `perturbation` is its
            first order.
        """
        return self._tensor("connected" if connected else "full", n, difference=True)

    def __repr__(self):
        counts = f"n_nets={self.n_nets}, n_eff={self.n_eff:.0f}"
        return f"Reweighted(potential={self.potential}, {counts}, orders={self.orders})"


# ---- parts


def _actions(f, potentials, weights):
    """S_int of every net, one array (nets,) per potential; f (nets, nodes, outputs)."""
    f = f.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        square = (f * f).sum(axis=2)
        # Row sums, not a matrix product: a net's action does not depend on the nets beside it.
        integrals = {p: (weights * square ** (p // 2)).sum(axis=1) for p in sorted({p for v in potentials for p in v})}
        return [sum(c * integrals[p] for p, c in v.items() if c) + np.zeros(len(f)) for v in potentials]
