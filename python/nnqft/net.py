"""One concrete network: weights, biases, and its values at given inputs in float64."""

from math import prod

import numpy as np

from ._layers import ACTIVATIONS, Conv2d, Dense, activation_parameters
from .errors import ArgumentError, ShapeError

__all__ = ["Net", "Dense", "Conv2d"]


class Net:
    """A concrete network: fully connected, or made of layers by `Net.from_layers`.

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
    layers : tuple of Dense and Conv2d
    input_shape : tuple of int
        Of one sample: (dim_in,), or (channels, height, width) in front of a convolution.
    biased : tuple of bool
        Which layers have biases: where not, `biases` holds zeros that are no parameters.
    activation : str
        Of the hidden layers; "mixed" if they differ.

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
        if activation not in (*ACTIVATIONS, "gauss"):
            raise ArgumentError(f"unknown activation {activation!r}; known: {', '.join((*ACTIVATIONS, 'gauss'))}")
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
        self.input_shape = (self.weights[0].shape[1],)
        self.layers = tuple(self._layer(layer) for layer in range(len(self.weights)))

    def _layer(self, layer):
        weight, bias = self.weights[layer], self.biases[layer] if self.biased[layer] else None
        if layer == len(self.weights) - 1:
            return Dense(weight, bias)
        scale = self.scales[layer]
        if layer == 0 and self.amplitude is not None:
            scale = scale * np.broadcast_to(self.amplitude, len(weight))
        gauss = self.activation == "gauss"
        return Dense(weight, bias, "exp" if gauss else self.activation, self.activation_params, scale=scale, skip=self.skips[layer],
                     normaliser=self.normalisers[layer] if gauss else (0.0, 0.0))  # fmt: skip

    @classmethod
    def from_layers(cls, layers, *, input_shape=None):
        """A net from its layers: convolutions first, if there are any, then dense ones; the last is dense and linear.

        Parameters
        ----------
        layers : sequence of Conv2d and Dense
            Behind the convolutions images are flattened in the order (filter, y, x).
        input_shape : (channels, height, width), optional
            Of one sample; needed if the first layer is a convolution.

        Returns
        -------
        Net

        Raises
        ------
        ShapeError
            If the layers do not fit together.
        ArgumentError
            For other kinds or another order of layers.

        Examples
        --------
        >>> conv = nnqft.networks.Conv2d(np.ones((2, 1, 3, 3)), activation="relu", padding=1, max_pool=2)
        >>> net = Net.from_layers([conv, nnqft.networks.Dense(np.ones((1, 8)))], input_shape=(1, 4, 4))
        >>> net, float(net(np.ones((1, 1, 4, 4)))[0, 0])
        (Net(1x4x4, conv 2x2x2-1, relu), 72.0)
        """
        layers = tuple(layers)
        if not layers or not all(isinstance(layer, (Dense, Conv2d)) for layer in layers):
            raise ArgumentError(f"expected one layer or more, each a Conv2d or a Dense; got {[type(layer).__name__ for layer in layers]}")
        kinds = [isinstance(layer, Conv2d) for layer in layers]
        if kinds != sorted(kinds, reverse=True) or kinds[-1]:
            raise ArgumentError(f"convolutions come first and the last layer is dense; got {layers}")
        last = layers[-1]
        if last.activation != "identity" or last.skip or any(last.normaliser) or np.any(last.scale != 1.0):
            raise ArgumentError(f"the last layer is linear; got {last} with scale {last.scale}, skip {last.skip} and normaliser {last.normaliser}")
        if kinds[0] and (input_shape is None or len(input_shape) != 3):
            raise ShapeError(f"input_shape is {input_shape}; expected (channels, height, width) in front of a convolution")
        net = cls.__new__(cls)
        net.layers, net.input_shape = layers, (layers[0].weight.shape[1],) if input_shape is None else tuple(int(n) for n in input_shape)
        shapes = net._shapes()
        if any(prod(shape) >= 2**31 for shape in shapes):
            raise ShapeError("a layer has more than 2^31 activities")
        net.weights = tuple(layer.weight for layer in layers)
        net.biased = tuple(layer.bias is not None for layer in layers)
        net.biases = tuple(np.zeros(len(layer.weight)) if layer.bias is None else layer.bias for layer in layers)
        activations = {(layer.activation, layer.activation_params) for layer in layers[:-1]}
        net.activation, net.activation_params = activations.pop() if len(activations) == 1 else ("mixed" if activations else "identity", ())
        net.amplitude = net.normalisers = None
        net.skips = tuple(getattr(layer, "skip", 0.0) for layer in layers[:-1])
        net.scales = tuple(getattr(layer, "scale", 1.0) for layer in layers[:-1])
        return net

    def _shapes(self):
        """Of one sample's activities, in front of each layer and behind the last."""
        shapes = [self.input_shape]
        for layer in self.layers:
            shapes.append(layer.out_shape(shapes[-1]))
        return shapes

    @classmethod
    def from_weights(cls, weights, *, activation, biases=None, activation_params=(), skips=None, scales=None):
        """A net from its weight matrices (fan_out, fan_in)."""
        return cls(weights, biases, activation, activation_params, skips=skips, scales=scales)

    @classmethod
    def from_torch(cls, module, *, input_shape=None):
        """A net from a `torch.nn.Sequential`.

        Parameters
        ----------
        module : torch.nn.Sequential
            Conv2d, an activation and pools behind each (MaxPool2d, then AvgPool2d or AdaptiveAvgPool2d; windows that do not overlap), Flatten,
            Linear layers with activations of any kind between them.
        input_shape : (channels, height, width), optional
            Of one sample; needed if the module begins with a convolution.

        Raises
        ------
        ArgumentError, ShapeError
            For any other layer, order or option: the message says which.
        """
        from ._torch_layers import layers_of

        layers = layers_of(module, input_shape)
        return cls.from_layers(layers, input_shape=input_shape if isinstance(layers[0], Conv2d) else None)

    def _per_hidden_layer(self, name, values, default):
        values = (default,) * (len(self.weights) - 1) if values is None else tuple(float(v) for v in values)
        if len(values) != len(self.weights) - 1 or not np.isfinite(values).all():
            raise ArgumentError(f"{name} are finite numbers, one per hidden layer: {len(self.weights) - 1} here; got {values}")
        return values

    @property
    def dim_in(self):
        return prod(self.input_shape)

    @property
    def dim_out(self):
        return len(self.weights[-1])

    @property
    def widths(self):
        return tuple(prod(shape) for shape in self._shapes()[1:-1])

    def features(self, x):
        """Activations of the last hidden layer at x (n_points, dim_in) or (n_points, *input_shape): shape (n_points, width), float64."""
        h = self._flat(np.asarray(x, dtype=np.float64))
        for layer, shape in zip(self.layers[:-1], self._shapes()):
            h = layer.forward(h, shape)
        return h

    def _flat(self, x, name="x", axis="n_points"):
        """x of shape (n_points, dim_in) or (n_points, *input_shape) as (n_points, dim_in)."""
        if x.ndim == 1 + len(self.input_shape) and x.shape[1:] == self.input_shape:
            return x.reshape(len(x), self.dim_in)
        if x.ndim != 2 or x.shape[1] != self.dim_in:
            images = "" if len(self.input_shape) == 1 else f" or ({axis}, {', '.join(str(n) for n in self.input_shape)})"
            raise ShapeError(f"{name} has shape {x.shape}; expected ({axis}, {self.dim_in}){images}")
        return x

    def __call__(self, x):
        """f(x) at x (n_points, dim_in) or (n_points, *input_shape): shape (n_points, dim_out), float64."""
        return self.features(x) @ self.weights[-1].T + self.biases[-1]

    def __repr__(self):
        shapes = ["x".join(str(n) for n in shape) for shape in self._shapes()]
        if len(self.input_shape) == 3:
            return f"Net({shapes[0]}, conv {'-'.join(shapes[1:])}, {self.activation})"
        return f"Net({'-'.join(shapes)}, {self.activation})"


def _matrix(w, layer):
    w = np.array(w, dtype=np.float64)
    if w.ndim != 2 or not w.size:
        raise ShapeError(f"weight matrix {layer} has shape {w.shape}; expected (fan_out, fan_in)")
    return w
