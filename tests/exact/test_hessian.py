"""Hessians of ReLU nets against stored spectra and exact facts."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnqft.hessian import Hessian
from nnqft.lanczos import eigsh
from nnqft.networks import Dense, Net

VALUES = json.loads((Path(__file__).parents[1] / "data" / "lanczos.json").read_text())["relu_hinge"]
EPS = np.finfo(np.float64).eps

def user_loss(f, y):
    """sum_k (f_k - y_k)^4 / 4 + log cosh(sum_k f_k): second derivatives are full matrices."""
    d, t = f - y, np.tanh(f.sum(1))[:, None]
    values = (d**4).sum(1) / 4 + np.logaddexp(f.sum(1), -f.sum(1))
    return values, d**3 + t, 3 * d[..., None] ** 2 * np.eye(f.shape[1]) + (1 - t**2)[..., None]


LOSSES = ["hinge", "squared_hinge", "logistic", "mse", "linear", "cross_entropy", user_loss]


def portable_normals(seed, n):
    """Knuth's MMIX generator, 53 bits, Box-Muller: the stream behind the stored nets (weights, inputs, signs of the targets)."""
    state, uniforms = (seed * 2862933555777941757 + 3037000493) % 2**64, np.empty(n + n % 2)
    for i in range(len(uniforms)):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        uniforms[i] = ((state >> 11) + 0.5) / 2**53
    radius, angle = np.sqrt(-2 * np.log(uniforms[::2])), 2 * np.pi * uniforms[1::2]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()[:n]


def stored_net(stored):
    widths, n = stored["widths"], stored["N"]
    shapes = [(b, a) for a, b in zip(widths, widths[1:])]
    sizes = [a * b for a, b in shapes]
    normals = portable_normals(stored["seed"], sum(sizes) + n * (widths[0] + 1))
    *weights, X, y = np.split(normals, np.cumsum([*sizes, n * widths[0]]))
    weights = [w.reshape(shape) * np.sqrt(2 / shape[1]) for w, shape in zip(weights, shapes)]
    return Net.from_weights(weights, activation="relu"), X.reshape(n, -1), np.sign(y)


def random_net(widths, n, seed, **options):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(b, a)) * np.sqrt(2 / a) for a, b in zip(widths, widths[1:])]
    return Net.from_weights(weights, activation="relu", **options), rng.normal(size=(n, widths[0])), np.sign(rng.normal(size=(n, widths[-1])))


def problem(loss, widths, n, seed, **options):
    """Like random_net, with the targets that the loss takes: classes of two or more for cross-entropy."""
    if loss != "cross_entropy":
        return random_net(widths, n, seed, **options)
    net, X, _ = random_net((*widths[:-1], max(2, widths[-1])), n, seed, **options)
    return net, X, np.random.default_rng(seed).integers(net.dim_out, size=n)


@pytest.mark.parametrize("name", VALUES)
def test_hinge_hessian_has_the_stored_risk_gradient_and_spectrum(name):
    stored = VALUES[name]
    net, X, y = stored_net(stored)
    assert np.allclose(net.weights[0].ravel()[:4], stored["first_w"], rtol=4 * EPS)
    H = Hessian(net, X, y, loss="hinge")
    A = H.dense()
    assert H.shape == (stored["P"],) * 2 and H.n_active == np.count_nonzero(y * net(X)[:, 0] < 1)
    assert abs(H.risk - stored["risk"]) < 8 * EPS
    assert abs(H.gradient @ H.gradient - stored["grad_norm2"]) < 8 * EPS
    assert np.abs(np.linalg.eigvalsh(A) - np.sort(stored["eigs"])).max() < 100 * EPS  # rounding of two eigensolvers, |H| < 1
    assert abs((A**2).sum() - stored["fro2"]) < 100 * EPS
    assert abs(np.trace(A @ A @ A) - stored["tr_H3"]) < 100 * EPS


def closed_form(net, X, y):
    """|u_j|, u_j = mean_i y_i 1[y_i T_i < 1] 1[w_j x_i > 0] x_i: eigenvalues +-|u_j|, one pair per hidden unit, the rest zero."""
    active = y[:, 0] * net(X)[:, 0] < 1
    u = ((y * active[:, None]) * (X @ net.weights[0].T > 0)).T @ X / len(X)
    return np.linalg.norm(u, axis=1)


def test_spectrum_of_one_hidden_layer_has_its_closed_form():
    net, X, y = random_net((30, 20, 1), 300, seed=1)
    norms = closed_form(net, X, y)
    eigenvalues = np.linalg.eigvalsh(Hessian(net, X, y, loss="hinge").dense())
    expected = np.sort(np.concatenate([norms, -norms, np.zeros(len(eigenvalues) - 2 * len(norms))]))
    assert np.abs(eigenvalues - expected).max() < 100 * EPS * norms.max()


@pytest.mark.parametrize("widths,n", [((6, 5, 4, 1), 32), ((40, 64, 48, 3), 700), ((7, 3), 9)])
@pytest.mark.parametrize("loss", LOSSES)
def test_blocks_of_the_residual_part_within_a_layer_vanish_exactly(loss, widths, n):
    net, X, y = problem(loss, widths, n, seed=2)
    F = Hessian(net, X, y, loss=loss, part="residual")
    for layer in range(len(widths) - 1):
        block = F.blocks(layer, layer)
        v = np.random.default_rng(layer).normal(size=(block.shape[1], 3))
        assert not (block @ v).any()
    if loss == "hinge":
        v = np.random.default_rng(9).normal(size=F.shape[0])
        assert np.array_equal(F @ v, Hessian(net, X, y, loss=loss) @ v)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("skips", [None, (0.0, 0.7)])
def test_trace_is_that_of_gauss_newton_for_every_loss(loss, skips):
    net, X, y = problem(loss, (5, 6, 6, 2), 40, seed=3, skips=skips, biases=[np.linspace(-1, 1, 6), None, np.ones(2)])
    full, ggn = (Hessian(net, X, y, loss=loss, part=part).dense() for part in ("full", "ggn"))
    assert abs(np.trace(full) - np.trace(ggn)) < 100 * EPS * np.abs(full).max()
    assert np.linalg.eigvalsh(ggn).min() >= -100 * EPS * np.abs(ggn).max()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("widths,n", [((6, 5, 4, 1), 32), ((100, 120, 90, 80, 4), 1000)])
def test_euler_identity_holds_without_biases(loss, widths, n):
    # The outputs are homogeneous of degree L in theta, the residual and Gauss-Newton parts apart:
    # F theta = (L - 1) grad R and GGN theta = L J^T L'' f.
    net, X, y = problem(loss, widths, n, seed=4)
    depth = len(widths) - 1
    F = Hessian(net, X, y, loss=loss, part="residual")
    scale = np.abs(F.gradient).max()
    assert np.abs(F @ F.theta - (depth - 1) * F.gradient).max() < 1e3 * EPS * scale  # sums over 1000 samples
    v = np.zeros_like(F.theta)
    start, stop = F.ranges[1]
    v[start:stop] = F.theta[start:stop]  # only one layer's weights: the gradient, but zero in that layer
    expected = F.gradient.copy()
    expected[start:stop] = 0
    assert np.abs(F @ v - expected).max() < 1e3 * EPS * scale


def test_exact_facts_hold_at_full_size():
    net, X, y = random_net((784, 256, 256, 1), 1000, seed=8)
    F = Hessian(net, X, y, loss="squared_hinge", part="residual")
    scale = np.abs(F.gradient).max()
    assert np.abs(F @ F.theta - 2 * F.gradient).max() < 100 * EPS * scale
    for layer in range(3):
        block = F.blocks(layer, layer)
        assert not block.matvec(np.random.default_rng(layer).normal(size=block.shape[1])).any()
    net, X, y = random_net((784, 256, 1), 1000, seed=8)
    norms = np.sort(closed_form(net, X, y))
    values, _ = eigsh(Hessian(net, X, y, loss="hinge"), 6, which="BE", tol=1e-12)
    assert np.abs(values - np.concatenate([-norms[-1:-4:-1], norms[-3:]])).max() < 100 * EPS * norms[-1]


@pytest.mark.parametrize("loss", LOSSES)
def test_parts_add_up_to_the_full_hessian_with_its_weight_decay(loss):
    net, X, y = problem(loss, (4, 5, 3, 2), 50, seed=5)
    parts = {part: Hessian(net, X, y, loss=loss, part=part, weight_decay=0.3).dense() for part in ("full", "residual", "ggn")}
    assert np.abs(parts["full"] - parts["residual"] - parts["ggn"]).max() < 20 * EPS * np.abs(parts["full"]).max()
    assert np.allclose(np.diag(parts["full"]) - np.diag(parts["ggn"]), 0, atol=20 * EPS * np.abs(parts["full"]).max())


def test_float32_products_share_the_gates_of_float64():
    net, X, y = random_net((300, 256, 256, 1), 1000, seed=6)
    X = X.astype(np.float32)
    v = np.random.default_rng(7).normal(size=300 * 256 + 256 * 256 + 256)
    exact = Hessian(net, X, y, loss="hinge", dtype="float64") @ v
    single = Hessian(net, X, y, loss="hinge") @ v.astype(np.float32)
    assert single.dtype == np.float32
    # rounding of sums of up to 1000 terms, in units of the largest entry; one flipped gate of 5e5 would give 1e-3
    assert np.abs(single - exact).max() < 1e-6 * np.abs(exact).max()


@pytest.mark.parametrize("mean", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("part", ["full", "ggn"])
def test_inputs_far_from_their_mean_cost_float32_no_digits(mean, part):
    """W h + b is small beside its terms: products that add it up anew (csrc/nets/fold.hpp) would lose the mean's digits of 7."""
    rng = np.random.default_rng(0)
    W, w = rng.standard_normal((20, 8)) / 8**0.5, rng.standard_normal((1, 20))
    net = Net.from_layers([Dense(W, -mean * W.sum(1), "relu"), Dense(w)])
    X = rng.standard_normal((200, 8))
    narrow, wide = (Hessian(net, X + mean, np.sign(X[:, 0]), loss="logistic", part=part, layers=-1, dtype=t).dense() for t in (np.float32, np.float64))
    assert abs(narrow - wide).max() < 2e-6 * abs(wide).max()
