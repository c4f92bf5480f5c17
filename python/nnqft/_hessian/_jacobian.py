"""Jacobians of one net, end to end or of a chain of its layers, as linear operators.

    forward   Rh_{l+1} = g_l * (W_l Rh_l + V_l h_l + v_l) + skip_l Rh_l          J v
    reverse   d_l = g_l * e_{l+1},   e_l = W_l^T d_l + skip_l e_{l+1}            J^T u

with g_l = a phi'(z_l), and V_l, v_l a direction in the parameters; the last layer has g = 1. Both are the passes that Hessians are made
of (csrc/nets/passes.hpp), by parameters the two halves of a Gauss-Newton product. Singular values come from
`nnqft.lanczos.singular_values`, which sees J J^T or J^T J, whichever is smaller.
"""

import operator
from math import prod

import numpy as np
from scipy.sparse.linalg import LinearOperator

from .. import _backend, _core
from .._checks import integer
from .._lanczos._driver import affordable
from ..errors import ArgumentError
from ..net import Net
from ._hessian import _flatten, _inputs, _layer_list, _layers, unit_vectors

__all__ = ["Jacobian"]


class Jacobian(LinearOperator):
    """Jacobian of a net's outputs, as a scipy LinearOperator: by its parameters, or by its inputs layer by layer.

    wrt="parameters"  J[(i, o), p] = d f_o(x_i) / d theta_p, so that J J^T is the empirical neural tangent kernel
    wrt="inputs"      block i of a block diagonal is d h_stop / d h_start at x_i, from activities to activities

    Derivatives are exact almost everywhere: a ReLU has slope 0 at its kink.

    Parameters
    ----------
    net : Net
    X : array, shape (samples, dim_in) or (samples, channels, height, width), float32 or float64
    wrt : "parameters" or "inputs"
    layers : int or sequence of int, optional
        With "parameters": by those of these layers only; negative numbers count from the end. Order within as for
        `Hessian`: a matrix row by row, then the biases of a layer that has them.
    between : (int, int), optional
        With "inputs": (start, stop), from h_start to h_stop, 0 <= start < stop <= depth. h_0 are the inputs, h_l the
        activities of hidden layer l (images in the order (channel, y, x)), h_depth the outputs. Default: end to end. One layer
        is (l, l + 1).
    dtype : float32 or float64, optional
        Of vectors and products; default that of X. Activities and slopes are computed in float64, whatever the dtype.
    threads : int, optional
        The number of threads changes no bit.

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
    Cost: J v and J^T u take two forward passes each, less that of the first layer once; by inputs one. Memory: about three
    times the activities of all samples. Vectors of a matmat go through at one time. J. Pennington, S. Schoenholz, S. Ganguli, arXiv:1711.04735, for the singular
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

    def __init__(self, net, X, *, wrt="parameters", layers=None, between=None, dtype=None, threads=None):
        if not isinstance(net, Net):
            raise ArgumentError(f"net is a {type(net).__name__}; expected a Net")
        if not isinstance(wrt, str) or wrt not in ("parameters", "inputs"):
            raise ArgumentError(f'wrt is {wrt!r}; expected "parameters" or "inputs"')
        if (layers if wrt == "inputs" else between) is not None:
            other = "layers" if wrt == "inputs" else "between"
            raise ArgumentError(f'wrt="{wrt}" takes no {other}: that is for wrt="{"parameters" if wrt == "inputs" else "inputs"}"')
        _backend.only_on_host("Jacobian()", X=X)
        depth, structure = len(net.layers), _core.NetStructure(_layers(net))
        X, dtype = _inputs(net, X, dtype)
        self._threads = _core.default_threads() if threads is None else integer("threads", threads, 1, 4096)
        self.net, self.wrt, self.samples = net, wrt, len(X)
        if wrt == "parameters":
            self.layers, self._between = _layer_list(layers, depth), None
            self._mask = [layer in self.layers for layer in range(depth)]
            shape = len(X) * net.dim_out, sum(stop - start for start, stop in (structure.ranges[layer] for layer in self.layers))
        else:
            self.layers, self._between = (), _chain(between, depth)
            start, stop = (prod(net._shapes()[h]) for h in self._between)
            shape = len(X) * stop, len(X) * start
        kind = _core.NetJacobianF32 if dtype == np.float32 else _core.NetJacobianF64
        self._core = kind(structure, _flatten(net), X, self._threads)
        super().__init__(dtype, shape)

    def _apply(self, vectors, transposed=False):
        """Products with rows."""
        if np.iscomplexobj(vectors):
            raise ArgumentError(f"the vector has dtype {vectors.dtype}; a Jacobian takes real ones")
        vectors = np.require(vectors, self.dtype, ["C", "A"])
        if self._between is None:
            return self._core.by_parameters(vectors, self._mask, transposed, self._threads)
        return self._core.by_activities(vectors, *self._between, transposed, self._threads)

    def _matvec(self, v):
        return self._apply(np.asarray(v).reshape(1, -1))[0]

    def _rmatvec(self, u):
        return self._apply(np.asarray(u).reshape(1, -1), transposed=True)[0]

    def _matmat(self, V):
        return self._apply(np.asarray(V).T).T

    def _rmatmat(self, U):
        return self._apply(np.asarray(U).T, transposed=True).T

    def dense(self):
        """The matrix, shape (rows, columns). Cost: one product for each of the fewer of its sides; memory rows * columns.

        ArgumentError if that much memory is not free.
        """
        rows, columns = self.shape
        affordable(float(rows) * columns * self.dtype.itemsize, f"{columns} columns of {self!r}", "take products, or fewer samples")
        transposed = rows < columns
        out = np.empty(self.shape, self.dtype)
        to = out if transposed else out.T
        for units, start, stop in unit_vectors(len(to), self.dtype):
            to[start:stop] = self._apply(units, transposed)
        return out

    def __repr__(self):
        what = f"layers {self.layers}" if self._between is None else f"h_{self._between[0]} to h_{self._between[1]}"
        return f"Jacobian({self.shape[0]} x {self.shape[1]} by {self.wrt}, {what}, {self.samples} samples, {self.dtype})"


def _chain(between, depth):
    try:
        start, stop = (0, depth) if between is None else map(operator.index, between)
    except (TypeError, ValueError):
        raise ArgumentError(f"between is {between!r}; expected two integers (start, stop)") from None
    if not 0 <= start < stop <= depth:
        raise ArgumentError(f"between is ({start}, {stop}); expected 0 <= start < stop <= {depth}, the number of layers")
    return start, stop
