"""Estimates print as 0.1234(5) and tensors answer for every order of their indices."""

import copy
import itertools
import json
import math
import pickle
from decimal import Decimal

import numpy as np
import pytest

from nnqft.errors import ArgumentError, NNQFTError, ShapeError
from nnqft.tensor import Estimate, SymmetricTensor

nan, inf = math.nan, math.inf

# ------------------------------------------------------------------------------ Estimate


@pytest.mark.parametrize(
    ("mean", "stderr", "text"),
    [
        (0.1234, 0.0005, "0.1234(5)"),
        (0.12341, 0.00052, "0.1234(5)"),
        (-0.12341, 0.00052, "-0.1234(5)"),
        (0.12341, 0.00012, "0.12341(12)"),  # a first digit 1 would be rounded by up to half of itself: show two
        (0.12341, 0.00097, "0.1234(10)"),  # 9.7 rounds up into a second digit
        (0.12341, 0.000196, "0.12341(20)"),
        (1.0, 0.5, "1.0(5)"),
        (1.0, 5.0, "1(5)"),
        (12.0, 12.0, "12(12)"),
        (1234.0, 50.0, "1230(50)"),
        (123456.0, 0.02, "123456.00(2)"),
        (999999.7, 4.0, "1.000000(4)e+06"),
        (123456789.0, 2000.0, "1.23457(2)e+08"),
        (1e22, 3e21, "1.0(3)e+22"),
        (1.23456e-12, 1.2e-15, "1.2346(12)e-12"),
        (0.00012345, 2e-8, "0.00012345(2)"),
        (0.0, 0.0005, "0.0000(5)"),
        (0.0, 5e-9, "0(5)e-09"),
        (-1e-12, 5e-9, "0(5)e-09"),
        (-0.001, 0.5, "0.0(5)"),
        (3e-12, 0.5, "0.0(5)"),
        (0.5, 3e8, "0(3)e+08"),
        (5e-324, 5e-324, "5(5)e-324"),
        (1.7e308, 2e307, "1.7(2)e+308"),
        (1.0, 1e-30, "1.0 +- 1.0e-30"),  # finer than a double resolves
        (0.25, 0.0, "0.25(0)"),
        (-0.1, 0.0, "-0.1(0)"),
        (1e22, 0.0, "1(0)e+22"),
        (0.0, 0.0, "0.0(0)"),
        (0.123456789, nan, "0.123457(?)"),
        (1.5e-300, nan, "1.5(?)e-300"),
        (0.5, inf, "0.5(inf)"),
        (nan, nan, "nan"),
        (nan, 0.1, "nan"),
        (inf, 0.1, "inf"),
        (-inf, 0.0, "-inf"),
    ],
)
def test_an_estimate_prints_its_error_in_units_of_the_last_digit(mean, stderr, text):
    assert str(Estimate(mean, stderr)) == repr(Estimate(mean, stderr)) == text


def test_the_printed_text_stays_within_one_rounding_of_the_numbers():
    rng = np.random.default_rng(1)
    for _ in range(2000):
        mean = float(rng.normal() * 10.0 ** rng.integers(-20, 20))
        stderr = float(abs(rng.normal()) * 10.0 ** rng.integers(-20, 20))
        text = str(Estimate(mean, stderr))
        if "+-" in text:
            assert abs(mean) > 1e15 * stderr
            continue
        head, tail = text.split("(")
        units, exponent = tail.split(")")
        last = Decimal(10) ** (-len(head.partition(".")[2]))
        scale = Decimal("1" + exponent)
        shown_mean, shown_error = Decimal(head) * scale, Decimal(units) * last * scale
        assert abs(shown_error - Decimal(stderr)) <= Decimal("0.2001") * Decimal(stderr)  # worst: 0.25 shown as 0.2
        assert abs(shown_mean - Decimal(repr(mean))) <= Decimal("0.51") * shown_error


def test_an_estimate_is_its_mean_as_a_float_and_keeps_count_and_notes():
    e = Estimate(np.float32(0.5), np.float64(0.1), np.int64(7), {"seed": 3})
    assert float(e) == e.mean == 0.5 and type(e.mean) is float
    assert e.n == 7 and e.how["seed"] == 3
    assert json.loads(json.dumps(e.to_dict())) == {"mean": 0.5, "stderr": 0.1, "n": 7, "how": {"seed": 3}}
    assert math.isnan(Estimate(1.0).stderr)


def test_an_estimate_cannot_be_changed():
    e = Estimate(0.5, 0.1, 7, {"seed": 3})
    with pytest.raises(AttributeError):
        e.mean = 1.0
    with pytest.raises(TypeError):
        e.how["seed"] = 4


def test_estimates_compare_by_value_error_and_count():
    assert Estimate(1.0, nan, 5) == Estimate(1.0, nan, 5, {"seed": 1})
    assert Estimate(1.0, 0.1) != Estimate(1.0, 0.2)
    assert Estimate(1.0, 0.1, 4) != Estimate(1.0, 0.1, 5)
    assert Estimate(1.0, 0.0) != 1.0
    assert len({Estimate(1.0, nan), Estimate(1.0, nan), Estimate(2.0, nan)}) == 2


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_estimates_and_tensors_survive_copy_and_pickle(clone):
    e, T = Estimate(0.5, 0.1, 7, {"seed": 3}), ramp(3, 4, how={"seed": 3}, n=5)
    T.multiplicity, T.index  # cached values must not stand in the way  # noqa: B018
    assert clone(e) == e and clone(e).how == e.how
    assert clone(T) == T and not clone(T).mean.flags.writeable
    assert clone(some(T)) == some(T)


def test_a_negative_error_is_refused():
    with pytest.raises(ArgumentError, match="negative"):
        Estimate(1.0, -0.1)
    with pytest.raises(ArgumentError, match="negative"):
        SymmetricTensor([1.0, 2.0], [0.1, -0.1], order=1, size=2)


# ------------------------------------------------------------------------------ SymmetricTensor


def ramp(size, order, **more):
    count = math.comb(size + order - 1, order)
    return SymmetricTensor(np.arange(count), 0.5 + np.arange(count) / 8, order=order, size=size, **more)


def some(T, keep=slice(1, None, 2)):
    """The listed tensor with every second entry of T."""
    return SymmetricTensor(
        T.mean[keep], T.stderr[keep], order=T.order, size=T.size, d_out=T.d_out, index=T.index[keep], n=T.n, how=T.how
    )


@pytest.mark.parametrize(("size", "order"), [(4, 1), (3, 2), (3, 4), (2, 6)])
def test_every_ordering_and_sign_of_the_indices_finds_the_same_entry(size, order):
    T = ramp(size, order, n=9, how={"seed": 1})
    rank = {i: k for k, i in enumerate(itertools.combinations_with_replacement(range(size), order))}
    for legs in itertools.product(range(size), repeat=order):
        k = rank[tuple(sorted(legs))]
        negative = tuple(i - size if n % 2 else i for n, i in enumerate(legs))
        assert T[legs] == T[negative] == Estimate(k, 0.5 + k / 8, 9)
    assert T[(0,) * order].how["seed"] == 1


def test_an_order_one_tensor_takes_a_bare_index():
    assert ramp(4, 1)[-1].mean == 3.0


def test_point_and_output_pairs_name_the_field_point_times_outputs_plus_output():
    T = ramp(6, 2, d_out=2)
    for (i, a), (j, b) in itertools.product(itertools.product(range(3), range(2)), repeat=2):
        assert T[(i, a), (j, b)] == T[(i - 3, a - 2), 2 * j + b] == T[2 * j + b, 2 * i + a]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ((0, 1, 2), "takes 4 indices, got 3"),
        ((0, 1, 2, 3, 0), "takes 4 indices, got 5"),
        (0, "got 1"),
        ((0, 0, 0, 6), "6 is out of range for 6"),
        ((0, 0, 0, -7), "-7 is out of range"),
        (((0, 0), (3, 0), 0, 0), "3 is out of range for 3"),
        (((0, 2), 0, 0, 0), "2 is out of range for 2"),
        (((0, 0, 0), 0, 0, 0), "field or"),
    ],
)
def test_a_wrong_index_is_an_index_error_and_an_error_of_the_library(key, message):
    T = ramp(6, 4, d_out=2)
    with pytest.raises(IndexError, match=message):
        T[key]
    with pytest.raises(NNQFTError):
        T[key]


def test_slices_and_floats_are_type_errors():
    T = ramp(3, 2)
    for key in ((slice(None), 0), (0, ...), (0.0, 1)):
        with pytest.raises(TypeError):
            T[key]


def test_the_dense_array_repeats_each_entry_over_all_orderings():
    T = ramp(3, 4)
    dense, error = T.dense(), T.dense_stderr()
    assert dense.shape == error.shape == (3, 3, 3, 3)
    for legs in itertools.product(range(3), repeat=4):
        assert dense[legs] == T[legs].mean and error[legs] == T[legs].stderr


def test_a_dense_array_larger_than_one_block_is_symmetric():
    dense = ramp(9, 6).dense()  # 531441 entries, three blocks
    for axes in ((1, 0, 2, 3, 4, 5), (5, 4, 3, 2, 1, 0), (2, 0, 1, 4, 5, 3)):
        assert np.array_equal(dense, dense.transpose(axes))
    assert dense[0, 1, 2, 3, 4, 5] == ramp(9, 6)[5, 4, 3, 2, 1, 0].mean


@pytest.mark.parametrize(("size", "order"), [(1, 5), (4, 1), (5, 3), (3, 8)])
def test_multiplicities_count_orderings_and_sum_to_all_tuples(size, order):
    T = ramp(size, order)
    assert T.multiplicity.sum() == size**order
    for row, count in zip(T.index.tolist(), T.multiplicity, strict=True):
        assert count == math.factorial(order) / math.prod(math.factorial(row.count(i)) for i in set(row))


@pytest.mark.parametrize(("size", "order"), [(1, 64), (2, 30), (3, 25)])
def test_multiplicities_of_high_orders_are_exact_where_they_fit(size, order):
    T = ramp(size, order)
    for row, count in zip(T.index.tolist(), T.multiplicity.tolist(), strict=True):
        assert count == math.factorial(order) // math.prod(math.factorial(row.count(i)) for i in set(row))


def test_multiplicities_beyond_64_bits_are_refused():
    with pytest.raises(ArgumentError, match="order 40 over 4 values exceed the 64-bit range"):
        ramp(4, 40).multiplicity  # noqa: B018


@pytest.mark.parametrize(("size", "order"), [(1, 5), (5, 3), (3, 8)])
def test_the_rank_of_a_multi_index_is_its_row(size, order):
    T = ramp(size, order)
    shuffled = np.random.default_rng(1).permuted(T.index, axis=1)
    assert T.rank(shuffled).tolist() == list(range(len(T)))
    assert T.rank(shuffled - size).tolist() == list(range(len(T)))  # negative ones count from the end
    assert T.rank(tuple(shuffled[-1])) == len(T) - 1 and type(T.rank(shuffled[0])) is int


def test_ranks_in_a_listed_tensor_are_positions_in_its_list():
    L = some(ramp(4, 2))
    assert L.rank(L.index[:, ::-1]).tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(IndexError, match=r"\(2, 3\) is not among the 5 listed"):
        L.rank([[0, 1], [3, 2]])


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ((0, 1), ShapeError, r"\(2,\); expected integers of shape \(3,\) or \(count, 3\)"),
        ([[0, 1]], ShapeError, r"\(1, 2\)"),
        (np.zeros((1, 1, 3), int), ShapeError, r"\(1, 1, 3\)"),
        ((0.0, 1.0, 2.0), ShapeError, "float64"),
        ((0, 1, 4), IndexError, "index 4 is out of range for 4 values"),
        ((0, 1, -5), ArgumentError, "index -5 is out of range"),
        (np.array([0, 1, 2**63], np.uint64), IndexError, "index 9223372036854775808 is out of range"),
    ],
)
def test_ranks_of_what_is_no_multi_index_are_refused(index, error, message):
    with pytest.raises(error, match=message):
        ramp(4, 3).rank(index)


def test_sums_run_over_unique_or_over_ordered_tuples():
    T = ramp(3, 4)
    assert T.sum() == Estimate(T.mean.sum(), T.stderr.sum())
    # exact in binary: sums of integers and eighths
    assert T.sum(over="ordered") == Estimate(T.dense().sum(), T.dense_stderr().sum())
    L = some(ramp(4, 2))
    assert L.sum(over="ordered").mean == L.multiplicity @ L.mean
    with pytest.raises(ArgumentError, match=r'sum\(\) over .all.*"unique"'):
        T.sum(over="all")


@pytest.mark.parametrize("v", [[1, -2, 3], [0.5, 0.25, -1.0]])
def test_a_contraction_is_the_sum_over_all_ordered_tuples(v):
    T = ramp(3, 4)
    v = np.array(v)
    exact = np.einsum("ijkl,i,j,k,l->", T.dense(), v, v, v, v)  # exact in binary
    assert T.contract(v).mean == exact
    bound = np.einsum("ijkl,i,j,k,l->", T.dense_stderr(), *[abs(v)] * 4)
    assert T.contract(v).stderr == bound


def test_contractions_with_wrong_weights_or_of_listed_tensors_are_refused():
    for v in (np.zeros(2), np.zeros((3, 1)), np.zeros(3, complex), 1.0):
        with pytest.raises(ShapeError, match=r"real numbers of shape \(3,\)"):
            ramp(3, 4).contract(v)
    with pytest.raises(ArgumentError, match="lists 5"):
        some(ramp(4, 2)).contract(np.zeros(4))


def test_an_exact_tensor_is_a_tensor_like_any_other():
    layout = {"order": 2, "size": 4, "how": {"seed": 3}}
    T, same = SymmetricTensor.exact(np.arange(10.0), **layout), SymmetricTensor(np.arange(10.0), 0, **layout)
    assert T == same and pickle.loads(pickle.dumps(T)) == same
    assert T + T == same + same and T.to_dict() == same.to_dict()
    for array in (T.mean, T.stderr):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0
    with pytest.raises(AttributeError, match="frozen"):
        T.stderr = np.ones(10)
    for wrong in (np.zeros(9), np.zeros(10, np.float32), np.zeros((10, 1))):
        with pytest.raises(ShapeError, match=r"expected float64 of shape \(10,\)"):
            SymmetricTensor.exact(wrong, **layout)


def test_averages_run_over_unique_or_over_ordered_tuples():
    T = ramp(3, 4)
    assert T.average().mean == T.mean.mean()
    # exact in binary: sums of integers and eighths
    assert T.average(over="ordered") == Estimate(T.dense().sum() / 81, T.dense_stderr().sum() / 81)
    with pytest.raises(ArgumentError, match="unique"):
        T.average(over="all")


def test_the_error_of_an_average_is_an_upper_bound_and_exact_stays_exact():
    rng = np.random.default_rng(2)
    covariance = np.cov(rng.normal(size=(10, 400)))
    T = SymmetricTensor(np.zeros(10), np.sqrt(np.diag(covariance)), order=2, size=4)
    assert T.average().stderr >= math.sqrt(covariance.mean())
    assert SymmetricTensor(np.ones(10), 0, order=2, size=4).average().stderr == 0


# ------------------------------------------------------------------------------ listed tensors


def test_a_listed_tensor_knows_its_entries_and_names_the_others():
    T = ramp(4, 2)
    L = some(T)
    assert not L.is_dense and len(L) == 5
    for row, estimate in L.items():
        assert estimate == T[row] == L[row[::-1]]
    with pytest.raises(IndexError, match=r"\(0, 0\) is not among the 5 listed"):
        L[0, 0]
    with pytest.raises(IndexError, match=r"\(2, 3\) is not among"):
        L[3, 2]


def test_a_listed_tensor_refuses_to_expand():
    with pytest.raises(ArgumentError, match="needs all 10 multi-indices, this tensor lists 5"):
        some(ramp(4, 2)).dense()
    with pytest.raises(ArgumentError, match="lists 5"):
        some(ramp(4, 2)).dense_stderr()


def test_a_list_of_all_multi_indices_is_a_dense_tensor():
    T = ramp(4, 2)
    assert some(T, slice(None)).is_dense and some(T, slice(None)) == T


def test_an_empty_list_is_a_tensor_without_entries():
    T = SymmetricTensor([], [], order=4, size=3, index=[])
    assert len(T) == 0 and T.index.shape == (0, 4)
    assert SymmetricTensor.from_dict(T.to_dict()) == T
    with pytest.raises(ArgumentError, match="0 entries"):
        T.average()


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        ([[1, 0], [1, 1]], ArgumentError, "not sorted"),
        ([[1, 1], [0, 1]], ArgumentError, "increase strictly"),
        ([[0, 1], [0, 1]], ArgumentError, "increase strictly"),
        ([[0, 1], [0, 4]], ArgumentError, "outside"),
        ([[0], [1]], ShapeError, r"\(count, 2\)"),
        ([[0.0, 1.0], [1.0, 1.0]], ShapeError, "float64"),
    ],
)
def test_a_bad_index_list_is_refused(index, error, message):
    with pytest.raises(error, match=message):
        SymmetricTensor([1.0, 2.0], order=2, size=4, index=index)


def test_a_single_entry_of_a_huge_tensor_can_be_listed():
    T = SymmetricTensor([2.0], [0.1], order=8, size=200, index=[[0, 1, 5, 9, 100, 150, 199, 199]])
    assert T[199, 100, 0, 1, 5, -1, 9, 150].mean == 2.0


# ------------------------------------------------------------------------------ construction


@pytest.mark.parametrize(
    ("mean", "stderr", "sizes", "error", "message"),
    [
        ([1.0, 2.0], None, {"order": 2, "size": 2}, ShapeError, r"shape \(2,\).*shape \(3,\)"),
        ([1.0, 2.0, 3.0], [0.1], {"order": 2, "size": 2}, ShapeError, "stderr"),
        ([1j, 2, 3], None, {"order": 2, "size": 2}, ShapeError, "complex128"),
        ([1.0], None, {"order": 0, "size": 1}, ArgumentError, "positive"),
        ([1.0, 2.0, 3.0], None, {"order": 1, "size": 3, "d_out": 2}, ArgumentError, "divide"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(mean, stderr, sizes, error, message):
    with pytest.raises(error, match=message):
        SymmetricTensor(mean, stderr, **sizes)


def test_the_tensor_owns_read_only_copies():
    mean, notes = np.ones(3), {"seed": 1}
    T = SymmetricTensor(mean, 0.1, order=2, size=2, how=notes)
    mean[0], notes["seed"] = 7.0, 2
    assert T[0, 0].mean == 1.0 and T.how["seed"] == 1
    for array in (T.mean, T.stderr, T.index, T.multiplicity, some(T).index):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 5
    with pytest.raises(AttributeError, match="frozen"):
        T.mean = mean
    with pytest.raises(AttributeError, match="frozen"):
        del T.mean
    with pytest.raises(TypeError):
        iter(T)
    assert mean.flags.writeable


def test_without_errors_there_is_no_error_bar_and_zero_means_exact():
    assert np.isnan(SymmetricTensor([1.0], order=1, size=1).stderr).all()
    assert str(SymmetricTensor([1.0], 0, order=1, size=1)[0]) == "1.0(0)"


# ------------------------------------------------------------------------------ arithmetic


@pytest.mark.parametrize("two", [2, 2.0, np.float64(2), np.float32(2), np.int64(2)])
def test_scalars_scale_and_shift_with_the_right_error(two):
    T = ramp(3, 2, n=5, how={"seed": 1})
    for scaled in (two * T, T * two, T / (1 / two), -(T * -two)):
        assert np.array_equal(scaled.mean, 2 * T.mean) and np.array_equal(scaled.stderr, 2 * T.stderr)
        assert scaled.n == 5 and scaled.how["seed"] == 1
    up, down = T.mean + 2, T.mean - 2
    for shifted, expected in ((T + two, up), (two + T, up), (T - two, down), (two - T, -down)):
        assert np.array_equal(shifted.mean, expected) and np.array_equal(shifted.stderr, T.stderr)


def test_a_difference_to_an_exact_tensor_keeps_the_error_and_its_origin():
    T = ramp(3, 2, n=5, how={"seed": 1})
    exact = SymmetricTensor(np.ones(6), 0, order=2, size=3, how={"estimator": "wick"})
    for difference, sign in ((T - exact, 1), (exact - T, -1)):
        assert np.array_equal(difference.mean, sign * (T.mean - 1))
        assert np.array_equal(difference.stderr, T.stderr)
        assert difference.n == 5 and dict(difference.how) == {"seed": 1}
    assert (exact - exact).stderr.tolist() == [0] * 6


def test_a_sum_of_two_measured_tensors_has_no_error_bar():
    T, other = ramp(3, 2, n=5, how={"seed": 1}), ramp(3, 2, n=6, how={"seed": 2})
    assert np.isnan((T + other).stderr).all() and np.array_equal((T + other).mean, 2 * T.mean)
    assert (T + other).n is None and (T + other).how["terms"] == ({"seed": 1}, {"seed": 2})
    assert np.isnan((T - T).stderr).all() and (T - T).n == 5


def test_listed_tensors_add_where_their_lists_agree():
    L = some(ramp(4, 2))
    assert np.array_equal((L + L).index, L.index)
    for other in (ramp(4, 2), some(ramp(4, 2), slice(0, None, 2)), ramp(3, 2), ramp(4, 3), some(ramp(4, 2, d_out=2))):
        with pytest.raises(ArgumentError, match="different entries"):
            L + other


def test_products_with_anything_but_scalars_are_type_errors():
    T = ramp(3, 2)
    array = np.ones(6)
    for act in (
        lambda: T * T, lambda: T * array, lambda: array * T, lambda: T + array, lambda: 1 / T, lambda: T + "x"
    ):  # fmt: skip
        with pytest.raises(TypeError):
            act()


def test_equal_means_equal_layout_numbers_count_and_notes():
    T = ramp(3, 2, n=5, how={"seed": 1})
    assert T == ramp(3, 2, n=5, how={"seed": 1})
    no_error = SymmetricTensor(T.mean, order=2, size=3)
    assert no_error == SymmetricTensor(T.mean, order=2, size=3)  # nan equals nan here
    for other in (ramp(3, 2, n=6, how={"seed": 1}), ramp(3, 2, n=5), T * 2, T + 1, some(T), no_error, "T", 1.0):
        assert other != T
    with pytest.raises(TypeError):
        hash(T)


# ------------------------------------------------------------------------------ output


def test_the_repr_shows_the_first_entries_with_errors():
    T = SymmetricTensor(np.full(15, 0.12341), np.full(15, 5e-4), order=4, size=3, n=1000, how={"estimator": "gram"})
    lines = repr(T).splitlines()
    assert lines[0] == "SymmetricTensor(order=4, size=3, entries=15, n=1000, estimator=gram)"
    assert lines[1:3] == ["  [0, 0, 0, 0]  0.1234(5)", "  [0, 0, 0, 1]  0.1234(5)"]
    assert lines[-1] == "  ... 9 more" and len(lines) == 8
    assert repr(some(ramp(4, 2, d_out=2))).splitlines()[:2] == [
        "SymmetricTensor(order=2, size=4, d_out=2, entries=5, listed)",
        "  [0, 1]  1.0(6)",
    ]


@pytest.mark.parametrize("listed", [False, True])
def test_to_dict_goes_through_json_and_back(listed):
    T = ramp(4, 2, n=5, how={"estimator": "gram", "seed": 3}, d_out=2)
    T = some(T) if listed else T
    assert SymmetricTensor.from_dict(json.loads(json.dumps(T.to_dict()))) == T


def test_to_xarray_names_the_axes_or_says_what_is_missing():
    T = ramp(3, 2, n=5, how={"seed": 3})
    try:
        import xarray  # noqa: F401
    except ImportError:
        with pytest.raises(ImportError, match="pip install xarray"):
            T.to_xarray()
        return
    data = T.to_xarray()
    assert data["mean"].dims == ("entry",) and data["index"].dims == ("entry", "leg")
    assert np.array_equal(data["stderr"], T.stderr)
    assert data.attrs == {"order": 2, "size": 3, "d_out": 1, "n": 5, "how_seed": 3}
