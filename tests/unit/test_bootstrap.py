"""The bootstrap over groups against closed forms, and what its draws depend on."""

import hashlib
import math

import numpy as np
import pytest

from nnqft._bootstrap import _weights
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError, StateError
from nnqft.wick import bootstrap, jackknife

EPS = np.finfo(float).eps


def test_for_a_mean_it_is_the_standard_deviation_of_the_groups():
    # The bootstrap variance of a mean is sum (x - xbar)^2 / G^2; 4000 replicates know its root to 1.1 %, 5 of those.
    x = np.random.default_rng(1).normal(size=(50, 3))
    result = bootstrap(x, function=lambda mean: mean, n_boot=4000, seed=1)
    np.testing.assert_allclose(result.stderr, x.std(axis=0) / math.sqrt(50), rtol=0.056)
    np.testing.assert_allclose(result.estimate, x.mean(axis=0), rtol=0, atol=50 * EPS)
    assert result.n_groups == 50 and result.n_boot == 4000
    assert repr(result) == "Bootstrap(n_groups=50, n_boot=4000)"


def test_for_a_smooth_function_it_agrees_with_the_jackknife():
    # From the same 400 groups they differ by O(1/400); the bootstrap's own noise is 2.2 %, 5 of those.
    rng = np.random.default_rng(2)
    counts = rng.integers(1, 20, 400)
    sums = rng.normal(counts, np.sqrt(counts), size=(3, 400)).T
    boot = bootstrap(sums, counts, function=np.exp, seed=2)
    jack = jackknife(sums, counts, function=np.exp)
    np.testing.assert_allclose(boot.stderr, jack.stderr, rtol=0.12)
    assert np.all(np.abs(boot.corrected - jack.corrected) < 4 * jack.stderr / math.sqrt(1000))


def test_the_weights_of_a_replicate_add_up_to_the_number_of_groups():
    weights = _weights(3, slice(5, 25), 37)
    assert weights.shape == (20, 37) and (weights >= 0).all() and (weights.sum(axis=1) == 37).all()


@pytest.mark.parametrize("groups", [2, 3, 64, 1000])
def test_every_group_is_drawn_equally_often(groups):
    # chi^2 over G groups in 200 G draws: within 5 standard deviations sqrt(2 (G-1)) of G - 1.
    drawn = _weights(4, slice(0, 200), groups).sum(axis=0)
    chi2 = np.sum((drawn - 200) ** 2) / 200
    assert abs(chi2 - (groups - 1)) < 5 * math.sqrt(2 * (groups - 1))


def test_the_draws_are_these_bits_on_every_machine():
    weights = _weights(7, slice(0, 50), 64).astype("<f8").tobytes()
    assert hashlib.sha256(weights).hexdigest() == "c73e71327cbb98bf0af901ce176748a887613e4c67bad302cdbb75d7c33aa6fa"


def test_a_replicate_depends_on_the_seed_and_its_number_alone():
    x = np.arange(30.0)
    long = bootstrap(x, function=lambda mean: mean, n_boot=300, seed=5).replicates
    short = bootstrap(x, function=lambda mean: mean, n_boot=100, seed=5, max_bytes=1).replicates
    assert np.array_equal(long[:100], short)  # integers: the matrix product is exact in any order
    assert not np.array_equal(long[:100], bootstrap(x, function=lambda mean: mean, n_boot=100, seed=6).replicates)
    assert np.array_equal(_weights(5, slice(40, 45), 30), _weights(5, slice(0, 300), 30)[40:45])


def test_a_seed_sequence_or_a_generator_seeds_too_and_nothing_touches_the_global_state():
    before = np.random.get_state()[1].copy()
    sequence = [bootstrap(np.arange(9.0), function=np.exp, seed=np.random.SeedSequence(1)).stderr for _ in range(2)]
    assert sequence[0] == sequence[1]
    generator = np.random.default_rng(1)
    first, second = (bootstrap(np.arange(9.0), function=np.exp, seed=generator).stderr for _ in range(2))
    assert first != second
    assert np.array_equal(before, np.random.get_state()[1])


@pytest.mark.parametrize(("max_bytes", "largest"), [(1, 1), (3000, 2), (1 << 28, 100)])
def test_the_batch_size_changes_no_result(max_bytes, largest):
    rng = np.random.default_rng(6)
    values, counts = rng.normal(size=(30, 4, 2)), rng.integers(1, 9, 30)
    whole = bootstrap(values, counts, function=np.exp, n_boot=100, seed=1)
    rows = []

    def function(mean):
        rows.append(len(mean))
        return np.exp(mean)

    split = bootstrap(values, counts, function=function, n_boot=100, seed=1, max_bytes=max_bytes)
    np.testing.assert_allclose(split.replicates, whole.replicates, rtol=100 * EPS)
    np.testing.assert_allclose(split.stderr, whole.stderr, rtol=1e3 * EPS)
    assert rows[0] == 1 and sum(rows[1:]) == 100 and max(rows) == largest  # 1040 bytes per row


def test_groups_weigh_by_their_counts_and_empty_ones_are_left_out():
    rng = np.random.default_rng(7)
    counts = rng.integers(1, 5, 12)
    sums = rng.integers(-9, 9, (12, 2)).astype(float)
    with_empty = np.insert(sums, [0, 5], 0.0, axis=0), np.insert(counts, [0, 5], 0)
    a = bootstrap(sums, counts, function=np.sin, seed=1, n_boot=50)
    b = bootstrap(*with_empty, function=np.sin, seed=1, n_boot=50)
    assert b.n_groups == 12 and np.array_equal(a.replicates, b.replicates)
    weights = _weights(1, slice(0, 50), 12)
    np.testing.assert_allclose(a.replicates, np.sin(weights @ sums / (weights @ counts)[:, None]), rtol=1e3 * EPS)


def test_the_function_can_ask_for_the_number_of_samples():
    counts = np.arange(1.0, 11.0)
    seen = []

    def function(mean, n):
        seen.append(n)
        return mean

    bootstrap(counts, counts, function=function, with_counts=True, n_boot=20, seed=1)
    assert seen[0].tolist() == [55.0]
    assert np.array_equal(np.concatenate(seen[1:]), _weights(1, slice(0, 20), 10) @ counts)
    seen.clear()
    jackknife(counts, counts, function=function, with_counts=True)
    assert np.concatenate(seen).tolist() == [55.0, *(55.0 - counts)]


@pytest.mark.parametrize("shape", [dict, tuple])
def test_the_result_has_the_structure_that_the_function_returned(shape):
    x = {"a": np.random.default_rng(8).normal(size=(10, 2))}

    def function(mean):
        parts = {"sum": mean["a"].sum(axis=1), "square": mean["a"] ** 2}
        return parts if shape is dict else tuple(parts.values())

    result = bootstrap(x, function=function, n_boot=30, seed=1)
    low, high = result.interval()
    for part in (result.estimate, result.corrected, result.stderr, low, high):
        assert type(part) is shape
        parts = list(part.values()) if shape is dict else part
        assert [np.shape(p) for p in parts] == [(), (2,)]
    parts = list(result.quantiles([0.1, 0.5, 0.9]).values() if shape is dict else result.quantiles([0.1, 0.5, 0.9]))
    assert [p.shape for p in parts] == [(3,), (3, 2)]


def test_quantiles_are_those_of_the_replicates_and_an_interval_is_two_of_them():
    result = bootstrap(np.random.default_rng(9).normal(size=(20, 2)), function=np.exp, seed=1)
    assert np.array_equal(result.quantiles(0.3), np.quantile(result.replicates, 0.3, axis=0))
    low, high = result.interval(0.9)
    np.testing.assert_allclose([low, high], np.quantile(result.replicates, [0.05, 0.95], axis=0), rtol=10 * EPS)


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    # 400 experiments with 64 groups: coverage of the 90 % interval, 4 standard errors of a frequency are 6 %.
    x = np.random.default_rng(10).normal(size=(64, 400))
    low, high = bootstrap(x, function=lambda mean: mean, n_boot=2000, seed=10).interval(0.9)
    assert abs(np.mean((low < 0) & (0 < high)) - 0.9) < 0.06


def test_replicates_need_not_be_kept():
    x = np.random.default_rng(11).normal(size=20)
    kept, light = (bootstrap(x, function=np.exp, seed=1, keep=keep) for keep in (True, False))
    assert light.replicates is None and light.stderr == kept.stderr
    assert kept.stderr == pytest.approx(kept.replicates.std(ddof=1), rel=1e3 * EPS)
    for call in (light.interval, lambda: light.quantiles(0.5)):
        with pytest.raises(StateError, match="keep=True"):
            call()


def test_an_infinite_group_gives_nan_and_not_a_number():
    x = np.ones(10)
    x[3] = np.inf
    result = bootstrap(x, function=lambda mean: mean, seed=1)
    assert np.isnan(result.stderr) and np.isnan(result.interval()).all()


@pytest.mark.parametrize("groups", [1, 2, 7])
def test_fewer_groups_than_the_minimum_give_no_error_bar_and_say_so(groups):
    with pytest.warns(NNQFTWarning, match=f"{groups} groups.*8 are needed"):
        result = bootstrap(np.arange(1.0, groups + 1), function=np.exp, seed=1)
    assert np.isfinite(result.estimate)
    assert np.isnan(result.stderr) and np.isnan(result.quantiles(0.5)) and np.isnan(result.corrected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bootstrap(np.ones(9), np.ones(8), function=np.exp, seed=1), ShapeError, r"expected \(9,\)"),
        (lambda: bootstrap(np.ones(9), -np.ones(9), function=np.exp, seed=1), ArgumentError, "non-negative"),
        (lambda: bootstrap(np.ones(0), function=np.exp, seed=1), ArgumentError, "at least one"),
        (lambda: bootstrap(np.ones(9), function=np.sum, seed=1), ShapeError, "keep the batch axis"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed=1, n_boot=1), ArgumentError, "2..16777216, got 1"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed=1, n_boot=2**25), ArgumentError, "got 33554432"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed=1, n_boot=2.5), TypeError, "float"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed=-1), ArgumentError, "seed"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed="1"), ArgumentError, "seed"),
        (lambda: bootstrap(np.ones(9), function=np.exp), TypeError, "seed"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed=1).interval(1.0), ArgumentError, "between 0 and 1"),
        (lambda: bootstrap(np.ones(9), function=np.exp, seed=1).quantiles([0.5, np.nan]), ArgumentError, r"\[0, 1\]"),
    ],
)
def test_wrong_arguments_say_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
