"""Densities that grow: more steps, more probes, other machines' probes; and their distribution without bins."""

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError, StateError
from nnqft.hessian import Hessian
from nnqft.lanczos import LanczosState, SpectralDensity, slq
from nnqft.networks import mlp

RNG = np.random.default_rng(1)
G = RNG.normal(size=(70, 70))
X = RNG.normal(size=(40, 5))
NET = mlp(5, (6, 4), activation="tanh").draw(0, seed=2)
OPERATORS = {
    "dense": G + G.T,
    "sparse": sp.csr_array(sp.diags_array([np.ones(69), np.linspace(0, 1, 70), np.ones(69)], offsets=[-1, 0, 1])),
    "single": (G + G.T).astype(np.float32),
    "Hessian": Hessian(NET, X, np.sign(X[:, 0]), loss="logistic"),
    "vector by vector": sp.linalg.LinearOperator((70, 70), matvec=lambda x: np.linspace(-1, 2, 70) * x.ravel(), dtype=np.float64),
}


@pytest.mark.parametrize("reorth", ["full", "none", "partial"])
@pytest.mark.parametrize("name", OPERATORS)
def test_more_steps_and_more_probes_give_the_bits_of_one_run(name, reorth):
    op, state = OPERATORS[name], LanczosState()
    # 3, 11, 11, 14 probes: blocks of eight are cut at other places than in one run of 14.
    for k, probes in ((4, 3), (4, 11), (9, 11), (9, 14)):
        S = slq(op, k, probes=probes, seed=3, reorth=reorth, state=state)
    whole = slq(op, 9, probes=14, seed=3, reorth=reorth)
    np.testing.assert_array_equal(S.nodes, whole.nodes)
    np.testing.assert_array_equal(S.weights, whole.weights)
    assert S.how == whole.how and S.probes == 14


def test_a_state_keeps_how_it_was_made():
    state = LanczosState()
    slq(OPERATORS["dense"], 5, probes=2, seed=4, reorth="none", distribution="gaussian", state=state)
    S = slq(OPERATORS["dense"], 7, probes=3, seed=4, distribution="gaussian", state=state)
    assert (S.how["reorth"], S.how["k"], state.reorth) == ("none", 7, "none")
    with pytest.raises(StateError, match="made with seed=4"):
        slq(OPERATORS["dense"], 7, probes=3, seed=5, distribution="gaussian", state=state)
    with pytest.raises(ArgumentError, match="at least as many"):
        slq(OPERATORS["dense"], 7, probes=1, seed=4, distribution="gaussian", state=state)
    with pytest.raises(ArgumentError, match="state"):
        slq(OPERATORS["dense"], 7, state=S)


def test_an_interrupted_density_goes_on_from_where_it_was():
    calls, state = [], LanczosState()

    def product(x):
        calls.append(1)
        if len(calls) == 12:
            raise KeyboardInterrupt
        return np.linspace(-1, 2, 70) * x.ravel()

    op = sp.linalg.LinearOperator((70, 70), matvec=product, dtype=np.float64)
    with pytest.raises(KeyboardInterrupt):
        slq(op, 6, probes=4, state=state, check_symmetric=False)
    assert 0 < state.steps.min() < 6
    S = slq(op, 6, probes=4, state=state, check_symmetric=False)
    np.testing.assert_array_equal(S.nodes, slq(OPERATORS["vector by vector"], 6, probes=4).nodes)
    assert len(calls) < 12 + 4 * 6  # the finished steps were not made again


def test_sums_of_densities_are_means_over_all_probes():
    A = OPERATORS["dense"]
    S, T = slq(A, 6, probes=3, seed=1), slq(A, 9, probes=5, seed=2)
    both = S + T
    assert both.probes == 8 and both.how["seeds"] == [1, 2] and both.how["k"] == 9
    for j in (1, 2, 5):
        values = [W.moment(j).mean for W in (S, T)]
        assert both.moment(j).mean == pytest.approx((3 * values[0] + 5 * values[1]) / 8, rel=1e-12)
    rows = np.concatenate([(W.weights * np.nan_to_num(W.nodes)).sum(axis=1) for W in (S, T)])
    assert both.moment(1).stderr == pytest.approx(rows.std(ddof=1) / np.sqrt(8))
    np.testing.assert_array_equal(both.complete, False)
    more = both + slq(A, 4, probes=2, seed=7)
    assert more.probes == 10 and more.how["seeds"] == [1, 2, 7]
    for other in (S, both):
        with pytest.raises(ArgumentError, match="seed 1 is in both"):
            more + other
    with pytest.raises(ArgumentError, match="n=70 and n=3"):
        S + slq(np.eye(3), 2)
    with pytest.raises(ArgumentError, match="exact"):
        S + SpectralDensity.from_eigenvalues(np.arange(70))
    with pytest.raises(TypeError):
        S + 1


def test_the_cumulative_measure_counts_every_node_at_its_place():
    S = SpectralDensity([[-1.0, 1.0, np.nan], [0.0, 1.0, 3.0]], [[0.5, 0.5, 0.0], [0.25, 0.5, 0.25]], 100)
    steps = S.cesm()
    assert steps.x.tolist() == [-1, 0, 1, 3]
    assert steps.share.tolist() == [0.25, 0.375, 0.875, 1.0]
    np.testing.assert_allclose(steps.above, 1 - steps.share, atol=1e-15)
    # probe by probe 0.5 and 0; 0.5 and 0.25; 1 and 0.75; 1 and 1
    np.testing.assert_allclose(steps.stderr, [0.25, 0.125, 0.125, 0.0])
    low, high = S.cdf_bounds(steps.x)
    np.testing.assert_array_equal(steps.low, low)
    np.testing.assert_array_equal(steps.high, high)
    between = (steps.x[1:] + steps.x[:-1]) / 2
    np.testing.assert_allclose(S.cdf(between, sigma=0), steps.share[:-1])
    assert "4 steps from -1 to 3" in repr(steps)


def test_the_upper_tail_keeps_digits_that_one_minus_the_share_would_lose():
    S = SpectralDensity([[0.0, 1.0]], [[1 - 1e-18, 1e-18]], 10)
    assert S.cesm().above[0] == 1e-18 and 1 - S.cesm().share[0] == 0


def test_the_cumulative_measure_covers_the_exact_one_within_its_errors():
    values = np.linalg.eigvalsh(OPERATORS["dense"])
    steps, law = slq(OPERATORS["dense"], 70, probes=60, seed=5).cesm(), SpectralDensity.from_eigenvalues(values)
    # As many steps as rows: the nodes are the eigenvalues, up to rounding, and only the weights are random.
    between = (values[1:] + values[:-1]) / 2
    at = np.searchsorted(steps.x, between) - 1
    pulls = (steps.share[at] - law.cdf(between)) / steps.stderr[at]
    assert abs(pulls).max() < 5  # 59 degrees of freedom, 69 correlated points: once in 3000 seeds
    assert 0.4 < np.sqrt(np.mean(pulls**2)) < 2  # some ten independent ones
    assert steps.stderr.max() < 0.012  # sqrt(2 F (1 - F) / (n probes)) is 0.0109 in the middle


@pytest.mark.parametrize("threshold", [None, 1e-3])
def test_the_signed_logarithm_density_counts_decades(threshold):
    # One eigenvalue per hundredth of a decade on either side of 0: a flat density of 1/8 on every decade.
    values = 10.0 ** np.linspace(-3, 1, 400, endpoint=False)
    S = SpectralDensity.from_eigenvalues(np.concatenate([-values, values]))
    x = np.array([-1.0, -0.1, 0.1, 1.0])
    np.testing.assert_allclose(S.density(x, scale="symlog", threshold=threshold or 1e-3, sigma=0.05), 1 / 8, rtol=0.01)
