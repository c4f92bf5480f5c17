"""Variance profiles: exact for arrays, unbiased from products, and the law they lead to."""

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import dyson_density, variance_profile
from nnqft.lanczos import SpectralDensity, slq

SIZES = [60, 150, 90]
S = np.array([[0.0, 1.0, 0.5], [1.0, 0.0, 2.0], [0.5, 2.0, 0.0]])


def sample(seed):
    block = np.repeat(np.arange(3), SIZES)
    G = np.random.default_rng(seed).normal(size=(300, 300)) * np.sqrt(S[np.ix_(block, block)] / 300)
    H = np.triu(G, 1)
    return H + H.T


def test_arrays_are_measured_entry_by_entry():
    H = sample(1)
    profile = variance_profile(H, SIZES)
    assert profile.variance[0, 1] == pytest.approx(300 * np.mean(H[:60, 60:210] ** 2), rel=1e-13)
    assert profile.variance[2, 2] == 0 and not profile.stderr.any()
    np.testing.assert_array_equal(profile.variance, profile.variance.T)
    np.testing.assert_allclose(profile.weights, [0.2, 0.5, 0.3])


def test_products_give_the_same_within_their_errors():
    H = sample(2)
    exact = variance_profile(H, SIZES).variance
    profile = variance_profile(sp.csr_array(H), SIZES, probes=40, seed=3)
    np.testing.assert_array_equal(profile.variance, profile.variance.T)
    # |t| < 5 with 39 degrees of freedom; zero blocks are exact.
    assert (abs(profile.variance - exact) <= 5 * profile.stderr).all()
    assert (profile.stderr[exact > 0] < 0.05 * exact[exact > 0]).all() and (profile.stderr[exact == 0] == 0).all()


def test_the_law_of_a_measured_profile_lies_over_the_measured_spectrum():
    H = sample(4)
    x = np.linspace(-2.3, 2.3, 2301)
    law = dyson_density(variance_profile(H, SIZES), x)
    spectrum = SpectralDensity.from_eigenvalues(np.linalg.eigvalsh(H))
    assert law.moment(2) == pytest.approx(spectrum.moment(2).mean, rel=0.02)
    # The density's singularity at 0 costs the grid's sum 2 %; a hundredth of the eigenvalues scatter.
    assert np.mean(abs(np.cumsum(law.pdf) * (x[1] - x[0]) - spectrum.cdf(x))) < 0.02
    measured = slq(H, 40, probes=8)
    assert np.mean(abs(measured.cdf(x) - spectrum.cdf(x))) < 0.02


@pytest.mark.parametrize(("sizes", "options", "error", "message"), [
    ([1, 1], {}, ShapeError, "add up to 2; the matrix has 3"), ([], {}, ShapeError, "add up to 0"),
    ([3, 0], {}, ArgumentError, "sizes is 0"), ([1, 2], {"probes": 1}, ArgumentError, "probes is 1"),
])  # fmt: skip
def test_senseless_blocks_are_refused(sizes, options, error, message):
    with pytest.raises(error, match=message):
        variance_profile(np.eye(3), sizes, **options)


def test_entries_that_are_not_finite_are_refused():
    with pytest.raises(ArgumentError, match="nan or inf"):
        variance_profile(np.diag([1.0, np.nan]), [1, 1])
