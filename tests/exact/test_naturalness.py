"""Couplings along shifts and against parameters of the weights' law; exact symmetry checks."""

from math import exp, inf, pi, sqrt

import numpy as np
import pytest

from nnqft import eft
from nnqft._exact import neuron_moments
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import ArgumentError, DivergenceError, NNQFTWarning, ShapeError
from nnqft.networks import Network, cos_net, erf_net, free_scalar_net, gauss_net, mlp, relu_net

PAIR = np.array([[0.0], [0.5]])
TUPLE = np.array([[0.0], [0.3], [0.5], [1.1]])
SHIFT = ("translation", [1.0])


# ---- the conjecture: constant couplings for translation invariant kernels


def test_the_gauss_nets_coupling_grows_410_fold_under_a_shift_that_its_kernel_does_not_see():
    """N G4c at (a, a, a + 1/2, a + 1/2): 161.24, 205.67, 1207.7, 66077 for a = 0, .1, .5, 1, known to five digits."""
    moved = eft.coupling_along_shifts(gauss_net(100, dim_in=1), PAIR, shifts=[0.0, 0.1, 0.5, 1.0])
    at = moved.index.tolist().index([0, 0, 1, 1])
    integral = sqrt(pi / 2) * exp(-(0.5 - 1 / 4) / 2)
    np.testing.assert_allclose(-moved.coupling[:, at] * 24 * 100 * integral, [161.24, 205.67, 1207.7, 66077], rtol=5e-5)
    assert f"{moved.variation[at]:.3g}" == "410"
    assert moved.kernel_variation < 1e-15


@pytest.mark.parametrize("make", [
    lambda: cos_net(100, dim_in=1), lambda: cos_net(20, dim_in=2, sigma_w=1.4, sigma_b=0.3),
], ids=["cos", "cos d=2"])  # fmt: skip
def test_the_cos_nets_couplings_do_not_change_under_shifts_of_order_one(make):
    net = make()
    x = np.array([[0.0, 0.0], [0.5, -0.2]])[:, : net.dim_in]
    shifts = np.array([[0.0, 0.0], [1.0, 0.5], [-7.0, 3.0]])[:, : net.dim_in]
    moved = eft.coupling_along_shifts(net, x, shifts=shifts)
    np.testing.assert_allclose(moved.variation, 1, rtol=1e-9)
    assert moved.kernel_variation < 1e-12


def test_the_free_scalars_couplings_do_not_change_under_shifts_within_a_large_box():
    """The tails of K^4 ~ |y|^-8 that a box of half side 40 cuts off are below 1e-9 of the integral at a shift of 7."""
    net = free_scalar_net(100, dim_in=1, mass=1.0, cutoff=3.0)
    boxed, whole = (
        eft.coupling_along_shifts(net, PAIR, shifts=[0.0, 1.0, -7.0], cutoff=cutoff) for cutoff in (40.0, inf)
    )
    np.testing.assert_allclose(boxed.coupling, whole.coupling, rtol=1e-8)
    np.testing.assert_allclose(whole.variation, 1, rtol=1e-9)


def test_even_the_cos_nets_coupling_depends_on_the_distances_within_a_tuple():
    moved = eft.coupling_along_shifts(cos_net(1, dim_in=1), [[0.0], [1.5]], shifts=[0.0])
    # N G4c = (3/2) sum_3 exp(-|..|^2/2) - sum_3 M_2 M_2 at (0,0,0,0) and (0,0,3/2,3/2); I_4 = sqrt(pi/2) exp(-(4.5 - 9/4) / 2)
    far = 1.5 * (exp(-4.5) + 2) - (1 + 2 * exp(-2.25))
    expected = [-1.5 / (24 * sqrt(pi / 2)), -far / (24 * sqrt(pi / 2) * exp(-(4.5 - 2.25) / 2))]
    np.testing.assert_allclose(moved.coupling[0, [0, 2]], expected, rtol=1e-12)
    assert moved.spread[0] > 2


def test_without_an_invariant_kernel_couplings_move_and_say_so():
    moved = eft.coupling_along_shifts(relu_net(20, dim_in=1, sigma_b=0.5), PAIR, shifts=[0.0, 1.0], cutoff=5.0)
    assert moved.kernel_variation > 0.1 and moved.variation.min() > 1.1
    with pytest.raises(DivergenceError):
        eft.coupling_along_shifts(erf_net(5, dim_in=1), PAIR, shifts=[0.0])


def test_signs_are_those_of_the_action_or_of_the_papers_table():
    for sign, factor in (("action", -1), ("table", 1)):
        moved = eft.coupling_along_shifts(cos_net(10, dim_in=1), [[0.0]], shifts=[0.0], sign=sign)
        assert moved.coupling[0, 0] == pytest.approx(factor * 1.5 / (240 * sqrt(pi / 2)))


def test_couplings_along_shifts_carry_the_bounds_of_their_integrals():
    net = erf_net(5, dim_in=1)
    moved = eft.coupling_along_shifts(net, PAIR, shifts=[0.0, 1.0], cutoff=5.0)
    for shift, mean, stderr in zip((0.0, 1.0), moved.coupling, moved.stderr, strict=True):
        pointwise = eft.quartic_coupling(exact_correlators(net, PAIR + shift), cutoff=5.0).pointwise
        np.testing.assert_array_equal(mean, pointwise.mean)
        np.testing.assert_array_equal(stderr, pointwise.stderr)
    assert (moved.stderr > 0).all() and (moved.stderr < 1e-8 * abs(moved.coupling)).all()
    assert not eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[1.0]).stderr.any()  # closed forms


# ---- naturalness


def connected_four(net, x, outs=(0, 0, 0, 0)):
    """G4c of the tuple x at given outputs."""
    T = exact_correlators(net, x, orders=(2, 4)).connected(4)
    return T[tuple((k if len(x) == 4 else 0, out) for k, out in enumerate(outs))].mean


@pytest.mark.parametrize("x", [TUPLE, [[0.7]]], ids=["tuple", "point"])
@pytest.mark.parametrize("law", ["sign", "uniform", "normal", ("student_t", 9.0)])
def test_couplings_against_the_kurtosis_are_those_of_nets_with_such_output_weights(law, x):
    """Breaking: G_1111 - (sum of the three G_1122), which is 0 for O(2) invariant tensors."""
    scan = eft.naturalness(cos_net(10, dim_in=1), x, parameter="kurtosis", values=[law])
    net = cos_net(10, dim_in=1, dim_out=2, weight_law={"output": law})
    factor = -1 / (
        24 * eft.vertex_integral(cos_net(10, dim_in=1), x)[tuple(range(4)) if len(x) == 4 else (0,) * 4].mean
    )
    same = connected_four(net, x)
    mixed = sum(connected_four(net, x, outs) for outs in ((0, 0, 1, 1), (0, 1, 0, 1), (0, 1, 1, 0)))
    assert scan.coupling[0] == pytest.approx(factor * same, rel=1e-9)
    assert scan.breaking[0] == pytest.approx(factor * (same - mixed), rel=1e-9, abs=1e-15)


def test_a_tuned_coupling_vanishes_at_one_point_and_nowhere_else():
    """The zero restores no symmetry: other tuples and SO(d_out) know nothing of it."""
    net = erf_net(10, dim_in=1, sigma_b=0.5)
    tuned = eft.naturalness(net, [[0.7]], parameter="kurtosis", values=[3.0], cutoff=10.0).tuned
    assert 1 < tuned < 3
    here, there = (
        eft.naturalness(net, x, parameter="kurtosis", values=[tuned, 3.0], cutoff=10.0) for x in ([[0.7]], [[2.0]])
    )
    assert abs(here.coupling[0]) < 1e-12 * abs(here.coupling[1]) and abs(there.coupling[0]) > 0.03 * abs(
        there.coupling[1]
    )
    assert abs(here.breaking[0]) > 0.1 * abs(here.coupling[1]) and here.breaking[1] == 0
    assert here.restored_at == 3 and here.symmetry == "SO(d_out)"


def test_a_scan_carries_the_bound_of_its_integral():
    net = erf_net(10, dim_in=1)
    scan = eft.naturalness(net, TUPLE, parameter="kurtosis", values=[1.0, 2.0], cutoff=4.0)
    integral = eft.vertex_integral(net, TUPLE, cutoff=4.0)[0, 1, 2, 3]
    relative = integral.stderr / integral.mean
    assert relative > 0
    np.testing.assert_allclose(scan.stderr, relative * abs(scan.coupling), rtol=1e-12)
    np.testing.assert_allclose(scan.breaking_stderr, relative * abs(scan.breaking), rtol=1e-12)
    assert not eft.naturalness(cos_net(10, dim_in=1), TUPLE, parameter="phase", values=[0.5]).stderr.any()


def test_a_gauss_net_cannot_be_tuned():
    """E v^4 = 0.03 would be needed; no law has less than 1."""
    assert np.isnan(eft.naturalness(gauss_net(10, dim_in=1), [[0.0]], parameter="kurtosis", values=[3.0]).tuned)


def test_with_the_width_the_whole_interaction_goes_as_one_over_n():
    net = erf_net(7, dim_in=1, weight_law={"output": "uniform"})
    scan = eft.naturalness(net, TUPLE, parameter="width", values=[1, 10, 1000], cutoff=4.0)
    np.testing.assert_allclose(scan.coupling, scan.coupling[0] / np.array([1, 10, 1000]), rtol=1e-14)
    assert (scan.breaking == scan.coupling).all() and scan.restored_at == inf
    integral = eft.vertex_integral(net, TUPLE, cutoff=4.0)[0, 1, 2, 3].mean
    assert scan.coupling[1] == pytest.approx(-connected_four(net.with_width(10), TUPLE) / (24 * integral), rel=1e-9)


def test_partial_phases_break_translations_except_at_half_and_full_periods():
    net = cos_net(10, dim_in=1)
    near, far = (
        eft.naturalness(net, TUPLE + s, parameter="phase", values=[0.0, 0.25, 0.5, 0.75, 1.0]) for s in (0.0, 0.6)
    )
    size = abs(near.coupling[4])
    assert near.breaking[4] == 0 and abs(near.breaking[2]) < 1e-14 * size
    assert (abs(near.breaking[[0, 1, 3]]) > 0.05 * size).all()
    np.testing.assert_allclose(near.coupling[[2, 4]], far.coupling[[2, 4]], rtol=1e-12)
    assert (abs(near.coupling - far.coupling)[[0, 1, 3]] > 0.005 * size).all()


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8, 1.0])
def test_partial_phases_are_those_of_a_cos_network_with_uniform_biases(t):
    """b uniform in [-pi t, pi t] has sigma_b = pi t / sqrt 3; the output bias has another law there, and a cumulant that is
    subtracted: -(2/15) (sqrt(3) sigma_b)^4. 100000 nets, |z| < 4, error bars below 5 %."""
    sigma_b = pi * t / sqrt(3)
    net = Network(1, 4, activation="cos", sigma_b=sigma_b, weight_law={"bias": "uniform", "output_bias": "normal"})
    scan = eft.naturalness(cos_net(4, dim_in=1), TUPLE, parameter="phase", values=[t])
    got = correlators(net, TUPLE, orders=(2, 4), n_nets=100_000, estimator="neuron", seed=1).connected(4)[0, 1, 2, 3]
    integral = eft.vertex_integral(cos_net(4, dim_in=1), TUPLE)[0, 1, 2, 3].mean
    # h = cos z without the factor sqrt 2 of a cos-net.
    expected = -24 * integral * scan.coupling[0] / 4
    assert abs(got.mean - expected) < 4 * got.stderr < 0.2 * abs(expected)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: eft.coupling_along_shifts("net", PAIR, shifts=[0.0]), ArgumentError, "net must be a Network, got str"),
    (lambda: eft.coupling_along_shifts(mlp(1, (5, 5)), PAIR, shifts=[0.0]), ArgumentError, "one hidden layer and one output, this net has 2"),
    (lambda: eft.coupling_along_shifts(erf_net(5, dim_in=1, dim_out=2), PAIR, shifts=[0.0]), ArgumentError, "one output"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=2), np.zeros((1, 2)), shifts=[0.0]), ShapeError, r"expected \(n_shifts, 2\)"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[np.nan]), ArgumentError, "shifts must be finite"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[]), ShapeError, "shifts has shape"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=["a"]), ShapeError, "shifts must be an array of real"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[[0.0], [1.0, 2.0]]), ShapeError, "different lengths"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[0.0, 1e300]), ArgumentError, r"shift \[1e\+300\]"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), [[0.1], [0.7]], shifts=[1e8]), ArgumentError, "rounding moves the points"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[0.0], cutoff="a"), ArgumentError, "cutoff"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), [[0.0], [0.0]], shifts=[0.0]), ArgumentError, "coincide"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="width", values=[1, 1.5]), ArgumentError, "widths are integers"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter=["width"], values=[1]), ArgumentError, "parameter must be"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="width", values=[1], sign=["action"]), ArgumentError, "sign must be"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="width", values=5), ShapeError, "values of width must have 1 axes"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="phase", values=None), ShapeError, "values of phase"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="width", values=["a"]), ShapeError, "values of width"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="kurtosis", values=[None]), ShapeError, "values of kurtosis"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[0.0], sign="+"), ArgumentError, "sign must be one of 'action', 'table'"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), PAIR, shifts=[0.0], cutoff=-1.0), ArgumentError, "cutoff"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1), 100 * PAIR, shifts=[0.0]), ArgumentError, r"I_4 is 0 at \(0, 0, 0, 1\)"),
    (lambda: eft.coupling_along_shifts(cos_net(5, dim_in=1, sigma_w=0.0), PAIR, shifts=[0.0]), ArgumentError, "sigma_w is 0"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), PAIR, parameter="width", values=[1]), ShapeError, "2 points; expected the 4"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="color", values=[1]), ArgumentError, "'width', 'kurtosis', 'phase'"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="width", values=[0.5]), ArgumentError, r"lie in \[1, inf\]"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="kurtosis", values=[("student_t", 4.0)]), ArgumentError, "finite"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1, sigma_w=10.0), [[0.0]], parameter="kurtosis", values=[1.7e308]), ArgumentError, "overflows"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="kurtosis", values=["cauchy"]), ArgumentError, "unknown weight law"),
    (lambda: eft.naturalness(cos_net(5, dim_in=1), [[0.0]], parameter="phase", values=[]), ArgumentError, "values of phase"),
    (lambda: eft.naturalness(gauss_net(5, dim_in=1), [[0.0]], parameter="phase", values=[1.0]), ArgumentError, "cos-net"),
    (lambda: eft.naturalness(erf_net(5, dim_in=1, weight_law={"bias": "sign", "output_bias": "sign"}), [[0.0]], parameter="width", values=[1]),
     ArgumentError, "output bias of law 'sign'"),
])  # fmt: skip
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---- symmetry checks that need no statistics


def test_an_orbit_holds_every_point_once():
    assert eft.orbit([[0.0], [1.0], [2.5]], SHIFT).tolist() == [[0.0], [1.0], [2.5], [2.0], [3.5]]
    quarter = ("rotation", [[0.0, -1.0], [1.0, 0.0]])
    assert len(eft.orbit([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]], quarter)) == 4


def test_exact_correlators_show_violations_of_any_size_and_no_others():
    x = eft.orbit(TUPLE[:3], SHIFT)
    for order in (2, 4, 6):
        assert eft.check_invariance(
            exact_correlators(cos_net(9, dim_in=1), x, orders=(2, 4, 6)), SHIFT, order=order
        ).holds()
    gauss = exact_correlators(gauss_net(9, dim_in=1), x, orders=(2, 4))
    assert (
        eft.check_invariance(gauss, SHIFT, order=2).holds() and not eft.check_invariance(gauss, SHIFT, order=4).holds()
    )
    for shift in (1e-3, 1e-6):
        move = ("translation", [shift])
        found = eft.check_invariance(exact_correlators(erf_net(9, dim_in=1), eft.orbit([[0.5]], move)), move)
        assert not found.holds() and found.defect == pytest.approx(shift, rel=2)


@pytest.mark.parametrize("dim_out", [2, 3])
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_exact_correlators_are_output_rotation_invariant_for_normal_output_weights_only(law, dim_out):
    """Residual of b sum_a delta_aaaa: its average over rotations is b (delta delta + 2 more) / (d + 2); b = (E v^4 - 3) M_4 / N."""
    net = erf_net(5, dim_in=1, dim_out=dim_out, weight_law={"output": law})
    exact = exact_correlators(net, [[0.4], [1.0], [-0.3]], orders=(2, 4))
    assert eft.check_invariance(exact, "SO(d_out)", order=2).holds()
    found = eft.check_invariance(exact, "SO(d_out)", order=4)
    assert found.holds() == (law == "normal")
    if law == "uniform":  # at one point
        breaking = found.difference[exact.connected(4).rank((0,) * 4)]
        expected = (9 / 5 - 3) / 5 * neuron_moments(net, [[0.4]], 4)[0] * (1 - 3 / (dim_out + 2))
        assert breaking == pytest.approx(expected, rel=1e-9)
        assert found.worst(1)[0][2].stderr == 0


def test_the_residual_of_output_rotations_projects_out_every_delta_structure():
    """Any sum of delta delta has none, whatever the points; and applied twice it is itself."""
    rng, m, d = np.random.default_rng(0), 2, 3
    net = erf_net(5, dim_in=1, dim_out=d)
    exact = exact_correlators(net, [[0.4], [1.0]], orders=(2, 4))
    from nnqft._eft._invariance import _outputs_contrast

    T = exact.connected(4)
    differ = _outputs_contrast(exact, T)
    points, outs = T.index // d, T.index % d
    A = rng.normal(size=(m, m, m, m))  # pair (12)(34) at points, symmetrised over legs below
    A = A + A.transpose(1, 0, 2, 3)
    A = A + A.transpose(0, 1, 3, 2)
    A = A + A.transpose(2, 3, 0, 1)
    legs = lambda p, q: (
        A[tuple(points[:, k] for k in (*p, *q))] * (outs[:, p[0]] == outs[:, p[1]]) * (outs[:, q[0]] == outs[:, q[1]])
    )
    invariant = legs((0, 1), (2, 3)) + legs((0, 2), (1, 3)) + legs((0, 3), (1, 2))
    assert abs(differ(invariant)).max() < 1e-12
    noise = rng.normal(size=len(T))
    np.testing.assert_allclose(differ(differ(noise)), differ(noise), rtol=0, atol=1e-12)
    assert abs(differ(noise)).max() > 0.1


def test_listed_multi_indices_are_compared_where_both_are_listed():
    x = eft.orbit([[0.0], [0.3]], SHIFT)
    rows = np.array([[0, 0, 1, 1], [2, 2, 3, 3], [0, 0, 0, 1]])
    run = correlators(cos_net(5, dim_in=1), x, n_nets=20_000, indices={4: rows}, seed=1)
    found = eft.check_invariance(run, SHIFT)
    assert found.index.tolist() == [[0, 0, 1, 1]] and found.image.tolist() == [[2, 2, 3, 3]] and found.holds(0.01)


def test_a_symmetry_of_every_single_network_is_not_taken_for_a_test():
    """erf without biases is odd: f(-x) = -f(x), and even correlators do not see it."""
    parity = ("rotation", [[-1.0]])
    run = correlators(
        erf_net(5, dim_in=1, sigma_b=0.0), eft.orbit([[0.5], [1.0]], parity), orders=(2, 4), n_nets=20_000, seed=1
    )
    with pytest.warns(NNQFTWarning, match="nothing was tested"):
        found = eft.check_invariance(run, parity)
    assert found.dof == 0 and found.holds() and found.z.max() == 0


RUN = correlators(erf_net(5, dim_in=1), PAIR, orders=(2, 4), n_nets=8192, seed=0)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: eft.check_invariance("run", SHIFT), ArgumentError, "got str"),
    (lambda: eft.check_invariance([], SHIFT), ArgumentError, "got nothing"),
    (lambda: eft.check_invariance(RUN, "SO(7)"), ArgumentError, "symmetry must be"),
    (lambda: eft.check_invariance(RUN, ("boost", [1.0])), ArgumentError, "symmetry must be"),
    (lambda: eft.check_invariance(RUN, "SO(d_out)"), ArgumentError, "two outputs or more"),
    (lambda: eft.check_invariance(RUN, SHIFT), ArgumentError, "measure at orbit"),
    (lambda: eft.check_invariance(RUN, ("translation", [1.0, 2.0])), ShapeError, r"shape \(1,\), got shape \(2,\)"),
    (lambda: eft.check_invariance(RUN, ("translation", [np.nan])), ArgumentError, "finite"),
    (lambda: eft.check_invariance(RUN, ("rotation", [[2.0]])), ArgumentError, "orthogonal"),
    (lambda: eft.check_invariance(RUN, ("translation", [0.5]), order=6), ArgumentError, "order 6 is not at hand"),
    (lambda: eft.check_invariance([RUN, RUN], ("translation", [0.5])), ArgumentError, "count some networks twice"),
    (lambda: eft.check_invariance([RUN, correlators(erf_net(6, dim_in=1), PAIR, n_nets=8192)], ("translation", [0.5])), ArgumentError, "differ"),
    (lambda: eft.check_invariance(RUN, ("translation", [0.5])).holds(0), ArgumentError, "level"),
    (lambda: eft.check_invariance(correlators(erf_net(5, dim_in=1), PAIR, n_nets=200), ("translation", [0.5])), ArgumentError, "13 replicas"),
    (lambda: eft.check_invariance(correlators(erf_net(5, dim_in=1, dim_out=2), PAIR, n_nets=8192), "SO(d_out)"), ArgumentError, "direct"),
    (lambda: eft.check_invariance(exact_correlators(erf_net(5, dim_in=1, dim_out=4), TUPLE, orders=(2, 4, 6)), "SO(d_out)", order=6),
     ArgumentError, "SO.4. mixes 1600 entries of order 6"),
    (lambda: eft.orbit([0.0], SHIFT), ShapeError, "n_points, dim_in"),
    (lambda: eft.orbit([[np.inf]], SHIFT), ArgumentError, "finite"),
])  # fmt: skip
def test_bad_symmetry_checks_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
