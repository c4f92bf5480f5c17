"""Extreme eigenpairs of a symmetric operator: Lanczos with thick restart and full reorthogonalisation.

    A V = V T + r e^T,   V^T V = 1;   restart: V <- [V S_kept, r / |r|],   T = V^T A V

The basis is orthogonalised against everything that it holds, kept Ritz vectors too, and T is the projection that was
measured: no copy of a converged eigenvalue can come back. The steps run in C++ (csrc/lanczos/restart.hpp); what to keep
and when to stop is decided here. One start vector sees each eigenvalue once; further
copies come from fresh random vectors, put in when the Krylov space closes and once more when everything seems to have
converged. K. Wu, H. Simon, SIAM J. Matrix Anal. Appl. 22 (2000) 602.
"""

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg

from .. import _blas, _core  # noqa: F401  (_blas connects the kernels)
from .._checks import number, real_array, shown
from .._run import thread_count
from ..errors import ArgumentError, NNQFTWarning, ShapeError
from ..networks import as_key
from ._driver import affordable, require_mirrored
from ._operators import host_operator, native_handle
from ._probes import count_argument

__all__ = ["EigenInfo", "eigsh"]

_WHICH = ("LM", "LA", "SA", "BE")
_OFTEN, _SELDOM = 4, 8  # steps from one look at T to the next: while verifying; while the rate of convergence is not known
_SINGLE = 3e-6  # default tolerance of operators on float32, and the smallest one for which a basis of float32 will do


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
        Largest |Ritz value| seen: the operator's norm from below.
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
    op, k=6, *, which="LM", tol=None, ncv=None, max_restarts=1000, v0=None, seed=0, verify=True, threads=None, return_info=False,
    check_symmetric=True
):  # fmt: skip
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
        Vectors kept, k < ncv <= n (or n); default max(2 k + 16, 32). They take 8 n ncv bytes; 4 n ncv for operators on float32 at
        its default tolerance or a larger one, since vectors of float32 will do then. Fewer than k + 2 are taken for k + 2, of LM
        and BE for k + 3: beside the pairs there is room for what was learnt of the ends of their complement.
    max_restarts : int
        Then the best that there is comes back, with a warning.
    v0 : array, shape (n,), optional
        Start vector; default random.
    seed : int, SeedSequence or Generator
        Of all random vectors: equal seeds give equal bits.
    verify : bool
        After convergence, search the complement of the pairs from a random vector until its best Ritz value is settled
        below them: finds copies of multiple eigenvalues and directions that `v0` was blind to.
    threads : int, optional
        Default: all CPUs this process may use. The same bits for any number.
    return_info : bool
        Return (w, V, EigenInfo).
    check_symmetric : bool
        Compare the two triangles of dense matrices; without it the upper one is used.

    Returns
    -------
    w : array, shape (k,), float64
        Increasing.
    V : array, shape (n, k), float64
        Orthonormal columns to about 1e-14.

    Raises
    ------
    ArgumentError
        k, ncv, tol or `which` out of range; an operator that is not symmetric (a dense matrix shows it in its entries,
        all else in the projections, without an extra product) or whose product is not finite; a start vector that is
        zero or not finite.
    ShapeError
        `v0` of another shape.

    Warns
    -----
    NNQFTWarning
        If not all pairs converged; `.converged` says which. If `verify` was asked for and did not end in max_restarts.

    Notes
    -----
    Cost: products, and 8 n ncv flops for each; verification takes about as many products as another eigenpair, more
    where the gap is small.
    The operator is scaled by a power of two, so that any size of eigenvalues between 1e-300 and 1e300 works.

    Examples
    --------
    >>> w, V = eigsh(np.diag([3.0, -5.0, 1.0, 3.0, 0.5]), 3)          # a double eigenvalue
    >>> w.round(12).tolist(), V.shape
    ([-5.0, 3.0, 3.0], (5, 3))
    """
    op = host_operator(op, "eigsh()")
    n, k = op.shape[0], count_argument(k, "k")
    if not isinstance(which, str) or which not in _WHICH:
        raise ArgumentError(f"which is {shown(which)}; expected one of {', '.join(map(repr, _WHICH))}")
    if k > n:
        raise ArgumentError(f"k is {k}, but the operator has only {n} eigenvalues")
    size = min(n, max(2 * k + 16, 32)) if ncv is None else count_argument(ncv, "ncv")
    if not k < size <= n and size != n:
        raise ArgumentError(f"ncv is {size}; expected more than k = {k} and at most n = {n}")
    single = np.dtype(op.dtype) == np.float32
    tol = (_SINGLE if single else 1e-10) if tol is None else number("tol", tol, above=0.0, below=1.0)
    max_restarts = count_argument(max_restarts, "max_restarts", 0)
    if check_symmetric:
        require_mirrored(op, thread_count(threads))
    search = _Search(op, k, which, tol, min(n, max(size, k + (2 if which in ("LA", "SA") else 3))), as_key(seed), thread_count(threads))
    search.start(v0)
    with _core.BlasThreadsOff():  # the small eigenproblems would wake them up for nothing
        restarts, verified = search.run(max_restarts, verify)
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
    elif verify and not verified:
        warnings.warn(
            f"all pairs converged, but whether better ones are left was not settled in {restarts} restarts: "
            "give a larger ncv or max_restarts, or verify=False",
            NNQFTWarning,
            stacklevel=2,
        )
    e = -search.core.exponent
    if not return_info:
        return np.ldexp(w, e), V
    info = EigenInfo(
        np.ldexp(residuals, e), converged, float(np.ldexp(norm, e)), search.core.products, restarts, verified, tol
    )
    return np.ldexp(w, e), V, info


class _Search:
    """Where the search stands. Eigenvalues are those of 2^exponent A."""

    def __init__(self, op, k, which, tol, size, key, threads):
        self.k, self.which, self.tol, self.size, self.threads = k, which, tol, size, threads
        self.n = op.shape[0]
        narrow = np.dtype(op.dtype) == np.float32 and tol >= _SINGLE
        affordable((4.0 if narrow else 8.0) * self.n * (size + 1), f"{size} vectors", "give a smaller ncv")
        basis = _core.ThickRestart32 if narrow else _core.ThickRestart64
        self.core = basis(native_handle(op, op.dtype), size, key)
        self.together = k if op.native is not None else 1  # in the last products: a callable may know single vectors alone
        self.fresh_at = 0  # products before the last fresh vector
        self.norm, self.worst, self.rate, self.slack = 0.0, 1.0, 0.0, 10 * np.sqrt(np.finfo(op.dtype).eps)

    def start(self, v0):
        if v0 is not None:
            v0 = real_array("v0", v0, finite=False)
            if v0.shape != (self.n,):
                raise ShapeError(f"v0 has shape {v0.shape}; expected ({self.n},)")
        self.core.start(v0, self.threads)

    def extend(self, to):
        """Lanczos steps up to `to` vectors; Ritz values theta, vectors S, residuals, and `order`, best first."""
        exponent = self.core.exponent
        self.core.extend(to, self.threads)
        self.norm = float(np.ldexp(self.norm, self.core.exponent - exponent))
        if self.core.skewness > self.slack * self.core.norm:
            share = self.core.skewness / self.core.norm
            raise ArgumentError(f"the operator is not symmetric: u.Av and v.Au differ by {share:.1e} of its norm")
        self.theta, self.S = scipy.linalg.eigh(self.core.T, driver="evd", check_finite=False)
        self.norm = max(self.norm, float(abs(self.theta).max()))  # a restart may leave out the other end of the spectrum
        self.residuals = self.core.beta * abs(self.S[-1])
        self.order = self.preference()
        self.wanted = self.order[: self.k]

    def restart(self, keep, fresh=False):
        """The Ritz vectors `keep` become the basis; the next vector stays, or is a fresh random one."""
        if fresh:
            self.fresh_at = self.core.products
        self.core.restart(np.asfortranarray(self.S[:, keep]), self.theta[keep], fresh, self.threads)

    def preference(self):
        """Indices of the Ritz values, best first."""
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

    def settled(self):
        """No Ritz value outside the wanted ones can still grow past them.

        Its residual is small; or below its distance, and the steps since the fresh vector would have brought to light an
        eigenvector at that distance of which it held no more than 1 / (20 sqrt(n)): Chebyshev polynomials grow as
        cosh(steps arccosh(1 + 2 distance / spread of the rest)).
        """
        order = self.order
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
        spread = max(self.theta[high] - self.theta[low], np.finfo(np.float64).eps * self.norm)
        steps, hidden = self.core.products - self.fresh_at, np.log(20 * np.sqrt(self.n))
        return all(
            self.residuals[i] <= self.tol * self.norm
            or (self.residuals[i] <= margin / 2 and steps * np.arccosh(1 + 2 * margin / spread) >= hidden)
            for i, margin in margins
        )

    def kept(self):
        """What a restart keeps: the wanted ones and half of the rest, with both ends of it where both are looked at."""
        count = self.k + (self.core.used - self.k) // 2
        if self.which in ("LA", "SA"):
            return self.order[:count]
        rest = self.order[self.k :]
        ends = rest[np.argmax(self.theta[rest])], rest[np.argmin(self.theta[rest])]
        return np.array(list(dict.fromkeys([*self.wanted, *ends, *rest])))[: max(count, self.k + 2)]

    def run(self, max_restarts, verify):
        """(restarts, verified) when the wanted pairs have converged, or after max_restarts."""
        restarts, verifying, before = 0, False, 0.0
        while True:
            exponent = self.core.exponent
            done = self.cycle(verifying)
            before = np.ldexp(before, self.core.exponent - exponent)
            values = np.sort(self.theta[self.wanted])
            if self.core.used == self.n:
                return restarts, True
            if verifying and abs(values - before).max() > 10 * self.tol * self.norm:
                verifying = False  # something better turned up: its own copies are still to be looked for
            if done and (not verify or verifying and self.settled()):
                return restarts, verifying
            if restarts >= max_restarts:
                return restarts, False
            restarts += 1
            if done and not verifying:
                verifying, before = True, values
                self.restart(self.wanted, fresh=True)
            else:
                self.restart(self.kept())

    def cycle(self, verifying):
        """Fill the basis, or stop before if what is wanted has come; True if the wanted pairs have converged."""
        while True:
            here, before = max(self.core.used, self.k), self.worst
            self.extend(min(here + (_OFTEN if verifying else self.patience()), self.size))
            self.worst = self.residuals[self.wanted].max() / self.norm if self.norm > 0.0 else 0.0
            falls = 0.0 < self.worst < before
            self.rate = np.log(before / self.worst) / (self.core.used - here) if falls else 0.0
            done = self.worst <= 0.9 * self.tol  # restarts with a fresh vector forget a part of it
            if self.core.used == self.size or (done and (not verifying or self.settled())):
                return done

    def patience(self):
        """Steps until it is worth while to look: half of those that the residuals take at the rate of late."""
        if not (self.rate > 0.0 and self.worst > self.tol):
            return _SELDOM
        return max(1, int(0.5 * np.log(self.worst / self.tol) / self.rate))

    def pairs(self):
        """Wanted pairs, increasing, and the residuals of these very vectors."""
        wanted = self.wanted[np.argsort(self.theta[self.wanted], kind="stable")]
        w, V = self.theta[wanted], self.core.combine(np.asfortranarray(self.S[:, wanted]), self.threads)
        parts = [slice(i, i + self.together) for i in range(0, self.k, self.together)]
        return w, V, np.concatenate([self.core.residuals(V[:, part], w[part], self.threads) for part in parts])
