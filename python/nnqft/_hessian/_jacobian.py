"""Jacobians of one net, end to end or of a chain of its layers, as linear operators.

    forward   Rh_{l+1} = g_l * (W_l Rh_l + V_l h_l + v_l) + skip_l Rh_l          J v
    reverse   d_l = g_l * e_{l+1},   e_l = W_l^T d_l + skip_l e_{l+1}            J^T u

with g_l = a phi'(z_l), and V_l, v_l a direction in the parameters; the last layer has g = 1. Singular values come from
`nnqft.lanczos.singular_values`, which sees J J^T or J^T J, whichever is smaller.
"""

import operator

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .. import _backend
from .._layers import Conv2d
from ..errors import ArgumentError
from ..net import Net
from ._hessian import _flatten, _inputs, _layer_list

__all__ = ["Jacobian"]

_ELEMENTS = 1 << 22  # of the activities of the vectors that go through the net together: 32 MB


class Jacobian(LinearOperator):
    """Jacobian of a net's outputs, as a scipy LinearOperator: by its parameters, or by its inputs layer by layer.

    wrt="parameters"  J[(i, o), p] = d f_o(x_i) / d theta_p, so that J J^T is the empirical neural tangent kernel
    wrt="inputs"      block i of a block diagonal is d h_stop / d h_start at x_i, from activities to activities

    Derivatives are exact almost everywhere: a ReLU has slope 0 at its kink.

    Parameters
    ----------
    net : Net
    X : array, shape (samples, dim_in), float32 or float64
    wrt : "parameters" or "inputs"
    layers : int or sequence of int, optional
        With "parameters": by those of these layers only; negative numbers count from the end. Order within as for
        `Hessian`: a matrix row by row, then the biases of a layer that has them.
    between : (int, int), optional
        With "inputs": (start, stop), from h_start to h_stop, 0 <= start < stop <= depth. h_0 are the inputs, h_l the
        activities of hidden layer l, h_depth the outputs. Default: end to end. One layer is (l, l + 1).
    dtype : float32 or float64, optional
        Of vectors and products; default that of X. Activities and slopes are computed in float64, whatever the dtype.

    Attributes
    ----------
    shape : (rows, columns)
        Rows (sample, output), outputs fastest; columns parameters, or (sample, input), inputs fastest.

    Raises
    ------
    ShapeError, ArgumentError
        For arrays that do not fit the net, numbers that are not finite, layers that it has not.

    Notes
    -----
    Cost: about one forward pass for J v, one or two for J^T u; memory: all activities of all samples, once. Several
    vectors go through together (matmat). J. Pennington, S. Schoenholz, S. Ganguli, arXiv:1711.04735, for the singular
    values by the inputs.

    Examples
    --------
    >>> net = Net.from_weights([np.diag([3.0, 1.0]), np.array([[2.0, 0.0]])], activation="relu")
    >>> Jacobian(net, np.eye(2), wrt="inputs").dense()
    array([[6., 0., 0., 0.],
           [0., 0., 0., 0.]])
    >>> J = Jacobian(net, np.eye(2))
    >>> J.shape, (J @ np.eye(6)[0]).tolist()
    ((2, 6), [2.0, 0.0])
    """

    def __init__(self, net, X, *, wrt="parameters", layers=None, between=None, dtype=None):
        if not isinstance(net, Net):
            raise ArgumentError(f"net is a {type(net).__name__}; expected a Net")
        if any(isinstance(layer, Conv2d) for layer in net.layers):
            raise ArgumentError(f"{net} has convolutions; a Jacobian takes a net of dense layers")
        if not isinstance(wrt, str) or wrt not in ("parameters", "inputs"):
            raise ArgumentError(f'wrt is {wrt!r}; expected "parameters" or "inputs"')
        if (layers if wrt == "inputs" else between) is not None:
            other = "layers" if wrt == "inputs" else "between"
            raise ArgumentError(f'wrt="{wrt}" takes no {other}: that is for wrt="{"parameters" if wrt == "inputs" else "inputs"}"')
        _backend.only_on_host("Jacobian()", X=X)
        depth = len(net.weights)
        X, dtype = _inputs(net, X, dtype)
        _flatten(net)  # refuses weights that are not finite
        self.net, self.wrt = net, wrt
        self.layers = _layer_list(layers, depth) if wrt == "parameters" else ()
        self._first, self._last = (self.layers[0], depth) if wrt == "parameters" else _chain(between, depth)
        self._weights = [np.ascontiguousarray(w, dtype=dtype) for w in net.weights]
        self._activities, self._slopes = (_cast(a, dtype) for a in _forward(net, X))
        self._normalisers = [2 * layer.normaliser[0] for layer in net.layers]
        self._skips = [layer.skip for layer in net.layers]
        self._places, columns = {}, 0
        for layer in self.layers:
            start, columns = columns, columns + net.weights[layer].size + net.biased[layer] * len(net.biases[layer])
            self._places[layer] = start, columns
        width = lambda h: net.dim_in if h == 0 else len(net.weights[h - 1])
        self._in, self._out = width(self._first), width(self._last)
        super().__init__(dtype, (len(X) * self._out, columns if wrt == "parameters" else len(X) * self._in))

    @property
    def samples(self):
        return len(self._activities[0])

    def _matvec(self, v):
        return self._matmat(np.asarray(v).reshape(-1, 1))[:, 0]

    def _rmatvec(self, u):
        return self._rmatmat(np.asarray(u).reshape(-1, 1))[:, 0]

    def _matmat(self, V):
        return self._in_batches(V, self._forward_mode, self.shape[0])

    def _rmatmat(self, U):
        return self._in_batches(U, self._reverse_mode, self.shape[1])

    def _in_batches(self, V, product, length):
        if np.iscomplexobj(V):
            raise ArgumentError(f"the vector has dtype {V.dtype}; a Jacobian takes real ones")
        rows = np.ascontiguousarray(np.asarray(V, dtype=self.dtype).T)
        most = max(max(len(w), w.shape[1]) for w in self._weights)
        together = max(1, _ELEMENTS // (self.samples * most))
        return np.concatenate([product(rows[at : at + together]) for at in range(0, len(rows), together)] or [np.empty((0, length), self.dtype)]).T

    def _forward_mode(self, v):
        """J v for rows v (vectors, columns): rows (vectors, samples * out)."""
        h = None if self.wrt == "parameters" else v.reshape(len(v), self.samples, self._in)
        for i in range(self._first, self._last):
            z = self._by_parameters(i, v) if i in self._places else None
            if h is not None:
                moved = h @ self._weights[i].T
                if self._normalisers[i]:
                    moved -= self._normalisers[i] * np.einsum("si,vsi->vs", self._activities[i], h)[..., None]
                z = moved if z is None else z + moved
            if z is not None:
                z = z if self._slopes[i] is None else z * self._slopes[i]
                h = z if h is None or not self._skips[i] else z + self._skips[i] * h
        return h.reshape(len(v), -1)

    def _by_parameters(self, i, v):
        """V h + v_bias of layer i."""
        (start, stop), shape = self._places[i], self._weights[i].shape
        matrix = v[:, start : start + shape[0] * shape[1]].reshape(len(v), *shape)
        z = self._activities[i] @ matrix.transpose(0, 2, 1)
        return z + v[:, None, stop - shape[0] : stop] if self.net.biased[i] else z

    def _reverse_mode(self, u):
        """J^T u for rows u (vectors, samples * out): rows (vectors, columns)."""
        e = u.reshape(len(u), self.samples, self._out)
        out = np.empty((len(u), self.shape[1]), self.dtype)
        for i in reversed(range(self._first, self._last)):
            d = e if self._slopes[i] is None else e * self._slopes[i]
            if i in self._places:
                start, stop = self._places[i]
                size = self._weights[i].size
                out[:, start : start + size] = (d.transpose(0, 2, 1) @ self._activities[i]).reshape(len(u), size)
                if self.net.biased[i]:
                    out[:, start + size : stop] = d.sum(axis=1)
                if i == self._first:
                    break
            below = d @ self._weights[i]
            if self._normalisers[i]:
                below -= self._normalisers[i] * self._activities[i] * d.sum(axis=-1, keepdims=True)
            e = below + self._skips[i] * e if self._skips[i] else below
        return out if self.wrt == "parameters" else e.reshape(len(u), -1)

    def dense(self):
        """The matrix, shape (rows, columns). Cost: one product for each of the fewer of its sides."""
        rows, columns = self.shape
        if rows < columns:
            return np.ascontiguousarray(self._rmatmat(np.eye(rows, dtype=self.dtype)).T)
        return np.ascontiguousarray(self._matmat(np.eye(columns, dtype=self.dtype)))

    def __repr__(self):
        what = f"layers {self.layers}" if self.wrt == "parameters" else f"h_{self._first} to h_{self._last}"
        return f"Jacobian({self.shape[0]} x {self.shape[1]} by {self.wrt}, {what}, {self.samples} samples, {self.dtype})"


def _forward(net, X):
    """h_l for l < depth, and g_l = d h_{l+1} / d z_l without the skip (None in the last layer), in float64."""
    h, activities, slopes = X, [], []
    for i, layer in enumerate(net.layers):
        activities.append(h)
        if i == len(net.layers) - 1:
            slopes.append(None)
            break
        y, slope = layer.activate(layer.preactivation(h), slope=True)
        slopes.append(layer.scale * slope)
        h = layer.scale * y + layer.skip * h if layer.skip else layer.scale * y
        for what, a in (("value", h), ("slope", slopes[-1])):
            if not np.isfinite(a).all():
                raise ArgumentError(f"layer {i} has a {what} that is not finite at sample {np.nonzero(~np.isfinite(a).all(1))[0][0]}")
    return activities, slopes


def _cast(arrays, dtype):
    return [None if a is None else np.ascontiguousarray(a, dtype=dtype) for a in arrays]


def _chain(between, depth):
    try:
        start, stop = (0, depth) if between is None else map(operator.index, between)
    except (TypeError, ValueError):
        raise ArgumentError(f"between is {between!r}; expected two integers (start, stop)") from None
    if not 0 <= start < stop <= depth:
        raise ArgumentError(f"between is ({start}, {stop}); expected 0 <= start < stop <= {depth}, the number of layers")
    return start, stop
