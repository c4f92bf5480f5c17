"""Hafnians under the names and with the signatures of `thewalrus` 0.22, computed by `nnqft.wick.hafnian`.

`import nnqft.compat.thewalrus as thewalrus` is the whole change. Differences, all of them on purpose:

- Real input gives a float (integers and booleans too: exact below 2**53), complex input a complex number, always.
- Nothing is set to zero for being small; `atol` is relative to the largest entry and concerns the check of symmetry alone.
- `method` and `glynn` are accepted and ignored: there is one method, at least as accurate as any of theirs.
- `hafnian_batched` needs no inverse of A, with or without a mean.
- `approx=True` draws the same signs in every call, and estimates the loop hafnian where `loop=True` asks for it.
- Wrong lengths, negative counts and matrices that are not symmetric are errors everywhere (ValueErrors, of nnqft.errors).
"""

import operator

import numpy as np

from ..errors import ArgumentError, ShapeError
from . import _inputs
from ._barvinok import estimate
from ._box import box
from ._low_rank import low_rank_hafnian as _low_rank

__all__ = ["hafnian", "hafnian_repeated", "loop_hafnian", "hafnian_batched", "reduction", "low_rank_hafnian"]


def hafnian(A, loop=False, rtol=1e-05, atol=1e-08, approx=False, num_samples=1000, method="glynn"):
    """Hafnian of a symmetric matrix, or loop hafnian with the diagonal as loop weights.

    Parameters
    ----------
    A : array, shape (n, n), real or complex
        Symmetric up to rounding: |A_ij - A_ji| <= rtol |A_ji| + atol max|A|; the two are averaged.
    loop : bool
        Whether points may stay alone, with the weight A_ii. Otherwise the diagonal does not matter.
    rtol, atol : float
        As above.
    approx : bool
        Estimate the hafnian of a real matrix without negative entries from random determinants (Barvinok).
    num_samples : int
        Number of determinants.
    method : str
        Ignored.

    Returns
    -------
    float or complex
        Complex if A is. 1 for n = 0; 0 for odd n without loops.

    Raises
    ------
    ShapeError, ArgumentError
        If A is not square, not finite or not symmetric, or does not fit approx=True.

    Notes
    -----
    Cost and accuracy: `nnqft.wick.hafnian`. The estimate is unbiased and costs num_samples n^3 operations; its relative error grows
    exponentially with n for dense matrices, and nothing in the value tells it.

    Examples
    --------
    >>> hafnian(np.ones((8, 8), dtype=int)), hafnian(np.ones((8, 8)), loop=True)
    (105.0, 764.0)
    >>> A = np.ones((8, 8))
    >>> A[0, 1] = A[1, 0] = 1e6
    >>> hafnian(A)                                         # 15 pairings contain (0, 1), 90 do not
    15000090.0
    """
    if approx:
        return estimate(_inputs.symmetric(A, rtol, atol), loop, operator.index(num_samples))
    return _inputs.hafnian(A, _diagonal(A) if loop else None, None, rtol, atol)


def hafnian_repeated(A, rpt, mu=None, loop=False, rtol=1e-05, atol=1e-08, glynn=True):
    """Hafnian, or loop hafnian, of the matrix whose row and column i occur rpt[i] times: that of `reduction(A, rpt)`.

    Parameters
    ----------
    A : array, shape (n, n), real or complex
        Symmetric up to rounding, see `hafnian`. The diagonal counts where a row repeats.
    rpt : sequence of int, shape (n,)
        Non-negative.
    mu : array, shape (n,), optional
        Loop weights, if loop; by default the diagonal of A.
    loop : bool
        Whether points may stay alone.
    rtol, atol : float
        As `hafnian`.
    glynn : bool
        Ignored.

    Returns
    -------
    float or complex
        Complex if A or mu is.

    Raises
    ------
    ShapeError, ArgumentError
        If the shapes do not fit, a value is not finite, A is not symmetric or a count is negative or fractional.

    Notes
    -----
    Cost of the order of prod (rpt_i / 2 + 1): `nnqft.wick.hafnian`.

    Examples
    --------
    >>> A = np.array([[2.0, 1.0], [1.0, 3.0]])
    >>> hafnian_repeated(A, [2, 2]) == hafnian(reduction(A, [2, 2])) == 8.0
    True
    >>> hafnian_repeated(A, [1, 2], mu=np.array([1.0, -1.0]), loop=True)
    2.0
    """
    mu = (_diagonal(A) if mu is None else mu) if loop else None
    return _inputs.hafnian(A, mu, _inputs.whole(rpt, len(_inputs.square(A))), rtol, atol)


def loop_hafnian(A, D=None, reps=None, glynn=True):
    """Loop hafnian of A with loop weights D, row and column i occurring reps[i] times.

    Parameters
    ----------
    A : array, shape (n, n), real or complex
        Symmetric up to rounding, see `hafnian`.
    D : array, shape (n,), optional
        Loop weights; by default the diagonal of A.
    reps : sequence of int, shape (n,), optional
        Non-negative; by default once each.
    glynn : bool
        Ignored.

    Returns
    -------
    float or complex
        Complex if A or D is.

    Raises
    ------
    ShapeError, ArgumentError
        As `hafnian_repeated`.

    Notes
    -----
    Cost as `nnqft.wick.hafnian` with a mean.

    Examples
    --------
    >>> loop_hafnian(np.array([[2.0, 1.0], [1.0, 3.0]]))                     # A_01 + A_00 A_11
    7.0
    >>> loop_hafnian(np.array([[2.0, 1.0], [1.0, 3.0]]), D=[1.0, -1.0], reps=[1, 2])
    2.0
    """
    counts = None if reps is None else _inputs.whole(reps, len(_inputs.square(A)))
    return _inputs.hafnian(A, _diagonal(A) if D is None else D, counts)


def hafnian_batched(A, cutoff, mu=None, rtol=1e-05, atol=1e-08, renorm=False, make_tensor=True):
    """Hafnians of `reduction(A, k)` for all k with 0 <= k_i < cutoff.

    Parameters
    ----------
    A : array, shape (n, n), real or complex
        Symmetric up to rounding, see `hafnian`.
    cutoff : int
        At least 1.
    mu : array, shape (n,), optional
        Loop weights; without them, plain hafnians. A may be singular.
    rtol, atol : float
        As `hafnian`.
    renorm : bool
        Divide by sqrt(prod k_i!). The recursion runs on the divided numbers, so that large cutoffs do not overflow.
    make_tensor : bool
        Return the tensor, not the flat array.

    Returns
    -------
    array, shape (cutoff,) * n or (cutoff ** n,), float64 or complex128
        Entry [k_0, .., k_{n-1}]; complex if A or mu is.

    Raises
    ------
    ShapeError, ArgumentError
        As `hafnian_repeated`; if cutoff < 1, the box does not fit this machine's memory, or a value is beyond the largest double.

    Notes
    -----
    n multiply-adds per entry: multidimensional Hermite recursion. Where the sum of k is bounded rather than each k, `nnqft.wick.wick_all`
    has C(n+s-1, s) entries per order s instead of cutoff ** n. Error below n cutoff ulp of the same sum over \\|A\\| and \\|mu\\|.

    Examples
    --------
    >>> hafnian_batched(np.array([[2.0, 1.0], [1.0, 3.0]]), 3)
    array([[1., 0., 3.],
           [0., 1., 0.],
           [2., 0., 8.]])
    """
    A = _inputs.symmetric(A, rtol, atol)
    if mu is not None:
        A, mu = _inputs.common(A, _inputs.vector(mu, len(A), "mu"))
    cutoff = operator.index(cutoff)
    if cutoff < 1:
        raise ArgumentError(f"cutoff is {cutoff}; expected at least 1")
    H = box(A, mu, cutoff, renorm)
    if not np.isfinite(H).all():
        raise ArgumentError("some of the hafnians are beyond the largest double: use a smaller cutoff" + ("" if renorm else ", or renorm=True"))
    return H.reshape((cutoff,) * len(A)) if make_tensor else H


def reduction(A, rpt):
    """The matrix, or vector, in which row and column i of A occur rpt[i] times.

    Parameters
    ----------
    A : array, shape (n, n) or (n,)
        Any dtype.
    rpt : sequence of int, shape (n,)
        Non-negative.

    Returns
    -------
    array, shape (sum(rpt),) * A.ndim, dtype of A

    Raises
    ------
    ShapeError, ArgumentError
        If the shapes do not fit, or a count is negative or fractional.

    Notes
    -----
    `hafnian_repeated` needs no such copy. Costs the size of the result.

    Examples
    --------
    >>> reduction(np.array([[1, 2], [3, 4]]), [1, 2])
    array([[1, 2, 2],
           [3, 4, 4],
           [3, 4, 4]])
    """
    A = np.asarray(A)
    if A.ndim not in (1, 2) or len(set(A.shape)) > 1:
        raise ShapeError(f"reduction() takes a square matrix or a vector, got shape {A.shape}")
    rpt = _inputs.whole(rpt, len(A))
    return A[np.ix_(*[np.repeat(np.arange(len(A)), rpt)] * A.ndim)]


def low_rank_hafnian(G):
    """Hafnian of G G^T, fast for few columns.

    Parameters
    ----------
    G : array, shape (n, r), real or complex
        Any units; it may have any rank.

    Returns
    -------
    float or complex
        Complex if G is. 1 for n = 0, 0 for odd n or r = 0.

    Raises
    ------
    ShapeError, ArgumentError
        If G is no matrix or not finite, or n and r are both so large that no method gets there.

    Notes
    -----
    The average of prod_i (G x)_i over r standard normal x. About n r (n/2 + 1)^(r-1) multiply-adds, where that is cheaper than the hafnian of
    the product, 2^(n/2) (at n = 40 up to r = 4, at n = 60 to r = 7). Quadrature on the sphere: the error is of the order of n ulp of the
    average of the product's modulus. The peer expands the polynomial: Bjorklund, Gupt and Quesada, arXiv:1805.12498, appendix C.

    Examples
    --------
    >>> G = np.random.default_rng(0).normal(size=(20, 2))
    >>> bool(np.isclose(low_rank_hafnian(G), hafnian(G @ G.T), rtol=1e-12))
    True
    """
    G = _inputs.numbers(G, "G")
    if G.ndim != 2:
        raise ShapeError(f"G has shape {G.shape}; expected (n, r)")
    return _low_rank(G)


def _diagonal(A):
    return np.ascontiguousarray(np.diagonal(_inputs.square(A)))
