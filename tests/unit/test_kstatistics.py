"""k-statistics against their definition, sums over distinct samples, in exact arithmetic; no bias, by enumeration."""

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from nnqft._kstatistics import _beta, _rule
from nnqft.errors import ArgumentError, ShapeError
from nnqft.wick import connected, cumulants, kstatistics, moments_from_cumulants

DATA = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())["kstat"]
EPS = np.finfo(float).eps
# A quadrature of at most four nodes, good to some 10 eps, and partition sums with at most 8 factors.
RTOL = 100 * EPS


def multisets(m, n):
    return list(itertools.combinations_with_replacement(range(m), n))


def set_partitions(items):
    if not items:
        yield []
        return
    for size in range(len(items)):
        for others in itertools.combinations(range(1, len(items)), size):
            rest = tuple(x for i, x in enumerate(items) if i and i not in others)
            for partition in set_partitions(rest):
                yield [(items[0], *(items[i] for i in others)), *partition]


def power_sums(x, orders):
    """{order: packed sums over the second to last axis}, float64."""
    return {
        n: np.stack([np.prod(x[..., row], axis=-1).sum(axis=-1) for row in multisets(x.shape[-1], n)], axis=-1)
        for n in orders
    }


def by_distinct_samples(x, row, step):
    """The k-statistic of integer samples x (R, m) by its definition."""
    total = Fraction(0)
    for partition in set_partitions(row):
        b = len(partition)
        if any(len(block) % step for block in partition) or b > len(x):
            continue
        products = [[math.prod(sample[i] for i in block) for sample in x] for block in partition]
        tuples = list(itertools.permutations(range(len(x)), b))
        mean = Fraction(
            sum(math.prod(p[r] for p, r in zip(products, chosen, strict=True)) for chosen in tuples), len(tuples)
        )
        total += (-1) ** (b - 1) * math.factorial(b - 1) * mean
    return total


def term_sizes(sums, R, even):
    """{order: sum of the absolute terms of the k-statistic, written in power sums}: rounding is measured against it."""
    step = 2 if even else 1
    u, w = _rule(np.array([float(R)]), max(sums) // step)
    at_nodes = {n: _beta(n, step, u[0])[:, None] * np.abs(x)[..., None, :] for n, x in sums.items()}
    return {n: np.einsum("k,...kc->...c", w[0], x) for n, x in moments_from_cumulants(at_nodes, even=even).items()}


@pytest.mark.parametrize("entry", DATA["entries"], ids=lambda e: str(e["idx"]))
def test_integer_samples_give_the_tabulated_fractions(entry):
    x, n = np.array(DATA["X"], dtype=float), len(entry["idx"])
    at = multisets(3, n).index(tuple(entry["idx"]))
    exact = Fraction(entry["k"])
    got = kstatistics(power_sums(x, range(1, n + 1)), len(x))[n][at]
    assert abs(got - exact) <= RTOL * max(abs(exact), 1)
    with pytest.warns(match="7 groups"):
        got = connected(x, n, even=False)[tuple(entry["idx"])].mean
    assert abs(got - exact) <= RTOL * max(abs(exact), 1)


@pytest.mark.parametrize(
    ("step", "n", "R", "m"),
    [
        (1, 1, 1, 2),
        (1, 2, 2, 3),
        (1, 3, 3, 3),
        (1, 3, 6, 3),
        (1, 4, 4, 2),
        (1, 4, 9, 4),
        (1, 5, 6, 2),
        (1, 6, 6, 1),
        (2, 2, 1, 2),
        (2, 4, 2, 3),
        (2, 4, 9, 4),
        (2, 6, 3, 2),
        (2, 6, 7, 3),
        (2, 8, 4, 1),
        (2, 8, 5, 2),
    ],
)
def test_they_are_the_sums_over_distinct_samples(step, n, R, m):
    x = np.random.default_rng(R * n + m).integers(-3, 4, (R, m))
    sums = power_sums(x.astype(float), range(step, n + 1, step))
    got, sizes = kstatistics(sums, R, even=step == 2), term_sizes(sums, R, step == 2)
    assert list(got) == list(sums)
    for k, values in got.items():
        for value, row, size in zip(values, multisets(m, k), sizes[k], strict=True):
            if len(set(row)) < min(k, 2) and k == n > 5 and m > 1:
                continue  # a few hundred thousand tuples each
            assert abs(value - by_distinct_samples(x.tolist(), row, step)) <= RTOL * size


@pytest.mark.parametrize(("R", "n"), [(2, 2), (3, 3), (4, 4), (6, 5), (6, 6), (7, 7), (8, 8)])
def test_their_expectation_is_the_cumulant_for_any_number_of_samples(R, n):
    # All samples of size R from a law on three points, two fields; its weights are multiples of 1/4.
    points, weights = np.array([[0.0, 3.0], [1.0, -1.0], [-2.0, 2.0]]), np.array([1, 2, 1])
    draws = np.array(list(itertools.product(range(3), repeat=R)))
    probability = weights[draws].prod(axis=1) / 4.0**R
    sums = power_sums(points[draws], range(1, n + 1))
    estimates, sizes = kstatistics(sums, R), term_sizes(sums, R, even=False)
    exact = cumulants({k: s / 4 for k, s in power_sums(np.repeat(points, weights, axis=0), range(1, n + 1)).items()})
    for k in exact:
        assert np.all(
            np.abs(probability @ estimates[k] - exact[k]) <= RTOL * (probability @ sizes[k] + np.abs(exact[k]))
        )


@pytest.mark.parametrize(("R", "n"), [(1, 2), (2, 4), (5, 4), (3, 6), (5, 6), (4, 8), (5, 8)])
def test_their_expectation_is_the_cumulant_of_an_even_law(R, n):
    half = np.array([[1.0, 2.0], [2.0, -1.0]])
    points = np.concatenate([half, -half])
    draws = np.array(list(itertools.product(range(4), repeat=R)))
    orders = range(2, n + 1, 2)
    sums = power_sums(points[draws], orders)
    estimates, sizes = kstatistics(sums, R, even=True), term_sizes(sums, R, even=True)
    exact = cumulants({k: s / 4 for k, s in power_sums(points, orders).items()}, even=True)
    for k in exact:
        assert np.all(np.abs(estimates[k].mean(axis=0) - exact[k]) <= RTOL * sizes[k].mean(axis=0))


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_one_field_agrees_with_scipy(n):
    x = np.random.default_rng(n).exponential(size=200)
    sums = power_sums(x[:, None], range(1, n + 1))
    # Raw moments about zero: the terms are as large as 6 (S_1 / R)^4, about 6.
    assert kstatistics(sums, 200)[n][0] == pytest.approx(stats.kstat(x, n), rel=RTOL, abs=20 * RTOL)
    assert connected(x[:, None], n, even=False).mean[0] == pytest.approx(stats.kstat(x, n), rel=RTOL)


def test_the_second_order_is_the_sample_covariance():
    x = np.random.default_rng(2).normal(size=(50, 4))
    expected = np.cov(x.T)[np.triu_indices(4)]
    np.testing.assert_allclose(kstatistics(power_sums(x, (1, 2)), 50)[2], expected, rtol=0, atol=RTOL)


def test_the_closed_form_of_the_even_fourth_order():
    # S_ijkl / R - [3 of (S_ij S_kl - S_ijkl)] / (R)
    x, R = np.random.default_rng(3).normal(size=(40, 3)), 40
    sums = power_sums(x, (2, 4))
    S2 = np.zeros((3, 3))
    S2[np.triu_indices(3)] = sums[2]
    S2 = np.maximum(S2, S2.T) + np.minimum(S2, S2.T) - np.diag(np.diag(S2))
    pairs = np.array(
        [S2[i, j] * S2[k, l] + S2[i, k] * S2[j, l] + S2[i, l] * S2[j, k] for i, j, k, l in multisets(3, 4)]
    )
    expected = sums[4] / R - (pairs - 3 * sums[4]) / (R * (R - 1))
    np.testing.assert_allclose(kstatistics(sums, R, even=True)[4], expected, rtol=0, atol=10 * RTOL)


def test_a_large_offset_costs_no_digits_when_samples_are_centred():
    rng = np.random.default_rng(4)
    x = 1e6 + rng.normal(size=(60, 2)) ** 2
    exact = [[Fraction(v) for v in row] for row in x.tolist()]
    mean = [sum(column) / 60 for column in zip(*exact, strict=True)]
    centred = [[v - c for v, c in zip(row, mean, strict=True)] for row in exact]
    for n in (2, 3, 4):
        got = connected(x, n, even=False)
        for row in multisets(2, n):
            s = {
                k: sum(math.prod(v[i] for i in k) for v in centred)
                for k in itertools.chain.from_iterable(itertools.combinations(row, j) for j in (2, n))
            }
            R = 60
            if n == 2:
                k = s[row] / (R - 1)
            elif n == 3:
                k = R * s[row] / ((R - 1) * (R - 2))
            else:
                a, b, c, d = row
                pairs = s[a, b] * s[c, d] + s[a, c] * s[b, d] + s[a, d] * s[b, c]
                k = (R * (R + 1) * s[row] - (R - 1) * pairs) / ((R - 1) * (R - 2) * (R - 3))
            # The shift is the mean rounded to 1e-10; the rest is as for an offset of 0.
            assert got[row].mean == pytest.approx(float(k), rel=1e3 * EPS)


def test_orders_from_the_second_on_do_not_see_a_constant():
    x = np.random.default_rng(5).integers(-4, 5, (9, 2)).astype(float)
    here, there = (kstatistics(power_sums(y, range(1, 5)), 9) for y in (x, x + 3))
    np.testing.assert_allclose(there[1], here[1] + 3, rtol=RTOL)
    for n in (2, 3, 4):
        np.testing.assert_allclose(there[n], here[n], rtol=0, atol=6 * 7**n * RTOL)  # terms up to 6 * |mean + 3|^n


def test_sets_of_different_size_are_independent_of_each_other():
    x = np.random.default_rng(6).normal(size=(30, 2))
    one = [power_sums(x[:k], range(1, 5)) for k in (4, 11, 30)]
    together = kstatistics({n: np.stack([s[n] for s in one]) for n in range(1, 5)}, [4, 11, 30])
    for i, (sums, R) in enumerate(zip(one, (4, 11, 30), strict=True)):
        assert all(np.array_equal(together[n][i], kstatistics(sums, R)[n]) for n in range(1, 5))


@pytest.mark.parametrize("R", [8, 9, 11, 100, 10**6, 10**12, 10**15])
def test_the_quadrature_has_the_moments_of_distinct_samples(R):
    for degree in range(1, 9):
        u, w = _rule(np.array([float(R)]), degree)
        assert u.shape == w.shape == (1, (degree + 1) // 2) and (u > 0).all() and (w > 0).all()
        for J in range(1, degree + 1):
            exact = Fraction(math.factorial(J - 1), math.perm(R, J))
            assert abs(Fraction(float((w * u**J).sum())) / exact - 1) < RTOL


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: kstatistics({1: np.ones(1), 2: np.ones(1)}, 1),
            ArgumentError,
            "order 2 needs at least 2 samples, got 1",
        ),
        (lambda: kstatistics({2: np.ones(1), 4: np.ones(1)}, 1, even=True), ArgumentError, "at least 2 samples"),
        (lambda: kstatistics({1: np.ones(1)}, np.nan), ArgumentError, "at least 1"),
        (lambda: kstatistics({1: np.ones(1)}, np.inf), ArgumentError, "at least 1"),
        (lambda: kstatistics({1: np.ones((3, 1))}, [5, 5]), ShapeError, r"\(2,\); expected \(3,\)"),
        (lambda: kstatistics({2: np.ones(1)}, 5), ArgumentError, "lack the orders"),
        (lambda: kstatistics([np.ones(1)], 5), ArgumentError, "dict"),
        (lambda: kstatistics({0: np.ones(1), 1: np.ones(1)}, 5), ArgumentError, "weighted"),
        (lambda: kstatistics({1: np.ones(1, np.int64)}, 5), ShapeError, "int64"),
    ],
)
def test_wrong_arguments_say_what_came_and_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()
