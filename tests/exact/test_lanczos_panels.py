"""Sparse rows that repeat, panels of vectors made orthogonal together, restarts, and vectors at the ends of the exponent range."""

import numpy as np
import pytest
import scipy.sparse as sp
from nnqft import _core
from nnqft.lanczos import LanczosState, as_operator, lanczos

EPS = np.finfo(float).eps


def symmetric(n, seed=0):
    M = np.random.default_rng(seed).standard_normal((n, n))
    return M + M.T


def patchwork(n):
    """Runs of equal rows of many lengths, between them rows of their own: empty, short, and with more than 32 entries."""
    rng = np.random.default_rng(1)
    A = sp.lil_array((n, n))
    for offset, value in ((0, 2.0), (1, -1.0), (7, 0.5)):
        for i in range(n - offset):
            A[i, i + offset] = A[i + offset, i] = value
    for i in rng.choice(n, n // 40, replace=False):
        A[i, i] = rng.normal()
    for i in (n // 5, n // 5 + 1, n - 1):
        for j in rng.choice(n, min(n, 45), replace=False):
            A[i, j] = A[j, i] = rng.normal()
    for i in (0, n // 2):
        A[i, :] = 0
        A[:, i] = 0
    A = A.tocsr()
    A.eliminate_zeros()
    return A


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 2, 17, 1023, 3000])
def test_sparse_products_are_those_of_scipy_where_rows_repeat_and_where_not(n, dtype, index):
    A = patchwork(n) if n > 2 else sp.csr_array(np.ones((n, n)))
    A = sp.csr_array((A.data.astype(dtype), A.indices.astype(index), A.indptr.astype(index)), A.shape)
    op, exact = as_operator(A), A.astype(np.float64)
    rng = np.random.default_rng(2)
    for columns in (1, 2, 3, 5, 8, 11):
        X = rng.standard_normal((n, columns)).astype(dtype)
        bound = np.finfo(dtype).eps * 50 * (abs(exact) @ np.abs(X.astype(np.float64)))  # 50 terms at most
        assert (np.abs(op.matmat(X) - exact @ X.astype(np.float64)) <= bound).all()
        for c in range(columns):
            np.testing.assert_array_equal(op.matmat(X)[:, c], op.matvec(np.ascontiguousarray(X[:, c])))


def test_rows_that_repeat_give_the_bits_of_rows_that_do_not():
    n = 5000
    line = sp.diags_array([-np.ones(n - 1), np.full(n, 2.0), -np.ones(n - 1)], offsets=[-1, 0, 1]).tocsr()
    # The same matrix with a zero stored here and there, different in every row: nothing repeats.
    noise = sp.csr_array((np.zeros(2 * n), (np.tile(np.arange(n), 2), np.random.default_rng(0).integers(0, n, 2 * n))), (n, n))
    plain = sp.coo_array(line)
    stored = sp.coo_array(noise)
    rows, columns = np.concatenate([plain.row, stored.row]), np.concatenate([plain.col, stored.col])
    values = np.concatenate([plain.data, stored.data])
    order = np.lexsort((columns, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    start = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.int32)
    irregular = sp.csr_array((values, columns.astype(np.int32), start), (n, n))
    a, b = lanczos(line, 20, probes=3), lanczos(irregular, 20, probes=3, check_symmetric=False)
    assert a.alpha.tobytes() == b.alpha.tobytes() and a.beta.tobytes() == b.beta.tobytes()


@pytest.mark.parametrize("terms", [31, 32, 33])  # long rows, of 32 entries and more, are summed in four parts
def test_long_rows_that_repeat_give_the_bits_of_rows_that_do_not(terms):
    n, rng = 600, np.random.default_rng(terms)
    offsets = [d for d in range(-(terms // 2), terms // 2 + 1) if terms % 2 or d]
    band = sp.diags_array([np.full(n, rng.normal()) for _ in offsets], offsets=offsets, shape=(n, n)).tocsr()
    broken = sp.csr_array(band * np.where(np.arange(n) % 10, 1.0, 2.0)[:, None])  # runs of nine rows: too short to be kept
    assert (np.diff(broken.indptr) == terms).sum() > n // 2
    x = rng.normal(size=n)
    same = np.arange(n) % 10 > 0
    np.testing.assert_array_equal(as_operator(band).matvec(x)[same], as_operator(broken).matvec(x)[same])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [1, 3, 8, 17, 400, 1031])
def test_dense_products_read_the_upper_triangle_and_each_column_for_itself(n, dtype):
    A = symmetric(n).astype(dtype)
    upper = np.triu(A) + np.tril(np.full((n, n), np.nan), -1).astype(dtype)
    op, exact = as_operator(upper), A.astype(np.float64)
    X = np.random.default_rng(3).standard_normal((n, 60)).astype(dtype)
    X64 = X.astype(np.float64)
    for columns in (1, 2, 3, 4, 7, 8, 20, 60):
        Y = op.matmat(X[:, :columns])
        # Sums of n products, in double up to the columns where BLAS takes over.
        bound = np.finfo(dtype).eps * (2 + 0.5 * n) * (abs(exact) @ np.abs(X64[:, :columns]))
        assert (np.abs(Y - exact @ X64[:, :columns]) <= bound).all()
        assert Y.tobytes() == op.native.matmat(np.ascontiguousarray(X[:, :columns]), 7).tobytes()
        if columns <= 20:
            np.testing.assert_array_equal(Y[:, -1], op.matvec(np.ascontiguousarray(X[:, columns - 1])))


SPECTRA = {
    "outliers": lambda n: np.concatenate([np.random.default_rng(9).normal(0, 0.2, n - 5), [5, 8, 10, 20, 50]]),
    "clusters": lambda n: np.repeat([1.0, 2.0, 2.0 + 1e-9, 7.0, -3.0], n // 5) + 1e-4 * np.random.default_rng(3).standard_normal(n),
    "decades": lambda n: 10.0 ** np.linspace(-12, 0, n),
    "even": lambda n: np.linspace(-1, 1, n),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize(("dtype", "bound"), [(np.float64, 4e-15), (np.float32, 2e-6)])
def test_every_prefix_of_a_basis_is_orthonormal_to_rounding(spectrum, dtype, bound):
    # 4e-15: 16 eps; the sums of 1000 products in the test itself round at 2 eps. Runs end within panels and between them.
    values = SPECTRA[spectrum](1000).astype(dtype)
    A = sp.csr_array(sp.diags_array(values))
    state, alpha = LanczosState(), None
    for k in (1, 2, 7, 8, 9, 30, 61, 200):
        run = lanczos(A, k, probes=2, state=state, basis=True)
        for p in range(2):
            steps = run.steps[p]
            rest = run.residual[p : p + 1] if steps == k and not run.breakdown[p] else np.zeros((0, 1000), dtype)
            Q = np.concatenate([run.basis[p][:steps], rest]).astype(np.float64)
            assert np.abs(Q @ Q.T - np.eye(len(Q))).max() < bound
        # Looking at the basis on the way leaves the run what it is.
        whole = lanczos(A, k, probes=2)
        np.testing.assert_array_equal(run.alpha, whole.alpha)
        alpha = run.alpha if alpha is None else alpha
        np.testing.assert_array_equal(run.alpha[:, :1], alpha)
    T = [np.diag(run.alpha[p]) + np.diag(run.beta[p, :-1], 1) + np.diag(run.beta[p, :-1], -1) for p in range(2)]
    for p in range(2):
        steps = run.steps[p]
        Q, wide = run.basis[p][:steps].astype(np.float64), values.astype(np.float64)
        assert np.abs((Q * wide) @ Q.T - T[p][:steps, :steps]).max() < 50 * bound * np.abs(wide).max()


@pytest.mark.parametrize(("dtype", "error", "rest", "bound"), [(np.float64, 1e-6, 1e-6, 8 * EPS), (np.float32, 0.03, 0.01, 1e-6)])
def test_a_vector_that_nearly_all_lay_in_the_basis_is_made_orthogonal_twice(dtype, error, rest, bound):
    # Two eigenvalues: the space closes at the second step, but for an error of the operator along q_0 and, less, outside. One pass leaves
    # eps / rest of q_0 in what is outside.
    n = 60
    first, z = np.random.default_rng(8).standard_normal((2, n)).astype(dtype)
    first /= np.linalg.norm(first)
    values, error_vector = np.where(np.arange(n) < n // 2, 1, 2).astype(dtype), dtype(error) * (first + dtype(rest / np.sqrt(n)) * z)
    op = as_operator(lambda x: values * x + error_vector, n=n, dtype=dtype)
    run = lanczos(op, 4, v0=first, basis=True, check_symmetric=False)
    assert run.steps[0] >= 3
    Q = run.basis[0][:3].astype(np.float64)
    assert abs(Q @ Q.T - np.eye(3)).max() < bound


def test_a_basis_in_one_probe_is_that_of_the_probe_in_company():
    A = np.diag(SPECTRA["outliers"](1000))
    many = lanczos(A, 30, probes=9, basis=True, seed=3)
    few = lanczos(A, 30, probes=2, basis=True, seed=3)
    assert many.basis[:2].tobytes() == few.basis.tobytes() and many.residual[:2].tobytes() == few.residual.tobytes()


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_array, sp.linalg.aslinearoperator], ids=["dense", "sparse", "callback"])
@pytest.mark.parametrize("values", [np.zeros(30), np.ones(30), np.repeat([1.0, 50.0, -2.0], 10), np.arange(30.0)], ids=["zero", "one", "three", "all"])
def test_restarts_find_the_whole_spectrum_with_its_multiplicities(values, form, threads):
    basis = np.linalg.qr(np.random.default_rng(5).standard_normal((30, 30)))[0]
    A = basis * values @ basis.T
    run = lanczos(form((A + A.T) / 2), 30, probes=2, restart=True, basis=True, threads=threads)
    assert run.steps.tolist() == [30, 30] and (run.restarts >= 30 // max(1, len(np.unique(values))) - 1).all()
    for p in range(2):
        assert np.abs(run.basis[p] @ run.basis[p].T - np.eye(30)).max() < 4e-15
        nodes, weights = run.eigen()
        np.testing.assert_allclose(nodes[p], np.sort(values), rtol=0, atol=1e-12 * max(1.0, np.abs(values).max()))
        assert abs(weights[p].sum() - 1) < 16 * EPS
        v = _core.lanczos_start("rademacher", 0, p, 30)
        for degree in (1, 2):  # of v alone, whatever came later
            want = v @ np.linalg.matrix_power(A, degree) @ v / 30
            assert abs((weights[p] * nodes[p] ** degree).sum() - want) < 1e-12 * max(1.0, np.abs(values).max() ** degree)


@pytest.mark.parametrize("scale", [1e-300, 1e-20, 1e200])
def test_restarts_are_free_of_scale_and_resumable(scale):
    values = np.repeat([1.0, 4.0, -2.0], 40)
    A = sp.csr_array(sp.diags_array(values * scale))
    run = lanczos(A, 51, restart=True)  # 17 Krylov spaces of three dimensions
    nodes = run.eigen()[0][0] / scale
    assert run.restarts[0] == 17
    assert np.abs(nodes[:, None] - [1.0, 4.0, -2.0]).min(axis=1).max() < 1e-12
    state = lanczos(A, 17, restart=True).state
    np.testing.assert_array_equal(lanczos(A, 51, restart=True, state=state).alpha, run.alpha)


@pytest.mark.parametrize("power", [-1060, -900, -300, 300, 900, 1010])
@pytest.mark.parametrize("reorth", ["full", "none"])
def test_the_length_of_the_start_vector_is_free(power, reorth):
    A, v = symmetric(40), np.random.default_rng(4).choice([-1.0, 1.0, 1.5], 40)
    plain, scaled = lanczos(A, 12, v0=v, reorth=reorth), lanczos(A, 12, v0=np.ldexp(v, power), reorth=reorth)
    np.testing.assert_array_equal(plain.alpha, scaled.alpha)
    np.testing.assert_array_equal(plain.beta, scaled.beta)
    assert scaled.norm[0] == np.ldexp(plain.norm[0], power)
    np.testing.assert_allclose(plain.norm, np.linalg.norm(v), rtol=8 * EPS)
    assert scaled.norm2[0] == (np.ldexp(plain.norm2[0], 2 * power) if abs(power) < 500 else np.inf if power > 0 else 0.0)
    assert plain.norm2[0] == pytest.approx(v @ v, rel=8 * EPS)


@pytest.mark.parametrize("form", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize(("first", "scale"), [(0.0, 1e200), (0.0, 1e-200), (0.0, 1.0), (1e-250, 1.0), (1.0, 1e290)])
def test_a_small_space_says_nothing_of_the_scale_of_the_next(first, scale, form):
    values = scale * np.arange(12.0)
    values[0] = first
    run = lanczos(form(np.diag(values)), 12, v0=np.eye(12)[0], restart=True)
    assert run.restarts[0] == 1 and run.breakdown[0]
    np.testing.assert_allclose(run.eigen()[0][0], np.sort(values), rtol=0, atol=12 * EPS * 11 * scale)
