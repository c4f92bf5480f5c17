"""Traces from products with random vectors: Hutchinson, Hutch++, XTrace, each with the error it knows of itself."""

import numpy as np
import scipy.linalg

from .. import _core
from .._blas import matmul
from .._checks import shown
from .._estimate import Estimate
from .._run import progress_bar, thread_count
from ..errors import ArgumentError
from ..networks import as_key
from ._driver import affordable, random_pair, require_mirrored, require_mutual
from ._operators import counted, host_operator
from ._probes import count_argument, probe_vectors

__all__ = ["trace"]

_COLUMNS = 16  # vectors of one product of Hutchinson's estimate
_METHODS = ("hutchinson", "hutch++", "xtrace")


def trace(op, products=60, *, method="xtrace", distribution=None, seed=0, progress=None, check_symmetric=True):
    """Trace of a symmetric operator from products with random vectors.

    "hutchinson"  mean of v.Av; error ~ |A|_F sqrt(2 / products), whatever the spectrum.
    "hutch++"     a third of the products finds the dominant range Q, a third gives tr Q^T A Q, a third is Hutchinson's
                  estimate on the complement: error ~ 1 / products where the spectrum decays.
    "xtrace"      the same idea with every vector used for both, leaving itself out: best where the spectrum decays.

    Parameters
    ----------
    op : as for `lanczos`
        Symmetric, shape (n, n).
    products : int
        Products with A. As many as n or more: the trace is summed over the unit vectors, exactly.
    method : "xtrace", "hutch++" or "hutchinson"
    distribution : "rademacher", "gaussian" or "sphere", optional
        Law of the vectors. Default: "sphere" for XTrace, whose normalised form needs it, else "rademacher".
    seed : int, SeedSequence or Generator
    progress : True or callable(done, total), optional
        A bar (needs tqdm), or a function that is told the products made.
    check_symmetric : bool
        Compare the two triangles of dense matrices, and u.Av with v.Au for the vectors of the first product.

    Returns
    -------
    Estimate
        In the operator's units. Hutchinson: standard error of the mean; Hutch++: that of the complement, given Q;
        XTrace: spread of the leave-one-out estimates, which are not independent, so that the error is itself an
        estimate.

    Raises
    ------
    ArgumentError
        Too few products (2; 6 for Hutch++; 4 for XTrace), unknown names, an operator that is not symmetric, a product
        that is not finite.

    Notes
    -----
    Cost: the products, and O(n products^2) for the two others. A flat spectrum gains nothing from them. M. Hutchinson,
    Commun. Stat. Simul. 18 (1989) 1059; R. Meyer et al., arXiv:2010.09649, algorithm 1; E. Epperly, J. Tropp,
    R. Webber, arXiv:2301.07825.

    Examples
    --------
    >>> A = np.diag(0.5 ** np.arange(200.0))
    >>> t = trace(A, 60, seed=3)
    >>> bool(abs(t.mean - 2.0) < 1e-6), t.stderr < 1e-6
    (True, True)
    """
    op = host_operator(op, "trace()")
    n, key, products = op.shape[0], as_key(seed), count_argument(products, "products")
    if not isinstance(method, str) or method not in _METHODS:
        raise ArgumentError(f"method is {shown(method)}; expected one of {', '.join(map(repr, _METHODS))}")
    if distribution is not None:
        probe_vectors(1, 0, seed=key, distribution=distribution)  # refuses names that it does not know
    law = distribution or ("sphere" if method == "xtrace" else "rademacher")
    columns = min(products, n, _COLUMNS) if method == "hutchinson" or products >= n else products
    affordable(8.0 * n * columns * 3, f"{products} products in dimension {n}", "give fewer")
    how = {"estimator": method, "products": products, "seed": key, "distribution": law}
    least = {"hutchinson": 2, "hutch++": 6, "xtrace": 4}[method]
    if products < min(least, n):
        raise ArgumentError(f"{method} needs at least {least} products for an error bar; {products} came")
    if check_symmetric:
        require_mirrored(op, thread_count(None))
    check_symmetric = check_symmetric and not op.surely_symmetric
    complete = products >= n

    def draw(first, count):
        return probe_vectors(n, count, seed=key, first=first, distribution=law)

    with progress_bar(progress, min(products, n), unit="product") as report:
        op = Scaled(counted(op, report), check_symmetric and not complete)
        if complete:
            return Estimate(op.restore(exact(op, check_symmetric)), 0.0, n, {**how, "estimator": "exact"})
        estimate = {"hutchinson": hutchinson, "hutch++": hutch_pp, "xtrace": xtrace}[method]
        mean, stderr = estimate(op, products, draw, law)
    return Estimate(op.restore(mean), op.restore(stderr), products, how)


class Scaled:
    """The operator times the power of two that brings its first product near 1: squares neither overflow nor vanish."""

    def __init__(self, op, check):
        self.op, self.shape, self.dtype, self.exponent = op, op.shape, op.dtype, None
        self.check = check  # whether the first product is to show that op is symmetric

    def restore(self, value):
        return float(np.ldexp(value, -(self.exponent or 0)))

    def matmat(self, X):
        out = np.asarray(self.op.matmat(np.ascontiguousarray(X, dtype=self.dtype)), dtype=np.float64)
        top = abs(out).max(initial=0.0)
        if not np.isfinite(top):
            raise ArgumentError("a product of the operator with a finite vector is not finite")
        if self.exponent is None and top > 0:
            self.exponent = -int(np.frexp(top)[1])
        if self.check:
            require_mutual(X[:, :_COLUMNS], out[:, :_COLUMNS], self.dtype)
            self.check = False
        return np.ldexp(out, self.exponent) if self.exponent else out


def exact(op, check_symmetric):
    n, total = op.shape[0], 0.0
    pair = random_pair(n)
    products = np.zeros_like(pair)  # A pair, from the columns of A that come by
    for first in range(0, n, _COLUMNS):
        E = np.zeros((n, min(_COLUMNS, n - first)))
        at = first + np.arange(E.shape[1]), np.arange(E.shape[1])
        E[at] = 1.0
        columns = op.matmat(E)
        total += columns[at].sum()
        products += columns @ pair[at[0]]
    if check_symmetric:
        require_mutual(pair, products, op.dtype)
    return total


def quadratic_forms(op, products, draw, project=lambda X: X):
    """v.Av of every vector after `project`."""
    values = np.empty(products)
    for first in range(0, products, _COLUMNS):
        X = project(draw(first, min(_COLUMNS, products - first)))
        values[first : first + X.shape[1]] = np.einsum("ij,ij->j", X, op.matmat(X))
    return values


def hutchinson(op, products, draw, law):
    values = quadratic_forms(op, products, draw)
    return values.mean(), values.std(ddof=1) / np.sqrt(products)


def hutch_pp(op, products, draw, law):
    sketch = products // 3
    Q = orthonormal(op.matmat(draw(0, sketch)))
    rest = products - 2 * sketch
    if not Q.shape[1]:
        return hutchinson(op, rest, lambda first, m: draw(sketch + first, m), law)
    known = np.einsum("ij,ij->", Q, op.matmat(Q))
    values = quadratic_forms(op, rest, lambda first, m: draw(sketch + first, m), lambda X: X - matmul(Q, matmul(Q.T, X)))
    return known + values.mean(), values.std(ddof=1) / np.sqrt(rest)


def xtrace(op, products, draw, law):
    m, n = products // 2, op.shape[0]
    omega = draw(0, m)
    Y = op.matmat(omega)
    scale = np.linalg.norm(Y, axis=0).max()
    if scale == 0:
        return 0.0, 0.0
    with _core.BlasThreadsOff():
        Q, R = scipy.linalg.qr(Y, mode="economic", check_finite=False)
    if abs(np.diag(R)).min() <= 1e-13 * scale * np.sqrt(m):
        # Leaving one vector out would divide by zero. Q holds all of A, or products of +-1 fell upon each other: one more tells.
        Q = orthonormal(Y)
        fresh = op.matmat(draw(m, 1))
        if np.linalg.norm(fresh - matmul(Q, matmul(Q.T, fresh))) > 100 * np.finfo(op.dtype).eps * scale * np.sqrt(m):
            raise ArgumentError(f"the products of {m} {law} probes are not independent: take distribution='sphere', or another seed")
        return np.einsum("ij,ij->", Q, op.matmat(Q)), np.finfo(op.dtype).eps * scale
    Z = op.matmat(Q)
    # Without vector i the range is Q (1 - s s^T): s is the normalised column i of R^-T.
    with _core.BlasThreadsOff():
        S = scipy.linalg.solve_triangular(R, np.eye(m), trans="T", check_finite=False)
    S /= np.linalg.norm(S, axis=0)
    H, W, T = matmul(Q.T, Z), matmul(Q.T, omega), matmul(Z.T, omega)
    X = W - S * np.einsum("ij,ij->j", S, W)
    inside = np.trace(H) - np.einsum("ij,ij->j", S, matmul(H, S))
    outside = np.einsum("ij,ij->j", omega, Y) - 2 * np.einsum("ij,ij->j", X, T) + np.einsum("ij,ij->j", X, matmul(H, X))
    if law != "rademacher":  # the length of the rest of v within its n - m + 1 dimensions is noise: set it to its mean
        outside *= (n - m + 1) / (np.einsum("ij,ij->j", omega, omega) - np.einsum("ij,ij->j", X, X))
    values = inside + outside
    return values.mean(), values.std(ddof=1) / np.sqrt(m)


def orthonormal(Y):
    """Orthonormal basis of the columns of Y, without the directions that are rounding."""
    with _core.BlasThreadsOff():
        U, s, _ = scipy.linalg.svd(Y, full_matrices=False, check_finite=False)
    return U[:, s > (s.max(initial=0.0) * max(Y.shape) * np.finfo(np.float64).eps)]
