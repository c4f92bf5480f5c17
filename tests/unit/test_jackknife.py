"""The delete-one-group jackknife against textbook formulas."""

import math

import numpy as np
import pytest

from nnqft._jackknife import replicates
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.wick import jackknife

EPS = np.finfo(float).eps


def test_for_the_mean_of_equal_groups_it_is_the_standard_error_of_the_mean():
    x = np.random.default_rng(1).normal(size=(40, 3))
    result = jackknife(x, function=lambda mean: mean)
    np.testing.assert_allclose(result.stderr, x.std(axis=0, ddof=1) / math.sqrt(40), rtol=1e3 * EPS)
    np.testing.assert_allclose(result.estimate, x.mean(axis=0), rtol=40 * EPS)
    np.testing.assert_allclose(result.corrected, result.estimate, rtol=0, atol=40 * EPS)
    assert result.n_groups == 40


def test_for_the_mean_of_unequal_groups_it_is_the_weighted_formula():
    # theta_g - mean = -(xbar_g - mean) n_g / (n - n_g) turns the definition into this sum.
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 30, 20)
    means = rng.normal(size=20)
    pooled = np.sum(counts * means) / counts.sum()
    expected = math.sqrt(np.mean(counts * (means - pooled) ** 2 / (counts.sum() - counts)))
    result = jackknife(counts * means, counts, function=lambda mean: mean)
    assert result.stderr == pytest.approx(expected, rel=1e3 * EPS)


def test_the_bias_of_the_plug_in_variance_is_removed_exactly():
    x = np.random.default_rng(3).normal(size=25)
    result = jackknife({"x": x, "xx": x * x}, function=lambda mean: mean["xx"] - mean["x"] ** 2)
    assert result.estimate == pytest.approx(x.var(), rel=100 * EPS)
    assert result.corrected == pytest.approx(x.var(ddof=1), rel=1e3 * EPS)


def test_the_error_bar_covers_the_scatter_of_a_nonlinear_function():
    # 300 experiments: mean stderr^2 over the true variance of mean^2, 4 mu^2/n (1 + O(1/n)); its own error is
    # sqrt(2/15 + ..)/sqrt(300) = 2.6 % with 16 groups, so 4 of those are 11 %.
    rng = np.random.default_rng(4)
    samples = rng.normal(1.0, 1.0, size=(16, 100, 300)).sum(axis=1)
    result = jackknife(samples, np.full(16, 100), function=lambda mean: mean**2)
    assert np.mean(result.stderr**2) == pytest.approx(4 / 1600, rel=0.11)
    z = (result.corrected - 1.0) / result.stderr
    assert abs(z.mean()) * math.sqrt(300) < 4


@pytest.mark.parametrize(("max_bytes", "largest"), [(1, 1), (1000, 3), (1 << 28, 30)])
def test_the_batch_size_changes_no_result(max_bytes, largest):
    rng = np.random.default_rng(5)
    values, counts = rng.normal(size=(30, 4, 2)), rng.integers(1, 9, 30)
    whole = jackknife(values, counts, function=np.exp)
    rows = []

    def function(mean):
        rows.append(len(mean))
        return np.exp(mean)

    split = jackknife(values, counts, function=function, max_bytes=max_bytes)
    # Summing 30 numbers in another grouping costs at most 30 eps of the sum of their sizes.
    np.testing.assert_allclose(split.stderr, whole.stderr, rtol=300 * EPS)
    np.testing.assert_allclose(split.corrected, whole.corrected, rtol=300 * EPS)
    assert rows[0] == 1 and sum(rows[1:]) == 30 and max(rows) == largest  # 320 bytes per row


def test_groups_without_samples_are_left_out():
    rng = np.random.default_rng(6)
    sums, counts = rng.normal(size=(12, 2)), rng.integers(1, 5, 12)
    with_empty = np.insert(sums, [0, 5], 0.0, axis=0), np.insert(counts, [0, 5], 0)
    a, b = jackknife(sums, counts, function=np.sin), jackknife(*with_empty, function=np.sin)
    assert b.n_groups == 12 and np.array_equal(a.stderr, b.stderr) and np.array_equal(a.corrected, b.corrected)


@pytest.mark.parametrize("shape", [dict, tuple])
def test_the_result_has_the_structure_that_the_function_returned(shape):
    x = np.random.default_rng(7).normal(size=(10, 2))

    def function(mean):
        parts = {"sum": mean.sum(axis=1), "square": mean**2}
        return parts if shape is dict else tuple(parts.values())

    result = jackknife(x, function=function)
    for part in (result.estimate, result.corrected, result.stderr):
        assert type(part) is shape
        parts = list(part.values()) if shape is dict else part
        assert [np.shape(p) for p in parts] == [(), (2,)]


def test_an_infinite_group_gives_nan_and_not_a_number():
    x = np.ones(10)
    x[3] = np.inf
    result = jackknife(x, function=lambda mean: mean)
    assert np.isnan(result.stderr) and np.isinf(result.estimate)


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_fewer_groups_than_the_minimum_give_no_error_bar_and_say_so(groups):
    with pytest.warns(NNQFTWarning, match=f"{groups} groups.*8 are needed"):
        result = jackknife(np.arange(1.0, groups + 1), function=np.exp)
    assert np.isnan(result.stderr)
    assert np.isfinite(result.estimate)
    assert np.isnan(result.corrected) == (groups == 1)


def test_the_minimum_can_be_lowered_to_two_groups():
    assert jackknife(np.array([1.0, 3.0]), function=lambda mean: mean, min_groups=2).stderr == 1.0


@pytest.mark.parametrize(
    ("values", "counts", "function", "error", "message"),
    [
        (np.ones(9), np.ones(8), np.exp, ShapeError, r"expected \(9,\)"),
        (np.ones(9), -np.ones(9), np.exp, ArgumentError, "non-negative"),
        (np.ones(9), np.zeros(9), np.exp, ArgumentError, "at least one"),
        (np.ones(9), np.full(9, np.nan), np.exp, ArgumentError, "finite"),
        (np.ones(0), None, np.exp, ArgumentError, "at least one"),
        (np.float64(1), None, np.exp, ShapeError, "leading axis"),
        ((np.ones(9), np.ones(8)), None, lambda m: m[0], ShapeError, "leading axis"),
        ((), None, lambda m: m, ShapeError, "leading axis"),
        (np.ones(9), None, lambda m: m.sum(), ShapeError, "keep the batch axis"),
    ],
)
def test_wrong_arguments_say_what_was_expected(values, counts, function, error, message):
    with pytest.raises(error, match=message):
        jackknife(values, counts, function=function)


def test_replicates_are_what_the_errors_of_the_jackknife_are_made_of():
    rng = np.random.default_rng(2)
    sums, counts = rng.normal(1.0, 0.1, (40, 3)), np.r_[rng.integers(1, 9, 39), 0]
    function = lambda means: np.stack([means[:, 0] * means[:, 1], np.exp(means[:, 2])], axis=1)
    whole = jackknife(sums, counts, function=function)
    for max_bytes in (1, 1 << 28):
        estimate, corrected, rows = replicates(sums, counts, function=function, max_bytes=max_bytes)
        np.testing.assert_allclose(estimate, whole.estimate, rtol=1e-15)
        np.testing.assert_allclose(corrected, whole.corrected, rtol=1e-13)
        np.testing.assert_allclose(np.sqrt((rows**2).sum(axis=0)), whole.stderr, rtol=1e-12)
    assert rows.shape == (39, 2)
