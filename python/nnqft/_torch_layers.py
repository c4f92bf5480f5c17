"""Layers of a `torch.nn.Sequential` as layers of a Net. Torch itself is not imported: a module brings its classes along."""

from math import prod

from ._layers import Conv2d, Dense
from .errors import ArgumentError, ShapeError

_ACTIVATIONS = {"ReLU": "relu", "LeakyReLU": "leaky_relu", "Tanh": "tanh", "Sigmoid": "sigmoid", "Softplus": "softplus",
                "SiLU": "swish", "GELU": "gelu", "Identity": "identity"}  # fmt: skip
_POOLS = ("MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d")
_KNOWN = ("Linear", "Conv2d", *_ACTIVATIONS, *_POOLS, "Flatten")


def modules_of(sequential):
    """The modules of a Sequential, and of those within it, in order."""
    if not runs_as(sequential, "Sequential"):
        raise ArgumentError(f"{type(sequential).__name__} has a forward() of its own; expected that of torch.nn.Sequential")
    for module in sequential:
        if type(module).__name__ == "Sequential":
            yield from modules_of(module)
        else:
            yield module


def runs_as(module, kind):
    """True if what `module` computes is what torch's class of that name does: a class or an object may have a forward() of its own."""
    forward = getattr(type(module), "forward", None)
    torchs = getattr(forward, "__module__", "").startswith("torch.nn.modules.") and forward.__qualname__ == f"{kind}.forward"
    return torchs and "forward" not in vars(module)


def layers_of(sequential, input_shape):
    """Layers for `Net.from_layers`."""
    shape, layers, flat = input_shape, [], False
    groups = _groups(modules_of(sequential))
    for module, followers in groups:
        name = type(module).__name__
        if name == "Conv2d":
            if flat:
                raise ArgumentError("a Conv2d follows a Flatten or a Linear layer: a Net has its convolutions first")
            if shape is None or len(shape) != 3:
                raise ShapeError(f"input_shape is {shape}; a module with convolutions needs (channels, height, width)")
            layers.append(_conv(module, followers, shape))
            flat = any(type(f).__name__ == "Flatten" for f in followers)
        else:
            if not flat and layers and isinstance(layers[-1], Conv2d):
                raise ArgumentError("a Linear layer follows a convolution without a Flatten between them")
            flat = True
            activation, params = _activation([f for f in followers if type(f).__name__ != "Flatten"])
            layers.append(Dense(_array(module.weight), _array(module.bias), activation, params))
        shape = layers[-1].out_shape(shape if shape is not None else (layers[-1].weight.shape[1],))
    return layers


def _groups(modules):
    """Pairs of a module with weights and the list of those without that follow it."""
    groups = []
    for module in modules:
        name = type(module).__name__
        if name in _KNOWN and not runs_as(module, name):
            raise ArgumentError(f"layer {name} is a {type(module).__module__}.{name} with a forward() of its own; expected torch's")
        if module._forward_hooks or module._forward_pre_hooks:
            raise ArgumentError(f"layer {name} has hooks, which may change what it computes; expected none")
        if name in ("Linear", "Conv2d"):
            groups.append((module, []))
        elif name == "Flatten":
            if (module.start_dim, module.end_dim) != (1, -1):
                raise ArgumentError(f"Flatten from axis {module.start_dim} to {module.end_dim} is not known; expected 1 to -1")
            if groups:
                groups[-1][1].append(module)
        elif name not in _KNOWN:
            raise ArgumentError(f"layer {name} is not known: a Net knows {', '.join(_KNOWN)}")
        elif not groups:
            raise ArgumentError(f"the module begins with {name}; expected Linear or Conv2d")
        else:
            groups[-1][1].append(module)
    if not groups:
        raise ArgumentError("the module has no layers with weights")
    return groups


def _activation(followers):
    """Name and parameters of the one activation there may be."""
    followers = [f for f in followers if type(f).__name__ != "Identity"]
    if not followers:
        return "identity", ()
    if len(followers) > 1 or type(followers[0]).__name__ in _POOLS:
        raise ArgumentError(f"expected one activation behind a layer; got {[type(f).__name__ for f in followers]}")
    module = followers[0]
    name = type(module).__name__
    if name == "GELU" and module.approximate != "none":
        raise ArgumentError(f"GELU with approximate={module.approximate!r} is not known; expected 'none'")
    if name == "Softplus" and (module.beta != 1 or module.threshold < 20):
        raise ArgumentError("only Softplus with beta=1 and the default threshold is known")
    return _ACTIVATIONS[name], (module.negative_slope,) if name == "LeakyReLU" else ()


def _conv(module, followers, shape):
    kernel, stride, padding = module.kernel_size, module.stride, module.padding
    if module.groups != 1 or _pair(module.dilation) != (1, 1) or module.padding_mode != "zeros" or kernel[0] != kernel[1] or stride[0] != stride[1]:
        raise ArgumentError(f"{module} has groups, dilation, another padding than zeros, or a kernel or stride that is not square")
    padding = {"valid": 0, "same": "same"}[padding] if isinstance(padding, str) else padding[0] if len(set(padding)) == 1 else None
    if padding is None:
        raise ArgumentError(f"{module} has different paddings for rows and columns")
    kinds = [type(f).__name__ for f in followers]
    end = kinds.index("Flatten") if "Flatten" in kinds else len(kinds)
    if any(kind != "Identity" for kind in kinds[end + 1 :]):
        raise ArgumentError(f"{kinds[end + 1]} behind Flatten, in front of a Linear layer, is not known: put it before Flatten")
    followers = [f for f in followers[:end] if type(f).__name__ != "Identity"]
    pools = [i for i, f in enumerate(followers) if type(f).__name__ in _POOLS]
    activation, params = _activation([f for i, f in enumerate(followers) if i not in pools])
    first = next((i for i in range(len(followers)) if i not in pools), 0)  # of the activation
    options = {"activation": activation, "activation_params": params, "stride": stride[0], "padding": padding}
    largest, average = (1, 1), (1, 1)
    for i in pools:
        layer = Conv2d(_array(module.weight), _array(module.bias), **options, max_pool=largest, average_pool=average)
        height, width = layer.out_shape(shape)[1:]
        if type(followers[i]).__name__ == "MaxPool2d":
            if prod(largest) > 1 or prod(average) > 1:
                raise ArgumentError("a MaxPool2d follows another pool: a Net takes one maximum, then averages")
            largest = _window(followers[i])
        else:
            if i < first:
                raise ArgumentError(f"an average in front of {type(followers[first]).__name__} is not known: put the activation first")
            window = _window(followers[i]) if type(followers[i]).__name__ == "AvgPool2d" else _adaptive(followers[i], height, width)
            average = (average[0] * window[0], average[1] * window[1])
    pool_first = bool(pools) and pools[0] < first
    return Conv2d(_array(module.weight), _array(module.bias), **options, max_pool=largest, average_pool=average, pool_first=pool_first)


def _window(pool):
    size, stride, padding = _pair(pool.kernel_size), _pair(pool.stride), _pair(pool.padding)
    if (stride != size or padding != (0, 0) or pool.ceil_mode or _pair(getattr(pool, "dilation", 1)) != (1, 1) or getattr(pool, "return_indices", False)
            or getattr(pool, "divisor_override", None)):  # fmt: skip
        raise ArgumentError(f"{pool} is not known: windows of pools do not overlap, and the pool takes no other options")
    return size


def _adaptive(pool, height, width):
    out = _pair(pool.output_size)
    out = tuple(n if m is None else m for m, n in zip(out, (height, width)))
    if height % out[0] or width % out[1]:
        raise ArgumentError(f"{pool} of a map {height} x {width} has overlapping windows")
    return height // out[0], width // out[1]


def _pair(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)


def _array(parameter):
    return None if parameter is None else parameter.detach().cpu().numpy()
