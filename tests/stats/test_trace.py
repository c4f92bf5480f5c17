"""Stochastic traces: unbiased, with error bars that hold, and exact where the method says so."""

import numpy as np
import pytest

from nnqft.errors import ArgumentError
from nnqft.lanczos import trace

METHODS = ["hutchinson", "hutch++", "xtrace"]


def rotated(values, seed):
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))[0]
    A = (Q * values) @ Q.T
    return (A + A.T) / 2


SPECTRA = {
    "flat": np.linspace(-1, 1, 150) + 0.3,
    "steep": 0.7 ** np.arange(150.0),
    "power": 1 / np.arange(1.0, 151) ** 2,
    "indefinite": np.concatenate([np.linspace(-5, 5, 10), 0.01 * np.linspace(-1, 1, 140)]),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_estimates_are_unbiased_and_their_errors_are_honest(method, spectrum):
    values = SPECTRA[spectrum]
    A, exact = rotated(values, 1), values.sum()
    runs = [trace(A, 48, method=method, seed=seed) for seed in range(120)]
    found, claimed = np.array([[t.mean, t.stderr] for t in runs]).T
    spread = found.std(ddof=1)
    # |t| < 5 with 119 degrees of freedom; rounding where the range is exhausted.
    assert abs(found.mean() - exact) < 5 * spread / np.sqrt(120) + 1e-12
    # The spread is known to 6.5 %; XTrace's own error is known to be a rough one, as its estimates are correlated.
    ratio = np.sqrt(np.mean(claimed**2)) / spread
    assert (0.7 if method != "xtrace" else 0.5) < ratio < (1.4 if method != "xtrace" else 2.0)


def test_xtrace_wins_where_the_spectrum_decays():
    A = rotated(SPECTRA["steep"], 2)
    errors = {
        m: np.sqrt(np.mean([(trace(A, 48, method=m, seed=s).mean - SPECTRA["steep"].sum()) ** 2 for s in range(20)]))
        for m in METHODS
    }
    assert errors["xtrace"] < 0.2 * errors["hutch++"] < 0.2 * errors["hutchinson"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("distribution", ["rademacher", "gaussian", "sphere"])
def test_every_law_of_probes_is_unbiased(method, distribution):
    A = rotated(SPECTRA["power"] + 0.05, 3)
    found = [trace(A, 30, method=method, distribution=distribution, seed=s).mean for s in range(200)]
    exact = np.trace(A)
    # |z| < 5; the cap keeps the test sharp
    error = np.std(found, ddof=1) / np.sqrt(200)
    assert abs(np.mean(found) - exact) < 5 * error and error < 0.02 * exact


@pytest.mark.parametrize("method", ["hutch++", "xtrace"])
@pytest.mark.parametrize("rank", [0, 1, 5])
def test_low_rank_is_found_exactly(method, rank):
    values = np.concatenate([np.arange(1.0, rank + 1), np.zeros(100 - rank)])
    estimate = trace(rotated(values, 4), 30, method=method)
    assert estimate.mean == pytest.approx(values.sum(), abs=1e-12)
    assert estimate.stderr < 1e-12


def test_as_many_products_as_rows_give_the_trace_itself():
    A = rotated(SPECTRA["flat"], 5)
    for products in (150, 1000):
        estimate = trace(A, products)
        assert estimate.mean == pytest.approx(np.trace(A), rel=1e-13)
        assert estimate.stderr == 0 and estimate.how["estimator"] == "exact"
    assert trace(np.array([[7.0]])).mean == 7


@pytest.mark.parametrize("products", [24, 25, 26])
@pytest.mark.parametrize("method", METHODS)
def test_no_more_products_are_made_than_asked_for(method, products):
    A, made = rotated(SPECTRA["power"], 6), []

    class Counted:
        shape, dtype = A.shape, A.dtype

        def matmat(self, X):
            made.append(X.shape[1])
            return A @ X

        def matvec(self, x):
            made.append(1)
            return A @ x

    trace(Counted(), products, method=method)
    assert sum(made) == (products if method != "xtrace" else products // 2 * 2)


def test_diagonal_operators_are_exact_with_signs():
    estimate = trace(np.diag(np.arange(100.0)), 10, method="hutchinson")
    assert estimate.mean == pytest.approx(4950, rel=1e-14) and estimate.stderr < 1e-11


def test_seeds_decide_the_bits_and_powers_of_two_scale_through():
    A = rotated(SPECTRA["power"], 6)
    for method in METHODS:
        one, same, other = (trace(A, 24, method=method, seed=s) for s in (1, 1, 2))
        assert one == same and one != other
        for exponent in (-990, -300, 900):
            scaled = trace(np.ldexp(A, exponent), 24, method=method, seed=1)
            assert (scaled.mean, scaled.stderr) == (np.ldexp(one.mean, exponent), np.ldexp(one.stderr, exponent))


def test_float32_operators_are_summed_in_float64():
    A = rotated(SPECTRA["power"], 7)
    single, double = trace(A.astype(np.float32), 40), trace(A, 40)
    assert single.mean == pytest.approx(double.mean, rel=1e-5)


@pytest.mark.parametrize(("options", "message"), [
    ({"method": "hutch"}, "expected one of 'hutchinson'"), ({"products": 0}, "products is 0"), ({"products": 2}, "at least 4"),
    ({"products": 1, "method": "hutchinson"}, "at least 2"), ({"products": 5, "method": "hutch++"}, "at least 6"),
    ({"products": 6.5}, "6.5"), ({"distribution": "cauchy"}, "cauchy"), ({"seed": -1}, "seed"),
])  # fmt: skip
def test_senseless_arguments_are_refused(options, message):
    with pytest.raises(ArgumentError, match=message):
        trace(np.eye(20), **options)


def test_a_product_with_nan_is_named():
    A = np.eye(20)
    A[3, 3] = np.nan
    for method in METHODS:
        with pytest.raises(ArgumentError, match="not finite"):
            trace(A, 12, method=method)


def test_signs_that_fall_upon_each_other_are_no_exact_trace():
    """Of +-1 probes, four of which see six coordinates, some are equal there: 21 or an error, but no other number without an error bar."""
    A, refused = np.diag(np.r_[1.0:7.0, np.zeros(194)]), 0
    for seed in range(40):
        try:
            t = trace(A, 8, method="xtrace", distribution="rademacher", seed=seed)
            assert t.stderr > 1e-3
        except ArgumentError as error:
            assert "distribution='sphere'" in str(error)
            refused += 1
    assert 0 < refused < 20
    exhausted = np.diag(np.r_[1.0, 2.0, 3.0, np.zeros(47)])
    assert trace(exhausted, 20, method="xtrace", distribution="rademacher").mean == pytest.approx(6.0, abs=1e-12)
