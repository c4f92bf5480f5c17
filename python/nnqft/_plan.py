"""From an ensemble and its inputs to moments, and from moments to correlators: one plan per estimator.

A plan knows which products the kernels sum (`program`) and how means of those sums become full and connected
n-point functions over fields (field = point * dim_out + out).

    direct   moments of f itself
    gram     f is Gaussian given the hidden layers, with covariance C = sigma_b^2 + sigma_w^2 / N sum_j h_j h_j^T:
             G_n = sum over pairings E[C C ...], connected: the same sum over cumulants of C
    neuron   one hidden layer: cumulants of f are sums over iid neurons, G_c^(n) = N^(1 - n/2) kappa_n of one neuron
"""

from math import comb, isinf

import numpy as np

from . import _core
from .errors import ArgumentError
from .tensor import SymmetricTensor

__all__ = ["ESTIMATORS", "SAMPLERS", "Plan", "make_plan"]

ESTIMATORS = ("direct", "gram", "neuron")
SAMPLERS = ("weights", "layer")
MAX_ORDER = 8


class Plan:
    """What all estimators share: fields, listed indices, and the exact Gaussian part."""

    def __init__(self, net, n_points, orders, indices):
        self.net, self.m, self.d_out = net, n_points, net.dim_out
        self.fields = n_points * net.dim_out
        self.orders = tuple(range(2, max(orders) + 1, 2))
        self.listed = None
        if indices is not None:
            lists = [np.asarray(rows) for rows in (indices.values() if isinstance(indices, dict) else indices)]
            closed = _core.even_closure([_core.canonical_index(rows, self.fields) for rows in lists], self.fields)
            self.listed = {n: rows for n, rows in closed.items() if len(rows)}
            self.orders = tuple(sorted(self.listed))

    def index(self, order):
        return None if self.listed is None else self.listed[order]

    def sets(self):
        """The index argument of the partition sums: None (dense) or the list of every order."""
        return None if self.listed is None else [self.listed[n] for n in self.orders]

    def tensor(self, mean, stderr, order, *, n, how):
        return SymmetricTensor(mean, stderr, order=order, size=self.fields, d_out=self.d_out, index=self.index(order), n=n, how=how)

    def gaussian(self, kernel, order):
        """Wick sum of a points x points kernel over the fields: delta_ab between outputs."""
        full = np.kron(kernel, np.eye(self.d_out))
        return _core.pairing_sums(np.ascontiguousarray(full[None]), order, self.index(order))[0]

    def powers_of_two(self, exponent):
        """Factor of every sum for fields that the kernels divided by 2**exponent."""
        ends = [*self.program.offsets[1:], self.program.n_sums]
        counts = [b - a for a, b in zip(self.program.offsets, ends)]
        return np.repeat(np.ldexp(1.0, exponent * np.array(self.orders)), counts)

    def split(self, means):
        """The moments of each order, (batch, count) each."""
        ends = [*self.program.offsets[1:], self.program.n_sums]
        return [np.ascontiguousarray(means[:, a:b]) for a, b in zip(self.program.offsets, ends)]


class Direct(Plan):
    name = "direct"

    def __init__(self, net, n_points, orders, indices):
        super().__init__(net, n_points, orders, indices)
        self.program = _program(self.fields, self.orders, self.listed)

    def full(self, means, order):
        return self.split(means)[self.orders.index(order)]

    def connected(self, means, order):
        upto = self.orders.index(order) + 1
        return _core.even_cumulants(self.split(means)[:upto], self.fields, None if self.listed is None else self.sets()[:upto])[-1]


class Gram(Plan):
    name = "gram"

    def __init__(self, net, n_points, orders, indices):
        super().__init__(net, n_points, orders, indices)
        self.pairs = n_points * (n_points + 1) // 2
        self.pair_lists = None
        powers = tuple(range(1, self.orders[-1] // 2 + 1))
        if self.listed is not None:
            wanted = [_core.gram_closure(rows, n_points, self.d_out) for rows in self.listed.values()]
            closed = _core.closure([rows for rows in wanted if len(rows)], self.pairs)
            self.pair_lists = {k: closed[k] for k in sorted(closed) if len(closed[k])}
            powers = tuple(self.pair_lists)
        self.program = _program(self.pairs, powers, self.pair_lists, stride=1)

    def _expand(self, moments, order):
        k = order // 2
        lists = (None, None) if self.listed is None else (self.listed[order], self.pair_lists[k])
        return _core.gram_correlators(moments, self.m, self.d_out, order, *lists)

    def full(self, means, order):
        return self._expand(self.split(means)[order // 2 - 1], order)

    def connected(self, means, order):
        k = order // 2
        lists = None if self.pair_lists is None else [self.pair_lists[q] for q in range(1, k + 1)]
        return self._expand(_core.vector_cumulants(self.split(means)[:k], self.pairs, lists)[-1], order)


class Neuron(Plan):
    name = "neuron"

    def __init__(self, net, n_points, orders, indices):
        super().__init__(net, n_points, orders, indices)
        self.width = net.widths[0]
        points = None
        if self.listed is not None:
            points = _core.even_closure([_core.canonical_index(rows // self.d_out, n_points) for rows in self.listed.values()], n_points)
            points = {n: points[n] for n in self.orders}
        self.program = _program(n_points, self.orders, points)
        self._at, self._factor = {}, {}
        weights = (1.0, *net.laws.output.moments(self.orders[-1]))
        for n in self.orders:
            index = _core.multiset_index(self.fields, n) if self.listed is None else self.listed[n]
            rows = index // self.d_out
            ranks = _core.multiset_ranks(np.ascontiguousarray(rows), n_points)
            if points is not None:
                ranks = np.searchsorted(_core.multiset_ranks(points[n], n_points), ranks)
            self._at[n] = ranks
            # E prod v_out: an output that occurs an odd number of times gives zero.
            factor = np.ones(len(index))
            for out in range(self.d_out):
                count = (index % self.d_out == out).sum(1)
                factor *= np.where(count % 2 == 0, np.asarray(weights)[count // 2], 0.0)
            self._factor[n] = factor
            self._index = getattr(self, "_index", {}) | {n: index}

    def at_width(self, width):
        other = object.__new__(Neuron)
        other.__dict__.update(self.__dict__, width=int(width))
        return other

    def connected(self, means, order):
        return self._cumulants(means, order)[-1]

    def _cumulants(self, means, order):
        upto = self.orders.index(order) + 1
        moments = [np.ascontiguousarray(self.split(means)[q][:, self._at[n]] * self._factor[n]) for q, n in enumerate(self.orders[:upto])]
        sets = None if self.listed is None else self.sets()[:upto]
        kappa = _core.even_cumulants(moments, self.fields, sets)
        bias = self.net.laws.output_bias.cumulants(order) if self.net.sigma_b > 0 else {}
        out = []
        for n, k in zip(self.orders, kappa):
            k = self.net.sigma_w**n * float(self.width) ** (1 - n / 2) * np.asarray(k)
            if bias.get(n, 0.0):
                # The bias of one output is the same at every point and independent between outputs.
                same = (self._index[n] % self.d_out == self._index[n][:, :1] % self.d_out).all(1)
                k = k + self.net.sigma_b**n * bias[n] * same
            out.append(np.ascontiguousarray(k))
        return out

    def full(self, means, order):
        upto = self.orders.index(order) + 1
        return _core.moments_from_cumulants(self._cumulants(means, order), self.fields, None if self.listed is None else self.sets()[:upto])[-1]


def _program(n_fields, orders, lists, stride=2):
    if lists is None:
        return _core.dense_program(n_fields, list(orders))
    rows = [np.ascontiguousarray(lists[n], dtype=np.int32) for n in orders]
    return _core.listed_program(n_fields, list(orders), rows, stride)


def make_plan(net, n_points, orders, estimator, indices):
    """The plan, or an ArgumentError that says why this estimator does not apply."""
    refusal = estimator_refusal(net, estimator)
    if refusal:
        raise ArgumentError(f"estimator {estimator!r} does not apply: {refusal}")
    if indices is None:
        count = sum(comb(n_points * net.dim_out + n - 1, n) for n in orders)
        if count > 50_000_000:
            raise ArgumentError(f"orders {orders} over {n_points * net.dim_out} fields have {count} entries: list the indices wanted (indices=...)")
    return {"direct": Direct, "gram": Gram, "neuron": Neuron}[estimator](net, n_points, orders, indices)


def estimator_refusal(net, estimator):
    """Why an estimator does not hold for this law; None if it does."""
    laws = net.laws
    if estimator == "gram":
        if laws.output.kind != "normal":
            return f"it sums over Gaussian output weights, this ensemble's are {laws.output!r}; use 'direct'"
        if net.sigma_b > 0 and laws.output_bias.kind != "normal":
            return f"it needs a Gaussian output bias, this ensemble's is {laws.output_bias!r}; use 'direct'"
    if estimator == "neuron":
        if net.depth != 1:
            return f"neurons are independent only in a net with one hidden layer, this one has {net.depth}; use 'gram'"
        if "array" in (laws.input.kind, laws.output.kind, laws.bias.kind, laws.output_bias.kind):
            return "it needs known laws, this ensemble has user arrays; use 'direct'"
    return None


def check_moments(net, order):
    """Do the moments exist that an order needs, and those of its error bar? Returns a warning or None."""
    highest = net.highest_moment()
    if highest <= order:
        raise ArgumentError(f"the {order}-point function does not exist: some weight law of {net!r} has moments only below {highest:g}; "
                            f"Student-t needs nu > {order} per power of the weight")
    if highest <= 2 * order and not isinf(highest):
        return f"order {order} exists, but its variance does not (moments only below {highest:g}): the standard error is infinite"
    return None
