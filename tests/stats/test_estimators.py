"""Monte Carlo against exact values, estimators and samplers against each other.

Every comparison is at a fixed seed, so it either passes always or never. For a correct program with fresh seeds a z-score
beyond the bound of 4 would appear in about 6e-5 of single comparisons; entries of one tensor are strongly correlated, so a
tensor counts as a few comparisons, and this whole file would fail for about one seed in a hundred. Error bars are capped as
well: an estimate with a huge error bar would agree with anything.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from nnqft.ensemble import correlators, exact_correlators, outputs
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, nngp, relu_net

X1 = np.array([-1.0, -0.6, -0.2, 0.2, 0.6, 1.0])[:, None]
CASES = {case["id"]: case for case in json.loads((Path(__file__).parents[1] / "data" / "correlators.json").read_text())["cases"]}
MAKERS = {"gauss": gauss_net, "relu": relu_net, "erf": erf_net}


def pulls(measured, exact):
    """|z| of every entry; where both are exactly known (stderr 0) the values must agree to rounding."""
    difference, stderr = measured.mean - exact.mean, np.hypot(measured.stderr, exact.stderr)
    rounding = 1e-6 * np.abs(exact.mean).max()
    return np.abs(difference) / np.maximum(stderr, rounding)


def relative_error(measured, exact):
    """Typical error bar over the largest entry (entries may vanish by symmetry)."""
    return np.median(measured.stderr) / np.abs(exact.mean).max()


# caps: relative standard errors of connected 2-, 4- and 6-point functions, about twice what these runs give for erf
@pytest.mark.parametrize(("estimator", "n_nets", "caps"), [
    ("direct", 400_000, (0.006, 1.0, 50.0)),
    ("gram", 100_000, (0.001, 0.02, 0.2)),
    ("neuron", 20_000, (0.002, 0.005, 0.02)),
])  # fmt: skip
@pytest.mark.parametrize("make", [lambda: erf_net(5, dim_in=1), lambda: relu_net(5, dim_in=1), lambda: relu_net(5, dim_in=1, sigma_b=0.4)],
                         ids=["erf", "relu", "relu with bias"])
def test_estimators_agree_with_exact_correlators(make, estimator, n_nets, caps):
    net = make()
    x = X1 if net.activation == "erf" or net.sigma_b else abs(X1[3:])
    exact = exact_correlators(net, x, orders=(2, 4, 6))
    measured = correlators(net, x, orders=(2, 4, 6), n_nets=n_nets, estimator=estimator, sampler="weights", seed=101)
    for order, cap in zip((2, 4, 6), caps, strict=True):
        assert pulls(measured.full(order), exact.full(order)).max() < 4
        assert pulls(measured.connected(order), exact.connected(order)).max() < 4
        # relu is unbounded: its moments are noisier
        assert relative_error(measured.connected(order), exact.connected(order)) < cap * (1 if net.activation == "erf" else 5)


@pytest.mark.parametrize("case", [k for k, c in CASES.items() if c["net"] != "gauss"])
def test_connected_four_point_function_to_one_percent_with_a_million_gram_nets(case):
    c = CASES[case]
    x4 = np.array(c["x4"])
    net = MAKERS[c["net"]](20, dim_in=c["d_in"], sigma_w=c["sigma_w"], sigma_b=c["sigma_b"])
    got = correlators(net, x4, orders=(2, 4), n_nets=1_000_000, estimator="gram", seed=5).connected(4)[0, 1, 2, 3]
    want = c["by_width"]["20"]["G4c"]
    assert abs(got.mean - want) < 4 * got.stderr
    assert got.stderr < 0.01 * abs(want)


def test_gram_beats_direct_by_a_factor_of_thousands_in_variance():
    net, x = erf_net(5, dim_in=1), X1
    errors = {e: correlators(net, x, orders=(2, 4), n_nets=200_000, estimator=e, seed=3).connected(4).stderr for e in ("direct", "gram")}
    assert np.median((errors["direct"] / errors["gram"]) ** 2) > 1e3


@pytest.mark.parametrize("net", [
    mlp(2, (12, 9), activation="erf", sigma_b=0.7),
    mlp(3, (8, 7, 6), activation="relu", sigma_b=0.3),
    mlp(2, (10, 10), activation="gauss", sigma_w=0.7, sigma_b=0.3),
    erf_net(9, dim_in=2, dim_out=2),
], ids=["erf", "relu", "gauss", "two outputs"])  # fmt: skip
def test_both_samplers_and_both_estimators_agree_on_deep_nets(net):
    x = np.random.default_rng(1).normal(size=(3, net.dim_in))
    x = np.vstack([x, x[:1]])  # a repeated point: singular covariances for the layer law
    runs = {(e, s): correlators(net, x, orders=(2, 4), n_nets=60_000, estimator=e, sampler=s, seed=seed)
            for seed, (e, s) in enumerate([("direct", "weights"), ("direct", "layer"), ("gram", "weights"), ("gram", "layer")])}  # fmt: skip
    reference = runs["gram", "weights"]
    for run in runs.values():
        for order in (2, 4):
            assert pulls(run.full(order), reference.full(order)).max() < 4
            assert pulls(run.connected(order), reference.connected(order)).max() < 4
    assert relative_error(reference.connected(4), reference.connected(4)) < 0.1
    assert relative_error(runs["direct", "layer"].full(2), reference.full(2)) < 0.02


def test_neuron_estimator_serves_every_width():
    measured = correlators(erf_net(4, dim_in=1), X1, orders=(2, 4, 6, 8), n_nets=100_000, estimator="neuron", seed=8)
    for width in (1, 4, 100, 1000):
        exact = exact_correlators(erf_net(width, dim_in=1), X1, orders=(2, 4, 6, 8))
        for order in (2, 4, 6, 8):
            got = measured.at_width(width).connected(order)
            assert pulls(got, exact.connected(order)).max() < 4
            assert relative_error(got, exact.connected(order)) < {2: 1e-3, 4: 3e-3, 6: 1e-2, 8: 3e-2}[order]
            assert pulls(measured.at_width(width).full(order), exact.full(order)).max() < 4


@pytest.mark.parametrize("law", ["uniform", "sign", ("student_t", 9.5)])
def test_other_output_laws_have_their_own_connected_functions(law):
    net = erf_net(3, dim_in=1, weight_law={"output": law})
    x = X1[[0, 3, 5]]
    exact = exact_correlators(net, x, orders=(2, 4))
    for estimator, n_nets in (("direct", 1_000_000), ("neuron", 100_000)):
        got = correlators(net, x, orders=(2, 4), n_nets=n_nets, estimator=estimator, seed=12)
        assert pulls(got.full(4), exact.full(4)).max() < 4
        assert pulls(got.connected(4), exact.connected(4)).max() < 4
        assert got.full(2).stderr.max() < 0.01 * exact.full(2).mean.max()


@pytest.mark.parametrize("law", ["uniform", "sign", ("student_t", 30.0)])
def test_input_and_bias_laws_have_the_stated_variance(law):
    net = mlp(2, (2,), activation="identity", sigma_w=1.3, sigma_b=0.7, weight_law={"input": law, "bias": law, "output": law})
    x = np.array([[1.0, -2.0], [0.5, 0.5]])
    measured = correlators(net, x, orders=(2,), n_nets=400_000, estimator="direct", seed=2).full(2)
    inner = 0.7**2 + 1.3**2 / 2 * x @ x.T
    exact = (0.7**2 + 1.3**2 * inner)[np.triu_indices(2)]
    assert (abs(measured.mean - exact) < 4 * measured.stderr).all()
    assert (measured.stderr < 0.01 * exact.max()).all()


@pytest.mark.parametrize("dim_in", [1, 2, 3])
def test_cos_net_with_a_massive_spectrum_has_the_propagator_as_kernel(dim_in):
    net = cos_net(8, dim_in=dim_in, sigma_b=0.3, momentum=("ball", 5.0), amplitude=lambda k: 1 / np.sqrt(1 + k**2))
    x = np.zeros((4, dim_in))
    x[:, 0] = [0.0, 0.3, 1.0, -2.0]
    exact = exact_correlators(net, x, orders=(2, 4))
    np.testing.assert_allclose(exact.full(2).mean, nngp(net, x)[np.triu_indices(4)], rtol=1e-10)
    measured = correlators(net, x, orders=(2, 4), n_nets=200_000, estimator="gram", seed=4)
    for order in (2, 4):
        assert pulls(measured.connected(order), exact.connected(order)).max() < 4
    assert (measured.connected(4).stderr < 0.05 * abs(exact.connected(4).mean).max()).all()


def test_deviation_with_the_exact_two_point_function_is_the_same_number_with_less_noise():
    net = erf_net(20, dim_in=1)
    exact = exact_correlators(net, X1, orders=(2, 4, 6))
    run = correlators(net, X1, orders=(2, 4, 6), n_nets=200_000, estimator="gram", seed=6)
    for order in (4, 6):
        plain, sharp = run.deviation(order), run.deviation(order, two_point="exact")
        assert pulls(plain, exact.deviation(order)).max() < 4
        assert pulls(sharp, exact.deviation(order)).max() < 4
        assert np.median(plain.stderr / sharp.stderr) > 3
    assert (run.deviation(2, two_point="exact").mean == 0).all()


def test_float32_and_float64_runs_see_the_same_networks():
    net, x = erf_net(50, dim_in=1), X1
    single, double = (outputs(net, x, stop=2000, seed=1, dtype=d) for d in ("float32", "float64"))
    # 50 terms of order 1 / sqrt(50): rounding of a few 2^-24 each.
    assert abs(single - double).max() < 50 * 2.0**-24
    assert abs(np.mean(single.astype(float) ** 2 - double**2)) < 1e-7


def test_jackknife_error_bars_cover_the_scatter_of_independent_runs():
    net, x = erf_net(10, dim_in=1), X1[[0, 5]]
    runs = [correlators(net, x, orders=(2, 4), n_nets=8192, estimator="gram", seed=s).connected(4) for s in range(100)]
    values, errors = np.array([r.mean for r in runs]), np.array([r.stderr for r in runs])
    ratio = values.std(axis=0, ddof=1) / np.sqrt((errors**2).mean(axis=0))
    # std of 100 values: 7 %; mean square of 100 error bars of 63 degrees: about 2 %; 4.5 of these together
    assert (abs(ratio - 1) < 0.33).all()
    exact = exact_correlators(net, x, orders=(2, 4)).connected(4).mean
    assert (abs(values.mean(axis=0) - exact) < 4 * values.std(axis=0, ddof=1) / 10).all()
