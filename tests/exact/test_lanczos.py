"""Lanczos against exact spectra, and the properties that need no reference values."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
from nnqft import _core
from nnqft.lanczos import LanczosState, as_operator, gram, lanczos

VALUES = json.loads((Path(__file__).parents[1] / "data" / "lanczos.json").read_text())
EPS = np.finfo(float).eps
SCHEMES = ["full", "none", "partial"]


def laplacian(rows, columns):
    def line(m):
        return sp.diags([-np.ones(m - 1), 2 * np.ones(m), -np.ones(m - 1)], [-1, 0, 1])

    return (sp.kron(line(rows), sp.eye(columns)) + sp.kron(sp.eye(rows), line(columns))).tocsr()


def symmetric(n, seed=0):
    M = np.random.default_rng(seed).standard_normal((n, n))
    return M + M.T


def recurrence(A, k, v):
    """Paige's recurrence with full reorthogonalisation, line by line."""
    Q, alpha, beta = [v / np.linalg.norm(v)], [], []
    for j in range(k):
        w = A @ Q[j] - (beta[-1] * Q[j - 1] if j else 0)
        alpha.append(Q[j] @ w)
        w = w - alpha[-1] * Q[j]
        for _ in range(2):
            w = w - np.array(Q).T @ (np.array(Q) @ w)
        beta.append(np.linalg.norm(w))
        Q.append(w / beta[-1])
    return np.array(alpha), np.array(beta)


FORMS = {
    "dense": lambda A: A.toarray(),
    "csr": lambda A: A,
    "csr64": lambda A: sp.csr_array((A.data, A.indices.astype(np.int64), A.indptr.astype(np.int64)), A.shape),
    "linear operator": sp.linalg.aslinearoperator,
    "callable": lambda A: as_operator(lambda x: A @ x, n=A.shape[0]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("probes", [1, 3, 8, 11])
def test_every_form_of_a_matrix_gives_the_recurrence(form, probes):
    A = laplacian(12, 13)
    run = lanczos(FORMS[form](A), 15, probes=probes, seed=5)
    for p in range(probes):
        alpha, beta = recurrence(A, 15, _core.lanczos_start("rademacher", 5, p, 156))
        # Rounding enters T at a few eps |A| a step, and grows with the conditioning of the Krylov matrix: mild at 15 of 156.
        np.testing.assert_allclose(run.alpha[p], alpha, rtol=0, atol=1e-12)
        np.testing.assert_allclose(run.beta[p], beta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reorth", SCHEMES)
@pytest.mark.parametrize("n", [13, 156, 1025])
def test_quadrature_is_exact_to_degree_2k_minus_1(n, reorth):
    A = symmetric(n) / np.sqrt(n)
    k = 10
    v = np.random.default_rng(1).standard_normal(n)
    run = lanczos(A, k, v0=v, reorth=reorth)
    nodes, weights = run.eigen()
    power, size = v.copy(), 2 * np.sqrt(2)  # the edge of the semicircle
    for degree in range(2 * k):
        want = v @ power / (v @ v)
        assert abs((weights * nodes**degree).sum() - want) <= 1e-12 * size**degree
        power = A @ power
    np.testing.assert_allclose(run.norm2, [v @ v], rtol=8 * EPS * np.sqrt(n))


@pytest.mark.parametrize("form", ["dense", "csr", "linear operator"])
@pytest.mark.parametrize("reorth", SCHEMES)
@pytest.mark.parametrize("power", [-1000, -100, -40, 3, 200, 900])
def test_scaling_the_operator_by_a_power_of_two_scales_every_bit(form, reorth, power):
    A = laplacian(12, 13)
    plain = lanczos(FORMS[form](A), 30, probes=3, reorth=reorth)
    scaled = lanczos(FORMS[form](A * 2.0**power), 30, probes=3, reorth=reorth)
    for name in ("alpha", "beta"):
        np.testing.assert_array_equal(getattr(scaled, name), np.ldexp(getattr(plain, name), power))
    np.testing.assert_array_equal(scaled.eigen()[0], np.ldexp(plain.eigen()[0], power))
    np.testing.assert_array_equal(scaled.eigen()[1], plain.eigen()[1])


# Normal numbers end at 2^-126 and 2^128 (2^-1022 and 2^1024): room for entries of the matrix, and of vectors, that are smaller or larger than 1.
@pytest.mark.parametrize(("dtype", "power"), [(np.float32, p) for p in (-110, -60, 60, 120)] + [(np.float64, p) for p in (-997, -100, 100, 997)])
@pytest.mark.parametrize("reorth", SCHEMES)
def test_scaling_holds_from_end_to_end_of_the_normal_numbers(dtype, power, reorth):
    for A in (symmetric(150).astype(dtype), sp.csr_array(symmetric(40).astype(dtype)), laplacian(12, 13).astype(dtype)):
        scaled = A * dtype(2.0**power)
        run, plain = lanczos(scaled, 30, probes=3, reorth=reorth), lanczos(A, 30, probes=3, reorth=reorth)
        assert run.state._core.__class__.__name__ == ("Lanczos32" if dtype == np.float32 else "Lanczos64")
        for name in ("alpha", "beta"):
            np.testing.assert_array_equal(getattr(run, name), np.ldexp(getattr(plain, name), power))
        np.testing.assert_array_equal(run.eigen()[0], np.ldexp(plain.eigen()[0], power))
        np.testing.assert_array_equal(run.eigen()[1], plain.eigen()[1])


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e-6, 1e30, 1e300])
def test_spectra_are_right_at_every_scale(scale):
    eigenvalues = np.linspace(-1, 1, 40)
    nodes, _ = lanczos(np.diag(eigenvalues * scale), 40, v0=np.ones(40)).eigen()
    np.testing.assert_allclose(nodes[0] / scale, eigenvalues, rtol=0, atol=1e-13)


def test_shifting_the_operator_moves_the_nodes_and_nothing_else():
    A = as_operator(laplacian(12, 13))
    (nodes, weights), (moved, same) = lanczos(A, 20).eigen(), lanczos(A + 100.0, 20).eigen()
    np.testing.assert_allclose(moved, nodes + 100.0, rtol=0, atol=1e-11)  # products round at 108 eps
    np.testing.assert_allclose(same, weights, rtol=0, atol=1e-11)


IDENTITY, ZERO = np.eye(50), np.zeros((50, 50))
TWO_VALUES = np.diag(np.where(np.arange(200) < 60, 1.0, 50.0))
X = np.random.default_rng(2).standard_normal(300)


@pytest.mark.parametrize("probes", [1, 5])
@pytest.mark.parametrize("reorth", SCHEMES)
@pytest.mark.parametrize(("A", "steps"), [(IDENTITY, 1), (ZERO, 1), (np.outer(X, X), 2), (TWO_VALUES, 2)], ids=["one", "zero", "rank one", "two values"])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_few_eigenvalues_end_the_run_after_as_many_steps(A, steps, probes, reorth, scale):
    for form in (A * scale, sp.csr_array(A * scale), sp.linalg.aslinearoperator(A * scale)):
        run = lanczos(form, 20, probes=probes, reorth=reorth)
        assert run.steps.tolist() == [steps] * probes and run.breakdown.all()
        nodes, weights = run.eigen()
        assert np.isnan(nodes[:, steps:]).all() and np.isfinite(run.alpha).all() and np.isfinite(run.beta).all()
        np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=4 * EPS)
        distinct = np.unique(np.linalg.eigvalsh(A).round(9)) * scale
        np.testing.assert_allclose(nodes[:, :steps], np.tile(distinct, (probes, 1)), rtol=0, atol=1e-12 * max(abs(distinct).max(), 1e-300))


def test_more_steps_than_dimensions_are_as_many_as_dimensions():
    A = symmetric(9)
    run = lanczos(A, 100)
    assert run.steps.tolist() == [9]
    np.testing.assert_allclose(run.eigen()[0][0], np.linalg.eigvalsh(A), rtol=0, atol=1e-13 * np.linalg.norm(A, 2))


@pytest.mark.parametrize("n", [1, 2])
def test_operators_of_one_and_two_dimensions_are_solved(n):
    A = symmetric(n)
    nodes, weights = lanczos(A, 5, v0=np.arange(1.0, n + 1)).eigen()
    np.testing.assert_allclose(nodes[0], np.linalg.eigvalsh(A), rtol=1e-14)
    np.testing.assert_allclose(weights.sum(), 1.0, rtol=4 * EPS)


def test_permuting_the_operator_and_the_vector_leaves_T():
    A = laplacian(12, 13)
    order = np.random.default_rng(3).permutation(156)
    v = _core.lanczos_start("gaussian", 0, 0, 156)
    run, permuted = lanczos(A, 20, v0=v), lanczos(A[order][:, order].tocsr(), 20, v0=v[order])
    np.testing.assert_allclose(permuted.alpha, run.alpha, rtol=0, atol=1e-12)
    np.testing.assert_allclose(permuted.beta, run.beta, rtol=0, atol=1e-12)


@pytest.mark.parametrize("reorth", SCHEMES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_threads_and_company_change_no_bit(reorth, dtype):
    for A in (laplacian(60, 70).astype(dtype), symmetric(1500).astype(dtype)):
        alone = lanczos(A, 12, probes=11, seed=4, reorth=reorth, threads=1, basis=True)
        for threads in (2, 7):
            run = lanczos(A, 12, probes=11, seed=4, reorth=reorth, threads=threads, basis=True)
            for name in ("alpha", "beta", "basis", "residual"):
                assert getattr(run, name).tobytes() == getattr(alone, name).tobytes()
        fewer = lanczos(A, 12, probes=3, seed=4, reorth=reorth, basis=True)
        assert fewer.alpha.tobytes() == alone.alpha[:3].tobytes() and fewer.beta.tobytes() == alone.beta[:3].tobytes()


@pytest.mark.parametrize("reorth", SCHEMES)
@pytest.mark.parametrize("form", FORMS)
def test_resuming_gives_the_bits_of_an_uninterrupted_run(reorth, form):
    A = FORMS[form](laplacian(30, 40))
    whole = lanczos(A, 25, probes=10, seed=6, reorth=reorth)
    state = lanczos(A, 4, probes=2, seed=6, reorth=reorth).state
    lanczos(A, 9, probes=7, seed=6, reorth=reorth, state=state)
    resumed = lanczos(A, 25, probes=10, seed=6, reorth=reorth, state=state)
    for name in ("alpha", "beta", "residual"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))


def test_a_bipartite_operator_from_one_side_has_no_diagonal():
    B = np.random.default_rng(7).standard_normal((30, 50))
    A = np.block([[np.zeros((30, 30)), B], [B.T, np.zeros((50, 50))]])
    v = np.concatenate([np.random.default_rng(8).standard_normal(30), np.zeros(50)])
    run = lanczos(A, 20, v0=v)
    assert np.abs(run.alpha).max() <= 100 * EPS * np.linalg.norm(A, 2)
    nodes, weights = run.eigen()
    np.testing.assert_allclose(nodes[0], -nodes[0][::-1], rtol=0, atol=1e-12 * np.linalg.norm(A, 2))
    np.testing.assert_allclose(weights[0], weights[0][::-1], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("reorth", "bound"), [("full", 1e-13), ("partial", 1e-7)])
def test_the_basis_is_orthonormal_and_gives_T(reorth, bound):
    # Outliers make plain Lanczos lose orthogonality within 20 steps.
    A = np.diag(np.concatenate([np.random.default_rng(9).normal(0, 0.2, 2000), [5, 8, 10, 20, 50]]))
    run = lanczos(A, 100, probes=2, reorth=reorth, basis=True)
    lost = lanczos(A, 100, probes=2, reorth="none", basis=True)
    for p in range(2):
        assert np.abs(lost.basis[p] @ lost.basis[p].T - np.eye(100)).max() > 0.9  # the test has teeth
        Q = run.basis[p]
        assert np.abs(Q @ Q.T - np.eye(100)).max() < bound
        T = np.diag(run.alpha[p]) + np.diag(run.beta[p, :-1], 1) + np.diag(run.beta[p, :-1], -1)
        assert np.abs(Q @ A @ Q.T - T).max() < bound * 50
        rest = Q @ A - T @ Q
        np.testing.assert_allclose(rest[-1], run.beta[p, -1] * run.residual[p], rtol=0, atol=bound * 50)
    top = run.eigen()[0][0][-5:]
    np.testing.assert_allclose(top, [5, 8, 10, 20, 50], rtol=1e-10)  # once each: no ghosts


@pytest.mark.parametrize("reorth", SCHEMES)
def test_float32_vectors_give_float64_moments_to_float32_rounding(reorth):
    d = np.concatenate([np.random.default_rng(9).normal(0, 0.2, 20000), [5, 8, 10, 20, 50]]).astype(np.float32)
    v = _core.lanczos_start("rademacher", 0, 0, 20005)
    A = sp.csr_array(sp.diags(d))
    nodes, weights = lanczos(A, 100, v0=v.astype(np.float32), reorth=reorth).eigen()
    assert nodes.dtype == np.float64
    for degree in (1, 2, 4):
        want = (d.astype(np.float64) ** degree).mean()
        # 100 roundings of vectors at 6e-8, independent; measured 2e-7 for degree 4.
        assert abs((weights * nodes**degree).sum() - want) < 2e-6 * want


def test_the_laplacian_has_its_exact_edge_and_traces():
    want = VALUES["lap2d_40x25"]
    A = laplacian(40, 25)
    nodes, weights = lanczos(A, 1000, v0=_core.lanczos_start("gaussian", 1, 0, 1000)).eigen()
    found = nodes[0][np.isfinite(nodes[0])]
    np.testing.assert_allclose(found[:3], want["lo3"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(found[-3:], want["hi3"], rtol=0, atol=1e-12)
    run = lanczos(A, 40, probes=64, seed=2)
    nodes, weights = run.eigen()
    for name, f in (("trace", lambda x: x), ("fro2", lambda x: x**2), ("logdet", np.log), ("tr_exp_minus", lambda x: np.exp(-x))):
        estimates = 1000 * (weights * f(nodes)).sum(axis=1)
        error = estimates.std(ddof=1) / 8
        assert error < 0.02 * abs(want[name]) + 1e-9
        assert abs(estimates.mean() - want[name]) <= 5 * error + 1e-9 * abs(want[name])  # Student, 63 dof: P < 5e-6


def test_a_million_dimensions_run_in_three_vectors():
    want = VALUES["lap2d_1000x1000"]
    A = laplacian(1000, 1000)
    run = lanczos(A, 100, reorth="none", seed=1)
    nodes, weights = run.eigen()
    assert nodes[0, -1] <= want["hi3"][-1] and nodes[0, -1] > 7.98 and nodes[0, 0] >= want["lo3"][0]
    cdf = [weights[0][nodes[0] <= int(x)].sum() for x in want["cdf"]]
    # One probe, 100 nodes of 1/100 weight each: half a node either way.
    np.testing.assert_allclose(cdf, list(want["cdf"].values()), rtol=0, atol=0.02)
    assert _core.Lanczos64.bytes(10**6, 1, 100, "none", False) == 24e6


def test_the_ends_of_a_spectrum_of_a_million_dimensions_are_exact_where_the_start_lies_in_their_space():
    want, A = VALUES["lap2d_1000x1000"], laplacian(1000, 1000)

    def wave(i, j):
        x = np.pi * np.arange(1, 1001) / 1001
        return np.outer(np.sin(i * x), np.sin(j * x)).ravel()

    # Of each double eigenvalue one direction in either run: as many steps as distinct values.
    for start, values in (
        ([(1, 1), (1, 2), (1000, 999), (1000, 1000)], [*want["lo3"][:2], *want["hi3"][1:]]),
        ([(2, 1), (999, 1000)], [want["lo3"][2], want["hi3"][0]]),
    ):
        nodes, _ = lanczos(A, len(start), v0=sum(wave(i, j) for i, j in start)).eigen()
        np.testing.assert_allclose(nodes[0], values, rtol=0, atol=1e-12)


@pytest.mark.parametrize("law", ["rademacher", "gaussian", "sphere"])
def test_probes_are_functions_of_their_address_with_the_law_they_name(law):
    v = _core.lanczos_start(law, 3, 1, 100_000)
    np.testing.assert_array_equal(v[:101], _core.lanczos_start(law, 3, 1, 101))
    assert (v != _core.lanczos_start(law, 3, 2, 100_000)).mean() > 0.4
    assert abs(v.mean()) < 5 / np.sqrt(1e5)  # P(|z| > 5) = 6e-7
    fourth = (v**4).mean()
    assert fourth == 1.0 if law == "rademacher" else abs(fourth - 3) < 5 * np.sqrt(96 / 1e5)
    norm2 = lanczos(sp.csr_array(sp.eye(1000)), 1, probes=2, distribution=law, seed=3).norm2
    if law == "gaussian":
        assert (abs(norm2 - 1000) < 5 * np.sqrt(2000)).all() and norm2[0] != norm2[1]
    else:
        np.testing.assert_array_equal(norm2, 1000.0)


def test_sums_shifts_products_and_blocks_are_those_of_matrices():
    A, B = symmetric(30, 1), symmetric(30, 2)
    x, rows = np.random.default_rng(3).standard_normal((30, 4)), np.array([3, 1, 20])
    a, b = as_operator(A), as_operator(B)
    for operator, matrix in ((a + b, A + B), (a - b, A - B), (2 * a - 3, 2 * A - 3 * np.eye(30)), (a @ b @ a, A @ B @ A), (-a, -A), (1 - a, np.eye(30) - A),
                             (np.float64(2) * a, 2 * A), (gram(A[:7]), A[:7].T @ A[:7]), (gram(sp.csr_array(A)), A @ A)):  # fmt: skip
        np.testing.assert_allclose(operator.matmat(x), matrix @ x, rtol=0, atol=1e-11)
    np.testing.assert_allclose(a.restrict(rows).matmat(x[:3]), A[np.ix_(rows, rows)] @ x[:3], rtol=0, atol=1e-12)
    run = lanczos(a @ b @ a, 30)
    np.testing.assert_allclose(run.eigen()[0][0], np.linalg.eigvalsh(A @ B @ A), rtol=0, atol=1e-11 * np.linalg.norm(A @ B @ A, 2))


def test_views_of_a_matrix_are_used_as_they_lie():
    big = symmetric(40)
    want = lanczos(np.ascontiguousarray(big[:20, :20]), 8)
    for view in (big[:20, :20], np.asfortranarray(big[:20, :20]), np.asfortranarray(big)[:20, :20], big.T[:20, :20]):
        view.flags.writeable = False
        np.testing.assert_array_equal(lanczos(view, 8).alpha, want.alpha)


def test_an_empty_state_is_filled_and_goes_on():
    state, A = LanczosState(), laplacian(9, 9)
    lanczos(A, 3, state=state)
    assert state.steps.tolist() == [3]
    np.testing.assert_array_equal(lanczos(A, 12, state=state).alpha, lanczos(A, 12).alpha)
