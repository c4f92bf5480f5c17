"""Connected functions of samples: values, biases and error bars. Fixed seeds; bounds state failure probabilities."""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.wick import MomentAccumulator, bootstrap, connected, cumulants, jackknife, moments

DATA = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())["rademacher_cumulants"]
EPS = np.finfo(float).eps


def multisets(m, n):
    return list(itertools.combinations_with_replacement(range(m), n))


def group_sums(x, orders, groups):
    parts = np.array_split(x, groups)
    sums = {
        n: np.array([[np.prod(p[:, row], axis=1).sum() for row in multisets(x.shape[1], n)] for p in parts])
        for n in orders
    }
    return sums, np.array([len(p) for p in parts])


# ------------------------------------------------------------------------------ values


@pytest.mark.parametrize("unbiased", ["kstat", "jackknife", None])
@pytest.mark.parametrize("n", [4, 6, 8])
def test_a_gaussian_has_no_connected_function_above_the_second(n, unbiased):
    # 3 correlated fields, up to 45 entries: one |t| > 6 with 63 degrees of freedom has a probability of 45 * 1e-7.
    L = np.array([[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.2, 0.9]])
    x = np.random.default_rng(n).normal(size=(40_000, 3)) @ L.T
    for even in (True, False):
        T = connected(x, n, even=even, unbiased=unbiased)
        assert np.all(np.abs(T.mean) < 6 * T.stderr)
        # One field of variance 1 has sqrt(n! / R) at leading order.
        assert np.all(T.stderr < 4 * math.sqrt(math.factorial(n) / 40_000))


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_a_linear_model_of_signs_has_the_tabulated_cumulants(n, even):
    # kappa_n = kappa_n(sign) sum_a w_i1a .. w_ina; up to 45 entries, |t| > 6 with a probability below 1e-5.
    w = np.array(DATA["w"])[:3]
    x = np.random.default_rng(n).choice([-1.0, 1.0], size=(200_000, 3)) @ w.T
    T = connected(x, n, even=even)
    exact = np.array(
        [
            DATA["kappa_single"][str(n)] * sum(math.prod(w[i, a] for i in row) for a in range(3))
            for row in T.index.tolist()
        ]
    )
    assert np.all(np.abs(T.mean - exact) < 6 * T.stderr)
    diagonal = [T[(i,) * n] for i in range(3)]
    assert all(t.stderr < (0.01, 0.05, 0.15, 0.8)[n // 2 - 1] * abs(t.mean) for t in diagonal)


@pytest.mark.parametrize("n", [1, 3, 5])
def test_odd_orders_are_those_of_a_skew_law(n):
    # kappa_n = (n-1)! of a unit exponential, 1 entry; |t| > 5 with 63 degrees of freedom has a probability of 5e-6.
    T = connected(np.random.default_rng(n).exponential(size=(400_000, 1)), n, even=False)
    assert abs(T.mean[0] - math.factorial(n - 1)) < 5 * T.stderr[0] < math.factorial(n - 1)


def test_group_sums_give_what_the_samples_give():
    x = np.random.default_rng(1).normal(size=(1000, 3))
    for n, even in ((4, True), (6, True), (3, False), (4, False)):
        sums, counts = group_sums(x, range(2 if even else 1, n + 1, 2 if even else 1), 20)
        for unbiased in ("kstat", "jackknife", None):
            a = connected(x, n, even=even, unbiased=unbiased, blocks=20)
            b = connected(sums, n, counts=counts, even=even, unbiased=unbiased)
            np.testing.assert_allclose(b.mean, a.mean, rtol=0, atol=1e4 * EPS)
            np.testing.assert_allclose(b.stderr, a.stderr, rtol=1e5 * EPS)
            assert (
                (a.n, dict(a.how))
                == (b.n, dict(b.how))
                == (1000, {"estimator": unbiased or "plug-in", "even": even, "groups": 20})
            )


@pytest.mark.parametrize(
    ("n_samples", "blocks"), [(100, 64), (127, 64), (128, 64), (10, 8), (9, 20), (1000, 7), (15, 8)]
)
@pytest.mark.parametrize("even", [True, False])
def test_every_sample_counts_once_in_as_many_groups_as_asked_for(n_samples, blocks, even):
    x = np.random.default_rng(3).normal(size=(n_samples, 2))
    if blocks < 8:
        with pytest.warns(NNQFTWarning, match="7 groups"):
            T = connected(x, 2, even=even, blocks=blocks)
    else:
        T = connected(x, 2, even=even, blocks=blocks)
        assert np.isfinite(T.stderr).all()
    assert T.n == n_samples and T.how["groups"] == min(blocks, n_samples)
    expected = x.T @ x / n_samples if even else np.cov(x.T)
    np.testing.assert_allclose(T.mean, expected[np.triu_indices(2)], rtol=0, atol=1e3 * EPS)


def test_the_sums_of_an_accumulator_serve_as_they_are():
    x = np.random.default_rng(1).normal(size=(5000, 3))
    accumulator = MomentAccumulator(3, orders=(1, 2, 3, 4))
    accumulator.push(x[:1234])
    accumulator.push(x[1234:])
    sums, counts = accumulator.sums()
    for n, even in ((4, True), (3, False), (4, False)):
        a, b = connected(sums, n, counts=counts, even=even), connected(x, n, even=even)
        np.testing.assert_allclose(a.mean, b.mean, rtol=0, atol=1e4 * EPS)
        np.testing.assert_allclose(a.stderr, b.stderr, rtol=0.5)  # other groups of the same samples


def test_cumulants_of_measured_moments_are_the_uncorrected_estimates():
    x = np.random.default_rng(2).normal(size=(5000, 2))
    T = cumulants(moments(x, orders=(2, 4)), even=True)[4]
    np.testing.assert_allclose(T.mean, connected(x, 4, unbiased=None).mean, rtol=0, atol=100 * EPS)
    assert T.n == 5000 and np.isnan(T.stderr).all()


def test_without_correction_it_is_the_cumulant_of_the_empirical_law():
    x = np.random.default_rng(2).normal(size=(100, 2)) ** 2
    sums, _ = group_sums(x, range(1, 6), 1)
    exact = cumulants({n: s[0] / 100 for n, s in sums.items()})
    for n in exact:
        # Moments about zero, up to 24 * E[x]^5 and 1e3 in size; the function under test centres first.
        np.testing.assert_allclose(
            connected(x, n, even=False, unbiased=None).mean, exact[n], rtol=1e3 * EPS, atol=1e5 * EPS
        )


# ------------------------------------------------------------------------------ biases


def expected_bias(R, unbiased):
    """E[estimate] - kappa_6 for R samples, one per group, of the even law P(+-1) = 3/8, P(+-2) = 1/8, exactly."""
    kappa = cumulants({n: np.array([(3 + 2.0**n) / 4]) for n in (2, 4, 6)}, even=True)[6][0]
    total = 0.0
    for twos in range(R + 1):  # even products do not see signs
        x = np.where(np.arange(R) < twos, 2.0, 1.0) * np.where(np.arange(R) % 2, 1.0, -1.0)
        total += (
            math.comb(R, twos)
            * 3.0 ** (R - twos)
            / 4.0**R
            * connected(x[:, None], 6, unbiased=unbiased, blocks=R).mean[0]
        )
    return total - kappa


@pytest.mark.filterwarnings("ignore:even=True assumes")
def test_the_bias_of_the_six_point_function_is_of_the_order_that_is_said():
    # Exact expectations: no statistics here. kappa_6 = 16.75 - 15 * 4.75 * 1.75 + 30 * 1.75^3 = 52.84.
    plain, jack, kstat = ([expected_bias(R, u) for R in (16, 32, 64)] for u in (None, "jackknife", "kstat"))
    assert 1.8 < plain[0] / plain[1] < 2.3 and 1.8 < plain[1] / plain[2] < 2.2  # 1/R
    assert 3.4 < jack[0] / jack[1] < 5 and 3.6 < jack[1] / jack[2] < 4.5  # 1/R^2
    assert abs(jack[2]) < 0.02 * abs(plain[2])
    assert np.all(np.abs(kstat) < 1e4 * EPS * 52.84)


# ------------------------------------------------------------------------------ error bars


def test_error_bars_of_a_covariance_follow_the_closed_form():
    # Var k_ij = kappa_iijj / R + (k_ii k_jj + k_ij^2) / (R - 1). 64 groups know its root to 9 %, 4.5 of those.
    R = 20_000
    x = np.random.default_rng(3).normal(size=(R, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    K = np.array([[1.0, 0.5], [0.5, 1.25]])
    expected = [math.sqrt((K[i, i] * K[j, j] + K[i, j] ** 2) / (R - 1)) for i, j in multisets(2, 2)]
    np.testing.assert_allclose(connected(x, 2, even=False).stderr, expected, rtol=0.4)


def test_jackknife_and_bootstrap_error_bars_agree():
    # Each knows its error bar to about 1 / sqrt(2 * 64) = 9 %, from the same groups, the bootstrap to 2 % beyond them.
    x = np.random.default_rng(4).uniform(-1, 1, size=(20_000, 2))
    sums, counts = group_sums(x, (2, 4), 64)

    def function(mean):
        return cumulants(mean, even=True)[4]

    boot = bootstrap(sums, counts, function=function, seed=4)
    np.testing.assert_allclose(boot.stderr, connected(x, 4).stderr, rtol=0.15)
    np.testing.assert_allclose(boot.stderr, jackknife(sums, counts, function=function).stderr, rtol=0.15)


def test_error_bars_cover_the_scatter_of_the_fourth_order():
    # 250 experiments: their z have the standard deviation 1 up to 1/sqrt(500) = 4.5 %, the mean 0 +- 6 %; 4 of each.
    # 16 groups widen Student's z by 7 %.
    x = np.random.default_rng(5).uniform(-1, 1, size=(250, 800, 1))
    estimates = [connected(part, 4, blocks=16) for part in x]
    exact = 1 / 5 - 3 / 9
    z = np.array([(T.mean[0] - exact) / T.stderr[0] for T in estimates])
    assert abs(z.mean()) < 0.27 and 0.85 < z.std() < 1.27


# ------------------------------------------------------------------------------ input


@pytest.mark.parametrize("n", [2, 4])
def test_float32_strided_and_read_only_samples_are_read_as_they_are(n):
    x = np.random.default_rng(6).normal(size=(400, 6)).astype(np.float32)
    view = x[::-2, ::2]
    view.flags.writeable = False
    assert connected(view, n) == connected(np.ascontiguousarray(view, dtype=np.float64), n)
    assert connected(x.T.copy().T, n) == connected(x, n)


@pytest.mark.parametrize(("even", "n"), [(True, 8), (False, 4), (False, 1)])
def test_powers_of_two_scale_exactly_over_the_whole_range(even, n):
    x = np.random.default_rng(7).normal(size=(100, 2))
    here = connected(x, n, even=even)
    one = connected(x * [2.0**900, 2.0**-900], n, even=even)  # fields of very different size
    assert one[(0, 1) * (n // 2) or (0,)].mean == here[(0, 1) * (n // 2) or (0,)].mean * (1 if n > 1 else 2.0**900)
    tiny = connected(x * 2.0**-1000, n, even=even)
    np.testing.assert_array_equal(tiny.mean, here.mean * 2.0**-1000 if n == 1 else 0 * here.mean)
    assert not np.isnan(connected(x * 2.0**1000, n, even=even).mean).any()


def test_two_networks_and_one_point_are_the_least():
    with pytest.warns(NNQFTWarning, match="2 groups.*8 are needed"):
        T = connected(np.array([[1.0], [-2.0]]), 2, blocks=5)
    assert T.mean.tolist() == [2.5] and np.isnan(T.stderr).all() and T.n == 2
    with pytest.warns(NNQFTWarning, match="2 groups"):
        assert connected([[1.0], [-2.0]], 2, even=False).mean.tolist() == [4.5]


def test_groups_too_large_to_leave_one_out_give_no_error_bar_and_say_so():
    x = np.random.default_rng(8).normal(size=(8, 1))
    with pytest.warns(NNQFTWarning, match="8 groups.*9 are needed"):
        T = connected(x, 8, even=False)
    assert np.isfinite(T.mean).all() and np.isnan(T.stderr).all()


def test_a_mean_far_from_zero_contradicts_an_even_theory():
    x = np.random.default_rng(9).normal(size=(100, 3)) + [0.0, 1.0, 0.0]
    with pytest.warns(NNQFTWarning, match=r"mean of point 1 is .* standard errors off zero: pass even=False"):
        connected(x, 4)
    with pytest.warns(NNQFTWarning, match="mean of point 0 is inf standard errors"):
        connected(np.ones((20, 1)), 2)
    connected(x, 4, even=False)


def test_constant_fields_have_no_connected_function():
    T = connected(np.full((50, 2), 0.1), 4, even=False)
    assert np.all(np.abs(T.mean) < EPS**4) and np.all(T.stderr < EPS**4)  # the mean of 50 times 0.1 is off by an eps


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: connected(np.ones((5, 2)), 3), ArgumentError, "2, 4, 6, 8, got 3: even=False"),
        (lambda: connected(np.ones((5, 2)), 10), ArgumentError, "got 10"),
        (lambda: connected(np.ones((5, 2)), 9, even=False), ArgumentError, "1 .. 8, got 9"),
        (lambda: connected(np.ones((5, 2)), 2.0), TypeError, "float"),
        (
            lambda: connected(np.ones((5, 2)), 2, unbiased="yes"),
            ArgumentError,
            '"kstat", "jackknife" or None, got \'yes\'',
        ),
        (lambda: connected(np.ones((5, 2)), 2, blocks=0), ArgumentError, "blocks must be positive, got 0"),
        (lambda: connected(np.ones((5, 2)), 2, counts=np.ones(5)), ArgumentError, "group sums"),
        (lambda: connected(np.ones((1, 2)), 2), ShapeError, r"\(1, 2\).*2 networks"),
        (lambda: connected(np.ones((5, 0)), 2), ShapeError, r"\(5, 0\).*1 point"),
        (lambda: connected(np.ones(5), 2), ShapeError, r"\(5,\); expected \(nets, points\)"),
        (lambda: connected(np.ones((5, 2), np.float16), 2), ShapeError, "float16.*astype"),
        (lambda: connected(np.ones((5, 2), int), 2), ShapeError, "int64.*astype"),
        (lambda: connected(np.ones((5, 2), ">f8"), 2), ShapeError, ">f8"),
        (lambda: connected(np.ma.masked_less(np.ones((5, 2)), 0), 2), ShapeError, "masked"),
        (lambda: connected(np.array([[1.0], [np.nan], [np.inf]]), 2), ArgumentError, "2 of 3 networks.*row 1"),
        (lambda: connected(np.ones((3, 1)), 4, even=False), ArgumentError, "at least 4 samples, got 3"),
        (lambda: connected(np.zeros((100, 3000)), 4), ArgumentError, "GB.*fewer points"),
        (lambda: connected(np.zeros((100, 10_000)), 8), ArgumentError, "64-bit"),
        (lambda: connected({2: np.ones((5, 1))}, 2), ShapeError, r"counts \(0,\)"),
        (lambda: connected({2: np.ones((5, 1))}, 2, counts=np.ones(4)), ShapeError, r"\(5, 1\) and counts \(4,\)"),
        (lambda: connected({2: np.ones(1)}, 2, counts=np.ones(1)), ShapeError, r"\(groups, count\)"),
        (lambda: connected({0: np.ones((5, 1)), 2: np.ones((5, 1))}, 2, counts=np.ones(5)), ArgumentError, "weighted"),
        (lambda: connected({2: np.ones((5, 1))}, 2, counts=np.zeros(5)), ArgumentError, "at least one group"),
        (lambda: connected({2: np.ones((5, 1))}, 4, counts=np.ones(5)), ArgumentError, r"lack the orders \[4\]"),
        (
            lambda: connected({2: np.ones((5, 1))}, 2, counts=np.ones(5), even=False),
            ArgumentError,
            r"lack the orders \[1\]",
        ),
    ],
)
def test_wrong_arguments_say_what_came_and_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
