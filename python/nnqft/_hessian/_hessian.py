"""Hessians of the risk of one net in parameter space, as linear operators."""

import operator
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .. import _backend, _core
from .._checks import integer, number, shown
from .._lanczos._driver import affordable
from ..errors import ArgumentError, ShapeError, StateError
from ..net import Net
from ._losses import LIKELIHOODS, Derivatives, derivatives

PARTS = ("full", "residual", "ggn", "fisher", "empirical_fisher")
_COLUMNS = 64  # unit vectors that go through the samples together in dense()
_STRIP = 256  # rows and columns of a matrix that are made symmetric together


def unit_vectors(n, dtype):
    """Rows of the unit matrix in turn: (rows, first, last + 1)."""
    for start in range(0, n, _COLUMNS):
        stop = min(start + _COLUMNS, n)
        units = np.zeros((stop - start, n), dtype)
        units[np.arange(stop - start), np.arange(start, stop)] = 1
        yield units, start, stop


class HessianBlock(LinearOperator):
    """H[rows, columns]: second derivatives by the parameters of some layers and of some others. Made by `Hessian.blocks`."""

    def __init__(self, core, dtype, ranges, rows, columns, threads):
        self._core, self._ranges, self._threads = core, ranges, threads
        self.rows, self.columns = rows, columns
        self._row_mask, self._column_mask = self._mask(rows), self._mask(columns)
        super().__init__(np.dtype(dtype), (self._length(rows), self._length(columns)))

    def _length(self, layers):
        return sum(stop - start for start, stop in (self._ranges[layer] for layer in layers))

    def _mask(self, layers):
        return [layer in layers for layer in range(len(self._ranges))]

    def _apply(self, vectors, transposed=False):
        if np.iscomplexobj(vectors):
            raise ArgumentError(f"the vector has dtype {vectors.dtype}; a Hessian takes real ones")
        vectors = np.require(vectors, self.dtype, ["C", "A"])
        masks = (self._column_mask, self._row_mask) if transposed else (self._row_mask, self._column_mask)
        return self._core.apply(vectors, *masks, self._threads)

    def matvec(self, x):
        """The product with a vector, shape (columns,) or (columns, 1), converted to the operator's dtype."""
        if type(x) is np.ndarray and x.shape == self.shape[1:]:  # past scipy's checks, which take microseconds
            return self._apply(x[None])[0]
        return super().matvec(x)

    def _matvec(self, v):
        return self._apply(np.asarray(v).reshape(1, -1))[0]

    def _matmat(self, V):
        return self._apply(np.asarray(V).T).T

    def _rmatvec(self, v):
        return self._apply(np.asarray(v).reshape(1, -1), transposed=True)[0]

    def _rmatmat(self, V):
        return self._apply(np.asarray(V).T, transposed=True).T

    def _adjoint(self):
        return HessianBlock(self._core, self.dtype, self._ranges, self.columns, self.rows, self._threads)

    _transpose = _adjoint

    def dense(self):
        """The block as an array. Cost: one product per column. ArgumentError if its memory is not free."""
        rows, columns = self.shape
        affordable(float(rows) * columns * self.dtype.itemsize, f"{columns} columns of {self!r}", "take products, blocks() or entries()")
        out = np.empty(self.shape, self.dtype)
        for units, start, stop in unit_vectors(columns, self.dtype):
            out[:, start:stop] = self._apply(units).T
        return out


class Hessian(HessianBlock):
    """Hessian of the risk of a net, as a scipy LinearOperator on parameter space.

    R(theta) = sum_i w_i L(f(x_i), y_i) / sum_i w_i + weight_decay / 2 |theta|^2

    H = sum_i J_i^T L_i'' J_i  +  sum_i L_i' d^2 f_i / d theta^2  +  weight_decay     ("ggn" + "residual")

    Products are exact (Pearlmutter's R-operator), almost everywhere: a ReLU has second derivative 0, so kinks of activations
    and of the hinge do not contribute.

    Parameters
    ----------
    net : Net
        Parameters are flattened layer by layer: the matrix (fan_out, fan_in) row by row, then the biases of a layer that has
        them (`net.biased`); the order of torch's `parameters()`. Amplitudes, normalisers, skips and scales are held fixed.
    X : array, shape (samples, dim_in), float32 or float64
    y : array, shape (samples,) for one output, else (samples, dim_out)
        Targets: +-1 for hinge, squared_hinge and logistic; real numbers for mse and linear; for cross_entropy classes
        (samples,) or rows of probabilities. A loss of the user's gets what is given.
    loss : {"hinge", "squared_hinge", "logistic", "cross_entropy", "mse", "linear"} or callable
        max(0, 1 - y f), its square, log(1 + exp(-y f)), -log softmax, (f - y)^2, -y f; the mean over outputs, cross-entropy
        apart. A callable loss(f, y), f of shape (samples, dim_out), returns (first, second) or (values, first, second):
        shapes (samples,), (samples, dim_out), and (samples, dim_out) for a diagonal or (samples, dim_out, dim_out).
    part : {"full", "residual", "ggn", "fisher", "empirical_fisher"}
        "residual": sum L' d^2 f alone. "ggn": Gauss-Newton, with the weight decay. "fisher": the Fisher matrix of a loss that
        is a negative log-likelihood (logistic, cross_entropy, mse), there equal to Gauss-Newton; without the weight decay.
        "empirical_fisher": sum of the outer products of the samples' gradients, likewise.
    layers : int or sequence of int, optional
        The block on the parameters of these layers, ascending; negative numbers count from the end. Default: all.
    sample_weight : array, shape (samples,), optional
        w_i >= 0: a weight k counts as k copies.
    active_only : bool
        Leave out samples that contribute nothing (hinge: those beyond the margin). Same result, less work.
    weight_decay : float
        On all parameters, biases too.
    dtype : {"float32", "float64"}, optional
        Of vectors and products; default that of X. Forward and backward passes are made once in float64, whatever the dtype.
    threads : int, optional
        The number of threads changes no bit.
    device : {"cpu", "cuda", "cuda:N"}, optional
        Default: where X is. On a CUDA device vectors, `theta` and `gradient` are CuPy arrays and matrices of `dense()`, too; samples
        go there once, y and weights are read on the CPU. `nnqft.lanczos` runs on the device then.

    Attributes
    ----------
    theta : array, shape (parameters,), float64
        The parameters that the operator acts on (those of `layers`).
    risk : float
    gradient : array, shape (parameters,), float64
        Of R by those parameters, weight decay included; whatever the part.
    ranges : tuple of (start, stop)
        Where each layer's parameters lie among all.
    n_active : int
        Samples that take part in products.

    Raises
    ------
    ShapeError, ArgumentError
        For arrays that do not fit the net or the loss, numbers that are not finite, unknown names.
    DeviceError
        If the device is missing, or its memory too small.

    Notes
    -----
    A product costs 6 F - 4 F_1, F the flops of a forward pass through the active samples and F_1 those of the first layer. Of a net with
    one output behind a ReLU (leaky ReLU) layer, F_m, it costs 6 F - 4 F_1 - 4 F_m: that layer's activities are linear in its weights, and
    sums over samples that do not know the vector are kept (not in float32 where W h + b is small beside its terms, at a loss with
    curvature). Memory: about six times the activities of all active samples. For ReLU nets without biases H theta =
    (depth - 1) gradient; the diagonal blocks of the residual part vanish, so tr H = tr GGN for every loss.
    B. A. Pearlmutter, Neural Computation 6 (1994) 147; N. N. Schraudolph, Neural Computation 14 (2002) 1723 for Gauss-Newton.

    Examples
    --------
    >>> net = nnqft.networks.relu_net(4, dim_in=3).draw(0, seed=1)
    >>> X, y = np.eye(3), np.array([1.0, -1.0, 1.0])
    >>> H = Hessian(net, X, y, loss="hinge")
    >>> H.shape, bool(np.allclose(H @ H.theta, H.gradient))
    ((16, 16), True)
    """

    def __new__(cls, *args, device=None, **kwargs):
        X = kwargs.get("X", args[1] if len(args) > 1 else None)
        if cls is not Hessian or _backend.place(device, X=X) == "cpu":
            return super().__new__(cls)
        from .._device._hessian import DeviceHessian

        return super().__new__(DeviceHessian)

    def __init__(self, net, X, y, *, loss, part="full", layers=None, sample_weight=None, active_only=True, weight_decay=0.0, dtype=None,
                 threads=None, device=None):  # fmt: skip
        if not isinstance(net, Net):
            raise ArgumentError(f"net is a {type(net).__name__}; expected a Net (from_torch() takes torch modules)")
        if not isinstance(part, str) or part not in PARTS:
            raise ArgumentError(f"unknown part {shown(part)}; known: {', '.join(PARTS)}")
        if part == "fisher" and not (isinstance(loss, str) and loss in LIKELIHOODS):
            raise ArgumentError(f"the loss {loss!r} is not a log-likelihood, so it has no Fisher matrix; take part='ggn' or 'empirical_fisher'")
        weight_decay = number("weight_decay", weight_decay, low=0.0)
        threads = _core.default_threads() if threads is None else integer("threads", threads, 1, 4096)
        self.net, self.loss, self.part, self.weight_decay = net, loss, part, weight_decay
        self._structure, self._parameters = _core.NetStructure(_layers(net)), _flatten(net)
        X, dtype = self._accept(net, X, dtype, device)
        f = self._outputs(X, threads)
        weights = _weights(self._host(sample_weight, "sample_weight"), len(X))
        at_outputs = derivatives(loss, f, self._host(y, "y"))
        _check_finite(f, at_outputs)
        if part == "empirical_fisher":
            top = Derivatives(None, at_outputs.first, rank_one=at_outputs.first).weighted(weights)
        else:
            top = at_outputs.weighted(weights)
        gauss_newton = part in ("ggn", "fisher", "empirical_fisher")
        self._risk = None if at_outputs.values is None else float(weights @ at_outputs.values)
        if self._risk is not None and weight_decay > 0.0:  # 0 times a square that overflows would be a NaN
            self._risk += 0.5 * weight_decay * float(self._parameters @ self._parameters)
        self._X, self._first = X, at_outputs.weighted(weights).first

        active = np.arange(len(X))
        if active_only:
            used = ([] if gauss_newton else [top.first]) + ([] if part == "residual" else top.parts())
            active = np.nonzero(np.any([a.reshape(len(X), -1).any(1) for a in used], axis=0))[0] if used else active[:0]
        self.active, self.n_samples = active, len(X)
        top = top.rows(active)
        second = (None, None, None) if part == "residual" else (top.diagonal, top.rank_one, top.matrix)
        decay = weight_decay if part in ("full", "ggn") else 0.0
        core = self._core_of(X, active, top, second, gauss_newton, decay, dtype, threads)
        ranges = tuple(self._structure.ranges)
        self.layers = _layer_list(layers, len(ranges))
        super().__init__(core, dtype, ranges, self.layers, self.layers, threads)
        self._decay = decay

    # Where samples live, and what makes products of them: on a device, DeviceHessian has its own.
    def _accept(self, net, X, dtype, device):
        return _inputs(net, X, dtype)

    def _host(self, a, name):
        if _backend.lives_on_device(a):
            raise ArgumentError(f'{name} lives on a CUDA device, the Hessian in main memory: pass device="cuda", or {name}.get()')
        return a

    def _outputs(self, X, threads):
        return _core.net_outputs(self._structure, self._parameters, X, threads)

    def _core_of(self, X, active, top, second, gauss_newton, decay, dtype, threads):
        kind = _core.NetHessianF32 if dtype == np.float32 else _core.NetHessianF64
        return kind(self._structure, self._parameters, np.ascontiguousarray(X[active]), None if gauss_newton else top.first, second[0], second[1],
                    top.sign, second[2], gauss_newton, decay, threads)  # fmt: skip

    def _adjoint(self):
        return self

    _transpose = _adjoint

    @cached_property
    def native(self):
        """Handle of the operator in C++, by which `nnqft.lanczos` does without Python between its steps."""
        return self._core.native(self._row_mask)

    @property
    def ranges(self):
        return self._ranges

    @property
    def n_active(self):
        return len(self.active)

    @property
    def theta(self):
        return self._select(self._parameters)

    @property
    def risk(self):
        if self._risk is None:
            raise StateError("the loss returned no values: let it return (values, first, second)")
        return self._risk

    @cached_property
    def gradient(self):
        used = np.nonzero(self._first.any(1))[0]
        gradient = _core.net_gradient(self._structure, self._parameters, np.ascontiguousarray(self._X[used]),
                                      np.ascontiguousarray(self._first[used]), self._threads)  # fmt: skip
        return self._select(gradient + self.weight_decay * self._parameters)

    def _select(self, vector):
        return np.concatenate([vector[start:stop] for start, stop in (self._ranges[layer] for layer in self.layers)])

    def dense(self):
        """The matrix, shape (parameters, parameters), symmetric to the bit.

        Cost: one product per parameter; memory parameters^2.

        Examples
        --------
        >>> net = Net.from_weights([np.ones((2, 2)), np.ones((1, 2))], activation="relu")
        >>> Hessian(net, np.eye(2), np.array([1.0, -1.0]), loss="linear").dense()[:2]
        array([[ 0. ,  0. ,  0. ,  0. , -0.5,  0. ],
               [ 0. ,  0. ,  0. ,  0. ,  0.5,  0. ]])
        """
        dense = super().dense()
        for start in range(0, len(dense), _STRIP):
            strip = dense[start : start + _STRIP, start:]
            strip[:] = strip / 2 + dense[start:, start : start + _STRIP].T / 2
            dense[start:, start : start + _STRIP] = strip.T
        return dense

    def blocks(self, rows, columns):
        """The block H[rows, columns] between layers, as a LinearOperator with `.dense()`.

        Parameters
        ----------
        rows, columns : int or sequence of int
            Layers of the net; negative numbers count from the end.

        Returns
        -------
        HessianBlock
            Shape (parameters of the rows, parameters of the columns). Products cost less than the full ones: nothing is propagated
            below the first of the columns' layers or, backward, below the first of the rows' layers.

        Examples
        --------
        >>> net = nnqft.networks.relu_net(4, dim_in=3).draw(0, seed=1)
        >>> H = Hessian(net, np.eye(3), np.array([1.0, -1.0, 1.0]), loss="hinge")
        >>> H.blocks(0, 1).shape, float(np.abs(H.blocks(0, 0).dense()).max())
        ((12, 4), 0.0)
        """
        depth = len(self._ranges)
        return HessianBlock(self._core, self.dtype, self._ranges, _layer_list(rows, depth), _layer_list(columns, depth), self._threads)

    def entries(self, rows, columns, *, per_sample=False):
        """Chosen entries H[rows[m], columns[m]].

        Parameters
        ----------
        rows, columns : arrays of int, shape (n,)
            Indices into the operator's parameters.
        per_sample : bool

        Returns
        -------
        array, shape (n,), or (samples, n) if per_sample, float64
            Per sample: what each adds to the entry, weight included (the weight decay is not any sample's, and left out);
            the sum over samples is the entry.

        Raises
        ------
        ShapeError, ArgumentError
            For indices that are no integers of one length, or out of range.

        Notes
        -----
        Cost: about a third of a product for each different column.

        Examples
        --------
        >>> net = nnqft.networks.relu_net(4, dim_in=3).draw(0, seed=1)
        >>> H = Hessian(net, np.eye(3), np.array([1.0, -1.0, 1.0]), loss="hinge")
        >>> H.entries([0, 1], [12, 12], per_sample=True).shape
        (3, 2)
        """
        rows, columns = self._indices(rows, "rows"), self._indices(columns, "columns")
        if rows.shape != columns.shape:
            raise ShapeError(f"rows has {len(rows)} entries, columns {len(columns)}; expected as many")
        everywhere = self._select(np.arange(len(self._parameters)))
        order = np.argsort(columns, kind="stable")
        i, j = everywhere[rows[order]], everywhere[columns[order]]
        found = self._core.entries(i, j, bool(per_sample), self.n_active, self._threads)
        if not per_sample:
            out = np.empty(len(rows))
            out[order] = found
            return out + self._decay * (rows == columns)
        out = np.zeros((self.n_samples, len(rows)))
        out[self.active[:, None], order] = found.reshape(self.n_active, len(rows))
        return out

    def _indices(self, index, name):
        index = np.asarray(index)
        if index.ndim != 1 or (index.size and index.dtype.kind not in "iu"):
            raise ShapeError(f"{name} has dtype {index.dtype} and shape {index.shape}; expected integers of shape (n,)")
        if index.size and not 0 <= index.min() <= index.max() < self.shape[0]:
            raise ArgumentError(f"{name} reaches from {index.min()} to {index.max()}; the operator has parameters 0 .. {self.shape[0] - 1}")
        return index.astype(np.int64)

    def __repr__(self):
        return f"Hessian({self.shape[0]} parameters, {self.n_active} of {self.n_samples} samples, {self.part}, {self.dtype})"


def _layers(net):
    """Each layer as the kernels take it: in, out, bias, activation, its parameters, amplitude, skip, normaliser, offset, convolution."""
    return [layer.structure(shape) for layer, shape in zip(net.layers, net._shapes())]


def _flatten(net):
    parts = []
    for weights, bias, biased in zip(net.weights, net.biases, net.biased):
        parts += [weights.ravel(), bias] if biased else [weights.ravel()]
    theta = np.concatenate(parts)
    if not np.isfinite(theta).all():
        raise ArgumentError("the net has weights or biases that are not finite")
    return theta


def _inputs(net, X, dtype):
    X = np.asarray(X)
    if X.dtype not in (np.float32, np.float64):
        raise ArgumentError(f"X has dtype {X.dtype}; expected float32 or float64: call X.astype(np.float64)")
    X = net._flat(X, "X", "samples")
    if not len(X):
        raise ShapeError(f"X has shape {X.shape}; expected one sample or more")
    if not np.isfinite(X).all():
        raise ArgumentError(f"X is not finite in sample {np.nonzero(~np.isfinite(X).all(1))[0][0]}")
    try:
        dtype = X.dtype if dtype is None else np.dtype(dtype)
    except TypeError:
        raise ArgumentError(f"dtype is {shown(dtype)}; expected float32 or float64") from None
    if dtype not in (np.float32, np.float64):
        raise ArgumentError(f"dtype is {dtype}; expected float32 or float64")
    with np.errstate(over="ignore"):
        fits = np.isfinite(X.astype(dtype)).all()
    if not fits:
        raise ArgumentError(f"X goes up to {abs(X).max():.3g}, past {dtype}: scale it, or take dtype=np.float64")
    return np.require(X, np.float64, ["C", "A"]), np.dtype(dtype).newbyteorder("=")


def _weights(sample_weight, n):
    """Normalised to sum 1."""
    if sample_weight is None:
        return np.full(n, 1.0 / n)
    w = np.asarray(sample_weight)
    if w.shape != (n,) or w.dtype.kind not in "iufb":
        raise ShapeError(f"sample_weight has dtype {w.dtype} and shape {w.shape}; expected real numbers of shape ({n},)")
    w = w.astype(np.float64)
    if not np.isfinite(w).all() or (w < 0).any() or not w.any():
        raise ArgumentError("sample_weight takes finite numbers >= 0, not all of them zero")
    w = w / w.max()
    return w / w.sum()


def _check_finite(f, at_outputs):
    if not np.isfinite(f).all():
        raise ArgumentError(f"the net's output is not finite for sample {np.nonzero(~np.isfinite(f).all(1))[0][0]}")
    for name, a in (("values", at_outputs.values), ("first derivatives", at_outputs.first), *(("second derivatives", p) for p in at_outputs.parts())):
        if a is not None and not np.isfinite(a).all():
            raise ArgumentError(f"the loss has {name} that are not finite, first for sample {np.nonzero(~np.isfinite(a.reshape(len(a), -1)).all(1))[0][0]}")


def _layer_list(layers, depth):
    if layers is None:
        return tuple(range(depth))
    layers = tuple(layers) if np.iterable(layers) else (layers,)
    try:
        chosen = sorted({operator.index(layer) + (depth if layer < 0 else 0) for layer in layers})
    except TypeError:
        raise ArgumentError(f"layers is {shown(layers)}; expected integers, some of 0 .. {depth - 1}") from None
    if not chosen or not 0 <= chosen[0] <= chosen[-1] < depth:
        raise ArgumentError(f"layers is {tuple(layers)}; expected some of 0 .. {depth - 1}")
    return tuple(chosen)
