"""Moments <-> cumulants against tables of set partitions, solvable laws and identities. Integers come out exact."""

import itertools
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.tensor import SymmetricTensor
from nnqft.wick import cumulants, moments_from_cumulants, wick_all

DATA = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())
EPS = np.finfo(float).eps
BELL = [1, 2, 5, 15, 52, 203, 877, 4140]  # set partitions of 1 .. 8 legs
EVEN_BELL = [1, 4, 31, 379]  # of 2, 4, 6, 8 legs into even blocks


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


def moments_of(states, weights, orders):
    """Exact moments of a discrete law, packed; states (n_states, m)."""
    m = states.shape[1]
    return {
        n: np.array(
            [
                float(sum(w * math.prod(s[i] for i in row) for s, w in zip(states.tolist(), weights, strict=True)))
                for row in multisets(m, n)
            ]
        )
        for n in orders
    }


def integers(rng, m, orders, lead=()):
    return {n: rng.integers(-3, 4, (*lead, math.comb(m + n - 1, n))).astype(float) for n in orders}


# ------------------------------------------------------------------------------ set partitions


@pytest.mark.parametrize("even", [False, True])
@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 8])
def test_one_field_follows_the_table_of_partition_shapes(n, even):
    shapes = DATA["partition_shapes"][f"n{n}_even" if even else f"n{n}"]
    if not shapes:  # odd orders of an even theory
        return
    step = 2 if even else 1
    moments = integers(np.random.default_rng(n), 1, range(step, n + 1, step))
    expected = sum(
        number * weight * math.prod(moments[int(block)][0] for block in shape.split("+"))
        for shape, (number, weight) in shapes.items()
    )
    assert cumulants(moments, n, even=even)[n][0] == expected


def test_unit_cumulants_count_set_partitions():
    ones = {n: np.ones(1) for n in range(1, 9)}
    assert [x[0] for x in moments_from_cumulants(ones).values()] == BELL
    assert [x[0] for x in moments_from_cumulants({n: ones[n] for n in (2, 4, 6, 8)}, even=True).values()] == EVEN_BELL


@pytest.mark.parametrize(("m", "n", "even"), [(4, 4, False), (3, 5, False), (2, 6, False), (3, 6, True), (2, 8, True)])
def test_several_fields_follow_the_sums_over_set_partitions(m, n, even):
    step = 2 if even else 1
    given = integers(np.random.default_rng(m + n), m, range(step, n + 1, step))
    value = {row: given[k][i] for k in given for i, row in enumerate(multisets(m, k))}
    down, up = cumulants(given, even=even)[n], moments_from_cumulants(given, even=even)[n]
    for i, row in enumerate(multisets(m, n)):
        terms = [
            [value[block] for block in p] for p in set_partitions(row) if all(len(block) % step == 0 for block in p)
        ]
        assert up[i] == sum(math.prod(t) for t in terms)
        assert down[i] == sum((-1) ** (len(t) - 1) * math.factorial(len(t) - 1) * math.prod(t) for t in terms)


@pytest.mark.parametrize(("m", "even"), [(3, False), (4, True)])
def test_there_and_back_is_exact_on_integers(m, even):
    step = 2 if even else 1
    moments = integers(np.random.default_rng(5), m, range(step, 9, step), lead=(2, 3))
    back = moments_from_cumulants(cumulants(moments, even=even), even=even)
    assert list(back) == list(moments)
    for n in moments:
        # Largest term: 8! 3^8 times a count of partitions, below 2^53.
        assert np.array_equal(back[n], moments[n])


# ------------------------------------------------------------------------------ solvable laws


@pytest.fixture
def signs():
    """X_i = sum_a w_ia e_a with independent signs e_a: kappa_n = kappa_n(sign) sum_a w_i1a .. w_ina."""
    w = np.array(DATA["rademacher_cumulants"]["w"])
    states = np.array(list(itertools.product((-1, 1), repeat=w.shape[1]))) @ w.T
    return w, moments_of(states, [Fraction(1, len(states))] * len(states), range(1, 9))


def test_moments_and_cumulants_of_a_linear_model_of_signs_match_the_table(signs):
    _, moments = signs
    kappa = cumulants({n: moments[n] for n in (2, 4, 6, 8)}, even=True)
    for entry in DATA["rademacher_cumulants"]["entries"]:
        row = tuple(sorted(entry["idx"]))
        at = multisets(4, len(row)).index(row)
        assert moments[len(row)][at] == int(entry["moment"])
        assert kappa[len(row)][at] == int(entry["cumulant"])


@pytest.mark.parametrize("even", [False, True])
def test_cumulants_of_a_linear_model_of_signs_are_sums_of_products_of_weights(signs, even):
    w, moments = signs
    single = {int(n): k for n, k in DATA["rademacher_cumulants"]["kappa_single"].items()}
    for n, kappa in cumulants({n: x for n, x in moments.items() if n % 2 == 0 or not even}, even=even).items():
        expected = [
            single.get(n, 0) * sum(math.prod(w[i, a] for i in row) for a in range(3)) for row in multisets(4, n)
        ]
        assert kappa.tolist() == expected


def test_cumulants_of_independent_summands_add_up():
    rng = np.random.default_rng(6)
    laws = [(rng.integers(-2, 3, (4, 2)), [Fraction(k, 8) for k in (1, 4, 1, 2)]) for _ in range(2)]
    (a, p), (b, q) = laws
    total = moments_of((a[:, None] + b).reshape(-1, 2), [x * y for x in p for y in q], range(1, 7))
    parts = [cumulants(moments_of(*law, range(1, 7))) for law in laws]
    for n, kappa in cumulants(total).items():
        # Weights are multiples of 1/64 and a product of six of them fits 53 bits.
        assert np.array_equal(kappa, parts[0][n] + parts[1][n])


def test_a_shift_changes_the_first_cumulant_only():
    states, weights = np.array([[0, 3], [1, -1], [-2, 2]]), [Fraction(1, 4), Fraction(1, 2), Fraction(1, 4)]
    here = cumulants(moments_of(states, weights, range(1, 7)))
    there = cumulants(moments_of(states + [2, -1], weights, range(1, 7)))
    assert np.array_equal(there[1], here[1] + [2, -1])
    for n in range(2, 7):
        assert np.array_equal(there[n], here[n])


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_a_mere_covariance_gives_the_moments_of_wick_theorem(n):
    K = np.array([[2.0, 1.0, 0.0], [1.0, 3.0, -1.0], [0.0, -1.0, 1.0]])
    packed = K[np.triu_indices(3)]
    assert np.array_equal(moments_from_cumulants({2: packed}, n, even=True)[n], wick_all(K, n).mean)
    general = moments_from_cumulants({1: np.zeros(3), 2: packed}, n)
    assert np.array_equal(general[n], wick_all(K, n).mean)
    assert not cumulants(general)[n].any() or n == 2


def test_a_poisson_law_has_equal_cumulants():
    rate = 2
    stirling = [[1], [1, 1], [1, 3, 1], [1, 7, 6, 1], [1, 15, 25, 10, 1], [1, 31, 90, 65, 15, 1]]
    moments = {
        n + 1: np.array([float(sum(s * rate ** (j + 1) for j, s in enumerate(row)))]) for n, row in enumerate(stirling)
    }
    assert [x[0] for x in cumulants(moments).values()] == [rate] * 6


# ------------------------------------------------------------------------------ forms of input


def test_tensors_come_back_as_tensors_with_their_notes():
    K = np.array([[2.0, 1.0], [1.0, 3.0]])
    exact = {n: wick_all(K, n) for n in (2, 4)}
    kappa = cumulants(exact, even=True)
    assert kappa[2] == exact[2] and not kappa[4].mean.any() and not kappa[4].stderr.any()
    measured = {
        n: SymmetricTensor(t.mean, 0.1, order=n, size=2, d_out=2, n=50, how={"seed": n}) for n, t in exact.items()
    }
    result = cumulants(measured, even=True)[4]
    assert np.isnan(result.stderr).all() and (result.n, result.d_out, dict(result.how)) == (50, 2, {"seed": 4})
    assert moments_from_cumulants(kappa, even=True)[4] == exact[4]


def test_listed_tensors_agree_with_dense_ones():
    rng = np.random.default_rng(8)
    dense = {n: rng.normal(size=math.comb(3 + n - 1, n)) for n in (2, 4)}
    rows = {2: np.array([[0, 1], [0, 2], [1, 1], [1, 2]]), 4: np.array([[0, 1, 1, 2]])}
    at = {n: [multisets(3, n).index(tuple(r)) for r in rows[n].tolist()] for n in rows}
    listed = {n: SymmetricTensor(dense[n][at[n]], order=n, size=3, index=rows[n]) for n in rows}
    assert np.array_equal(cumulants(listed, even=True)[4].mean, cumulants(dense, even=True)[4][at[4]])
    with pytest.raises(ArgumentError, match=r"lacks \(1, 2\)"):
        cumulants(listed | {2: SymmetricTensor([1.0], order=2, size=3, index=[[0, 1]])}, even=True)


def test_leading_axes_are_independent_theories():
    moments = integers(np.random.default_rng(9), 2, (1, 2, 3), lead=(4, 2))
    strided = {n: x[::-1, ::-1] for n, x in moments.items()}
    whole = cumulants(strided)[3]
    assert whole.shape == (4, 2, 4)
    assert np.array_equal(whole[0, 1], cumulants({n: x[3, 0] for n, x in moments.items()})[3])
    assert cumulants({n: x[:0] for n, x in moments.items()})[3].shape == (0, 2, 4)


def test_a_nan_spreads_to_the_cumulants_that_contain_it_and_no_further():
    kappa = cumulants({1: np.array([0.0, np.nan]), 2: np.ones(3), 3: np.ones(4)})
    assert np.isnan(kappa[3]).tolist() == [False, True, True, True]


@pytest.mark.parametrize("scale", [2.0**-120, 2.0**120])
def test_powers_of_two_scale_exactly(scale):
    moments = integers(np.random.default_rng(10), 2, range(1, 9))
    here, there = cumulants(moments), cumulants({n: x * scale**n for n, x in moments.items()})
    assert all(np.array_equal(there[n], here[n] * scale**n) for n in here)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cumulants(np.ones(3)), ArgumentError, "dict.*ndarray"),
        (lambda: cumulants({}), ArgumentError, "at least one"),
        (lambda: cumulants({2: np.ones(1)}), ArgumentError, r"lack the orders \[1\].*\(1, 2\)"),
        (lambda: cumulants({2: np.ones(1), 6: np.ones(1)}, even=True), ArgumentError, r"lack the orders \[4\]"),
        (lambda: cumulants({1: np.ones(1)}, 9), ArgumentError, "1 .. 8, got 9"),
        (lambda: cumulants({2: np.ones(1)}, 3, even=True), ArgumentError, "2, 4, 6, 8, got 3.*even=False"),
        (lambda: cumulants({1: np.ones(1)}, 0), ArgumentError, "got 0"),
        (lambda: cumulants({1: np.ones(2), 2: np.ones(4)}), ShapeError, "4 entries; 3 are expected for 2 fields"),
        (lambda: cumulants({2: np.ones(4)}, even=True), ShapeError, "4 entries; 3 are expected"),
        (lambda: cumulants({1: np.ones(0)}), ShapeError, "0 fields"),
        (lambda: cumulants({1: np.ones(2, np.float32)}), ShapeError, "float32.*float64"),
        (lambda: cumulants({1: np.ones((2, 1)), 2: np.ones((3, 1))}), ShapeError, "equal leading axes"),
        (lambda: cumulants({1: np.float64(1.0)}), ShapeError, "leading axes"),
        (lambda: cumulants({2: wick_all(np.eye(2), 2), 4: np.ones(5)}, even=True), ArgumentError, "mix"),
        (
            lambda: cumulants({2: wick_all(np.eye(2), 2), 4: wick_all(np.eye(3), 4)}, even=True),
            ArgumentError,
            "same fields",
        ),
        (
            lambda: cumulants({2: wick_all(np.eye(2), 2), 4: wick_all(np.eye(2), 2)}, even=True),
            ArgumentError,
            r"\(4, 2\)",
        ),
        (lambda: cumulants({"2": np.ones(1)}), TypeError, "integer"),
        (lambda: moments_from_cumulants({4: np.ones(5)}, 4, even=True), ArgumentError, r"lack the orders \[2\]"),
        (
            lambda: moments_from_cumulants({2: SymmetricTensor([1.0], order=2, size=2, index=[[0, 0]])}, 4, even=True),
            ArgumentError,
            "list only some",
        ),
    ],
)
def test_wrong_arguments_say_what_came_and_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_rounding_stays_at_a_few_eps_of_the_largest_term():
    # Moments of c + sign: terms of the 8th cumulant reach 7! c^8; centred moments avoid that, as documented.
    c = 3.0
    moments = {n: np.array([((c + 1) ** n + (c - 1) ** n) / 2]) for n in range(1, 9)}
    largest = math.factorial(7) * c**8
    assert abs(cumulants(moments)[8][0] + 272) < 50 * EPS * largest
