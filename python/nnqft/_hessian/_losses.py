"""Losses on the outputs of a net: their values, and first and second derivatives by the outputs.

Elementwise losses take the mean over the outputs of a sample, as torch's `reduction="mean"` does:

    hinge          max(0, 1 - y f)        y = +-1
    squared_hinge  max(0, 1 - y f)^2      y = +-1
    logistic       log(1 + exp(-y f))     y = +-1
    mse            (f - y)^2
    linear         -y f

    cross_entropy  log sum_c exp f_c - f_y, y a class; or a row of probabilities: sum_c y_c (log sum exp f - f_c)
"""

from dataclasses import dataclass

import numpy as np

from ..errors import ArgumentError, ShapeError

LIKELIHOODS = ("logistic", "mse", "cross_entropy")  # -log p(y | f) up to a constant and a scale: the Fisher matrix is Gauss-Newton's
_SIGNS = ("hinge", "squared_hinge", "logistic")


@dataclass
class Derivatives:
    """One row per sample; L'' = diagonal + sign u u^T + matrix, each part None if it is zero."""

    values: np.ndarray | None
    first: np.ndarray
    diagonal: np.ndarray | None = None
    rank_one: np.ndarray | None = None
    sign: float = 1.0
    matrix: np.ndarray | None = None

    def parts(self):
        return [a for a in (self.diagonal, self.rank_one, self.matrix) if a is not None]

    def rows(self, index):
        """Those of some samples."""
        values, first, diagonal, rank_one, matrix = (None if a is None else np.ascontiguousarray(a[index])
                                                     for a in (self.values, self.first, self.diagonal, self.rank_one, self.matrix))  # fmt: skip
        return Derivatives(values, first, diagonal, rank_one, self.sign, matrix)

    def weighted(self, w):
        """Sample i counts w_i times."""
        column = w[:, None]
        return Derivatives(self.values, self.first * column, None if self.diagonal is None else self.diagonal * column,
                           None if self.rank_one is None else self.rank_one * np.sqrt(column), self.sign,
                           None if self.matrix is None else self.matrix * column[..., None])  # fmt: skip


def _hinge(f, y):
    margin = 1.0 - y * f
    return np.where(margin > 0, margin, 0.0), np.where(margin > 0, -y, 0.0), None


def _squared_hinge(f, y):
    margin = np.maximum(1.0 - y * f, 0.0)
    return margin**2, -2.0 * y * margin, np.where(margin > 0, 2.0, 0.0)


def _logistic(f, y):
    m = y * f
    z = np.exp(-np.abs(m))
    against = np.where(m > 0, z, 1.0) / (1.0 + z)  # 1 / (1 + e^m), without overflow
    return np.maximum(-m, 0.0) + np.log1p(z), -y * against, z / (1.0 + z) ** 2


def _mse(f, y):
    return (f - y) ** 2, 2.0 * (f - y), np.full(f.shape, 2.0)


def _linear(f, y):
    return -y * f, -y, None


_ELEMENTWISE = {"hinge": _hinge, "squared_hinge": _squared_hinge, "logistic": _logistic, "mse": _mse, "linear": _linear}
LOSSES = (*_ELEMENTWISE, "cross_entropy")


def _cross_entropy(f, y):
    top = f.max(1, keepdims=True)
    z = np.exp(f - top)
    total = z.sum(1, keepdims=True)
    p, mass = z / total, y.sum(1, keepdims=True)
    log_p = f - top - np.log(total)
    return Derivatives(-(y * np.where(y > 0, log_p, 0.0)).sum(1), p * mass - y, p * mass, p * np.sqrt(mass), -1.0)


def targets(y, n, dim, loss):
    """The targets as the loss takes them, float64 (n, dim); for cross-entropy rows of probabilities."""
    y = np.asarray(y)
    if y.dtype.kind not in "iufb":
        raise ArgumentError(f"y has dtype {y.dtype}; expected real numbers")
    if loss == "cross_entropy" and y.shape == (n,):
        if dim < 2:
            raise ShapeError("cross_entropy takes a net of two outputs or more; with one output use loss='logistic' and y = +-1")
        classes = y.astype(np.int64)
        if not (classes == y).all() or (n and not 0 <= classes.min() <= classes.max() < dim):
            raise ArgumentError(f"cross_entropy takes classes 0 .. {dim - 1} or rows of probabilities")
        return (classes[:, None] == np.arange(dim)).astype(np.float64)
    if y.shape != (n, dim) and not (dim == 1 and y.shape == (n,)):
        raise ShapeError(f"y has shape {y.shape}; expected {(n,) if dim == 1 else (n, dim)}: one target per sample and output")
    y = y.astype(np.float64).reshape(n, dim)
    if not np.isfinite(y).all():
        raise ArgumentError(f"y is not finite in sample {np.nonzero(~np.isfinite(y))[0][0]}")
    if loss in _SIGNS and not (np.abs(y) == 1.0).all():
        bad = y[np.abs(y) != 1.0][0]
        raise ArgumentError(f"{loss} takes targets -1 and +1; got {bad:g}" + (": use 2 * y - 1" if ((y == 0) | (y == 1)).all() else ""))
    if loss == "cross_entropy" and (y < 0).any():
        raise ArgumentError("cross_entropy takes classes or rows of probabilities; got a negative one")
    return y


def derivatives(loss, f, y):
    """Derivatives of a loss by name, or of a callable loss(f, y), at outputs f (n, dim)."""
    if isinstance(loss, str) and loss == "cross_entropy":
        return _cross_entropy(f, targets(y, *f.shape, loss))
    if isinstance(loss, str):
        if loss not in _ELEMENTWISE:
            raise ArgumentError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}, or a callable loss(f, y)")
        scale = 1.0 / f.shape[1]
        values, first, second = _ELEMENTWISE[loss](f, targets(y, *f.shape, loss))
        return Derivatives(values.mean(1), first * scale, None if second is None else second * scale)
    if not callable(loss):
        raise ArgumentError(f"loss is {loss!r}; expected one of {', '.join(LOSSES)}, or a callable loss(f, y)")
    return _of_callable(loss, f, y)


def _of_callable(loss, f, y):
    result = loss(f.copy(), y)
    if not isinstance(result, tuple) or len(result) not in (2, 3):
        raise ArgumentError("a loss returns (first, second) or (values, first, second): arrays with one row per sample")
    values, first, second = (None, *result) if len(result) == 2 else result
    n, dim = f.shape
    first = _float64("first", first, (n, dim))
    if values is not None:
        values = _float64("values", values, (n,))
    if second is None:
        return Derivatives(values, first)
    if np.ndim(second) != 3:
        return Derivatives(values, first, _float64("second", second, (n, dim)))
    second = _float64("second", second, (n, dim, dim))
    if not np.allclose(second, second.transpose(0, 2, 1), rtol=1e-10, atol=1e-12 * np.abs(second).max(initial=0.0)):
        raise ArgumentError("second derivatives of a loss are symmetric matrices; these are not")
    return Derivatives(values, first, matrix=second)


def _float64(name, a, shape):
    a = np.asarray(a)
    if a.dtype.kind not in "iuf" or (a.shape != shape and a.shape != shape[: 1 if shape[-1] == 1 else len(shape)]):
        raise ShapeError(f"the loss returned {name} of dtype {a.dtype} and shape {a.shape}; expected real numbers of shape {shape}")
    return np.ascontiguousarray(a, dtype=np.float64).reshape(shape)
