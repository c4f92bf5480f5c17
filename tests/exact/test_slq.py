"""Densities by Lanczos quadrature against spectra that are known exactly: Laplacians, GOE, Wishart, ReLU-hinge Hessians."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.lanczos import SpectralDensity, slq, spectral_moments

EXACT = json.loads((Path(__file__).parents[1] / "data" / "lanczos.json").read_text())


def laplacian(rows, columns):
    one, two = (
        sp.diags_array([-np.ones(n - 1), 2 * np.ones(n), -np.ones(n - 1)], offsets=[-1, 0, 1]) for n in (rows, columns)
    )
    return sp.csr_array(sp.kron(one, sp.eye_array(columns)) + sp.kron(sp.eye_array(rows), two))


def laplacian_eigenvalues(rows, columns):
    one, two = (2 - 2 * np.cos(np.pi * np.arange(1, n + 1) / (n + 1)) for n in (rows, columns))
    return np.sort(np.add.outer(one, two).ravel())


def wasserstein(a, b, low, high):
    """Of two densities, over the range."""
    x = np.linspace(low, high, 2001)
    return np.trapezoid(abs(a.cdf(x) - b.cdf(x)), x) / (high - low)


def goe(n, seed):
    G = np.random.default_rng(seed).normal(size=(n, n))
    return (G + G.T) / np.sqrt(2 * n)


# W1 over the range that the bare quadrature reaches (the smoothed curve does better), the relative error of log det, both as
# means of 12 runs, of which each scatters by 40 % and 80 %; the relative error of the largest eigenvalue in the worst run.
# log det at k = 100 is left to the next test: 30 probes give 0.0038(7), their noise, where one good run gives 0.0025.
@pytest.mark.parametrize(
    ("k", "probes", "w1", "logdet", "top"),
    [
        (20, 1, 0.022, 0.0287, 1e-2),
        (20, 10, 0.0145, 0.0075, 1e-2),
        (60, 10, 0.0057, 0.0074, 8e-7),
        (100, 30, 0.0028, None, 2e-12),
    ],
)
def test_a_small_laplacian_is_sharper_than_its_steps(k, probes, w1, logdet, top):
    exact, law = EXACT["lap2d_40x25"], SpectralDensity.from_eigenvalues(laplacian_eigenvalues(40, 25))
    runs = [slq(laplacian(40, 25), k, probes=probes, seed=seed) for seed in range(12)]
    assert np.mean([wasserstein(S, law, *law.edges) for S in runs]) < w1
    if logdet is not None:
        assert np.mean([abs(S.logdet().mean / exact["logdet"] - 1) for S in runs]) < logdet
    assert max(abs(S.edges[1] / exact["hi3"][-1] - 1) for S in runs) < top


def test_the_error_of_log_det_at_a_hundred_steps_is_the_noise_of_its_probes():
    # E|error| = sqrt(2 / pi) stderr for normal noise: 0.0042 from error bars. The mean of 12 |errors| is known to 0.76 / sqrt(12) = 22 %.
    runs = [slq(laplacian(40, 25), 100, probes=30, seed=seed).logdet() for seed in range(12)]
    exact = EXACT["lap2d_40x25"]["logdet"]
    found = np.mean([abs(value.mean / exact - 1) for value in runs])
    expected = np.sqrt(2 / np.pi) * np.mean([value.stderr for value in runs]) / exact
    assert found == pytest.approx(expected, rel=0.6)
    # Steps are not what is missing: 16 times as many probes leave a quarter of it.
    many = slq(laplacian(40, 25), 100, probes=480, seed=0).logdet()
    assert abs(many.mean / exact - 1) < 0.0025 and many.stderr / exact < 0.0015


def test_traces_of_a_small_laplacian_lie_within_their_errors():
    exact = EXACT["lap2d_40x25"]
    S = slq(laplacian(40, 25), 60, probes=30, seed=2)
    known = {
        "trace": S.trace(),
        "fro2": S.trace(np.square),
        "logdet": S.logdet(),
        "tr_inv": S.trace(np.reciprocal),
        "tr_exp_minus": S.trace(lambda x: np.exp(-x)),
    }
    for name, value in known.items():
        # 29 degrees of freedom, five numbers: |t| > 5 once in 10^4 runs.
        assert abs(value.mean - exact[name]) < 5 * value.stderr + 1e-9 * exact[name], name
        assert value.stderr < 0.1 * exact[name]
    assert S.edges[1] == pytest.approx(exact["hi3"][-1], rel=8e-7)


def test_the_exact_density_of_a_small_laplacian_has_its_exact_traces():
    exact, law = EXACT["lap2d_40x25"], SpectralDensity.from_eigenvalues(laplacian_eigenvalues(40, 25))
    assert law.trace().mean == pytest.approx(exact["trace"], rel=1e-13)
    assert law.trace(np.square).mean == pytest.approx(exact["fro2"], rel=1e-13)
    assert law.logdet().mean == pytest.approx(exact["logdet"], rel=1e-13)
    assert law.logdet().stderr == 0


def test_one_probe_gives_the_distribution_of_a_million_eigenvalues():
    exact = EXACT["lap2d_1000x1000"]
    S = slq(laplacian(1000, 1000), 40, probes=1, seed=3, reorth="none")
    x = np.array([float(v) for v in exact["cdf"]])
    values = np.array(list(exact["cdf"].values()))
    # A node carries about 1/40. The density has a logarithmic spike at 4, which no 40 nodes resolve.
    np.testing.assert_allclose(S.cdf(x), values, atol=0.01)
    np.testing.assert_allclose(S.cdf(x, sigma=0), values, atol=0.02)
    low, high = S.cdf_bounds(x)
    assert (low - 5e-3 < values).all() and (values < high + 5e-3).all()  # 5e-3: probe noise, sqrt(2 / n) and more
    # Rademacher probes: the variance of v.Av is 2 sum of a_ij^2 off the diagonal, here 2 * 4e6; five standard errors.
    assert abs(S.trace().mean - exact["trace"]) < 5 * np.sqrt(2 * 4e6)
    assert S.trace(np.square).mean == pytest.approx(exact["fro2"], rel=5e-3)


def test_three_probes_give_the_log_determinant_of_a_million_dimensions():
    exact = EXACT["lap2d_1000x1000"]
    value = slq(laplacian(1000, 1000), 100, probes=3, reorth="none").logdet()
    # Rademacher: the variance of v.Bv, B = log A, is 2 (|B|_F^2 - sum of b_ii^2), at most 2 (tr B^2 - (tr B)^2 / n).
    x = laplacian_eigenvalues(1000, 1000)
    noise = np.sqrt(2 * (np.square(np.log(x)).sum() - exact["logdet"] ** 2 / 1e6) / 3)
    assert abs(value.mean - exact["logdet"]) < 5 * noise  # P = 6e-7
    assert noise < 1e-3 * exact["logdet"]
    assert exact["logdet"] == pytest.approx(np.log(x).sum(), rel=1e-12)


def test_moments_of_the_gaussian_orthogonal_ensemble_at_n_100():
    exact = EXACT["goe_moments"]["100"]
    found = np.array([
        [m.mean for m in spectral_moments(goe(100, seed), [2, 4, 6], probes=10, seed=seed)] for seed in range(40)
    ])  # fmt: skip
    error = found.std(axis=0, ddof=1) / np.sqrt(40)
    # |t| < 5 with 39 degrees of freedom, three numbers: once in 2 * 10^4 seeds.
    assert (abs(found.mean(axis=0) - [exact[j] for j in "246"]) < 5 * error).all()
    assert (error < 0.06 * np.array([exact[j] for j in "246"])).all()


@pytest.mark.parametrize(("n", "matrices", "probes"), [(1000, 3, 40), (4000, 1, 40)])
def test_moments_of_the_gaussian_orthogonal_ensemble_of_large_matrices(n, matrices, probes):
    exact, catalan = EXACT["goe_moments"][str(n)], {2: 1, 4: 2, 6: 5, 8: 14, 12: 132}
    found = np.mean(
        [[m.mean for m in spectral_moments(goe(n, s), [2, 4, 6], probes=probes, seed=s)] for s in range(matrices)], axis=0
    )
    for j, value in zip((2, 4, 6), found, strict=True):
        # Variance of one +-1 probe: 2 (m_2j - m_j^2) / n; that of a matrix, of the order 1 / n^2, is less. Five standard errors.
        error = np.sqrt(2 * (catalan[2 * j] - catalan[j] ** 2) / (n * matrices * probes))
        assert abs(value - exact[str(j)]) < 5 * error


def test_density_and_distribution_of_a_large_goe_matrix_are_the_semicircle():
    S = slq(goe(1500, 5), 60, probes=8, seed=6)
    law = EXACT["semicircle"]
    x, (cdf, cdf_error), (pdf, pdf_error) = law["x"], S.cdf(law["x"], stderr=True), S.density(law["x"], stderr=True)
    # |t| < 6 with 7 degrees of freedom, ten numbers: once in 200 seeds; 0.005 is the smoothing.
    assert (abs(cdf - law["cdf"]) < 6 * cdf_error + 0.005).all() and (cdf_error < 0.01).all()
    assert (abs(pdf - law["pdf"]) < 6 * pdf_error + 0.005).all() and (pdf_error < 0.02).all()
    x = S.grid(4000)
    assert np.trapezoid(S.density(x), x) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("n", "m", "matrices", "most"), [(200, 400, 30, 0.03), (1000, 4000, 8, 0.02)])
def test_moments_of_wishart_matrices(n, m, matrices, most):
    rng = np.random.default_rng(7)
    exact = EXACT["wishart_moments"][f"{n},{m}"]
    found = []
    for seed in range(matrices):
        X = rng.normal(size=(n, m))
        found.append([m.mean for m in spectral_moments(X @ X.T / m, [1, 2, 3], probes=8, seed=seed)])
    found = np.array(found)
    error = found.std(axis=0, ddof=1) / np.sqrt(matrices)
    # |t| < 5 (7) with 29 (7) degrees of freedom, three numbers: once in 10^4 (2 * 10^3) runs.
    assert (abs(found.mean(axis=0) - [exact[j] for j in "123"]) < (5 if matrices == 30 else 7) * error).all()
    assert (error < most).all()


def test_densities_of_wishart_matrices_are_the_law_of_marchenko_and_pastur():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(1000, 2000))
    S = slq(X @ X.T / 2000, 60, probes=8, seed=8)
    law = EXACT["marchenko_pastur_c0.5"]
    pdf, pdf_error = S.density(
        law["x"][1:], stderr=True
    )  # the first point is the smoothing's, next to the edge at 0.086
    # |t| < 6 with 7 degrees of freedom, six numbers: once in 300 seeds; 3 % is the smoothing.
    assert (abs(pdf - law["pdf"][1:]) < 6 * pdf_error + 0.03 * np.array(law["pdf"][1:])).all()
    assert (pdf_error < 0.1).all()


def test_the_distance_of_a_hinge_hessian_with_84_weights_is_the_noise_of_its_probes():
    eigenvalues = np.array(EXACT["relu_hinge"]["d4_5-6-5-4-1"]["eigs"])
    Q = np.linalg.qr(np.random.default_rng(9).normal(size=(84, 84)))[0]
    A = (Q * eigenvalues) @ Q.T
    A, law = (A + A.T) / 2, SpectralDensity.from_eigenvalues(eigenvalues)
    low, high = law.edges
    x = np.linspace(low, high, 2001)

    def distance(S):
        return np.trapezoid(abs(S.cdf(x, sigma=0) - law.cdf(x)), x) / (high - low)

    def expected(S):  # E|F_S - F| of a normal law, integrated
        return np.sqrt(2 / np.pi) * np.trapezoid(S.cdf(x, sigma=0, stderr=True)[1], x) / (high - low)

    runs = [slq(A, 40, probes=20, seed=seed) for seed in range(24)]
    found = np.array([distance(S) for S in runs])
    # 0.006 here and 0.005 in the basis of the weights, where +-1 probes meet zero diagonal blocks. One seed scatters by
    # 35 %, so that one in twenty reaches 0.0032; the mean of 24 is known to 7 %, its expectation from error bars to 3 %.
    assert np.mean(found) == pytest.approx(np.mean([expected(S) for S in runs]), rel=0.3)
    assert found.min() < 0.005 < np.mean(found) < 0.0075
    # More steps do not help: 84 resolve everything. More probes do, as 1 / sqrt(probes), down to what 40 steps leave open.
    assert np.mean([distance(slq(A, 84, probes=20, seed=seed)) for seed in range(12)]) > 0.7 * np.mean(found)
    assert distance(slq(A, 40, probes=2000, seed=1)) < 0.4 * np.mean(found)
    S = runs[0]
    assert abs(S.moment(1).mean) < 5 * S.moment(1).stderr and S.moment(1).stderr < 0.01
    # tr H^2 / n = E|Hv|^2 / n in every probe, by the Gauss rule
    assert abs(S.moment(2).mean - law.moment(2).mean) < 5 * S.moment(2).stderr


def test_the_kernel_of_a_hidden_layer_hessian_is_counted():
    exact = EXACT["relu_hinge"]["d2_8-10-1"]
    Q = np.linalg.qr(np.random.default_rng(11).normal(size=(90, 90)))[0]
    A = (Q * np.array(exact["eigs"])) @ Q.T
    S = slq((A + A.T) / 2, 60, probes=40, seed=12)
    zeros = S.near_zero(1e-6)
    assert S.complete.all()  # 20 values and 0: the Krylov space closes
    assert abs(zeros.estimate.mean - 70) < 5 * zeros.estimate.stderr
    assert zeros.estimate.stderr < 1.5
    assert zeros.low == pytest.approx(zeros.estimate.mean) and zeros.high == pytest.approx(zeros.low)


@pytest.mark.parametrize("scale", [1e-6, 1e-30])
def test_a_small_spectrum_is_a_scaled_one(scale):
    exponent = int(np.floor(np.log2(scale)))
    A = goe(200, 13)
    S, small = slq(A, 30, probes=3, seed=14), slq(np.ldexp(A, exponent), 30, probes=3, seed=14)
    np.testing.assert_array_equal(np.ldexp(S.nodes, exponent), small.nodes)
    np.testing.assert_array_equal(S.weights, small.weights)
    np.testing.assert_allclose(small.density(np.ldexp(0.3, exponent)), np.ldexp(S.density(0.3), -exponent), rtol=1e-12)


def test_moments_are_exact_in_every_probe_up_to_twice_the_steps():
    A, k = goe(60, 15), 6
    S, long = slq(A, k, probes=5, seed=16), slq(A, 60, probes=5, seed=16)
    for j in range(2 * k):
        # rounding of 60 products and of sums of terms up to 2^j
        assert S.moment(j).mean == pytest.approx(long.moment(j).mean, abs=1e-13 * 2**j)
    assert abs(S.moment(2 * k).mean - long.moment(2 * k).mean) > 1e-6


def test_probe_errors_are_the_spread_of_independent_runs():
    A = goe(150, 17)
    runs = [slq(A, 12, probes=10, seed=seed) for seed in range(60)]
    for read in (lambda S: S.moment(2), lambda S: S.trace(np.exp)):
        values = [read(S) for S in runs]
        spread = np.std([v.mean for v in values], ddof=1)
        claimed = np.sqrt(np.mean([v.stderr**2 for v in values]))
        assert 0.65 < claimed / spread < 1.5  # 59 degrees of freedom: 9 % each, more than four of them away


def test_outliers_do_not_blur_the_bulk():
    rng = np.random.default_rng(18)
    bulk = 0.2 * rng.normal(size=5000)
    A = sp.diags_array(np.concatenate([bulk, [5.0, 8.0, 10.0, 20.0, 50.0]]))
    S = slq(sp.csr_array(A), 80, probes=6, seed=19, distribution="gaussian")
    peak = 1 / (0.2 * np.sqrt(2 * np.pi))
    assert S.density(0.0) == pytest.approx(peak, rel=0.1)
    assert S.density(0.0, sigma="global") < 0.8 * peak
    np.testing.assert_allclose(
        S.count(4.0, 60.0).estimate.mean, 5, atol=6
    )  # five weights of 1 +- sqrt(2) by 6 probes: 5 sigma
    assert 50.0 == pytest.approx(S.edges[1], rel=1e-12)
