"""Ensembles on a device against the CPU: the same bits in float32, rounding apart in float64."""

import hashlib

import numpy as np
import pytest
from nnqft import _backend, _core
from nnqft._device import DeviceEnsemble
from nnqft._plan import estimator_refusal
from nnqft.ensemble import correlators, outputs
from nnqft.errors import ArgumentError, NNQFTWarning
from nnqft.networks import Network, cos_net, erf_net, gauss_net, mlp, relu_net

pytestmark = pytest.mark.gpu

X1 = np.array([[-1.0], [-0.6], [0.2], [1.0]])
RNG = np.random.default_rng(5)
NETWORKS = {
    "erf, width 1": (erf_net(1, dim_in=1), X1),
    "relu, width 2, one point": (relu_net(2, dim_in=1), X1[:1]),
    "repeated points": (erf_net(7, dim_in=1), np.array([[0.5], [0.5], [0.5]])),
    "zero inputs": (erf_net(7, dim_in=3), np.zeros((2, 3))),
    "four inputs": (relu_net(9, dim_in=4, sigma_b=0.7), RNG.normal(size=(5, 4))),
    "five inputs": (erf_net(6, dim_in=5), RNG.normal(size=(5, 5))),
    "many inputs, many points": (relu_net(11, dim_in=33, sigma_b=1.0), RNG.normal(size=(37, 33))),
    "several outputs": (erf_net(6, dim_in=2, dim_out=5), RNG.normal(size=(3, 2))),
    "gauss": (gauss_net(6, dim_in=2, sigma_w=0.8, sigma_b=0.3), RNG.normal(size=(3, 2))),
    "cos": (cos_net(6, dim_in=2), RNG.normal(size=(3, 2))),
    "ball d=2": (cos_net(6, dim_in=2, momentum=("ball", 3.0), amplitude=lambda k: 1 / np.sqrt(1 + k**2)), RNG.normal(size=(3, 2))),
    "ball d=3": (cos_net(6, dim_in=3, momentum=("ball", 3.0), amplitude=lambda k: np.exp(-k)), RNG.normal(size=(3, 3))),
    "three layers": (mlp(20, (17, 40, 9), activation="tanh", dim_out=2, sigma_b=0.5), RNG.normal(size=(7, 20))),
    "deep gauss": (mlp(2, (5, 6, 4), activation="gauss", sigma_w=0.7, sigma_b=0.4), RNG.normal(size=(3, 2))),
    "deep cubic": (mlp(2, (9, 8), activation="polynomial", activation_params=(0.1, 1.0, 0.0, -0.2)), RNG.normal(size=(4, 2))),
    "uniform weights": (erf_net(6, dim_in=2, weight_law="uniform"), RNG.normal(size=(3, 2))),
    "student weights": (erf_net(6, dim_in=2, weight_law={"output": ("student_t", 5.0)}), RNG.normal(size=(3, 2))),
    "given weights": (Network(2, (3,), 1, "gelu", weight_law={"hidden": "sign", "input": RNG.normal(size=(60, 3, 2))}), RNG.normal(size=(3, 2))),
    "huge inputs": (cos_net(5, dim_in=1, sigma_w=1e6), X1),
}  # fmt: skip
BOTH_SAMPLERS = [(name, sampler) for name, (net, _) in NETWORKS.items() for sampler in ("weights", "layer")
                 if sampler == "weights" or net.layer_law_refusal is None]  # fmt: skip


@pytest.fixture(autouse=True)
def device(cupy):
    return "cuda"


def state(result):
    """The canonical accumulators, as bytes."""
    return {name: np.ascontiguousarray(array).tobytes() for name, array in result._state()[1].items()}


@pytest.mark.parametrize(("name", "sampler"), BOTH_SAMPLERS)
def test_outputs_have_the_bits_of_the_cpu(name, sampler):
    net, x = NETWORKS[name]
    request = {"start": 5, "stop": 40, "seed": 3, "sampler": sampler}
    assert outputs(net, x, **request, device="cuda").tobytes() == outputs(net, x, **request).tobytes()
    wide = [outputs(net, x, **request, dtype="float64", device=device) for device in ("cuda", "cpu")]
    # The same draws and sums; activations of two libraries, a few ulp apart, which every layer passes on.
    np.testing.assert_allclose(*wide, rtol=0, atol=1e-12 * max(1.0, abs(wide[1]).max()))


@pytest.mark.parametrize(("name", "sampler", "estimator"), [
    (name, sampler, estimator) for name, sampler in BOTH_SAMPLERS for estimator in ("direct", "gram", "neuron")
    if estimator_refusal(NETWORKS[name][0], estimator) is None
])  # fmt: skip
def test_accumulators_have_the_bits_of_the_cpu(name, sampler, estimator):
    net, x = NETWORKS[name]
    x = x[:4]
    run = lambda **k: correlators(net, x, orders=(2,), n_nets=57, sampler=sampler, estimator=estimator, seed=9, **k)
    on_device, on_cpu = (run(device=device) for device in ("cuda", "cpu"))
    assert state(on_device) == state(on_cpu)


@pytest.mark.parametrize(
    ("orders", "n_points", "block"), [((2, 4), 6, 256), ((2, 4, 6), 3, 48), ((2, 4, 6, 8), 2, 528), ((2, 4), 17, 16)]
)
def test_all_orders_and_block_sizes(orders, n_points, block):
    net, x = erf_net(10, dim_in=1), np.linspace(-1, 1, n_points)[:, None]
    run = lambda **k: correlators(
        net, x, orders=orders, n_nets=1000, start=2 * block, block=block, estimator="direct", **k
    )
    assert state(run(device="cuda")) == state(run(device="cpu"))


def test_listed_moments_have_the_bits_of_the_cpu():
    net, x = relu_net(8, dim_in=2), RNG.normal(size=(40, 2))
    run = lambda **k: correlators(net, x, n_nets=300, indices={4: [[0, 7, 7, 39], [3, 4, 5, 6]]}, **k)
    for estimator in ("direct", "gram", "neuron"):
        assert state(run(estimator=estimator, device="cuda")) == state(run(estimator=estimator))


# The bits stored in tests/api/test_correlators.py.
GOLDEN = {
    "erf outputs": "7da80b81be916a373554a390f4f702e2002366426d5340aa69f52259ea7d5fa5",
    "deep outputs": "fdb7a74e4e2cb4d5c9a79b56be9749368d967a01760bc3efb753975c2aa8c62d",
    "layer law outputs": "05e00ad15af655e9cffa15bdb0293f08cacbad3736731dd7d44eb4ac9d7fcf30",
    "direct sums": "bbc55c1437a2ba38f2e03c9b8964df1e057f8feb3d1ae4582a9c07625f3a018f",
    "gram sums": "9f42218d834a6c00ec48aec19b00ce77e0da5efe2ccf87520536883da9b6b1d5",
    "neuron sums": "8017bd6405fa7d9881bd3832b60a1da3fe2170080b2f0317c3d61e01a75e3cc4",
}


def test_results_have_their_stored_bits():
    net, x = erf_net(20, dim_in=1), np.array([[-1.0], [0.2], [1.0]])
    deep = mlp(3, (20, 12), activation="tanh", dim_out=2, sigma_b=0.5)
    x3 = np.array([[0.5, -1.0, 2.0], [0.25, 0.5, -0.75], [1.0, 1.0, 1.0]])
    got = {
        "erf outputs": outputs(net, x, stop=100, seed=1, device="cuda"),
        "deep outputs": outputs(deep, x3, start=7, stop=100, seed=1, device="cuda"),
        "layer law outputs": outputs(deep, x3, start=7, stop=100, seed=1, sampler="layer", device="cuda"),
    }
    for estimator in ("direct", "gram", "neuron"):
        program = _core.dense_program(
            {"direct": 3, "gram": 6, "neuron": 3}[estimator], [1, 2, 3] if estimator == "gram" else [2, 4, 6]
        )
        sums = _core.Accumulator(program.n_sums, 256)
        DeviceEnsemble(net.bind(x, seed=1, estimator=estimator), [0]).run(program, 0, 700, 2, sums)
        got[f"{estimator} sums"] = sums.total()
    assert {k: hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest() for k, v in got.items()} == GOLDEN


# ---- runs ---------------------------------------------------------------------------------------------------------------


def test_a_device_and_the_cpu_share_a_run():
    net = erf_net(12, dim_in=1)
    run = lambda **k: correlators(net, X1, block=64, seed=4, **k)
    whole = run(n_nets=2000)
    assert state(run(n_nets=640, device="cuda") + run(n_nets=1360, start=640)) == state(whole)
    assert state(run(n_nets=640) + run(n_nets=1360, start=640, device="cuda")) == state(whole)


def test_several_devices_share_a_run(cupy):
    count = cupy.cuda.runtime.getDeviceCount()
    if count < 2:
        pytest.skip("this machine has one device")
    net, devices = erf_net(5, dim_in=1), [f"cuda:{i}" for i in range(count)]
    assert state(correlators(net, X1, n_nets=3000, block=16, device=devices)) == state(
        correlators(net, X1, n_nets=3000, block=16)
    )


def test_a_checkpoint_of_the_cpu_is_resumed_on_a_device(tmp_path):
    net, path = erf_net(5, dim_in=1), tmp_path / "run.npz"
    run = lambda n, **k: correlators(net, X1, n_nets=n, block=16, seed=1, **k)
    run(320, checkpoint=path)
    assert state(run(1000, checkpoint=path, device="cuda")) == state(run(1000))
    assert state(run(1000, checkpoint=path)) == state(run(1000))


def test_progress_counts_to_the_end_and_an_error_in_it_ends_the_run():
    net, seen = erf_net(5, dim_in=1), []
    correlators(net, X1, n_nets=5000, device="cuda", progress=lambda done, total: seen.append((done, total)))
    assert seen[0] == (0, 5000) and seen[-1] == (5000, 5000) and seen == sorted(seen)

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        correlators(net, X1, n_nets=5000, device="cuda", progress=interrupt)


def test_steps_that_end_early_are_made_up_for():
    """What is counted already is not counted again, whoever counted it."""
    net = erf_net(5, dim_in=1)
    plan = correlators(net, X1, n_nets=16, block=16)._plan
    kernel, sums, want = (
        net.bind(X1, seed=1, estimator="gram"),
        *(_core.Accumulator(plan.program.n_sums, 16) for _ in range(2)),
    )
    kernel.run(plan.program, 160, 320, 1, sums)
    DeviceEnsemble(kernel, [0]).run(plan.program, 0, 1000, 1, sums)
    kernel.run(plan.program, 0, 1000, 1, want)
    assert sums.total().tobytes() == want.total().tobytes() and sums.n_nets == 1000


def test_blocks_that_are_not_finite_are_set_aside():
    net = Network(1, (4,), activation="exp", sigma_w=40.0)
    bad = set()
    for device in ("cuda", "cpu"):
        result = correlators(net, [[9.0]], orders=(2,), n_nets=4096, estimator="direct", device=device)
        with pytest.warns(NNQFTWarning, match="gave NaN or infinity"):
            mean = result.full(2).mean
        assert np.isnan(mean).all()
        bad.add((result._sums.bad_blocks, result._sums.first_bad))
    assert len(bad) == 1 and min(bad)[0] > 0


# ---- arrays and devices -------------------------------------------------------------------------------------------------


def test_results_live_where_the_points_live(cupy):
    net, x = erf_net(5, dim_in=1), cupy.asarray(X1)
    on_device = outputs(net, x, stop=20)
    assert isinstance(on_device, cupy.ndarray) and isinstance(outputs(net, X1, stop=20, device="cuda"), np.ndarray)
    assert on_device.get().tobytes() == outputs(net, X1, stop=20).tobytes()
    assert outputs(net, x[:, 0], stop=0).shape == (0, 4, 1)
    assert state(correlators(net, x[::2], n_nets=100)) == state(correlators(net, X1[::2], n_nets=100))


def test_two_streams_do_not_disturb_each_other(cupy):
    net, want = erf_net(5, dim_in=1), outputs(erf_net(5, dim_in=1), X1, stop=3000)
    results = []
    for _ in range(2):
        with cupy.cuda.Stream(non_blocking=True) as stream:
            results.append((stream, outputs(net, cupy.asarray(X1), stop=3000)))
    for stream, result in results:
        stream.synchronize()
        assert result.get().tobytes() == want.tobytes()


@pytest.mark.parametrize(("call", "message"), [
    (lambda net, x: correlators(net, x, n_nets=16, device="cpu"), 'x lives on cuda:0 but the device asked for is "cpu"'),
    (lambda net, x: correlators(net, x, n_nets=16, executor=object()), "an executor runs its tasks on CPUs"),
    (lambda net, x: outputs(net, x, stop=16, device=["cuda:0", "cuda:0"]), "each device can be named once"),
    (lambda net, x: correlators(net, x, n_nets=16, device="gpu"), "expected \"cpu\", \"cuda\" or \"cuda:N\""),
])  # fmt: skip
def test_what_cannot_be_is_refused(cupy, call, message):
    with pytest.raises(ArgumentError, match=message):
        call(erf_net(5, dim_in=1), cupy.asarray(X1))


def test_addresses_and_capsules_are_checked():
    cuda = _backend.cuda_module()
    kernel = erf_net(5, dim_in=1).bind(X1, seed=1)
    plan = cuda.ensemble_plan(kernel.capsule, _core.dense_program(4, [2]).capsule, False, 16, 1 << 20)
    for bad in ((kernel.capsule, kernel.capsule), (None, None), (plan, None)):
        with pytest.raises((ValueError, TypeError)):
            cuda.ensemble_plan(*bad, False, 16, 1 << 20)
    with pytest.raises(ArgumentError, match="does not begin a block of 16"):
        cuda.ensemble_block_sums(0, plan, 8, 16, 512, 512, 512, 0)
    with pytest.raises(ArgumentError, match="constants is a null pointer"):
        cuda.ensemble_block_sums(0, plan, 0, 16, 0, 512, 512, 0)
    with pytest.raises(ArgumentError, match=r"nets must lie in \[0, 2\^48\)"):
        cuda.ensemble_outputs(0, plan, 2**48, 16, 512, 512, 512, 0)
