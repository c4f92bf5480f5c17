"""Every statistic of symmetry against its closed form, with error bars that are the spread of repeated samples."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf, ndtr
from scipy.stats import chi2 as chi2_law
from scipy.stats import foldnorm

from nnqft.lanczos import SpectralDensity, slq, spectral_symmetry

MU, SIGMA, N, GROUPS, BINS, WIDTH = 0.15, 0.8, 20_000, 40, 12, 0.2


def gaussian_values():
    """What x = MU + SIGMA z has, z standard normal."""
    m, s = MU, SIGMA
    m2, m4 = m**2 + s**2, m**4 + 6 * m**2 * s**2 + 3 * s**4
    pdf = lambda x: np.exp(-0.5 * ((x - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
    carried = quad(lambda x: pdf(x) * x * x / m2 * np.log(x * x / m2), -12, 12, points=[0], epsabs=1e-12, limit=200)[0]
    # Classes of |x| with equal shares. Given N in a class, the signs are coins with bias d: E (N_+ - N_-)^2 / N = N d^2 + 1 - d^2.
    edges = foldnorm.ppf(np.arange(BINS + 1) / BINS, m / s, scale=s)
    up, down = np.diff(ndtr((edges - m) / s)), np.diff(ndtr((edges + m) / s))
    d = (up - down) / (up + down)
    return {
        "trace_ratio": m / m2**0.5,
        "skew3": (m**3 + 3 * m * s**2) / m2**1.5,
        "skew5": (m**5 + 10 * m**3 * s**2 + 15 * m * s**4) / m2**2.5,
        "w1": 2 * m / (s * np.sqrt(2 / np.pi) * np.exp(-0.5 * (m / s) ** 2) + m * erf(m / s / np.sqrt(2))),  # laws apart by 2 MU
        "ks": 2 * ndtr(m / s) - 1,
        "negative": ndtr(-m / s),
        "zero": 0.0,
        "positive": ndtr(m / s),
        "odd_energy": (1 - np.exp(-(m**2) / (s**2 + WIDTH**2))) / 2,
        "participation": m2**2 / m4,
        "entropy": np.log(N) - carried,
        "sign_test": (2 * ndtr(m / s) - 1) * np.sqrt(N),
        "chi2": np.sum(N / BINS * d**2 + 1 - d**2),
    }


# One in 10^5 for 39 degrees of freedom; the cap on the error bar keeps it sharp.
CAPS = {"trace_ratio": 0.01, "skew3": 0.04, "skew5": 0.3, "w1": 0.025, "ks": 0.01, "negative": 0.005, "zero": 1e-15, "positive": 0.005,
        "odd_energy": 0.004, "participation": 0.008, "entropy": 0.015, "sign_test": 1.5, "chi2": 80}  # fmt: skip


def test_every_statistic_of_gaussian_samples_has_its_closed_form():
    exact = gaussian_values()
    x = MU + SIGMA * np.random.default_rng(1).normal(size=N)
    s = spectral_symmetry(x, groups=GROUPS, tol=0.0, bins=BINS, width=WIDTH)
    assert s.bins == BINS and s.n == N
    for name, value in exact.items():
        found = getattr(s, name)
        bias = 1e-3 if name in ("w1", "ks") else 1e-12  # maxima and integrals of moduli: 1 / sqrt(n) where F is flat
        assert abs(found.mean - value) < 5 * found.stderr + bias, name
        assert found.stderr <= CAPS[name], name


def test_error_bars_are_the_spread_of_repeated_samples():
    rng, n, groups = np.random.default_rng(2), 4000, 20
    runs = [spectral_symmetry(MU + SIGMA * rng.normal(size=n), groups=groups, tol=0.0) for _ in range(80)]
    for name in CAPS:
        if name == "zero":
            continue
        values, errors = np.array([[getattr(s, name).mean, getattr(s, name).stderr] for s in runs]).T
        # Spread known to 8 %, the mean square of 80 errors from 19 degrees of freedom to 4 %; heavier tails of high powers.
        assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.4, name


def test_the_entropy_of_centred_gaussians_is_the_digamma_value():
    # E[y log y] for y = z^2 is 2 - gamma - log 2.
    x = np.random.default_rng(3).normal(size=20_000)
    s = spectral_symmetry(x, groups=40)
    assert abs(s.entropy.mean - np.log(20_000) + 2 - np.euler_gamma - np.log(2)) < 5 * s.entropy.stderr
    assert s.entropy.stderr < 0.01


@pytest.mark.parametrize(("x", "entropy", "participation"), [
    ([1.0, -1.0, 1.0, 1.0], np.log(4), 1.0), ([0.0, 0.0, 5.0], 0.0, 1 / 3), ([3.0, -3.0, 0.0, 0.0], np.log(2), 0.5),
    ([1.0, 2.0], np.log(5) - 0.8 * np.log(4), 25 / 34),
])  # fmt: skip
def test_entropy_and_participation_count_who_carries_the_squares(x, entropy, participation):
    s = spectral_symmetry(x)
    assert s.entropy.mean == pytest.approx(entropy, abs=1e-14) and s.participation.mean == pytest.approx(participation)


def test_the_sign_and_histogram_tests_have_their_laws_without_asymmetry():
    rng = np.random.default_rng(4)
    runs = [spectral_symmetry(rng.standard_t(3, size=900), bins=15) for _ in range(250)]
    chi2, sign = (np.array([getattr(s, name).mean for s in runs]) for name in ("chi2", "sign_test"))
    # Given the classes' sizes N = 60, signs are fair coins: mean exactly 15, variance 15 * 2 (1 - 1/60).
    assert abs(chi2.mean() - 15) < 5 * np.sqrt(29.5 / 250) and 0.6 < chi2.var(ddof=1) / 29.5 < 1.6
    assert abs(sign.mean()) < 5 / np.sqrt(250) and 0.6 < sign.var(ddof=1) < 1.6  # known to 9 %
    # 5 % and 50 % points of chi^2, by 250 runs: five standard errors.
    for share in (0.05, 0.5):
        assert abs(np.mean(chi2 > chi2_law.isf(share, 15)) - share) < 5 * np.sqrt(share * (1 - share) / 250)


def test_histograms_see_what_signs_and_skewness_do_not():
    # Half of the mass at +1 and -3, half at -1 and +3 but with shares 2:1 within: no sign bias, no odd third moment at the end.
    x = np.repeat([1.0, -1.0, 2.0, -2.0], [400, 200, 200, 400])
    x = np.random.default_rng(5).permutation(x)
    s = spectral_symmetry(x, bins=2)
    assert s.sign_test.mean == 0
    assert s.chi2.mean == pytest.approx(2 * 200**2 / 600)  # (400 - 200)^2 / 600, twice; chi^2 with 2: once in 10^29


def test_edges_of_a_uniform_law_have_their_ratio():
    rng = np.random.default_rng(6)
    s = spectral_symmetry(rng.uniform(-2, 3, size=20_000), groups=20)
    assert s.edge_ratio.mean == pytest.approx(2 / 3, abs=20 * 5 / 20_000)  # extremes miss by an exponential law of mean 5 / n: e^-12
    assert s.edge_ratio.stderr < 1e-3


@pytest.mark.parametrize(("n", "accuracy"), [(50, 1e-12), (50_000, 5e-3)])  # pair by pair; on a grid of width / 10
def test_the_odd_energy_of_two_peaks_is_that_of_two_gaussians(n, accuracy):
    # Shares a at 1 and b at -1, smoothed by h: odd part (a - b)/2, so the odd energy is (a-b)^2 (1 - o) / (2 (a^2 + b^2 + 2 a b o)).
    x, h = np.where(np.arange(n) % 5 < 3, 1.0, -1.0), 0.6
    a, b, o = 0.6, 0.4, np.exp(-1 / 0.6**2)
    exact = (a - b) ** 2 * (1 - o) / (2 * (a * a + b * b + 2 * a * b * o))
    assert spectral_symmetry(x, width=h).odd_energy.mean == pytest.approx(exact, rel=accuracy)


def test_noise_of_rows_does_not_count_as_odd():
    rng = np.random.default_rng(7)
    found = [spectral_symmetry(rng.normal(size=(10, 60))).odd_energy for _ in range(150)]
    values = np.array([f.mean for f in found])
    assert abs(values.mean()) < 5 * values.std(ddof=1) / np.sqrt(150) and values.std(ddof=1) < 0.03
    one_row = np.mean([spectral_symmetry(rng.normal(size=60)).odd_energy.mean for _ in range(150)])
    assert one_row > 0.005  # the same without care: the noise of 60 values


def test_quadratures_have_the_statistics_of_their_spectrum():
    # A spectrum without symmetry, all of it resolved: 60 eigenvalues by 60 steps.
    values = np.concatenate([np.linspace(-1, 2, 55), [-4.0, -3.0, 5.0, 6.0, 7.0]])
    Q = np.linalg.qr(np.random.default_rng(8).normal(size=(60, 60)))[0]
    A = (Q * values) @ Q.T
    S, exact = slq((A + A.T) / 2, 60, probes=60, seed=9), spectral_symmetry(values)
    s = spectral_symmetry(S, width=0.5)
    exact = spectral_symmetry(SpectralDensity.from_eigenvalues(values), width=0.5)
    for name in ("trace_ratio", "skew3", "skew5", "w1", "ks", "negative", "positive", "odd_energy", "participation", "entropy", "sign_test"):
        found = getattr(s, name)
        # |t| < 5 with 59 degrees of freedom, eleven numbers: once in 10^4; ratios of means are biased by a fraction of the error squared.
        assert abs(found.mean - getattr(exact, name).mean) < 5 * found.stderr + 0.02, name
    assert s.edge_ratio.mean == pytest.approx(4 / 7, rel=1e-9)
    assert np.isnan(s.chi2.mean) and s.entropy.stderr < 0.05 and s.odd_energy.stderr < 0.01


def test_the_quantile_classes_are_equally_filled():
    x = np.abs(np.random.default_rng(10).normal(size=1000))
    s = spectral_symmetry(np.concatenate([np.zeros(500), x]), bins=7, tol=1e-9)
    assert s.chi2.mean == pytest.approx(1000)  # all signs equal: every class gives its own size
    # Small values positive, large ones negative: two classes of 500 see it whole, one sees nothing.
    mixed = np.concatenate([np.zeros(500), np.where(x < np.median(x), x, -x)])
    assert spectral_symmetry(mixed, bins=2).chi2.mean == pytest.approx(1000)
    assert spectral_symmetry(mixed, bins=1).chi2.mean < 1e-20  # rounding, squared
    assert s.zero.mean == pytest.approx(1 / 3) and s.sign_test.mean == pytest.approx(2 / 3 * np.sqrt(1500))
    assert spectral_symmetry(np.arange(1.0, 26)).bins == 2 and spectral_symmetry([0.0, 1.0]).bins == 1
