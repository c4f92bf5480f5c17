"""The inverse of a kernel, regulated: Xi = sum over kept modes v v^T / w. The cut-off modes are the theory's UV cutoff.

Kernels of smooth networks are nearly singular: for a Gaussian kernel K(p) ~ exp(-d p^2 / (2 sigma_w^2)), so every new
point adds a mode of smaller and smaller power w, and rounding or noise in an n-point function grows by w^(-n/2).
"""

from dataclasses import dataclass, field

import numpy as np

from .._checks import integer, number, real_array
from ..errors import ArgumentError, ShapeError
from ..tensor import Estimate, SymmetricTensor, provenance
from ._symmetric import transform

__all__ = ["KernelInverse", "amputate", "read_kernel", "regulated_inverse"]

_ROUNDING = 1e3 * np.finfo(np.float64).eps  # of an n-point function, relative to its scale
_SMALLEST = 1e-300
_SAME = 1e-8  # relative distance below which two eigenvalues count as one


@dataclass(frozen=True, eq=False)
class KernelInverse:
    """A kernel's inverse on the span of its strongest modes, and what was cut off.

    Attributes
    ----------
    matrix : array, shape (m, m)
        Xi = V w^-1 V^T over the kept modes, the kernel of S = 1/2 f Xi f; units of 1 / K.
    whiten : array, shape (rank, m)
        w^-1/2 V^T: z = whiten @ f has unit covariance.
    color : array, shape (m, rank)
        V w^1/2: color @ z has the regulated covariance.
    eigenvalues : array, shape (m,)
        All eigenvalues of the kernel, largest first.
    rank : int
        Modes kept.
    rcond : float
        The cutoff asked for, relative to the largest eigenvalue; nan if the rank was given.
    """

    matrix: np.ndarray = field(repr=False)
    whiten: np.ndarray = field(repr=False)
    color: np.ndarray = field(repr=False)
    eigenvalues: np.ndarray
    rank: int
    rcond: float

    @property
    def size(self):
        """Number of fields m."""
        return len(self.eigenvalues)

    @property
    def condition(self):
        """Largest over smallest kept eigenvalue."""
        return float(self.eigenvalues[0] / self.eigenvalues[self.rank - 1])

    @property
    def cut(self):
        """Largest eigenvalue that was cut off; 0 if none was."""
        return float(self.eigenvalues[self.rank]) if self.rank < self.size else 0.0

    @property
    def projector(self):
        """V V^T, shape (m, m): what the cutoff leaves of a field. The identity at full rank."""
        return self.color @ self.whiten

    def __repr__(self):
        cut = f", cut={self.cut:.3g}" if self.rank < self.size else ""
        kept = self.eigenvalues[self.rank - 1]
        return (
            f"KernelInverse(rank={self.rank} of {self.size}, eigenvalues {self.eigenvalues[0]:.3g} to {kept:.3g}{cut}, "
            f"condition={self.condition:.3g})"
        )


def regulated_inverse(K, *, rcond=None, rank=None, legs=4):
    """Inverse of a kernel on the span of its strongest eigenvectors, with the rank and all eigenvalues reported.

    Parameters
    ----------
    K : array, shape (m, m), float64, or SymmetricTensor of order 2
        Symmetric kernel, any units.
    rcond : float, optional
        Keep eigenvalues above `rcond` times the largest, 0 < rcond < 1. Without `rcond` and `rank` nothing is cut: a
        kernel with eigenvalues below (1000 eps)^(2 / legs) of the largest is refused, because rounding in a function of
        that many legs, amputated by them, could exceed 1e-3 of its scale.
    rank : int, optional
        Keep so many modes, instead.
    legs : int
        How many legs are to be amputated; only for that default.

    Returns
    -------
    KernelInverse
        `.matrix`, `.whiten`, `.color`, `.eigenvalues`, `.rank`, `.condition`, `.cut`.

    Raises
    ------
    ShapeError
        If K is not a square float64 matrix.
    ArgumentError
        If K is zero, not finite or not symmetric, has a negative eigenvalue that the cutoff does not remove, is
        degenerate while no cutoff is given, or if the cut would fall between equal eigenvalues.

    Notes
    -----
    Cost O(m^3). The relative error of the inverse is eps * condition.

    Examples
    --------
    >>> K = np.array([[1.0, 1.0], [1.0, 1.0]])                   # the same point twice
    >>> nnqft.eft.regulated_inverse(K, rcond=1e-6)
    KernelInverse(rank=1 of 2, eigenvalues 2 to 2, cut=0, condition=1)
    >>> nnqft.eft.regulated_inverse(K, rcond=1e-6).matrix        # of the span of (1, 1)
    array([[0.25, 0.25],
           [0.25, 0.25]])
    """
    K = read_kernel(K)
    if rcond is not None and rank is not None:
        raise ArgumentError("give rcond or rank, not both: each of them says where to cut")
    if rank is not None:
        rank = integer("rank", rank, 1, len(K))
    if rcond is not None:
        rcond = number("rcond", rcond, above=0, below=1)
    legs = integer("legs", legs, 1, 64)
    w, V = _modes(K)
    if not w[0] > 0:
        raise ArgumentError(f"K has no positive eigenvalue (the largest is {w[0]:.3g}): a theory without a propagator")
    if rank is None:
        cutoff = _ROUNDING ** (2 / legs) if rcond is None else rcond
        rank = int(np.count_nonzero(w > cutoff * w[0]))
        if rcond is None and rank < len(w):
            raise ArgumentError(
                f"K is degenerate: {len(w) - rank} of its {len(w)} eigenvalues ({_few(w)}) lie below {cutoff:.1g} "
                f"of the largest, where rounding spoils functions of {legs} legs. Points may coincide or be too close: "
                f"spread them, or pass rcond= (a UV cutoff; {cutoff:.1g} keeps {rank} modes) or rank="
            )
        if w[-1] < -cutoff * w[0]:
            raise ArgumentError(f"K has the negative eigenvalue {w[-1]:.3g}, no covariance; the largest is {w[0]:.3g}")
    elif not w[rank - 1] > 0:
        raise ArgumentError(
            f"rank={rank} would keep the eigenvalue {w[rank - 1]:.3g}, which is not positive ({_few(w)})"
        )
    if rank < len(w) and w[rank - 1] - w[rank] <= _SAME * w[rank - 1]:
        raise ArgumentError(
            f"the cutoff falls between the equal eigenvalues {w[rank - 1]:.9g} and {w[rank]:.9g}: "
            "which of their modes to keep is not determined; cut above or below"
        )
    if not w[rank - 1] > _SMALLEST:
        raise ArgumentError(f"the eigenvalue {w[rank - 1]:.3g} has no inverse in float64: rescale the fields")
    return _kept(w, V, rank, np.nan if rcond is None else rcond)


def inverse_of_rank(K, rank):
    """The same without questions: for the replicas of a kernel whose rank is decided."""
    w, V = _modes(K)
    if not w[rank - 1] > 0:
        raise ArgumentError(
            f"mode {rank} of the kernel has no power in one of the replicas (eigenvalue {w[rank - 1]:.3g}): it is "
            "noise; measure more networks, or cut it off with a larger rcond"
        )
    return _kept(w, V, rank, np.nan)


def _modes(K):
    w, V = np.linalg.eigh((K + K.T) / 2)
    return w[::-1], V[:, ::-1]


def _kept(w, V, rank, rcond):
    root, V = np.sqrt(w[:rank]), V[:, :rank]
    whiten, color = V.T / root[:, np.newaxis], V * root
    arrays = (whiten.T @ whiten, whiten, color, w)
    for array in arrays:
        array.setflags(write=False)
    return KernelInverse(*arrays, rank, rcond)


def read_kernel(K):
    """A finite symmetric float64 matrix from a matrix, a SymmetricTensor of order 2, or one number."""
    if isinstance(K, SymmetricTensor):
        if K.order != 2:
            raise ShapeError(f"the kernel is a tensor of order 2, got one of order {K.order}")
        K = K.dense()
    if isinstance(K, Estimate):
        K = K.mean
    K = real_array("the kernel", K, finite=False, cast=False)
    if K.ndim == 0:
        K = K.reshape(1, 1)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or not len(K):
        raise ShapeError(f"the kernel has dtype {K.dtype} and shape {K.shape}; expected float64 of shape (m, m)")
    if not np.isfinite(K).all():
        raise ArgumentError(f"the kernel has {np.count_nonzero(~np.isfinite(K))} entries that are not finite")
    if np.abs(K - K.T).max() > 1e-12 * np.abs(K).max():
        raise ArgumentError("the kernel is not symmetric: pass (K + K.T) / 2 if that is meant")
    if not K.any():
        raise ArgumentError(f"the kernel of {len(K)} field(s) is zero: a theory without a propagator")
    return K


def _few(w):
    shown = [f"{x:.3g}" for x in w[:8]]
    return ", ".join(shown) + (", ..." if len(w) > 8 else "")


def amputate(G, kernel, *, rcond=None, rank=None):
    """A correlator without its external legs: Ĝ_{a b ..} = Xi_ai Xi_bj .. G_{ij ..}, Xi the inverse of the kernel.

    Parameters
    ----------
    G : SymmetricTensor
        Connected n-point function of m fields.
    kernel : array (m, m), SymmetricTensor of order 2, or KernelInverse
        The two-point function on the legs, in units of G ** (2/n). For the vertices of a network with an output bias
        that is K - sigma_b^2, since the bias enters no connected function.
    rcond, rank
        As in `regulated_inverse`.

    Returns
    -------
    SymmetricTensor
        In units of G / kernel ** n. Errors: 0 if G is exact, else unknown (nan), as entries of G are correlated; for
        measured correlators see `action_couplings` and `locality`.

    Raises
    ------
    ShapeError, ArgumentError
        As `regulated_inverse`; also if G lists only some multi-indices, or has another number of fields.

    Notes
    -----
    Leg by leg: O(n m^(n+1) / (n/2)!^2). The condition of the kernel enters to the power n.

    Examples
    --------
    >>> G = SymmetricTensor([512.0], 0, order=4, size=1)
    >>> nnqft.eft.amputate(G, np.array([[4.0]]))[0, 0, 0, 0]
    2.0(0)
    """
    if not isinstance(G, SymmetricTensor):
        raise ShapeError(f"amputate() takes a SymmetricTensor, got {type(G).__name__}")
    if not G.is_dense:
        raise ArgumentError(f"amputate() needs all multi-indices; this tensor lists {len(G)}")
    inverse = inverse_for(G, kernel, rcond, rank)
    mean = amputated(G.mean, G.order, inverse)
    stderr = np.where(G.stderr.any(), np.nan, 0.0)
    return SymmetricTensor(
        mean, float(stderr), order=G.order, size=G.size, d_out=G.d_out, n=G.n,
        how=provenance(G.how) | {"rank": inverse.rank, "rcond": inverse.rcond},
    )  # fmt: skip


def inverse_for(G, kernel, rcond, rank):
    """The inverse that belongs to a correlator's legs, from a kernel or as it comes."""
    if isinstance(kernel, KernelInverse):
        if rcond is not None or rank is not None:
            raise ArgumentError("this kernel is inverted already: rcond and rank belong to regulated_inverse()")
        inverse = kernel
    else:
        inverse = regulated_inverse(kernel, rcond=rcond, rank=rank, legs=G.order)
    if inverse.size != G.size:
        raise ShapeError(f"the kernel has {inverse.size} fields, the correlator {G.size}")
    return inverse


def amputated(T, order, inverse):
    """Xi on every leg of a packed tensor, by way of the kept modes."""
    with np.errstate(over="ignore", invalid="ignore"):
        out = transform(transform(T, order, inverse.whiten), order, inverse.whiten.T)
    if not np.isfinite(out).all():
        raise ArgumentError(
            "an amputated function overflows float64: rescale the fields, so that the kernel is of order 1"
        )
    return out
