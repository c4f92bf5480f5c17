"""Layers of a concrete network: what each does to float64 activities, and its description for the kernels."""

from dataclasses import dataclass
from math import prod

import numpy as np

from . import _core
from .errors import ArgumentError, ShapeError

ACTIVATIONS = ("relu", "leaky_relu", "erf", "tanh", "sigmoid", "softplus", "swish", "gelu", "sin", "cos", "exp", "identity", "polynomial")
_IMAGES = 32  # evaluated together
_LARGEST = 2**20


def activation_parameters(activation, params):
    """`params` as floats: one slope for leaky_relu (0.01 if none is given), 1 to 16 coefficients for a polynomial, else none."""
    params = tuple(float(p) for p in params)
    if activation == "leaky_relu" and not params:
        params = (0.01,)
    low, high = {"leaky_relu": (1, 1), "polynomial": (1, 16)}.get(activation, (0, 0))
    if not low <= len(params) <= high or not np.isfinite(params).all():
        raise ArgumentError(f"{activation} takes {low} to {high} finite activation_params, got {params}")
    return params


class _Layer:
    def _check(self, n_axes, shape):
        weight = _frozen(self.weight)
        if weight.ndim != n_axes or not weight.size:
            raise ShapeError(f"weight has shape {weight.shape}; expected {shape}")
        bias = None if self.bias is None else _frozen(self.bias).reshape(-1)
        if bias is not None and len(bias) != len(weight):
            raise ShapeError(f"bias has {len(bias)} entries for {len(weight)} neurons")
        if self.activation not in ACTIVATIONS:
            raise ArgumentError(f"unknown activation {self.activation!r}; known: {', '.join(ACTIVATIONS)}")
        self._put(weight=weight, bias=bias, activation_params=activation_parameters(self.activation, self.activation_params))

    def _put(self, **values):
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def activate(self, z, slope=False):
        """phi(z), or the pair phi(z) and phi'(z)."""
        found = _core.activate(ACTIVATIONS.index(self.activation), list(self.activation_params), np.ascontiguousarray(z), slope)
        return found[:2] if slope else found[0]


@dataclass(frozen=True, eq=False, repr=False)
class Dense(_Layer):
    """A fully connected layer: h' = scale * phi(W h + b) + skip * h.

    Parameters
    ----------
    weight : array, shape (fan_out, fan_in)
    bias : array, shape (fan_out,), optional
    activation : str
        Name as for `Network`. A net's last layer is linear.
    activation_params : sequence of float
    scale : float or array, shape (fan_out,)
    skip : float
        Other than 0 only between equal widths.
    normaliser : (weight variance, bias variance)
        gauss-nets: the layer subtracts weight_variance * |h|^2 + bias_variance before its activation.

    Raises
    ------
    ShapeError, ArgumentError
        For arrays that do not fit, unknown activations.

    Examples
    --------
    >>> nnqft.networks.Dense(np.ones((2, 3)), activation="tanh")
    Dense(3 -> 2, tanh)
    """

    weight: np.ndarray
    bias: np.ndarray | None = None
    activation: str = "identity"
    activation_params: tuple = ()
    scale: float | np.ndarray = 1.0
    skip: float = 0.0
    normaliser: tuple = (0.0, 0.0)

    def __post_init__(self):
        self._check(2, "(fan_out, fan_in)")
        fan_out, fan_in = self.weight.shape
        scale, skip, normaliser = np.asarray(self.scale, dtype=np.float64), float(self.skip), tuple(float(v) for v in self.normaliser)
        if scale.shape not in ((), (fan_out,)):
            raise ShapeError(f"scale has shape {scale.shape}; expected a number or {fan_out} of them")
        if not (np.isfinite(scale).all() and np.isfinite((skip, *normaliser)).all() and len(normaliser) == 2):
            raise ArgumentError("scale, skip and the two variances of the normaliser are finite numbers")
        if skip and fan_out != fan_in:
            raise ShapeError(f"the skip joins {fan_in} inputs and {fan_out} neurons: take equal widths")
        self._put(scale=scale if scale.ndim else float(scale), skip=skip, normaliser=normaliser)

    def out_shape(self, shape):
        """Of one sample's activities behind the layer, from that before it."""
        if prod(shape) != self.weight.shape[1]:
            raise ShapeError(f"a dense layer takes {self.weight.shape[1]} inputs, the layer before gives {prod(shape)}")
        return (len(self.weight),)

    def forward(self, h, shape):
        """h (n, fan_in) -> (n, fan_out)."""
        z = self.preactivation(h)
        y = z if self.activation == "identity" else self.activate(z)
        y = y if np.isscalar(self.scale) and self.scale == 1.0 else self.scale * y
        return y + self.skip * h if self.skip else y

    def preactivation(self, h):
        """z = W h + b, minus what normalises gauss-nets."""
        z = h @ self.weight.T if self.bias is None else h @ self.weight.T + self.bias
        return z - self.normaliser[0] * (h * h).sum(1, keepdims=True) - self.normaliser[1] if any(self.normaliser) else z

    def structure(self, shape):
        """The layer as `_core.NetStructure` takes it."""
        amplitude = [] if np.isscalar(self.scale) and self.scale == 1.0 else np.broadcast_to(self.scale, len(self.weight)).tolist()
        return (self.weight.shape[1], len(self.weight), self.bias is not None, ACTIVATIONS.index(self.activation), list(self.activation_params),
                amplitude, self.skip, *self.normaliser, [])  # fmt: skip

    def __repr__(self):
        return f"Dense({self.weight.shape[1]} -> {self.weight.shape[0]}, {self.activation})"


@dataclass(frozen=True, eq=False, repr=False)
class Conv2d(_Layer):
    """A two-dimensional convolution, an activation and pools behind it: h' = average(max(phi(W * h + b))).

    Parameters
    ----------
    weight : array, shape (filters, channels, kernel, kernel)
        (W * h)_fyx = sum_cij W_fcij h_{c, stride y + i - padding, stride x + j - padding}, zeros beyond the edges.
    bias : array, shape (filters,), optional
    activation : str
        Name as for `Network`.
    activation_params : sequence of float
    stride : int
    padding : int or "same"
        Below the kernel's size; "same" for an odd kernel: (kernel - 1) / 2.
    max_pool, average_pool : int or (height, width), or "global"
        Windows of the pools, which do not overlap; 1 is none, "global" the whole map. Rows and columns that fill no window are
        left out, as in torch. Of equal values in a window of the maximum the first counts.
    pool_first : bool
        The maximum before the activation: the same for increasing activations.

    Raises
    ------
    ShapeError, ArgumentError
        For arrays that do not fit, unknown activations, sizes out of range.

    Examples
    --------
    >>> nnqft.networks.Conv2d(np.ones((8, 3, 3, 3)), activation="relu", padding="same", max_pool=2)
    Conv2d(3 -> 8, kernel 3, padding 1, relu, max 2x2)
    """

    weight: np.ndarray
    bias: np.ndarray | None = None
    activation: str = "identity"
    activation_params: tuple = ()
    stride: int = 1
    padding: int | str = 0
    max_pool: int | tuple | str = 1
    average_pool: int | tuple | str = 1
    pool_first: bool = False

    def __post_init__(self):
        self._check(4, "(filters, channels, kernel, kernel)")
        kernel = self.weight.shape[2]
        if self.weight.shape[3] != kernel:
            raise ShapeError(f"weight has shape {self.weight.shape}; expected a square kernel")
        if self.padding == "same" and kernel % 2 == 0:
            raise ArgumentError(f"padding='same' takes an odd kernel; got {kernel}")
        padding = (kernel - 1) // 2 if self.padding == "same" else _integer(self.padding, 0, "padding")
        if padding >= kernel:
            raise ArgumentError(f"padding is {padding}; expected less than the kernel's {kernel}")
        self._put(padding=padding, stride=_integer(self.stride, 1, "stride"), pool_first=bool(self.pool_first),
                  max_pool=_window(self.max_pool, "max_pool"), average_pool=_window(self.average_pool, "average_pool"))  # fmt: skip

    def _sizes(self, shape):
        """Height and width of the map, and of the windows of both pools."""
        filters, channels, kernel, _ = self.weight.shape
        if len(shape) != 3 or shape[0] != channels:
            raise ShapeError(f"a convolution of {channels} channels takes images ({channels}, height, width); it gets {tuple(shape)}")
        maps = tuple((n + 2 * self.padding - kernel) // self.stride + 1 for n in shape[1:])
        largest = maps if self.max_pool == "global" else self.max_pool
        average = tuple(max(1, n // w) for n, w in zip(maps, largest)) if self.average_pool == "global" else self.average_pool
        if min(maps) < 1 or any(n // w // a < 1 for n, w, a in zip(maps, largest, average)):
            raise ShapeError(f"{self!r} leaves nothing of an image {tuple(shape)}")
        return maps, largest, average

    def out_shape(self, shape):
        """Of one sample's activities behind the layer, from that before it."""
        return (len(self.weight), *(n // w // a for n, w, a in zip(*self._sizes(shape))))

    def forward(self, h, shape):
        """h (n, channels * height * width) -> (n, filters * height' * width')."""
        images, kernel = h.reshape(-1, *shape), self.weight.shape[2]
        return np.concatenate([self._images(images[i : i + _IMAGES], kernel) for i in range(0, len(images), _IMAGES)])

    def _images(self, h, kernel):
        maps, largest, average = self._sizes(h.shape[1:])
        h = np.pad(h, ((0, 0), (0, 0), *[(self.padding, self.padding)] * 2))
        windows = np.lib.stride_tricks.sliding_window_view(h, (kernel, kernel), (2, 3))[:, :, :: self.stride, :: self.stride]
        z = np.tensordot(windows, self.weight, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
        z = z if self.bias is None else z + self.bias[:, None, None]
        for pool in (True, False) if self.pool_first else (False, True):
            z = _pool(z, largest, np.max) if pool else self.activate(z)
        return _pool(z, average, np.mean).reshape(len(z), -1)

    def structure(self, shape):
        """The layer as `_core.NetStructure` takes it."""
        filters, channels, kernel, _ = self.weight.shape
        _, largest, average = self._sizes(shape)
        return (prod(shape), prod(self.out_shape(shape)), self.bias is not None, ACTIVATIONS.index(self.activation), list(self.activation_params),
                [], 0.0, 0.0, 0.0, [channels, *shape[1:], filters, kernel, self.stride, self.padding, *largest, *average, int(self.pool_first)])  # fmt: skip

    def __repr__(self):
        filters, channels, kernel, _ = self.weight.shape
        parts = [f"{channels} -> {filters}", f"kernel {kernel}"]
        parts += [f"{name} {value}" for name, value, default in (("stride", self.stride, 1), ("padding", self.padding, 0)) if value != default]
        parts.append(self.activation)
        pools = (("max", self.max_pool), ("average", self.average_pool))
        parts += [f"{name} {w if w == 'global' else f'{w[0]}x{w[1]}'}" for name, w in pools if w != (1, 1)]
        return f"Conv2d({', '.join(parts)})"


def _frozen(a):
    a = np.array(a, dtype=np.float64)
    a.flags.writeable = False
    return a


def _integer(value, least, name):
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not least <= value <= _LARGEST:
        raise ArgumentError(f"{name} is {value!r}; expected an integer from {least} to {_LARGEST}")
    return int(value)


def _window(value, name):
    if value == "global":
        return value
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise ArgumentError(f"{name} is {value!r}; expected an integer, a pair (height, width), or 'global'")
    return tuple(_integer(n, 1, name) for n in pair)


def _pool(z, window, function):
    if window == (1, 1):
        return z
    (a, b), (height, width) = window, z.shape[2:]
    z = z[:, :, : height // a * a, : width // b * b]
    return function(z.reshape(*z.shape[:2], height // a, a, width // b, b), axis=(3, 5))
