"""Integrals, correlators and couplings that say what they are, and are refused where something else is meant; overflow."""

import math
import warnings

import numpy as np
import pytest

from nnqft.eft import (
    coupling_terms,
    fit_couplings,
    predict_six_point,
    quartic_coupling,
    sextic_coupling,
    tree_integral,
    vertex_integral,
)
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.networks import erf_net, relu_net
from nnqft.tensor import Estimate, SymmetricTensor

X = np.array([[0.3], [0.9]])
NET = erf_net(5, dim_in=1)
CUTOFF = 3.0


def packed(values, order=4, size=2, stderr=0):
    values = np.broadcast_to(np.asarray(values, dtype=float), math.comb(size + order - 1, order))
    return SymmetricTensor(values, stderr, order=order, size=size)


class Case:
    """A net, its correlators, its integrals at one cutoff, and the couplings from them."""

    def __init__(self):
        self.G = exact_correlators(NET, X, orders=(2, 4, 6))
        self.K = self.G.full(2).dense()
        self.I4, self.I6 = (vertex_integral(NET, X, order=n, cutoff=CUTOFF) for n in (4, 6))
        self.loop = vertex_integral(NET, X, cutoff=CUTOFF, loops=1)
        self.T = tree_integral(NET, X, cutoff=CUTOFF)
        self.lam = quartic_coupling(self.G, self.I4)
        self.kappa = sextic_coupling(self.G, self.I6, quartic=self.lam, tree=self.T, loop=self.loop)


@pytest.fixture(scope="module")
def case():
    return Case()


# ---- the wrong integral


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"power": 2}, r"vertex_integral\(order=4, power=2\)"),
        ({"loops": 1}, r"vertex_integral\(order=4, loops=1\)"),
        ({"pairs": True}, r"vertex_integral\(order=4, pairs=True\)"),
    ],
)
def test_other_integrals_of_order_4_are_not_taken_for_the_quartic_vertex(case, options, said):
    other = vertex_integral(NET, X, cutoff=CUTOFF, **options)
    with pytest.raises(ArgumentError, match=f"integral is {said}; I_4 is expected: vertex_integral"):
        quartic_coupling(case.G, other)
    with pytest.raises(ArgumentError, match=f"terms is {said}"):
        predict_six_point(case.lam, case.K, terms=other)


def test_terms_of_fits_are_not_taken_for_the_integrals_in_them(case):
    terms = coupling_terms(NET, X, model="M3", cutoff=CUTOFF)
    for term in terms.values():
        with pytest.raises(ArgumentError, match=r"integral is (24|8) \* vertex_integral"):
            quartic_coupling(case.G, term)
    np.testing.assert_allclose(
        quartic_coupling(case.G, terms["local0"] / 24).pointwise.mean, case.lam.pointwise.mean, rtol=1e-14
    )


def test_integrals_under_the_names_of_terms_must_be_these_terms(case):
    terms = coupling_terms(NET, X, model="M3", cutoff=CUTOFF)
    with pytest.raises(ArgumentError, match=r"term 'local0' is vertex_integral\(order=4\); local0 is expected: 24 \*"):
        fit_couplings(case.G, {"local0": case.I4})
    with pytest.raises(ArgumentError, match="term 'local2' is"):
        fit_couplings(case.G, {"local2": terms["local0"]})
    with pytest.raises(ArgumentError, match="term 'nonlocal22' is"):
        fit_couplings(case.G, {"nonlocal22": terms["local0"]})
    fit = fit_couplings(case.G, {"local0": terms["local0"]})
    with pytest.raises(ArgumentError, match="term 'local0' is"):
        fit.predict({"local0": case.I4})
    with pytest.raises(ArgumentError, match="term 'local0' is"):
        predict_six_point(fit, case.K, terms={"local0": case.loop})
    assert fit_couplings(case.G, {"mine": case.I4})["mine"].mean == pytest.approx(24 * fit["local0"].mean)


def test_trees_loops_and_sextic_vertices_are_not_taken_for_each_other(case):
    lam, I4, I6, T = case.lam, case.I4, case.I6, case.T
    for call, name in (
        (lambda: sextic_coupling(case.G, T, quartic=lam), "integral is tree_integral"),
        (lambda: sextic_coupling(case.G, I6, quartic=lam, tree=I6), r"tree is vertex_integral\(order=6\)"),
        (lambda: sextic_coupling(case.G, I6, quartic=lam, tree=T, loop=I4), r"loop is vertex_integral\(order=4\)"),
        (lambda: sextic_coupling(case.G, I6, quartic=lam, tree=T * 2), r"tree is 2 \* tree_integral"),
        (lambda: predict_six_point(lam, case.K, tree=I6), "tree is vertex_integral"),
        (lambda: predict_six_point(lam, case.K, sextic=case.kappa, loop=I4), "loop is vertex_integral"),
        (lambda: predict_six_point(lam, case.K, sextic=case.kappa, sextic_integral=T), "sextic_integral is tree"),
    ):
        with pytest.raises(ArgumentError, match=name):
            call()
    with pytest.raises(ShapeError, match="loop has order 6"):
        sextic_coupling(case.G, I6, quartic=lam, tree=T, loop=I6)


def test_couplings_are_not_taken_for_integrals_or_correlators(case):
    with pytest.raises(ArgumentError, match="integral is a tensor of kind 'coupling'"):
        quartic_coupling(case.G, case.lam.pointwise)
    with pytest.raises(ArgumentError, match="G is a tensor of kind 'coupling'"):
        quartic_coupling(case.lam.pointwise, case.I4)


@pytest.mark.parametrize("kind", ["full", "gp", "deviation"])
def test_only_connected_functions_are_data(case, kind):
    T = getattr(case.G, kind)(4)
    for G in (T, T * 2, T[0, 0, 1, 1]):
        for call in (lambda G=G: quartic_coupling(G, case.I4), lambda G=G: fit_couplings(G, {"a": case.I4})):
            with pytest.raises(ArgumentError, match=rf"kind '{kind}'; the connected 4-point function is expected"):
                call()
    with pytest.raises(ArgumentError, match="kind 'full'"):
        sextic_coupling(case.G.full(6), case.I6)
    six = predict_six_point(case.lam, case.K)
    with pytest.raises(ArgumentError, match="G is of kind 'connected'; the full 6-point function"):
        six.ratio(case.G.connected(6))


def test_differences_of_correlators_are_data_again(case):
    """One hidden layer: G_c^(4) = G^(4) - G_GP^(4), up to cancellation."""
    found = quartic_coupling(case.G.full(4) - case.G.gp(4), case.I4)
    np.testing.assert_allclose(found.pointwise.mean, case.lam.pointwise.mean, rtol=1e-9)
    run = correlators(NET, X, n_nets=2048, seed=1)
    assert (run.full(4) - run.gp(4)).how == {k: v for k, v in run.full(4).how.items() if k != "kind"}
    assert quartic_coupling(case.G.connected(4) * 3, case.I4).mean.mean == pytest.approx(3 * case.lam.mean.mean)


def test_tensors_made_by_hand_say_nothing_and_are_taken_as_they_are(case):
    by_hand = SymmetricTensor(case.I4.mean, case.I4.stderr, order=4, size=2)
    np.testing.assert_array_equal(quartic_coupling(case.G, by_hand).pointwise.mean, case.lam.pointwise.mean)


def test_what_a_tensor_is_ends_with_a_sum_and_is_multiplied_by_factors(case):
    I4 = case.I4
    assert (I4 * 24).how["factor"] == 24 == -(-24 * I4).how["factor"]
    assert (I4 * 24 / 24).how == I4.how
    assert "factor" not in (packed(1.0) * 24).how
    for changed in (I4 + I4, I4 - 1.0, I4 + case.loop):
        assert not {"kind", "factor", "power", "loops", "pairs", "method"} & set(changed.how)
    assert (I4 + I4).how["cutoff"] == CUTOFF


# ---- other points, other cutoffs


def test_integrals_at_other_points_are_refused(case):
    other = X + 0.1
    far = vertex_integral(NET, other, cutoff=CUTOFF)
    for G in (case.G, case.G.connected(4)):
        with pytest.raises(ArgumentError, match="G and integral belong to different points"):
            quartic_coupling(G, far)
    with pytest.raises(ArgumentError, match="G and term 'a' belong to different points"):
        fit_couplings(case.G, {"a": far})
    with pytest.raises(ArgumentError, match="kernel and terms belong to different points"):
        predict_six_point(case.lam, exact_correlators(NET, other))
    with pytest.raises(ArgumentError, match="terms and tree belong to different points"):
        predict_six_point(case.lam, case.K, tree=tree_integral(NET, other, cutoff=CUTOFF))
    with pytest.raises(ArgumentError, match="test set and term 'a' belong to different points"):
        fit_couplings(case.G, {"a": case.I4}, test=(exact_correlators(NET, other), {"a": case.I4}))
    elsewhere = predict_six_point(case.lam, exact_correlators(NET, other), terms=far)
    assert elsewhere.complete == 1  # lambda may be used at any points


def test_points_that_differ_by_rounding_are_the_same(case):
    assert quartic_coupling(exact_correlators(NET, X * (1 + 4e-16)), case.I4).inputs == case.lam.inputs


def test_couplings_and_integrals_of_different_cutoffs_do_not_mix(case):
    I4, T = vertex_integral(NET, X, cutoff=2 * CUTOFF), tree_integral(NET, X, cutoff=2 * CUTOFF)
    far = quartic_coupling(case.G, I4)
    for call, said in (
        (lambda: predict_six_point(case.lam, case.K, terms=I4), r"quartic 3, terms 6"),
        (lambda: predict_six_point(case.lam.mean, case.K, terms=I4), r"quartic 3, terms 6"),
        (lambda: predict_six_point(far, case.K, sextic=case.kappa), r"quartic 6, sextic 3"),
        (lambda: predict_six_point(case.lam, case.K, tree=T), "tree 6"),
        (lambda: sextic_coupling(case.G, case.I6, quartic=case.lam, tree=T), "tree 6"),
        (lambda: fit_couplings(case.G, {"a": case.I4, "b": I4}), "term 'a' 3, term 'b' 6"),
        (lambda: fit_couplings(case.G, {"a": case.I4}).predict({"a": I4}), "fitted term 'a' 3, term 'a' 6"),
        (lambda: fit_couplings(case.G, {"a": case.I4}, test=(case.G, {"a": I4})), "test term 'a' 6"),
    ):
        with pytest.raises(ArgumentError, match=f"different cutoffs .*{said}"):
            call()


def test_a_cutoff_beside_an_integral_of_another_one_is_refused(case):
    assert quartic_coupling(case.G, case.I4, cutoff=CUTOFF).mean == case.lam.mean
    with pytest.raises(ArgumentError, match="leave it out"):
        quartic_coupling(Estimate(1.0, 0.0), 2.0, cutoff=CUTOFF)
    for cutoff in (-1, "a", np.ones(2), 2 * CUTOFF, math.inf):
        for call in (
            lambda c=cutoff: quartic_coupling(case.G, case.I4, cutoff=c),
            lambda c=cutoff: sextic_coupling(case.G, case.I6, cutoff=c),
            lambda c=cutoff: fit_couplings(case.G, {"a": case.I4}, cutoff=c),
        ):
            with pytest.raises(ArgumentError, match=r"cutoff (= .* leave it out|must be a)"):
                call()


def test_a_tree_is_not_counted_twice(case):
    absorbed = sextic_coupling(case.G, case.I6, quartic=case.lam)
    for kappa in (case.kappa.without_tree, absorbed):
        with pytest.raises(ArgumentError, match="kappa was measured without the tree"):
            predict_six_point(case.lam, case.K, sextic=kappa, tree=case.T)
        assert predict_six_point(case.lam, case.K, sextic=kappa).complete == 1
    assert predict_six_point(case.lam, case.K, sextic=case.kappa, tree=case.T).complete == 2


# ---- numbers that float64 does not hold


@pytest.mark.parametrize(
    ("G", "integral", "what"),
    [
        (Estimate(1e300, 1e299), 1e-300, "overflows"),
        (Estimate(1.0, 1.0), 1e-320, "overflows"),
        (Estimate(1.0, 1e300), 1e-20, "overflows"),
        (Estimate(1e-300, 0.0), 1e300, "underflows"),
        (packed([1e308] * 5), packed(1 / 24.0), "overflows"),
    ],
)
def test_couplings_that_float64_does_not_hold_are_refused(G, integral, what):
    with pytest.raises(ArgumentError, match=f"the coupling {what} float64: rescale"):
        quartic_coupling(G, integral)


def test_the_largest_and_smallest_integrals_that_float64_holds_serve():
    assert quartic_coupling(Estimate(1.0, 1.0), 1e308, sign="table").mean.mean == pytest.approx(1e-308 / 24, rel=1e-12)
    assert quartic_coupling(Estimate(1e-300, 1e-301), 1e-320, sign="table").mean.mean > 4e18


def test_fits_that_float64_does_not_hold_are_refused(case):
    G4 = case.G.connected(4)
    with pytest.raises(ArgumentError, match="a coefficient overflows float64"):
        fit_couplings(G4 * 1e300, {"a": case.I4 * 1e-300})
    with pytest.raises(ArgumentError, match="a coefficient underflows float64"):
        fit_couplings(G4 * 1e-300, {"a": case.I4 * 1e300})
    fit = fit_couplings(G4 * 1e200, {"a": case.I4})
    with pytest.raises(ArgumentError, match="the prediction overflows"):
        fit.predict({"a": case.I4 * 1e200})


def test_six_point_functions_that_float64_does_not_hold_are_refused():
    with pytest.raises(ArgumentError, match=r"the free term of G\^\(6\) overflows"):
        predict_six_point(None, np.full((2, 2), 1e200))
    with pytest.raises(ArgumentError, match="the quartic term"):
        predict_six_point(Estimate(1e300, 0), np.full((1, 1), 1e10), terms=packed([1.0], 4, 1))
    with pytest.raises(ArgumentError, match="the tree term"):
        sextic_coupling(packed(1.0, 6), packed(1.0, 6), quartic=Estimate(1e200, 0), tree=packed(1.0, 6))
    with pytest.raises(ArgumentError, match=r"G\^\(6\) overflows"):
        predict_six_point(
            Estimate(1e307 / 24 / 15, 0), np.ones((1, 1)), terms=packed([10.0], 4, 1), sextic=Estimate(1e308 / 720, 0),
            sextic_integral=packed([1.0], 6, 1),
        )  # fmt: skip


@pytest.mark.parametrize("bad", [Estimate(math.nan, 0), Estimate(math.inf, 0), Estimate(1.0, math.inf)])
def test_couplings_that_are_not_known_are_refused(bad):
    one, six = packed([1.0], 4, 1), packed([1.0], 6, 1)
    with pytest.raises(ArgumentError, match="quartic must be finite, with a finite error"):
        predict_six_point(bad, np.ones((1, 1)), terms=one)
    with pytest.raises(ArgumentError, match="quartic must be finite"):
        sextic_coupling(six, six, quartic=bad, tree=six)
    with pytest.raises(ArgumentError, match="sextic must be finite"):
        predict_six_point(Estimate(1.0, 0), np.ones((1, 1)), terms=one, sextic=bad, sextic_integral=six)
    with pytest.raises(ArgumentError, match="G (is not finite|has infinite errors)"):
        quartic_coupling(bad, 1.0)


# ---- degenerate inputs, types


def relu_tuples(stderr=0.01):
    """A list of tuples of a relu-net at positive inputs, and its integral."""
    G = exact_correlators(relu_net(20, dim_in=1), X).connected(4)
    rows = [[0, 0, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]
    at = G.rank(np.array(rows))
    return SymmetricTensor(G.mean[at], stderr * abs(G.mean[at]), order=4, size=2, index=rows)


def test_lists_of_tuples_show_degenerate_inputs_by_their_terms():
    I4 = vertex_integral(relu_net(20, dim_in=1), X, cutoff=1.0)
    with pytest.warns(NNQFTWarning, match="one random variable"):
        assert fit_couplings(relu_tuples(), {"a": I4}).inputs == 1
    listed = SymmetricTensor(I4.mean[[0, 2, 4]], 0, order=4, size=2, index=relu_tuples().index)
    with pytest.warns(NNQFTWarning, match="how many inputs differ cannot be seen"):
        assert fit_couplings(relu_tuples(), {"a": listed}).inputs is None
    one = SymmetricTensor([2.0], [0.1], order=4, size=2, index=[[0, 0, 1, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit_couplings(one, {"a": I4})  # nothing to compare: no claim


def test_six_point_functions_say_that_inputs_are_degenerate():
    relu, erf = (exact_correlators(net, X, orders=(2, 4)) for net in (relu_net(20, dim_in=1), NET))
    lam = quartic_coupling(relu, cutoff=1.0)
    for kernel in (relu, relu.full(2).dense()):
        six = predict_six_point(lam, kernel)
        assert six.inputs == 1
        assert "inputs degenerate: one random variable" in repr(six)
    assert predict_six_point(None, relu.full(2).dense()).inputs == 1
    six = predict_six_point(quartic_coupling(erf, cutoff=1.0), erf)
    assert six.inputs == 2
    assert "degenerate" not in repr(six)


def test_predictions_carry_the_quadrature_bounds_of_the_terms_given():
    a = np.arange(1.0, 6.0)
    fit = fit_couplings(packed(2 * a), {"a": packed(a)}, sign="table")
    given = fit.predict({"a": SymmetricTensor(a, 0.01 * a, order=4, size=2)})
    np.testing.assert_allclose(given.stderr, 0.02 * a)
    assert not fit.predict().stderr.any()


@pytest.mark.parametrize("bad", [2.0, 1.0, True, 0, "a", 1j, [0.1], math.nan])
def test_rcond_lies_between_0_and_1(bad):
    with pytest.raises(ArgumentError, match="rcond must be"):
        fit_couplings(packed([1.0, 2, 3, 4, 6]), {"a": packed(1.0)}, rcond=bad)


@pytest.mark.parametrize("bad", [["M1"], {}, 3, np.array(["M1", "M2"])])
def test_names_of_other_types_are_refused(bad):
    with pytest.raises(ArgumentError, match="model must be one of 'M0', 'M1', 'M2', 'M3'"):
        coupling_terms(NET, X, model=bad)
    with pytest.raises(ArgumentError, match="solver must be one of"):
        fit_couplings(packed(1.0), {"a": packed(1.0)}, solver=bad)


def test_powers_and_numbers_of_other_types_are_refused():
    six = predict_six_point(None, np.eye(2))
    for power in (True, 1.0, "a", None, np.ones(2)):
        with pytest.raises(ArgumentError, match="power must be an integer"):
            six.up_to(power)
    with pytest.raises(ArgumentError, match="integral must be a SymmetricTensor"):
        quartic_coupling(Estimate(1.0, 0), True)
    with pytest.raises(ArgumentError, match="the integral = .* overflows"):
        quartic_coupling(Estimate(1.0, 0), 10**400)
