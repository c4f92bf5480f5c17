"""Hessians of torch modules: perceptrons and small convolutional nets on the native path, any other module through autograd."""

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .._checks import number, shown
from .._torch_layers import modules_of, runs_as
from ..errors import ArgumentError, ShapeError
from ..net import Net
from ._hessian import Hessian
from ._losses import LOSSES, targets

_ELEMENTWISE = ("MSELoss", "SoftMarginLoss", "BCEWithLogitsLoss", "BCELoss", "L1Loss", "SmoothL1Loss", "HuberLoss")  # torch broadcasts some of them


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
        Tensors or arrays; batches are weighted by their length, as a DataLoader gives them. A name takes y as `Hessian` does, an elementwise
        loss of torch's y of the shape of the outputs (nothing is broadcast), any other callable gets y as it is.
    native : bool, optional
        None: a `Sequential` that `Net.from_torch` knows (multilayer perceptrons, small convolutional nets), with a loss that is known, becomes a
        `Hessian`; any other module or loss goes through autograd. True: an error if that cannot be. False: autograd.
    part, sample_weight, active_only, weight_decay, threads
        As for `Hessian`. Autograd knows part="full" without weights of samples, and its threads are torch's.

    Returns
    -------
    Hessian or TorchHessian
        LinearOperators in the order of `module.parameters()` and of the dtype of the parameters.

    Raises
    ------
    ShapeError, ArgumentError
        For data that the module or the loss does not take, or that are not finite, on either path; for a module without trainable
        parameters, or where native=True is not possible: the message says why.

    Notes
    -----
    The native path takes a small part of autograd's time per product. The autograd path keeps one graph of the gradient for each
    batch, so memory grows with the data.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> mlp = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))  # doctest: +SKIP
    >>> from_torch(mlp, "mse", (torch.eye(3), torch.ones(3, 1))).shape  # doctest: +SKIP
    (21, 21)
    """
    import torch

    if not isinstance(module, torch.nn.Module):
        raise ArgumentError(f"module is a {type(module).__name__}; expected a torch.nn.Module")
    if loss not in LOSSES if isinstance(loss, str) else not callable(loss):
        raise ArgumentError(f"loss is {shown(loss)}; expected one of {', '.join(LOSSES)}, a torch loss, or a callable loss(outputs, y)")
    weight_decay = number("weight_decay", weight_decay, low=0.0)
    parameters = [p for p in module.parameters() if p.requires_grad]
    if not parameters:
        raise ArgumentError("the module has no trainable parameters")
    batches = _batches(data, finite_y=isinstance(loss, str) or _of_torch(loss))
    why = "native=False was asked for" if native is False else _why_not_native(torch, module, loss, parameters, batches)
    if native is True and why:
        raise ArgumentError(f"no native path: {why}")
    if not why:
        X, y = _joined("X", [x for x, _ in batches]), _joined("y", [y for _, y in batches])
        net = Net.from_torch(module, input_shape=_image(X))
        if not isinstance(loss, str):
            _check_targets(loss, y, (len(X), net.dim_out))
        name, y = _native_loss(torch, loss, y)
        X = X.reshape(len(X), -1)
        X = X.astype(np.result_type(X.dtype, np.float32)) if X.dtype.kind == "f" else X
        dtype = str(parameters[0].dtype).removeprefix("torch.")
        return Hessian(net, X, y, loss=name, part=part, sample_weight=sample_weight, active_only=active_only, weight_decay=weight_decay,
                       dtype=dtype, threads=threads)  # fmt: skip
    if part != "full" or sample_weight is not None:
        raise ArgumentError(f"autograd knows part='full' without sample_weight; and there is no native path: {why}")
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
        function = _torch_loss(torch, loss)
        like = self._parameters[0]
        if any(p.dtype != like.dtype or p.device != like.device for p in self._parameters):
            raise ArgumentError("the module's parameters differ in dtype or device; expected one of each")
        total = sum(len(x) for x, _ in batches)
        self._gradients, risk = [], 0.0
        for x, y in batches:
            x, y = ((a if torch.is_tensor(a) else torch.as_tensor(np.array(a))).to(like.device) for a in (x, y))
            outputs = _call("the module", module, x.to(like.dtype) if x.is_floating_point() else x)
            value = _call("the loss", function, outputs, y)
            if not torch.is_tensor(value) or value.numel() != 1:
                raise ShapeError("a loss returns one number per batch, the mean over its samples")
            if not np.isfinite(float(value.detach())):
                raise ArgumentError(f"the loss is {float(value.detach())} for a batch; expected a finite number")
            value = value.reshape(()) * (len(x) / total)
            risk += float(value.detach())
            self._gradients.append(_call("autograd", lambda v: torch.autograd.grad(v, self._parameters, create_graph=True, materialize_grads=True), value))
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


def _batches(data, finite_y):
    """Pairs of equal length, of real numbers; X finite, and y if that is asked for."""
    if isinstance(data, (tuple, list)) and len(data) == 2 and all(hasattr(part, "shape") for part in data):
        data = [data]
    if not np.iterable(data):
        raise ArgumentError(f"data is a {type(data).__name__}; expected (X, y), or an iterable of such pairs")
    batches, n = [], 0
    for batch in data:
        if not isinstance(batch, (tuple, list)) or len(batch) != 2 or _length(batch[0]) != _length(batch[1]) or _length(batch[0]) < 0:
            raise ShapeError("data is (X, y), or an iterable of such pairs, with as many targets as samples")
        for name, part, finite in (("X", batch[0], True), ("y", batch[1], finite_y)):
            a = _array(part)
            if a.dtype.kind not in ("iufb" if finite_y else "iufbc"):
                raise ArgumentError(f"{name} has dtype {a.dtype}; expected real numbers")
            if finite and not np.isfinite(a).all():
                raise ArgumentError(f"{name} is not finite in sample {n + np.nonzero(~np.isfinite(a.reshape(len(a), -1)).all(1))[0][0]}")
        if len(batch[0]):
            batches.append(tuple(batch))
        n += len(batch[0])
    if not batches:
        raise ShapeError("data holds no samples")
    return batches


def _length(a):
    """-1: it has none."""
    try:
        return len(a)
    except TypeError:
        return -1


def _array(a):
    if not hasattr(a, "detach"):
        return np.asarray(a)
    a = a.detach().cpu()
    return (a.float() if str(a.dtype) == "torch.bfloat16" else a).numpy()


def _joined(name, parts):
    parts = [_array(part) for part in parts]
    if len({part.shape[1:] for part in parts}) > 1:
        raise ShapeError(f"batches have {name} of shapes {', '.join(str(s) for s in sorted({part.shape for part in parts}))}; expected equal ones but for the first axis")
    return np.concatenate(parts)


def _call(what, function, *tensors):
    """function(*tensors); torch's errors for tensors that do not fit, with their shapes."""
    try:
        return function(*tensors)
    except (ArgumentError, ShapeError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError) as error:
        shapes = " and ".join(str(tuple(t.shape)) for t in tensors if hasattr(t, "shape"))
        raise ArgumentError(f"{what} does not take tensors of shape {shapes}: {error}") from error


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
    X = _array(batches[0][0])
    try:
        Net.from_torch(module, input_shape=_image(X))
        _native_loss(torch, loss, None if isinstance(loss, str) or not _of_torch(loss) else _joined("y", [y for _, y in batches]))
    except (ArgumentError, ShapeError) as error:
        return str(error)
    if X.ndim != 2 and type(modules[0]).__name__ == "Linear":
        return f"X has shape {X.shape}: the Linear layer in front, with no Flatten, takes its last axis"
    return None


def _image(X):
    """Shape of a sample, if it is an image."""
    return X.shape[1:] if X.ndim == 4 else None


def _of_torch(loss):
    return type(loss).__module__.startswith("torch.nn.")


def _native_loss(torch, loss, y):
    """The library's name of the loss, and its targets; ArgumentError if there is none."""
    if isinstance(loss, str):
        return loss, y
    kind = type(loss)
    if kind is torch.nn.MSELoss and loss.reduction == "mean":
        return "mse", y
    if kind is torch.nn.SoftMarginLoss and loss.reduction == "mean" and (np.abs(y) == 1).all():
        return "logistic", y
    if (kind is torch.nn.BCEWithLogitsLoss and loss.reduction == "mean" and loss.weight is None and loss.pos_weight is None
            and ((y == 0) | (y == 1)).all()):  # fmt: skip
        return "logistic", 2.0 * y - 1.0
    if (kind is torch.nn.CrossEntropyLoss and loss.reduction == "mean" and loss.weight is None and loss.label_smoothing == 0.0
            and not (y.ndim == 1 and (y == loss.ignore_index).any())):  # fmt: skip
        return "cross_entropy", y
    raise ArgumentError(f"the loss {loss!r} with these targets is not one of {', '.join(LOSSES)}, nor a torch loss that equals one of them")


def _check_targets(loss, y, shape):
    """Targets of a torch loss, for outputs of this shape, where torch would broadcast or compute nonsense."""
    name = type(loss).__name__
    if not _of_torch(loss):
        return
    if name in _ELEMENTWISE and tuple(y.shape) != tuple(shape):
        raise ShapeError(f"y has shape {tuple(y.shape)}, the outputs {tuple(shape)}; {name} takes equal ones: call y.reshape(outputs.shape) if that is meant")
    if name == "CrossEntropyLoss" and tuple(y.shape) == tuple(shape) and (y < 0).any():
        raise ArgumentError("CrossEntropyLoss takes classes or rows of probabilities; got a negative one")


def _torch_loss(torch, loss):
    """A function of (outputs, y); for a name what `Hessian` computes, and accepts."""
    if not isinstance(loss, str):

        def checked(f, y):
            if torch.is_tensor(f):
                _check_targets(loss, y, f.shape)
            return loss(f, y.to(f.dtype) if _of_torch(loss) and y.is_floating_point() else y)

        return checked
    elementwise = {
        "hinge": lambda f, y: torch.relu(1 - y * f),
        "squared_hinge": lambda f, y: torch.relu(1 - y * f) ** 2,
        "logistic": lambda f, y: torch.logaddexp(-y * f, torch.zeros_like(f)),  # softplus is linear past 20
        "mse": lambda f, y: (f - y) ** 2,
        "linear": lambda f, y: -y * f,
        "cross_entropy": lambda f, y: -(y * torch.log_softmax(f, 1)).sum(1),
    }

    def named(f, y):
        rows = f.reshape(len(f), -1)
        given = _array(y)
        y = targets(given.reshape(rows.shape) if given.shape == tuple(f.shape) else given, *rows.shape, loss)
        return elementwise[loss](rows, torch.as_tensor(y).to(rows)).mean()

    return named
