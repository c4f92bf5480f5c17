"""Moment tensors against a loop over multi-indices, and what the kernels accept."""

from itertools import combinations_with_replacement
from math import comb

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.wick import moments

# A sum of R products of n factors: n roundings each, additions in lanes of 32, of 8 lanes, of 16 panels, then exact.
RTOL = 64 * np.finfo(float).eps


def samples(n_samples, m, dtype=np.float64):
    return np.random.default_rng(n_samples + 1000 * m).standard_normal((n_samples, m)).astype(dtype)


def loop(F, order, weights=None):
    """Sums over the samples, and the same over absolute values, by which errors are measured."""
    F = F.astype(np.float64)
    weights = np.ones(len(F)) if weights is None else weights
    rows = list(combinations_with_replacement(range(F.shape[1]), order))
    products = [weights * np.prod(F[:, list(row)], axis=1) for row in rows]
    return np.array([p.sum() for p in products]), np.array([np.abs(p).sum() for p in products])


def assert_sums(got, F, order, weights=None):
    want, scale = loop(F, order, weights)
    assert got.shape == want.shape
    np.testing.assert_array_less(np.abs(got - want), RTOL * scale + 1e-300)


# The loop is slow; larger tensors are checked entry by entry below.
SMALL = [(m, n) for m in range(1, 13) for n in range(9) if comb(m + n - 1, n) <= 20_000]


@pytest.mark.parametrize(("m", "order"), SMALL)
def test_sums_agree_with_a_loop_over_multi_indices(m, order):
    F = samples(70, m)
    assert_sums(_core.moment_sums(F, order), F, order)
    weights = samples(70, 1)[:, 0]
    assert_sums(_core.moment_sums(F, order, weights), F, order, weights)


@pytest.mark.parametrize("n_samples", [1, 2, 7, 8, 9, 15, 16, 255, 256, 257, 511, 4095, 4096, 4097, 12_500])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_samples(n_samples, dtype):
    F = samples(n_samples, 3, dtype)
    for order in (1, 2, 3, 4, 6):
        assert_sums(_core.moment_sums(F, order), F, order)
        assert_sums(_core.moment_sums(F, order, F[:, 0].astype(float)), F, order, F[:, 0].astype(float))


@pytest.mark.parametrize(("m", "order"), [(20, 6), (12, 8), (200, 2), (40, 4), (60, 3), (1500, 1)])
def test_entries_of_large_tensors_lie_where_the_index_says(m, order):
    F = samples(40, m)
    T = moments(F, orders=order, stderr=False)[order]
    for row in np.random.default_rng(order).integers(0, m, (300, order)):
        product = np.prod(F[:, row], axis=1)
        assert abs(T[tuple(row)].mean - product.mean()) <= RTOL * np.abs(product).mean()


def test_sums_of_integers_are_exact():
    F = np.random.default_rng(1).integers(-3, 4, (5000, 4)).astype(float)
    for order in range(1, 9):
        assert _core.moment_sums(F, order).tolist() == loop(F, order)[0].tolist()


def layouts(F):
    """The same samples in other places of memory."""
    wide = np.zeros((2 * len(F), 3 * F.shape[1]), F.dtype)
    wide[::2, ::3] = F
    bytes_off = np.frombuffer(b"-" + F.tobytes(), np.uint8)[1:].view(F.dtype).reshape(F.shape)
    frozen = F.copy()
    frozen.setflags(write=False)
    return {"Fortran": np.asfortranarray(F), "strided": wide[::2, ::3], "backwards": F[::-1, ::-1].copy()[::-1, ::-1],
            "unaligned": bytes_off, "read-only": frozen}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_samples", [5, 300])
def test_memory_layout_does_not_matter(dtype, n_samples):
    for m in (1, 3, 8, 11):
        F, w = samples(n_samples, m, dtype), samples(n_samples, 1)[:, 0]
        want = _core.moment_sums(F, 3).tobytes(), _core.moment_sums(F, 4, w).tobytes()
        for name, G in layouts(F).items():
            for v in (w, layouts(w[:, None])["strided"][:, 0], w[::-1].copy()[::-1]):
                assert (_core.moment_sums(G, 3).tobytes(), _core.moment_sums(G, 4, v).tobytes()) == want, name


def test_one_row_and_one_column_may_be_broadcast():
    row = np.broadcast_to([1.0, 2.0], (100, 2))
    assert _core.moment_sums(row, 2).tolist() == [100.0, 200.0, 400.0]
    column = np.broadcast_to(np.arange(4.0)[:, None], (4, 3))
    assert _core.moment_sums(column, 2).tolist() == [14.0] * 6


# ---- scales


@pytest.mark.parametrize("exponent", [-600, -300, -101, -99, 99, 101, 240])
def test_powers_of_two_pass_through_exactly(exponent):
    """As long as the sums themselves are normal numbers: half-products of 2^-600 are none."""
    F = samples(300, 4)
    field = np.array([exponent, 240, exponent, 240])
    total = field[_core.multiset_index(4, 4)].sum(axis=1)
    normal = total > -1000
    got, plain = _core.moment_sums(np.ldexp(F, field), 4), _core.moment_sums(F, 4)
    assert got[normal].tobytes() == np.ldexp(plain, total)[normal].tobytes()
    np.testing.assert_allclose(got[~normal], 0, atol=1e-300)
    assert normal.sum() >= 20


def test_half_products_that_would_underflow_do_not():
    F = np.array([[1e-170, 1e70], [2e-170, 3e70]])
    assert _core.moment_sums(F, 4)[2] == pytest.approx(37e-200, rel=1e-14, abs=0)  # (f0 f1)^2
    assert _core.moment_sums(np.array([[5e-324, 2.0**500]]), 2)[1] == 2.0**-574
    assert _core.moment_sums(np.array([[1e-200]]), 4).tolist() == [0.0]


def test_weights_may_be_tiny_or_huge():
    F = samples(100, 2)
    for scale in (2.0**-1000, 2.0**900):
        assert _core.moment_sums(F, 4, np.full(100, scale)).tobytes() == (scale * _core.moment_sums(F, 4)).tobytes()


def test_zero_columns_and_zero_weights_give_zero():
    F = np.zeros((300, 3))
    F[:, 1] = 1e-200
    assert not _core.moment_sums(F, 3).any()
    assert not _core.moment_sums(samples(300, 3), 3, np.zeros(300)).any()


# ---- means


def test_means_carry_errors_and_counts():
    F = samples(5000, 3)
    result = moments(F, orders=(1, 2, 4))
    assert list(result) == [1, 2, 4]
    for order, T in result.items():
        assert (T.order, T.size, T.n, T.how["estimator"]) == (order, 3, 5000, "moments")
        assert_sums(T.mean * 5000, F, order)
        assert (T.stderr > 0).all()


def test_the_error_bar_of_a_mean_is_that_of_block_means():
    F = samples(64 * 40, 2)
    T = moments(F, orders=2, block=40)[2]
    blocks = (F[:, 0] * F[:, 1]).reshape(64, 40).mean(axis=1)
    assert T[0, 1].stderr == pytest.approx(blocks.std(ddof=1) / 8, rel=1e-12)


def test_weighted_means_are_those_of_numpy_average():
    F, w = samples(3000, 2), np.random.default_rng(3).random(3000)
    T = moments(F, orders=(2, 3), weights=w)
    assert T[3][0, 0, 1].mean == pytest.approx(np.average(F[:, 0] ** 2 * F[:, 1], weights=w), rel=1e-12)
    assert moments(F, orders=2, weights=np.ones(3000))[2] == moments(F, orders=2)[2]
    assert moments(F, orders=2, weights=2 * w)[2] == moments(F, orders=2, weights=w)[2]


def test_without_error_bars_the_means_are_the_same_to_rounding():
    F, w = samples(9000, 3), np.random.default_rng(3).random(9000)
    for weights in (None, w):
        with_errors, without = (moments(F, orders=(2, 5), weights=weights, stderr=s) for s in (True, False))
        for order in (2, 5):
            scale = np.abs(with_errors[order].mean).max()
            np.testing.assert_allclose(without[order].mean, with_errors[order].mean, atol=RTOL * scale)
            assert np.isnan(without[order].stderr).all() and without[order].n == 9000


def test_few_samples_give_no_error_bar_and_say_so():
    with pytest.warns(NNQFTWarning, match="2 groups of samples give no error bar"):
        T = moments(samples(20, 2), orders=2)[2]
    assert np.isnan(T.stderr).all() and np.isfinite(T.mean).all()
    with pytest.warns(NNQFTWarning, match="1 groups"):
        moments(samples(1, 2), orders=2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 777, 9999])
def test_rows_that_are_not_finite_make_everything_nan_and_are_named(bad, row):
    F = samples(10_000, 3)
    F[row, 1] = bad
    for options in ({}, {"stderr": False}):
        with pytest.warns(NNQFTWarning, match=f"the first from row {row} on"):
            T = moments(F, orders=(2, 4), **options)
        assert np.isnan(T[2].mean).all() and np.isnan(T[4].mean).all() and np.isnan(T[2].stderr).all()
    weights = np.ones(10_000)
    weights[row] = bad
    with pytest.warns(NNQFTWarning, match=f"the first from row {row} on"):
        assert np.isnan(moments(samples(10_000, 3), orders=2, weights=weights)[2].mean).all()


def test_overflow_is_not_silent():
    F = samples(10_000, 2)
    F[5000] = 1e200
    for options in ({}, {"stderr": False}):
        with pytest.warns(NNQFTWarning, match="overflow"):
            assert np.isnan(moments(F, orders=2, **options)[2].mean).all()


# ---- refusals


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"F": np.zeros(5)}, ShapeError, r"shape \(5,\).*matrix"),
        ({"F": np.zeros((5, 2, 2))}, ShapeError, r"\(5, 2, 2\)"),
        ({"F": np.zeros((5, 2), int)}, ShapeError, r"int64.*astype\(np\.float64\)"),
        ({"F": np.zeros((5, 2), np.float16)}, ShapeError, "float16"),
        ({"F": np.zeros((5, 2), complex)}, ShapeError, "complex128"),
        ({"F": np.zeros((5, 2), ">f8")}, ShapeError, ">f8"),
        ({"F": np.ma.masked_array(np.zeros((5, 2)), True)}, ShapeError, "masked"),
        ({"F": np.zeros((5, 0))}, ArgumentError, "1 to 1048576 fields, got 0"),
        ({"F": np.zeros((0, 2))}, ArgumentError, "no rows"),
        ({"orders": (2, 9)}, ArgumentError, "1 to 8"),
        ({"orders": 0}, ArgumentError, "1 to 8"),
        ({"orders": ()}, ArgumentError, "1 to 8"),
        ({"orders": (2.5,)}, ArgumentError, "integer"),
        ({"weights": np.zeros(4)}, ShapeError, r"\(4,\); expected \(5,\)"),
        ({"weights": np.zeros((5, 1))}, ShapeError, r"\(5, 1\)"),
        ({"weights": np.zeros(5, np.float32)}, ShapeError, "float32"),
        ({"threads": 0}, ArgumentError, "threads"),
        ({"threads": True + 0.5}, ArgumentError, "threads"),
        ({"block": 0}, ArgumentError, "block"),
        ({"block": 2**24 + 1}, ArgumentError, "16777216"),
        ({"F": np.zeros((5, 100)), "orders": 8}, ArgumentError, "GB"),
        ({"F": np.zeros((1, 4000)), "orders": 6}, ArgumentError, "more than any memory"),
        ({"F": np.zeros((1, 10**6)), "orders": 8}, ArgumentError, "more than any memory|64-bit"),
        ({"F": np.zeros((1, 2**20 + 1)), "orders": 1}, ArgumentError, "1048576"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    for options in ({}, {"stderr": False}):
        if "block" in arguments and options:
            continue
        call = {"F": np.ones((5, 2))} | arguments | options
        with pytest.raises(error, match=message):
            moments(call.pop("F"), **call)


def test_the_kernel_refuses_what_it_cannot_read():
    for F in (np.zeros(3), np.zeros((2, 2), int), np.zeros((2, 2), ">f8")):
        with pytest.raises(ShapeError, match="float64 or float32"):
            _core.moment_sums(F, 2)
    for order in (-1, 9, 2**31 - 1):
        with pytest.raises(ArgumentError, match="order"):
            _core.moment_sums(np.zeros((2, 2)), order)
    with pytest.raises(ShapeError, match="weights"):
        _core.moment_sums(np.zeros((2, 2)), 2, np.zeros(3))
    for threads in (0, 4097, 2**32 - 1):
        with pytest.raises(ArgumentError, match="threads|GB"):
            _core.moment_sums(np.broadcast_to(1.0, (10**6, 8)), 4, threads=threads)


def test_no_samples_sum_to_zero():
    assert _core.moment_sums(np.zeros((0, 3)), 2).tolist() == [0.0] * 6


def test_nested_lists_are_samples_too():
    with pytest.warns(NNQFTWarning, match="groups"):
        assert moments([[1, 2], [3, 4]], orders=2)[2].mean.tolist() == [5.0, 7.0, 10.0]


# ---- long work


def test_progress_reaches_the_end_and_never_falls():
    seen = []
    moments(samples(100_000, 4), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100_000, 100_000) and seen == sorted(seen)


@pytest.mark.parametrize("stderr", [True, False])
def test_an_error_in_the_progress_callback_ends_the_work(stderr):
    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        moments(samples(4096, 16), orders=8, stderr=stderr, progress=stop)


def test_no_order_at_all_is_an_error_and_no_crash():
    with pytest.raises(ArgumentError, match="no order"):
        _core.all_moment_sums(np.ones((10, 2)), (), None, 1, None)
