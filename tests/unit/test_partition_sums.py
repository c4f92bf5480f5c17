"""Pairing and partition sums of the compiled kernels against the sums written out in plain Python.

Random integers fill the tensors: they need not be moments of anything for the algebra to hold, every product stays
far below 2**53, and so both sides must agree exactly.
"""

import itertools
import math
import signal
import threading
import time

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, ShapeError
from nnqft.wick import pairings


def multisets(m, n):
    return list(itertools.combinations_with_replacement(range(m), n))


def set_partitions(items):
    """All set partitions of a tuple, as lists of tuples in the items' order."""
    if not items:
        yield []
        return
    for size in range(len(items)):
        for others in itertools.combinations(range(1, len(items)), size):
            block = (items[0], *(items[i] for i in others))
            rest = tuple(x for i, x in enumerate(items) if i and i not in others)
            for partition in set_partitions(rest):
                yield [block, *partition]


def perfect_matchings(items):
    return [p for p in set_partitions(items) if all(len(block) == 2 for block in p)]


def integers(rng, shape, bound=4):
    return rng.integers(-bound, bound + 1, shape).astype(np.float64)


def random_tensors(rng, m, orders, batch):
    return [integers(rng, (batch, math.comb(m + n - 1, n))) for n in orders]


def lookups(m, orders, tensors, row):
    """{sorted multi-index: value} of one batch row, all orders together."""
    return {i: t[row, k] for n, t in zip(orders, tensors, strict=True) for k, i in enumerate(multisets(m, n))}


def cumulant(moment, index, even):
    """sum over set partitions of (-1)^(b-1) (b-1)! prod of moments."""
    total = 0.0
    for p in set_partitions(index):
        if even and any(len(block) % 2 for block in p):
            continue
        total += (-1) ** (len(p) - 1) * math.factorial(len(p) - 1) * math.prod(moment[block] for block in p)
    return total


# ------------------------------------------------------------------------------ multi-indices


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 8), (6, 4), (20, 8), (528, 2), (34, 33), (33, 34), (0, 3), (5, 0)])
def test_the_number_of_multisets_is_the_binomial_coefficient(m, n):
    assert _core.multiset_count(m, n) == (math.comb(m + n - 1, n) if m + n else 1)


def test_the_largest_count_that_fits_64_bits_is_returned():
    assert _core.multiset_count(2**63 - 1, 1) == 2**63 - 1
    assert _core.multiset_count(2, 2**63 - 2) == 2**63 - 1


@pytest.mark.parametrize(("m", "n"), [(35, 33), (33, 35), (2**62, 2), (2**63 - 1, 2**63 - 1), (2, 2**63 - 1)])
def test_a_count_beyond_64_bits_is_refused(m, n):
    with pytest.raises(ArgumentError, match="64-bit"):
        _core.multiset_count(m, n)


@pytest.mark.parametrize(("m", "n"), [(-1, 2), (2, -1)])
def test_negative_sizes_are_refused(m, n):
    with pytest.raises(ArgumentError, match="non-negative"):
        _core.multiset_count(m, n)


@pytest.mark.parametrize(("m", "n"), [(1, 5), (2, 8), (4, 3), (7, 1), (6, 6)])
def test_multi_indices_come_in_the_order_of_itertools(m, n):
    index = _core.multiset_index(m, n)
    assert index.dtype == np.int32
    assert list(map(tuple, index.tolist())) == multisets(m, n)
    assert np.array_equal(_core.multiset_ranks(index, m), np.arange(len(index)))


@pytest.mark.parametrize(("m", "n"), [(528, 2), (100, 8), (1 << 20, 3), (3, 64)])
def test_unrank_inverts_rank_where_no_table_of_rows_would_fit(m, n):
    rng = np.random.default_rng(1)
    ranks = np.concatenate([[0, _core.multiset_count(m, n) - 1], rng.integers(0, _core.multiset_count(m, n), 200)])
    rows = _core.multiset_unrank(ranks, m, n)
    assert (np.diff(rows, axis=1) >= 0).all()
    assert rows.min() >= 0 and rows.max() < m
    assert np.array_equal(_core.multiset_ranks(rows, m), ranks)


def test_a_canonical_list_is_sorted_both_ways_and_has_no_duplicates():
    rows = np.array([[3, 0], [1, 1], [0, 3], [2, 0]])
    assert _core.canonical_index(rows, 4).tolist() == [[0, 2], [0, 3], [1, 1]]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([[1, 0]], ArgumentError, "not sorted"),
        ([[0, 5]], ArgumentError, r"outside 0\.\.4"),
        ([[-1, 0]], ArgumentError, r"outside 0\.\.4"),
        ([[0, 2**40]], ArgumentError, "1099511627776"),
        ([0, 1], ShapeError, "shape"),
        ([[0.0, 1.0]], ShapeError, "float64"),
    ],
)
def test_bad_rows_are_named(rows, error, message):
    with pytest.raises(error, match=message):
        _core.multiset_ranks(np.array(rows), 5)


def test_sizes_that_no_table_can_serve_are_refused_before_memory_is_asked_for():
    with pytest.raises(ArgumentError, match="values"):
        _core.multiset_index(2**31, 1)
    with pytest.raises(ArgumentError, match="legs"):
        _core.multiset_index(2, 2**20)


# ------------------------------------------------------------------------------ pairings


@pytest.mark.parametrize("n", [0, 2, 4, 6, 8])
def test_pairings_are_all_perfect_matchings_in_lexicographic_order(n):
    expected = sorted(tuple(map(tuple, p)) for p in perfect_matchings(tuple(range(n))))
    assert [tuple(map(tuple, p)) for p in pairings(n).tolist()] == expected


def test_fourteen_legs_have_13_double_factorial_pairings():
    every = pairings(14)
    assert every.shape == (135135, 7, 2)
    assert (np.sort(every.reshape(-1, 14), axis=1) == np.arange(14)).all()


@pytest.mark.parametrize("n", [-2, 3, 18])
def test_pairings_of_odd_negative_or_too_many_legs_are_refused(n):
    with pytest.raises(ArgumentError, match="even number"):
        pairings(n)


@pytest.mark.parametrize(("m", "order"), [(1, 2), (5, 2), (4, 4), (3, 6), (3, 8)])
def test_pairing_sums_equal_the_written_out_sum(m, order):
    K = integers(np.random.default_rng(2), (3, m, m))
    K = K + K.transpose(0, 2, 1)
    matchings = perfect_matchings(tuple(range(order)))
    got = _core.pairing_sums(K, order)
    for b in range(3):
        for value, i in zip(got[b], multisets(m, order), strict=True):
            assert value == sum(math.prod(K[b, i[p], i[q]] for p, q in matching) for matching in matchings)


def test_a_batch_may_be_reversed_or_broadcast_but_not_strided_inside():
    K = integers(np.random.default_rng(3), (4, 3, 3))
    assert np.array_equal(_core.pairing_sums(K[::-2], 4), _core.pairing_sums(K[::-2].copy(), 4))
    repeated = np.broadcast_to(K[0], (5, 3, 3))
    assert (_core.pairing_sums(repeated, 4) == _core.pairing_sums(K[:1], 4)).all()
    with pytest.raises(ShapeError, match="contiguous"):
        _core.pairing_sums(K.transpose(0, 2, 1), 4)


def test_an_empty_batch_gives_an_empty_result():
    assert _core.pairing_sums(np.zeros((0, 3, 3)), 4).shape == (0, 15)
    assert [x.shape for x in _core.even_cumulants([np.zeros((0, 6)), np.zeros((0, 15))], 3)] == [(0, 6), (0, 15)]


@pytest.mark.parametrize("order", [0, 1, 3, 7, 10, 1000])
def test_orders_that_no_kernel_serves_are_refused(order):
    with pytest.raises(ArgumentError, match="2, 4, 6 and 8"):
        _core.pairing_sums(np.zeros((1, 3, 3)), order)
    with pytest.raises(ArgumentError, match="2, 4, 6 and 8"):
        _core.gram_correlators(np.zeros((1, 6)), 3, 1, order)


# ------------------------------------------------------------------------------ set partitions


@pytest.mark.parametrize(("m", "max_order"), [(1, 8), (2, 8), (3, 6), (4, 4)])
def test_even_cumulants_equal_the_sum_over_even_set_partitions(m, max_order):
    orders = range(2, max_order + 1, 2)
    moments = random_tensors(np.random.default_rng(4), m, orders, batch=2)
    got = _core.even_cumulants(moments, m)
    for b in range(2):
        value = lookups(m, orders, moments, b)
        for n, cumulants in zip(orders, got, strict=True):
            assert cumulants[b].tolist() == [cumulant(value, i, even=True) for i in multisets(m, n)]


@pytest.mark.parametrize(("m", "max_order"), [(1, 6), (2, 5), (4, 4)])
def test_vector_cumulants_equal_the_sum_over_all_set_partitions(m, max_order):
    orders = range(1, max_order + 1)
    moments = random_tensors(np.random.default_rng(5), m, orders, batch=2)
    got = _core.vector_cumulants(moments, m)
    for b in range(2):
        value = lookups(m, orders, moments, b)
        for n, cumulants in zip(orders, got, strict=True):
            assert cumulants[b].tolist() == [cumulant(value, i, even=False) for i in multisets(m, n)]


def test_moments_from_cumulants_inverts_even_cumulants():
    moments = random_tensors(np.random.default_rng(6), 3, (2, 4, 6, 8), batch=3)
    back = _core.moments_from_cumulants(_core.even_cumulants(moments, 3), 3)
    for before, after in zip(moments, back, strict=True):
        assert np.array_equal(before, after)


def test_cumulants_of_a_vector_with_a_large_mean_lose_no_more_than_the_moments_rounding():
    # Moments of order k about 0 are of size c^k and carry eps/2 of that; 19 such roundings enter kappa_4
    # (1 + 4 + 6*1.5 + ..), so 20 eps c^4 bounds the data's own error and leaves the recursion next to nothing.
    from fractions import Fraction

    rng = np.random.default_rng(7)
    for spread in (1e-1, 1e-2, 1e-3):
        samples = [[Fraction(float(1 + spread * z)) for z in rng.normal(size=3)] for _ in range(9)]
        exact = {
            i: sum((math.prod(x[k] for k in i) for x in samples), Fraction(0)) / 9
            for n in range(1, 5)
            for i in multisets(3, n)
        }
        moments = [np.array([[float(exact[i]) for i in multisets(3, n)]]) for n in range(1, 5)]
        got = _core.vector_cumulants(moments, 3)
        for n in range(2, 5):
            for value, i in zip(got[n - 1][0], multisets(3, n), strict=True):
                error = abs(Fraction(value) - Fraction(cumulant(exact, i, even=False)))
                assert error < 20 * np.finfo(float).eps * (1 + 4 * spread) ** n


# ------------------------------------------------------------------------------ pairings of the Gram matrix


def gram_sum(moment, index, m_points, d_out):
    """sum over pairings of the moment of C over pairs of points; a pair of different outputs gives zero."""
    variable = {pair: p for p, pair in enumerate(multisets(m_points, 2))}
    total = 0.0
    for matching in perfect_matchings(tuple(range(len(index)))):
        legs = [(index[a], index[b]) for a, b in matching]
        if all(f % d_out == g % d_out for f, g in legs):
            total += moment[tuple(sorted(variable[tuple(sorted((f // d_out, g // d_out)))] for f, g in legs))]
    return total


@pytest.mark.parametrize(
    ("m_points", "d_out", "order"),
    [(3, 1, 2), (2, 3, 2), (4, 1, 4), (2, 2, 4), (3, 1, 6), (2, 2, 6), (2, 1, 8), (1, 2, 8)],
)
def test_gram_correlators_equal_the_written_out_sum(m_points, d_out, order):
    n_pairs = m_points * (m_points + 1) // 2
    (moments,) = random_tensors(np.random.default_rng(8), n_pairs, (order // 2,), batch=2)
    got = _core.gram_correlators(moments, m_points, d_out, order)
    for b in range(2):
        moment = lookups(n_pairs, (order // 2,), [moments], b)
        expected = [gram_sum(moment, i, m_points, d_out) for i in multisets(m_points * d_out, order)]
        assert got[b].tolist() == expected


# ------------------------------------------------------------------------------ listed multi-indices


def pick(rng, m, n, count):
    every = multisets(m, n)
    chosen = sorted(rng.choice(len(every), size=count, replace=False))
    return np.array([every[k] for k in chosen])


def positions(rows, m):
    return _core.multiset_ranks(rows, m)


def test_the_even_closure_holds_the_even_sub_multi_indices_and_nothing_else():
    lists = [np.array([[0, 0, 1, 4]]), np.array([[0, 1, 2, 2, 2, 3], [1, 1, 1, 1, 1, 1]])]
    closed = _core.even_closure(lists, 5)
    expected = {n: set() for n in (2, 4, 6)}
    for rows in lists:
        for row in rows.tolist():
            for n in range(2, len(row) + 1, 2):
                expected[n] |= set(itertools.combinations(row, n))
    assert {n: list(map(tuple, rows.tolist())) for n, rows in closed.items()} == {
        n: sorted(rows) for n, rows in expected.items()
    }


def test_the_full_closure_holds_the_odd_sizes_too():
    closed = _core.closure([np.array([[0, 1, 1]])], 2)
    assert {n: rows.tolist() for n, rows in closed.items()} == {
        1: [[0], [1]],
        2: [[0, 1], [1, 1]],
        3: [[0, 1, 1]],
    }


@pytest.mark.parametrize("kernel", ["even_cumulants", "moments_from_cumulants", "vector_cumulants"])
def test_listed_and_dense_partition_sums_agree_to_the_last_bit(kernel):
    rng, m = np.random.default_rng(9), 4
    step = 1 if kernel == "vector_cumulants" else 2
    top = 4 * step
    moments = [rng.normal(size=(3, math.comb(m + n - 1, n))) for n in range(step, top + 1, step)]
    close = _core.closure if step == 1 else _core.even_closure
    closed = close([pick(rng, m, top, 5), pick(rng, m, 2 * step, 2)], m)
    index = [closed[n] for n in sorted(closed)]
    some = [np.ascontiguousarray(t[:, positions(rows, m)]) for t, rows in zip(moments, index, strict=True)]
    dense = getattr(_core, kernel)(moments, m)
    listed = getattr(_core, kernel)(some, m, index)
    for whole, part, rows in zip(dense, listed, index, strict=True):
        assert np.array_equal(part, whole[:, positions(rows, m)])


def test_listed_pairing_sums_are_those_of_the_dense_tensor():
    rng = np.random.default_rng(10)
    K, rows = rng.normal(size=(2, 5, 5)), pick(rng, 5, 6, 9)
    assert np.array_equal(_core.pairing_sums(K, 6, rows), _core.pairing_sums(K, 6)[:, positions(rows, 5)])


@pytest.mark.parametrize(("m_points", "d_out", "order"), [(4, 1, 4), (3, 2, 6), (3, 1, 8)])
def test_listed_gram_correlators_are_those_of_the_dense_tensor(m_points, d_out, order):
    rng = np.random.default_rng(11)
    n_pairs, n_fields = m_points * (m_points + 1) // 2, m_points * d_out
    moments = rng.normal(size=(2, math.comb(n_pairs + order // 2 - 1, order // 2)))
    fields = pick(rng, n_fields, order, 7)
    pairs = _core.gram_closure(fields, m_points, d_out)
    some = np.ascontiguousarray(moments[:, positions(pairs, n_pairs)])
    whole = _core.gram_correlators(moments, m_points, d_out, order)
    part = _core.gram_correlators(some, m_points, d_out, order, fields, pairs)
    assert np.array_equal(part, whole[:, positions(fields, n_fields)])
    assert len(pairs) < moments.shape[1]


def test_a_list_that_is_not_closed_is_refused_with_the_missing_multi_index():
    index = [np.array([[0, 1], [2, 2]]), np.array([[0, 1, 2, 2]])]
    with pytest.raises(ArgumentError, match=r"order 2 lacks \(0, 2\).*\(0, 1, 2, 2\).*closure"):
        _core.even_cumulants([np.ones((1, 2)), np.ones((1, 1))], 3, index)
    with pytest.raises(ArgumentError, match=r"lacks \(1, 1\).*gram_closure"):
        _core.gram_correlators(np.ones((1, 1)), 2, 1, 4, np.array([[0, 0, 1, 1]]), np.array([[0, 2]]))


# ------------------------------------------------------------------------------ what came, what was expected


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: _core.pairing_sums(np.zeros((3, 3)), 4), ShapeError, r"\(3, 3\).*\(batch, m, m\)"),
        (lambda: _core.pairing_sums(np.zeros((1, 3, 2)), 4), ShapeError, r"\(batch, m, m\)"),
        (lambda: _core.pairing_sums(np.zeros((1, 3, 3), np.float32), 4), ShapeError, "float32.*float64"),
        (lambda: _core.pairing_sums(np.zeros((1, 3, 3), ">f8"), 4), ShapeError, ">f8.*float64"),
        (lambda: _core.pairing_sums(np.zeros((1, 3, 3)), 4, np.zeros((2, 3), int)), ShapeError, "3 columns"),
        (lambda: _core.pairing_sums(np.zeros((1, 3, 3)), 2, np.array([[0, 1], [0, 1]])), ArgumentError, "duplicates"),
        (lambda: _core.even_cumulants([], 3), ShapeError, "no tensors"),
        (lambda: _core.even_cumulants([np.zeros((2, 5))], 3), ShapeError, r"\(2, 5\).*\(batch, 6\)"),
        (lambda: _core.even_cumulants([[1.0, 2.0]], 3), ShapeError, "list"),
        (lambda: _core.even_cumulants([np.zeros((2, 6)), np.zeros((3, 15))], 3), ShapeError, "batch of 3"),
        (lambda: _core.even_cumulants([np.zeros((2, 6))], 3, [None, None]), ShapeError, "one array per order"),
        (lambda: _core.vector_cumulants([np.zeros((1, 1))] * 9, 1), ArgumentError, "at most 8"),
        (lambda: _core.even_closure([np.zeros((1, 3), int)], 2), ArgumentError, "multiples of 2"),
        (lambda: _core.gram_correlators(np.zeros((1, 5)), 3, 1, 2), ShapeError, r"\(batch, 6\)"),
        (lambda: _core.gram_correlators(np.zeros((1, 6)), 0, 1, 2), ArgumentError, "positive"),
        (lambda: _core.gram_correlators(np.zeros((1, 6)), 3, 0, 2), ArgumentError, "positive"),
        (lambda: _core.gram_closure(np.zeros((1, 2), int), 2**40, 2**20), ArgumentError, "fields"),
    ],
)
def test_wrong_arguments_say_what_came_and_what_was_expected(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_an_unaligned_array_is_refused_rather_than_read():
    raw = np.zeros(8 * 9 + 1, np.uint8)[1:].view(np.float64).reshape(1, 3, 3)
    with pytest.raises(ShapeError, match="contiguous"):
        _core.pairing_sums(raw, 2)


def test_ctrl_c_stops_a_long_sum_within_half_a_second():
    K = np.broadcast_to(np.ones((2, 2)), (2_000_000, 2, 2))  # a second and more, if nobody stopped it
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Timer(0.1, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        _core.pairing_sums(K, 8)
    assert time.monotonic() - sent[0] < 0.5
