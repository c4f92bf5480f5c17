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
    """Which products of pairs a matrix product has to form to hold every sorted quadruple once.

    With s_p = f_i f_j for the sorted pairs p = (i, j) in lexicographic order, G4 is sum s s^T. A quadruple
    i <= j <= k <= l needs the row (i, j) and only columns (k, l) with k >= i, and these are a suffix of the
    pairs: so the rows are cut into blocks of `group` first indices, each times the columns from its own start
    (58 % of the square for m = 32 and group = 4).

    Attributes
    ----------
    first, second : array of int, shape (pairs,)
    blocks : list of (slice, slice)
        Rows and columns of every matrix product.
    """

    def __init__(self, m, group):
        self.m = m
        self.first, self.second = np.triu_indices(m)
        starts = [int(np.searchsorted(self.first, i)) for i in range(0, m, group)]
        size = self.first.size
        self.blocks = [(slice(a, b), slice(a, size)) for a, b in zip(starts, [*starts[1:], size])]

    def zeros(self):
        """Float64 accumulators, one per block."""
        size = self.first.size
        return [np.zeros((rows.stop - rows.start, size - cols.start)) for rows, cols in self.blocks]

    def square(self, sums):
        """The symmetric matrix <s_p s_q> from the sums over blocks; entries outside the blocks by symmetry."""
        size = self.first.size
        full = np.zeros((size, size))
        for (rows, cols), block in zip(self.blocks, sums):
            full[cols, rows] = block.T
            full[rows, cols] = block
        return full

    def quadruples(self, sums, *, gram=False):
        """G4 over sorted quadruples, shape (C(m+3, 4),).

        `gram`: s is the packed kernel of the last hidden layer, and G4 its three pairings
        K_ij K_kl + K_ik K_jl + K_il K_jk.
        """
        pair = np.zeros((self.m, self.m), int)
        pair[self.first, self.second] = pair[self.second, self.first] = np.arange(self.first.size)
        i, j, k, l = np.array(list(combinations_with_replacement(range(self.m), 4))).T
        full = self.square(sums)
        if not gram:
            return full[pair[i, j], pair[k, l]]
        return full[pair[i, j], pair[k, l]] + full[pair[i, k], pair[j, l]] + full[pair[i, l], pair[j, k]]


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
    variance taken as 96 K^4, the Gaussian one). Deep ensembles: G2 differs from the infinite-width kernel at order
    depth / width, so that share of the kernel is taken off the deviation first.

    Returns
    -------
    dict
        "G2" and, for one hidden layer and direct sums, "G4": largest |z| over the entries.
    """
    exact = kernels(workload)[-1][np.triu_indices(workload.n_points)]
    depth = len(workload.widths)
    slack = 0.0 if depth == 1 else depth / workload.widths[0] * np.abs(exact)
    off = np.maximum(np.abs(moments["G2"] - exact) - slack, 0)
    scores = {"G2": float(np.max(off / moments["G2_stderr"]))}
    if depth == 1 and not moments["gram"]:
        at = [q for q, t in enumerate(combinations_with_replacement(range(workload.n_points), 4)) if t[0] == t[3]]
        k = np.diag(kernels(workload)[-1])
        error = np.sqrt(96 / moments["n_nets"]) * k**2
        scores["G4"] = float(np.max(np.abs(moments["G4"][at] - quartic_diagonal(workload)) / error))
    return scores
