"""What `wick_all` accepts, refuses and returns; its values are in tests/exact/test_all_multisets.py."""

import signal
import time

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.wick import wick_all

K = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 1.0]])
MU = np.array([1.0, -2.0, 0.5])


def test_the_result_is_exact_and_says_where_it_comes_from():
    G = wick_all(K, 4)
    assert (G.order, G.size, len(G), G.n) == (4, 3, 15, None)
    assert not G.stderr.any() and G.how["estimator"] == "wick"
    assert G[2, 0, 1, 0].mean == 2.0 * 0.25 + 2 * 1.0 * 0.5
    assert str(G[0, 0, 0, 0]) == "12.0(0)"


def test_the_result_is_frozen_and_independent_of_later_calls():
    G = wick_all(K, 4)
    kept = G.mean.copy()
    wick_all(2 * K, 4)
    assert np.array_equal(G.mean, kept)
    for array in (G.mean, G.stderr):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1.0


def test_a_mean_appears_in_every_order():
    assert wick_all(K, 1, mu=MU).mean.tolist() == MU.tolist()
    assert wick_all(K, 2, mu=MU)[0, 1].mean == 1.0 - 2.0
    assert wick_all(K, 3, mu=MU)[0, 0, 1].mean == 1.0 * 1.0 * -2.0 + -2.0 * 2.0 + 2 * 1.0 * 1.0


@pytest.mark.parametrize("order", [1, 3, 5, 63])
def test_odd_orders_without_a_mean_are_tensors_of_zeros(order):
    G = wick_all(np.ones((2, 2)), order)
    assert G.order == order and len(G) == order + 1 and not G.mean.any()


def every_second(x):
    return np.kron(x, np.ones((2,) * x.ndim))[(slice(None, None, 2),) * x.ndim]


@pytest.mark.parametrize("view", [np.asfortranarray, lambda x: x[::-1].copy()[::-1], every_second])
def test_memory_layout_does_not_matter(view):
    assert wick_all(view(K), 6) == wick_all(K, 6)
    assert wick_all(K, 5, mu=view(MU)) == wick_all(K, 5, mu=MU)


def test_memory_that_is_not_aligned_is_read_all_the_same():
    buffer = np.zeros(8 * 9 + 1, np.uint8)
    odd = buffer[1:].view(np.float64).reshape(3, 3)
    odd[...] = K
    assert not odd.flags.aligned and wick_all(odd, 4) == wick_all(K, 4)


def test_nested_lists_are_matrices_and_vectors_too():
    assert wick_all([[1, 2], [2, 5]], 2).mean.tolist() == [1.0, 2.0, 5.0]
    assert wick_all([[1, 2], [2, 5]], 2, mu=[1, 3]).mean.tolist() == [2.0, 5.0, 14.0]


def test_read_only_arguments_are_only_read():
    frozen = K.copy()
    frozen.setflags(write=False)
    assert wick_all(frozen, 4) == wick_all(K, 4)
    assert np.array_equal(frozen, K)


def test_rounding_in_the_lower_triangle_is_tolerated_and_ignored():
    noisy = K + np.tril(np.full((3, 3), 1e-15), -1)
    assert wick_all(noisy, 4) == wick_all(K, 4)
    assert wick_all(noisy * 1e-200, 4) == wick_all(K * 1e-200, 4)


@pytest.mark.parametrize(
    ("matrix", "order", "error", "message"),
    [
        (K[0], 4, ShapeError, r"\(3,\).*square"),
        (K[:2], 4, ShapeError, r"\(2, 3\).*square"),
        (np.zeros((0, 0)), 4, ShapeError, "square"),
        (np.float64(1.0), 4, ShapeError, r"\(\).*square"),
        (K.astype(np.float32), 4, ShapeError, r"float32.*astype\(np\.float64\)"),
        (K.astype(">f8"), 4, ShapeError, ">f8"),
        (K.astype(complex), 4, ShapeError, "complex128"),
        (np.triu(K), 4, ArgumentError, r"K\[0, 1\] = 1 but K\[1, 0\] = 0"),
        (np.triu(K) * 5e307, 3, ArgumentError, "not symmetric"),
        (K * np.nan, 4, ArgumentError, r"K\[0, 0\] is nan: every entry must be finite"),
        (K + np.diag([0.0, np.inf, 0.0]), 4, ArgumentError, r"K\[1, 1\] is inf"),
        (K, 0, ArgumentError, "1 to 64, got 0"),
        (K, 65, ArgumentError, "1 to 64, got 65"),
        (K, -2, ArgumentError, "1 to 64"),
        (K, 2**70, ArgumentError, "1 to 64"),
        (K, 4.0, TypeError, "integer"),
    ],
)
def test_wrong_matrices_and_orders_are_refused(matrix, order, error, message):
    with pytest.raises(error, match=message):
        wick_all(matrix, order)


@pytest.mark.parametrize(
    ("mu", "error", "message"),
    [
        (MU[:2], ShapeError, r"\(2,\).*\(3,\)"),
        (MU[None], ShapeError, r"\(1, 3\).*\(3,\)"),
        (0.0, ShapeError, r"\(\)"),
        (MU.astype(np.float32), ShapeError, r"mu has dtype float32.*astype"),
        (MU * 1j, ShapeError, "complex128"),
        (np.array([0.0, np.nan, np.inf]), ArgumentError, r"mu\[1\] is nan"),
    ],
)
def test_wrong_means_are_refused(mu, error, message):
    with pytest.raises(error, match=message):
        wick_all(K, 3, mu=mu)


@pytest.mark.parametrize("threads", [0, -1, 4097])
def test_impossible_thread_counts_are_refused(threads):
    with pytest.raises(ArgumentError, match="threads must be from 1 to 4096"):
        wick_all(K, 4, threads=threads)


def test_an_asymmetry_between_small_entries_is_not_hidden_by_large_ones():
    mixed = np.diag([1e12, 1.0, 1.0])
    mixed[1, 2] = 0.5
    with pytest.raises(ArgumentError, match="not symmetric"):
        wick_all(mixed, 4)


@pytest.mark.parametrize(
    ("m", "order", "message"),
    [(200, 10, r"entries and takes \d+ bytes"), (700, 8, r"2\^62 bytes"), (500, 12, "64-bit")],
)
def test_results_beyond_the_memory_are_refused_before_it_is_asked_for(m, order, message):
    with pytest.raises(ArgumentError, match=message):
        wick_all(np.eye(m), order)


def test_ctrl_c_ends_a_long_call():
    def interrupt(*_):
        raise KeyboardInterrupt

    K = np.full((40, 40), 1e-200)  # out of range at order 6: 8 million entries are scaled one by one, at some 10 ns
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(KeyboardInterrupt):
            wick_all(K, 6)
        assert time.perf_counter() - start < 0.51
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
