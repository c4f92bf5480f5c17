"""Sums over blocks of rows, from which `connected` makes its groups."""

import itertools

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, ShapeError


def by_numpy(F, orders, block):
    rows = []
    for first in range(0, len(F), block):
        part = F[first : first + block].astype(np.float64)
        index = (i for n in orders for i in itertools.combinations_with_replacement(range(F.shape[1]), n))
        rows.append([np.prod(part[:, i], axis=1).sum() for i in index])
    return np.array(rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_samples", "block"), [(1, 1), (7, 3), (600, 600), (600, 259), (3, 2**62)])
def test_every_block_is_summed_alone(n_samples, block, dtype):
    F = np.random.default_rng(1).integers(-3, 4, (n_samples, 6)).astype(dtype)[:, ::2]
    got = _core.moment_block_sums(F, (1, 2, 4), block, 2)
    assert np.array_equal(got, by_numpy(F, (1, 2, 4), block))  # integers: exact in any order


def test_a_value_that_is_not_finite_spoils_its_block_only():
    F = np.ones((6, 2))
    F[3, 1] = np.inf
    assert np.isnan(_core.moment_block_sums(F, (1, 2), 2, 1)).all(axis=1).tolist() == [False, True, False]


def test_no_rows_give_no_blocks():
    assert _core.moment_block_sums(np.ones((0, 3)), (2,), 5, 1).shape == (0, 6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.ones(3), (1,), 1, 1), ShapeError, "matrix"),
        ((np.ones((3, 2), int), (1,), 1, 1), ShapeError, "float32 or float64"),
        ((np.ones((3, 2)), (), 1, 1), ArgumentError, "one order or more"),
        ((np.ones((3, 2)), (9,), 1, 1), ArgumentError, "9"),
        ((np.ones((3, 2)), (1,), 0, 1), ArgumentError, "block is 0"),
        ((np.ones((3, 2)), (1,), 1, 0), ArgumentError, "threads"),
        ((np.ones((3, 0)), (1,), 1, 1), ArgumentError, "fields"),
        ((np.ones((100, 20_000)), (4,), 1, 1), ArgumentError, "memory"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        _core.moment_block_sums(*arguments)
