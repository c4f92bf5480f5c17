"""Smoothing of quadratures: Gaussians at the nodes, as wide as what k steps resolve there; the signed logarithm."""

import numpy as np

from .._checks import number, real_array
from ..errors import ArgumentError

__all__ = ["scale_threshold", "smoothed", "symlog", "symlog_inverse", "widths"]

_WIDTH = 0.6  # of a Gaussian, in distances between nodes: equally spaced ones ripple by 2 exp(-2 pi^2 0.6^2) = 0.2 %
# Local distances are kept within these multiples of their median: an outlier must not be smeared over the gap before it.
# On the signed logarithmic axis few nodes fall on the decades next to 0, and only those are wide apart.
_SPREAD = {"linear": (0.1, 3.0), "symlog": (0.1, 10.0)}
_ATOM = 5.0  # a kernel, say, stays a narrow peak
_KAPPA = 3.0
_COPIES = 1e-8  # of the range: nodes as close as this are one, repeated by lost orthogonality
_BATCH = 4096  # points of a grid that are smoothed at a time


def symlog(x, threshold):
    """Signed logarithm asinh(x / 2t) / ln 10: x / (2 t ln 10) near 0, sign(x) log10(|x| / t) beyond t.

    Examples
    --------
    >>> symlog(np.array([-10.0, 0.0, 1000.0]), 0.01).round(3).tolist()
    [-3.0, 0.0, 5.0]
    """
    t = number("threshold", threshold, above=0.0)
    return np.arcsinh(real_array("x", x, finite=False)[()] / (2 * t)) / np.log(10)


def symlog_inverse(u, threshold):
    """x with symlog(x, threshold) = u."""
    return 2 * threshold * np.sinh(np.asarray(u, dtype=np.float64) * np.log(10))


def scale_threshold(scale, threshold, default):
    """None for a linear axis, else the threshold of the signed logarithm: the one given, or default()."""
    if not isinstance(scale, str) or scale not in _SPREAD:
        raise ArgumentError(f'scale is {scale!r}; expected "linear" or "symlog"')
    if scale == "linear":
        return None
    return default() if threshold is None else number("threshold", threshold, above=0.0)


def smoothed(nodes, weights, widths, at, kernel):
    """sum_k weights_k kernel((at - nodes_k) / widths_k) of every probe: shape (probes, len(at))."""
    values = np.empty((len(nodes), len(at)))
    for row, node, width, weight in zip(values, nodes, widths, weights, strict=True):
        for first in range(0, len(at), _BATCH):
            row[first : first + _BATCH] = kernel((at[first : first + _BATCH, None] - node) / width) @ weight
    return values


def widths(u, weights, used, sigma, scale="linear"):
    """Standard deviations of the Gaussians at nodes u (probes, k), of which `used` are no padding.

    "auto": _WIDTH times the local distance of nodes. "global": range / ((k - 1) sqrt(8 log 3)) for all (Papyan,
    arXiv:1811.07062). A number: itself.
    """
    if not isinstance(sigma, str):
        return np.full(u.shape, number("sigma", sigma, above=0.0))
    if sigma not in ("auto", "global"):
        raise ArgumentError(f'sigma is {sigma!r}; expected a positive width, "auto" or "global"')
    span, steps = u.max() - u.min(), int(used.sum(axis=1).max())
    if span <= 1e-12 * abs(u).max():
        raise ArgumentError("all nodes coincide: a spectrum of one point has no width of its own; give sigma=")
    if sigma == "global":
        return np.full(u.shape, span / (max(steps - 1, 1) * np.sqrt(8 * np.log(_KAPPA))))
    out, (low, high) = np.empty(u.shape), _SPREAD[scale]
    for row, nodes, shares, here in zip(out, u, weights, used, strict=True):
        distinct = np.unique(nodes[here])
        distinct = distinct[np.concatenate([[True], np.diff(distinct) > _COPIES * span])]
        gaps = np.diff(distinct) if len(distinct) > 1 else np.array([span / max(steps, 2)])
        middle = np.median(gaps)
        local = np.interp(nodes, (distinct[1:] + distinct[:-1]) / 2, gaps) if len(distinct) > 1 else middle
        row[:] = _WIDTH * np.clip(local, low * middle, high * middle)
        row[_atoms(shares)] = _WIDTH * low * middle
    return out


def _atoms(weights):
    """Nodes that carry _ATOM times both neighbours: the weights of a density change slowly from node to node."""
    padded = np.concatenate([[0.0], weights, [0.0]])
    return weights > _ATOM * np.maximum(padded[:-2], padded[2:])
