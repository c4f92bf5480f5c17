"""The 1/width expansion of deep nets against sampled ones (gram estimator), widths 16 to 1000. Fixed seeds."""

import numpy as np
import pytest
from nnqft.ensemble import correlators
from nnqft.meanfield import finite_width
from nnqft.networks import mlp

X = np.array([[1.0, 0.3], [-0.6, 0.8], [0.5, -1.2]])


def measured(net, n_nets, seed):
    return correlators(net, X, orders=(2, 4), n_nets=n_nets, estimator="gram", seed=seed)


@pytest.mark.parametrize(("activation", "widths", "n_nets", "laws"), [
    ("erf", (1000, 600, 800), 32_768, {}),
    ("tanh", (800, 1000), 32_768, {}),
    ("relu", (1000, 1000, 800), 32_768, {"sigma_b": 0.2}),
    ("gelu", (1000, 700), 32_768, {}),
    ("gauss", (1000, 1000), 32_768, {"sigma_w": 0.6, "sigma_b": 0.2}),
    ("erf", (128, 100), 16_384, {"weight_law": {"hidden": "sign"}}),
    ("tanh", (128, 100), 16_384, {"weight_law": {"hidden": "uniform"}, "dim_out": 2}),
])  # fmt: skip
def test_wide_nets_have_the_correlators_of_first_order(activation, widths, n_nets, laws):
    """What is left out is below the statistical error, 1 % of the vertex. |z| < 5: one of these 14 comparisons, of up to
    126 correlated entries each, fails for about one seed in 5000."""
    net = mlp(2, widths, activation=activation, **({"sigma_w": 1.3, "sigma_b": 0.3} | laws))
    expansion, run = finite_width(net, X), measured(net, n_nets, 7)
    for n, bar in ((2, 0.002), (4, 0.06)):
        mine, theirs = expansion.connected(n), run.connected(n)
        assert (abs(mine.mean - theirs.mean) <= 5 * theirs.stderr).all()  # different outputs: 0 = 0
        assert theirs.stderr.max() < bar * mine.mean.max()


@pytest.mark.filterwarnings("ignore:corrections are")  # at width 16, for relu and gelu
@pytest.mark.parametrize(("activation", "sigma_w", "sigma_b", "depth"), [
    ("relu", 2**0.5, 0.0, 3), ("gelu", 1.5, 0.2, 2), ("tanh", 1.5, 0.2, 3),
])  # fmt: skip
def test_the_error_of_the_expansion_falls_as_the_square_of_the_width(activation, sigma_w, sigma_b, depth):
    """Four-point function, summed over entries, measured minus first order: a / n + b / n^2 + c / n^3 for n = 16 ... 256.
    a = 0 (|z| < 4) with an error below 1 % of n G4; relu and gelu resolve b, so the next order is what is seen."""
    widths, value, stderr = (16, 24, 32, 64, 128, 256), [], []
    for seed, n in enumerate(widths):
        net = mlp(2, (n,) * depth, activation=activation, sigma_w=sigma_w, sigma_b=sigma_b)
        mean, error = measured(net, 65_536, seed).function(lambda views: views["connected"][4].sum(axis=1))
        first = finite_width(net, X).connected(4).mean.sum()
        value.append(float(mean) - first)
        stderr.append(float(error))
    powers = np.array(widths)[:, None] ** np.array([-1.0, -2.0, -3.0]) / np.array(stderr)[:, None]
    (a, _, _), chi2 = np.linalg.lstsq(powers, np.divide(value, stderr), rcond=None)[:2]
    assert chi2.item() < 16.3  # 3 degrees of freedom: 1 in 1000
    assert abs(a) < 4 * np.linalg.inv(powers.T @ powers)[0, 0] ** 0.5 < 0.04 * widths[-1] * first
    powers = powers[:, 1:]
    b, error = np.linalg.lstsq(powers, np.divide(value, stderr), rcond=None)[0][0], np.linalg.inv(powers.T @ powers)[0, 0] ** 0.5
    assert abs(b) < 5 * widths[-1] * first  # a coefficient of the size of the first one
    assert activation == "tanh" or b > 5 * error


def test_the_correction_to_the_kernel_is_seen():
    """G / n is 1 % of K and many standard errors; it comes out to 5 % of itself."""
    net = mlp(2, (48, 48), activation="tanh", sigma_w=1.5, sigma_b=0.2)
    expansion, two = finite_width(net, X), measured(net, 1_000_000, 3).connected(2)
    first = expansion.connected(2).mean
    shift = first - expansion.K[-1][np.triu_indices(3)]
    assert (abs(two.mean - first) < 4.5 * two.stderr + 0.05 * abs(shift)).all()
    assert (abs(shift) / two.stderr).max() > 10
