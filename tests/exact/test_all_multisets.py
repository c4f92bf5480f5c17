"""Moments of all multisets of a Gaussian vector with a mean: exact integers, identities, the same bits everywhere."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from fractions import Fraction
from math import comb, factorial
from pathlib import Path

import numpy as np
import pytest

from nnqft import _core
from nnqft.wick import wick_all

VALUES = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())


def integer_theory(m, seed=0):
    rng = np.random.default_rng(seed)
    K = rng.integers(-4, 5, (m, m))
    return np.triu(K) + np.triu(K, 1).T, rng.integers(-3, 4, m)


def moments(K, mu, order):
    """Packed moments in Python integers: the first leg is alone or paired with one of the others."""
    K, mu, known = K.tolist(), None if mu is None else mu.tolist(), {(): 1}

    def moment(legs):
        if legs not in known:
            first, rest = legs[0], legs[1:]
            alone = 0 if mu is None else mu[first] * moment(rest)
            known[legs] = alone + sum(K[first][rest[j]] * moment(rest[:j] + rest[j + 1 :]) for j in range(len(rest)))
        return known[legs]

    if order % 2 and mu is None:
        return [0] * comb(len(K) + order - 1, order)
    return [moment(legs) for legs in itertools.combinations_with_replacement(range(len(K)), order)]


def random_theory(m, seed=1):
    rng = np.random.default_rng(seed)
    F = rng.normal(size=(m, m))
    K = F @ F.T
    return (K + K.T) / 2, rng.normal(size=m)


# ------------------------------------------------------------------------------ integers


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 17, 25])
def test_every_entry_equals_the_sum_over_pairings(m):
    for order in range(1, 13):
        if comb(m + order - 1, order) > 7000:
            break
        K, mu = integer_theory(m, order)
        for mean in (None, mu):
            got = wick_all(K.astype(float), order, mu=None if mean is None else mean.astype(float)).mean.tolist()
            for value, exact in zip(got, moments(K, mean, order), strict=True):
                assert value == exact or abs(exact) >= 2**53


def test_unit_kernels_count_pairings_and_involutions():
    for order in range(1, 25):
        plain = VALUES["ones"].get(str(order), "0")
        assert wick_all(np.ones((2, 2)), order).mean.tolist() == [float(plain)] * (order + 1)
        loops = wick_all(np.ones((2, 2)), order, mu=np.ones(2)).mean.tolist()
        assert loops == [float(VALUES["ones_loop"][str(order)])] * (order + 1)


def test_stored_integer_hafnians_come_out_with_and_without_a_mean():
    for case in VALUES["random_integer"] + VALUES["odd_loop"]:
        K, mu = (np.array(case[name], dtype=float) for name in ("A", "mu"))
        n = len(K)
        if n > 10:
            continue
        assert wick_all(K, n, mu=mu)[tuple(range(n))].mean == int(case["lhaf"])
        assert wick_all(K, n)[tuple(range(n))].mean == int(case.get("haf", 0))


def test_stored_hafnians_with_repeated_indices_come_out_with_and_without_a_mean():
    for case in VALUES["repeated"]:
        K, mu = (np.array(case[name], dtype=float) for name in ("A", "mu"))
        legs = tuple(i for i, r in enumerate(case["rpt"]) for _ in range(r))
        if len(legs) > 64 or comb(len(K) + len(legs) - 1, len(legs)) > 10**6:
            continue
        for mean, exact in ((None, int(case["haf"])), (mu, int(case["lhaf"]))):
            # All terms of one entry together, |K| for K, bound what rounding can add: n ulp of that.
            weight = wick_all(abs(K), len(legs), mu=None if mean is None else abs(mu))[legs].mean
            tolerance = 0 if weight < 2**53 else 2 * len(legs) * np.finfo(float).eps * weight
            assert abs(Fraction(wick_all(K, len(legs), mu=mean)[legs].mean) - exact) <= tolerance


def test_one_entry_a_billion_times_the_others_costs_no_digit():
    for case in VALUES["one_large_entry"]:
        if case["n"] > 8:
            continue
        K = np.ones((case["n"], case["n"]))
        K[case["i"], case["j"]] = K[case["j"], case["i"]] = float(case["M"])
        assert wick_all(K, case["n"])[tuple(range(case["n"]))].mean == int(case["haf"])


# ------------------------------------------------------------------------------ identities


@pytest.mark.parametrize(("m", "order"), [(24, 6), (64, 4), (20, 7), (110, 3), (12, 9)])
def test_large_tensors_pieced_together_from_chunks_obey_the_recursion_in_the_first_leg(m, order):
    # G(i, rest) = mu_i G(rest) + sum_j K(i, rest_j) G(rest without j): the kernel removes the last leg instead.
    K, mu = (x.astype(float) for x in integer_theory(m))
    G, below, second = (wick_all(K, n, mu=mu) for n in (order, order - 1, order - 2))
    rows = G.index[np.random.default_rng(0).integers(0, len(G), 2000)]
    expected = mu[rows[:, 0]] * below.mean[_core.multiset_ranks(rows[:, 1:], m)]
    for j in range(1, order):
        rest = np.delete(rows, (0, j), axis=1)
        expected += K[rows[:, 0], rows[:, j]] * second.mean[_core.multiset_ranks(rest, m)]
    assert abs(G.mean).max() < 2**53
    assert np.array_equal(G.mean[_core.multiset_ranks(rows, m)], expected)


@pytest.mark.parametrize("order", [2, 4, 6, 8])
def test_the_recursion_agrees_with_the_sum_over_listed_pairings(order):
    K, _ = random_theory(9)
    G, listed = wick_all(K, order).mean, _core.pairing_sums(K[None], order)[0]
    weight = _core.pairing_sums(abs(K)[None], order)[0]
    assert (abs(G - listed) <= 2 * order * np.finfo(float).eps * weight).all()


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5, 6, 7])
def test_a_contraction_with_a_vector_is_a_moment_of_one_gaussian_number(order):
    # E[(v.f)^n] with mean a = v.mu and variance s = v.K.v: sum over k of n! a^(n-2k) s^k / (2^k k! (n-2k)!).
    K, mu = integer_theory(5)
    v = np.array([1, -2, 0, 3, 1])
    a, s = int(v @ mu), int(v @ K @ v)
    pairings = [factorial(order) // (2**k * factorial(k) * factorial(order - 2 * k)) for k in range(order // 2 + 1)]
    exact = sum(count * a ** (order - 2 * k) * s**k for k, count in enumerate(pairings))
    assert wick_all(K.astype(float), order, mu=mu.astype(float)).contract(v.astype(float)).mean == exact


@pytest.mark.parametrize(("order", "mean"), [(4, False), (5, True), (6, True)])
def test_relabelling_the_points_relabels_the_entries(order, mean):
    K, mu = (x.astype(float) for x in integer_theory(6))
    order_of = np.random.default_rng(3).permutation(6)
    G = wick_all(K, order, mu=mu if mean else None)
    H = wick_all(K[np.ix_(order_of, order_of)], order, mu=mu[order_of] if mean else None)
    assert np.array_equal(H.mean, G.mean[_core.multiset_ranks(np.sort(order_of[H.index].astype(np.int64), axis=1), 6)])


@pytest.mark.parametrize("order", range(1, 10))
def test_a_mean_of_zero_is_no_mean(order):
    K, _ = random_theory(7)
    np.testing.assert_array_equal(wick_all(K, order, mu=np.zeros(7)).mean, wick_all(K, order).mean)


def test_independent_blocks_of_points_factorise():
    (A, mu), (B, nu) = integer_theory(3, 5), integer_theory(4, 6)
    K = np.block([[A, np.zeros((3, 4), int)], [np.zeros((4, 3), int), B]]).astype(float)
    G = wick_all(K, 6, mu=np.concatenate([mu, nu]).astype(float))
    blocks = {"A": (A, mu), "B": (B, nu)}
    parts = {(k, n): wick_all(X * 1.0, n, mu=x * 1.0) for k, (X, x) in blocks.items() for n in range(1, 7)}
    for legs, value in G.items():
        first, second = tuple(i for i in legs if i < 3), tuple(i - 3 for i in legs if i >= 3)
        a = parts["A", len(first)][first].mean if first else 1.0
        b = parts["B", len(second)][second].mean if second else 1.0
        assert value.mean == a * b


# ------------------------------------------------------------------------------ scales


@pytest.mark.parametrize("order", [2, 4, 6, 8, 5])
@pytest.mark.parametrize("exponent", [-200, -7, 3, 150])
def test_a_power_of_two_scales_the_result_without_rounding(order, exponent):
    # 2^(2e) times K and 2^e times mu is 2^(n e) times G, as long as G stays in range; the kernel rescales on the way.
    K, mu = random_theory(5)
    if abs(exponent * order) > 1000:
        exponent = 900 // order * (1 if exponent > 0 else -1)
    G = wick_all(K, order, mu=mu).mean
    scaled = wick_all(np.ldexp(K, 2 * exponent), order, mu=np.ldexp(mu, exponent)).mean
    np.testing.assert_array_equal(scaled, np.ldexp(G, order * exponent))


@pytest.mark.parametrize("order", [4, 6, 8, 7])
def test_points_on_wildly_different_scales_lose_no_digit(order):
    # K_ij -> 2^(e_i + e_j) K_ij multiplies every entry by 2^(sum of e) exactly; G_(n-2) on the way would overflow.
    K, mu = random_theory(4)
    e = np.array([240, -240, 3, -30])
    G, H = wick_all(K, order, mu=mu), wick_all(np.ldexp(K, np.add.outer(e, e)), order, mu=np.ldexp(mu, e))
    with np.errstate(over="ignore", under="ignore"):
        np.testing.assert_array_equal(H.mean, np.ldexp(G.mean, e[G.index].sum(axis=1)))


def test_hollow_kernels_are_rescaled_by_what_couples_their_points():
    K = np.array([[0.0, 1e200, 0.0], [1e200, 0.0, 1e-200], [0.0, 1e-200, 0.0]])
    G = wick_all(K, 4)
    assert G[0, 0, 1, 1].mean == np.inf and G[0, 1, 1, 2].mean == pytest.approx(2.0, rel=1e-15)
    assert G[1, 1, 2, 2].mean == 0.0 and G[0, 0, 0, 0].mean == 0.0
    assert not wick_all(np.zeros((3, 3)), 6).mean.any()


@pytest.mark.parametrize("value", [5e-324, 1e-310, 1.7e308])
def test_the_ends_of_the_range_of_doubles_are_no_trouble(value):
    K = np.full((2, 2), value)
    assert wick_all(K, 2).mean.tolist() == [value] * 3
    assert wick_all(K, 4).mean.tolist() == [np.inf if value > 1 else 0.0] * 5


# ------------------------------------------------------------------------------ bits


def fused(a, b, c):
    return float(Fraction(a) * Fraction(b) + Fraction(c))  # rounded once


def in_documented_order(K, mu, order):
    """G_n as csrc/wick/all_multisets.hpp says that terms are added, by legs."""
    m = len(K)
    G = {(i,): mu[i] for i in range(m)}
    for n in range(2, order + 1):
        for legs in itertools.combinations_with_replacement(range(m), n):
            *before, b = legs
            if n == 2:
                G[legs] = mu[legs[0]] * mu[b] + K[legs[0]][b]
                continue
            t, others = before[:-3], before[-3:]

            def without(i, before=before):
                return G[tuple(before[: before.index(i)] + before[before.index(i) + 1 :])]

            terms = [(without(i), t.count(i) * K[i][b]) for i in sorted(set(t))]
            terms += [(G[tuple(before)], mu[b])] + [(without(i), K[i][b]) for i in others]
            total = terms[0][0] * terms[0][1]
            for a, c in terms[1:]:
                total = fused(a, c, total)
            G[legs] = total
    return [G[legs] for legs in itertools.combinations_with_replacement(range(m), order)]


@pytest.mark.parametrize(("m", "order"), [(3, 7), (10, 4), (2, 9), (9, 3)])
def test_terms_are_added_in_the_documented_order(m, order):
    K, mu = random_theory(m)
    assert wick_all(K, order, mu=mu).mean.tolist() == in_documented_order(K.tolist(), mu.tolist(), order)


DIGEST = """
import hashlib, sys
import numpy as np
from nnqft.wick import wick_all
digest = hashlib.sha256()
for m, order in ((1, 7), (3, 12), (6, 4), (6, 8), (11, 6), (20, 4), (20, 6), (37, 4), (120, 3)):
    # Numbers that every machine has alike: no sine, no library of random numbers.
    i = np.arange(m, dtype=np.float64)
    K = ((7 * np.add.outer(i, i) + 3 * np.multiply.outer(i, i)) % 31 - 15) / 37
    mu = (5 * i % 13 - 6) / 11
    for mean in (None, mu):
        digest.update(wick_all(K, order, mu=mean, threads=int(sys.argv[1])).mean.tobytes())
print(digest.hexdigest())
"""
EXPECTED = "b55b64346d7fdeb001414c319112be8446f7d1233aa5fa0466782afe1020b0f0"


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_results_have_the_same_bits_on_every_machine(isa, threads):
    if isa not in _core.isas():
        pytest.skip(f"this CPU or build lacks {isa}")
    command, env = [sys.executable, "-c", DIGEST, str(threads)], os.environ | {"NNQFT_ISA": isa}
    run = subprocess.run(command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == EXPECTED


@pytest.mark.parametrize(("m", "order"), [(32, 6), (260, 3)])
def test_threads_change_no_bit_where_they_are_used(m, order):
    K, mu = random_theory(m)
    one = hashlib.sha256(wick_all(K, order, mu=mu, threads=1).mean).hexdigest()
    for threads in (2, 7):
        assert hashlib.sha256(wick_all(K, order, mu=mu, threads=threads).mean).hexdigest() == one
