"""What the rivals compute: four ensembles of random networks, and all entries of G2 and G4 of each.

    f(x) = b_out + a . phi(... phi(W_1 x + b_1) ...),  biases N(0, 1), weights N(0, 1 / fan_in)
    G2_ij = <f_i f_j>,  G4_ijkl = <f_i f_j f_k f_l>,  i <= j <= k <= l: packed in lexicographic order

This module needs numpy alone; it also holds the exact answers the rivals are checked against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

__all__ = ["WORKLOADS", "Workload", "PairBlocks", "kernels", "quartic_diagonal", "z_scores"]


@dataclass(frozen=True)
class Workload:
    """The law of an ensemble and the points it is looked at.

    Attributes
    ----------
    name : str
    dim_in, n_points : int
    widths : tuple of int
        Hidden layers, first to last.
    activation : {"erf", "relu"}
    """

    name: str
    dim_in: int
    widths: tuple[int, ...]
    activation: str
    n_points: int

    @cached_property
    def points(self):
        """Inputs, shape (n_points, dim_in), float32: six fixed numbers, or normals of seed 0."""
        if self.dim_in == 1:
            return np.array([[-1.0], [-0.6], [-0.2], [0.2], [0.6], [1.0]], np.float32)
        shape = (self.n_points, self.dim_in)
        return np.random.Generator(np.random.PCG64(0)).standard_normal(shape, dtype=np.float32)

    @property
    def fans(self):
        """(fan_in, width) of every hidden layer."""
        return tuple(zip((self.dim_in, *self.widths), self.widths))

    @property
    def scalar_layer(self):
        """True for one hidden layer on scalar inputs, where loops over points or neurons need no matrix product."""
        return self.dim_in == 1 and len(self.widths) == 1


WORKLOADS = {w.name: w for w in (
    Workload("W1", 1, (100,), "erf", 6),
    Workload("W2", 1, (1000,), "erf", 6),
    Workload("W3", 16, (256,) * 5, "erf", 16),
    Workload("W4", 784, (128,), "relu", 32),
)}


class PairBlocks:
    """Which products of pairs a matrix product has to form to hold every sorted quadruple.

    direct: f_i f_j f_k f_l with i <= j <= k <= l is a row (i, j) times a column (k, l) with k >= j. Rows in the order
    of their second index, columns in the order of their first: rows whose j lies in a group of 8 need only the
    columns from the first k of that group on, which is 28 % of the square at m = 32. Up to 8 points: one square.
    gram: K_ij K_kl for all two pairs; rows and columns in one order, blocks on and above the diagonal.

    Attributes
    ----------
    first, second : array of int, shape (pairs,)
        The sorted pairs in lexicographic order: the columns, and the packing of G2.
    one_order : bool
        The rows are in the order of the columns; otherwise (0,0), (0,1), (1,1), (0,2), ...
    blocks : list of (slice, slice)
        Rows and columns of every matrix product.
    """

    group = 8

    def __init__(self, m, *, gram=False):
        self.m, self.gram = m, gram
        self.first, self.second = np.triu_indices(m)
        self.one_order = gram or m <= self.group
        order = np.arange(self.first.size) if self.one_order else np.lexsort((self.first, self.second))
        key = self.first if gram else self.second[order]
        starts = range(0, m, self.group) if gram or not self.one_order else [0]
        column = [int(np.searchsorted(self.first, start)) for start in starts]
        row = [int(np.searchsorted(key, start)) if start else 0 for start in starts]
        self._order = order
        self.blocks = [(slice(a, b), slice(c, order.size))
                       for a, b, c in zip(row, [*row[1:], order.size], column)]

    def zeros(self):
        """Float64 accumulators, one per block."""
        return [np.zeros((rows.stop - rows.start, columns.stop - columns.start)) for rows, columns in self.blocks]

    def moments(self, sums):
        """G4 packed over sorted quadruples, and <s_p^2> of the summands s_p of G2, from means over blocks.

        Returns
        -------
        array, shape (C(m+3, 4),)
            gram: the three pairings K_ij K_kl + K_ik K_jl + K_il K_jk, averaged.
        array, shape (pairs,)
        """
        size = self.first.size
        full = np.full((size, size), np.nan)
        for (rows, columns), block in zip(self.blocks, sums):
            full[self._order[rows], columns] = block
        if self.gram:
            full = np.where(np.isnan(full), full.T, full)
        pair = np.zeros((self.m, self.m), int)
        pair[self.first, self.second] = pair[self.second, self.first] = np.arange(size)
        i, j, k, l = np.array(list(combinations_with_replacement(range(self.m), 4))).T
        quadruples = full[pair[i, j], pair[k, l]]
        if self.gram:
            return quadruples + full[pair[i, k], pair[j, l]] + full[pair[i, l], pair[j, k]], np.diag(full)
        return quadruples, full[pair[self.first, self.first], pair[self.second, self.second]]


def _layer(kernel, activation):
    """1 + E phi(u) phi(v) for (u, v) ~ N(0, kernel): arcsine (Williams 1997) and arccosine (Cho, Saul 2009) kernels."""
    diagonal = np.diag(kernel)
    if activation == "erf":
        norm = np.sqrt(np.outer(1 + 2 * diagonal, 1 + 2 * diagonal))
        return 1 + 2 / np.pi * np.arcsin(2 * kernel / norm)
    norm = np.sqrt(np.outer(diagonal, diagonal))
    angle = np.arccos(np.clip(kernel / norm, -1, 1))
    return 1 + norm / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * np.cos(angle))


def kernels(workload):
    """Kernels K_0 .. K_L at infinite width, each (m, m) float64; K_1 is exact at every width."""
    x = workload.points.astype(np.float64)
    chain = [1 + x @ x.T / workload.dim_in]
    for _ in workload.widths:
        chain.append(_layer(chain[-1], workload.activation))
    return chain


def quartic_diagonal(workload):
    """<f_i^4> of a one-hidden-layer ensemble, exact at finite width: 3 K^2 + (3 / N) Var(phi^2), shape (m,)."""
    before, after = kernels(workload)
    node, weight = np.polynomial.hermite_e.hermegauss(120)
    weight = weight / weight.sum()
    u = np.sqrt(np.diag(before))[:, None] * node
    if workload.activation == "erf":
        from scipy.special import erf
        second, fourth = (np.sum(weight * erf(u) ** n, axis=1) for n in (2, 4))
    else:
        second, fourth = np.diag(before) / 2, 1.5 * np.diag(before) ** 2
    return 3 * np.diag(after) ** 2 + 3 * (fourth - second**2) / workload.widths[0]


def z_scores(workload, moments):
    """Deviation of a rival's moments from theory, in standard errors.

    G2 against the closed-form kernel, G4_iiii of one-hidden-layer ensembles against `quartic_diagonal` (its
    variance taken as 96 K^4, the Gaussian one). The deep ensemble W3 differs from its infinite-width kernel too, by
    less than 1e-4 of it (1e5 nets, gram): that is taken off the deviation.

    Returns
    -------
    dict
        "G2" and, for one hidden layer and direct sums, "G4": largest |z| over the entries.
    """
    exact = kernels(workload)[-1][np.triu_indices(workload.n_points)]
    shallow = len(workload.widths) == 1
    slack = 0.0 if shallow else 1e-4 * np.abs(exact)
    off = np.maximum(np.abs(moments["G2"] - exact) - slack, 0)
    scores = {"G2": float(np.max(off / moments["G2_stderr"]))}
    if shallow and not moments["gram"]:
        at = [q for q, t in enumerate(combinations_with_replacement(range(workload.n_points), 4)) if t[0] == t[3]]
        error = np.sqrt(96 / moments["n_nets"]) * np.diag(kernels(workload)[-1])**2
        scores["G4"] = float(np.max(np.abs(moments["G4"][at] - quartic_diagonal(workload)) / error))
    return scores
