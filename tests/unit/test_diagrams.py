"""The diagram engine's parts: notation, text, options of the evaluation, sums over nodes, and what is refused."""

import itertools
import json

import numpy as np
import pytest

from nnqft._diagrams import Leg
from nnqft._diagrams._contract import contract
from nnqft._diagrams._theory import parse_leg, vertex_symmetry
from nnqft.errors import ArgumentError, ShapeError
from nnqft.tensor import SymmetricTensor
from nnqft.wick import diagrams, evaluate_diagrams

M, P = 3, 5
EXCHANGE = ("z_i(t)", "z_i(u)", "h_j(t)", "h_j(u)")
RESPONSE = {("h", "z"): "causal", ("h", "h"): "plain"}


@pytest.fixture
def kernels():
    rng = np.random.default_rng(2)
    A = rng.normal(size=(M + P, 9))
    K = A @ A.T / 9
    return {
        "K_xx": K[:M, :M].copy(), "K_xy": K[:M, M:].copy(), "K_yy": K[M:, M:].copy(), "weights": rng.uniform(0.2, 1.0, P),
    }  # fmt: skip


# ------------------------------------------------------------------ notation and text


@pytest.mark.parametrize(
    ("text", "leg"),
    [
        ("phi", Leg("phi")),
        ("phi~_i", Leg("phi~", ("i",))),
        ("W_ij", Leg("W", ("i", "j"))),
        ("z_i(t)", Leg("z", ("i",), ("t",))),
        ("W~( t, u )", Leg("W~", (), ("t", "u"))),
        ("φ2_1", Leg("φ2", ("1",))),
    ],
)
def test_a_leg_is_a_name_index_letters_and_points(text, leg):
    assert parse_leg(text) == leg
    assert parse_leg(str(leg)) == leg


@pytest.mark.parametrize("text", ["", "2phi", "phi_", "phi()", "phi(t,)", "a b c!", "phi_i_j", 4, None])
def test_other_text_is_refused(text):
    with pytest.raises(ArgumentError, match="is no leg"):
        parse_leg(text)


def test_the_symmetry_of_a_vertex_is_what_renaming_its_dummies_brings_about():
    def order(*legs):
        return len(vertex_symmetry(tuple(map(parse_leg, legs))))

    assert order("p_i", "p_i", "p_j", "p_j") == 2
    assert order(*EXCHANGE) == 2  # t <-> u
    assert order("m_ij", "m_jk", "m_kl", "m_li") == 4  # rotations of the trace
    assert order("z_i(t)", "z_i(u)", "W(t,u)") == 1


def test_text_names_lines_with_powers_and_fields_where_there_are_several():
    assert [str(d) for d in diagrams(2, [4, 4]) if d.one_particle_irreducible] == ["x0-y0 x1-y0 y0-y1^2 y1-y1", "x0-y0 x1-y1 y0-y1^3"]
    (d,) = diagrams(["h"], [("h~", "h", "h")], propagators={("h", "h~"): "causal", ("h", "h"): "plain"})
    assert str(d) == "x0.h<-y0.h~ y0.h-y0.h"
    assert repr(d) == "Diagram(x0.h<-y0.h~ y0.h-y0.h: pairings=1, symmetry_factor=2)"
    assert d.topology == "x.h<-y0.h~ y0.h-y0.h"


def test_topologies_forget_the_labels_of_external_points():
    found = diagrams(4, [4])
    assert {d.topology: d.labellings for d in found} == {"x-y0^4": 1, "x-x x-y0^2 y0-y0": 6, "x-x^2 y0-y0^2": 3}
    assert [d.topology for d in found].count("x-x x-y0^2 y0-y0") == 6


def test_lines_join_open_indices_and_tie_them_to_fixed_components():
    assert diagrams(["p_a", "p_b"], [])[0].deltas == ("ab",)
    assert diagrams(["p_a", "p_1"], [])[0].deltas == ("1a",)
    assert diagrams(["p_1", "p_1"], [])[0].deltas == ()
    assert diagrams(["p_1", "p_2"], []) == []
    (closed,) = diagrams(["p_a", "p_a"], [])
    assert (closed.deltas, closed.index_loops) == ((), 1)


def test_a_diagram_becomes_plain_data():
    state = diagrams(["h_a", "h_a"], [EXCHANGE], propagators=RESPONSE)[0].to_dict()
    assert json.loads(json.dumps(state)) == state
    assert state["vertices"] == [["h_j(t)", "h_j(u)", "z_i(t)", "z_i(u)"]]


def test_the_adjacency_matrix_counts_lines_and_its_rows_legs():
    for d in diagrams(4, [4, 6]):
        A = d.adjacency()
        np.testing.assert_array_equal(A.sum(axis=1) + A.diagonal(), [1, 1, 1, 1, 4, 6])


def test_diagrams_are_equal_if_they_are_the_same_and_hash_alike():
    first, second = diagrams(4, [4, 4]), diagrams(4, [4, 4])
    assert first == second
    assert len({*first, *second}) == len(first)


def test_no_vertices_and_no_legs_have_their_trivial_diagrams():
    assert [str(d) for d in diagrams(2, [])] == ["x0-x1"]
    assert [(str(d), d.pairings, d.connected, d.components) for d in diagrams(0, [])] == [("", 1, False, ())]
    assert diagrams(1, []) == []
    assert diagrams(3, [4]) == []
    assert diagrams(["a", "b"], []) == []


# ------------------------------------------------------------------ what `diagrams` refuses


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1, [4]), "between 0 and 100"),
        ((10**12, [4]), "between 0 and 100"),
        ((2.0, [4]), "n_ext must be"),
        ((True, [4]), "n_ext must be"),
        (("h", [4]), "n_ext must be"),
        ((2, 4), "vertices must be a list"),
        ((2, "44"), "vertices must be a list"),
        ((2, [0]), "1 to 100 legs"),
        ((2, [[]]), "a vertex is"),
        ((2, ["phi"]), "a vertex is"),
        ((2, [4.0]), "a vertex is"),
        ((2, [("phi", "sigma")]), "name the external legs"),
        ((["h(t)"], [("h", "h")]), "leave the parentheses out"),
        ((2, [99]), "101 legs are too many"),
        ((0, [2] * 9), "symmetry group of order 362880"),
        ((["p"], [("p_i", "p_i")]), "different numbers of indices"),
        (([], [tuple("m_" + a + b for a, b in itertools.pairwise("abcdefghijk"))]), "too large"),
    ],
)
def test_malformed_theories_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        diagrams(*arguments)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([("h", "z")], "must map pairs"),
        ({"hz": "plain"}, "joins two field names"),
        ({("h", "z"): "wavy"}, "expected one of plain"),
        ({("h", "h"): "causal"}, "no direction"),
        ({("h", "z"): "plain", ("z", "h"): "plain"}, "given twice"),
        ({("h_i", "z"): "plain"}, "without indices"),
        ({("h", "p"): "plain"}, "no line joins them"),
        ({("h", "W"): "delta"}, "no delta joins them"),
    ],
)
def test_malformed_propagators_are_refused(table, message):
    with pytest.raises(ArgumentError, match=message):
        diagrams(["h"], [("h", "z", "p_i", "p_i", "W(t,u)")], propagators=table)


def test_requests_that_would_not_end_are_refused():
    with pytest.raises(ArgumentError, match="more than 1000 classes"):
        diagrams(14, [], limit=1000)
    with pytest.raises(ArgumentError, match="limit must be"):
        diagrams(2, [4], limit=0)


def test_fields_that_cannot_all_pair_are_seen_at_once():
    assert diagrams(["a"] * 30 + ["b", "b", "b"], [("a", "c")], propagators={("a", "a"): "plain", ("b", "c"): "plain"}) == []


# ------------------------------------------------------------------ options of the evaluation


def test_first_order_tensors_hang_on_what_is_dropped(kernels):
    """K measured: -24 lambda T_ijkl alone. K of the free theory: with the tadpoles, six of them."""
    K, X, D, w = (kernels[k] for k in ("K_xx", "K_xy", "K_yy", "weights"))
    found = diagrams(4, [4])
    connected = -24 * 0.1 * np.einsum("iy,jy,ky,ly,y->ijkl", X, X, X, X, w)
    tadpole = -12 * 0.1 * np.einsum("iy,jy,y->ij", X, X, w * D.diagonal())
    vacuum = -3 * 0.1 * np.sum(w * D.diagonal() ** 2)
    legs = sum(np.einsum(f"{p},{q}->ijkl", K, tadpole) for p, q in
               [("ij", "kl"), ("kl", "ij"), ("ik", "jl"), ("jl", "ik"), ("il", "jk"), ("jk", "il")])  # fmt: skip
    free = sum(np.einsum(f"{p},{q}->ijkl", K, K) for p, q in [("ij", "kl"), ("ik", "jl"), ("il", "jk")])
    for drop, exact in [
        (("vacuum", "self_energy"), connected), (("vacuum",), connected + legs), ((), connected + legs + vacuum * free),
        (("self_energy",), connected + vacuum * free),
    ]:  # fmt: skip
        value = evaluate_diagrams(found, **kernels, couplings={4: 0.1}, drop=drop)
        np.testing.assert_allclose(value.dense(), exact, rtol=1e-13)


def test_measured_two_point_functions_are_not_corrected(kernels):
    """By default every correction of a two-point function is dropped: it is in K already."""
    value = evaluate_diagrams(diagrams(2, []) + diagrams(2, [4]) + diagrams(2, [4, 4]), **kernels)
    np.testing.assert_array_equal(value.dense(), kernels["K_xx"])


def test_results_are_exact_symmetric_tensors_arrays_or_numbers(kernels):
    value = evaluate_diagrams(diagrams(4, [4]), **kernels)
    assert isinstance(value, SymmetricTensor)
    assert (value.order, value.size, value.stderr.max()) == (4, M, 0.0)
    assert evaluate_diagrams(diagrams(4, [4]), **kernels, index=np.zeros((0, 4), dtype=int)).shape == (0,)
    assert isinstance(evaluate_diagrams(diagrams(0, [4]), **kernels, drop=()), float)
    assert evaluate_diagrams(diagrams(0, []), K_xx=np.eye(1)) == 1.0


def test_orders_add_up(kernels):
    first, second = diagrams(4, [4]), diagrams(4, [4, 6])
    couplings = {4: 0.2, 6: -0.3}
    both = evaluate_diagrams(first + second, **kernels, couplings=couplings)
    parts = [evaluate_diagrams(d, **kernels, couplings=couplings).mean for d in (first, second)]
    np.testing.assert_allclose(both.mean, parts[0] + parts[1], rtol=1e-13)


def test_dividing_by_factorials_is_a_change_of_couplings(kernels):
    found = diagrams(2, [4, 6])
    plain = evaluate_diagrams(found, **kernels, drop=(), couplings={4: 0.5 / 24, 6: 0.3 / 720})
    factorial = evaluate_diagrams(found, **kernels, drop=(), couplings={4: 0.5, 6: 0.3}, divide_by="factorials")
    np.testing.assert_allclose(plain.mean, factorial.mean, rtol=1e-13)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_vertices_of_the_weight_have_the_other_sign(kernels, order):
    found = diagrams(2, [4] * order)
    action, weight = (evaluate_diagrams(found, **kernels, drop=(), sign=sign).mean for sign in ("action", "weight"))
    np.testing.assert_array_equal(action, (-1) ** order * weight)


def test_a_coupling_may_depend_on_the_position(kernels):
    local = np.linspace(0.1, 0.9, P)
    found = diagrams(4, [4, 4])
    changed = kernels | {"weights": kernels["weights"] * local}
    np.testing.assert_allclose(
        evaluate_diagrams(found, **kernels, couplings={4: local}).mean, evaluate_diagrams(found, **changed).mean, rtol=1e-13
    )


def test_the_diagonal_of_the_node_propagator_is_enough_for_first_order(kernels):
    found = diagrams(4, [6])
    short = kernels | {"K_yy": kernels["K_yy"].diagonal().copy()}
    np.testing.assert_array_equal(evaluate_diagrams(found, **short).mean, evaluate_diagrams(found, **kernels).mean)
    with pytest.raises(ArgumentError, match="holds the diagonal alone"):
        evaluate_diagrams(diagrams(4, [4, 4]), **short)


@pytest.mark.parametrize("exponent", [-150, -31, 31, 150])
def test_powers_of_two_scale_out_bit_by_bit(kernels, exponent):
    """Second order, four external legs: 6 lines; couplings take back what would overflow."""
    found = diagrams(4, [4, 4])
    plain = evaluate_diagrams(found, **kernels, drop=())
    scaled = {k: a * (1.0 if k == "weights" else 2.0**exponent) for k, a in kernels.items()}
    value = evaluate_diagrams(found, **scaled, drop=(), couplings={4: 2.0 ** (-3 * exponent)})
    np.testing.assert_array_equal(value.mean, plain.mean)


def test_read_only_strided_and_reversed_arrays_are_taken_as_they_are(kernels):
    found = diagrams(4, [4, 4])
    plain = evaluate_diagrams(found, **kernels)
    views = {}
    for name, array in kernels.items():
        wide = np.zeros([2 * n for n in array.shape])
        view = wide[tuple(slice(None, None, -2) for _ in array.shape)]
        view[...] = array
        view.setflags(write=False)
        views[name] = view
    np.testing.assert_allclose(evaluate_diagrams(found, **views).mean, plain.mean, rtol=1e-13)


def test_complex_propagators_need_listed_multi_indices(kernels):
    found = diagrams(2, [4])
    rotated = {k: a if k == "weights" else 1j * a for k, a in kernels.items()}
    rows = evaluate_diagrams(found, **rotated, drop=(), index=[[0, 1]])
    plain = evaluate_diagrams(found, **kernels, drop=(), index=[[0, 1]])
    np.testing.assert_allclose(rows, 1j**3 * plain, rtol=1e-13)
    with pytest.raises(ShapeError, match="pass index="):
        evaluate_diagrams(found, **rotated, drop=())


def test_many_nodes_go_panel_by_panel(kernels, monkeypatch):
    from nnqft._diagrams import _pieces

    found = diagrams(6, [6])
    whole = evaluate_diagrams(found, **kernels)
    monkeypatch.setattr(_pieces, "_PANEL", 8)
    np.testing.assert_allclose(evaluate_diagrams(found, **kernels).mean, whole.mean, rtol=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_sums_over_nodes_equal_einsum(seed):
    """Random hypergraphs of four summed and three kept labels."""
    rng = np.random.default_rng(seed)
    sizes = dict(zip("abcdxyz", (2, 3, 4, 5, 2, 3, 2), strict=True))
    terms = [rng.permutation(list("abcdxyz"))[: rng.integers(1, 4)].tolist() for _ in range(7)] + [list("ax"), list("bcd"), list("yz")]
    arrays = [rng.normal(size=[sizes[k] for k in labels]) for labels in terms]
    value = contract([(a, tuple(labels)) for a, labels in zip(arrays, terms, strict=True)], "abcd", list("zxy"), 1e9)
    exact = np.einsum(",".join("".join(t) for t in terms) + "->zxy", *arrays)
    np.testing.assert_allclose(value, exact, rtol=1e-11, atol=1e-11 * np.abs(exact).max())


# ------------------------------------------------------------------ what `evaluate_diagrams` refuses


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"K_xx": np.ones((2, 3))}, ShapeError, "square"),
        ({"K_xx": np.ones(3)}, ShapeError, "shape"),
        ({"K_xx": np.eye(3, dtype=np.float32)}, ShapeError, "float32"),
        ({"K_xx": np.triu(np.ones((3, 3)))}, ArgumentError, "not symmetric"),
        ({"K_xx": np.full((3, 3), np.nan)}, ArgumentError, "9 entries that are not finite"),
        ({"K_xx": np.zeros((0, 0)), "K_xy": np.zeros((0, P))}, ShapeError, "no external points"),
        ({"K_xy": np.ones((M + 1, P))}, ShapeError, "K_xy has shape"),
        ({"K_xy": np.ones((M, P + 1))}, ShapeError, "K_xy has shape"),
        ({"K_yy": np.ones((P, P + 1))}, ShapeError, "K_yy has shape"),
        ({"K_yy": np.ones(P - 1)}, ShapeError, "K_yy has shape"),
        ({"weights": None}, ArgumentError, "pass weights"),
        ({"K_xy": None}, ArgumentError, "needs K_xy"),
        ({"K_yy": None}, ArgumentError, "needs K_yy"),
        ({"weights": np.full(P, np.inf)}, ArgumentError, "not finite"),
        ({"couplings": 0.1}, ArgumentError, "couplings must map"),
        ({"couplings": {6: 0.1}}, ArgumentError, "no entry for the vertex 4"),
        ({"couplings": {4: np.nan}}, ArgumentError, "finite number"),
        ({"couplings": {4: "1"}}, ArgumentError, "finite number"),
        ({"couplings": {4: np.ones(P + 1)}}, ShapeError, "coupling of 4"),
        ({"index": [[0, 1, 2]]}, ShapeError, "index has"),
        ({"index": [[0, 1, 2, M]]}, ArgumentError, "there are 3 external points"),
        ({"index": [[0, 1, 2, -1]]}, ArgumentError, "index runs from -1"),
        ({"index": [[0.0, 1.0, 2.0, 0.0]]}, ShapeError, "float64"),
        ({"drop": ("tadpoles",)}, ArgumentError, "drop names"),
        ({"sign": "+"}, ArgumentError, "sign is"),
        ({"divide_by": 24}, ArgumentError, "divide_by"),
        ({"N": np.inf}, ArgumentError, "N must be"),
        ({"max_work": 10.0}, ArgumentError, "multiply-adds"),
        ({"max_work": None}, ArgumentError, "max_work"),
    ],
)
def test_bad_input_is_refused(kernels, changes, error, message):
    arguments = kernels | {"drop": ()} | changes
    with pytest.raises(error, match=message):
        evaluate_diagrams(diagrams(4, [4]) + diagrams(4, [4, 4]), **arguments)


def test_incomplete_sets_of_diagrams_need_listed_multi_indices(kernels):
    bubble = diagrams(4, [4, 4])[0]
    with pytest.raises(ArgumentError, match="1 of the 3 labellings"):
        evaluate_diagrams([bubble], **kernels)
    index = np.array([[0, 1, 2, 2], [0, 2, 1, 2], [0, 2, 2, 1]])
    channels = sum(evaluate_diagrams([bubble], **kernels, index=index))
    three = [d for d in diagrams(4, [4, 4]) if d.topology == bubble.topology]
    assert channels == pytest.approx(evaluate_diagrams(three, **kernels)[0, 1, 2, 2].mean, rel=1e-13)


def test_what_is_no_sum_of_diagrams_is_refused(kernels):
    with pytest.raises(ArgumentError, match="no diagrams to evaluate"):
        evaluate_diagrams([], **kernels)
    with pytest.raises(ArgumentError, match="got str"):
        evaluate_diagrams(["x0-x1"], **kernels)
    with pytest.raises(ArgumentError, match="differ in their external legs"):
        evaluate_diagrams(diagrams(2, [4]) + diagrams(4, [4]), **kernels)


def test_several_fields_need_a_propagator_for_every_pair(kernels):
    found = diagrams(["h", "h"], [("h~", "h", "h")] * 2, propagators={("h", "h~"): "causal", ("h", "h"): "plain"})
    X, Y, w = kernels["K_xy"], kernels["K_yy"], kernels["weights"]
    with pytest.raises(ArgumentError, match="one array, but the fields are h, h~"):
        evaluate_diagrams(found, **kernels)
    tables = {"K_xx": {("h", "h"): kernels["K_xx"]}, "K_xy": {("h", "h"): X, ("h", "h~"): X}, "weights": w, "drop": ()}
    with pytest.raises(ArgumentError, match="does not vanish on its diagonal"):
        evaluate_diagrams(found, **tables, K_yy={("h", "h"): Y, ("h", "h~"): Y})
    with pytest.raises(ArgumentError, match="no entry for"):
        evaluate_diagrams(found, **tables, K_yy={("h", "h"): Y})
    value = evaluate_diagrams(found, **tables, K_yy={("h", "h"): Y, ("h", "h~"): np.tril(Y, -1)})
    assert value.size == M


def test_contact_lines_that_close_on_themselves_are_refused():
    vertex = ("s(t)", "s(t)")
    found = diagrams(["p"] * 2, [vertex], propagators={("s", "s"): "delta", ("p", "p"): "plain"})
    with pytest.raises(ArgumentError, match=r"delta\(0\)"):
        evaluate_diagrams(found, K_xx={("p", "p"): np.eye(1)}, weights=np.ones(1), drop=(), index=[[0, 0]])
    found = diagrams(["s", "p"], [("s", "p")], propagators={("s", "s"): "delta", ("p", "p"): "plain"})
    with pytest.raises(ArgumentError, match="joins an external point"):
        evaluate_diagrams(found, K_xx={("p", "p"): np.eye(1)}, weights=np.ones(1), drop=(), index=[[0, 0]])


def test_bilocal_fields_need_contact_lines():
    found = diagrams(["p"], [("W(t,u)", "p(t)")] * 2 + [("p",)], propagators={("W", "W"): "plain", ("p", "p"): "plain"})
    one = {("p", "p"): np.ones((1, 1)), ("W", "W"): np.ones((1, 1))}
    with pytest.raises(ArgumentError, match="only delta lines"):
        evaluate_diagrams(found, K_xx=one, K_xy=one, K_yy=one, weights=np.ones(1), drop=())
