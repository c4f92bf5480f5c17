"""Arguments of wrong types: the readers themselves, and that functions go through them."""

import re
from fractions import Fraction

import numpy as np
import pytest

from nnqft import eft
from nnqft._checks import choice, integer, number, positive_array, real_array, shown
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import ArgumentError, NNQFTError, ShapeError
from nnqft.meanfield import finite_width
from nnqft.networks import erf_net, free_scalar_net, gauss_net, mlp, nngp
from nnqft.tensor import SymmetricTensor


class Broken:
    def __repr__(self):
        raise RuntimeError


NO_NUMBERS = [True, np.bool_(False), "1", b"1", 1j, None, {}, [1.0], np.array(1.0), np.ones(3), object(), Broken()]


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int8(2), np.longdouble(2), Fraction(2)])
def test_real_scalars_are_numbers(value):
    got = number("a", value, low=2, high=2)
    assert type(got) is float and got == 2.0


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_everything_else_is_no_number(value):
    with pytest.raises(ArgumentError, match="^a must be a real number, got "):
        number("a", value)


@pytest.mark.parametrize(("value", "limits", "message"), [
    (np.nan, {}, "a must be a finite number, got nan"),
    (np.inf, {}, "a must be a finite number, got inf"),
    (np.nan, {"infinite": True}, "a must be a number, got nan"),
    (np.inf, {"infinite": True, "below": 2}, "a must be a number < 2, got inf"),
    (0, {"above": 0}, "a must be a finite number > 0, got 0.0"),
    (3, {"low": 0, "high": 2}, "a must be a finite number >= 0 and <= 2, got 3.0"),
    (10**400, {}, "overflows float64"),
    (Fraction(10**5000), {}, "overflows float64"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused_by_name(value, limits, message):
    with pytest.raises(ArgumentError, match=re.escape(message)):
        number("a", value, **limits)


def test_an_infinity_is_a_number_where_it_is_admitted():
    assert number("a", np.inf, above=0, infinite=True) == np.inf


@pytest.mark.parametrize("value", [True, np.bool_(True), 2.0, "2", None, 1j, [2], np.ones(2)])
def test_only_integers_are_integers(value):
    with pytest.raises(ArgumentError, match="n must be an integer, got "):
        integer("n", value, 0, 3)


def test_integers_are_read_within_their_limits():
    assert integer("n", np.uint8(3), 0, 3) == 3
    for value in (4, -1, 10**5000):
        with pytest.raises(ArgumentError, match=r"n must lie in \[0, 3\], got "):
            integer("n", value, 0, 3)


@pytest.mark.parametrize("value", [
    "a", ["1"], 1j, {}, None, object(), [True], [[1.0, 2.0], [3.0]], [1, 10**400], np.ones(2, np.longdouble),
    np.ma.masked_less([1.0, 2.0], 1.5), np.ma.array([1.0]), [np.ma.masked, 1.0], np.array([1.0, None]),
])  # fmt: skip
def test_only_real_arrays_are_arrays(value):
    with pytest.raises(ShapeError, match="^x (must be|is a masked) "):
        real_array("x", value)


def test_real_arrays_are_new_float64_arrays_of_the_shape_asked_for():
    given = np.arange(6.0).reshape(2, 3)
    got = real_array("x", given[::-1], shape=(None, 3))
    assert got.tolist() == given[::-1].tolist() and not np.shares_memory(got, given)
    assert real_array("x", [[1, 2]]).dtype == np.float64
    assert real_array("x", np.float32(0.5), ndim=0) == 0.5
    with pytest.raises(ShapeError, match=r"x must have shape \(any, 2\), got shape \(2, 3\)"):
        real_array("x", given, shape=(None, 2))
    with pytest.raises(ShapeError, match="x must have 1 axes"):
        real_array("x", given, ndim=1)
    with pytest.raises(ShapeError, match="float32; float64 is expected"):
        real_array("x", np.float32([1]), cast=False)
    with pytest.raises(ArgumentError, match=r"x must be finite, got NaN or an infinity \(1 of 2 values\)"):
        real_array("x", [1.0, np.nan])
    assert np.isnan(real_array("x", [np.nan], finite=False)).all()


def test_positive_arrays_hold_at_least_as_many_numbers_as_asked_for():
    assert positive_array("k", 2).shape == () and positive_array("k", [2, 3], least=2).shape == (2,)
    for value, least in ([], 0), (1.0, 1), ([1.0], 2), ([[1.0]], 0):
        with pytest.raises(ShapeError, match="k has shape"):
            positive_array("k", value, least=least)
    for value in (0.0, [1.0, -1.0], np.inf, [np.nan]):
        with pytest.raises(ArgumentError, match="k must be positive and finite"):
            positive_array("k", value)


@pytest.mark.parametrize("value", ["c", ["a"], {}, None, np.array(["a"]), np.array("a"), 1, ("a", "b")])
def test_only_known_names_are_chosen(value):
    assert choice("sign", "a", ("a", "b")) == "a"
    with pytest.raises(ArgumentError, match="sign must be one of 'a', 'b', got "):
        choice("sign", value, ("a", "b"))


def test_messages_stay_short_whatever_came():
    for value in ("x" * 10**6, list(range(10**5)), np.zeros(10**5), 10**5000, Broken()):
        assert 0 < len(shown(value)) < 200


# ---- functions

K, G4 = np.array([[1.0, 0.3], [0.3, 2.0]]), np.array([0.1, 0.0, 0.05, 0.0, 0.2])
ONE, TWO = eft.edgeworth_density(1.0, 0.1), eft.edgeworth_density(K, G4)
NET, X = erf_net(5, dim_in=1), np.array([[0.2], [-0.7]])
EXACT = exact_correlators(NET, X, orders=(2, 4, 6))
REGION = eft.box(-1.0, 1.0, nodes=4)
RAGGED = [[1.0, 2.0], [3.0]]
BETA = eft.beta_function(NET, X, cutoffs=[1.0, 2.0])
FLOW = eft.lpa_flow(3, 1.0)
CHECK = eft.check_invariance(correlators(NET, [[0.0], [1.0]], n_nets=4096), ("translation", [1.0]))
THEORY = eft.reweight(NET, X, potential={4: 0.01}, region=REGION, n_nets=2000)
DEEP = finite_width(NET, X)


def reweight(**given):
    return eft.reweight(NET, X, **{"potential": {4: 0.1}, "region": REGION, "n_nets": 10} | given)


WRONG = {
    **{f"kernel {v!r}": lambda v=v: eft.regulated_inverse(v) for v in ("a", 1j, {}, RAGGED, None)},
    **{f"kernel of a density {v!r}": lambda v=v: eft.edgeworth_density(v, G4) for v in ("a", 1j, {}, RAGGED)},
    **{f"G4c {v!r}": lambda v=v: eft.edgeworth_density(K, v) for v in ("a", 1j, {}, RAGGED)},
    **{f"rank {v!r}": lambda v=v: eft.edgeworth_density(K, G4, rank=v) for v in (1.0, "a", True, [1])},
    **{f"rcond {v!r}": lambda v=v: eft.edgeworth_density(K, G4, rcond=v) for v in ("a", 1j, 2.0, [0.1], True)},
    **{f"legs {v!r}": lambda v=v: eft.regulated_inverse(K, legs=v) for v in (0, "a", 1.5, None)},
    **{f"order {v!r}": lambda v=v: eft.action_couplings(K, G4, order=v) for v in ("a", [1], 1.0, True, np.ones(2))},
    **{f"two_point {v!r}": lambda v=v: eft.action_couplings(K, G4, two_point=v) for v in (["a"], 1, np.ones(2))},
    **{f"sign {v!r}": lambda v=v: eft.action_couplings(K, G4, sign=v) for v in (["action"], {}, 1)},
    **{f"cdf {v!r}": lambda v=v: ONE.cdf(v) for v in ("a", 1j, {}, RAGGED, None, np.ma.array([1.0]))},
    **{f"pdf {v!r}": lambda v=v: TWO.pdf(v) for v in ("a", 1j, {}, RAGGED, None)},
    **{f"action {v!r}": lambda v=v: eft.action_couplings(K, G4).action(v) for v in ("a", 1j, {}, RAGGED)},
    **{f"moments {v!r}": lambda v=v: TWO.moments(v) for v in (None, 4, "a", [1.5], [True])},
    **{f"cumulants {v!r}": lambda v=v: TWO.cumulants(v) for v in ("a", None, 4.0, 10)},
    **{f"marginal {v!r}": lambda v=v: TWO.marginal(v) for v in (None, 1, "a", [0.5], RAGGED, [2])},
    **{f"directions {v!r}": lambda v=v: TWO.negativity(directions=v) for v in (np.nan, 10**12, "a", 1.5, 0)},
    **{f"seed {v!r}": lambda v=v: TWO.negativity(seed=v) for v in ("a", -1, 0.5)},
    **{f"locality x {v!r}": lambda v=v: eft.locality(TENSOR, x=v) for v in ("ab", 1j, {}, RAGGED)},
    **{f"cutoffs {v!r}": lambda v=v: eft.beta_function(NET, X, cutoffs=v) for v in ({}, RAGGED, 1j, True, np.ma.array([1.0]))},
    **{f"method {v!r}": lambda v=v: eft.beta_function(NET, X, cutoffs=1.0, method=v) for v in (["auto"], 1, {})},
    **{f"beta.tensor {v!r}": lambda v=v: BETA.tensor(v) for v in (5, -3, "a", 0.5)},
    **{f"beta of {v!r}": lambda v=v: BETA(v) for v in (np.ones(7), "a", 1j, np.ones((1, 2, 3)), RAGGED)},
    **{f"flow cutoff {v!r}": lambda v=v: eft.rg_flow(EXACT, v) for v in ("a", {}, RAGGED, [1.0, True, None], 1j)},
    **{f"flow sigma_w {v!r}": lambda v=v: eft.rg_flow(EXACT, 1.0, sigma_w=v) for v in ("a", {}, RAGGED, [1.0], np.ma.array([1.0, 2.0]))},
    **{f"flow width {v!r}": lambda v=v: eft.rg_flow(EXACT, 1.0, width=v) for v in ([2.5, 3.0], "a", 1j)},
    **{f"flow order {v!r}": lambda v=v: eft.rg_flow(EXACT, [1.0, 2.0], order=v) for v in (4.0, True, [4], 5)},
    **{f"flow tree {v!r}": lambda v=v: eft.rg_flow(EXACT, [1.0, 2.0], order=6, tree=v) for v in (None, "no", np.ones(2))},
    **{f"lpa tolerance {v!r}": lambda v=v: eft.lpa_flow(3, 1.0, tolerance=v) for v in ("a", None, 1j)},
    **{f"lpa higher {v!r}": lambda v=v: eft.lpa_flow(3, 1.0, higher=v) for v in (1.0, "ab", RAGGED, None)},
    **{f"lpa sigma_w {v!r}": lambda v=v: eft.lpa_flow(3, v) for v in (RAGGED, {}, 1j, np.ma.array([1.0, 2.0]), [1.0])},
    **{f"lpa u4 {v!r}": lambda v=v: eft.lpa_flow(3, 1.0, u4=v) for v in (RAGGED, {}, 1j, True)},
    **{f"lpa n_points {v!r}": lambda v=v: eft.lpa_flow(3, 1.0, n_points=v) for v in ("a", 1.5, True)},
    **{f"flow.at {v!r}": lambda v=v: FLOW.at(v) for v in ("a", None, [0.1], 1j)},
    **{f"flow.coupling {v!r}": lambda v=v: FLOW.coupling(v) for v in ("a", 4.0, np.ones(2))},
    **{f"dimension {v!r}": lambda v=v: eft.lpa_fixed_points(v) for v in ("a", None, [3], 1j)},
    **{f"propagator {v!r}": lambda v=v: eft.free_propagator(v, dim=1) for v in ("a", 1j, {}, RAGGED)},
    **{f"propagator dim {v!r}": lambda v=v: eft.free_propagator(1.0, dim=v) for v in ("a", 1.0, [1], 4, None)},
    **{f"propagator cutoff {v!r}": lambda v=v: eft.free_propagator(1.0, dim=1, cutoff=v) for v in ("a", None, [1.0])},
    **{f"mass {v!r}": lambda v=v: free_scalar_net(5, dim_in=1, mass=v, cutoff=1.0) for v in ("a", None, 1j, 1e200)},
    **{f"points {v!r}": lambda v=v: nngp(NET, v) for v in (RAGGED, {}, "a", 1j, np.ma.array([[1.0]]))},
    **{f"finite_width {v!r}": lambda v=v: finite_width(NET, v) for v in (RAGGED, {}, "a", 1j)},
    **{f"layer {v!r}": lambda v=v: DEEP.connected(2, layer=v) for v in ("a", True, [1])},
    **{f"deep order {v!r}": lambda v=v: DEEP.connected(v) for v in (4.0, True, np.ones(2), [4])},
    **{f"power {v!r}": lambda v=v: reweight(potential={v: 1.0}) for v in ("a", 4.0, None, True)},
    **{f"coefficient {v!r}": lambda v=v: reweight(potential={4: v}) for v in ("a", 1j, None, True, [1.0])},
    **{f"region {v!r}": lambda v=v: reweight(region=v) for v in (None, 1, (RAGGED, [1.0]), ("a", "b"), ([[1j]], [1.0]))},
    **{f"box {v!r}": lambda v=v: eft.box(v, v) for v in ([], "a", 1j, RAGGED)},
    **{f"nodes {v!r}": lambda v=v: eft.box(0.0, 1.0, nodes=v) for v in ("a", 1.5, None, [1, 2], RAGGED)},
    **{f"deformed order {v!r}": lambda v=v: THEORY.connected(v) for v in (4.0, "a", np.ones(2))},
    **{f"symmetry {v!r}": lambda v=v: eft.check_invariance(EXACT, v) for v in (
        None, np.ones(2), ("translation", "a"), ("translation", {}), ("rotation", RAGGED), ([], []), ("SO(d_in)", "a"))},
    **{f"tested order {v!r}": lambda v=v: eft.check_invariance(EXACT, ("translation", [1.0]), order=v) for v in (4.0, "a", [4])},
    **{f"orbit {v!r}": lambda v=v: eft.orbit(v, ("translation", [1.0])) for v in ("a", RAGGED, {}, 1j, np.zeros((0, 1)))},
    **{f"level {v!r}": lambda v=v: CHECK.holds(v) for v in ("a", None, 1.0, [0.1])},
    **{f"detectable {v!r}": lambda v=v: CHECK.detectable(v) for v in ("a", None, 0.0)},
    **{f"worst {v!r}": lambda v=v: CHECK.worst(v) for v in ("a", None, 1.5, -1)},
}  # fmt: skip
TENSOR = SymmetricTensor(G4, 0, order=4, size=2)


@pytest.mark.filterwarnings("ignore::nnqft.errors.NNQFTWarning")
@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG)
def test_arguments_of_wrong_types_are_refused_by_the_errors_of_the_library(call):
    with pytest.raises(NNQFTError):
        call()


OVERFLOWS = {
    "a deep net": lambda: finite_width(mlp(1, (20, 20), activation="erf", sigma_w=1e200), X),
    "a deep net's bias": lambda: finite_width(mlp(1, (20, 20), activation="erf", sigma_b=1e200), X),
    "exact correlators": lambda: eft.rg_flow(EXACT, 1.0, sigma_w=[1.0, 1e300]),
    "a bias": lambda: exact_correlators(erf_net(5, dim_in=1, sigma_b=1e200), X),
    "a kernel": lambda: nngp(erf_net(5, dim_in=1, sigma_w=1e200), X),
    "a flow's units": lambda: eft.lpa_flow(1e-300, 1.0),
    "a box": lambda: eft.box([-1e308] * 2, [1e308] * 2),
    "a beta function": lambda: eft.beta_function(NET, X, cutoffs=1e30, power=20.0),
    "a propagator": lambda: eft.free_propagator(1e-308, dim=3, mass=1e5),
    **{f"units of sigma_w = {s}": lambda s=s: eft.lpa_couplings(gauss_net(9, dim_in=1, sigma_w=s), -1e-4)
       for s in (1e-100, 1e100, 1e200)},
}  # fmt: skip


@pytest.mark.parametrize("call", OVERFLOWS.values(), ids=OVERFLOWS)
def test_what_overflows_is_refused_by_name(call):
    with pytest.raises(ArgumentError, match="float64|overflow"):
        call()


def test_a_box_as_wide_as_float64_has_finite_nodes():
    region = eft.box(-1e308, 1e308, nodes=3)
    assert region.points[:, 0].tolist() == pytest.approx([-(0.6**0.5) * 1e308, 0.0, 0.6**0.5 * 1e308])
    assert region.weights[1] == pytest.approx(8 / 9 * 1e308)
