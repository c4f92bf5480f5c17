"""Edgeworth densities and the couplings of their actions: rational polynomial algebra, quadrature, and the way back."""

import itertools
from fractions import Fraction
from math import factorial

import numpy as np
import pytest

from nnqft import eft
from nnqft.ensemble import exact_correlators
from nnqft.errors import ArgumentError
from nnqft.networks import cos_net, erf_net, gauss_net, relu_net
from nnqft.tensor import SymmetricTensor
from nnqft.wick import cumulants

EPS = np.finfo(float).eps


def multisets(m, n):
    return list(itertools.combinations_with_replacement(range(m), n))


def random_theory(rng, m, scale4, scale6):
    """G2 of condition below 10, G4c and G6c of the given size in whitened fields, dense tensors with all symmetries."""
    A = rng.standard_normal((m, m)) * 0.3 + np.eye(m)
    tensors = []
    for n, scale in ((4, scale4), (6, scale6)):
        packed = rng.uniform(-scale, scale, len(multisets(m, n)))
        T = SymmetricTensor(packed, 0, order=n, size=m).dense()
        for _ in range(n):  # the axis in front becomes the one at the end, n times
            T = np.tensordot(T, A, axes=(0, 1))
        tensors.append(T)
    return A @ A.T, *tensors


# ----------------------------------------------------------- polynomials with rational coefficients: {exponents: value}


def times(p, q, degree=99):
    out = {}
    for a, x in p.items():
        for b, y in q.items():
            key = tuple(i + j for i, j in zip(a, b, strict=True))
            if sum(key) <= degree:
                out[key] = out.get(key, 0) + x * y
    return {k: v for k, v in out.items() if v}


def plus(p, q, factor=1):
    out = dict(p)
    for k, v in q.items():
        out[k] = out.get(k, 0) + factor * v
    return {k: v for k, v in out.items() if v}


def derivative(p, i):
    lower = lambda k: tuple(a - (j == i) for j, a in enumerate(k))
    return {lower(k): k[i] * v for k, v in p.items() if k[i]}


def hermite_tensor(index, Xi):
    """(-1)^n N^-1 d_i1 .. d_in N as a polynomial in f: p -> (Xi f)_i p - d_i p for each leg."""
    m = len(Xi)
    unit = lambda j: tuple(int(k == j) for k in range(m))
    p = {(0,) * m: Fraction(1)}
    for i in index:
        u = {unit(j): Xi[i][j] for j in range(m)}
        p = plus(times(u, p), derivative(p, i), -1)
    return p


def rational_action(G2inv, G4, G6):
    """{power of 1/N: polynomial} of -log(P / N), from the definition; G4, G6: {ordered tuple: Fraction}."""
    first, second = {}, {}
    for index, value in G4.items():
        first = plus(first, hermite_tensor(index, G2inv), value / factorial(4))
    for index, value in G6.items():
        second = plus(second, hermite_tensor(index, G2inv), value / factorial(6))
    for a, x in G4.items():
        for b, y in G4.items():
            second = plus(second, hermite_tensor(a + b, G2inv), x * y / factorial(4) ** 2 / 2)
    # -log(1 + e p + e^2 q) = -e p + e^2 (p^2 / 2 - q)
    return {1: plus({}, first, -1), 2: plus(plus({}, times(first, first), Fraction(1, 2)), second, -1)}


def monomials(tensor):
    """{exponents: coefficient} of T_{ij..} f_i f_j .. summed over ordered tuples."""
    m = tensor.size
    out = {}
    for row, value, count in zip(tensor.index.tolist(), tensor.mean, tensor.multiplicity, strict=True):
        out[tuple(row.count(i) for i in range(m))] = value * count
    return out


# ------------------------------------------------------------------------------ couplings


def test_one_variable_action_has_the_published_coefficients_exactly():
    # Coefficients of k4^a k6^b f^n are determined by values at rational k4, k6: enough of them to tell terms apart.
    for k4, k6 in [(Fraction(1), Fraction(0)), (Fraction(0), Fraction(1)), (Fraction(2, 3), Fraction(-5, 7))]:
        S = rational_action([[Fraction(1)]], {(0,) * 4: k4}, {(0,) * 6: k6})
        assert S[1] == {k: v for k, v in {(0,): -k4 / 8, (2,): k4 / 4, (4,): -k4 / 24}.items() if v}
        expected = {
            (2,): -k6 / 16 + k4**2 / 3,
            (4,): k6 / 48 - 7 * k4**2 / 48,
            (6,): -k6 / 720 + k4**2 / 72,
            (8,): Fraction(0),  # the eighth power cancels
        }
        for power, value in expected.items():
            assert S[2].get(power, 0) == value
        assert set(S[2]) <= {(0,), (2,), (4,), (6,)}


@pytest.mark.parametrize("k2", [1.0, 0.25, 9.0])
@pytest.mark.parametrize(("k4", "k6"), [(0.25, 0.5), (-0.125, 0.0625), (0.0625, -0.5)])
def test_couplings_of_one_field_match_the_rational_expansion(k2, k4, k6):
    g = eft.action_couplings(k2, k4 * k2**2, k6 * k2**3)
    S = rational_action([[Fraction(1)]], {(0,) * 4: Fraction(k4)}, {(0,) * 6: Fraction(k6)})
    for order, parts in ((1, g.leading), (2, g.next)):
        for n, T in parts.items():
            value = T.mean if n == 0 else T.mean[0]
            assert value * k2 ** (n / 2) == pytest.approx(float(S[order].get((n,), 0)), rel=1e-13, abs=1e-15)
    assert g.g6.mean[0] * k2**3 == pytest.approx(-k6 / 720 + k4**2 / 72, rel=1e-13)
    assert g.tree.mean[0] * k2**3 == pytest.approx(k4**2 / 72, rel=1e-13)
    assert g.contact.mean[0] * k2**3 == pytest.approx(-k6 / 720, rel=1e-13)


def test_couplings_of_two_fields_match_the_rational_expansion_coefficient_by_coefficient():
    # G2 = [[2, 1], [1, 3]] / 5 has the inverse [[3, -1], [-1, 2]].
    Xi = [[Fraction(3), Fraction(-1)], [Fraction(-1), Fraction(2)]]
    rng = np.random.default_rng(3)
    packed = {n: [Fraction(int(k), 64) for k in rng.integers(-8, 9, len(multisets(2, n)))] for n in (4, 6)}
    entry = {n: dict(zip(multisets(2, n), values, strict=True)) for n, values in packed.items()}
    ordered = {n: {row: entry[n][tuple(sorted(row))] for row in itertools.product(range(2), repeat=n)} for n in (4, 6)}
    S = rational_action(Xi, ordered[4], ordered[6])
    arrays = {n: np.array([float(v) for v in values]) for n, values in packed.items()}
    g = eft.action_couplings(np.array([[0.4, 0.2], [0.2, 0.6]]), arrays[4], arrays[6])
    for order, parts, degrees in ((1, g.leading, (0, 2, 4)), (2, g.next, (0, 2, 4, 6))):
        assert set(parts) == set(degrees)
        found = {(0, 0): parts[0].mean}
        for n in degrees[1:]:
            found |= monomials(parts[n])
        assert set(S[order]) <= set(found)
        scale = max(abs(float(v)) for v in S[order].values())
        for power, value in found.items():
            # Amputation and Hermite contractions: some ten roundings at condition 4 per leg.
            assert value == pytest.approx(float(S[order].get(power, 0)), abs=1e4 * EPS * scale)


def test_leading_couplings_are_the_amputated_four_point_function():
    rng = np.random.default_rng(5)
    G2, G4, G6 = random_theory(rng, 4, 0.05, 0.02)
    Xi = np.linalg.inv(G2)
    amputated = np.einsum("ijkl,ai,bj,ck,dl->abcd", G4, Xi, Xi, Xi, Xi, optimize=True)
    g = eft.action_couplings(G2, G4, G6)
    np.testing.assert_allclose(g.leading[4].dense(), -amputated / 24, atol=1e-12 * abs(amputated).max())
    np.testing.assert_allclose(
        g.leading[2].dense(), np.einsum("abcd,cd->ab", amputated, G2) / 4, atol=1e-12 * abs(amputated).max()
    )
    tree = np.zeros((4,) * 6)
    joined = np.einsum("abcx,xy,ydef->abcdef", amputated, G2, amputated, optimize=True)
    for others in itertools.combinations(range(1, 6), 2):
        legs = (0, *others, *(k for k in range(1, 6) if k not in others))
        tree += np.transpose(joined, np.argsort(legs))
    np.testing.assert_allclose(g.tree.dense(), tree / 720, atol=1e-12 * abs(tree).max())


def test_couplings_are_derivatives_of_minus_log_density_in_several_variables():
    # S(e) = -log P with cumulants e G4c, e^2 G6c: even and odd differences around e = 0 leave errors O(h^2), and
    # Richardson's step those of O(h^4): with h = 1e-3 below 1e-8 of the coefficient, as is rounding eps / h^2.
    rng = np.random.default_rng(11)
    G2, G4, G6 = random_theory(rng, 3, 0.2, 0.3)
    f = rng.standard_normal((40, 3)) @ np.linalg.cholesky(G2).T * 1.5
    g = eft.action_couplings(G2, G4, G6)

    def S(e):
        return -eft.edgeworth_density(G2, e * G4, e**2 * G6).log(f)

    def derivatives(h):
        plus, zero, minus = S(h), S(0.0), S(-h)
        return (plus - minus) / (2 * h), (plus + minus - 2 * zero) / (2 * h * h)

    h = 4e-3
    first, second = ((4 * a - b) / 3 for a, b in zip(derivatives(h / 2), derivatives(h), strict=True))
    for numerical, parts in ((first, g.leading), (second, g.next)):
        value = parts[0].mean + sum(np.array([T.contract(row).mean for row in f]) for n, T in parts.items() if n)
        np.testing.assert_allclose(numerical, value, rtol=0, atol=2e-5 * abs(value).max())


def test_independent_fields_have_the_couplings_of_one_field_each():
    G4, G6 = np.zeros(5), np.zeros(7)
    G4[[0, -1]], G6[[0, -1]] = (0.3, 0.1), (0.2, -0.1)
    both = eft.action_couplings(np.diag([1.0, 2.0]), G4, G6)
    for i, one in enumerate([eft.action_couplings(1.0, 0.3, 0.2), eft.action_couplings(2.0, 0.1, -0.1)]):
        for name in ("g2", "g4", "g6"):
            g, h = getattr(both, name), getattr(one, name)
            assert g[(i,) * g.order].mean == pytest.approx(h.mean[0], rel=1e-13)
    for g in (both.g2, both.g4, both.g6):
        mixed = [len(set(row)) > 1 for row in g.index.tolist()]
        assert abs(g.mean[mixed]).max() < 1e-15


@pytest.mark.parametrize("m", [1, 2])
def test_cumulants_of_the_action_are_those_given_up_to_one_over_width_cubed(m):
    # exp(-S) integrated numerically: Gauss-Hermite nodes for exp(-z^2/2), weight exp(-(S - z^2/2)); 1/N = e.
    rng = np.random.default_rng(7)
    G2, G4, G6 = random_theory(rng, m, 0.005, 0.0005)
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    z = np.stack([a.ravel() for a in np.meshgrid(*[nodes] * m)], axis=1)
    weights = np.prod(np.meshgrid(*[weights] * m), axis=0).ravel()
    f = z @ np.linalg.cholesky(G2).T
    defects = []
    for e in (1.0, 0.5):
        g = eft.action_couplings(G2, e * G4, e**2 * G6)
        density = weights * np.exp(-g.action(f) + np.einsum("ni,ni->n", z, z) / 2) * np.sqrt(np.linalg.det(G2))
        moments = {n: np.array([density @ np.prod(f[:, row], axis=1) for row in multisets(m, n)]) for n in (2, 4, 6)}
        found = cumulants({n: moment / density.sum() for n, moment in moments.items()}, even=True)
        wanted = {2: G2, 4: e * G4, 6: e**2 * G6}
        defect = [abs(found[n] - [wanted[n][row] for row in multisets(m, n)]).max() for n in (2, 4, 6)]
        assert all(d < 0.1 * abs(wanted[n]).max() for n, d in zip((2, 4, 6), defect, strict=True))
        defects.append([abs(density.sum() - 1), *defect])
    for coarse, fine in zip(*defects, strict=True):
        assert 6.5 < coarse / fine < 10  # 2^3, and what the next order adds


def test_table_sign_is_that_of_log_density():
    a, b = (eft.action_couplings(1.0, 0.25, 0.5, sign=sign) for sign in ("action", "table"))
    assert a.g4.mean[0] < 0 < b.g4.mean[0]
    assert (a.g2 + b.g2).mean[0] == (a.g4 + b.g4).mean[0] == (a.g6 + b.g6).mean[0] == 0
    assert a.action([[0.7]]) == b.action([[0.7]])


def test_first_order_couplings_ignore_the_six_point_function():
    g = eft.action_couplings(1.0, 0.24, 0.72, order=1)
    assert g.g6 is None and g.next == {} and g.tree is None
    assert (g.g2.mean[0], g.g4.mean[0]) == (0.06, -0.01)


# ------------------------------------------------------------------------------ the density


NETS = [
    (erf_net(20, dim_in=1), [[0.2], [1.0]]),
    (erf_net(500, dim_in=2), [[0.1, 0.4], [1.0, -0.3], [-0.8, 0.9]]),
    (relu_net(100, dim_in=2), [[1.0, 0.2], [0.1, 1.0]]),
    (relu_net(50, dim_in=1), [[1.0]]),
    (gauss_net(20_000, dim_in=1, sigma_b=0.5), [[0.0], [0.7]]),
    (cos_net(100, dim_in=2), [[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0], [2.0, 0.0]]),
]


@pytest.mark.parametrize(("net", "x"), NETS)
def test_density_gives_back_norm_and_connected_functions(net, x):
    G = exact_correlators(net, x, orders=(2, 4, 6, 8))
    p = eft.edgeworth_density(G)
    assert p.inverse.rank == len(x)
    assert p.moments([0])[0] == pytest.approx(1.0, abs=1e-12)
    back = p.cumulants(8)
    scale = G.full(2).dense().max()
    for n in (2, 4, 6):
        assert abs(back[n].mean - G.connected(n).mean).max() < 1e-10 * scale ** (n / 2)
    assert abs(back[8].mean).max() < 1e-9 * scale**4
    first = eft.edgeworth_density(G, order=1).cumulants(6)
    assert abs(first[4].mean - G.connected(4).mean).max() < 1e-10 * scale**2
    assert abs(first[6].mean).max() < 1e-10 * scale**3


def test_density_integrates_to_its_moments_by_quadrature():
    rng = np.random.default_rng(2)
    G2, G4, G6 = random_theory(rng, 3, 0.1, 0.1)
    p = eft.edgeworth_density(G2, G4, G6)
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)  # exact to degree 15; 8 + 6 are needed
    z = np.stack([a.ravel() for a in np.meshgrid(*[nodes] * 3)], axis=1)
    w = np.prod(np.meshgrid(*[weights] * 3), axis=0).ravel() / (2 * np.pi) ** 1.5
    f = z @ np.linalg.cholesky(G2).T
    values = w * p.pdf(f) / p.gaussian(f)
    exact = p.moments([0, 2, 4, 6])
    assert values.sum() == pytest.approx(exact[0], abs=1e-12)
    for n in (2, 4, 6):
        for row, entry in exact[n].items():
            assert values @ np.prod(f[:, row], axis=1) == pytest.approx(entry.mean, abs=1e-11)


def test_edgeworth_factor_is_the_sum_of_hermite_tensors():
    Xi = [[Fraction(3), Fraction(-1)], [Fraction(-1), Fraction(2)]]
    G4 = {row: Fraction(1 + sum(row), 32) for row in itertools.product(range(2), repeat=4)}
    poly = {(0, 0): Fraction(1)}
    for index, value in G4.items():
        poly = plus(poly, hermite_tensor(index, Xi), value / 24)
    p = eft.edgeworth_density(np.array([[0.4, 0.2], [0.2, 0.6]]), np.array([float(G4[row]) for row in multisets(2, 4)]))
    for point in [(0.0, 0.0), (0.5, -1.25), (2.0, 1.5)]:
        exact = sum(v * Fraction(point[0]) ** a * Fraction(point[1]) ** b for (a, b), v in poly.items())
        assert p.ratio(np.array(point)) == pytest.approx(float(exact), rel=1e-12)


def test_marginal_density_is_the_integral_over_the_other_fields():
    rng = np.random.default_rng(4)
    p = eft.edgeworth_density(*random_theory(rng, 3, 0.1, 0.1))
    grid = np.linspace(-14, 14, 400)  # the trapezoid rule is exact for Gaussian tails
    for kept, gone in ((0, 2), (2, 1)):
        two = p.marginal([kept, gone])
        f = np.column_stack([np.full(400, 0.7), grid])
        assert np.trapezoid(two.pdf(f), grid) == pytest.approx(p.marginal([kept]).pdf([[0.7]])[0], rel=1e-10)
    assert p.marginal([2, 0, 1]).pdf(np.array([0.1, 0.2, 0.3])) == pytest.approx(
        p.pdf(np.array([0.2, 0.3, 0.1])), rel=1e-10
    )


def test_marginal_of_a_cut_kernel_has_the_cut_cumulants():
    rng = np.random.default_rng(6)
    p = eft.edgeworth_density(*random_theory(rng, 4, 0.05, 0.02), rank=3)
    whole, part = p.cumulants(6), p.marginal([3, 1]).cumulants(6)
    for n in (2, 4, 6):
        for row, entry in part[n].items():
            assert entry.mean == pytest.approx(whole[n][tuple((3, 1)[i] for i in row)].mean, abs=1e-12)
    with pytest.raises(ArgumentError, match="degenerate"):
        p.marginal([0, 1, 2, 3])


def test_cdf_is_the_integral_of_the_density():
    p = eft.edgeworth_density(2.0, 0.5, 0.3)
    grid = np.linspace(-15, 1.3, 4001)
    assert p.cdf(1.3) == pytest.approx(np.trapezoid(p.pdf(grid[:, None]), grid), abs=1e-6)
    assert p.cdf(np.array([-np.inf, 0.0, np.inf])) == pytest.approx([0.0, 0.5, 1.0], abs=1e-15)


def test_repeated_points_are_one_point_once_the_kernel_is_cut():
    G = exact_correlators(erf_net(20, dim_in=1), [[0.7], [0.7]], orders=(2, 4, 6))
    one = eft.edgeworth_density(exact_correlators(erf_net(20, dim_in=1), [[0.7]], orders=(2, 4, 6)))
    p = eft.edgeworth_density(G, rcond=1e-6)
    assert (p.inverse.rank, p.size) == (1, 2)
    # Length along (1, 1) is sqrt(2) f.
    assert p.pdf(np.array([0.4, 0.4])) == pytest.approx(one.pdf(np.array([0.4])) / np.sqrt(2), rel=1e-9)
    g, h = (
        eft.action_couplings(G, rcond=1e-6),
        eft.action_couplings(exact_correlators(erf_net(20, dim_in=1), [[0.7]], orders=(2, 4, 6))),
    )
    assert g.action(np.array([0.4, 0.4])) == pytest.approx(h.action(np.array([0.4])) + np.log(2) / 2, rel=1e-9)
    assert p.cumulants(6)[6].mean == pytest.approx(G.connected(6).mean, rel=1e-9)


def test_negative_region_of_one_field_lies_between_the_zeros():
    p = eft.edgeworth_density(4.0, -0.24 * 16)  # 1 - 0.01 (z^4 - 6 z^2 + 3)
    root = np.sqrt(3 + np.sqrt(9 - 3 + 100))
    found = p.negativity()
    assert found.radius == pytest.approx(root, rel=1e-12)
    assert found.where == pytest.approx([2 * root])
    grid = np.linspace(0, 40, 200_001)
    assert found.mass.mean == pytest.approx(2 * np.trapezoid(np.maximum(-p.pdf(grid[:, None]), 0), grid), rel=1e-6)
    assert found.mass.stderr == 0
    assert p.negative(np.array([[1.99 * root], [2.01 * root]])).tolist() == [False, True]
    assert np.isnan(p.log(np.array([[2.01 * root]]))).all()
    assert eft.edgeworth_density(1.0, 0.1).negativity().radius == np.inf


def test_negative_mass_of_two_fields_agrees_with_a_grid():
    rng = np.random.default_rng(9)
    p = eft.edgeworth_density(*random_theory(rng, 2, 0.3, 0.5))
    axis = np.linspace(-12, 12, 601)
    f = np.stack(np.meshgrid(axis, axis), axis=-1)
    value = p.pdf(f)
    cell = (axis[1] - axis[0]) ** 2
    found = p.negativity(directions=20_000)
    mass = cell * np.maximum(-value, 0).sum()
    assert mass > 1e-4
    assert abs(found.mass.mean - mass) < 4 * found.mass.stderr + 1e-6 and found.mass.stderr < 0.05 * mass
    radius = np.sqrt(np.einsum("...i,ij,...j->...", f, p.inverse.matrix, f))
    assert found.radius == pytest.approx(radius[value < 0].min(), abs=0.1)
    assert p.ratio(found.where * 0.999) > 0 > p.ratio(found.where * 1.001)


# ------------------------------------------------------------------------------ locality


def lattice_theory(m, spacing, lam):
    """Couplings lam_y on a lattice: G4c = -24 sum_y lam_y K K K K, K a Gaussian kernel."""
    x = spacing * np.arange(m)
    K = np.exp(-((x[:, None] - x) ** 2) / 2)
    return x, K, -24 * np.einsum("ay,by,cy,dy,y->abcd", K, K, K, K, lam, optimize=True)


def test_local_vertex_on_a_lattice_is_diagonal_after_amputation():
    lam = np.array([0.01, 0.02, 0.03, -0.02, 0.015])
    x, K, G4 = lattice_theory(5, 1.5, lam)
    T = SymmetricTensor(G4[tuple(np.array(multisets(5, 4)).T)], 0, order=4, size=5)
    result = eft.locality(T, K, x=x)
    assert result.off_diagonal.mean < 1e-24 and result.off_diagonal.stderr == 0
    assert result.radius.mean < 1e-11 and result.rank == 5 and result.floor == 0
    diagonal = eft.amputate(T, K)
    assert [diagonal[i, i, i, i].mean for i in range(5)] == pytest.approx(-24 * lam, rel=1e-10)
    couplings = eft.action_couplings(K, G4, order=1)
    assert [couplings.g4[i, i, i, i].mean for i in range(5)] == pytest.approx(lam, rel=1e-10)
    assert eft.locality(couplings).off_diagonal.mean < 1e-24


def test_cut_kernel_smears_a_local_vertex_as_much_as_the_floor_says():
    _, K, G4 = lattice_theory(8, 0.5, np.full(8, 0.01))
    T = SymmetricTensor(G4[tuple(np.array(multisets(8, 4)).T)], 0, order=4, size=8)
    cut = eft.locality(T, K, rank=4)
    assert cut.off_diagonal.mean == pytest.approx(cut.floor, rel=1e-9) and cut.floor > 0.1


def test_pair_interaction_shows_as_the_pattern_of_two_pairs():
    # S = sum_{y != z} f_y^2 f_z^2: G_aabb, no diagonal.
    K = np.array([[1.0, 0.3], [0.3, 1.0]])
    vertex = SymmetricTensor([0.0, 0.0, 1.0, 0.0, 0.0], 0, order=4, size=2)
    result = eft.locality(vertex, x=[0.0, 3.0])
    assert result.patterns[2, 2].mean == 1.0 and result.off_diagonal.mean == 1.0
    assert result.radius.mean == pytest.approx(3 * np.sqrt(4 / 6))  # 4 of the 6 pairs of legs are apart
    legs = np.einsum("ijkl,ai,bj,ck,dl->abcd", vertex.dense(), K, K, K, K)
    T = SymmetricTensor(legs[tuple(np.array(multisets(2, 4)).T)], 0, order=4, size=2)
    assert eft.locality(T, K).patterns[2, 2].mean == pytest.approx(1.0, rel=1e-12)


def test_bias_free_kernel_amputates_to_the_vertex_and_the_full_kernel_does_not():
    _, K, G4 = lattice_theory(4, 1.5, np.full(4, 0.01))
    T = SymmetricTensor(G4[tuple(np.array(multisets(4, 4)).T)], 0, order=4, size=4)
    assert eft.locality(T, K).off_diagonal.mean < 1e-20
    assert eft.locality(T, K + 1.0).off_diagonal.mean > 1e-2


def test_amputation_undoes_the_legs():
    rng = np.random.default_rng(1)
    for n, m in ((2, 3), (3, 2), (4, 5), (6, 3)):
        vertex = SymmetricTensor(rng.standard_normal(len(multisets(m, n))), 0, order=n, size=m)
        A = rng.standard_normal((m, m)) * 0.2 + np.eye(m)
        K = A @ A.T
        legs = vertex.dense()
        for _ in range(n):
            legs = np.tensordot(legs, K, axes=(0, 1))
        G = SymmetricTensor(legs[tuple(np.array(multisets(m, n)).T)], 0, order=n, size=m)
        np.testing.assert_allclose(eft.amputate(G, K).mean, vertex.mean, atol=1e-10)
