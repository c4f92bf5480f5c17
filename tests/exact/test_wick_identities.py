"""Identities that pairing and partition sums obey exactly, and integers known from elsewhere.

Every random variable here takes 2**k equally likely integer values, so its moments are binary fractions that float64
holds exactly, and the two sides of each identity must agree to the last bit unless a tolerance says otherwise.
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest

from nnqft import _core
from nnqft.wick import jackknife, pairings, wick_all

VALUES = json.loads((Path(__file__).parents[1] / "data" / "wick_small.json").read_text())
EVEN = (2, 4, 6, 8)


def moments(samples, orders):
    """Packed moments of equally likely samples (count, m), each (1, C(m+n-1, n))."""
    m = samples.shape[1]
    return [samples[:, _core.multiset_index(m, n)].prod(axis=2).mean(axis=0, keepdims=True) for n in orders]


def rademacher(weights):
    """All 2**k values of sum_a w[a] e_a with signs e_a: an even theory."""
    weights = np.asarray(weights, dtype=np.float64)
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(weights))))
    return signs @ weights


def independent_sum(x, y):
    return (x[:, None, :] + y[None, :, :]).reshape(-1, x.shape[1])


def packed_at(tensor, index, m):
    return tensor[0, _core.multiset_ranks(np.array([sorted(index)]), m)[0]]


# ------------------------------------------------------------------------------ integers from elsewhere


def test_unit_kernel_counts_the_pairings():
    for n, count in VALUES["ones"].items():
        assert wick_all(np.ones((2, 2)), int(n)).mean.tolist() == [count] * (int(n) + 1)
        assert len(pairings(int(n))) == count


def test_stored_integer_hafnians_come_out_exactly():
    for case in VALUES["random_integer"]:
        K = np.array(case["A"], dtype=np.float64)
        assert wick_all(K, len(K))[tuple(range(len(K)))].mean == case["haf"]


def test_stored_hafnians_with_repeated_indices_come_out_exactly():
    for case in VALUES["repeated"]:
        legs = [i for i, r in enumerate(case["rpt"]) for _ in range(r)]
        assert wick_all(np.array(case["A"], dtype=np.float64), len(legs))[tuple(legs)].mean == case["haf"]


def test_one_entry_a_billion_times_the_others_costs_no_digit():
    for case in VALUES["one_large_entry"]:
        K = np.ones((case["n"], case["n"]))
        K[case["i"], case["j"]] = K[case["j"], case["i"]] = case["M"]
        assert wick_all(K, case["n"])[tuple(range(case["n"]))].mean == case["haf"]


def test_pairings_that_avoid_a_given_matching_are_counted():
    for n, count in VALUES["cocktail_party"].items():
        n = int(n)
        K = np.ones((n, n)) - np.kron(np.eye(n // 2), np.ones((2, 2)))
        assert wick_all(K, n)[tuple(range(n))].mean == count


@pytest.mark.parametrize("n", EVEN)
def test_even_cumulants_carry_the_stored_numbers_and_weights_of_partitions(n):
    # Moments t_k that depend on the order alone make kappa_n a polynomial in t_2, t_4, ..: evaluate it from the table.
    t = {2: 3.0, 4: -5.0, 6: 7.0, 8: 11.0}
    expected = 0.0
    for shape, (number, weight) in VALUES["partition_shapes_even"][str(n)].items():
        expected += number * weight * math.prod(t[int(block)] for block in shape.split("+"))
    got = _core.even_cumulants([np.full((1, 1), t[k]) for k in EVEN if k <= n], 1)[-1]
    assert got.item() == expected


def test_cumulants_of_sums_of_signs_have_the_stored_values():
    stored = VALUES["rademacher"]
    samples = rademacher(np.array(stored["w"], dtype=np.float64).T)
    m = samples.shape[1]
    raw = moments(samples, EVEN)
    kappa = _core.even_cumulants(raw, m)
    for entry in stored["entries"]:
        k = len(entry["idx"]) // 2 - 1
        assert packed_at(raw[k], entry["idx"], m) == entry["moment"]
        assert packed_at(kappa[k], entry["idx"], m) == entry["cumulant"]


def test_cumulants_of_one_sign_are_1_minus2_16_minus272():
    kappa = _core.even_cumulants(moments(rademacher([[1]]), EVEN), 1)
    assert [k.item() for k in kappa] == [VALUES["rademacher"]["kappa_single"][str(n)] for n in EVEN]


# ------------------------------------------------------------------------------ Gaussian theories


def test_gaussian_moments_have_no_cumulants_beyond_the_second():
    rng = np.random.default_rng(1)
    L = rng.integers(-2, 3, (4, 4)).astype(np.float64)
    K = L @ L.T
    kappa = _core.even_cumulants([wick_all(K, n).mean[None] for n in EVEN], 4)
    assert np.array_equal(kappa[0], wick_all(K, 2).mean[None])
    for higher in kappa[1:]:
        assert not higher.any()


def test_a_gaussian_vector_with_a_mean_has_only_its_mean_and_kernel_as_cumulants():
    # x = mu + g: E[prod x] = sum over partitions into singles and pairs, written out with K and mu integers.
    rng = np.random.default_rng(2)
    m, mu = 3, rng.integers(-3, 4, 3).astype(np.float64)
    L = rng.integers(-2, 3, (3, 3)).astype(np.float64)
    K = L @ L.T

    def moment(legs):
        if not legs:
            return 1.0
        first, rest = legs[0], legs[1:]
        paired = sum(K[first, rest[j]] * moment(rest[:j] + rest[j + 1 :]) for j in range(len(rest)))
        return mu[first] * moment(rest) + paired

    raw = [np.array([[moment(tuple(i)) for i in _core.multiset_index(m, n).tolist()]]) for n in (1, 2, 3, 4)]
    kappa = _core.vector_cumulants(raw, m)
    assert np.array_equal(kappa[0][0], mu)
    assert np.array_equal(kappa[1][0], K[tuple(_core.multiset_index(m, 2).T)])
    assert not kappa[2].any() and not kappa[3].any()


@pytest.mark.parametrize("order", EVEN)
def test_the_derivative_identity_of_gaussian_integrals_holds(order):
    # Wick's theorem against E[x_i F] = sum_j K_ij E[dF/dx_j]: one more route from order n-2 to order n.
    K = np.array([[2.0, 1.0, -1.0], [1.0, 3.0, 0.0], [-1.0, 0.0, 5.0]])
    G, lower = wick_all(K, order), wick_all(K, order - 2) if order > 2 else None
    for legs in G.index.tolist():
        last, rest = legs[-1], legs[:-1]
        total = 0.0
        for j in range(len(rest)):
            others = tuple(rest[:j] + rest[j + 1 :])
            total += K[last, rest[j]] * (lower[others].mean if others else 1.0)
        assert G[tuple(legs)].mean == total


def test_relabelling_the_points_relabels_the_correlators():
    rng = np.random.default_rng(3)
    K = rng.integers(-4, 5, (5, 5)).astype(np.float64)
    K, order = K + K.T, rng.permutation(5)
    G, H = wick_all(K, 6), wick_all(K[np.ix_(order, order)], 6)
    for legs in H.index.tolist():
        assert H[tuple(legs)].mean == G[tuple(order[legs])].mean


@pytest.mark.parametrize("order", EVEN)
def test_a_power_of_two_scales_the_kernel_without_rounding(order):
    A = np.random.default_rng(4).normal(size=(4, 4))
    K = A @ A.T
    K = (K + K.T) / 2
    assert np.array_equal(wick_all(4 * K, order).mean, 4.0 ** (order // 2) * wick_all(K, order).mean)


# ------------------------------------------------------------------------------ cumulants in general


def test_cumulants_of_independent_variables_add():
    rng = np.random.default_rng(5)
    x, y = (rademacher(rng.integers(-2, 3, (3, 3))) for _ in range(2))
    parts = [_core.even_cumulants(moments(z, EVEN), 3) for z in (x, y, independent_sum(x, y))]
    for of_x, of_y, of_sum in zip(*parts, strict=True):
        assert np.array_equal(of_x + of_y, of_sum)


def test_vector_cumulants_of_independent_variables_add():
    rng = np.random.default_rng(6)
    x, y = (rng.integers(-3, 4, (8, 3)).astype(np.float64) for _ in range(2))
    parts = [_core.vector_cumulants(moments(z, (1, 2, 3, 4)), 3) for z in (x, y, independent_sum(x, y))]
    for of_x, of_y, of_sum in zip(*parts, strict=True):
        assert np.array_equal(of_x + of_y, of_sum)


def test_vector_cumulants_beyond_the_first_ignore_a_shift():
    x = np.random.default_rng(7).integers(-3, 4, (16, 3)).astype(np.float64)
    shift = np.array([8.0, -2.0, 5.0])
    still, moved = (_core.vector_cumulants(moments(z, (1, 2, 3, 4)), 3) for z in (x, x + shift))
    assert np.array_equal(moved[0], still[0] + shift)
    for a, b in zip(still[1:], moved[1:], strict=True):
        assert np.array_equal(a, b)


def test_even_and_vector_cumulants_agree_where_odd_moments_vanish():
    raw = moments(rademacher([[1, 2, 0], [1, -1, 1], [0, 1, 2]]), (1, 2, 3, 4))
    assert not raw[0].any() and not raw[2].any()
    vector = _core.vector_cumulants(raw, 3)
    even = _core.even_cumulants([raw[1], raw[3]], 3)
    assert np.array_equal(vector[1], even[0]) and np.array_equal(vector[3], even[1])


@pytest.mark.parametrize(("neuron", "width"), [([[1, 2], [2, -1]], 4), ([[1]], 16)])
def test_cumulants_of_a_normalised_sum_fall_as_width_to_the_1_minus_half_n(neuron, width):
    m = len(neuron[0])
    one = _core.even_cumulants(moments(rademacher(neuron), EVEN), m)
    layer = rademacher(neuron * width) / math.isqrt(width)  # `width` independent copies, all sign patterns
    for n, single, wide in zip(EVEN, one, _core.even_cumulants(moments(layer, EVEN), m), strict=True):
        assert np.array_equal(wide, single * float(width) ** (1 - n // 2))


# ------------------------------------------------------------------------------ fields Gaussian given C


def gram_samples(rng, n_samples, m_points):
    """Integer samples of the pair variables C_(i<=j) of random Gram matrices."""
    h = rng.integers(-2, 3, (n_samples, m_points, 2)).astype(np.float64)
    gram = h @ h.transpose(0, 2, 1)
    i, j = _core.multiset_index(m_points, 2).T
    return gram[:, i, j]


def test_a_fixed_gram_matrix_gives_the_gaussian_theory():
    K = np.array([[2.0, 1.0, -1.0], [1.0, 3.0, 0.0], [-1.0, 0.0, 5.0]])
    C = K[tuple(_core.multiset_index(3, 2).T)][None, :]
    for order in EVEN:
        got = _core.gram_correlators(moments(C, (order // 2,))[0], 3, 1, order)
        assert np.array_equal(got[0], wick_all(K, order).mean)


@pytest.mark.parametrize(("m_points", "d_out"), [(2, 1), (2, 2), (3, 1)])
def test_cumulants_of_the_gram_matrix_are_the_connected_functions(m_points, d_out):
    # W[J] = log E exp(J'CJ/2): pairing sums of the cumulants of C are the cumulants of the pairing sums of its moments.
    samples = gram_samples(np.random.default_rng(8), 8, m_points)
    n_pairs = samples.shape[1]
    raw = moments(samples, (1, 2, 3, 4))
    kappa = _core.vector_cumulants(raw, n_pairs)
    full = [_core.gram_correlators(r, m_points, d_out, n) for r, n in zip(raw, EVEN, strict=True)]
    connected = [_core.gram_correlators(k, m_points, d_out, n) for k, n in zip(kappa, EVEN, strict=True)]
    for a, b in zip(_core.even_cumulants(full, m_points * d_out), connected, strict=True):
        assert np.array_equal(a, b)


def test_connected_four_point_function_of_two_outputs_has_the_delta_structure():
    # G4c_{abcd} over outputs = d_ab d_cd V_(12)(34) + d_ac d_bd V_(13)(24) + d_ad d_bc V_(14)(23), V = cov(C, C).
    samples = gram_samples(np.random.default_rng(9), 8, 2)
    raw = moments(samples, (1, 2))
    got = _core.gram_correlators(_core.vector_cumulants(raw, 3)[1], 2, 2, 4)
    V = np.cov(samples.T, bias=True)
    pair = np.array([[0, 1], [1, 2]])
    for value, legs in zip(got[0], _core.multiset_index(4, 4).tolist(), strict=True):
        (i, a), (j, b), (k, c), (h, d) = (divmod(f, 2) for f in legs)
        expected = 0.0
        for outs, first, second in (
            ((a == b) * (c == d), pair[i, j], pair[k, h]),
            ((a == c) * (b == d), pair[i, k], pair[j, h]),
            ((a == d) * (b == c), pair[i, h], pair[j, k]),
        ):
            expected += outs * V[first, second]
        assert value == pytest.approx(expected, rel=0, abs=32 * np.finfo(float).eps * abs(samples).max() ** 2)


# ------------------------------------------------------------------------------ the kernels under the jackknife


def test_the_jackknife_of_connected_functions_agrees_with_groups_taken_out_by_hand():
    rng = np.random.default_rng(10)
    m, sizes = 3, rng.integers(3, 9, 12)
    groups = [rng.normal(size=(k, m)) for k in sizes]
    sums = {n: np.stack([moments(g, (n,))[0][0] * len(g) for g in groups]) for n in (2, 4)}

    def connected(mean):
        return dict(zip((2, 4), _core.even_cumulants([mean[2], mean[4]], m), strict=True))

    result = jackknife(sums, sizes, function=connected, max_bytes=1)
    theta = connected(dict(zip((2, 4), moments(np.concatenate(groups), (2, 4)), strict=True)))[4][0]
    left_out = [
        connected(dict(zip((2, 4), moments(np.concatenate(groups[:g] + groups[g + 1 :]), (2, 4)), strict=True)))[4][0]
        for g in range(12)
    ]
    h = sizes.sum() / sizes[:, None]
    pseudo = h * theta - (h - 1) * left_out
    corrected = 12 * theta - np.sum((1 - 1 / h) * left_out, axis=0)
    stderr = np.sqrt(np.mean((pseudo - corrected) ** 2 / (h - 1), axis=0))
    # Both routes round differently; leaving out 1/12 of the data amplifies eps by about 12 * 12.
    tolerance = {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(result.estimate[4], theta, **tolerance)
    np.testing.assert_allclose(result.corrected[4], corrected, **tolerance)
    np.testing.assert_allclose(result.stderr[4], stderr, **tolerance)
