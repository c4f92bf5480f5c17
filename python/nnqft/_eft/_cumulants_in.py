"""The connected functions (G2, G4c, G6c) that an action is made of, however they come, and errors of what follows."""

import warnings
from dataclasses import dataclass, replace
from math import comb, factorial, nan, sqrt

import numpy as np

from .._checks import choice, integer, real_array
from .._correlators import Correlators, ExactCorrelators
from ..errors import ArgumentError, NNQFTWarning, ShapeError
from ..tensor import Estimate, SymmetricTensor, provenance
from ._inverse import KernelInverse, inverse_of_rank, read_kernel, regulated_inverse
from ._symmetric import multiplicity, transform

__all__ = [
    "Theory",
    "check_strength",
    "error_bounds",
    "read_fields",
    "read_theory",
    "unpacked",
    "warn_of_bounds",
    "whitened",
]

_STRONGEST = 1e30


@dataclass(frozen=True, eq=False)
class Theory:
    """An even theory by its cumulants: packed {2: G2, 4: G4c, 6: G6c}, the inverse of G2, and where they are from.

    `source`: the Correlators that give errors; without one there are the cumulants' own standard errors, `stderr`.
    `parent`, `image`: the theory of which this one keeps the fields image @ f, if it is a marginal.
    """

    cumulants: dict
    inverse: KernelInverse
    order: int
    source: Correlators | None
    stderr: dict
    exact_kernel: bool
    n: int | None
    how: dict
    d_out: int = 1
    parent: object = None
    image: np.ndarray | None = None

    @property
    def size(self):
        return self.inverse.size

    def estimate(self, function):
        """function(cumulants, inverse) -> dict of arrays, and its errors: (means, errors), two such dicts.

        Correlators: means corrected by the jackknife over the replicas, with G2 of each replica inverted at the same
        rank, and so errors with all correlations between tuples. Else upper bounds, see `error_bounds`.
        """
        if self.source is None:
            root = self
            while root.parent is not None:
                root = root.parent
            changed = lambda cumulants: function(*self._with(cumulants))
            means = function(self.cumulants, self.inverse)
            return means, error_bounds(changed, root.cumulants, root.stderr, means)

        def rows(views):
            connected = views["connected"]
            replicas = ({n: connected[n][row] for n in self.cumulants} for row in range(len(connected[2])))
            results = [function(*self._with(cumulants)) for cumulants in replicas]
            return {key: np.stack([result[key] for result in results]) for key in results[0]}

        return self.source.function(rows)

    def _with(self, cumulants):
        """(cumulants, inverse) of this theory, were those of its source others."""
        if self.parent is not None:
            cumulants, inverse = self.parent._with(cumulants)
            cumulants = _image(cumulants, inverse, self.image)
        elif self.exact_kernel:
            return cumulants | {2: self.cumulants[2]}, self.inverse
        return cumulants, inverse_of_rank(unpacked(cumulants[2], self.size), self.inverse.rank)

    def tensor(self, mean, stderr, order):
        """A SymmetricTensor over the fields, with the notes of where it is from."""
        how = self.how | {"rank": self.inverse.rank, "rcond": self.inverse.rcond}
        return SymmetricTensor(mean, stderr, order=order, size=self.size, d_out=self.d_out, n=self.n, how=how)

    def on(self, image):
        """The theory of the fields image @ f."""
        cumulants = _image(self.cumulants, self.inverse, image)
        inverse = regulated_inverse(unpacked(cumulants[2], len(image)), legs=max(cumulants))
        return replace(self, cumulants=cumulants, inverse=inverse, parent=self, image=image, d_out=1)


def error_bounds(function, tensors, stderr, means):
    """Upper bounds of the errors of function(tensors) -> dict of arrays, from standard errors of every entry.

    sum over entries of |function(T + s) - function(T - s)| / 2: reached when all entries fluctuate together, as those
    at close points do. Their correlations are not stored.
    """
    bounds = {key: np.zeros(np.shape(value)) for key, value in means.items()}
    for n, errors in stderr.items():
        for at in np.flatnonzero(errors):
            ends = []
            for sign in (1, -1):
                moved = tensors[n].copy()
                moved[at] += sign * errors[at]
                ends.append(function(tensors | {n: moved}) if np.isfinite(errors[at]) else {key: nan for key in means})
            for key in bounds:
                bounds[key] += np.abs(ends[0][key] - ends[1][key]) / 2
    return bounds


def warn_of_bounds(who):
    warnings.warn(
        f"{who}() was given tensors with errors, whose correlations they do not store: errors of the results are upper "
        "bounds; pass the Correlators they are from to have standard errors",
        NNQFTWarning,
        stacklevel=4,
    )


def whitened(cumulants, inverse):
    """{4: .., 6: ..}: cumulants of z = whiten @ f, which has unit covariance."""
    return {n: transform(G, n, inverse.whiten) for n, G in cumulants.items() if n > 2}


def _image(cumulants, inverse, image):
    """Cumulants of image @ f, f without the modes that are cut off."""
    if inverse.rank < inverse.size:
        image = image @ inverse.projector
    return {n: transform(G, n, image) for n, G in cumulants.items()}


def read_theory(G2, G4c, G6c, *, order, rcond, rank, two_point="measured", who):
    """A Theory from Correlators (then G4c and G6c stay away) or from three tensors, arrays or numbers."""
    if order is not None:
        order = integer("order", order, 1, 2)  # 1: terms in 1/N; 2: also in 1/N^2
    choice("two_point", two_point, ("measured", "exact"))
    if isinstance(G2, Correlators):
        if G4c is not None or G6c is not None:
            raise ArgumentError(f"{who}() takes Correlators alone: they hold G4c and G6c")
        highest = max(G2.orders)
        tensors = {n: G2.connected(n) for n in (2, 4, 6) if n in G2.orders}
        source = None if isinstance(G2, ExactCorrelators) else G2
        exact_kernel = two_point == "exact"
        if exact_kernel:
            if G2.net.depth != 1:
                raise ArgumentError(
                    f"two_point='exact' puts the infinite-width kernel for G2, an identity for one hidden layer; "
                    f"this network has {G2.net.depth}"
                )
            tensors[2] = G2.gp(2)
    else:
        if two_point != "measured":
            raise ArgumentError("two_point='exact' needs Correlators, which know their network; pass its kernel as G2")
        if G4c is None:
            raise ArgumentError(f"{who}() needs the connected four-point function G4c: without it the theory is free")
        tensors = {2: G2 if isinstance(G2, SymmetricTensor) else _packed_kernel(read_kernel(G2), G2)}
        for n, G in ((4, G4c), (6, G6c)):
            if G is not None:
                tensors[n] = _read(G, n, tensors[2].size)
        highest, exact_kernel = max(tensors), False
        source = None
    order = (2 if highest >= 6 else 1) if order is None else order
    if highest < 2 + 2 * order:
        raise ArgumentError(
            f"order={order} needs the connected {2 + 2 * order}-point function; "
            + ("these correlators have orders " + str(G2.orders) if isinstance(G2, Correlators) else "pass G6c")
        )
    tensors = {n: T for n, T in tensors.items() if n <= 2 + 2 * order}
    _check(tensors)
    inverse = regulated_inverse(tensors[2], rcond=rcond, rank=rank, legs=max(tensors))
    stderr = {n: T.stderr for n, T in tensors.items() if T.stderr.any() and source is None}
    if stderr:
        warn_of_bounds(who)
    return Theory(
        {n: T.mean for n, T in tensors.items()}, inverse, order, source, stderr, exact_kernel, tensors[4].n,
        provenance(tensors[4].how) | {"order": order}, tensors[2].d_out,
    )  # fmt: skip


def read_fields(f, inverse):
    """(z, shape): points f (..., m) in whitened fields, array (n_points, rank), and the shape of what comes out."""
    f = real_array("f", f, cast=False)
    if f.ndim == 0 or f.shape[-1] != inverse.size:
        raise ShapeError(f"f has dtype {f.dtype} and shape {f.shape}; expected float64 of shape (..., {inverse.size})")
    with np.errstate(over="ignore", invalid="ignore"):
        z = f.reshape(-1, inverse.size) @ inverse.whiten.T
    if not np.isfinite(z).all():
        raise ArgumentError("f overflows float64 in units of sqrt(G2): rescale the fields")
    return z, f.shape[:-1]


def check_strength(theory, who):
    """A series of which the terms are as large as the Gaussian it corrects has broken down."""
    with np.errstate(over="ignore", invalid="ignore"):
        strength = {
            n: sqrt(np.sum(multiplicity(theory.inverse.rank, n) * (T / sqrt(factorial(n))) ** 2))
            for n, T in whitened(theory.cumulants, theory.inverse).items()
        }
    terms = " and ".join(f"{value:.3g} (order {n})" for n, value in strength.items())
    if not all(value < _STRONGEST for value in strength.values()):
        raise ArgumentError(
            f"{who}(): relative to the Gaussian the connected functions have root mean squares {terms}: "
            "do their units fit those of G2?"
        )
    if max(strength.values()) >= 1:
        warnings.warn(
            f"{who}(): the connected functions are too strong for an expansion in 1/width: relative to the Gaussian "
            f"their terms have root mean squares {terms}; use a wider network, or cut weak modes of the kernel off "
            "(rcond=)",
            NNQFTWarning,
            stacklevel=3,
        )


def unpacked(G2, m):
    """The matrix of a packed tensor of order 2."""
    K = np.empty((m, m))
    upper = np.triu_indices(m)
    K[upper] = K[upper[::-1]] = G2
    return K


def _packed_kernel(K, given):
    stderr = given.stderr if isinstance(given, Estimate) else 0.0
    return SymmetricTensor(K[np.triu_indices(len(K))], stderr, order=2, size=len(K))


def _read(G, order, m):
    """A SymmetricTensor from one, an Estimate, a number, a packed array, or a dense array that is symmetric."""
    if isinstance(G, SymmetricTensor):
        return G
    if isinstance(G, Estimate):
        return SymmetricTensor([G.mean], G.stderr, order=order, size=1, n=G.n, how=G.how)
    G = real_array(f"G{order}c", G, finite=False, cast=False)
    count = comb(m + order - 1, order)
    if G.shape == (m,) * order and G.ndim == order:
        packed = G[tuple(SymmetricTensor(np.zeros(count), 0.0, order=order, size=m).index.T)]
        tensor = SymmetricTensor(packed, 0.0, order=order, size=m)
        if np.abs(tensor.dense() - G).max() > 1e-12 * np.abs(G).max():
            raise ArgumentError(f"G{order}c is not symmetric in its {order} indices")
        return tensor
    if G.shape == (count,) or (G.ndim == 0 and m == 1):
        return SymmetricTensor(G.reshape(count), 0.0, order=order, size=m)
    raise ShapeError(
        f"G{order}c has shape {G.shape}; expected a SymmetricTensor, ({count},) packed or {(m,) * order} for {m} "
        "field(s)"
    )


def _check(tensors):
    m = tensors[2].size
    for n, T in tensors.items():
        if T.order != n:
            raise ShapeError(f"G{n} is a tensor of order {T.order}; expected order {n}")
        if T.size != m:
            raise ShapeError(f"G{n} has {T.size} fields, G2 has {m}")
        if not T.is_dense:
            raise ArgumentError(
                f"G{n} lists {len(T)} multi-indices only; all of them are needed: measure without indices="
            )
        if not np.isfinite(T.mean).all():
            raise ArgumentError(f"G{n} has {np.count_nonzero(~np.isfinite(T.mean))} entries that are not finite")
