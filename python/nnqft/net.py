"""One concrete network: weights, biases, and its values at given inputs in float64."""

import numpy as np

from . import _core
from .errors import ArgumentError, ShapeError

__all__ = ["Net"]

_TORCH_ACTIVATIONS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus",
                      "SiLU": "swish", "GELU": "gelu", "Identity": "identity"}  # fmt: skip
_ACTIVATIONS = ("relu", "leaky_relu", "erf", "tanh", "sigmoid", "softplus", "swish", "gelu", "sin", "cos", "exp", "identity", "polynomial")


def activation_parameters(activation, params):
    """`params` as floats: one slope for leaky_relu (0.01 if none is given), 1 to 16 coefficients for a polynomial, else none."""
    params = tuple(float(p) for p in params)
    if activation == "leaky_relu" and not params:
        params = (0.01,)
    low, high = {"leaky_relu": (1, 1), "polynomial": (1, 16)}.get(activation, (0, 0))
    if not low <= len(params) <= high or not np.isfinite(params).all():
        raise ArgumentError(f"{activation} takes {low} to {high} finite activation_params, got {params}")
    return params


class Net:
    """A concrete fully connected network.

    Parameters
    ----------
    weights : sequence of arrays, shape (fan_out, fan_in)
        One matrix per layer, the output layer last.
    biases : sequence of arrays, shape (fan_out,), or None
        None, for the net or for one layer: no biases.
    activation : str
        Name as for `Network`; applied after every layer but the last.
    activation_params : sequence of float
    amplitude : array, shape (first width,), optional
        Factor of each first-layer neuron (cos-nets).
    normalisers : sequence of (weight variance, bias variance), optional
        gauss-net: layer l subtracts weight_variance * |input|^2 + bias_variance before the exponential.
    skips, scales : sequences of float, one per hidden layer, optional
        Residual layers h' = scale * phi(z) + skip * h, the skip between equal widths. None: 0 and 1.

    Attributes
    ----------
    biased : tuple of bool
        Which layers have biases: where not, `biases` holds zeros that are no parameters.

    Raises
    ------
    ShapeError
        If the matrices do not chain or a bias does not fit.
    ArgumentError
        For an unknown activation.

    Examples
    --------
    >>> net = Net.from_weights([np.ones((3, 2)), np.ones((1, 3))], activation="relu")
    >>> net(np.array([[1.0, 2.0]]))
    array([[9.]])
    """

    def __init__(self, weights, biases, activation, activation_params=(), *, amplitude=None, normalisers=None, skips=None, scales=None):
        self.weights = tuple(_matrix(w, layer) for layer, w in enumerate(weights))
        if len(self.weights) < 1:
            raise ShapeError("a net needs at least one weight matrix")
        for layer, (a, b) in enumerate(zip(self.weights, self.weights[1:])):
            if b.shape[1] != a.shape[0]:
                raise ShapeError(f"weight matrix {layer + 1} takes {b.shape[1]} inputs, the layer before gives {a.shape[0]}")
        biases = [None] * len(self.weights) if biases is None else list(biases)
        if len(biases) != len(self.weights):
            raise ShapeError(f"{len(self.weights)} weight matrices came with {len(biases)} biases")
        self.biased = tuple(b is not None for b in biases)
        self.biases = tuple(np.zeros(len(w)) if b is None else np.array(b, dtype=np.float64).reshape(-1) for w, b in zip(self.weights, biases))
        for layer, (w, b) in enumerate(zip(self.weights, self.biases)):
            if len(b) != len(w):
                raise ShapeError(f"bias {layer} has {len(b)} entries for {len(w)} neurons")
        if activation not in (*_ACTIVATIONS, "gauss"):
            raise ArgumentError(f"unknown activation {activation!r}; known: {', '.join((*_ACTIVATIONS, 'gauss'))}")
        if activation == "gauss" and normalisers is None:
            raise ArgumentError("a gauss-net needs the variances of its layers' weights and biases: normalisers=...")
        self.activation, self.activation_params = activation, activation_parameters(activation, activation_params)
        self.amplitude = None if amplitude is None else np.array(amplitude, dtype=np.float64)
        self.normalisers = normalisers
        self.skips, self.scales = self._per_hidden_layer("skips", skips, 0.0), self._per_hidden_layer("scales", scales, 1.0)
        for layer, skip in enumerate(self.skips):
            if skip and self.weights[layer].shape[0] != self.weights[layer].shape[1]:
                raise ShapeError(f"the skip of layer {layer} joins {self.weights[layer].shape[1]} inputs and {self.weights[layer].shape[0]} neurons: take equal widths")
        for array in (*self.weights, *self.biases):
            array.flags.writeable = False

    @classmethod
    def from_weights(cls, weights, *, activation, biases=None, activation_params=(), skips=None, scales=None):
        """A net from its weight matrices (fan_out, fan_in)."""
        return cls(weights, biases, activation, activation_params, skips=skips, scales=scales)

    @classmethod
    def from_torch(cls, module):
        """A net from a `torch.nn.Sequential` of Linear layers with one kind of activation between them.

        Raises
        ------
        ArgumentError
            For any other layer, or mixed activations.
        """
        weights, biases, activations = [], [], []
        for layer in module:
            name = type(layer).__name__
            if name == "Linear":
                weights.append(layer.weight.detach().cpu().numpy())
                biases.append(None if layer.bias is None else layer.bias.detach().cpu().numpy())
            elif name in _TORCH_ACTIVATIONS and not (name == "GELU" and layer.approximate != "none"):
                params = (layer.negative_slope,) if name == "LeakyReLU" else ()
                if name == "Softplus" and (layer.beta != 1 or layer.threshold < 20):
                    raise ArgumentError("only Softplus with beta=1 and the default threshold is known")
                activations.append((_TORCH_ACTIVATIONS[name], params))
            elif name != "Flatten":
                raise ArgumentError(f"layer {name} is not known: a Net is Linear layers with one of {', '.join(_TORCH_ACTIVATIONS)} between them")
        if len(set(activations)) > 1 or len(activations) != len(weights) - 1:
            raise ArgumentError(f"expected one activation, the same one, between {len(weights)} Linear layers; got {activations}")
        activation, params = activations[0] if activations else ("identity", ())
        return cls(weights, biases, activation, params)

    def _per_hidden_layer(self, name, values, default):
        values = (default,) * (len(self.weights) - 1) if values is None else tuple(float(v) for v in values)
        if len(values) != len(self.weights) - 1 or not np.isfinite(values).all():
            raise ArgumentError(f"{name} are finite numbers, one per hidden layer: {len(self.weights) - 1} here; got {values}")
        return values

    @property
    def dim_in(self):
        return self.weights[0].shape[1]

    @property
    def dim_out(self):
        return self.weights[-1].shape[0]

    @property
    def widths(self):
        return tuple(len(w) for w in self.weights[:-1])

    def features(self, x):
        """Activations of the last hidden layer at x (n_points, dim_in): shape (n_points, width), float64."""
        h = np.asarray(x, dtype=np.float64)
        if h.ndim != 2 or h.shape[1] != self.dim_in:
            raise ShapeError(f"x has shape {h.shape}; expected (n_points, {self.dim_in})")
        for layer in range(len(self.weights) - 1):
            z = h @ self.weights[layer].T + self.biases[layer]
            name = self.activation
            if name == "gauss":
                weight, bias = self.normalisers[layer]
                z, name = z - weight * (h * h).sum(1, keepdims=True) - bias, "exp"
            y = _core.activate(_ACTIVATIONS.index(name), list(self.activation_params), np.ascontiguousarray(z))[0]
            if layer == 0 and self.amplitude is not None:
                y = y * self.amplitude
            h = y if self.scales[layer] == 1.0 and not self.skips[layer] else self.scales[layer] * y + self.skips[layer] * h
        return h

    def __call__(self, x):
        """f(x) at x (n_points, dim_in): shape (n_points, dim_out), float64."""
        return self.features(x) @ self.weights[-1].T + self.biases[-1]

    def __repr__(self):
        sizes = "-".join(str(n) for n in (self.dim_in, *self.widths, self.dim_out))
        return f"Net({sizes}, {self.activation})"


def _matrix(w, layer):
    w = np.array(w, dtype=np.float64)
    if w.ndim != 2 or not w.size:
        raise ShapeError(f"weight matrix {layer} has shape {w.shape}; expected (fan_out, fan_in)")
    return w
