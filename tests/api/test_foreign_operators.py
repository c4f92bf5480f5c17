"""Operators and arrays of other libraries: what they bring is enough, or the error says what is missing."""

import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError, ShapeError
from nnqft.lanczos import as_operator, eigsh, lanczos, trace

A = np.diag(np.arange(1.0, 21.0)) + 0.1
X = np.random.default_rng(0).normal(size=(20, 3))


class Product:
    """Has `@` and `shape`, and no more."""

    shape = A.shape

    def __matmul__(self, x):
        return A @ x


class Wrapped:
    """Takes arrays of its own kind alone, and gives itself to scipy."""

    shape, dtype = A.shape, "library.float32"

    def __matmul__(self, x):
        raise TypeError("x is not of this library")

    def to_scipy(self):
        return sp.linalg.aslinearoperator(A)


@pytest.mark.parametrize("kind", [Product, Wrapped])
def test_a_product_or_a_way_to_scipy_makes_an_operator(kind):
    op = as_operator(kind())
    assert op.dtype == (np.float32 if kind is Wrapped else np.float64)
    np.testing.assert_allclose(op.matmat(X.astype(op.dtype)), A @ X, rtol=1e-5 if kind is Wrapped else 1e-14, atol=1e-5)
    np.testing.assert_allclose(eigsh(kind(), 2)[0], np.linalg.eigvalsh(A)[-2:], rtol=1e-5)
    np.testing.assert_allclose(trace(kind()).mean, np.trace(A), rtol=1e-6)
    np.testing.assert_array_equal(lanczos(Product(), 5, probes=3).alpha, lanczos(sp.linalg.aslinearoperator(A), 5, probes=3).alpha)


def test_hessians_of_curvlinops_are_operators():
    torch, curvlinops = pytest.importorskip("torch"), pytest.importorskip("curvlinops")
    torch.manual_seed(0)
    for dtype, rtol in ((torch.float64, 1e-10), (torch.float32, 1e-4)):
        model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.Tanh(), torch.nn.Linear(6, 1)).to(dtype)
        data = [(torch.randn(30, 4, dtype=dtype), torch.randn(30, 1, dtype=dtype))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs
            parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
            try:
                H = curvlinops.HessianLinearOperator(model, torch.nn.MSELoss(), parameters, data)
            except (TypeError, AttributeError):  # older releases take a list
                H = curvlinops.HessianLinearOperator(model, torch.nn.MSELoss(), list(parameters.values()), data)
            dense = (H @ torch.eye(37, dtype=dtype)).detach().numpy().astype(np.float64)
            assert as_operator(H).dtype == (np.float64 if dtype == torch.float64 else np.float32)
            np.testing.assert_allclose(eigsh(H, 3)[0], np.sort(sorted(np.linalg.eigvalsh(dense), key=abs)[-3:]), rtol=rtol)


def test_operators_of_pylops_are_operators():
    pylops = pytest.importorskip("pylops")
    np.testing.assert_allclose(lanczos(pylops.MatrixMult(A), 20).eigen()[0][0], np.linalg.eigvalsh(A), rtol=1e-12)


def test_torch_tensors_in_main_memory_are_read_where_they_lie():
    torch = pytest.importorskip("torch")
    for dtype in (torch.float64, torch.float32):
        tensor = torch.tensor(A, dtype=dtype, requires_grad=True)
        np.testing.assert_array_equal(lanczos(tensor, 8, probes=2).alpha, lanczos(tensor.detach().numpy(), 8, probes=2).alpha)
    tensor = torch.tensor(A)
    op = as_operator(tensor)
    tensor *= 2
    np.testing.assert_allclose(op.matmat(X), 2 * A @ X, rtol=1e-14)  # not copied
    with pytest.raises(ArgumentError, match="not symmetric"):
        lanczos(torch.tensor(np.triu(A)), 3)
    with pytest.raises(ShapeError, match="float16"):
        lanczos(tensor.half(), 3)


def test_jax_arrays_in_main_memory_are_read():
    jax = pytest.importorskip("jax")
    single = A.astype(np.float32)
    with jax.default_device(jax.devices("cpu")[0]):
        np.testing.assert_array_equal(lanczos(jax.numpy.asarray(single), 8).alpha, lanczos(single, 8).alpha)


def test_tensors_without_memory_or_strides_are_errors_of_the_library():
    torch = pytest.importorskip("torch")
    for tensor in (torch.empty((20, 20), device="meta", dtype=torch.float64), torch.tensor(A).to_sparse(), torch.tensor(A).to(torch.bfloat16)):
        with pytest.raises(ArgumentError, match="main memory"):
            lanczos(tensor, 3)


def test_an_array_behind_an_operator_is_vectors_whatever_its_shape():
    op, square = as_operator(A), np.random.default_rng(1).normal(size=(20, 20))
    for x in (square, square[:, :3], square[0], square[:, :1], square[:, :0]):
        assert type(op @ x) is np.ndarray
        np.testing.assert_allclose(op @ x, A @ x, rtol=0, atol=1e-12)
    np.testing.assert_allclose((op @ as_operator(A)).matmat(square), A @ A @ square, rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose((op @ sp.csr_array(A)).matmat(square), A @ A @ square, rtol=1e-12, atol=1e-9)
    with pytest.raises(ShapeError, match="expected"):
        op @ square[:3]


def test_what_is_no_array_behind_an_operator_is_named():
    with pytest.raises(ArgumentError, match=r"takes a numpy.ndarray or an operator; x is a builtins.list"):
        as_operator(A) @ [1.0] * 20
    torch = pytest.importorskip("torch")
    with pytest.raises(ArgumentError, match=r"takes a numpy.ndarray or an operator; x is a torch.Tensor"):
        as_operator(A) @ torch.ones(20, dtype=torch.float64)
