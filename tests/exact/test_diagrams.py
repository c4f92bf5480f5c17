"""Diagrams against tables of contraction classes, brute-force pairings, and theories whose answer is known exactly."""

import itertools
import json
import math
from collections import Counter
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nnqft.wick import diagrams, evaluate_diagrams, pairings

DATA = Path(__file__).parents[1] / "data"
TABLES = json.loads((DATA / "wick.json").read_text())["diagrams"]
LINEAR_NET = json.loads((DATA / "recurrent_linear.json").read_text())
ONE = {"K_xx": np.ones((1, 1)), "K_xy": np.ones((1, 1)), "K_yy": np.ones((1, 1)), "weights": np.ones(1)}


def double_factorial(n):
    return math.prod(range(n, 0, -2))


# ------------------------------------------------------------------ counting


@pytest.mark.parametrize("name", TABLES)
def test_classes_pairings_symmetry_factors_and_flags_equal_the_table(name):
    table = TABLES[name]
    found = diagrams(table["n_ext"], table["degrees"])
    classes = Counter((d.topology, d.pairings, d.symmetry_factor, d.vacuum, d.connected) for d in found)
    assert sorted((n, *rest) for (_, *rest), n in classes.items()) == sorted(
        (c["classes"], c["pairings_per_class"], int(c["symmetry_factor_per_class"]), c["vacuum"], c["connected"])
        for c in table["diagrams"]
    )
    assert sum(d.pairings for d in found) == int(table["total_pairings"])
    assert all(classes[d.topology, d.pairings, d.symmetry_factor, d.vacuum, d.connected] == d.labellings for d in found)


@pytest.mark.parametrize(
    ("n_ext", "degree", "kept"), [(4, 4, [24]), (6, 4, [15 * 24]), (4, 6, [360]), (6, 6, [720, 15 * 360])]
)
def test_without_vacuum_and_self_energy_the_counts_of_halverson_et_al_remain(n_ext, degree, kept):
    """arXiv:2008.08601: 24, 360, 360, 720, 5400; it drops 72, 540, 540 and 4050 pairings beside the vacuum ones."""
    found = diagrams(n_ext, [degree])
    sums = Counter()
    for d in found:
        if not (d.vacuum or d.self_energy):
            sums[d.topology] += d.pairings
    assert sorted(sums.values()) == sorted(kept)
    dropped = {(4, 4): 72, (6, 4): 540, (4, 6): 540, (6, 6): 4050}
    assert sum(d.pairings for d in found if d.self_energy and not d.vacuum) == dropped[n_ext, degree]


@pytest.mark.parametrize("n_ext", [0, 2, 4, 6])
def test_third_order_pairings_add_up(n_ext):
    assert sum(d.pairings for d in diagrams(n_ext, [4, 4, 4])) == double_factorial(n_ext + 11)


def test_connected_vacuum_diagrams_of_f4_are_as_many_as_known_and_sum_to_the_logarithm_of_the_integral():
    """1, 2, 4, 10, 28 diagrams: Kleinert et al., hep-th/9907168. Z_k = (-1)^k (4k-1)!! / (4!^k k!), k Z_k = sum j L_j Z_(k-j)."""
    Z = [Fraction((-1) ** k * double_factorial(4 * k - 1), 24**k * math.factorial(k)) for k in range(6)]
    log = [Fraction(0)]
    for k in range(1, 6):
        log.append(Z[k] - Fraction(1, k) * sum(j * log[j] * Z[k - j] for j in range(1, k)))
    for order, count in enumerate([1, 2, 4, 10, 28], 1):
        connected = [d for d in diagrams(0, [4] * order) if len(d.components) == 1]
        assert len(connected) == count
        assert sum((-1) ** order * Fraction(1, d.symmetry_factor) for d in connected) == log[order]


def test_the_sunset_is_irreducible_and_two_tadpoles_in_a_row_are_not():
    text = {str(d): d for d in diagrams(2, [4, 4])}
    sunset, chain = text["x0-y0 x1-y1 y0-y1^3"], text["x0-y0 x1-y1 y0-y0 y0-y1 y1-y1"]
    assert (sunset.symmetry_factor, sunset.n_loops, sunset.one_particle_irreducible) == (6, 2, True)
    assert (chain.symmetry_factor, chain.n_loops, chain.one_particle_irreducible) == (4, 2, False)
    assert sunset.self_energy
    assert chain.self_energy


def test_a_loop_at_a_vertex_is_no_self_energy_but_one_on_an_internal_line_is():
    by_text = {d.topology: d for d in diagrams(4, [4, 4, 4])}
    assert by_text["x-y0^2 x-y1^2 y0-y1 y0-y2 y1-y2 y2-y2"].self_energy
    (six,) = (d for d in diagrams(4, [6]) if d.connected)
    assert str(six) == "x0-y0 x1-y0 x2-y0 x3-y0 y0-y0"
    assert not six.self_energy


# ------------------------------------------------------------------ against all pairings, one by one

THEORIES = {
    "scalar": (3, [3, 4], None),
    "yukawa": (["sigma"], [("phi", "phi", "sigma")] * 3, None),
    "complex": (["a", "a*"], [("a", "a", "a*", "a*")] * 2, {("a", "a*"): "directed"}),
    "response loops": ([], [("h~", "h", "h")] * 2, {("h", "h~"): "directed", ("h", "h"): "plain"}),
    "causal": (["h", "h"], [("h~", "h", "h")] * 2, {("h", "h~"): "causal", ("h", "h"): "plain"}),
    "vector": (["p_1", "p_1"], [("p_i", "p_i", "p_j", "p_j")] * 2, None),
    "open": (["p_a", "p_b"], [("p_i", "p_i", "p_j", "p_j"), ("p_i", "p_i")], None),
    "anisotropic": (["p_1", "p_2"], [("p_i", "p_i", "p_i", "p_i"), ("p_1", "p_2")], None),
    "trace": ([], [("m_ij", "m_jk", "m_kl", "m_li")] * 2, None),
    "bilocal": (["h_a", "h_a"], [("z_i(t)", "z_i(u)", "h_j(t)", "h_j(u)")] * 2, {("h", "z"): "causal", ("h", "h"): "plain"}),
}  # fmt: skip


def by_brute_force(n_ext, vertices, propagators):
    """Counter over (index loops, vacuum) of all pairings that the table of propagators allows."""
    external = [("f",)] * n_ext if isinstance(n_ext, int) else [(leg,) for leg in n_ext]
    nodes = external + [("f",) * v if isinstance(v, int) else v for v in vertices]
    legs = []
    for node, names in enumerate(nodes):
        scope = "x" if node < len(external) else node
        for name in names:
            field, _, rest = name.partition("_")
            letters, _, point = rest.rstrip(")").partition("(")
            legs.append((node, field, [i if i.isdigit() else (scope, i) for i in letters], (node, point)))
    counts = Counter()
    repeated = Counter(i for node, _, letters, _ in legs for i in letters if node < len(external))
    for pairing in pairings(len(legs)).tolist():
        arcs, joins, lines = set(), [], []
        for a, b in pairing:
            (m, f, i, p), (n, g, j, q) = legs[a], legs[b]
            kind = "plain" if propagators is None and f == g else (propagators or {}).get((f, g))
            if kind is None:
                (m, f, i, p), (n, g, j, q) = legs[b], legs[a]
                kind = (propagators or {}).get((f, g))
            if kind is None:
                break
            if kind == "causal":
                arcs.add((q, p))
            joins += zip(i, j, strict=True)
            lines.append((m, n))
        else:
            times = {p for arc in arcs for p in arc}
            if any(a == b for a, b in arcs) or not acyclic(arcs, times):
                continue
            everything = [i for _, _, letters, _ in legs for i in letters]
            groups = merged(everything, joins)
            if any(sum(isinstance(i, str) for i in g) > 1 for g in groups):
                continue
            pinned = [any(isinstance(i, str) or (i[0] == "x" and repeated[i] == 1) for i in g) for g in groups]
            pieces = merged(range(len(nodes)), lines)
            vacuum = any(min(piece) >= len(external) for piece in pieces)
            counts[pinned.count(False), vacuum] += 1
    return counts


def merged(items, joins):
    groups = [{i} for i in dict.fromkeys(items)]
    for a, b in joins:
        first = next(g for g in groups if a in g)
        if b not in first:
            second = next(g for g in groups if b in g)
            first |= second
            groups.remove(second)
    return groups


def acyclic(arcs, nodes):
    return not nodes or any(
        acyclic({a for a in arcs if p not in a}, nodes - {p}) for p in nodes if all(late != p for _, late in arcs)
    )


@pytest.mark.parametrize("name", THEORIES)
def test_classes_hold_all_allowed_pairings_with_their_index_loops(name):
    n_ext, vertices, propagators = THEORIES[name]
    counts = Counter()
    for d in diagrams(n_ext, vertices, propagators=propagators):
        counts[d.index_loops, d.vacuum] += d.pairings
    assert counts == by_brute_force(n_ext, vertices, propagators)
    assert counts


@pytest.mark.parametrize("name", THEORIES)
def test_symmetry_factors_times_pairings_are_one_number_for_all_classes(name):
    n_ext, vertices, propagators = THEORIES[name]
    assert len({d.symmetry_factor * d.pairings for d in diagrams(n_ext, vertices, propagators=propagators)}) == 1


def test_causal_lines_never_close_a_loop():
    """theta(0) = 0: a response loop vanishes, and with it every vacuum diagram and the normalisation is 1."""
    vertex = ("h~", "h", "h")
    causal, directed = ({("h", "h~"): kind, ("h", "h"): "plain"} for kind in ("causal", "directed"))
    for order in (1, 2, 3):
        assert diagrams([], [vertex] * order, propagators=causal) == []
    assert len(diagrams([], [vertex] * 2, propagators=directed)) == 3
    assert not any(d.vacuum for d in diagrams(["h", "h"], [vertex] * 2, propagators=causal))
    (tadpole,) = diagrams(["h"], [vertex], propagators=causal)
    assert str(tadpole) == "x0.h<-y0.h~ y0.h-y0.h"
    assert diagrams(["h~"], [vertex], propagators=causal) == []


# ------------------------------------------------------------------ zero dimensions


@pytest.mark.parametrize("n_ext", [0, 2, 4])
def test_the_zero_dimensional_integral_is_enveloped_by_its_series_to_third_order(n_ext):
    """int exp(-z^2/2 - l z^4/4!) z^n / sqrt(2 pi): Taylor sums of exp(-u), u > 0, lie on alternate sides."""
    coefficients = [number(diagrams(n_ext, [4] * k), drop=(), divide_by="factorials") for k in range(5)]
    z, w = np.polynomial.hermite_e.hermegauss(80)
    for coupling in (0.02, 0.1, 0.3):
        exact = np.sum(w * z**n_ext * np.exp(-coupling * z**4 / 24)) / math.sqrt(2 * math.pi)
        for order in range(4):
            series = sum(c * coupling**k for k, c in enumerate(coefficients[: order + 1]))
            next_term = coefficients[order + 1] * coupling ** (order + 1)
            assert 0 < (exact - series) / next_term < 1


def number(found, **options):
    """Sum of diagrams in zero dimensions, K = 1."""
    value = evaluate_diagrams(found, **ONE, **options)
    return value if isinstance(value, float) else value.mean[0]


@pytest.mark.parametrize("n_ext", [2, 4])
def test_vacuum_pieces_cancel_against_the_normalisation_order_by_order(n_ext):
    full, free = ([number(diagrams(n, [4] * k), drop=(), divide_by="factorials") for k in range(4)] for n in (n_ext, 0))
    without = [number(diagrams(n_ext, [4] * k), drop=("vacuum",), divide_by="factorials") for k in range(4)]
    product = [sum(without[j] * free[k - j] for j in range(k + 1)) for k in range(4)]
    # Up to 2e4 terms of one sign for each number.
    np.testing.assert_allclose(full, product, rtol=1e-12)


def test_mixed_vertices_give_the_mixed_moments_of_the_zero_dimensional_theory():
    """exp(-a z^4 - b z^6) to second order: (-a)^j (-b)^k / (j! k!) (n + 4 j + 6 k - 1)!!."""
    a, b = 0.3, 0.7
    for n, (j, k) in itertools.product((2, 4), [(1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]):
        value = number(diagrams(n, [4] * j + [6] * k), drop=(), couplings={4: a, 6: b})
        exact = (-a) ** j * (-b) ** k / math.factorial(j) / math.factorial(k) * double_factorial(n + 4 * j + 6 * k - 1)
        assert value == pytest.approx(exact, rel=1e-13)


# ------------------------------------------------------------------ finitely many nodes

M, P = 3, 4


@pytest.fixture(scope="module")
def finite_theory():
    """A random covariance over 3 external points and 4 nodes, and weights."""
    rng = np.random.default_rng(5)
    A = rng.normal(size=(M + P, 9))
    return A @ A.T / 9, rng.uniform(0.2, 1.0, P)


def blocks(K, w):
    return {
        "K_xx": K[:M, :M].copy(),
        "K_xy": K[:M, M:].copy(),
        "K_yy": K[M:, M:].copy(),
        "weights": w,
    }


def gaussian_moment(K, powers):
    """E prod f_i^powers_i by removing one factor at a time."""

    @cache
    def moment(powers):
        i = next((i for i, r in enumerate(powers) if r), None)
        if i is None:
            return 1.0
        rest = [r - (j == i) for j, r in enumerate(powers)]
        down = (tuple(r - (k == j) for k, r in enumerate(rest)) for j in range(len(rest)))
        return sum(r * K[i, j] * moment(lower) for j, (r, lower) in enumerate(zip(rest, down, strict=True)) if r)

    return moment(tuple(powers))


def perturbation(K, w, index, degrees):
    """Order-V term of E[f.. exp(-sum_y w_y (f^4 + f^6 + ..))] as a sum of Gaussian moments."""
    total = 0.0
    for nodes in itertools.product(range(P), repeat=len(degrees)):
        powers = [0] * (M + P)
        for i in index:
            powers[i] += 1
        for y, d in zip(nodes, degrees, strict=True):
            powers[M + y] += d
        total += np.prod(w[list(nodes)]) * gaussian_moment(K, powers)
    return (-1) ** len(degrees) * total / math.prod(math.factorial(n) for n in Counter(degrees).values())


@pytest.mark.parametrize(
    ("n_ext", "degrees"),
    [(2, [4]), (4, [4]), (4, [6]), (6, [4]), (2, [4, 4]), (4, [4, 6]), (4, [3, 3]), (3, [3, 4]), (2, [4, 4, 4])],
)
def test_diagrams_on_finitely_many_nodes_are_moments_of_the_gaussian(finite_theory, n_ext, degrees):
    K, w = finite_theory
    value = evaluate_diagrams(diagrams(n_ext, degrees), **blocks(K, w), drop=())
    exact = [perturbation(K, w, index, degrees) for index in value.index.tolist()]
    np.testing.assert_allclose(value.mean, exact, rtol=1e-11)


def test_listed_multi_indices_give_the_entries_of_the_tensor(finite_theory):
    K, w = finite_theory
    found = diagrams(4, [4, 4])
    tensor = evaluate_diagrams(found, **blocks(K, w))
    index = np.array([[2, 0, 1, 1], [0, 0, 0, 0], [1, 2, 2, 0]])
    rows = evaluate_diagrams(found, **blocks(K, w), index=index)
    np.testing.assert_allclose(rows, [tensor[tuple(i)].mean for i in index.tolist()], rtol=1e-13)


def test_two_lattice_sites_deviate_from_each_order_by_the_next():
    """<f_0 f_1> under exp(-g (f_0^4 + f_1^4)) by quadrature in two dimensions, normalised: vacuum pieces cancel."""
    K = np.array([[1.0, 0.4], [0.4, 0.8]])
    z, v = np.polynomial.hermite_e.hermegauss(60)
    L = np.linalg.cholesky(K)
    f0, f1 = L[0, 0] * z[:, None] + 0 * z, L[1, 0] * z[:, None] + L[1, 1] * z
    options = {"K_xx": K, "K_xy": K, "K_yy": K, "weights": np.ones(2), "drop": ("vacuum",)}
    terms = [evaluate_diagrams(diagrams(2, [4] * order), **options)[0, 1].mean for order in range(4)]
    g = 5e-4
    weight = np.outer(v, v) * np.exp(-g * (f0**4 + f1**4))
    exact = np.sum(weight * f0 * f1) / weight.sum()
    for order in range(3):
        rest = exact - sum(c * g**k for k, c in enumerate(terms[: order + 1]))
        # What lies beyond the next term is smaller by the ratio of terms: 8, 50, 90 and about 130 g.
        assert rest == pytest.approx(terms[order + 1] * g ** (order + 1), rel=130 * g)


# ------------------------------------------------------------------ O(N)

QUARTIC = ("phi_i", "phi_i", "phi_j", "phi_j")


def polynomial(found):
    """Coefficients of the powers of N, as one sum of pairings per power."""
    return Counter({k: sum(d.pairings for d in found if d.index_loops == k) for k in {d.index_loops for d in found}})


def factor(found, N):
    counts = polynomial(found)
    return Fraction(sum(c * N**k for k, c in counts.items()), sum(counts.values()))


def test_index_loops_give_the_known_factors_of_the_vector_model():
    """(phi^2)^2: Kleinert and Schulte-Frohlinde, Critical Properties of phi^4-Theories, section 6.3."""
    tadpole = [d for d in diagrams(["phi_1"] * 2, [QUARTIC]) if d.connected]
    sunset = [d for d in diagrams(["phi_1"] * 2, [QUARTIC] * 2) if d.adjacency()[2, 3] == 3]
    bubble = [d for d in diagrams(["phi_1"] * 4, [QUARTIC] * 2) if d.one_particle_irreducible]
    third = [
        d for d in diagrams(["phi_1"] * 4, [QUARTIC] * 3)
        if d.one_particle_irreducible and not d.adjacency()[4:, 4:].diagonal().any()
    ]  # fmt: skip
    lines = [np.count_nonzero(d.adjacency()[4:, 4:]) // 2 for d in third]
    chain = [d for d, n in zip(third, lines, strict=True) if n == 2]  # y0 and y2 are joined through y1 alone
    eye = [d for d, n in zip(third, lines, strict=True) if n == 3]
    assert len(chain) + len(eye) == len(third)
    for N in (1, 2, 3, 10):
        assert factor(tadpole, N) == Fraction(N + 2, 3)
        assert factor(sunset, N) == Fraction(N + 2, 3)
        assert factor(bubble, N) == Fraction(N + 8, 9)
        assert factor(chain, N) == Fraction(N**2 + 6 * N + 20, 27)
        assert factor(eye, N) == Fraction(5 * N + 22, 27)


def test_open_indices_are_joined_as_the_tensor_structure_says():
    """One loop: delta_ab delta_cd with N + 4, the other two pairings of the indices with 2 each, in every channel."""
    found = diagrams(["phi_a", "phi_b", "phi_c", "phi_d"], [QUARTIC] * 2)
    s_channel = [
        d for d in found if d.one_particle_irreducible and d.adjacency()[:2, 4:].tolist() in ([[1, 0], [1, 0]], [[0, 1], [0, 1]])
    ]  # fmt: skip
    weights = {}
    for d in s_channel:
        weights.setdefault(d.deltas, Counter())[d.index_loops] += d.pairings
    unit = weights["ab", "cd"][1]
    assert weights == {
        ("ab", "cd"): {1: unit, 0: 4 * unit},
        ("ac", "bd"): {0: 2 * unit},
        ("ad", "bc"): {0: 2 * unit},
    }


@pytest.mark.parametrize("order", [1, 2])
def test_an_auxiliary_field_gives_the_quartic_theory(order):
    """exp(-g (phi^2)^2) = E_sigma exp(i sqrt(2 g) sigma phi^2): V quartic vertices are 2 V cubic ones."""
    g, N = 0.3, 5
    quartic = evaluate_diagrams(diagrams(["phi_1"] * 2, [QUARTIC] * order), **ONE, drop=(), couplings={QUARTIC: g}, N=N)
    cubic = ("phi_i", "phi_i", "sigma")
    found = diagrams(["phi_1"] * 2, [cubic] * (2 * order))
    tables = {k: ONE[k] if k == "weights" else {("phi", "phi"): ONE[k], ("sigma", "sigma"): ONE[k]} for k in ONE}
    auxiliary = evaluate_diagrams(
        found, **tables, drop=(), couplings={cubic: 1j * math.sqrt(2 * g)}, N=N, sign="weight", index=[[0, 0]]
    )
    assert auxiliary[0] == pytest.approx(quartic.mean[0], rel=1e-13)


# ------------------------------------------------------------------ recurrent nets

EXCHANGE = ("z_i(t)", "z_i(u)", "h_j(t)", "h_j(u)")
RESPONSE = {("h", "z"): "causal", ("h", "h"): "plain"}


def matrix_trace(m, n):
    """Legs of Tr W^m (W^T)^n: one matrix after the other around the trace."""
    letters = "abcdefghijklmnop"[: m + n]
    pairs = [letters[k] + letters[(k + 1) % (m + n)] for k in range(m + n)]
    return ["W_" + (pair if k < m else pair[::-1]) for k, pair in enumerate(pairs)]


@pytest.mark.parametrize("mn", [mn for mn in LINEAR_NET["moments"] if sum(map(int, mn.split(","))) <= 10])
def test_moments_of_the_linear_net_are_pairings_weighted_by_their_index_loops(mn):
    """M_mn = E Tr W^m (W^T)^n / N, <W_ij W_kl> = delta_ik delta_jl / N: every pairing is N^(loops - 1 - (m+n)/2)."""
    m, n = map(int, mn.split(","))
    powers = Counter()
    for d in diagrams(matrix_trace(m, n), []):
        powers[1 + (m + n) // 2 - d.index_loops] += d.pairings
    assert powers == {int(k): c for k, c in LINEAR_NET["moments"][mn].items()}


@pytest.fixture(scope="module")
def response_theory():
    """Diagrams of <h_a(t) h_a(s)> with 0 to 4 vertices z z h h, the weights W averaged out."""
    return [diagrams(["h_a", "h_a"], [EXCHANGE] * order, propagators=RESPONSE) for order in range(5)]


def free_propagators(n_times, r):
    """h(t+1) = r h(t) + force: response to a force, and the correlation that starts from |h(0)|^2 = 1."""
    t = np.arange(n_times)
    lag = np.subtract.outer(t, t)
    response = np.where(lag > 0, float(r) ** np.maximum(lag - 1, 0), 0.0)
    start = np.power.outer(float(r), np.add.outer(t, t))
    return {
        "K_xx": {("h", "h"): start},
        "K_xy": {("h", "h"): start, ("h", "z"): response},
        "K_yy": {("h", "h"): start, ("h", "z"): response},
        "weights": np.ones(n_times),
    }


@pytest.mark.parametrize("mn", ["1,1", "2,0", "2,2", "3,1", "4,0", "3,3", "4,2", "5,1", "6,0", "4,4", "6,2"])
def test_moments_of_the_linear_net_come_from_the_response_field_diagram_by_diagram(response_theory, mn):
    """h(t+1) = W h(t): each diagram with (m+n)/2 vertices is 0 or 1 ordering in time, worth N^(index loops - vertices)."""
    m, n = map(int, mn.split(","))
    order = (m + n) // 2
    powers = Counter()
    for d in response_theory[order]:
        (value,) = evaluate_diagrams(
            [d], **free_propagators(9, 0), index=[[m, n]], drop=(), sign="weight", couplings={EXCHANGE: 0.5}
        )
        assert value in (0.0, 1.0)
        powers[order + 1 - d.index_loops] += int(value)
    assert +powers == {int(k): c for k, c in LINEAR_NET["moments"][mn].items()}


@pytest.mark.parametrize("case", [c for c in LINEAR_NET["discrete_corr"] if c["t"] + c["s"] <= 8])
def test_four_orders_of_the_response_theory_are_the_exact_correlator_of_a_leaky_linear_net(response_theory, case):
    t, s, N, eta = (case[k] for k in ("t", "s", "N", "eta"))
    total = evaluate_diagrams(
        list(itertools.chain(*response_theory)), **free_propagators(max(t, s) + 1, 1 - case["gamma"] * eta), index=[[t, s]], drop=(),
        sign="weight", couplings={EXCHANGE: eta**2 * case["sigma_w2"] / (2 * N)}, N=N,
    )  # fmt: skip
    assert total[0] / N == pytest.approx(case["value"], rel=1e-12)


def test_the_four_point_function_of_the_linear_net_after_one_step():
    """E |W x|^4 over Gaussian x and W, = N^2 (1 + 4/N + 4/N^2) for unit variances."""
    table = LINEAR_NET["fourpoint_times_(1+2/N)"]["1"]
    powers = Counter()
    for d in diagrams(["h_a", "h_a", "h_b", "h_b"], [EXCHANGE] * 2, propagators=RESPONSE):
        (value,) = evaluate_diagrams(
            [d], **free_propagators(2, 0), index=[[1, 1, 1, 1]], drop=(), sign="weight", couplings={EXCHANGE: 0.5}
        )
        powers[4 - d.index_loops] += value
    assert +powers == {int(k): c for k, c in table.items()}


@pytest.mark.parametrize("mn", ["1,1", "2,0", "2,2", "3,1", "4,0"])
def test_auxiliary_bilocal_fields_give_the_same_moments(mn):
    """Vertices z z W and h h W~ joined by a delta line <W W~>: two of them make one vertex z z h h."""
    m, n = map(int, mn.split(","))
    order = (m + n) // 2
    table = RESPONSE | {("W", "W~"): "delta"}
    source, sink = ("z_i(t)", "z_i(u)", "W(t,u)"), ("h_j(t)", "h_j(u)", "W~(t,u)")
    found = diagrams(["h_a", "h_a"], [source] * order + [sink] * order, propagators=table)
    powers = Counter()
    for d in found:
        (value,) = evaluate_diagrams(
            [d], **free_propagators(5, 0), index=[[m, n]], drop=(), sign="weight", couplings={source: 1.0, sink: 0.5}
        )
        powers[order + 1 - d.index_loops] += value
    assert +powers == {int(k): c for k, c in LINEAR_NET["moments"][mn].items()}
