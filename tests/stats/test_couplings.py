"""Errors of couplings: fits on independent ensembles scatter as their errors say. Fixed seeds; bounds state failure probabilities.

Errors come from a jackknife over 64 replicas, so a pull has Student's law with 63 degrees of freedom: its square has the mean
63/61, and a chi^2 of n pulls is compared with n * 63/61.
"""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chi2, f

from nnqft.eft import fit_couplings, predict_six_point, quartic_coupling, sextic_coupling
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import NNQFTWarning
from nnqft.networks import erf_net, relu_net
from nnqft.tensor import SymmetricTensor

REPEATS = 150
X = np.array([[0.3], [0.8], [1.3]])
ERF, RELU = erf_net(5, dim_in=1), relu_net(20, dim_in=1)
STUDENT = 63 / 61


def multisets(m, n):
    return np.array(list(itertools.combinations_with_replacement(range(m), n)))


def packed(values, order):
    return SymmetricTensor(values, 0, order=order, size=3)


# Any smooth positive functions of the points serve as integrals: the errors do not ask whether the action is right.
SUM = X.ravel()[multisets(3, 4)].sum(1)
I4 = packed(np.exp(-0.3 * SUM), 4)
TERMS = {"local0": packed(24 * np.exp(-0.3 * SUM), 4), "local2": packed(24 * SUM**2 * np.exp(-0.3 * SUM), 4)}
I6, TREE = (packed(c * np.exp(-a * X.ravel()[multisets(3, 6)].sum(1)), 6) for c, a in ((1, 0.2), (0.05, 0.4)))


@pytest.fixture(scope="module")
def erf_runs():
    return [
        correlators(ERF, X, orders=(2, 4), n_nets=4096, seed=seed, estimator="gram", block=64, threads=1)
        for seed in range(REPEATS)
    ]


@pytest.fixture(scope="module")
def relu_runs():
    return [
        correlators(RELU, X, orders=(2, 4, 6), n_nets=4096, seed=seed, estimator="gram", block=64, threads=1)
        for seed in range(REPEATS)
    ]


def bounds(dof, total=1e-4):
    """chi^2 that right errors leave with this probability, either side."""
    return STUDENT * chi2.ppf(total / 2, dof), STUDENT * chi2.isf(total / 2, dof)


def assert_scatters(pulls):
    low, high = bounds(len(pulls))
    assert low < np.sum(np.square(pulls)) < high
    assert abs(np.mean(pulls)) < 4 / math.sqrt(len(pulls))  # 6e-5


def test_the_mean_coupling_scatters_as_its_error_says(erf_runs):
    """One chi^2 of 150 pulls, failing in 1e-4 of correct libraries; its error bar is below 2 %."""
    exact = quartic_coupling(exact_correlators(ERF, X), I4).mean.mean
    found = [quartic_coupling(run, I4) for run in erf_runs]
    assert_scatters([(c.mean.mean - exact) / c.stderr for c in found])
    assert max(c.stderr for c in found) < 0.05 * abs(exact)


def test_every_pointwise_coupling_scatters_as_its_error_says(erf_runs):
    """15 correlated chi^2 of 150 pulls each: one of them fails in at most 15e-4 of correct libraries."""
    exact = quartic_coupling(exact_correlators(ERF, X), I4).pointwise.mean
    found = [quartic_coupling(run, I4).pointwise for run in erf_runs]
    pulls = np.array([(c.mean - exact) / c.stderr for c in found])
    low, high = bounds(REPEATS)
    assert np.all((low < (pulls**2).sum(0)) & ((pulls**2).sum(0) < high))


def test_ignoring_correlations_between_tuples_would_give_too_small_an_error(erf_runs):
    """The same numbers as a SymmetricTensor, whose entries count as independent: chi^2 per repeat is several times 1."""
    exact = quartic_coupling(exact_correlators(ERF, X), I4).mean.mean
    found = [quartic_coupling(run.connected(4), I4) for run in erf_runs]
    assert np.mean([((c.mean.mean - exact) / c.stderr) ** 2 for c in found]) > 3


def test_the_spread_of_a_constant_coupling_is_its_noise(relu_runs, erf_runs):
    """relu at positive inputs: all tuples fluctuate together, so there is neither. erf: spread^2 - noise^2 is that of exact correlators."""
    for run in relu_runs[:5]:
        closed = packed(X.ravel()[multisets(3, 4)].prod(1) / 80, 4)
        coupling = quartic_coupling(run, closed)
        assert coupling.spread < 1e-6  # float32 forward passes
        assert coupling.noise < 1e-6
        assert coupling.inputs == 1
    exact = quartic_coupling(exact_correlators(ERF, X), I4).spread
    excess = [c.spread**2 - c.noise**2 for c in (quartic_coupling(run, I4) for run in erf_runs)]
    # 6 standard errors of the mean of 150: 2e-9.
    assert abs(np.mean(excess) - exact**2) < 6 * np.std(excess) / math.sqrt(REPEATS) < 0.05 * exact**2


@pytest.mark.parametrize("solver", ["lstsq", "min_norm"])
def test_fitted_couplings_scatter_as_their_covariance_says(erf_runs, solver):
    """Hotelling's T^2 of two coefficients has mean 2 * 63/60 and F tails; chi^2 and mean bounds fail in about 1e-4."""
    exact = fit_couplings(exact_correlators(ERF, X), TERMS, solver=solver)
    fits = [fit_couplings(run, TERMS, solver=solver) for run in erf_runs]
    assert all(fit.identified.all() and fit.rank == 2 for fit in fits)
    pulls = np.array([(fit.values - exact.values) / fit.stderr for fit in fits])
    for column in pulls.T:
        assert_scatters(column)
    t2 = np.array([d @ np.linalg.solve(fit.covariance, d) for fit in fits for d in [fit.values - exact.values]])
    probability = f.sf(t2 * 62 / (63 * 2), 2, 62)  # uniform if the covariance is right
    below = np.count_nonzero(probability < 0.1)
    # Binomial(150, 0.1): beyond 15 +- 15 with a probability of 1e-4.
    assert 2 <= below <= 30
    assert probability.min() > 1e-7
    assert np.all(abs(exact.values) > 5 * np.median([fit.stderr for fit in fits], axis=0))


def test_kappa_scatters_as_its_error_says_with_lambda_from_the_same_networks(relu_runs):
    """kappa uses lambda^2 from the same networks: without their correlation the error would be wrong."""
    exact_run = exact_correlators(RELU, X, orders=(2, 4, 6))
    closed = packed(X.ravel()[multisets(3, 4)].prod(1) / 80, 4)
    results = []
    for run in (exact_run, *relu_runs):
        results.append(sextic_coupling(run, I6, quartic=quartic_coupling(run, closed), tree=TREE))
    for name in ("mean", "without_tree"):
        exact, *found = (getattr(r, name) if name == "mean" else r.without_tree.mean for r in results)
        # lambda^2 is known to 3 % and its bias, the square of that, is far below the error.
        assert_scatters([(c.mean - exact.mean) / c.stderr for c in found])
    # A lambda from other networks, with the same error, would make kappa known less well: G_c^(6) and lambda^2 rise together.
    other = sextic_coupling(relu_runs[0], I6, quartic=quartic_coupling(relu_runs[0], closed).mean, tree=TREE)
    assert other.stderr > 1.1 * results[1].stderr


def test_predictions_scatter_as_their_errors_say(erf_runs):
    """G^(6) at the middle point from two fitted couplings, against that from exact correlators."""
    K = exact_correlators(ERF, X)
    exact = predict_six_point(fit_couplings(K, TERMS), K).total
    found = [predict_six_point(fit_couplings(run, TERMS), K).total for run in erf_runs]
    assert_scatters(
        [(p[1, 1, 1, 1, 1, 1].mean - exact[1, 1, 1, 1, 1, 1].mean) / p[1, 1, 1, 1, 1, 1].stderr for p in found]
    )
    single = predict_six_point(quartic_coupling(K, I4), K).total
    found = [predict_six_point(quartic_coupling(run, I4), K).total for run in erf_runs]
    assert_scatters(
        [(p[0, 0, 1, 1, 2, 2].mean - single[0, 0, 1, 1, 2, 2].mean) / p[0, 0, 1, 1, 2, 2].stderr for p in found]
    )


def test_collinear_coefficients_scatter_as_the_covariance_says_though_nothing_identifies_them(erf_runs):
    """Condition 1e5: least squares still returns numbers; their covariance is right, and they are not called couplings."""
    terms = {"a": TERMS["local0"], "b": packed(TERMS["local0"].mean * (1 + 1e-5 * SUM**2), 4)}
    with pytest.warns(NNQFTWarning, match="not identified"):
        exact = fit_couplings(exact_correlators(ERF, X), terms)
    pulls = []
    for run in erf_runs:
        with pytest.warns(NNQFTWarning, match="not identified"):
            fit = fit_couplings(run, terms)
        assert not fit.identified.any()
        assert np.isinf(fit.stderr).all()
        pulls.append((fit.values[1] - exact.values[1]) / math.sqrt(fit.covariance[1, 1]))
    assert_scatters(pulls)


def test_too_few_networks_give_no_error_bar():
    run = correlators(ERF, X, orders=(2, 4), n_nets=64, seed=1)
    with pytest.warns(NNQFTWarning, match="no error bar"):
        coupling = quartic_coupling(run, I4)
    assert math.isnan(coupling.stderr)
    assert np.isnan(coupling.pointwise.stderr).all()
    assert np.isnan(fit_couplings(run, TERMS).stderr).all()


def test_listed_tuples_and_merged_runs_carry_the_same_errors(erf_runs):
    """A run over some tuples only, in two halves: the same networks, so the same couplings at these tuples."""
    rows = np.array([[0, 0, 1, 1], [0, 1, 2, 2], [1, 1, 1, 1]])
    halves = [
        correlators(ERF, X, indices={4: rows}, n_nets=2048, start=s, seed=3, estimator="gram", block=16)
        for s in (0, 2048)
    ]
    some, every = quartic_coupling(halves[0] + halves[1], I4).pointwise, quartic_coupling(erf_runs[3], I4).pointwise
    at = every.rank(some.index)
    # Blocks of 16 and 64 networks: other replicas, so errors agree to 2 * 9 %, and the bias correction to a part of that.
    np.testing.assert_allclose(some.mean, every.mean[at], atol=0.05 * every.stderr.max())
    np.testing.assert_allclose(some.stderr, every.stderr[at], rtol=0.5)
