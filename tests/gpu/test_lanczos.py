"""Lanczos on a device: the driver and its operators against the CPU's, to the rounding of sums."""

import importlib

import nnqft
import numpy as np
import pytest
import scipy.sparse
from nnqft.errors import ArgumentError, ShapeError, StateError
from nnqft.hessian import Hessian
from nnqft.lanczos import LanczosState, as_operator, eigsh, kpm, lanczos, slq, trace

pytestmark = pytest.mark.gpu

EPS = np.finfo(np.float64).eps


def symmetric(n, dtype=np.float64):
    A = np.random.default_rng(n).standard_normal((n, n))
    return ((A + A.T) / np.sqrt(2 * n)).astype(dtype)  # eigenvalues within +-2


def laplacian(n):
    return scipy.sparse.diags_array([np.full(n, 2.0), -np.ones(n - 1), -np.ones(n - 1)], offsets=[0, 1, -1]).tocsr()


@pytest.fixture
def csr(cupy):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    return lambda A: sparse.csr_matrix((cupy.asarray(A.data), cupy.asarray(A.indices), cupy.asarray(A.indptr)), A.shape)


def close(got, want, bound):
    assert isinstance(got.alpha, np.ndarray)
    assert np.array_equal(got.steps, want.steps) and np.array_equal(got.breakdown, want.breakdown)
    np.testing.assert_allclose(got.alpha, want.alpha, rtol=0, atol=bound)
    np.testing.assert_allclose(got.beta, want.beta, rtol=0, atol=bound)
    np.testing.assert_allclose(got.norm2, want.norm2, rtol=1e-13)


@pytest.mark.parametrize("reorth", ["full", "none", "partial"])
@pytest.mark.parametrize("distribution", ["rademacher", "gaussian", "sphere"])
def test_t_of_a_dense_matrix_is_that_of_the_cpu(cupy, reorth, distribution):
    A = symmetric(150)
    for probes in (1, 3):
        options = {"probes": probes, "seed": 5, "reorth": reorth, "distribution": distribution}
        # Errors of T grow no faster than the conditioning of its last columns: 12 steps of 150 leave it small.
        close(lanczos(cupy.asarray(A), 12, **options), lanczos(A, 12, **options), 200 * EPS)


@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_t_of_a_sparse_matrix_is_that_of_the_cpu(csr, index):
    A = laplacian(2500)
    A.indices, A.indptr = A.indices.astype(index), A.indptr.astype(index)
    close(lanczos(csr(A), 20, probes=5, seed=2), lanczos(A, 20, probes=5, seed=2), 400 * EPS)


def test_a_sparse_matrix_takes_more_vectors_than_a_grid_has_rows(cupy, csr):
    X = np.arange(2.0 * 4 * 65537).reshape(2, -1)
    np.testing.assert_array_equal((as_operator(csr(laplacian(2))) @ cupy.asarray(X)).get(), laplacian(2) @ X)


def test_float32_vectors_have_float64_coefficients(cupy):
    A = symmetric(200, np.float32)
    got, want = lanczos(cupy.asarray(A), 10, probes=2), lanczos(A, 10, probes=2)
    assert got.alpha.dtype == np.float64
    close(got, want, 200 * np.finfo(np.float32).eps)
    with pytest.raises(ArgumentError, match="convert the matrix"):
        lanczos(cupy.asarray(A), 3, dtype=np.float64)


def test_callables_objects_and_foreign_arrays_are_operators(cupy):
    A = symmetric(60)
    there = cupy.asarray(A)
    want = lanczos(there, 8, probes=2)

    class Object:
        shape, dtype = (60, 60), np.float64

        def matvec(self, x):
            assert isinstance(x, cupy.ndarray)
            return there @ x

        def matmat(self, X):
            return there @ X

    class Tensor:
        __cuda_array_interface__ = there.__cuda_array_interface__
        __dlpack__, __dlpack_device__ = there.__dlpack__, there.__dlpack_device__

    operators = [as_operator(lambda x: there @ x, n=60, device="cuda"), as_operator(Object(), device="cuda"), Tensor()]
    for op in operators:
        close(lanczos(op, 8, probes=2), want, 100 * EPS)
    close(lanczos(2 * as_operator(there) - 1.0, 8, probes=2), lanczos(2 * as_operator(A) - 1.0, 8, probes=2), 200 * EPS)
    block = as_operator(there).restrict(slice(10, 50))
    close(lanczos(block, 8), lanczos(as_operator(A).restrict(slice(10, 50)), 8), 100 * EPS)
    x = np.arange(60.0)
    np.testing.assert_allclose((as_operator(there) @ cupy.asarray(x)).get(), A @ x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["sparse", "Hessian", "callable"])  # dense products are cuBLAS's: docs/spectra.md
@pytest.mark.parametrize("reorth", ["full", "none", "partial"])
def test_a_run_repeats_its_bits_and_lockstep_changes_none(cupy, csr, kind, reorth):
    sparse = csr(laplacian(3000))
    net = nnqft.networks.relu_net(9, dim_in=4).draw(0, seed=1)
    A = {
        "sparse": lambda: sparse,
        "Hessian": lambda: Hessian(net, np.random.default_rng(0).standard_normal((50, 4)), np.ones(50), loss="logistic", device="cuda"),
        "callable": lambda: as_operator(lambda x: sparse @ x, n=3000, device="cuda"),
    }[kind]()
    first, again, alone = (lanczos(A, 15, probes=probes, seed=4, reorth=reorth) for probes in (3, 3, 1))
    assert np.array_equal(first.alpha, again.alpha) and np.array_equal(first.beta, again.beta)
    assert np.array_equal(first.alpha[:1], alone.alpha) and np.array_equal(first.beta[:1], alone.beta)


def test_scaling_by_a_power_of_two_changes_exponents_alone(csr):
    A = laplacian(400)
    one, small = lanczos(csr(A), 12, probes=2), lanczos(csr(A * 2.0**-300), 12, probes=2)
    assert np.array_equal(one.alpha, small.alpha * 2.0**300) and np.array_equal(one.beta, small.beta * 2.0**300)


def test_the_basis_is_orthonormal_and_turns_the_matrix_into_t(cupy):
    A = symmetric(120)
    run = lanczos(cupy.asarray(A), 30, probes=2, basis=True)
    assert isinstance(run.basis, cupy.ndarray) and run.basis.shape == (2, 30, 120)
    for c, Q in enumerate(run.basis.get()):
        np.testing.assert_allclose(Q @ Q.T, np.eye(30), atol=1e-13)
        T = np.diag(run.alpha[c]) + np.diag(run.beta[c, :-1], 1) + np.diag(run.beta[c, :-1], -1)
        np.testing.assert_allclose(Q @ A @ Q.T, T, atol=1e-13)
        residual = run.residual[c].get()
        np.testing.assert_allclose(
            A @ Q[-1] - run.alpha[c, -1] * Q[-1] - run.beta[c, -2] * Q[-2], run.beta[c, -1] * residual, atol=1e-13
        )


@pytest.mark.parametrize("reorth", ["full", "none", "partial"])
def test_a_resumed_run_has_the_bits_of_an_uninterrupted_one(csr, reorth):
    A, state = csr(laplacian(3000)), LanczosState()
    lanczos(A, 7, probes=2, seed=3, reorth=reorth, state=state)
    lanczos(A, 7, probes=5, seed=3, reorth=reorth, state=state)
    got, want = lanczos(A, 40, seed=3, reorth=reorth, state=state), lanczos(A, 40, probes=5, seed=3, reorth=reorth)
    assert (
        np.array_equal(got.alpha, want.alpha)
        and np.array_equal(got.beta, want.beta)
        and np.array_equal(state.steps, np.full(5, 40))
    )


def test_breakdowns_end_a_run_and_later_steps_are_not_recorded(cupy):
    A = cupy.asarray(np.diag([1.0, 1.0, 4.0, 4.0, 4.0]))
    run = lanczos(A, 5, probes=2, seed=1)
    nodes, weights = run.eigen()
    assert run.breakdown.all() and np.array_equal(run.steps, [2, 2])
    np.testing.assert_allclose(nodes[:, :2], [[1, 4]] * 2, rtol=1e-14)
    np.testing.assert_allclose(weights[:, :2], [[0.4, 0.6]] * 2, rtol=1e-14)
    zero = lanczos(cupy.zeros((4, 4)), 3)
    assert zero.breakdown.all() and zero.steps[0] == 1 and zero.alpha[0, 0] == 0.0 and not zero.residual.get().any()


def test_a_callback_sees_every_step_and_may_stop(cupy):
    seen = []

    def callback(step, alpha, beta):
        seen.append((step, alpha.shape))
        return step == 4

    run = lanczos(cupy.asarray(symmetric(50)), 9, probes=2, callback=callback)
    assert seen == [(j, (2, j)) for j in (1, 2, 3, 4)] and np.array_equal(run.steps, [4, 4])


def test_a_nan_of_the_operator_keeps_the_steps_before_it(cupy):
    A = cupy.asarray(symmetric(80))
    calls = []

    def product(x):
        calls.append(1)
        return A @ x * (np.nan if len(calls) == 6 else 1.0)

    state, op = LanczosState(), as_operator(product, n=80, device="cuda")
    with pytest.raises(ArgumentError, match=r"step 2 \(probe 1\)"):
        lanczos(op, 10, probes=2, state=state, check_symmetric=False)
    assert np.array_equal(state.steps, [2, 2])
    got, want = lanczos(op, 10, state=state), lanczos(as_operator(lambda x: A @ x, n=80, device="cuda"), 10, probes=2)
    assert np.array_equal(got.alpha, want.alpha)


def test_an_error_in_a_callable_passes_and_keeps_the_steps_before_it(cupy):
    A, calls, state = cupy.asarray(symmetric(40)), [], LanczosState()

    def product(x):
        calls.append(1)
        if len(calls) == 4:
            raise KeyError("mine")
        return A @ x

    op = as_operator(product, n=40, device="cuda")
    with pytest.raises(KeyError, match="mine"):
        lanczos(op, 10, state=state, check_symmetric=False)
    assert np.array_equal(state.steps, [3])
    assert np.array_equal(lanczos(op, 10, state=state).steps, [10])


def test_start_vectors_are_taken_on_the_device_and_checked(cupy):
    A = symmetric(30)
    v = np.random.default_rng(1).standard_normal((2, 30))
    close(lanczos(cupy.asarray(A), 6, v0=cupy.asarray(v)), lanczos(A, 6, v0=v), 100 * EPS)
    close(lanczos(cupy.asarray(A), 6, v0=cupy.asarray(1e-250 * v[0])), lanczos(A, 6, v0=1e-250 * v[0]), 100 * EPS)
    for bad, match in (
        (np.zeros(30), "start vector 0 is zero"),
        (np.stack([v[0], v[1] * np.inf]), "start vector 1 holds"),
    ):
        with pytest.raises(ArgumentError, match=match):
            lanczos(cupy.asarray(A), 6, v0=cupy.asarray(bad))
    with pytest.raises(ArgumentError, match=r"pass cupy.asarray\(v0\)"):
        lanczos(cupy.asarray(A), 6, v0=v)
    with pytest.raises(ShapeError, match="float32"):
        lanczos(cupy.asarray(A), 6, v0=cupy.asarray(v.astype(np.float32)))


def test_what_is_no_symmetric_operator_on_the_device_is_refused(cupy, csr):
    A = symmetric(20)
    skewed = A.copy()
    skewed[0, 1] += 1.0
    for op in (
        cupy.asarray(skewed),
        csr(scipy.sparse.csr_array(skewed)),
        as_operator(lambda x: cupy.asarray(skewed) @ x, n=20, device="cuda"),
    ):
        with pytest.raises(ArgumentError, match="not symmetric"):
            lanczos(op, 3)
    with pytest.raises(ShapeError, match="square"):
        lanczos(cupy.asarray(A[:5]), 3)
    with pytest.raises(ShapeError, match="float64 or float32"):
        lanczos(cupy.asarray(A.astype(np.int64)), 3)
    with pytest.raises(ArgumentError, match="needs its size"):
        as_operator(lambda x: x, device="cuda")
    with pytest.raises(ArgumentError, match="CuPy arrays"):
        as_operator(A, device="cuda")
    with pytest.raises(ShapeError, match="the callable returned shape"):
        lanczos(as_operator(lambda x: x[:3], n=20, device="cuda"), 3)
    with pytest.raises(ArgumentError, match="numpy.ndarray"):
        lanczos(as_operator(lambda x: x.get(), n=20, device="cuda"), 3)
    with pytest.raises(ArgumentError, match=r"pass cupy.asarray\(x\)"):
        as_operator(cupy.asarray(A)).matvec(np.ones(20))
    with pytest.raises(ArgumentError, match=r"takes a cupy.* or an operator; x is a numpy.ndarray"):
        as_operator(cupy.asarray(A)) @ A
    for composite in (2 * as_operator(cupy.asarray(skewed)), as_operator(cupy.asarray(A)) + as_operator(cupy.asarray(skewed))):
        with pytest.raises(ArgumentError, match="not symmetric"):
            lanczos(composite, 3)
    with pytest.raises(StateError, match="lives on another device"):
        lanczos(cupy.asarray(A), 5, state=lanczos(A, 3).state)


def test_progress_is_told_and_later_probes_follow_the_law_of_the_state(cupy):
    A, seen = cupy.asarray(symmetric(60)), []
    run = lanczos(A, 8, probes=2, seed=3, distribution="gaussian", progress=lambda done, total: seen.append((done, total)))
    assert seen == [(step, 8) for step in range(1, 9)]
    more, whole = lanczos(A, 8, probes=4, state=run.state), lanczos(A, 8, probes=4, seed=3, distribution="gaussian")
    for name in ("alpha", "beta", "norm2"):
        np.testing.assert_array_equal(getattr(more, name), getattr(whole, name))
    square = cupy.asarray(symmetric(60)[::-1].copy())
    np.testing.assert_allclose((as_operator(A) @ square).get(), symmetric(60) @ symmetric(60)[::-1], rtol=0, atol=1e-13)


def test_sparse_matrices_with_indices_out_of_range_are_refused(csr, cupy):
    A = laplacian(10)
    bad = csr(A)
    bad.indices = cupy.asarray(np.where(A.indices == 3, 99, A.indices))
    with pytest.raises(ArgumentError, match="indices reach"):
        lanczos(bad, 2)
    bad = csr(A)
    bad.indptr = cupy.asarray(A.indptr[::-1].copy())
    with pytest.raises(ArgumentError, match="indptr"):
        lanczos(bad, 2)


@pytest.mark.parametrize("function", [eigsh, kpm, trace])
def test_what_runs_on_the_cpu_only_says_so(cupy, function):
    with pytest.raises(ArgumentError, match=rf"{function.__name__}\(\) runs on the CPU only, the operator lives on cuda:0"):
        function(cupy.asarray(symmetric(40)))


def test_operators_of_two_places_do_not_add_up(cupy):
    A = symmetric(10)
    here, there = as_operator(A), as_operator(cupy.asarray(A))
    for one, other in ((here, there), (there, here)):
        with pytest.raises(ArgumentError, match=r"lives .*on cuda:0.*: expected the same|on cuda:0, the other in main memory"):
            one + other


def test_a_state_in_use_is_refused(cupy):
    A, state = cupy.asarray(symmetric(20)), LanczosState()

    def product(x):
        with pytest.raises(StateError, match="already"):
            lanczos(A, 3, state=state)
        return A @ x

    lanczos(A, 1, state=state)
    assert np.array_equal(lanczos(as_operator(product, n=20, device="cuda"), 3, state=state).steps, [3])


def test_too_many_vectors_for_the_memory_are_an_error(cupy):
    op = as_operator(lambda x: x, n=10**9, device="cuda")
    with pytest.raises(ArgumentError, match="GB are free"):
        lanczos(op, 1000, probes=100, check_symmetric=False)


def test_runs_on_two_streams_do_not_disturb_each_other(cupy, csr):
    A = csr(laplacian(3000))
    want = lanczos(A, 20, probes=2, seed=1).alpha
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    states = [LanczosState(), LanczosState()]
    for steps in (6, 20):
        for stream, state in zip(streams, states, strict=True):
            with stream:
                run = lanczos(A, steps, probes=2, seed=1, state=state)
    assert np.array_equal(run.alpha, want) and np.array_equal(states[0]._core.alpha, want)


def test_vectors_of_more_than_2_to_the_31_elements_are_counted_right(cupy):
    n = 2**31 + 5  # 26 GB of vectors, and as much again for the callable's
    if cupy.cuda.Device().mem_info[0] < 64e9:
        pytest.skip("needs 64 GB of free memory on the device")

    def product(x):
        x[-1] *= 3
        return x

    run = lanczos(as_operator(product, n=n, dtype=np.float32, device="cuda"), 1, reorth="none", check_symmetric=False)
    # A = 1 + 2 e e^T, e the last unit vector, and all elements of q are +- n^-1/2.
    assert run.alpha[0, 0] == pytest.approx(1.0, abs=1e-6) and run.beta[0, 0] == pytest.approx(2 / np.sqrt(n), rel=1e-3)


def test_spectral_densities_agree_with_those_of_the_cpu(csr):
    A = laplacian(1000)
    got, want = slq(csr(A), 20, probes=4, seed=7), slq(A, 20, probes=4, seed=7)
    np.testing.assert_allclose(got.nodes, want.nodes, atol=1e-13)
    np.testing.assert_allclose(got.weights, want.weights, atol=1e-12)
