"""Arguments of beta functions and flows."""

import numpy as np
import pytest

from nnqft import errors
from nnqft.eft import beta_function, rg_flow
from nnqft.ensemble import correlators, exact_correlators
from nnqft.networks import erf_net, gauss_net, mlp, relu_net

X = np.array([[0.5], [1.0]])
ERF = erf_net(5, dim_in=1)
RUN = correlators(ERF, X, n_nets=1 << 12, seed=1)
EXACT = exact_correlators(ERF, X, orders=(2, 4, 6))


@pytest.mark.parametrize("arguments, message", [
    ({"cutoffs": 0.0}, "positive"),
    ({"cutoffs": [1.0, np.inf]}, "finite"),
    ({"cutoffs": np.nan}, "positive"),
    ({"cutoffs": []}, "shape"),
    ({"cutoffs": [[1.0]]}, "shape"),
    ({"cutoffs": "1"}, "dtype"),
    ({"cutoffs": None}, "dtype"),
    ({"order": 9}, "order"),
    ({"order": 4.0}, "order must be an integer"),
    ({"power": -1.0}, "power"),
    ({"loops": -1}, "loops"),
    ({"tolerance": 0}, "tolerance"),
    ({"method": "guess"}, "method"),
    ({"method": "closed"}, "no route 'closed'"),
    ({"method": "homogeneous"}, "no route 'homogeneous'"),
    ({"x": [[1.0, 2.0]]}, "expected"),
    ({"x": [[np.nan]]}, "finite"),
    ({"net": mlp(1, (5, 5), activation="erf")}, "one hidden layer"),
    ({"net": erf_net(5, dim_in=1, sigma_w=0.0)}, "sigma_w is 0"),
    ({"net": erf_net(5, dim_in=4), "x": np.ones((1, 4))}, "1, 2 and 3 dimensions"),
])  # fmt: skip
def test_beta_functions_refuse_by_name(arguments, message):
    options = {"net": ERF, "x": X, "cutoffs": 1.0} | arguments
    with pytest.raises(ValueError, match=message):
        beta_function(options.pop("net"), options.pop("x"), **options)


def test_tuples_that_no_vertex_connects_have_no_exponent_and_a_warning():
    with pytest.warns(errors.NNQFTWarning, match=r"is 0 within its error, the first is \[0, 0, 0, 1\]"):
        beta = beta_function(relu_net(5, dim_in=1), [[-1.0], [1.0]], cutoffs=1.0)
    assert np.isnan(beta.exponent[0]).tolist() == [False, True, True, True, False]
    with pytest.warns(errors.NNQFTWarning, match="is 0"):
        beta = beta_function(relu_net(5, dim_in=2), np.array([[0.0, 0.0], [1.0, 0.0]]), cutoffs=1.0)
    assert np.isnan(beta.exponent[0]).tolist() == [True, True, True, True, False]
    for net in (mlp(2, (5,), activation="identity"), erf_net(5, dim_in=2, sigma_b=0.0)):  # odd in every coordinate of y
        with pytest.warns(errors.NNQFTWarning, match="is 0 within"):
            beta = beta_function(net, np.eye(2), cutoffs=1.0, tolerance=1e-6)
        assert np.isnan(beta.exponent[0]).tolist() == [False, True, False, True, False]


def test_beta_functions_work_on_awkward_arrays():
    points = np.linspace(-1, 1, 8)[::-4].reshape(-1, 1)
    points.setflags(write=False)
    expected = beta_function(ERF, points.copy(), cutoffs=[2.0, 4.0])
    got = beta_function(ERF, points.astype(np.float32).astype(np.float64), cutoffs=np.array([4.0, 2.0])[::-1])
    np.testing.assert_allclose(got.exponent, expected.exponent, rtol=1e-5)
    np.testing.assert_array_equal(expected(2.0), 2 * expected.exponent)
    assert expected.tensor(1).mean.tolist() == expected.exponent[1].tolist()
    assert "boundary, 2 cutoffs" in repr(expected)
    with pytest.raises(errors.ArgumentError, match="at least two scales"):
        beta_function(ERF, points, cutoffs=2.0).regression()


def test_extreme_cutoffs_give_numbers_or_precise_errors():
    assert beta_function(gauss_net(5, dim_in=2), np.zeros((1, 2)), cutoffs=1e300).exponent[0, 0] == 0
    assert beta_function(ERF, X, cutoffs=1e-150).exponent == pytest.approx(-1)
    assert beta_function(ERF, X, cutoffs=1e150).exponent == pytest.approx(-1)


@pytest.mark.parametrize("G, cutoff, options, message", [
    (RUN, 5.0, {}, "one point of a passive flow"),
    (RUN, np.inf, {}, "one point of a passive flow"),
    (RUN, [5.0, 4.0], {}, "increase strictly"),
    (RUN, [0.0, 4.0], {}, "positive"),
    (RUN, [1.0], {"order": 5}, "order must be 4"),
    (RUN, [1.0], {"order": 6}, "order 6 is not at hand"),
    (RUN, [1.0], {"sign": "minus"}, "sign must be"),
    (RUN.connected(4), [1.0], {}, "G must be Correlators"),
    ("ab", [1.0], {}, "G must be Correlators"),
    ([], 1.0, {}, "at least two nets"),
    ([RUN, RUN], 1.0, {}, "nothing that is a scale"),
    ([RUN, exact_correlators(relu_net(5, dim_in=1), X)], 1.0, {}, "their law"),
    ([EXACT, exact_correlators(erf_net(9, dim_in=1, sigma_w=2.0), X)], 1.0, {}, "sigma_w, width"),
    ([EXACT, exact_correlators(erf_net(9, dim_in=1), X + 1)], 1.0, {}, "different points"),
    ([EXACT, EXACT.at_width(9), EXACT.at_width(9)], 1.0, {}, "the same width"),
    ([EXACT, EXACT.at_width(9)], [1.0], {}, "one for an active flow"),
    ([EXACT, EXACT.at_width(9)], None, {}, "one for an active flow"),
    ([EXACT, EXACT.at_width(9)], 1.0, {"width": [1, 2]}, "brings its own nets"),
    (EXACT, 1.0, {"sigma_w": [1.0, 2.0], "width": [1, 2]}, "sigma_w or width"),
    (EXACT, 1.0, {"sigma_w": [1.0]}, "n >= 2"),
    (EXACT, 1.0, {"sigma_w": [1.0, 0.0]}, "positive"),
    (EXACT, 1.0, {"width": [1.5, 2.0]}, "integers"),
    (RUN, 1.0, {"sigma_w": [1.0, 2.0]}, "one run for every net"),
    (RUN, 1.0, {"width": [1, 2]}, "neuron"),
])  # fmt: skip
def test_flows_refuse_by_name(G, cutoff, options, message):
    with pytest.raises(ValueError, match=message):
        rg_flow(G, cutoff, **options)


def test_kernels_that_do_not_fall_off_need_a_cutoff():
    with pytest.raises(errors.DivergenceError, match="cutoff"):
        rg_flow(EXACT, sigma_w=[1.0, 2.0])


def test_flows_say_what_they_are():
    flow = rg_flow(EXACT, [1.0, 10.0], order=6)
    assert flow.passive and "kappa(cutoff), passive" in repr(flow)
    assert flow.to_dict()["scale"] == [1.0, 10.0]
    with pytest.raises(errors.ArgumentError, match=r"use slope\(\)"):
        flow.beta()
    active = rg_flow(EXACT, 1.0, width=[20, 10])
    assert not active.passive and active.scale.tolist() == [10.0, 20.0] and "active, cutoff=1" in repr(active)
    with pytest.raises(errors.ArgumentError, match=r"use slope\(\)"):
        active.beta()


def test_a_coupling_that_changes_its_sign_has_no_slope():
    G = exact_correlators(ERF, [[-1.0], [1.0]])
    line = rg_flow(G, [1.0, 100.0]).slope()
    assert np.isnan(line.slope.mean).tolist() == [False, True, False, True, False]
    assert "2 of 5 tuples change sign" in repr(line) and np.isfinite(line.mean.mean)


def test_flows_of_one_random_variable_say_so():
    """relu at positive inputs on a line without bias: f(x) = x f(1), all tuples are one number."""
    same = rg_flow(exact_correlators(relu_net(20, dim_in=1), X), [1.0, 10.0, 100.0])
    assert same.inputs == same.slope().inputs == 1
    assert "one random variable" in repr(same) and "one random variable" in repr(same.slope())
    other = rg_flow(EXACT, [1.0, 10.0, 100.0])
    assert other.inputs == other.slope().inputs == 2
    assert "random variable" not in repr(other) + repr(other.slope())
