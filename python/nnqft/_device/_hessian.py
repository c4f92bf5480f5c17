"""Hessians of networks on a CUDA device: `Hessian(..., device="cuda")`.

Forward and backward passes run once, in float64, and stay in the memory of the device as what products take; the derivatives of
the loss, a few numbers per sample, come from the functions of the CPU. A product is a handful of launches for all its vectors.
"""

from functools import cached_property

import numpy as np

from .. import _backend
from .._hessian._hessian import Hessian, HessianBlock, _layer_list, _layers
from ..errors import ArgumentError, ShapeError
from ._operators import DeviceOperator, on_this_device

_ROOM = 1 << 30  # bytes of workspace for a product, where more than one vector is to share it
_TOGETHER = 65535  # vectors that share launches: the most that a grid has in y
_FORWARD = 1 << 28  # bytes of activities at a time, where only outputs are wanted


class _OnDevice:
    """Products with CuPy arrays, for a HessianBlock; its `_core` is a `_Products`."""

    def _apply(self, vectors, transposed=False):
        rows, columns = (self._column_mask, self._row_mask) if transposed else (self._row_mask, self._column_mask)
        return self._core.apply(vectors, rows, columns, self.shape[0 if not transposed else 1])

    def _taken(self, x, name, length):
        """`x` as (vectors, length), contiguous, of the operator's dtype."""
        x = on_this_device(x, self._core.device, name)
        if x.dtype.kind == "c":
            raise ArgumentError(f"{name} has dtype {x.dtype}; a Hessian takes real ones")
        if x.ndim not in (1, 2) or x.shape[0] != length:
            raise ShapeError(f"{name} has shape {x.shape}; expected ({length},) or ({length}, columns)")
        cupy = _backend.cupy_module()
        with _backend.on_device(self._core.device):
            return cupy.ascontiguousarray((x[:, None] if x.ndim == 1 else x).T.astype(self.dtype, copy=False))

    def _product(self, x, transposed):
        length = self.shape[0 if transposed else 1]
        out = self._apply(self._taken(x, "x", length), transposed)
        return out[0] if x.ndim == 1 else out.T

    def _operator(self):
        core, mask = self._core, self._row_mask

        def product(X, out):
            core.apply_to(X, out, mask, mask)

        return DeviceOperator(
            self.shape[0],
            self.dtype,
            core.device,
            product,
            bind=lambda vectors: core.native(mask, vectors),
            cost=core.cost,
            keep=self,
        )

    def matvec(self, x):
        """The product with a CuPy vector, shape (columns,) or (columns, 1)."""
        return self._product(x, False)

    def matmat(self, X):
        """The products with the columns of a CuPy array, shape (columns, k), at once."""
        return self._product(X, False)

    def rmatvec(self, x):
        return self._product(x, True)

    def rmatmat(self, X):
        return self._product(X, True)

    def dot(self, x):
        array = hasattr(x, "__cuda_array_interface__") or isinstance(x, np.ndarray)
        return self.matmat(x) if array else self.device_operator() @ x

    def __matmul__(self, x):
        return self.dot(x)

    # scipy's sums, multiples and products of operators take numpy vectors; those of a Hessian here are what Lanczos takes.
    def __add__(self, other):
        return self.device_operator() + other

    def __sub__(self, other):
        return self.device_operator() - other

    def __mul__(self, x):
        return self.device_operator() * x if np.isscalar(x) else self.dot(x)

    def __rmul__(self, factor):
        return self.device_operator() * factor

    def __neg__(self):
        return -self.device_operator()

    def __rsub__(self, other):
        return other - self.device_operator()

    def __pow__(self, power):
        raise ArgumentError("a Hessian on a device has no powers: call H @ H")

    __radd__ = __add__
    __array_ufunc__ = None  # numpy's numbers on the left leave the operation to __rmul__ and its like

    def _columns_at(self, columns):
        """H[:, columns] as rows."""
        cupy = _backend.cupy_module()
        units = cupy.zeros((len(columns), self.shape[1]), self.dtype)
        units[cupy.arange(len(columns)), cupy.asarray(columns)] = 1
        return self._apply(units)

    def dense(self):
        """The block as a CuPy array. Cost: one product per column."""
        with _backend.on_device(self._core.device):
            out = _backend.empty(self.shape, self.dtype)
            for start in range(0, self.shape[1], 256):
                columns = np.arange(start, min(start + 256, self.shape[1]))
                out[:, start : start + 256] = self._columns_at(columns).T
        return out


class DeviceBlock(_OnDevice, HessianBlock):
    def device_operator(self):
        if self.rows != self.columns:
            raise ArgumentError(f"the block of layers {self.rows} and {self.columns} is not symmetric: on a device it has products with vectors alone")
        return self._operator()

    def _adjoint(self):
        return DeviceBlock(self._core, self.dtype, self._ranges, self.columns, self.rows, self._threads)

    _transpose = _adjoint


class DeviceHessian(_OnDevice, Hessian):
    """A Hessian whose vectors are CuPy arrays. `theta` and `gradient` are, too; a loss of the user's gets numpy arrays."""

    # --- what the constructor of Hessian asks for
    def _accept(self, net, X, dtype, device):
        index = self._index = _backend.require_cuda(_backend.place(device, X=X))
        X = _backend.asarray(X, device=f"cuda:{index}", name="X")
        if X.dtype not in (np.float32, np.float64):
            raise ArgumentError(f"X has dtype {X.dtype}; expected float32 or float64: call X.astype(np.float64)")
        if X.ndim != 2 or X.shape[1] != net.dim_in or not len(X):
            raise ShapeError(f"X has shape {X.shape}; expected (samples, {net.dim_in}), one sample or more")
        dtype = X.dtype if dtype is None else np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise ArgumentError(f"dtype is {dtype}; expected float32 or float64")
        cupy = _backend.cupy_module()
        with _backend.on_device(index):
            finite = cupy.isfinite(X).all(axis=1)
            if not bool(finite.all()):
                raise ArgumentError(f"X is not finite in sample {int(cupy.argmin(finite))}")
            X = cupy.ascontiguousarray(X, dtype=np.float64)
        self._net = _Net(net, self._parameters, index)
        return X, np.dtype(dtype).newbyteorder("=")

    def _host(self, a, name):
        """Targets, weights and the like: small, and wanted on the CPU."""
        there = _backend.lives_on_device(a)
        return _backend.asarray(a, device=f"cuda:{self._index}", name=name).get() if there else a

    def _outputs(self, X, threads):
        return self._net.outputs(X)

    def _core_of(self, X, active, top, second, gauss_newton, decay, dtype, threads):
        cupy = _backend.cupy_module()
        with _backend.on_device(self._index):
            used = X if len(active) == len(X) else X[cupy.asarray(active)]
            return _Products(
                self._net, used, None if gauss_newton else top.first, second, top.sign, gauss_newton, decay, dtype
            )

    def _gradient_of(self, used, threads):
        cupy = _backend.cupy_module()
        with _backend.on_device(self._index):
            return self._net.gradient(self._X[cupy.asarray(used)], self._first[used])

    # --- results
    def _select(self, vector):
        cupy = _backend.cupy_module()
        with _backend.on_device(self._index):
            vector = cupy.asarray(vector)
            return cupy.concatenate(
                [vector[start:stop] for start, stop in (self._ranges[layer] for layer in self.layers)]
            )

    @cached_property
    def gradient(self):
        cupy = _backend.cupy_module()
        with _backend.on_device(self._index):
            gradient = self._gradient_of(np.nonzero(self._first.any(1))[0], self._threads)
            return self._select(gradient + self.weight_decay * cupy.asarray(self._parameters))

    @property
    def native(self):
        raise AttributeError("a Hessian on a device has no operator of the CPU's kernels")

    def device_operator(self):
        """For `nnqft.lanczos`: whole runs without Python between their steps."""
        return self._operator()

    def dense(self):
        """The matrix as a CuPy array, shape (parameters, parameters), symmetric to the bit. Cost: one product per parameter."""
        dense = super().dense()
        with _backend.on_device(self._index):
            return dense / 2 + dense.T / 2

    def blocks(self, rows, columns):
        """The block H[rows, columns] between layers, as an operator on CuPy arrays with `.dense()`."""
        depth = len(self._ranges)
        return DeviceBlock(
            self._core, self.dtype, self._ranges, _layer_list(rows, depth), _layer_list(columns, depth), self._threads
        )

    def entries(self, rows, columns, *, per_sample=False):
        """Chosen entries H[rows[m], columns[m]] as a CuPy array, shape (n,), float64. Cost: a product for each different column."""
        if per_sample:
            raise ArgumentError('per_sample=True is not computed on a device: make the Hessian with device="cpu"')
        rows, columns = (self._indices(self._host(a, name), name) for a, name in ((rows, "rows"), (columns, "columns")))
        if rows.shape != columns.shape:
            raise ShapeError(f"rows has {len(rows)} entries, columns {len(columns)}; expected as many")
        different, which = np.unique(columns, return_inverse=True)
        cupy = _backend.cupy_module()
        with _backend.on_device(self._index):
            out = cupy.empty(len(rows), np.float64)
            for start in range(0, len(different), 256):
                chosen = np.nonzero((start <= which) & (which < start + 256))[0]
                made = self._columns_at(different[start : start + 256])
                out[cupy.asarray(chosen)] = made[
                    cupy.asarray(which[chosen] - start), cupy.asarray(rows[chosen])
                ].astype(np.float64)
        return out

    def __repr__(self):
        return super().__repr__()[:-1] + f", cuda:{self._index})"


class _Net:
    """A net on a device: its structure, float64 parameters, and passes."""

    def __init__(self, net, parameters, device):
        cupy, cuda = _backend.cupy_module(), _backend.cuda_module()
        if len(net.input_shape) > 1:
            raise ArgumentError(f"{net} has convolutions, which a device does not know: take device='cpu'")
        layers = [layer[:-1] for layer in _layers(net)]
        self.device, self.dim_out = device, net.dim_out
        self.structure = cuda.DeviceNet(layers)
        self.multiprocessors = cuda.device_properties(device)["multiprocessors"]
        amplitudes = [a for layer in layers for a in layer[5]]
        with _backend.on_device(device):
            self.theta = cupy.asarray(parameters)
            self.amplitudes = cupy.asarray(np.array(amplitudes, np.float64)) if amplitudes else None

    def outputs(self, X):
        """f(x_i) as a numpy array: the loss is evaluated on the CPU."""
        samples = max(1, min(len(X), _FORWARD // (8 * self.structure.rows)))
        return np.concatenate(
            [self._forward(X[first : first + samples])[1].get() for first in range(0, len(X), samples)]
        )

    def activities(self, X, first, extra=0):
        """All that forward and, with the derivatives `first` of the loss, backward passes leave: a flat float64 array."""
        cupy, count = _backend.cupy_module(), len(X)
        cache, _ = self._forward(X, extra)
        with _backend.on_device(self.device) as stream:
            delta = self.structure.places[-1][3]
            place = cache[delta * count : (delta + self.dim_out) * count]
            if first is None:
                place.fill(0.0)
            else:
                place[...] = cupy.asarray(first).ravel()
                room = _backend.empty((self.structure.backward_workspace_size(count),), np.float64)
                self.structure.backward(
                    self.device, count, self.theta.data.ptr, cache.data.ptr, room.data.ptr, self.multiprocessors, stream
                )
        return cache

    def fold(self, cache, count, sums):
        """Completes the activities of a net that folds (cuda/nets/fold.hpp); its sums over samples if asked for, else None."""
        size = self.structure.folded_size
        if not size:
            return None
        with _backend.on_device(self.device) as stream:
            constant = _backend.cupy_module().zeros(size, np.float64) if sums else None
            if count:
                room = _backend.empty((self.structure.fold_workspace_size(count),), np.float64)
                self.structure.fold(
                    self.device,
                    count,
                    self.theta.data.ptr,
                    cache.data.ptr,
                    constant.data.ptr if sums else 0,
                    room.data.ptr,
                    self.multiprocessors,
                    stream,
                )
        return constant

    def gradient(self, X, first):
        count = len(X)
        with _backend.on_device(self.device) as stream:
            out = _backend.cupy_module().zeros(self.theta.size, np.float64)
            if count:
                cache = self.activities(X, first)
                room = _backend.empty((self.structure.gradient_workspace_size(count),), np.float64)
                self.structure.gradient(
                    self.device, count, cache.data.ptr, out.data.ptr, room.data.ptr, self.multiprocessors, stream
                )
        return out

    def _forward(self, X, extra=0):
        count = len(X)
        self.structure.check(count)
        with _backend.on_device(self.device) as stream:
            cache = _backend.empty(((self.structure.rows + extra) * count,), np.float64)
            cache[: X.size] = X.ravel()  # the inputs lie first
            out, room = _backend.empty((count, self.dim_out), np.float64), _backend.empty((count,), np.float64)
            amplitudes = 0 if self.amplitudes is None else self.amplitudes.data.ptr
            self.structure.forward(
                self.device,
                count,
                self.theta.data.ptr,
                amplitudes,
                cache.data.ptr,
                out.data.ptr,
                room.data.ptr,
                self.multiprocessors,
                stream,
            )
        return cache, out


class _Products:
    """Products with one Hessian, for any of its blocks: the activities of the samples that take part."""

    def __init__(self, net, X, first, second, sign, gauss_newton, decay, dtype):
        cupy, cuda = _backend.cupy_module(), _backend.cuda_module()
        self.device, self.dtype, count = net.device, np.dtype(dtype), len(X)
        self.cost = 6.0 * count * net.theta.size
        parts = [a for a in second if a is not None]
        with _backend.on_device(net.device) as stream:
            cache = _backend.empty((0,), np.float64)
            if count:
                cache = net.activities(X, first, sum(a[0].size for a in parts))
                at = net.structure.rows * count
                for a in parts:
                    cache[at : at + a.size] = cupy.asarray(a).ravel()
                    at += a.size
            theta, constant = net.theta, net.fold(cache, count, sums=not gauss_newton)
            if self.dtype == np.float32:
                cache, theta, constant = (a if a is None else self._narrow(a, stream) for a in (cache, theta, constant))
            kind = cuda.DeviceHessian32 if self.dtype == np.float32 else cuda.DeviceHessian64
            diagonal, rank_one, matrix = (a is not None for a in second)
            self._keep = cache, theta, constant, net
            self._hessian = kind(
                net.structure,
                count,
                diagonal,
                rank_one,
                sign,
                matrix,
                gauss_newton,
                decay,
                theta.data.ptr,
                cache.data.ptr,
                0 if constant is None else constant.data.ptr,
                net.multiprocessors,
            )

    def _narrow(self, a, stream):
        out = _backend.empty(a.shape, np.float32)
        _backend.cuda_module().narrow(self.device, a.size, a.data.ptr, out.data.ptr, stream)
        return out

    def _room(self, vectors, mask):
        """How many of `vectors` go together, and the workspace for that."""
        one = max(1, self._hessian.workspace_size(1, mask) * self.dtype.itemsize)
        together = max(1, min(vectors, _TOGETHER, _ROOM // one))
        return together, _backend.empty((max(1, self._hessian.workspace_size(together, mask)),), self.dtype)

    def apply_to(self, X, out, rows, columns):
        with _backend.on_device(self.device) as stream:
            together, room = self._room(len(X), rows)
            self._hessian.apply(
                self.device, X.data.ptr, out.data.ptr, len(X), rows, columns, together, room.data.ptr, stream
            )

    def apply(self, X, rows, columns, length):
        with _backend.on_device(self.device):
            out = _backend.empty((len(X), length), self.dtype)
        if out.size:
            self.apply_to(X, out, rows, columns)
        return out

    def native(self, mask, vectors):
        """What a run multiplies by, and the memory that it needs."""
        with _backend.on_device(self.device):
            together, room = self._room(vectors, mask)
        return self._hessian.native(mask, together, room.data.ptr), (room, self)
