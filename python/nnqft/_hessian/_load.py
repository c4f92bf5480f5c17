"""Nets from files of tensors: what `torch.save(module.state_dict(), path)` or `numpy.savez` wrote. Nothing is unpickled."""

import os
import zipfile

import numpy as np

from ..errors import ArgumentError, ShapeError
from ..net import Net

__all__ = ["load_net", "net_from_state", "read_tensors"]

_NESTED = ("state_dict", "model_state_dict", "model")  # where checkpoints keep the weights


def load_net(path, *, activation="relu", activation_params=()):
    """A multilayer perceptron from the weights in a file.

    Parameters
    ----------
    path : str or os.PathLike
        `.npz`: arrays by name. Anything else: a file of torch, read with `torch.load(weights_only=True)`, which admits
        tensors, numbers and containers and runs no code: a state_dict, or a checkpoint that holds one under
        "state_dict", "model_state_dict" or "model". Whole modules, TorchScript and exported programs are code, and are
        refused: build the module in Python and give it to `nnqft.hessian.from_torch`.
    activation : str
        Between the layers; weights alone do not tell. Names as for `Network`.
    activation_params : sequence of float

    Returns
    -------
    Net
        Layers in the order of the file: "<name>.weight", shape (fan_out, fan_in), and "<name>.bias" if there is one.

    Raises
    ------
    ArgumentError, ShapeError
        For files that are neither, and for tensors that are not those of linear layers in a chain.
    FileNotFoundError, ImportError
        Without the file; for a file of torch without torch.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/weights.npz"
    >>> np.savez(path, **{"0.weight": np.ones((3, 2)), "0.bias": np.zeros(3), "2.weight": np.ones((1, 3))})
    >>> load_net(path, activation="tanh")
    Net(2-3-1, tanh)
    """
    return net_from_state(read_tensors(path), activation=activation, activation_params=activation_params)


def read_tensors(path):
    """name -> array (or what else there is) of an .npz file, or of a file of torch."""
    path = os.fspath(path)
    return _read_npz(path) if path.endswith(".npz") else _read_torch(path)


def _read_npz(path):
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise ArgumentError(f"{path} is no .npz file of plain arrays ({error})") from None


def _read_torch(path):
    if not os.path.exists(path):
        raise FileNotFoundError(2, "No such file", path)
    try:
        import torch
    except ImportError:
        raise ImportError(f'{path} is not an .npz file, and torch is missing: pip install "nnqft[torch]", or save arrays with numpy.savez') from None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  of many classes: UnpicklingError, RuntimeError, EOFError, ...
        reason = str(error).split(". ")[0].splitlines()[0] if str(error) else type(error).__name__
        raise ArgumentError(f"{path} holds more than tensors, or is no file of torch ({reason}): save module.state_dict(), not the module") from None
    if not isinstance(state, dict):
        raise ArgumentError(f"{path} holds a {type(state).__name__}; expected a dict of tensors")
    return {str(name): _as_array(torch, value) for name, value in state.items()}


def _as_array(torch, value):
    if isinstance(value, dict):
        return {str(name): _as_array(torch, part) for name, part in value.items()}
    if not torch.is_tensor(value) or value.layout is not torch.strided or value.is_quantized or value.is_meta:
        return value
    value = value.detach()
    return (value.double() if value.is_floating_point() else value).resolve_conj().numpy()


def net_from_state(state, *, activation="relu", activation_params=()):
    """A Net from name -> array, as `load_net` takes them from a file."""
    for name in _NESTED:
        if isinstance(state.get(name), dict):
            state = state[name]
            break
    weights, biases = {}, {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        if not isinstance(value, np.ndarray) or kind not in ("weight", "bias"):
            what = f"shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise ArgumentError(f"{name!r} ({what}) is no weight or bias of a linear layer; expected <layer>.weight and <layer>.bias only")
        (weights if kind == "weight" else biases)[layer] = value
    if not weights:
        raise ArgumentError("there are no weights; expected <layer>.weight of shape (fan_out, fan_in) for each layer")
    for layer, value in weights.items():
        if value.ndim != 2 or value.dtype.kind not in "fiu":
            raise ShapeError(f"{layer}.weight has shape {value.shape} and dtype {value.dtype}; expected a real matrix (fan_out, fan_in): "
                             "other layers than linear ones need the module, and nnqft.hessian.from_torch")  # fmt: skip
    if strangers := sorted(set(biases) - set(weights)):
        raise ArgumentError(f"{strangers[0]}.bias has no {strangers[0]}.weight beside it")
    return Net.from_weights(list(weights.values()), activation=activation, activation_params=activation_params,
                            biases=[biases.get(layer) for layer in weights])  # fmt: skip
