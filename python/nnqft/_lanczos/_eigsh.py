"""Extreme eigenpairs of a symmetric operator: Lanczos with thick restart and full reorthogonalisation.

    A V = V T + r e^T,   V^T V = 1;   restart: V <- [V S_kept, r / |r|],   T = V^T A V

The basis is orthogonalised twice against everything that it holds, kept Ritz vectors too, and T is the projection that
was measured: no copy of a converged eigenvalue can come back. One start vector sees each eigenvalue once; further
copies come from fresh random vectors, put in when the Krylov space closes and once more when everything seems to have
converged. K. Wu, H. Simon, SIAM J. Matrix Anal. Appl. 22 (2000) 602.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, NNQFTWarning, ShapeError
from ..networks import as_key
from ._operators import as_operator
from ._probes import count_argument, probe_vectors

__all__ = ["EigenInfo", "eigsh"]

_WHICH = ("LM", "LA", "SA", "BE")
_EPS = np.finfo(np.float64).eps
_ROWS = 8192  # of the basis that are rotated at a time, so that a restart needs no second basis


@dataclass(frozen=True)
class EigenInfo:
    """How `eigsh` got there.

    Attributes
    ----------
    residuals : array, shape (k,), float64
        |A v - w v| of the returned pairs, computed from them; an eigenvalue lies within this distance of w.
    converged : array, shape (k,), bool
        Residual at most tol * norm.
    norm : float
        Largest |Ritz value|: the operator's norm from below.
    products : int
        Products with A, all counted.
    restarts : int
    verified : bool
        A fresh random vector, orthogonal to all pairs, led to no better eigenvalue (or the whole space was searched).
    tol : float
    """

    residuals: np.ndarray
    converged: np.ndarray
    norm: float
    products: int
    restarts: int
    verified: bool
    tol: float


def eigsh(
    op, k=6, *, which="LM", tol=None, ncv=None, max_restarts=1000, v0=None, seed=0, verify=True, return_info=False
):
    """Eigenvalues at the ends of the spectrum, with eigenvectors.

    Parameters
    ----------
    op : as for `lanczos`
        Symmetric, shape (n, n), float32 or float64.
    k : int
        Number of eigenpairs, 1 to n.
    which : "LM", "LA", "SA" or "BE"
        Largest in modulus, largest, smallest, or half from each end (one more from the high end if k is odd).
    tol : float, optional
        Residual accepted, relative to the operator's norm. Default: 1e-10, for float32 operators 3e-6. The error of an
        isolated eigenvalue is of the order of its square.
    ncv : int, optional
        Vectors kept, k < ncv <= n (or n); default max(2 k + 16, 32). They take 8 n ncv bytes.
    max_restarts : int
        Then the best that there is comes back, with a warning.
    v0 : array, shape (n,), optional
        Start vector; default random.
    seed : int, SeedSequence or Generator
        Of all random vectors: equal seeds give equal bits.
    verify : bool
        After convergence, search the complement of the pairs from a random vector until its best Ritz value is settled
        below them: finds copies of multiple eigenvalues and directions that `v0` was blind to.
    return_info : bool
        Return (w, V, EigenInfo).

    Returns
    -------
    w : array, shape (k,), float64
        Increasing.
    V : array, shape (n, k), float64
        Orthonormal columns to about 1e-14.

    Raises
    ------
    ArgumentError
        k, ncv, tol or `which` out of range; an operator that is not symmetric (seen in the projections, no extra
        product) or whose product is not finite; a start vector that is zero or not finite.
    ShapeError
        `v0` of another shape.

    Warns
    -----
    NNQFTWarning
        If not all pairs converged; `.converged` says which.

    Notes
    -----
    Cost: products, and 8 n ncv flops for each; verification takes about as many products as another eigenpair.
    The operator is scaled by a power of two, so that any size of eigenvalues between 1e-300 and 1e300 works.

    Examples
    --------
    >>> w, V = eigsh(np.diag([3.0, -5.0, 1.0, 3.0, 0.5]), 3)          # a double eigenvalue
    >>> w.round(12).tolist(), V.shape
    ([-5.0, 3.0, 3.0], (5, 3))
    """
    op = as_operator(op)
    n, k = op.shape[0], count_argument(k, "k")
    if which not in _WHICH:
        raise ArgumentError(f"which is {which!r}; expected one of {', '.join(map(repr, _WHICH))}")
    if k > n:
        raise ArgumentError(f"k is {k}, but the operator has only {n} eigenvalues")
    size = min(n, max(2 * k + 16, 32)) if ncv is None else count_argument(ncv, "ncv")
    if not k < size <= n and size != n:
        raise ArgumentError(f"ncv is {size}; expected more than k = {k} and at most n = {n}")
    single = np.dtype(op.dtype) == np.float32
    tol = (3e-6 if single else 1e-10) if tol is None else float(tol)
    if not (0 < tol < 1):
        raise ArgumentError(f"tol is {tol}; expected a number between 0 and 1")
    search = _Search(op, k, which, tol, size, as_key(seed))
    search.start(v0)
    restarts, verified = search.run(count_argument(max_restarts, "max_restarts", 0), verify)
    w, V, residuals = search.pairs()
    norm = search.norm
    converged = residuals <= tol * norm
    if not converged.all():
        warnings.warn(
            f"{np.count_nonzero(~converged)} of {k} eigenpairs did not converge to {tol:.1e} in {restarts} restarts; "
            "give a larger ncv, max_restarts or tol",
            NNQFTWarning,
            stacklevel=2,
        )
    e = -(search.exponent or 0)
    if not return_info:
        return np.ldexp(w, e), V
    info = EigenInfo(
        np.ldexp(residuals, e), converged, float(np.ldexp(norm, e)), search.products, restarts, verified, tol
    )
    return np.ldexp(w, e), V, info


class _Search:
    """The basis V (n, size), its projection T, and where the search stands. Eigenvalues are those of 2^exponent A."""

    def __init__(self, op, k, which, tol, size, key):
        self.op, self.k, self.which, self.tol, self.size, self.key = op, k, which, tol, size, key
        self.n = op.shape[0]
        self.V = np.zeros((self.n, size), order="F")
        self.T = np.zeros((size, size))
        self.next, self.beta = None, 0.0
        self.exponent, self.products, self.drawn, self.norm = None, 0, 0, 0.0
        self.slack = np.sqrt(np.finfo(op.dtype).eps)

    # ---- vectors

    def apply(self, v):
        w = np.array(self.op.matvec(v.astype(self.op.dtype, copy=False)), dtype=np.float64)
        self.products += 1
        if w.shape != (self.n,):
            raise ShapeError(f"product {self.products} has shape {w.shape}; expected ({self.n},)")
        top = abs(w).max()
        if not np.isfinite(top):
            raise ArgumentError(f"product {self.products} of the operator with a finite vector is not finite")
        if self.exponent is None and top > 0:  # so far every product was zero
            self.exponent = -int(np.frexp(top)[1])
        return np.ldexp(w, self.exponent) if self.exponent else w

    def orthogonalize(self, w, used):
        """w without its part in the first `used` vectors, and the coefficients: twice is enough."""
        V, h = self.V[:, :used], np.zeros(used)
        for _ in range(2):
            step = V.T @ w
            w -= V @ step
            h += step
        return w, h

    def fresh(self, used):
        """A random unit vector orthogonal to the first `used` < n vectors."""
        while True:
            w = probe_vectors(self.n, 1, seed=self.key, first=self.drawn, distribution="gaussian")[:, 0]
            self.drawn += 1
            w /= np.linalg.norm(w)
            for _ in range(3):
                w, _ = self.orthogonalize(w, used)
                length = np.linalg.norm(w)
                if length <= 1e-8:  # nearly everything was in the span: what is left is rounding
                    break
                w /= length
            else:
                return w

    def start(self, v0):
        if v0 is None:
            self.next = self.fresh(0)
            return
        v = np.array(v0, dtype=np.float64)
        if v.shape != (self.n,):
            raise ShapeError(f"v0 has shape {v.shape}; expected ({self.n},)")
        top = abs(v).max()
        if not (np.isfinite(top) and top > 0):
            raise ArgumentError("v0 must be finite and not zero")
        v /= top
        self.next = v / np.linalg.norm(v)

    # ---- one cycle

    def extend(self, used):
        """Fill the basis from `used` vectors on, starting with `next`."""
        for j in range(used, self.size):
            self.V[:, j] = self.next
            w = self.apply(self.next)
            self.norm = max(self.norm, float(np.linalg.norm(w)))
            w, h = self.orthogonalize(w, j + 1)
            if used == 0 and j > 0:
                self.check_symmetric(h)
            self.T[: j + 1, j] = self.T[j, : j + 1] = h
            self.beta = float(np.linalg.norm(w))
            if j + 1 == self.n:
                self.beta = 0.0
            elif self.beta <= 8 * _EPS * self.norm * np.sqrt(self.n):
                self.beta, self.next = 0.0, self.fresh(j + 1)
            else:
                self.next = w / self.beta

    def check_symmetric(self, h):
        """In the first cycle T must be tridiagonal, with the length of the last rest beside its diagonal."""
        above = max(abs(h[:-2]).max(initial=0.0), abs(h[-2] - self.beta))
        if above > 10 * self.slack * self.norm:
            raise ArgumentError(
                f"the operator is not symmetric: u.Av and v.Au differ by {above / self.norm:.1e} of its norm"
            )

    def restart(self, keep, fresh=False):
        """The Ritz vectors `keep` become the basis; `next` stays, or is a fresh random vector."""
        S = self.S[:, keep]
        for first in range(0, self.n, _ROWS):
            rows = slice(first, first + _ROWS)
            self.V[rows, : len(keep)] = self.V[rows] @ S
        self.T[:] = 0.0
        self.T[range(len(keep)), range(len(keep))] = self.theta[keep]
        if fresh or self.beta == 0:
            self.next = self.fresh(len(keep))
        return len(keep)

    # ---- what is wanted

    def order(self):
        """Ritz values, best first."""
        rising = np.argsort(self.theta)
        if self.which == "LA":
            return rising[::-1]
        if self.which == "SA":
            return rising
        if self.which == "LM":
            return np.argsort(-abs(self.theta), kind="stable")
        both = np.empty_like(rising)
        both[0::2], both[1::2] = rising[::-1][: (len(rising) + 1) // 2], rising[: len(rising) // 2]
        return both

    def settled(self, order):
        """No Ritz value outside the wanted ones can still grow past them: its residual is below its distance, or small."""
        best, rest = self.theta[order[: self.k]], order[self.k :]
        high, low = rest[np.argmax(self.theta[rest])], rest[np.argmin(self.theta[rest])]
        worst = min(abs(best))
        if self.which == "BE":
            tops, bottoms = self.theta[order[: self.k : 2]], self.theta[order[1 : self.k : 2]]
            margins = [(high, min(tops) - self.theta[high])]
            if len(bottoms):
                margins.append((low, self.theta[low] - max(bottoms)))
        else:
            margins = {
                "LA": [(high, min(best) - self.theta[high])],
                "SA": [(low, self.theta[low] - max(best))],
                "LM": [(high, worst - self.theta[high]), (low, worst + self.theta[low])],
            }[self.which]
        return all(self.residuals[i] <= max(self.tol * self.norm, margin / 2) for i, margin in margins)

    def run(self, max_restarts, verify):
        used, restarts, verifying, before = 0, 0, False, None
        while True:
            self.extend(used)
            self.theta, self.S = np.linalg.eigh(self.T)
            self.norm = float(abs(self.theta).max())
            self.residuals = self.beta * abs(self.S[-1])
            order = self.order()
            self.wanted = order[: self.k]
            values = np.sort(self.theta[self.wanted])
            done = (self.residuals[self.wanted] <= self.tol * self.norm).all()
            if self.size == self.n:
                return restarts, True
            if verifying and abs(values - before).max() > 10 * self.tol * self.norm:
                verifying = False  # something better turned up: its own copies are still to be looked for
            if done and (not verify or verifying and self.settled(order)):
                return restarts, verifying
            if restarts >= max_restarts:
                return restarts, False
            restarts += 1
            if done and not verifying:
                verifying, before = True, values
                used = self.restart(self.wanted, fresh=True)
            else:
                used = self.restart(order[: self.k + (self.size - self.k) // 2])

    def pairs(self):
        """Wanted pairs, increasing, and the residuals of these very vectors."""
        wanted = self.wanted[np.argsort(self.theta[self.wanted], kind="stable")]
        w, V = self.theta[wanted], self.V @ self.S[:, wanted]
        residuals = np.array([np.linalg.norm(self.apply(v) - x * v) for x, v in zip(w, V.T, strict=True)])
        return w, V, residuals
