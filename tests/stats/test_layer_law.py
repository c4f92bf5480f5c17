"""The layer law where its covariances are singular: points that are close, repeated, on a line, or at the origin.

Both samplers measure one ensemble, at fixed seeds. |z| < 4.5 for the largest of up to 465 entries, which are strongly correlated: one
comparison fails for about one seed in a thousand. Errors are capped: for the two-point function, a few per mille of its largest entry.
"""

import numpy as np
import pytest

from nnqft.ensemble import correlators, outputs
from nnqft.networks import mlp

RNG = np.random.default_rng(0)
LINE = np.linspace(-1.0, 1.0, 30)[:, None]
PLANE = RNG.normal(size=(30, 2)) @ RNG.normal(size=(2, 5))
CLOSE = [0.5, 0.5001, 1.0, -0.3]


@pytest.mark.parametrize(("net", "x"), [
    (mlp(1, (30, 30), activation="erf", sigma_b=1.0), CLOSE),
    (mlp(1, (30, 30), activation="erf", sigma_b=1.0), [0.5, 0.503, 1.0, -0.3]),  # pivots of the size of their rounding
    (mlp(2, (30, 30), activation="erf", sigma_b=0.5), np.linspace(-1.0, 1.0, 12)[:, None] * [1.0, 0.5]),
    (mlp(5, (40, 40), activation="erf", sigma_b=0.5), PLANE),
    (mlp(5, (40, 40), activation="relu", sigma_b=0.3), LINE * PLANE[:1]),
    (mlp(5, (20, 20, 20), activation="tanh", sigma_b=0.0), LINE * PLANE[:1]),
    (mlp(2, (30, 30), activation="relu", sigma_b=0.0), [[0.0, 0.0], [0.5, 0.1], [0.0, 0.0], [0.5, 0.1], [-0.3, 0.7]]),
    (mlp(2, (30, 30), activation="gauss", sigma_w=0.7, sigma_b=0.3), LINE[::2] * [1.0, 0.5]),
], ids=["1e-4 apart", "3e-3 apart", "12 on a line", "30 in a plane", "30 on a line", "30 on two rays", "zero and repeated", "gauss"])  # fmt: skip
@pytest.mark.parametrize("estimator", ["gram", "direct"])
def test_the_layer_law_agrees_with_the_weights(net, x, estimator):
    x = np.asarray(x, dtype=float).reshape(len(x), -1)
    a, b = (correlators(net, x, orders=(2,), n_nets=60_000, estimator=estimator, sampler=s, seed=k).full(2) for k, s in enumerate(("weights", "layer"), 1))
    scale = np.abs(a.mean).max()
    assert (abs(a.mean - b.mean) < 4.5 * np.hypot(a.stderr, b.stderr) + 1e-6 * scale).all()  # float32
    assert np.median(b.stderr) < {"gram": 0.005, "direct": 0.01}[estimator] * scale


@pytest.mark.parametrize("apart", [1e-4, 1e-3, 3e-3])
def test_close_points_differ_as_they_should(apart):
    # K(x_0, x_j) - K(x_1, x_j) for x_1 = x_0 + apart: net by net nearly without noise. float32 resolves 1e-7 of K.
    net, x = mlp(1, (30, 30), activation="erf", sigma_b=1.0), np.array([[0.5], [0.5 + apart], [1.0], [-0.3]])
    differences = []
    for seed, sampler in enumerate(("weights", "layer")):
        kernel = correlators(net, x, orders=(2,), n_nets=60_000, estimator="gram", sampler=sampler, seed=seed).full(2)
        differences.append([kernel[0, j].mean - kernel[1, j].mean for j in (2, 3)])
    np.testing.assert_allclose(differences[1], differences[0], rtol=0.02, atol=1e-6)


UNEVEN = RNG.normal(size=(6, 3)) * [[0.1], [1.0], [3.0], [0.5], [2.0], [0.2]]  # kernels keep the points in another order


@pytest.mark.parametrize(("net", "estimator"), [
    (mlp(3, (20, 10), activation="erf", dim_out=2, sigma_b=0.5), "direct"),
    (mlp(3, (20, 10), activation="erf", dim_out=2, sigma_b=0.5), "gram"),
    (mlp(3, (20,), activation="erf", sigma_b=0.5), "neuron"),
])  # fmt: skip
def test_the_order_of_points_is_the_callers(net, estimator):
    a, b = (correlators(net, UNEVEN, orders=(2,), n_nets=40_000, estimator=estimator, sampler=s, seed=k).full(2) for k, s in enumerate(("weights", "layer")))
    assert (abs(a.mean - b.mean) <= 4.5 * np.hypot(a.stderr, b.stderr)).all()  # outputs that differ: 0 = 0
    assert np.median(b.stderr) < 0.01 * a.mean.max()


def test_outputs_are_the_fields_that_correlators_averages():
    net = mlp(3, (20, 10), activation="erf", dim_out=2, sigma_b=0.5)
    y = outputs(net, UNEVEN, stop=512, sampler="layer", seed=1).astype(float).reshape(512, -1)  # field = 2 point + out
    full = correlators(net, UNEVEN, orders=(2,), n_nets=512, estimator="direct", sampler="layer", seed=1).full(2)
    want = [(y[:, i] * y[:, j]).mean() for i in range(12) for j in range(i, 12)]
    np.testing.assert_allclose(full.mean, want, rtol=1e-4, atol=1e-5)
