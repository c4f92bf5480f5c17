"""Chebyshev densities: exact moments, known laws, bounds that hold."""

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError, DivergenceError, StateError
from nnqft.lanczos import ChebyshevDensity, kpm, slq, spectral_bounds


def goe(n, seed):
    G = np.random.default_rng(seed).normal(size=(n, n))
    return (G + G.T) / np.sqrt(2 * n)


def test_chebyshev_moments_are_those_of_the_probe():
    A = goe(40, 1)
    S = kpm(A, 21, probes=3, bounds=(-2.5, 2.0 + 0.5), seed=4)
    w, U = np.linalg.eigh(A)
    from nnqft.lanczos import lanczos

    measure = (lanczos(A, 1, probes=3, seed=4, basis=True).basis[:, 0] @ U) ** 2  # the same probes as Lanczos draws
    exact = measure @ np.cos(np.outer(np.arccos(w / 2.5), np.arange(22)))
    np.testing.assert_allclose(S.moments, exact, atol=1e-13)


def test_moments_agree_with_lanczos_from_the_same_probes():
    A = goe(80, 2)
    S, T = kpm(A, 12, probes=4, seed=5), slq(A, 10, probes=4, seed=5)
    for j in range(13):
        assert S.moment(j).mean == pytest.approx(T.moment(j).mean, abs=1e-11)
        assert S.moment(j).stderr == pytest.approx(T.moment(j).stderr, abs=1e-11)
    assert S.trace().mean == pytest.approx(T.trace().mean, abs=1e-10)
    smooth, quadrature = kpm(A, 60, probes=4, seed=5).trace(np.exp), slq(A, 40, probes=4, seed=5).trace(np.exp)
    assert smooth.mean == pytest.approx(quadrature.mean, rel=1e-12)


def test_the_density_of_a_large_goe_matrix_is_the_semicircle():
    S = kpm(goe(1500, 3), 80, probes=8, seed=6)
    x = np.linspace(-1.8, 1.8, 19)
    exact = np.sqrt(4 - x * x) / (2 * np.pi)
    pdf, error = S.density(x, stderr=True)
    # |t| < 6 with 7 degrees of freedom; 2 % is the kernel's width, squared, times the curvature.
    assert (abs(pdf - exact) < 6 * error + 0.02 * exact + 0.002).all()
    assert (error < 0.03).all()


def test_density_and_distribution_belong_together_and_stay_positive():
    S = kpm(sp.csr_array(sp.diags_array(np.concatenate([np.zeros(50), np.linspace(1, 2, 50)]))), 90, probes=2)
    low, high = S.bounds
    phi = (np.arange(40000) + 0.5) * np.pi / 40000
    x = low / 2 + high / 2 + (high - low) / 2 * np.cos(phi)
    density = S.density(x)
    assert density.min() > -1e-12  # Jackson's kernel is positive
    assert np.sum(density * np.sin(phi)) * (high - low) / 2 * np.pi / 40000 == pytest.approx(1, abs=1e-9)
    assert S.cdf([low - 1, low, high, high + 1]).tolist() == pytest.approx([0, 0, 1, 1], abs=1e-12)
    assert S.density(high + 1) == 0
    below = x < 0.5
    assert S.cdf(0.5) == pytest.approx(
        np.sum((density * np.sin(phi))[below]) * (high - low) / 2 * np.pi / 40000, abs=1e-4
    )
    assert S.cdf(0.5) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("values", [[0.0] * 5, [3.0] * 5, [-1e-30, 1e-30], [1e200, 2e200, 3e200], [5.0]])
def test_bounds_hold_the_spectrum_whatever_its_size(values):
    low, high = spectral_bounds(np.diag(values))
    assert low < min(values) and max(values) < high
    S = kpm(np.diag(values), 10, probes=2)
    assert S.cdf([low, high]).tolist() == pytest.approx([0, 1], abs=4e-8)  # an error eps of a cosine near 1 is sqrt(2 eps) in its angle


def test_bounds_hold_many_random_spectra():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        values = rng.standard_t(3, size=400)
        low, high = spectral_bounds(np.diag(values), seed=seed)
        assert low < values.min() and values.max() < high


def test_bounds_of_separate_extremes_are_tight():
    # Ritz values of separate eigenvalues have converged: their residuals are nothing, though that of the whole space is of the order of the bulk.
    values = np.concatenate([[-9.0], np.linspace(-1, 1, 400), [7.0]])
    low, high = spectral_bounds(np.diag(values), margin=0.001)
    assert (low, high) == pytest.approx((-9 - 0.016, 7 + 0.016), abs=1e-6)


def test_an_eigenvalue_just_outside_the_bounds_is_an_error_and_on_them_is_none():
    # T_m(1 + d) = cosh(m acosh(1 + d)): with d = 1e-3, m = 60 it is 7, and its share of a probe 1/2.
    values = np.array([-1.0, 1.0])
    kpm(np.diag(values), 400, bounds=(-1, 1))
    with pytest.raises(DivergenceError, match="outside the bounds"):
        kpm(np.diag(values * 1.001), 60, bounds=(-1, 1))


def test_an_eigenvalue_outside_the_bounds_is_an_error():
    with pytest.raises(DivergenceError, match="outside the bounds"):
        kpm(np.diag(np.linspace(-2, 2, 50)), 60, bounds=(-1, 1))


def test_files_bring_the_density_back(tmp_path):
    S = kpm(goe(30, 7), 20, probes=3, seed=8)
    S.save(tmp_path / "density.npz")
    back = ChebyshevDensity.load(tmp_path / "density.npz")
    np.testing.assert_array_equal(back.moments, S.moments)
    assert (back.bounds, back.n, back.how, repr(back)) == (S.bounds, S.n, S.how, repr(S))
    slq(goe(30, 7), 5).save(tmp_path / "other.npz")
    with pytest.raises(StateError, match="not a file of nnqft.chebyshev_density"):
        ChebyshevDensity.load(tmp_path / "other.npz")


@pytest.mark.parametrize(("options", "message"), [
    ({"degree": 0}, "degree is 0"), ({"degree": 2.5}, "degree is 2.5"), ({"probes": 0}, "probes is 0"),
    ({"bounds": (1, 1)}, "two increasing numbers"), ({"bounds": (0, np.inf)}, "two increasing numbers"),
    ({"margin": -1}, "margin must be"), ({"distribution": "cauchy"}, "cauchy"),
])  # fmt: skip
def test_senseless_arguments_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        kpm(np.eye(4), **options)


def test_functions_and_orders_out_of_reach_are_refused():
    S = kpm(np.eye(4), 6, probes=2)
    with pytest.raises(ArgumentError, match="from 0 to the degree 6"):
        S.moment(7)
    with pytest.raises(ArgumentError, match="not finite on all of"):
        S.trace(lambda x: np.log(x - 1))
    with pytest.raises(ArgumentError, match="nan"):
        S.density([np.nan])
