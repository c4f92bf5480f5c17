"""Couplings refuse what they cannot mean, and say what came and what to do."""

import json
import math

import numpy as np
import pytest

from nnqft.eft import fit_couplings, predict_six_point, quartic_coupling, sextic_coupling, vertex_integral
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.networks import Network, erf_net, relu_net
from nnqft.tensor import Estimate, SymmetricTensor

X = np.array([[0.3], [0.9]])


def packed(values, order=4, size=2, stderr=0):
    values = np.broadcast_to(np.asarray(values, dtype=float), math.comb(size + order - 1, order))
    return SymmetricTensor(values, stderr, order=order, size=size)


G4, ONE, SIX = packed([1.0, 2.0, 3.0, 5.0, 9.0]), packed(1.0), packed(1.0, 6)
K = np.array([[1.0, 0.5], [0.5, 1.0]])


@pytest.fixture(scope="module")
def exact():
    return exact_correlators(erf_net(5, dim_in=1), X, orders=(2, 4, 6))


# ---- what can go wrong with any input


@pytest.mark.parametrize("function", [quartic_coupling, fit_couplings])
def test_unknown_signs_are_refused(function):
    for sign in ("plus", None, 1, ["action"], np.array(["action", "table"])):
        with pytest.raises(ArgumentError, match="'action', 'table'"):
            function(G4, {"a": ONE} if function is fit_couplings else ONE, sign=sign)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused(value):
    bad = packed([1.0, value, 1, 1, 1])
    with pytest.raises(ArgumentError, match=r"G is not finite at \(0, 0, 0, 1\)"):
        quartic_coupling(bad, ONE)
    with pytest.raises(ArgumentError, match="integral is not finite"):
        quartic_coupling(G4, bad)
    with pytest.raises(ArgumentError, match="G is not finite"):
        fit_couplings(bad, {"a": ONE})
    with pytest.raises(ArgumentError, match="term 'a' is not finite"):
        fit_couplings(G4, {"a": bad})
    with pytest.raises(ArgumentError, match="not finite"):
        predict_six_point(Estimate(1.0, 0), K, terms=bad)
    with pytest.raises(ArgumentError, match="kernel must be finite"):
        predict_six_point(Estimate(1.0, 0), K * value, terms=ONE)


def test_arrays_are_not_taken_for_tensors():
    for G in (np.ones(5), [1.0] * 5, None, "M1"):
        with pytest.raises(ArgumentError, match="must be Correlators"):
            quartic_coupling(G, ONE)
    with pytest.raises(ArgumentError, match="integral must be a SymmetricTensor"):
        quartic_coupling(G4, np.ones(5))


def test_other_orders_and_other_points_are_refused(exact):
    with pytest.raises(ShapeError, match="order 2; the connected 4-point"):
        quartic_coupling(exact.connected(2), ONE)
    with pytest.raises(ShapeError, match="order 4; the connected 6-point"):
        sextic_coupling(G4, SIX)
    with pytest.raises(ShapeError, match="order 6 over 2 points; order 4 over 2 points"):
        quartic_coupling(G4, SIX)
    with pytest.raises(ShapeError, match="over 3 points; order 4 over 2 points"):
        quartic_coupling(G4, packed(1.0, 4, 3))
    with pytest.raises(ShapeError, match="term 'a' has order 6"):
        fit_couplings(G4, {"a": SIX})
    with pytest.raises(ArgumentError, match="order 6 is not at hand"):
        sextic_coupling(exact_correlators(erf_net(5, dim_in=1), X, orders=(2, 4)), SIX)


def test_several_outputs_are_refused_by_name():
    G = exact_correlators(Network(1, (5,), dim_out=2), X)
    with pytest.raises(ArgumentError, match="dim_out = 2"):
        quartic_coupling(G, packed(1.0, 4, 4))
    with pytest.raises(ArgumentError, match="d_out = 2"):
        fit_couplings(G.connected(4), {"a": packed(1.0, 4, 4)})
    with pytest.raises(ArgumentError, match="dim_out = 2"):
        predict_six_point(Estimate(1.0, 0), G, terms=packed(1.0, 4, 4))


def test_coincident_points_are_refused():
    G = exact_correlators(erf_net(5, dim_in=1), [[0.3], [0.9], [0.3]])
    for function, second in ((quartic_coupling, packed(1.0, 4, 3)), (fit_couplings, {"a": packed(1.0, 4, 3)})):
        with pytest.raises(ArgumentError, match="some points coincide"):
            function(G, second)


def test_a_missing_integral_is_named():
    with pytest.raises(ArgumentError, match=r"pass vertex_integral\(net, x, order=4"):
        quartic_coupling(G4)
    with pytest.raises(ArgumentError, match="order=6"):
        sextic_coupling(packed(1.0, 6))


def test_a_vanishing_integral_is_no_division_by_zero():
    """relu: inputs of opposite sign have K_W = 0 and still a connected function."""
    x = np.array([[-1.0], [1.0]])
    G = exact_correlators(relu_net(20, dim_in=1), x)
    assert G.connected(4)[0, 0, 1, 1].mean != 0
    with pytest.raises(ArgumentError, match=r"I_4 is 0 at \(0, 0, 0, 1\)"):
        quartic_coupling(G, packed([1 / 80, 0, 0, 0, 1 / 80]))
    with pytest.raises(ArgumentError, match="I_6 is 0 at"):
        sextic_coupling(packed(1.0, 6), packed(0.0, 6))
    with pytest.raises(ArgumentError, match="term 'a' is 0 at every tuple"):
        fit_couplings(G4, {"a": packed(0.0)})


def test_integrals_of_different_cutoffs_do_not_mix(exact):
    net = exact.net
    quartic = quartic_coupling(exact, cutoff=2.0)
    with pytest.raises(ArgumentError, match=r"integral 3, quartic 2"):
        sextic_coupling(exact, vertex_integral(net, X, order=6, cutoff=3.0), quartic=quartic)
    with pytest.raises(ArgumentError, match="cutoff must be positive"):
        quartic_coupling(exact, cutoff=0.0)


# ---- one number, one tuple, extreme units


def test_one_tuple_has_a_coupling_and_no_spread():
    c = quartic_coupling(Estimate(-0.24, 0.024), 2.0)
    assert repr(c.mean) == "0.0050(5)"
    assert math.isnan(c.spread)
    assert "spread" not in repr(c)
    assert quartic_coupling(Estimate(-0.24, 0.0), Estimate(2.0, 0.2)).stderr == pytest.approx(0.0005)


def test_errors_that_are_not_known_stay_unknown():
    c = quartic_coupling(packed(1.0, stderr=None), ONE)
    assert math.isnan(c.stderr)
    assert math.isnan(c.noise)
    assert math.isnan(fit_couplings(packed([1.0, 2, 3, 4, 6], stderr=None), {"a": ONE, "b": G4})["a"].stderr)


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_extreme_units_neither_lose_errors_nor_overflow(scale):
    G = packed(np.array([1.0, 2.0, 3.0, 5.0, 9.0]) * scale, stderr=0.1 * scale)
    one, c = (quartic_coupling(g, ONE) for g in (packed(G4.mean, stderr=0.1), G))
    assert c.mean.mean == pytest.approx(one.mean.mean * scale)
    assert c.stderr == pytest.approx(one.stderr * scale)
    assert c.spread == pytest.approx(one.spread)
    assert c.noise == pytest.approx(one.noise)
    fit = fit_couplings(packed([1.0, 2, 3, 4, 6], stderr=0.1), {"a": packed(scale), "b": G})
    assert np.isfinite(fit.stderr).all()
    assert np.all(fit.stderr > 0)
    assert fit_couplings(G, {"a": packed(scale)}, sign="table")["a"].mean == pytest.approx(4)


def test_results_are_plain_data_for_json():
    coupling = quartic_coupling(G4, ONE)
    assert SymmetricTensor.from_dict(coupling.to_dict()["pointwise"]) == coupling.pointwise
    fit = fit_couplings(G4, {"a": ONE, "b": G4})
    state = json.loads(json.dumps(fit.to_dict()))
    assert state["values"] == fit.values.tolist()
    assert state["identified"] == [True, True]
    assert state["names"] == ["a", "b"]
    assert json.loads(json.dumps(coupling.to_dict()))["mean"]["mean"] == float(coupling)


def test_integers_with_signs_and_listed_tuples_work():
    G = SymmetricTensor([2.0], [0.1], order=4, size=2, index=[[0, 0, 1, 1]])
    assert quartic_coupling(G, ONE, sign="table").mean.mean == pytest.approx(2 / 24)
    assert quartic_coupling(G, ONE).inputs is None
    assert fit_couplings(G, {"a": ONE}, sign="table")["a"].mean == pytest.approx(2)


# ---- fits


def test_unknown_names_are_refused_with_those_known(exact):
    with pytest.raises(ArgumentError, match="'M0', 'M1', 'M2', 'M3'"):
        fit_couplings(exact, "M4")
    with pytest.raises(ArgumentError, match="'lstsq', 'min_norm', 'ridge'"):
        fit_couplings(G4, {"a": ONE}, solver="sgd")
    with pytest.raises(ArgumentError, match="need the network"):
        fit_couplings(G4, "M1")
    for names in (("local0", "local1"), ("local0", "local0"), (3,), [["local0"]]):
        with pytest.raises(ArgumentError, match="local0, local2, nonlocal22, got"):
            fit_couplings(exact, names)
    for terms in (ONE, {1: ONE}, 3, None):
        with pytest.raises(ArgumentError, match="mapping"):
            fit_couplings(G4, terms)
    with pytest.raises(ArgumentError, match="no term 'b' in this fit; it has a"):
        fit_couplings(G4, {"a": ONE})["b"]


@pytest.mark.parametrize("option", ["ridge", "rcond", "max_condition"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, "1", None])
def test_options_that_are_no_positive_numbers_are_refused(option, value):
    if (option, value) == ("rcond", None):
        return
    with pytest.raises(ArgumentError, match=option):
        fit_couplings(G4, {"a": ONE}, **{option: value})


def test_more_terms_than_tuples_identify_nothing():
    terms = {name: packed(np.random.default_rng(k).normal(size=5)) for k, name in enumerate("abcdef")}
    with pytest.warns(NNQFTWarning, match="not identified: a, b, c, d, e, f"):
        fit = fit_couplings(G4, terms)
    assert fit.rank == 5
    assert fit.condition == math.inf
    assert fit.mape < 1e-9  # a perfect fit, of which nothing is known


def test_data_without_error_bars_of_collinear_terms_are_not_identified_either():
    with pytest.warns(NNQFTWarning, match="not identified"):
        fit = fit_couplings(G4, {"a": G4, "b": packed(G4.mean * (1 + 1e-9 * np.arange(5)))})
    assert np.isinf(fit.stderr).all()


def test_inputs_that_are_one_random_variable_raise_a_warning():
    """relu at positive inputs: f(x) = x f(1). One coefficient is known, but MAPE 0 says nothing."""
    exact = exact_correlators(relu_net(20, dim_in=1), X)
    closed = packed(X[:, 0][[[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1], [1, 1, 1, 1]]].prod(1))
    for G in (
        exact,
        exact.connected(4),
        packed(exact.connected(4).mean * (1 + 0.01 * np.cos(np.arange(5))), stderr=0.01),
    ):
        with pytest.warns(NNQFTWarning, match="one random variable"):
            fit = fit_couplings(G, {"a": closed})
        assert fit.inputs == 1
        assert fit.identified.all()
        assert "inputs degenerate" in repr(fit)


def test_test_sets_that_do_not_fit_are_refused(exact):
    for test in (exact, (G4,), G4, 3):
        with pytest.raises(ArgumentError, match="test must be a pair"):
            fit_couplings(G4, {"a": ONE}, test=test)
    with pytest.raises(ArgumentError, match="holds the fitted term 'a'"):
        fit_couplings(G4, {"a": ONE}, test=(G4, {"b": ONE}))


def test_a_zero_in_the_data_makes_the_percentage_infinite_unless_it_is_fitted():
    G = packed([0.0, 1, 1, 1, 1])
    assert fit_couplings(G, {"a": ONE}).mape == math.inf
    assert fit_couplings(G, {"a": G}).mape < 1e-12


# ---- six-point functions


def test_missing_pieces_of_a_prediction_are_named():
    lam = Estimate(-0.1, 0.01)
    with pytest.raises(ArgumentError, match="terms is missing"):
        predict_six_point(lam, K)
    with pytest.raises(ArgumentError, match="sextic_integral is missing"):
        predict_six_point(lam, K, terms=ONE, sextic=lam)
    with pytest.raises(ArgumentError, match="single lambda"):
        predict_six_point(None, K, tree=SIX)
    with pytest.raises(ArgumentError, match="loop term needs kappa"):
        predict_six_point(lam, K, terms=ONE, loop=ONE)
    with pytest.raises(ArgumentError, match="quartic must be a Coupling"):
        predict_six_point(0.3, K, terms=ONE)
    with pytest.raises(ArgumentError, match="the tree term needs lambda"):
        sextic_coupling(SIX, SIX, tree=SIX)
    fit = fit_couplings(G4, {"a": ONE, "b": G4})
    with pytest.raises(ArgumentError, match="single lambda"):
        predict_six_point(fit, K, tree=SIX)
    with pytest.raises(ArgumentError, match="mapping with b"):
        predict_six_point(fit, K, terms={"a": ONE})


@pytest.mark.parametrize(
    "kernel", [np.ones((2, 3)), np.ones(4), np.empty((0, 0)), np.ones((2, 2), complex), "K", [[1.0], [1.0, 2.0]]]
)
def test_kernels_that_are_no_real_square_matrices_are_refused(kernel):
    with pytest.raises(ShapeError, match="kernel (must|has shape)"):
        predict_six_point(Estimate(1.0, 0), kernel, terms=ONE)


def test_the_kernel_is_not_taken_for_the_two_point_function_of_a_deep_network():
    deep = correlators(Network(1, (5, 5)), X, n_nets=256, seed=1)
    with pytest.raises(ArgumentError, match="pass it as an array"):
        predict_six_point(Estimate(1.0, 0), deep, terms=ONE)


def test_kernels_of_other_points_or_without_symmetry_are_refused():
    with pytest.raises(ShapeError, match="terms has order 4 over 2 points; order 4 over 3 points"):
        predict_six_point(Estimate(1.0, 0), np.eye(3), terms=ONE)
    with pytest.raises(ArgumentError, match="symmetric"):
        predict_six_point(Estimate(1.0, 0), np.array([[1.0, 2.0], [0.0, 1.0]]), terms=ONE)


def test_powers_of_the_width_are_0_1_and_2():
    six = predict_six_point(Estimate(1.0, 0), K, terms=ONE)
    with pytest.raises(ArgumentError, match="power must"):
        six.up_to(3)
    assert six.complete == 1
    free = predict_six_point(None, K)
    assert free.complete == 0
    np.testing.assert_array_equal(free.total.mean, six.up_to(0).mean)
    assert "1/width^1" in repr(six)


def test_the_free_theory_is_all_that_a_model_without_terms_predicts():
    six = predict_six_point(fit_couplings(G4, "M0"), K)
    np.testing.assert_array_equal(six.total.mean, six.up_to(0).mean)
    with pytest.raises(ArgumentError, match="predicts 0"):
        fit_couplings(G4, "M0").predict()
