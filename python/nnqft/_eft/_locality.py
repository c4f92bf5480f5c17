"""How local a vertex is: the weight of an amputated n-point function off its diagonal.

If G4c = -24 lambda int d^d y K(x1,y) .. K(x4,y) over the lattice of the points, then Ĝ4 = -24 lambda delta_{ijkl}: all
of its weight sits on i = j = k = l. A UV cutoff of the kernel smears delta; `floor` says how far.
"""

from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .._checks import real_array
from .._correlators import Correlators, ExactCorrelators
from ..errors import ArgumentError, ShapeError
from ..tensor import Estimate, SymmetricTensor
from ._action import ActionCouplings, couplings
from ._cumulants_in import error_bounds, read_theory, warn_of_bounds
from ._inverse import amputated, inverse_for
from ._symmetric import multiplicity, packed_index

__all__ = ["Locality", "locality"]


@dataclass(frozen=True, eq=False)
class Locality:
    """Where the weight of a vertex sits; made by `locality`.

    Attributes
    ----------
    off_diagonal : Estimate
        Share of sum over ordered tuples T^2 that is not at i = j = .. : 0 for a local vertex, at most 1.
    floor : float
        The same share of a local, uniform vertex seen through the same cutoff of the kernel: no value below it can be
        told from 0. It is 0 if the kernel was not cut, or not given.
    radius : Estimate or None
        Root mean square distance between two legs, weighted by T^2; None if no positions were given.
    rank : int or None
        Modes of the kernel kept.
    patterns : dict {tuple: Estimate}
        Shares by how many legs coincide: (4,), (3, 1), (2, 2), (2, 1, 1), (1, 1, 1, 1). A non-local f^2 f^2 shows as
        (2, 2).
    """

    off_diagonal: Estimate
    floor: float
    radius: Estimate | None
    rank: int | None
    patterns: dict

    def __float__(self):
        return self.off_diagonal.mean

    def to_dict(self):
        """Plain `dict`, ready for JSON; patterns as strings such as "2+1+1"."""
        return {
            "off_diagonal": self.off_diagonal.to_dict(), "floor": self.floor, "rank": self.rank,
            "radius": None if self.radius is None else self.radius.to_dict(),
            "patterns": {"+".join(map(str, p)): share.to_dict() for p, share in self.patterns.items()},
        }  # fmt: skip

    def __repr__(self):
        parts = [f"off_diagonal={self.off_diagonal}", f"floor={self.floor:.3g}"]
        parts += [f"radius={self.radius}"] if self.radius is not None else []
        parts += [f"rank={self.rank}"] if self.rank is not None else []
        return f"Locality({', '.join(parts)})"


def locality(g, kernel=None, *, x=None, rcond=None, rank=None):
    """Off-diagonal weight of a vertex, 1 - sum_i T_{i..i}^2 / sum over all tuples T^2: 0 if the theory is local.

    Parameters
    ----------
    g : SymmetricTensor, ActionCouplings, or Correlators
        A vertex T that is amputated already; or an n-point function to be amputated with `kernel`; or couplings, of
        which g4 is taken; or correlators, of which G4c is amputated with `kernel`, by default their own G2.
    kernel : array (m, m), SymmetricTensor of order 2, or KernelInverse, optional
        Two-point function on the legs. For networks with an output bias take K - sigma_b^2: the bias enters no vertex.
    x : array, shape (n_points, dim), optional
        Positions of the points, for `radius`.
    rcond, rank : optional
        Cutoff of the kernel, see `regulated_inverse`.

    Returns
    -------
    Locality
        With errors: a jackknife for Correlators and for couplings made of them, else upper bounds, see
        `action_couplings`. Noise adds its own, spread, weight: the jackknife takes off what is of first order in 1 /
        n_nets.

    Raises
    ------
    ShapeError
        If sizes do not fit, or g is of another type.
    ArgumentError
        If the vertex vanishes, x is not finite, or as `regulated_inverse`.

    Notes
    -----
    Only on a lattice that resolves the kernel is this a property of the theory: points further apart than the kernel's
    correlation length make every vertex look local, points much closer need a cutoff (see `floor`).

    Examples
    --------
    >>> K = np.array([[1.0, 0.5], [0.5, 1.0]])
    >>> T = SymmetricTensor([1.0, 0.0, 0.0, 0.0, 1.0], 0, order=4, size=2)
    >>> locality(T)
    Locality(off_diagonal=0.0(0), floor=0)
    >>> round(locality(T, K).off_diagonal.mean, 6)                 # as an n-point function T is that of another vertex
    0.671964
    """
    shares, inverse, n, how = None, None, None, {}
    if isinstance(g, ActionCouplings):
        if kernel is not None or rcond is not None or rank is not None:
            raise ArgumentError("couplings are amputated already, with their own kernel: pass no kernel, rcond or rank")
        theory, order, inverse, n, how = g._theory, 4, g.inverse, g.g4.n, g.g4.how
        shares = _Shares(theory.size, order, x)
        means, errors = theory.estimate(lambda G, inverse: shares(couplings(G, inverse)["total", 4]))
    elif isinstance(g, Correlators) and kernel is None:
        theory = read_theory(g, None, None, order=1, rcond=rcond, rank=rank, who="locality")
        inverse, n, how = theory.inverse, theory.n, theory.how
        shares = _Shares(theory.size, 4, x)
        means, errors = theory.estimate(lambda G, inverse: shares(amputated(G[4], 4, inverse)))
    elif isinstance(g, Correlators) and not isinstance(g, ExactCorrelators):
        inverse, n, how = inverse_for(g.connected(4), kernel, rcond, rank), g.n_nets, g.connected(4).how
        shares = _Shares(inverse.size, 4, x)
        means, errors = g.function(lambda views: _rows(shares, views["connected"][4], inverse))
    else:
        g = g.connected(4) if isinstance(g, Correlators) else g
        if not isinstance(g, SymmetricTensor):
            raise ShapeError(
                f"locality() takes a SymmetricTensor, ActionCouplings or Correlators, got {type(g).__name__}"
            )
        if not g.is_dense:
            raise ArgumentError(f"locality() needs all multi-indices; this tensor lists {len(g)}")
        if kernel is None and (rcond is not None or rank is not None):
            raise ArgumentError(
                "rcond and rank belong to a kernel, but none was given: this tensor counts as amputated"
            )
        T, n, how = g.mean, g.n, g.how
        if kernel is not None:
            inverse = inverse_for(g, kernel, rcond, rank)
            T = amputated(T, g.order, inverse)
        shares = _Shares(g.size, g.order, x)
        means = shares(T)
        if g.stderr.any():
            warn_of_bounds("locality")
        of_tensor = lambda G: shares(G[0] if kernel is None else amputated(G[0], g.order, inverse))
        errors = error_bounds(of_tensor, {0: g.mean}, {0: g.stderr}, means)
    results = {key: Estimate(means[key], errors[key], n, how) for key in means}
    return Locality(
        results.pop("off_diagonal"), shares.floor(inverse), results.pop("radius", None) if x is not None else None,
        inverse.rank if inverse else None, patterns=results,
    )  # fmt: skip


class _Shares:
    """Shares of the sum of T^2 over ordered tuples, for packed vertices of one layout: dict of numbers."""

    def __init__(self, m, order, x):
        self.m, self.order = m, order
        index = packed_index(m, order)
        self.weight = multiplicity(m, order)
        runs = [tuple(sorted(Counter(row).values(), reverse=True)) for row in index.tolist()]
        self.patterns = {p: np.array([r == p for r in runs]) for p in sorted(set(runs), reverse=True)}
        self.distance = None
        if x is not None:
            x = real_array("x", x)
            x = x[:, np.newaxis] if x.ndim == 1 else x
            if x.ndim != 2 or len(x) != m:
                raise ShapeError(f"x has shape {x.shape}; expected {m} positions (m, dim), one for every field")
            pairs = list(combinations(range(order), 2))
            self.distance = sum(((x[index[:, a]] - x[index[:, b]]) ** 2).sum(axis=1) for a, b in pairs) / len(pairs)

    def __call__(self, T):
        scale = abs(T).max()
        if not 0 < scale < np.inf:
            raise ArgumentError(f"the vertex is {'zero' if scale == 0 else 'not finite'}: there is no weight to locate")
        weight = self.weight * (T / scale) ** 2
        total = weight.sum()
        out = {p: weight[rows].sum() / total for p, rows in self.patterns.items()}
        out["off_diagonal"] = sum(share for p, share in out.items() if len(p) > 1)
        if self.distance is not None:
            out["radius"] = np.sqrt(weight @ self.distance / total)
        return {key: np.float64(value) for key, value in out.items()}

    def floor(self, inverse):
        """off_diagonal of sum_y P_iy P_jy .., P the projector on the kept modes."""
        if inverse is None or inverse.rank == inverse.size:
            return 0.0
        P = inverse.projector
        return float(
            self(np.prod([P[leg] for leg in packed_index(self.m, self.order).T], axis=0).sum(axis=1))["off_diagonal"]
        )


def _rows(shares, G4c, inverse):
    results = [shares(amputated(row, 4, inverse)) for row in G4c]
    return {key: np.stack([result[key] for result in results]) for key in results[0]}
