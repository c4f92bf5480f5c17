"""Infinite-width kernels of convolutional and residual networks.

Convolution (filter of k taps, c channels, weights of variance sigma_w^2 / (k c), p and q pixels):

    K^0_pq     = sigma_b^2 + (sigma_w^2 / k) sum_tap x_{p+tap}.y_{q+tap} / c
    K^{l+1}_pq = sigma_b^2 + (sigma_w^2 / k) sum_tap E[phi(u) phi(v)]_{p+tap, q+tap},   (u, v) ~ N(0, K^l)
    output     = sigma_b^2 + sigma_w^2 mean_p E[phi phi]_pp ("flatten")  or  mean_pq E[phi phi]_pq ("mean")

Novak et al., arXiv:1810.05148, section 3. Residual, h^{l+1} = h^l + dense(phi(h^l)):

    K^{l+1} = K^l + sigma_b^2 + sigma_w^2 E[phi phi]            Yang and Schoenholz, arXiv:1712.08969
"""

from itertools import product
from types import SimpleNamespace

import numpy as np

from ._duals import dual
from ._kernels import check_law, check_points
from .errors import ArgumentError, ShapeError

__all__ = ["conv_nngp", "residual_nngp"]

_MAX_BYTES = 200_000_000


def conv_nngp(x, *, depth, filter_size, activation, activation_params=(), sigma_w=1.0, sigma_b=0.0,
              padding="circular", readout="flatten"):
    """Output covariance of an infinitely wide convolutional network.

    Parameters
    ----------
    x : array, shape (n_points, length, channels) or (n_points, height, width, channels), real
    depth : int >= 1
        Convolutions, each followed by the activation.
    filter_size : int, odd
        Taps per direction, stride 1.
    activation, activation_params : as for `nnqft.networks`
    sigma_w, sigma_b : float
        Standard deviations; every weight has variance sigma_w^2 / fan_in.
    padding : {"circular", "zeros"}
        Both keep the image's size; zeros count in the fan-in.
    readout : {"flatten", "mean"}
        A dense layer on all pixels, or on the average over pixels.

    Returns
    -------
    array, shape (n_points, n_points), float64
        In units of the output squared.

    Raises
    ------
    ShapeError, ArgumentError
        Wrong shape or arguments; pixel-pixel covariances ("mean") of more than 200 MB.

    Notes
    -----
    Relative error about 1e-13 per layer. Cost: `dual` on n_points^2 pixels ("flatten") or n_points^2 pixels^2 ("mean") pairs
    per layer. Source: module header.

    Examples
    --------
    >>> conv_nngp(np.ones((1, 4, 1)), depth=1, filter_size=3, activation="relu")
    array([[0.5]])
    """
    x, law = _checked_images(x, depth, filter_size, activation, activation_params, sigma_w, sigma_b, padding, readout)
    space = x.shape[1:-1]
    pairs = len(x) ** 2 * np.prod(space, dtype=float) ** (2 if readout == "mean" else 1)
    if 24 * pairs > _MAX_BYTES:
        raise ArgumentError(f"{len(x)} images of {'x'.join(map(str, space))} pixels make {pairs:.2g} covariances, more than "
                            f"{_MAX_BYTES // 24:.2g}: use fewer images" + (', or readout="flatten"' if readout == "mean" else ""))
    taps = list(product(range(-(filter_size // 2), filter_size // 2 + 1), repeat=len(space)))
    first, second = tuple(range(2, 2 + len(space))), tuple(range(2 + len(space), 2 + 2 * len(space)))
    here = "pqrs"[:len(space)]
    there = "uvwz"[:len(space)] if readout == "mean" else here
    moment = np.einsum(f"a{here}c,b{there}c->ab{here}{there if readout == 'mean' else ''}", x, x) / x.shape[-1]
    square = np.einsum("...c,...c->...", x, x) / x.shape[-1]
    for _ in range(depth):
        variance = sigma_b**2 + sigma_w**2 * _filtered(square, taps, [tuple(range(1, 1 + len(space)))], padding)
        sets = [first, second] if readout == "mean" else [first]
        covariance = sigma_b**2 + sigma_w**2 * _filtered(moment, taps, sets, padding)
        one = (1,) * len(space) if readout == "mean" else ()
        left, right = variance.reshape(len(x), 1, *space, *one), variance.reshape(1, len(x), *one, *space)
        moment = dual(activation, law, left, covariance, right)
        square = dual(activation, law, variance, variance, variance)
    return sigma_b**2 + sigma_w**2 * moment.reshape(len(x), len(x), -1).mean(axis=-1)


def residual_nngp(x, *, depth, activation, activation_params=(), sigma_w=1.0, sigma_b=0.0):
    """Output covariance of an infinitely wide residual network f = dense(phi(h^depth)), h^0 = dense(x).

    Parameters
    ----------
    x : array, shape (n_points, dim_in), real
    depth : int >= 0
        Residual blocks h + dense(phi(h)).
    activation, activation_params, sigma_w, sigma_b : as for `conv_nngp`

    Returns
    -------
    array, shape (n_points, n_points), float64
        In units of the output squared.

    Raises
    ------
    ShapeError, ArgumentError
        Wrong shape or arguments; overflow: the variance grows exponentially with depth for relu.

    Notes
    -----
    Relative error about 1e-13 per layer; cost: depth times `dual` on n_points^2 pairs. Source: module header.

    Examples
    --------
    >>> residual_nngp([[1.0]], depth=1, activation="relu")
    array([[0.75]])
    """
    _check_depth(depth, 0)
    width = np.shape(x)[1] if np.ndim(x) == 2 else 1
    net = SimpleNamespace(dim_in=width, widths=(1,), activation=activation, activation_params=activation_params,
                          sigma_w=sigma_w, sigma_b=sigma_b)
    params, x = check_law(net), check_points(net, x)
    covariance = sigma_b**2 + sigma_w**2 / width * (x @ x.T)
    variance = sigma_b**2 + sigma_w**2 / width * (x * x).sum(1)
    for block in range(depth + 1):
        skip = float(block < depth)  # the readout has no skip connection
        covariance = skip * covariance + sigma_b**2 + sigma_w**2 * dual(
            activation, params, variance[:, None], covariance, variance[None, :])
        variance = skip * variance + sigma_b**2 + sigma_w**2 * dual(activation, params, variance, variance, variance)
    return covariance


def _filtered(field, taps, axis_sets, padding):
    """Mean over taps of the field shifted by the tap along each set of axes at once; outside the image it is 0 or periodic."""
    total = np.zeros_like(field)
    for tap in taps:
        shifted = field
        for axes in axis_sets:
            shifted = np.roll(shifted, [-t for t in tap], axis=axes)
            for axis, t in zip(axes, tap) if padding == "zeros" else ():
                outside = [slice(None)] * field.ndim
                outside[axis] = slice(-t, None) if t > 0 else slice(0, -t)
                shifted[tuple(outside)] = 0.0
        total += shifted
    return total / len(taps)


def _check_depth(depth, least):
    if isinstance(depth, bool) or not isinstance(depth, (int, np.integer)) or depth < least:
        raise ArgumentError(f"depth must be an integer >= {least}; {depth!r} came")


def _checked_images(x, depth, filter_size, activation, activation_params, sigma_w, sigma_b, padding, readout):
    _check_depth(depth, 1)
    if padding not in ("circular", "zeros"):
        raise ArgumentError(f'padding must be "circular" or "zeros"; {padding!r} came')
    if readout not in ("flatten", "mean"):
        raise ArgumentError(f'readout must be "flatten" or "mean"; {readout!r} came')
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or x.ndim not in (3, 4) or 0 in x.shape:
        raise ShapeError(f"x has shape {x.shape} and dtype {x.dtype}, expected real (n_points, length, channels) or "
                         "(n_points, height, width, channels)")
    if not np.isfinite(x).all():
        raise ArgumentError("x must be finite; it holds NaN or infinity")
    if isinstance(filter_size, bool) or not isinstance(filter_size, (int, np.integer)) or filter_size % 2 == 0 or not (
            1 <= filter_size <= min(x.shape[1:-1])):
        raise ArgumentError(f"filter_size must be odd and at most the image's size {min(x.shape[1:-1])}; "
                            f"{filter_size!r} came")
    law = SimpleNamespace(widths=(1,) * depth, activation=activation, activation_params=activation_params,
                          sigma_w=sigma_w, sigma_b=sigma_b)
    return x.astype(np.float64), check_law(law)
