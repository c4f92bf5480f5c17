"""The fused kernels against one net at a time in numpy, for every shape of network."""

import numpy as np
import pytest

from nnqft import _core
from nnqft.ensemble import outputs
from nnqft.networks import Network, cos_net, erf_net, gauss_net, mlp, relu_net

X1 = np.array([[-1.0], [-0.6], [0.2], [1.0]])
RNG = np.random.default_rng(5)

NETWORKS = {
    "width 1": (erf_net(1, dim_in=1), X1),
    "width 2": (relu_net(2, dim_in=1), X1),
    "width 5, one point": (erf_net(5, dim_in=1), X1[:1]),
    "repeated points": (erf_net(7, dim_in=1), np.array([[0.5], [0.5], [0.5]])),
    "zero inputs": (erf_net(7, dim_in=3), np.zeros((2, 3))),
    "three inputs": (relu_net(9, dim_in=3, sigma_b=0.7), RNG.normal(size=(5, 3))),
    "eight inputs, fused": (erf_net(6, dim_in=8), RNG.normal(size=(5, 8))),
    "nine inputs, dense": (erf_net(6, dim_in=9), RNG.normal(size=(5, 9))),
    "chunk boundary": (relu_net(11, dim_in=33, sigma_b=1.0), RNG.normal(size=(7, 33))),
    "several outputs": (erf_net(6, dim_in=2, dim_out=5), RNG.normal(size=(3, 2))),
    "gauss": (gauss_net(6, dim_in=2, sigma_w=0.8, sigma_b=0.3), RNG.normal(size=(3, 2))),
    "cos": (cos_net(6, dim_in=2), RNG.normal(size=(3, 2))),
    "ball d=1": (cos_net(6, dim_in=1, momentum=("ball", 3.0)), X1),
    "ball d=2": (cos_net(6, dim_in=2, momentum=("ball", 3.0), amplitude=lambda k: 1 / np.sqrt(1 + k**2)), RNG.normal(size=(3, 2))),
    "ball d=3": (cos_net(6, dim_in=3, momentum=("ball", 3.0), amplitude=lambda k: np.exp(-k)), RNG.normal(size=(3, 3))),
    "two layers": (mlp(1, (6, 5), activation="erf", sigma_b=1.0), X1),
    "three layers, wide": (mlp(20, (17, 40, 9), activation="tanh", dim_out=2, sigma_b=0.5), RNG.normal(size=(7, 20))),
    "deep gauss": (mlp(2, (5, 6, 4), activation="gauss", sigma_w=0.7, sigma_b=0.4), RNG.normal(size=(3, 2))),
    "deep cubic": (mlp(2, (9, 8), activation="polynomial", activation_params=(0.1, 1.0, 0.0, -0.2)), RNG.normal(size=(4, 2))),
    "uniform weights": (erf_net(6, dim_in=2, weight_law="uniform"), RNG.normal(size=(3, 2))),
    "sign weights": (mlp(3, (6, 5), activation="relu", weight_law="sign"), RNG.normal(size=(3, 3))),
    "student weights": (erf_net(6, dim_in=2, weight_law={"output": ("student_t", 5.0)}), RNG.normal(size=(3, 2))),
    "no biases": (mlp(2, (6,), activation="sigmoid", sigma_b=0.0), RNG.normal(size=(3, 2))),
    "no weights": (erf_net(3, dim_in=1, sigma_w=0.0), X1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_equal_a_numpy_forward_pass_of_the_drawn_net(name):
    net, x = NETWORKS[name]
    got = outputs(net, x, start=30, stop=36, seed=11)
    want = np.array([net.draw(i, seed=11)(x) for i in range(30, 36)])
    # float32 against float64: a few roundings per term of each sum, on values of the size of the largest.
    scale = max(1.0, np.abs(want).max())
    np.testing.assert_allclose(got, want, rtol=0, atol=40 * 2.0**-24 * scale * np.sqrt(max(net.dim_in, *net.widths)))
    exact = outputs(net, x, start=30, stop=36, seed=11, dtype="float64")
    tolerance = 3e-8 if net.amplitude is not None else 1e-13  # amplitudes are interpolated in a table
    np.testing.assert_allclose(exact, want, rtol=0, atol=tolerance * scale * np.sqrt(max(net.dim_in, *net.widths)))


BOTH_SAMPLERS = [(name, sampler) for name, (net, _) in NETWORKS.items() for sampler in ("weights", "layer")
                 if sampler == "weights" or net.layer_law_refusal is None]  # fmt: skip


@pytest.mark.parametrize(("name", "sampler"), BOTH_SAMPLERS)
def test_every_instruction_set_gives_the_same_bits(name, sampler):
    net, x = NETWORKS[name]
    results = {isa: net.bind(x, seed=3, sampler=sampler, isa=isa).outputs(5, 40, 1).tobytes() for isa in _core.isas()}
    assert len(set(results.values())) == 1, {k: v[:8].hex() for k, v in results.items()}


@pytest.mark.parametrize("estimator", ["direct", "gram", "neuron"])
@pytest.mark.parametrize("n_points", [1, 3, 5])
def test_block_sums_are_sums_of_products_on_every_instruction_set(estimator, n_points):
    net, x = erf_net(37, dim_in=2, dim_out=2 if estimator == "direct" else 1), RNG.normal(size=(n_points, 2))
    fields = {"direct": 2 * n_points, "gram": n_points * (n_points + 1) // 2, "neuron": n_points}[estimator]
    orders = [1, 2, 3] if estimator == "gram" else [2, 4, 6]
    program = _core.dense_program(fields, orders)
    n_nets = 300  # a full block of 256 and a partial one
    totals = {}
    for isa in _core.isas():
        sums = _core.Accumulator(program.n_sums, 256)
        net.bind(x, seed=2, estimator=estimator, isa=isa).run(program, 0, n_nets, 2, sums)
        totals[isa] = sums.total()
    assert len({t.tobytes() for t in totals.values()}) == 1

    drawn = [net.draw(i, seed=2) for i in range(n_nets)]
    if estimator == "direct":
        y = np.array([d(x).reshape(-1) for d in drawn])
    else:
        h = np.array([d.features(x) for d in drawn])  # (nets, points, neurons)
        if estimator == "neuron":
            y = h.transpose(0, 2, 1).reshape(-1, n_points)
        else:
            i, j = np.triu_indices(n_points)
            y = (1.0 + np.einsum("npj,nqj->npq", h, h) / 37)[:, i, j]
    want = []
    for order in orders:
        for index in _core.multiset_index(fields, order):
            want.append(np.prod(y[:, index], axis=1).sum())
    # float32 fields and products: relative error a few 2^-24 per factor on terms of either sign.
    scale = np.concatenate([[(np.abs(y) ** order).max() * len(y)] * len(_core.multiset_index(fields, order)) for order in orders])
    assert (abs(totals["scalar"] - want) < 60 * 2.0**-24 * scale).all()


def test_wider_nets_share_the_neurons_of_narrower_ones():
    narrow, wide = (mlp(3, (w, w), activation="erf", sigma_b=1.0).draw(9, seed=4) for w in (5, 12))
    np.testing.assert_array_equal(narrow.weights[0], wide.weights[0][:5])
    np.testing.assert_array_equal(narrow.biases[1], wide.biases[1][:5])
    # The second layer's weights scale with 1 / sqrt(fan_in): equal up to that factor and its rounding.
    np.testing.assert_allclose(narrow.weights[1] * np.sqrt(5), wide.weights[1][:5, :5] * np.sqrt(12), rtol=4 * 2.0**-24)


def test_user_arrays_are_taken_as_they_are():
    w, b, v = RNG.normal(size=(4, 3, 2)), RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2, 3))
    net = Network(2, (3,), 2, "tanh", sigma_b=0.0, weight_law={"input": w, "bias": b, "output": v})
    x = RNG.normal(size=(3, 2))
    want = np.array([np.tanh(x @ w[n].T + b[n]) @ v[n].T for n in range(4)])
    np.testing.assert_allclose(outputs(net, x, stop=4, dtype="float64"), want, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(net.draw(2).weights[1], v[2].astype(np.float32))


def test_outputs_do_not_depend_on_threads_or_on_the_range_asked_for():
    net, x = mlp(3, (20, 10), activation="erf", sigma_b=1.0), RNG.normal(size=(4, 3))
    whole = outputs(net, x, stop=1000, seed=8, threads=1)
    for threads in (2, 7):
        assert outputs(net, x, stop=1000, seed=8, threads=threads).tobytes() == whole.tobytes()
    for start, stop in ((0, 1), (3, 40), (255, 258), (999, 1000), (5, 5)):
        assert outputs(net, x, start=start, stop=stop, seed=8).tobytes() == whole[start:stop].tobytes()
