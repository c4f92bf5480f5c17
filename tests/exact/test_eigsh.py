"""Extreme eigenpairs: exact Laplacians, multiple eigenvalues, low rank, no ghosts, outliers."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import NNQFTWarning
from nnqft.lanczos import eigsh, outliers

EXACT = json.loads((Path(__file__).parents[1] / "data" / "lanczos.json").read_text())


def path_laplacian(n):
    return sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1])


def laplacian(rows, columns):
    one, two = path_laplacian(rows), path_laplacian(columns)
    return sp.csr_array(sp.kron(one, sp.eye_array(columns)) + sp.kron(sp.eye_array(rows), two))


def eigenvalues_of_laplacian(rows, columns):
    one, two = (2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) for n in (rows, columns))
    return np.sort(np.add.outer(one, two).ravel())


def wanted(values, k, which):
    values = np.sort(values)
    if which == "LM":
        return np.sort(values[np.argsort(-abs(values), kind="stable")[:k]])
    if which == "BE":
        return np.concatenate([values[: k // 2], values[len(values) - (k - k // 2) :]])
    return values[-k:] if which == "LA" else values[:k]


def check(A, values, k, which, **options):
    w, V, info = eigsh(A, k, which=which, return_info=True, **options)
    norm = abs(values).max() or 1.0
    found, there = w, wanted(values, k, which)
    if which == "LM":  # of two opposite ones at the end either is right
        found, there = np.sort(abs(w)), np.sort(abs(there))
    np.testing.assert_allclose(found, there, rtol=0, atol=1e-9 * norm)
    assert abs(V.T @ V - np.eye(k)).max() < 1e-12
    assert info.converged.all() and info.verified
    residuals = np.linalg.norm(A @ V - V * w, axis=0)
    assert (residuals <= 2e-10 * norm).all()
    np.testing.assert_allclose(residuals, info.residuals, atol=1e-12 * norm)
    return info


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
def test_the_ends_of_a_laplacian_are_found(which):
    exact = EXACT["lap2d_40x25"]
    values = eigenvalues_of_laplacian(40, 25)
    np.testing.assert_allclose(values[:3], exact["lo3"], rtol=1e-12)
    np.testing.assert_allclose(values[-3:], exact["hi3"], rtol=1e-12)
    for k in (1, 2, 7):
        check(laplacian(40, 25), values, k, which, seed=k)


@pytest.mark.parametrize("which", ["SA", "LA", "BE"])
def test_both_copies_of_double_eigenvalues_are_found(which):
    # A square grid: most eigenvalues are double, and one start vector sees one copy of each.
    for seed in range(3):
        check(laplacian(18, 18), eigenvalues_of_laplacian(18, 18), 9, which, seed=seed)


def test_the_search_without_verification_says_so():
    *_, info = eigsh(laplacian(40, 25), 3, verify=False, return_info=True)
    assert info.converged.all() and not info.verified


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
@pytest.mark.parametrize("values", [
    np.ones(120), np.zeros(120), -np.ones(120), np.repeat([1.0, 50.0], 60), np.repeat([-3.0, 0.0, 3.0], 40),
    np.concatenate([np.zeros(118), [1.0, 2.0]]), np.concatenate([np.ones(119), [1 + 1e-13]]),
    np.concatenate([np.linspace(0, 1, 110), np.full(10, 2.0)]),
], ids=["one", "zero", "minus one", "two values", "three values", "low rank", "nearly one", "tenfold"])  # fmt: skip
def test_degenerate_matrices_are_right(values, which):
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(120, 120)))[0]
    A = (Q * values) @ Q.T
    check((A + A.T) / 2, values, 7, which)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_tiny_matrices_give_all_their_eigenvalues(n):
    G = np.random.default_rng(n).normal(size=(n, n))
    for A in (G + G.T, np.zeros((n, n)), np.eye(n), np.ones((n, n))):
        for k in range(1, n + 1):
            for which in ("LM", "LA", "SA", "BE"):
                check(A, np.linalg.eigvalsh(A), k, which)


def test_many_restarts_with_a_small_basis_make_no_ghosts():
    rng = np.random.default_rng(2)
    values = np.concatenate([0.2 * rng.normal(size=3000), [5.0, 8.0, 10.0, 20.0, 50.0]])
    info = check(sp.csr_array(sp.diags_array(values)), values, 6, "LA", ncv=12, seed=3)
    assert info.restarts > 10
    check(sp.csr_array(sp.diags_array(values)), values, 30, "LM", seed=4)


def test_a_start_vector_blind_to_an_eigenvector_misses_nothing():
    values = np.linspace(-1, 1, 60)
    v0 = np.ones(60)
    v0[-1] = 0.0
    check(np.diag(values), values, 2, "LA", v0=v0, ncv=12)
    check(np.diag(values), values, 2, "LA", v0=np.eye(60)[0], ncv=12)


@pytest.mark.parametrize("exponent", [-1000, -100, 100, 1000])
def test_powers_of_two_scale_through_bit_by_bit(exponent):
    G = np.random.default_rng(5).normal(size=(80, 80))
    A = (G + G.T) / 8
    w, V = eigsh(A, 4)
    scaled, same = eigsh(np.ldexp(A, exponent), 4)
    np.testing.assert_array_equal(np.ldexp(w, exponent), scaled)
    np.testing.assert_array_equal(V, same)


def test_a_shift_moves_the_eigenvalues_only():
    G = np.random.default_rng(6).normal(size=(90, 90))
    A = (G + G.T) / 20
    w, shifted = eigsh(A, 5, which="LA")[0], eigsh(A + 3 * np.eye(90), 5, which="LA")[0]
    np.testing.assert_allclose(shifted, w + 3, atol=1e-12)


def test_float32_operators_reach_float32_accuracy():
    A = laplacian(20, 15).astype(np.float32)
    w, _, info = eigsh(A, 4, which="LA", return_info=True)
    np.testing.assert_allclose(w, eigenvalues_of_laplacian(20, 15)[-4:], rtol=2e-6)
    assert info.converged.all()


@pytest.mark.parametrize("which", ["LM", "LA", "SA", "BE"])
@pytest.mark.parametrize("tol", [3e-6, 5e-7])  # above and below the tolerance from which the basis is one of float32
def test_float32_operators_give_orthonormal_vectors_honest_residuals_and_no_ghosts(which, tol):
    rng = np.random.default_rng(3)
    Q = np.linalg.qr(rng.normal(size=(240, 240)))[0]
    outliers_too = np.concatenate([[-90.0, -90.0, 60.0, 60.0, 60.0, 25.0], rng.normal(size=234)])
    for spectrum in (outliers_too, rng.normal(size=240), np.repeat([1.0, -2.0], 120)):
        A = ((Q * spectrum) @ Q.T).astype(np.float32)
        A = (A + A.T) / 2
        exact, norm = np.linalg.eigvalsh(A.astype(np.float64)), abs(spectrum).max()
        w, V, info = eigsh(A, 7, which=which, tol=tol, ncv=24, return_info=True)
        found, there = w, wanted(exact, 7, which)
        if which == "LM":
            found, there = np.sort(abs(w)), np.sort(abs(there))
        # The product rounds its argument and its result, 2^-24 of the norm each; an eigenvalue errs by no more than its residual.
        np.testing.assert_allclose(found, there, rtol=0, atol=(tol + 1e-6) * norm)
        assert abs(V.T @ V - np.eye(7)).max() < 8 * np.finfo(float).eps
        residuals = np.linalg.norm(A.astype(np.float64) @ V - V * w, axis=0)
        np.testing.assert_allclose(residuals, info.residuals, rtol=0, atol=2e-7 * norm)
        assert info.converged.all() and info.verified and (info.residuals <= tol * info.norm).all()


def test_hundreds_of_restarts_in_float32_end_within_the_tolerance():
    # Every restart rounds the kept vectors to float32, which T does not see: the residuals do.
    A = laplacian(50, 40).astype(np.float32)
    for seed in range(3):
        w, V, info = eigsh(A, 4, which="LA", ncv=8, seed=seed, verify=False, return_info=True)
        assert info.converged.all() and info.restarts > 200
        residuals = np.linalg.norm(A.astype(np.float64) @ V - V * w, axis=0)
        assert (residuals <= 3e-6 * info.norm).all()
        np.testing.assert_allclose(w, eigenvalues_of_laplacian(50, 40)[-4:], rtol=0, atol=3e-6 * info.norm)


def test_a_thousand_restarts_leave_the_vectors_orthonormal():
    A = sp.csr_array(sp.diags_array(np.linspace(0, 1, 500)))
    with pytest.warns(NNQFTWarning, match="did not converge"):
        V = eigsh(A, 4, which="LA", ncv=6, tol=1e-14)[1]
    assert abs(V.T @ V - np.eye(4)).max() < 8 * np.finfo(float).eps


def test_outliers_stand_apart_from_the_bulk_and_a_bulk_has_none():
    rng = np.random.default_rng(7)
    G = rng.normal(size=(500, 500))
    A = (G + G.T) / np.sqrt(1000)
    found = outliers(A, 4)
    assert (len(found.low), len(found.high)) == (0, 0)
    assert found.edges == pytest.approx((-2, 2), abs=0.1)
    u = np.linalg.qr(rng.normal(size=(500, 3)))[0]
    found = outliers(A + (u * [4.0, 6.0, -5.0]) @ u.T, 4)
    # Rank-one spikes of strength s above the semicircle's 1 come out at s + 1/s, within a few 1/sqrt(n).
    np.testing.assert_allclose(found.high, [4.25, 6 + 1 / 6], atol=0.2)
    np.testing.assert_allclose(found.low, [-5.2], atol=0.2)
    assert found.edges == pytest.approx((-2, 2), abs=0.1)
    assert abs(found.high_vectors[:, 1] @ u[:, 1]) ** 2 == pytest.approx(1 - 1 / 36, abs=0.03)


def test_the_norm_that_residuals_are_measured_by_never_shrinks():
    # The basis that is kept for the upper end forgets the lower one, four times as far from zero: a tolerance that shrank with it
    # would end some of these searches short of it.
    rng = np.random.default_rng(0)
    for seed in range(12):
        values = np.concatenate([rng.uniform(-0.5, 0.5, 300), [-2.0]])
        check(sp.csr_array(sp.diags_array(values)), values, 1, "LA", seed=seed)
        assert eigsh(sp.diags_array(values).tocsr(), 1, which="LA", seed=seed, return_info=True)[2].norm > 1.99


@pytest.mark.parametrize("values", [[0.0, 0.0, 2.0, 3.0, -9.0], np.repeat([-3.0, -2.9, 1.0], [3, 3, 1]), np.repeat([1.0, 0.0], [3, 9])])
def test_a_basis_of_hardly_more_than_the_pairs_finds_every_copy(values):
    # Of k + 1 vectors one is left for the complement of the pairs: a random vector at a time, and nothing learnt from it.
    for seed in range(8):
        for which in ("LA", "SA"):
            check(np.diag(values), np.asarray(values), 3, which, ncv=4, seed=seed)


@pytest.mark.parametrize(("first", "scale"), [(0.0, 1e250), (1e-300, 1.0), (1e-180, 1e100), (1e-300, 1e300)])
def test_a_start_in_a_small_invariant_subspace_does_not_set_the_scale(first, scale):
    values = np.arange(12.0)
    values[0] = first / scale
    for n_vectors in (5, 12):
        w, V, info = eigsh(np.diag(scale * values), 3, ncv=n_vectors, v0=np.eye(12)[0], return_info=True)
        np.testing.assert_allclose(w / scale, [9.0, 10.0, 11.0], rtol=1e-9)
        assert info.converged.all() and info.verified and abs(V.T @ V - np.eye(3)).max() < 1e-13
        assert abs(info.norm / scale - 11) < 1e-9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("which", ["LA", "SA", "LM", "BE"])
def test_what_the_first_vector_hardly_holds_is_found_before_anything_is_verified(which, dtype):
    """A second copy, or a value that v0 is blind to, is one part in sqrt(n) of the vector that looks for it: verification waits for it."""
    for n, seed in ((300, 0), (3000, 1), (20_000, 2)):
        x = np.random.default_rng(seed).uniform(-0.5, 0.5, n)
        x[:3] = 1.0, 1.0, 0.9
        if which == "BE":
            x[3:6] = -1.0, -1.0, -0.9
        x = -x if which == "SA" else x
        k = 4 if which == "BE" else 2
        A, v0 = sp.diags(x.astype(dtype)).tocsr(), np.ones(n)
        v0[0] = 0.0
        for start in (None, v0):
            w, _, info = eigsh(A, k, which=which, seed=seed, v0=start, return_info=True)
            want = [-1.0, -1.0, 1.0, 1.0] if which == "BE" else [-1.0, -1.0] if which == "SA" else [1.0, 1.0]
            assert info.verified
            np.testing.assert_allclose(w, want, rtol=0, atol=1e-5)
