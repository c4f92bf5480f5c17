"""Derivatives of all multisets at once: exact integers, finite differences, minors, the same bits everywhere."""

import itertools
import os
import subprocess
import sys
from math import comb

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, ShapeError
from nnqft.tensor import SymmetricTensor
from nnqft.wick import wick_all, wick_all_vjp

EPS = np.finfo(float).eps


def integer_theory(m, seed):
    rng = np.random.default_rng(seed)
    K = rng.integers(-3, 4, (m, m)).astype(float)
    return np.triu(K) + np.triu(K, 1).T, rng.integers(-2, 3, m).astype(float)


def minors(K, mu, order, G_bar):
    """dG(I)/dK_ij is G without the legs i and j, dG(I)/dmu_i is G without i, leg by leg."""
    m = len(K)
    second, below = (wick_all(K, k, mu=mu) if k > 0 else None for k in (order - 2, order - 1))
    K_bar, mu_bar = np.zeros((m, m)), np.zeros(m)
    for legs, weight in zip(itertools.combinations_with_replacement(range(m), order), G_bar, strict=True):
        for p, i in enumerate(legs):
            rest = legs[:p] + legs[p + 1 :]
            mu_bar[i] += weight * (below[rest].mean if rest else 1.0)
            for q, j in enumerate(rest):
                others = rest[:q] + rest[q + 1 :]
                K_bar[i, j] += weight / 2 * (second[others].mean if others else 1.0)
    return K_bar, mu_bar


@pytest.mark.parametrize("m", [1, 2, 3, 5, 8, 9, 10, 17])
def test_derivatives_are_sums_over_what_is_left_without_one_or_two_legs(m):
    for order in range(1, 9):
        count = comb(m + order - 1, order)
        if count > 1000:
            break
        for with_mean in (False, True):
            K, mu = integer_theory(m, order)
            G_bar = 2.0 * np.random.default_rng(m).integers(-3, 4, count)
            K_bar, mu_bar = wick_all_vjp(K, order, G_bar, mu=mu if with_mean else None)
            exact = minors(K, mu if with_mean else np.zeros(m), order, G_bar)
            assert np.array_equal(K_bar, exact[0])
            assert np.array_equal(mu_bar, exact[1]) if with_mean else mu_bar is None


@pytest.mark.parametrize(("m", "order"), [(6, 4), (5, 6), (20, 4), (4, 8), (12, 5), (9, 7), (3, 11)])
def test_derivatives_agree_with_central_differences(m, order):
    rng = np.random.default_rng(order)
    F = rng.normal(size=(m, m)) / np.sqrt(m)
    K, mu, dK, dmu = F @ F.T, rng.normal(size=m), rng.normal(size=(m, m)), rng.normal(size=m)
    K, dK = (K + K.T) / 2, (dK + dK.T) / 2
    G_bar = rng.normal(size=comb(m + order - 1, order)) / order**order  # entries grow like (order - 1)!!
    K_bar, mu_bar = wick_all_vjp(K, order, G_bar, mu=mu)

    def total(h):
        return G_bar @ wick_all(K + h * dK, order, mu=mu + h * dmu).mean

    # G is a polynomial in h. Differences of step h and 2h leave an error of fourth order, below 1e-8 of the sum of
    # absolute values at h = 1e-3; rounding adds eps / h of it.
    h = 1e-3
    slope = (8 * (total(h) - total(-h)) - (total(2 * h) - total(-2 * h))) / (12 * h)
    weight = abs(G_bar) @ wick_all(abs(K) + abs(dK), order, mu=abs(mu) + abs(dmu)).mean
    assert abs(np.sum(K_bar * dK) + mu_bar @ dmu - slope) < 1e-8 * weight
    assert abs(slope) > 1e-6 * weight  # the comparison is not between zeros


def test_the_derivative_of_one_entry_is_that_of_its_hafnian():
    # d haf / dK_ij = haf without i and j; half of it in each of the two places.
    F = np.random.default_rng(1).normal(size=(6, 6))
    K = (F @ F.T + (F @ F.T).T) / 2
    G_bar = SymmetricTensor(np.zeros(comb(11, 6)), 0, order=6, size=6)
    unit = np.zeros(len(G_bar))
    unit[G_bar.rank(range(6))] = 1.0
    K_bar, _ = wick_all_vjp(K, 6, unit)
    G4 = wick_all(K, 4)
    for i, j in itertools.combinations(range(6), 2):
        assert K_bar[i, j] == K_bar[j, i] == G4[tuple(k for k in range(6) if k not in (i, j))].mean / 2
    assert not np.diag(K_bar).any()


def test_scaling_all_points_recovers_the_degree():
    # G is homogeneous: sum K K_bar 2 + sum mu mu_bar = order * sum G_bar G (Euler).
    K, mu = integer_theory(7, 3)
    for order in (3, 4, 5, 6):
        G_bar = 2.0 * np.random.default_rng(order).integers(-2, 3, comb(6 + order, order))
        K_bar, mu_bar = wick_all_vjp(K, order, G_bar, mu=mu)
        assert 2 * np.sum(K * K_bar) + mu @ mu_bar == order * (G_bar @ wick_all(K, order, mu=mu).mean)


def test_large_tensors_of_several_register_widths_obey_it_too():
    for m, order in ((24, 6), (70, 4), (110, 3), (26, 5)):
        K, mu = integer_theory(m, m)
        G_bar = 2.0 * np.random.default_rng(order).integers(-1, 2, comb(m + order - 1, order))
        K_bar, mu_bar = wick_all_vjp(K, order, G_bar, mu=mu)
        # sum over i of dG/dmu_i v_i for v = e_0: the derivative leaves legs that a contraction with G_(n-1) can count.
        below = wick_all(K, order - 1, mu=mu)
        rows = np.sort(np.column_stack([below.index, np.zeros(len(below), int)]), axis=1).astype(np.int64)
        zeros = (below.index == 0).sum(axis=1) + 1
        assert mu_bar[0] == np.sum(zeros * G_bar[_core.multiset_ranks(rows, m)] * below.mean)
        assert 2 * np.sum(K * K_bar) + mu @ mu_bar == order * (G_bar @ wick_all(K, order, mu=mu).mean)


def test_weights_may_come_as_a_tensor_and_in_any_layout():
    K, mu = integer_theory(4, 1)
    G_bar = wick_all(K, 4)
    packed = G_bar.mean.copy()
    strided = np.repeat(packed, 2)[::2]
    for weights in (packed, strided, packed[::-1].copy()[::-1], packed.tolist()):
        for a, b in zip(wick_all_vjp(K, 4, weights, mu=mu), wick_all_vjp(K, 4, G_bar, mu=mu), strict=True):
            assert np.array_equal(a, b)
    assert np.array_equal(packed, G_bar.mean)


def test_weights_that_are_not_finite_reach_only_what_they_multiply():
    G_bar = np.zeros(comb(11, 4))
    G_bar[-1] = np.nan  # G_7777
    K_bar, _ = wick_all_vjp(np.eye(8), 4, G_bar)
    assert np.isnan(K_bar[7, 7]) and np.isnan(K_bar).sum() == 1


@pytest.mark.parametrize(
    ("G_bar", "error", "message"),
    [
        (np.zeros(14), ShapeError, r"\(14,\).*\(15,\)"),
        (np.zeros((15, 1)), ShapeError, r"\(15, 1\)"),
        (np.zeros(15, np.float32), ShapeError, "float32.*astype"),
        (np.zeros(15, complex), ShapeError, "complex128"),
        (SymmetricTensor(np.zeros(10), 0, order=3, size=3), ShapeError, "order 3 over 3.*order 4 over 3"),
        (SymmetricTensor([0.0], 0, order=4, size=3, index=[[0, 0, 0, 1]]), ShapeError, "dense"),
    ],
)
def test_wrong_weights_are_refused(G_bar, error, message):
    with pytest.raises(error, match=message):
        wick_all_vjp(np.eye(3), 4, G_bar)


def test_wrong_kernels_and_means_are_refused_as_by_wick_all():
    with pytest.raises(ArgumentError, match="not symmetric"):
        wick_all_vjp(np.triu(np.ones((3, 3))), 4, np.zeros(15))
    with pytest.raises(ArgumentError, match=r"mu\[2\] is inf"):
        wick_all_vjp(np.eye(3), 4, np.zeros(15), mu=np.array([0, 0, np.inf]))
    with pytest.raises(ShapeError, match=r"wick_all_vjp\(\) takes a square matrix"):
        wick_all_vjp(np.ones((3, 2)), 4, np.zeros(15))
    with pytest.raises(ArgumentError, match="1 to 64"):
        wick_all_vjp(np.eye(3), 0, np.zeros(15))


DIGEST = """
import hashlib
from math import comb
import numpy as np
from nnqft.wick import wick_all_vjp
digest = hashlib.sha256()
for m, order in ((1, 7), (3, 12), (6, 4), (6, 8), (11, 6), (20, 4), (37, 4), (50, 3), (9, 2), (9, 1)):
    i = np.arange(m, dtype=np.float64)
    K = ((7 * np.add.outer(i, i) + 3 * np.multiply.outer(i, i)) % 31 - 15) / 37
    mu = (5 * i % 13 - 6) / 11
    G_bar = (np.arange(comb(m + order - 1, order)) * 17 % 101 - 50) / 53
    for mean in (None, mu):
        for bar in wick_all_vjp(K, order, G_bar, mu=mean):
            digest.update(b"" if bar is None else bar.tobytes())
print(digest.hexdigest())
"""
EXPECTED = "7e4fc6af769e1e50ddc8c71dba8e129df7b45fce1be579dd6bbd60a13f04ef8c"


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_derivatives_have_the_same_bits_on_every_machine(isa):
    if isa not in _core.isas():
        pytest.skip(f"this CPU or build lacks {isa}")
    command, env = [sys.executable, "-c", DIGEST], os.environ | {"NNQFT_ISA": isa}
    run = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == EXPECTED
