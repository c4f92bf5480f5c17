"""Hafnians of single matrices against exact integers, enumeration and each other."""

import itertools
import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnqft.wick import hafnian, hafnian_cost, pairings

VALUES = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())
EPS = np.finfo(float).eps


def array(rows):
    return np.array(rows, dtype=np.float64)


def enumerated(K, mu=None):
    """Sum over partial pairings, first point first; exact for integer objects."""
    n = len(K)

    @cache
    def rest(points):
        if not points:
            return 1
        first, others = points[0], points[1:]
        total = mu[first] * rest(others) if mu is not None else 0
        return total + sum(K[first][j] * rest(others[:i] + others[i + 1 :]) for i, j in enumerate(others))

    return rest(tuple(range(n)))


def random_kernel(n, seed, scale=1.0):
    factor = np.random.default_rng(seed).normal(size=(n, n + 3))
    return scale * factor @ factor.T / (n + 3)


# ---------------------------------------------------------------- known values


@pytest.mark.parametrize("n", range(2, 41, 2))
def test_all_ones_gives_the_double_factorial(n):
    exact = int(VALUES["ones"][str(n)])
    got = hafnian(np.ones((n, n)))
    assert abs(got - exact) <= (0 if exact < 2**53 else 1e-14 * exact)


@pytest.mark.parametrize("n", range(1, 41))
def test_all_ones_with_unit_mean_gives_the_number_of_involutions(n):
    exact = int(VALUES["ones_loop"][str(n)])
    got = hafnian(np.ones((n, n)), mu=np.ones(n))
    assert abs(got - exact) <= (0 if exact < 2**53 else 1e-14 * exact)


@pytest.mark.parametrize("case", VALUES["random_integer"], ids=lambda case: f"n={case['n']}")
def test_integer_matrices_come_out_exact(case):
    K, mu = array(case["A"]), array(case["mu"])
    assert hafnian(K) == int(case["haf"])
    assert hafnian(K, mu=mu) == int(case["lhaf"])
    assert hafnian(K.astype(complex)) == int(case["haf"])
    assert hafnian(K.astype(complex), mu=mu.astype(complex)) == int(case["lhaf"])


@pytest.mark.parametrize("case", VALUES["odd_loop"], ids=lambda case: f"n={case['n']}")
def test_an_odd_number_of_points_with_a_mean_comes_out_exact(case):
    assert hafnian(array(case["A"]), mu=array(case["mu"])) == int(case["lhaf"])


@pytest.mark.parametrize("case", VALUES["repeated"], ids=lambda case: str(case["rpt"]))
def test_repeated_points_come_out_exact(case):
    K, mu = array(case["A"]), array(case["mu"])
    for dtype in (float, complex):
        assert hafnian(K.astype(dtype), repeats=case["rpt"]) == int(case["haf"])
        assert hafnian(K.astype(dtype), mu=mu.astype(dtype), repeats=case["rpt"]) == int(case["lhaf"])


@pytest.mark.parametrize("case", VALUES["bipartite_permanent"], ids=lambda case: f"k={case['k']}")
def test_a_bipartite_graph_gives_the_permanent(case):
    B = array(case["B"])
    zero = np.zeros_like(B)
    assert hafnian(np.block([[zero, B], [B.T, zero]])) == int(case["haf"])


@pytest.mark.parametrize("case", VALUES["one_large_entry"], ids=lambda c: f"n={c['n']},M={c['M']},({c['i']},{c['j']})")
def test_one_entry_far_larger_than_the_rest_costs_no_digit(case):
    """1 with one entry up to 1e9, on and off a paired position: power-trace methods return 0 or -8e7 here."""
    K = np.ones((case["n"], case["n"]))
    K[case["i"], case["j"]] = K[case["j"], case["i"]] = float(case["M"])
    exact = int(case["haf"])
    assert abs(hafnian(K) - exact) <= (0 if exact < 2**53 else 4 * EPS * exact)


def test_rank_one_and_block_diagonal_and_cocktail_party_values():
    v = array(VALUES["rank_one"]["v"])
    assert hafnian(np.outer(v, v)) == int(VALUES["rank_one"]["haf"])
    blocks = VALUES["block_diagonal"]
    A, B = array(blocks["A1"]), array(blocks["A2"])
    both = np.block([[A, np.zeros((len(A), len(B)))], [np.zeros((len(B), len(A))), B]])
    assert hafnian(both) == int(blocks["haf"])
    for n, count in VALUES["cocktail_party"].items():
        n = int(n)
        graph = np.ones((n, n)) - np.eye(n) - np.kron(np.eye(n // 2), [[0, 1], [1, 0]])
        assert hafnian(graph) == int(count)


def rank_three(vectors, offset):
    """E prod_i (u_i g + v_i h + w_i k + c_i) for integer (u, v, w) and c, exactly: the moments of three Gaussians."""
    polynomial = {(0, 0, 0): 1}
    for (u, v, w), c in zip(vectors.tolist(), offset.tolist(), strict=True):
        product = {}
        for (a, b, d), x in polynomial.items():
            for key, factor in (((a + 1, b, d), u), ((a, b + 1, d), v), ((a, b, d + 1), w), ((a, b, d), c)):
                product[key] = product.get(key, 0) + x * factor
        polynomial = product
    moment = [0 if k % 2 else math.prod(range(1, k, 2)) for k in range(len(vectors) + 1)]
    return sum(x * moment[a] * moment[b] * moment[d] for (a, b, d), x in polynomial.items())


@pytest.mark.parametrize("n", [14, 18, 22, 23, 24, 26])
def test_integers_stay_exact_where_the_sums_of_the_sieve_exceed_two_to_the_53(n):
    vectors = np.array(list(itertools.product((-1, 0, 1), repeat=3)))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        chosen, mu = rng.permutation(vectors)[:n], rng.integers(-1, 2, n)
        K = (chosen @ chosen.T).astype(float)
        for offset, mean in ((np.zeros(n, dtype=int), None), (mu, mu.astype(float))):
            exact = rank_three(chosen, offset)
            if abs(exact) < 2**53:
                assert hafnian(K, mu=mean) == exact
            else:
                assert hafnian(K, mu=mean) == pytest.approx(exact, rel=1e-12)


# ---------------------------------------------------------------- independent routes


@pytest.mark.parametrize("n", [2, 4, 6, 8])
def test_it_is_the_sum_over_pairings(n):
    K = random_kernel(n, n)
    terms = [math.prod(K[a, b] for a, b in pairing) for pairing in pairings(n)]
    assert abs(hafnian(K) - math.fsum(terms)) <= n * EPS * math.fsum(map(abs, terms))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6, 9, 12, 13, 14])
def test_complex_matrices_agree_with_exact_gaussian_integers(n):
    rng = np.random.default_rng(n)
    re, im, u, v = (rng.integers(-3, 4, s) for s in ((n, n), (n, n), n, n))

    class Gaussian:  # exact complex integers
        def __init__(self, a, b):
            self.a, self.b = int(a), int(b)

        def __mul__(self, o):
            o = o if isinstance(o, Gaussian) else Gaussian(o, 0)
            return Gaussian(self.a * o.a - self.b * o.b, self.a * o.b + self.b * o.a)

        def __add__(self, o):
            o = o if isinstance(o, Gaussian) else Gaussian(o, 0)
            return Gaussian(self.a + o.a, self.b + o.b)

        __radd__ = __add__

    K = (re + re.T) + 1j * (im + im.T)
    mu = u + 1j * v
    exact = enumerated([[Gaussian(z.real, z.imag) for z in row] for row in K], [Gaussian(z.real, z.imag) for z in mu])
    assert hafnian(K, mu=mu) == complex(exact.a, exact.b)


@pytest.mark.parametrize("n", [14, 20, 26, 32, 40])
def test_the_error_is_below_1e_13_of_the_hafnian_of_absolute_values(n):
    """A rank-two kernel with mixed signs: haf(u u' + v v') = sum_k C(n, k)-subsets has the closed form below."""
    rng = np.random.default_rng(n)
    u, v = rng.normal(size=(2, n))
    # E prod (u_i g + v_i h) = sum_k e_k (k-1)!! (n-k-1)!!, e_k = coefficient of x^k in prod (u_i x + v_i)
    polynomial, size = [1], [1]
    from fractions import Fraction

    for a, b in zip(u, v, strict=True):
        a, b = Fraction(a), Fraction(b)
        polynomial = [a * (polynomial[k - 1] if k else 0) + b * (polynomial[k] if k < len(polynomial) else 0)
                      for k in range(len(polynomial) + 1)]  # fmt: skip
        size = [abs(a) * (size[k - 1] if k else 0) + abs(b) * (size[k] if k < len(size) else 0) for k in range(len(size) + 1)]
    double = {k: math.prod(range(1, k, 2)) for k in range(0, n + 1, 2)}
    exact = sum(polynomial[k] * double[k] * double[n - k] for k in range(0, n + 1, 2))
    K = np.outer(u, u) + np.outer(v, v)
    # The kernel itself is rounded: n/2 relative errors of 2 eps in every term of haf|u||u|' + |v||v|'.
    weight = float(sum(size[k] * double[k] * double[n - k] for k in range(0, n + 1, 2)))
    assert abs(hafnian(K) - float(exact)) <= (1e-13 + n * EPS) * weight


@pytest.mark.parametrize("repeats", [(2,) * 8, (3,) * 6, (4,) * 5, (6, 6, 6), (5, 3, 1, 2, 4, 6), (1, 2, 3, 4, 1, 2, 1), (7,) * 4, (2,) * 12, (1,) * 8 + (2,) * 6,
                                     (24,), (0, 3, 0, 5, 8)], ids=str)  # fmt: skip
@pytest.mark.parametrize("dtype", [float, complex])
def test_repeats_equal_the_expanded_matrix(repeats, dtype):
    m = len(repeats)
    rng = np.random.default_rng(sum(repeats))
    K = random_kernel(m, 1).astype(dtype)
    mu = rng.normal(size=m).astype(dtype)
    if dtype is complex:
        K = K * (0.6 + 0.8j) + 1j * random_kernel(m, 2)
        mu = mu * (1 - 0.5j)
    points = np.repeat(np.arange(m), repeats)
    wide = K[np.ix_(points, points)]
    for mean, wide_mean in ((None, None), (mu, mu[points])):
        if mean is None and len(points) % 2:
            assert hafnian(K, repeats=repeats) == 0
            continue
        weight = hafnian(np.abs(wide), mu=None if mean is None else np.abs(wide_mean))
        got, expected = hafnian(K, mu=mean, repeats=repeats), hafnian(wide, mu=wide_mean)
        assert abs(got - expected) <= 1e-13 * weight


def test_high_multiplicities_follow_the_one_dimensional_hermite_numbers():
    for r in (40, 100):
        got = hafnian(np.array([[0.5]]), repeats=[r])
        assert got == pytest.approx(math.prod(range(1, r, 2)) / 2 ** (r // 2), rel=r * EPS)
    # E (s + f)^9 with variance k: sum over 2j of C(9, 2j) (2j - 1)!! k^j s^(9 - 2j)
    exact = sum(math.comb(9, 2 * j) * math.prod(range(1, 2 * j, 2)) * 3**j * 2 ** (9 - 2 * j) for j in range(5))
    assert hafnian(np.array([[3.0]]), mu=np.array([2.0]), repeats=[9]) == exact


# ---------------------------------------------------------------- properties

sizes = st.integers(1, 9).map(lambda k: 2 * k)
seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=40, deadline=None)
@given(sizes, seeds)
def test_the_order_of_the_points_does_not_matter(n, seed):
    rng = np.random.default_rng(seed)
    K, mu = random_kernel(n, seed), rng.normal(size=n)
    p = rng.permutation(n)
    for mean, permuted in ((None, None), (mu, mu[p])):
        weight = hafnian(np.abs(K), mu=None if mean is None else np.abs(mean))
        assert abs(hafnian(K[np.ix_(p, p)], mu=permuted) - hafnian(K, mu=mean)) <= 1e-14 * n * weight


@settings(max_examples=40, deadline=None)
@given(sizes, seeds, st.integers(-50, 50))
def test_a_power_of_two_comes_out_to_the_bit(n, seed, power):
    K, mu = random_kernel(n, seed), np.random.default_rng(seed).normal(size=n)
    assert hafnian(K * 4.0**power) == math.ldexp(hafnian(K), n * power)
    assert hafnian(K * 4.0**power, mu=mu * 2.0**power) == math.ldexp(hafnian(K, mu=mu), n * power)


@pytest.mark.parametrize("n", [8, 16, 20])
@pytest.mark.parametrize("spread", [4, 30, 250])
def test_rows_of_very_different_size_cost_no_digit(n, spread):
    """haf(DKD) = prod(d) haf(K), also where no one factor could keep the products within the range of doubles."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        powers = rng.integers(-spread, spread, n)
        powers -= int(powers.mean())  # or the hafnian itself would leave the range
        K, mu = random_kernel(n, seed), rng.normal(size=n)
        scaled, mean = np.ldexp(K, powers[:, None] + powers[None, :]), np.ldexp(mu, powers)
        for a, b, weight in ((hafnian(scaled), hafnian(K), hafnian(np.abs(K))),
                             (hafnian(scaled, mu=mean), hafnian(K, mu=mu), hafnian(np.abs(K), mu=np.abs(mu)))):  # fmt: skip
            assert abs(math.ldexp(a, -int(powers.sum())) - b) <= 1e-13 * weight


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), seeds)
def test_block_diagonal_matrices_factorise(a, b, seed):
    A, B = random_kernel(2 * a, seed), random_kernel(2 * b, seed + 1)
    K = np.block([[A, np.zeros((2 * a, 2 * b))], [np.zeros((2 * b, 2 * a)), B]])
    weight = hafnian(np.abs(A)) * hafnian(np.abs(B))
    assert abs(hafnian(K) - hafnian(A) * hafnian(B)) <= 1e-14 * (a + b) * weight


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), seeds)
def test_bipartite_matrices_give_permanents(k, seed):
    B = np.random.default_rng(seed).integers(-4, 5, (k, k)).astype(float)
    permanent = sum(math.prod(B[i, p[i]] for i in range(k)) for p in itertools.permutations(range(k)))
    zero = np.zeros_like(B)
    assert hafnian(np.block([[zero, B], [B.T, zero]])) == permanent


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), seeds)
def test_a_mean_of_zero_changes_nothing(n, seed):
    K = np.random.default_rng(seed).integers(-3, 4, (n, n)).astype(float)
    K = K + K.T
    assert hafnian(K, mu=np.zeros(n)) == hafnian(K)


@pytest.mark.parametrize("n", [6, 14, 18])
def test_the_diagonal_is_not_read_unless_a_point_repeats(n):
    K = random_kernel(n, 0)
    other = K.copy()
    np.fill_diagonal(other, 7.0)
    assert hafnian(K) == hafnian(other)
    assert hafnian(K, repeats=[3] + [1] * (n - 1)) != hafnian(other, repeats=[3] + [1] * (n - 1))


def test_real_numbers_stay_real_and_complex_ones_complex():
    assert type(hafnian(np.ones((4, 4)))) is float
    assert type(hafnian(np.ones((4, 4), dtype=complex))) is complex
    for n in (4, 14, 20):  # haf(iK) = i^(n/2) haf(K), exactly
        K = random_kernel(n, n)
        assert hafnian(1j * K) == 1j ** (n // 2) * hafnian(K.astype(complex))


@pytest.mark.parametrize("n", [8, 16, 24])
@pytest.mark.parametrize("scale", [1e-25, 1e-9, 1e24])
def test_small_and_large_matrices_are_neither_zero_nor_infinite(n, scale):
    got = hafnian(np.full((n, n), scale))
    assert got == pytest.approx(int(VALUES["ones"][str(n)]) * scale ** (n // 2), rel=n * EPS)


def test_the_cost_names_the_method_and_falls_with_multiplicity():
    plain, twice = hafnian_cost(random_kernel(40, 0)), hafnian_cost(random_kernel(20, 0), repeats=[2] * 20)
    assert plain["method"] == twice["method"] == "sieve"
    assert twice["multiply_adds"] < 0.6 * plain["multiply_adds"]
    assert hafnian_cost(np.ones((4, 4)), repeats=[10] * 4)["method"] == "multisets"
