"""Hessians of torch modules: perceptrons and small convolutional nets on the native path, any other module through autograd."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from ..errors import ArgumentError, ShapeError
from .._torch_layers import modules_of, runs_as
from ..net import Net
from ._hessian import Hessian, _inputs
from ._losses import LOSSES, targets


def from_torch(module, loss, data, *, native=None, part="full", sample_weight=None, active_only=True, weight_decay=0.0, threads=None):
    """Hessian of the mean loss of a torch module over data, by its trainable parameters.

    Parameters
    ----------
    module : torch.nn.Module
        Used as it is: call `module.eval()` if it has dropout or batch normalisation. Its gradients are left alone.
    loss : str, torch loss, or callable
        A name as for `Hessian`; a `torch.nn` loss with reduction="mean"; or any callable loss(outputs, y) -> scalar tensor, a mean
        over samples.
    data : (X, y) or iterable of such batches
        Tensors or arrays; batches are weighted by their length, as a DataLoader gives them.
    native : bool, optional
        None: a `Sequential` that `Net.from_torch` knows (multilayer perceptrons, small convolutional nets), with a loss that is known, becomes a
        `Hessian`; anything else goes through autograd. True: an error if that cannot be. False: autograd.
    part, sample_weight, active_only, weight_decay, threads
        As for `Hessian`. Autograd knows part="full" without weights of samples, and its threads are torch's.

    Returns
    -------
    Hessian or TorchHessian
        LinearOperators in the order of `module.parameters()` and of the dtype of the parameters.

    Raises
    ------
    ArgumentError
        For a module without trainable parameters, or where native=True is not possible: the message says why.

    Notes
    -----
    The native path costs a half to a tenth of autograd's time per product. The autograd path keeps one graph of the gradient for each
    batch, so memory grows with the data.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))  # doctest: +SKIP
    >>> from_torch(mlp, "mse", (torch.eye(3), torch.ones(3, 1))).shape  # doctest: +SKIP
    (21, 21)
    """
    import torch

    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ArgumentError("the module has no trainable parameters")
    batches = _batches(data)
    why = None if native is False else _why_not_native(torch, module, loss, parameters, batches)
    if native is True and why:
        raise ArgumentError(f"no native path: {why}")
    if native is not False and not why:
        X = np.concatenate([_array(x) for x, _ in batches])
        net = Net.from_torch(module, input_shape=_image(X))
        X = X.reshape(len(X), -1)
        name, y = _native_loss(torch, loss, np.concatenate([_array(y) for _, y in batches]))
        dtype = str(parameters[0].dtype).removeprefix("torch.")
        return Hessian(net, X.astype(np.result_type(X.dtype, np.float32)), y, loss=name, part=part, sample_weight=sample_weight,
                       active_only=active_only, weight_decay=weight_decay, dtype=dtype, threads=threads)  # fmt: skip
    if part != "full" or sample_weight is not None:
        raise ArgumentError(f"autograd knows part='full' without sample_weight; and there is no native path: {why or 'native=False was asked for'}")
    return TorchHessian(module, loss, batches, weight_decay=weight_decay)


class TorchHessian(LinearOperator):
    """Hessian of a torch module by double backward through a kept graph of the gradient. Made by `from_torch`.

    Attributes
    ----------
    risk : float
    gradient : array, shape (parameters,)
    """

    def __init__(self, module, loss, batches, *, weight_decay=0.0):
        import torch

        self._torch, self._decay = torch, float(weight_decay)
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        function = _torch_loss(torch, loss) if isinstance(loss, str) else loss
        like = self._parameters[0]
        if any(p.dtype != like.dtype or p.device != like.device for p in self._parameters):
            raise ArgumentError("the module's parameters differ in dtype or device; expected one of each")
        total = sum(len(x) for x, _ in batches)
        self._gradients, risk = [], 0.0
        for x, y in batches:
            x, y = torch.as_tensor(x).to(like.device), torch.as_tensor(y).to(like.device)
            x = x.to(like.dtype) if x.is_floating_point() else x
            value = function(module(x), y)
            if not torch.is_tensor(value) or value.numel() != 1:
                raise ShapeError("a loss returns one number per batch, the mean over its samples")
            value = value.reshape(()) * (len(x) / total)
            risk += float(value.detach())
            self._gradients.append(torch.autograd.grad(value, self._parameters, create_graph=True, materialize_grads=True))
        theta = self._flat(self._parameters)
        self.risk = risk + 0.5 * self._decay * float(theta @ theta)
        self.gradient = sum(self._flat(g) for g in self._gradients) + self._decay * theta
        super().__init__(theta.dtype, (theta.size, theta.size))

    @staticmethod
    def _flat(tensors):
        return np.concatenate([t.detach().cpu().numpy().ravel() for t in tensors])

    def _matvec(self, v):
        torch, like = self._torch, self._parameters[0]
        v = np.ascontiguousarray(np.asarray(v).reshape(-1), dtype=self.dtype)
        parts = torch.as_tensor(v.copy()).to(like.device).split([p.numel() for p in self._parameters])
        parts = [part.view_as(p) for part, p in zip(parts, self._parameters)]
        out = self._decay * v
        for gradients in self._gradients:
            curved = [(g, part) for g, part in zip(gradients, parts) if g.requires_grad]  # others are constant
            if curved:
                out = out + self._flat(torch.autograd.grad([g for g, _ in curved], self._parameters, [part for _, part in curved],
                                                           retain_graph=True, materialize_grads=True))  # fmt: skip
        return out

    def _adjoint(self):
        return self

    _transpose = _adjoint

    def dense(self):
        """The matrix, shape (parameters, parameters). Cost: one product per parameter."""
        return self @ np.eye(self.shape[0], dtype=self.dtype)


def _batches(data):
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        data = [data]
    batches = []
    for batch in data:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or len(batch[0]) != len(batch[1]):
            raise ShapeError("data is (X, y), or an iterable of such pairs, with as many targets as samples")
        if len(batch[0]):
            batches.append(tuple(batch))
    if not batches:
        raise ShapeError("data holds no samples")
    return batches


def _array(a):
    return a.detach().cpu().numpy() if hasattr(a, "detach") else np.asarray(a)


def _why_not_native(torch, module, loss, parameters, batches):
    """A reason, or None."""
    if not isinstance(module, torch.nn.Sequential):
        return f"the module is a {type(module).__name__}, not a Sequential"
    if not all(runs_as(layer, "Sequential") for layer in module.modules() if isinstance(layer, torch.nn.Sequential)):
        return "a Sequential has a forward() of its own"
    modules = list(modules_of(module))
    held = [p for layer in modules for p in layer.parameters()]
    if len({id(p) for p in held}) < len(held) or len(parameters) < len(held):
        return "layers share parameters, or some are frozen"
    if any(len(layer._forward_hooks) + len(layer._forward_pre_hooks) for layer in module.modules()):
        return "it has hooks"
    if {p.dtype for p in parameters} - {torch.float32, torch.float64} or len({p.dtype for p in parameters}) > 1:
        return f"its parameters have dtype {parameters[0].dtype}"
    try:
        X = _array(batches[0][0])
        net = Net.from_torch(module, input_shape=_image(X))
        _inputs(net, X.reshape(len(X), -1), None)
        name, y = _native_loss(torch, loss, _array(batches[0][1]))
        targets(y, len(y), net.dim_out, name)
    except (ArgumentError, ShapeError) as error:
        return str(error)
    return None


def _image(X):
    """Shape of a sample, if it is an image."""
    return X.shape[1:] if X.ndim == 4 else None


def _native_loss(torch, loss, y):
    """The library's name of the loss, and its targets."""
    if isinstance(loss, str):
        if loss in LOSSES:
            return loss, y
        raise ArgumentError(f"unknown loss {loss!r}; known: {', '.join(LOSSES)}")
    if type(loss) is torch.nn.MSELoss and loss.reduction == "mean":
        return "mse", y
    if type(loss) is torch.nn.SoftMarginLoss and loss.reduction == "mean":
        return "logistic", y
    if type(loss) is torch.nn.BCEWithLogitsLoss and loss.reduction == "mean" and loss.weight is None and loss.pos_weight is None:
        return "logistic", 2.0 * y - 1.0
    if (type(loss) is torch.nn.CrossEntropyLoss and loss.reduction == "mean" and loss.weight is None and loss.label_smoothing == 0.0
            and not (y.ndim == 1 and (y == loss.ignore_index).any())):  # fmt: skip
        return "cross_entropy", y
    raise ArgumentError(f"the loss {loss!r} is not one of {', '.join(LOSSES)}, nor a torch loss that equals one of them")


def _torch_loss(torch, name):
    """The losses of `Hessian` as functions of (outputs, y)."""
    if name == "cross_entropy":
        return lambda f, y: torch.nn.functional.cross_entropy(f, y if y.ndim == 2 else y.long())
    elementwise = {
        "hinge": lambda f, y: torch.relu(1 - y * f),
        "squared_hinge": lambda f, y: torch.relu(1 - y * f) ** 2,
        "logistic": lambda f, y: torch.nn.functional.softplus(-y * f),
        "mse": lambda f, y: (f - y) ** 2,
        "linear": lambda f, y: -y * f,
    }
    if name not in elementwise:
        raise ArgumentError(f"unknown loss {name!r}; known: {', '.join(LOSSES)}")
    return lambda f, y: elementwise[name](f, y.to(f.dtype).reshape(f.shape)).mean()
