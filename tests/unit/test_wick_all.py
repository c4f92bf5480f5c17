"""What `wick_all` accepts, refuses and returns; its values are in tests/exact/test_wick_identities.py."""

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.wick import wick_all

K = np.array([[2.0, 1.0, 0.5], [1.0, 3.0, 0.25], [0.5, 0.25, 1.0]])


def test_the_result_is_exact_and_says_where_it_comes_from():
    G = wick_all(K, 4)
    assert (G.order, G.size, len(G), G.n) == (4, 3, 15, None)
    assert not G.stderr.any() and G.how["estimator"] == "wick"
    assert G[2, 0, 1, 0].mean == 2.0 * 0.25 + 2 * 1.0 * 0.5
    assert str(G[0, 0, 0, 0]) == "12.0(0)"


@pytest.mark.parametrize("view", [np.asfortranarray(K), K[::-1][::-1], np.kron(K, np.ones((2, 2)))[::2, ::2]])
def test_memory_layout_does_not_matter(view):
    assert wick_all(view, 6) == wick_all(K, 6)


def test_a_nested_list_is_a_matrix_too():
    assert wick_all([[1, 2], [2, 5]], 2).mean.tolist() == [1.0, 2.0, 5.0]


def test_a_read_only_matrix_is_only_read():
    frozen = K.copy()
    frozen.setflags(write=False)
    assert wick_all(frozen, 4) == wick_all(K, 4)


def test_rounding_in_the_lower_triangle_is_tolerated_and_ignored():
    noisy = K + np.tril(np.full((3, 3), 1e-15), -1)
    assert wick_all(noisy, 4) == wick_all(K, 4)


@pytest.mark.parametrize(
    ("matrix", "order", "error", "message"),
    [
        (K[0], 4, ShapeError, r"\(3,\).*square"),
        (K[:2], 4, ShapeError, r"\(2, 3\).*square"),
        (np.zeros((0, 0)), 4, ShapeError, "square"),
        (K.astype(np.float32), 4, ShapeError, r"float32.*astype\(np\.float64\)"),
        (K.astype(">f8"), 4, ShapeError, ">f8"),
        (K.astype(complex), 4, ShapeError, "complex128"),
        (np.triu(K), 4, ArgumentError, r"K\[0, 1\] = 1\.0 but K\[1, 0\] = 0\.0"),
        (K * np.nan, 4, ArgumentError, "9 entries that are not finite"),
        (K, 3, ArgumentError, "2, 4, 6 and 8"),
        (K, 10, ArgumentError, "2, 4, 6 and 8"),
    ],
)
def test_wrong_matrices_and_orders_are_refused(matrix, order, error, message):
    with pytest.raises(error, match=message):
        wick_all(matrix, order)


def test_an_asymmetry_between_small_entries_is_not_hidden_by_large_ones():
    mixed = np.diag([1e12, 1.0, 1.0])
    mixed[1, 2] = 0.5
    with pytest.raises(ArgumentError, match="not symmetric"):
        wick_all(mixed, 4)
