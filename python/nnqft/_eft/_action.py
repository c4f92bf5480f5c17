"""The action of a network at finite width, S = -log P: couplings g_n from the connected functions, to order 1/N^2.

    S(f) = 1/2 f Xi f + g0 + g2_ij f_i f_j + g4_ijkl f_i f_j f_k f_l + g6_{i..n} f_i .. f_n,

sums over ordered tuples, no 1/n!. With c4(z) = G4c(z)/4!, c6(z) = G6c(z)/6! in whitened fields and
H[p] = exp(-Laplacian/2) p, the Edgeworth series gives

    S - 1/2 z^2 = const - H[c4] - H[c6] + 1/2 sum_{k=1..4} (1/k!) H[(d^k c4) . (d^k c4)] + O(1/N^3),

d^k . d^k: k derivatives of each, contracted. k = 1 is the tree Ĝ4 G2 Ĝ4 (degree 6), k = 2, 3, 4 are loops; no f^8
remains. Derivation: docs/edgeworth.md. Demirtas et al., arXiv:2307.03223.
"""

from dataclasses import dataclass, field
from math import factorial, pi

import numpy as np

from ..errors import ArgumentError
from ..tensor import Estimate, SymmetricTensor
from ._cumulants_in import Theory, check_strength, read_fields, read_theory, whitened
from ._data import check_sign
from ._symmetric import EvenPolynomial, add, contracted, hermite, symmetrized, transform

__all__ = ["ActionCouplings", "action_couplings"]


@dataclass(frozen=True, eq=False, repr=False)
class ActionCouplings:
    """Couplings of the action at m points; made by `action_couplings`.

    Attributes
    ----------
    g2, g4, g6 : SymmetricTensor
        Quadratic shift, quartic and (order 2; else None) sextic coupling, with errors, in units of f^-2, f^-4, f^-6.
    g0 : Estimate
        Shift of the constant: S = .. + 1/2 log det(2 pi G2) + g0 is normalised.
    leading, next : dict {degree: SymmetricTensor, 0: Estimate}
        The terms in 1/N (degrees 0, 2, 4) and 1/N^2 (degrees 0, 2, 4, 6; empty at order 1) on their own.
    contact, tree : SymmetricTensor or None
        The two parts of g6: -Ĝ6 / 6!, and (1/6!) sum_10 Ĝ4 G2 Ĝ4.
    order : int
    sign : str
    inverse : KernelInverse
        The regulated inverse of G2, with its rank and eigenvalues.
    """

    g0: Estimate
    g2: SymmetricTensor
    g4: SymmetricTensor
    g6: SymmetricTensor | None
    leading: dict
    next: dict
    contact: SymmetricTensor | None
    tree: SymmetricTensor | None
    order: int
    sign: str
    _theory: Theory = field(repr=False)

    @property
    def inverse(self):
        """`KernelInverse` of G2."""
        return self._theory.inverse

    def __repr__(self):
        cut = "" if self.inverse.rank == self.inverse.size else f" of {self.inverse.size}"
        head = f"ActionCouplings(order={self.order}, sign={self.sign!r}, rank={self.inverse.rank}{cut})"
        first = [(name, g) for name, g in (("g2", self.g2), ("g4", self.g4), ("g6", self.g6)) if g is not None]
        return "\n".join([head, *(f"  {name}[0, ..] = {g[(0,) * g.order]}" for name, g in first)])

    def to_dict(self):
        """Plain `dict` of lists and numbers, ready for JSON: couplings, their parts, and the kernel's eigenvalues."""
        plain = lambda g: None if g is None else g.to_dict()
        return {
            "order": self.order, "sign": self.sign, "rank": self.inverse.rank, "rcond": self.inverse.rcond,
            "eigenvalues": self.inverse.eigenvalues.tolist(), "g0": plain(self.g0), "g2": plain(self.g2),
            "g4": plain(self.g4), "g6": plain(self.g6), "contact": plain(self.contact), "tree": plain(self.tree),
            "leading": {n: plain(g) for n, g in self.leading.items()},
            "next": {n: plain(g) for n, g in self.next.items()},
        }  # fmt: skip

    def action(self, f):
        """S(f) = -log P(f), with its constant: exp(-S) is normalised to the order of the couplings.

        Parameters
        ----------
        f : array, shape (..., m), float64

        Returns
        -------
        array, shape (...)
            Whatever `sign` is.

        Raises
        ------
        ShapeError, ArgumentError
            As `EdgeworthDensity.pdf`; also if S(f) overflows float64.

        Examples
        --------
        >>> g = action_couplings(1.0, 0.01, 0.0)
        >>> p = nnqft.eft.edgeworth_density(1.0, 0.01, 0.0)
        >>> bool(abs(g.action([[0.5]]) + p.log([[0.5]]))[0] < 1e-6)
        True
        """
        inverse = self.inverse
        z, shape = read_fields(f, inverse)
        parts = {
            g.order: transform(g.mean, g.order, inverse.color.T) for g in (self.g2, self.g4, self.g6) if g is not None
        } | {0: np.full(1, self.g0.mean)}
        with np.errstate(over="ignore", invalid="ignore"):
            interaction = -check_sign(self.sign) * EvenPolynomial(parts, inverse.rank)(z)
            free = np.einsum("nr,nr->n", z, z) / 2 + np.log(2 * pi * inverse.eigenvalues[: inverse.rank]).sum() / 2
            action = free + interaction
        if not np.isfinite(action).all():
            largest = np.abs(z[~np.isfinite(action)]).max()
            raise ArgumentError(
                f"the action at {largest:.3g} standard deviations overflows float64: leave out such fields"
            )
        return action.reshape(shape)


def action_couplings(G2, G4c=None, G6c=None, *, order=None, sign="action", rcond=None, rank=None, two_point="measured"):
    """Couplings of the action S = -log P of a network's outputs at m points, from its connected functions.

    S(f) = 1/2 f Xi f + g0 + g2 f^2 + g4 f^4 + g6 f^6, with tensors contracted over ordered tuples and no 1/n!. To
    leading order g4 = -Ĝ4/4!, g2 = (1/4) Ĝ4 with two legs joined by G2, and g6 = (-Ĝ6 + sum_10 Ĝ4 G2 Ĝ4)/6!, Ĝ
    amputated by Xi = G2^-1.

    Parameters
    ----------
    G2 : Correlators, or SymmetricTensor of order 2, array (m, m), or number
        Two-point function; or measured or exact correlators, which hold the others, too.
    G4c, G6c : SymmetricTensor, or array, packed (count,) or (m, m, ..), or number
        Connected functions of order 4 and 6. Odd ones are taken to vanish.
    order : {1, 2}, optional
        1: terms in 1/N (g2 and g4). 2: also in 1/N^2 (g6 with its tree, and loops in g4 and g2), which needs G6c.
        Default: 2 if G6c is there.
    sign : {"action", "table"}
        "action": couplings in S, density exp(-S): a positive four-point function gives a negative g4. "table": all
        couplings with the other sign, coefficients of log P.
    rcond, rank : optional
        Cutoff of the kernel's modes, see `regulated_inverse`. Without one a degenerate kernel is refused.
    two_point : {"measured", "exact"}
        "exact": the infinite-width kernel for the measured G2: an identity for Correlators of one hidden layer.

    Returns
    -------
    ActionCouplings
        `.g2`, `.g4`, `.g6` with errors; `.leading`, `.next`, `.contact`, `.tree`. For Correlators a jackknife over
        replicas, G2 of each inverted anew, which also takes off the bias of first order. Tensors with errors do not
        store correlations: then errors are upper bounds, as if all entries fluctuated together, and an NNQFTWarning
        says so.

    Raises
    ------
    ShapeError, ArgumentError
        As `edgeworth_density`; also for an unknown sign.

    Notes
    -----
    For a local theory S = S_GP + sum over points of a^d lambda f^4, g4 is diagonal with entries a^d lambda (see
    `locality`). One field, G2 = 1: g2 = k4/4 - k6/16 + k4^2/3, g4 = -k4/24 + k6/48 - 7 k4^2/48, g6 = -k6/720 + k4^2/72.
    Rounding: eps * condition ** (n/2) of the whitened n-point function. Source: module header.

    Examples
    --------
    >>> from nnqft.ensemble import correlators
    >>> measured = correlators(nnqft.networks.erf_net(20, dim_in=1), [[1.0]], orders=(2, 4, 6), n_nets=65536)
    >>> action_couplings(measured)
    ActionCouplings(order=2, sign='action', rank=1)
      g2[0, ..] = 0.001262(8)
      g4[0, ..] = -0.0001351(8)
      g6[0, ..] = 2.66(7)e-07
    """
    check_sign(sign)
    who = "action_couplings"
    theory = read_theory(G2, G4c, G6c, order=order, rcond=rcond, rank=rank, two_point=two_point, who=who)
    check_strength(theory, who)

    with np.errstate(over="ignore", invalid="ignore"):
        mean, stderr = theory.estimate(lambda cumulants, inverse: couplings(cumulants, inverse, -check_sign(sign)))
    if not all(np.isfinite(value).all() for value in mean.values()):
        raise ArgumentError("a coupling overflows float64: rescale the fields, so that G2 is of order 1")
    read = {}
    for key, value in mean.items():
        n = key[1]
        if n == 0:
            read[key] = Estimate(value[0], stderr[key][0], theory.n, theory.how)
        else:
            read[key] = theory.tensor(value, stderr[key], n)
    pick = lambda name: {n: T for (part, n), T in read.items() if part == name}
    total = pick("total")
    return ActionCouplings(
        total[0], total[2], total[4], total.get(6), pick("leading"), pick("next"), pick("contact").get(6),
        pick("tree").get(6), theory.order, sign, theory,
    )  # fmt: skip


def couplings(cumulants, inverse, sign=1.0):
    """Packed couplings of the fields, {(part, degree): array}; parts as `expansion` has them, and "total"."""
    parts = expansion(whitened(cumulants, inverse), inverse.rank)
    parts["total"] = add(parts["leading"], parts["next"])
    return {(name, n): sign * transform(T, n, inverse.whiten.T) for name, p in parts.items() for n, T in p.items()}


def expansion(whitened, r):
    """-log of the Edgeworth factor in whitened fields: polynomials "leading", "next", "contact" and "tree"."""
    C4 = whitened[4]
    parts = {"leading": hermite({4: -C4 / 24}, r), "next": {}, "contact": {}, "tree": {}}
    if 6 not in whitened:
        return parts
    parts["contact"] = {6: -whitened[6] / 720}
    joined = {}
    for k in (1, 2, 3, 4):  # lines between two quartic vertices
        legs = 4 - k
        Q = contracted(C4, 4, r, k) / (2 * factorial(k) * factorial(legs) ** 2)
        joined[2 * legs] = symmetrized(Q, r, legs)
    parts["tree"] = {6: joined[6]}
    parts["next"] = hermite(add(parts["contact"], joined), r)
    return parts
