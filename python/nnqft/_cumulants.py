"""Joint cumulants from moments and back, for packed symmetric tensors of order <= 8.

    kappa(I) = sum over set partitions of I of (-1)^(b-1) (b-1)! prod E[block],    b = number of blocks
    E(I)     = sum over set partitions of I of prod kappa(block)

A theory is called even if its odd moments vanish: then partitions into even blocks are enough.
"""

import operator
from collections.abc import Mapping
from math import comb, isqrt, nan

import numpy as np

from . import _core
from .errors import ArgumentError, ShapeError
from .tensor import SymmetricTensor

__all__ = [
    "FROM_CUMULANTS",
    "FROM_MOMENTS",
    "PackedOrders",
    "check_order",
    "cumulants",
    "moments_from_cumulants",
    "refuse_weighted",
]

MAX_ORDER = 8
# By the step between orders, 1 or in an even theory 2: f(rows, m, index) -> rows, one array (batch, count) per order.
FROM_MOMENTS = {1: _core.vector_cumulants, 2: _core.even_cumulants}
FROM_CUMULANTS = {1: _core.vector_moments, 2: _core.moments_from_cumulants}


def cumulants(moments, order=None, *, even=False):
    """Joint cumulants (connected correlators) from moments (full correlators).

    kappa_ijkl = E_ijkl - [4 of E_i E_jkl] - [3 of E_ij E_kl] + 2 [6 of E_i E_j E_kl] - 6 E_i E_j E_k E_l, and in an
    even theory kappa_ijkl = E_ijkl - [3 of E_ij E_kl].

    Parameters
    ----------
    moments : dict {order: SymmetricTensor} or {order: array}
        Raw moments of the orders 1, 2, .., n, or 2, 4, .., n if `even`; others are ignored. Arrays are float64, packed
        over sorted multi-indices: (count,), or (..., count) for several theories at once. Any units.
    order : int, optional
        The highest order n wanted, 1 .. 8. Default: the highest given.
    even : bool
        Odd moments vanish.

    Returns
    -------
    dict {order: SymmetricTensor} or {order: array}
        Cumulants of the same orders up to n, in the units of the moments. Tensors are exact (`stderr` 0) if every
        moment is; otherwise they carry no error bar (nan), for the errors of moments are correlated: see `connected`.

    Raises
    ------
    ArgumentError
        If an order is missing or out of range, or tensors of different fields are mixed.
    ShapeError
        If an array has the wrong length or is not float64.

    Notes
    -----
    Not with all set partitions (877 at order 7, 4140 at order 8) but with the recursion over the block B that holds
    the first leg, kappa(I) = E(I) - sum_B kappa(B) E(I - B): 2^(n-1) - 1 products per entry of order n, 2^(n-2) - 1
    if even. Rounding: a few eps times the largest term; if means are large compared to fluctuations, take moments of
    centred fields, which changes no cumulant but the first. T. P. Speed, Austral. J. Statist. 25 (1983) 378: cumulants
    by Moebius inversion over set partitions.

    Examples
    --------
    >>> ones = {n: np.ones(1) for n in (2, 4, 6, 8)}                     # moments of a random sign
    >>> {n: float(k[0]) for n, k in cumulants(ones, even=True).items()}
    {2: 1.0, 4: -2.0, 6: 16.0, 8: -272.0}
    """
    packed = PackedOrders(moments, order, even, "moments")
    return packed.restore(FROM_MOMENTS[packed.step](packed.rows, packed.size, packed.index))


def moments_from_cumulants(cumulants, order=None, *, even=False):
    """Moments (full correlators) from joint cumulants (connected correlators): the inverse of `cumulants`.

    E_ijkl = kappa_ijkl + [4 of kappa_i kappa_jkl] + [3 of kappa_ij kappa_kl] + [6 of kappa_i kappa_j kappa_kl]
    + kappa_i kappa_j kappa_k kappa_l.

    Parameters
    ----------
    cumulants : dict {order: SymmetricTensor} or {order: array}
        Joint cumulants of the orders 1, 2, .., or 2, 4, .. if `even`, as in `cumulants`.
    order : int, optional
        The highest order n wanted, 1 .. 8. Default: the highest given. Cumulants above the highest given count as zero:
        {1: mean, 2: covariance} gives all moments of a Gaussian.
    even : bool
        Odd cumulants vanish.

    Returns
    -------
    dict {order: SymmetricTensor} or {order: array}
        Moments of the same orders up to n; error bars as in `cumulants`.

    Raises
    ------
    ArgumentError
        If an order is missing or out of range, tensors of different fields are mixed, or cumulants that list only some
        multi-indices are to be continued with zeros.
    ShapeError
        If an array has the wrong length or is not float64.

    Notes
    -----
    E(I) = kappa(I) + sum_B kappa(B) E(I - B) over the blocks B that hold the first leg: 2^(n-1) - 1 products per entry
    of order n, 2^(n-2) - 1 if even; the error is a few eps of the same sum over absolute values. Speed (1983), as in
    `cumulants`.

    Examples
    --------
    >>> gaussian = moments_from_cumulants({2: np.array([1.0])}, 8, even=True)
    >>> [float(gaussian[n][0]) for n in (2, 4, 6, 8)]
    [1.0, 3.0, 15.0, 105.0]
    """
    packed = PackedOrders(cumulants, order, even, "cumulants", extend=True)
    return packed.restore(FROM_CUMULANTS[packed.step](packed.rows, packed.size, packed.index))


def check_order(order, step, who):
    """The order as an int, if it lies in step .. 8 and is a multiple of step."""
    order = operator.index(order)
    if not step <= order <= MAX_ORDER or order % step:
        odd = step == 2 and order % 2
        allowed, remedy = ("1 .. 8", "") if step == 1 else ("2, 4, 6, 8", ": even=False does odd orders" if odd else "")
        raise ArgumentError(
            f"{who} of {'an even theory' if step == 2 else 'any theory'} have orders {allowed}, got {order}{remedy}"
        )
    return order


def refuse_weighted(sums):
    """Sums of weighted samples come with order 0, the sums of the weights; other formulas are unbiased for them."""
    if isinstance(sums, Mapping) and 0 in sums:
        raise ArgumentError(
            "sums of weighted samples (with order 0, the sums of weights) have no k-statistics here: apply cumulants() "
            "to their ratios in jackknife(sums, counts, function=...), or leave the weights out"
        )


class PackedOrders:
    """A dict {order: SymmetricTensor or array} as the kernels want it, and the way back.

    Attributes: `step` between orders, `orders`, `rows` (one array (batch, count) each), `size` m, `index` (None or a
    list).
    """

    def __init__(self, tensors, order, even, who, *, extend=False):
        if not isinstance(tensors, Mapping) or not tensors:
            raise ArgumentError(
                f"{who} must be a dict {{order: tensor}} with at least one entry, got {type(tensors).__name__}"
            )
        self.step = 2 if even else 1
        highest = max(operator.index(n) for n in tensors)
        top = check_order(highest if order is None else order, self.step, who)
        self.orders = tuple(range(self.step, top + 1, self.step))
        given = tuple(n for n in self.orders if n <= highest or not extend)
        missing = [n for n in given if n not in tensors]
        if missing or not given:
            raise ArgumentError(
                f"{who} lack the orders {missing or [self.step]}: orders {given or (self.step,)} are needed, "
                f"got {sorted(tensors)}"
            )
        parts = [tensors[n] for n in given]
        self._tensors = parts if all(isinstance(t, SymmetricTensor) for t in parts) else None
        self.index = None
        if self._tensors:
            self._read_tensors(given, who)
        elif any(isinstance(t, SymmetricTensor) for t in parts):
            raise ArgumentError(
                f"{who} mix arrays and SymmetricTensors: pass {{order: tensor.mean}} or tensors throughout"
            )
        else:
            self._read_arrays(parts, given, who)
        for n in self.orders[len(given) :]:
            if self.index is not None:
                raise ArgumentError(
                    f"{who} of order {n} are not given, and list only some multi-indices below: pass tensors of zeros"
                )
            self.rows.append(np.zeros((len(self.rows[0]), comb(self.size + n - 1, n))))

    def _read_tensors(self, given, who):
        layouts = {(t.size, t.d_out) for t in self._tensors}
        wrong = [(n, t.order) for n, t in zip(given, self._tensors, strict=True) if t.order != n]
        if len(layouts) != 1 or wrong:
            raise ArgumentError(
                f"{who} must be tensors of the order that their key says, over the same fields; got (size, d_out) "
                f"{sorted(layouts)}" + (f" and (key, order) {wrong}" if wrong else "")
            )
        self.size = self._tensors[0].size
        self.rows = [t.mean[np.newaxis] for t in self._tensors]
        if not all(t.is_dense for t in self._tensors):
            self.index = [None if t.is_dense else t.index for t in self._tensors]

    def _read_arrays(self, parts, given, who):
        parts = [t if isinstance(t, np.ndarray) else np.asarray(t, dtype=np.float64) for t in parts]
        for n, t in zip(given, parts, strict=True):
            if t.dtype != np.float64:
                raise ShapeError(
                    f"{who} of order {n} have dtype {t.dtype}; float64 is expected: call .astype(np.float64)"
                )
            if t.ndim == 0 or t.shape[:-1] != parts[0].shape[:-1]:
                raise ShapeError(
                    f"{who} have shapes {[x.shape for x in parts]}; (..., count) with equal leading axes is expected"
                )
        count = parts[0].shape[-1]
        self.size = count if self.step == 1 else (isqrt(8 * count + 1) - 1) // 2
        for n, t in zip(given, parts, strict=True):
            expected = comb(self.size + n - 1, n)
            if t.shape[-1] != expected or not self.size:
                raise ShapeError(
                    f"{who} of order {n} have {t.shape[-1]} entries; {expected} are expected for {self.size} fields, "
                    f"a number that the {count} entries of order {given[0]} fix"
                )
        self._lead = parts[0].shape[:-1]
        self.rows = [np.ascontiguousarray(t).reshape(-1, t.shape[-1]) for t in parts]

    def restore(self, rows):
        """{order: result} in the form that came."""
        if not self._tensors:
            return {n: x.reshape(self._lead + x.shape[1:]) for n, x in zip(self.orders, rows, strict=True)}
        exact = not any(t.stderr.any() for t in self._tensors)
        first, last = self._tensors[0], self._tensors[-1]
        n_samples = first.n if len({t.n for t in self._tensors}) == 1 else None
        index = self.index or [None] * len(rows)
        return {
            n: SymmetricTensor(
                x[0],
                0.0 if exact else nan,
                order=n,
                size=self.size,
                d_out=first.d_out,
                index=at,
                n=n_samples,
                how=last.how,
            )
            for n, x, at in zip(self.orders, rows, index, strict=True)
        }
