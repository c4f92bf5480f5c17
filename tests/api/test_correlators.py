"""The public surface of `nnqft.ensemble`: same bits whatever the route, merging, files, Ctrl-C, bad input."""

import concurrent.futures
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from multiprocessing import get_context

import numpy as np
import pytest

from nnqft import _core
from nnqft.ensemble import Correlators, accumulator_bytes, correlators, exact_correlators, outputs
from nnqft.errors import ArgumentError, DeviceError, NNQFTWarning, ShapeError, StateError
from nnqft.networks import Network, RadialAmplitude, as_key, cos_net, erf_net, gauss_net, mlp, relu_net

X = np.array([[-1.0], [0.2], [1.0]])
NET = erf_net(20, dim_in=1)


def state(result):
    """SHA-256 of the canonical accumulators."""
    digest = hashlib.sha256()
    for name, array in sorted(result._state()[1].items()):
        digest.update(name.encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# ---- same bits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["direct", "gram", "neuron"])
def test_threads_splits_and_merges_change_no_bit(estimator):
    run = lambda **k: correlators(NET, X, orders=(2, 4), estimator=estimator, seed=3, block=64, **k)  # noqa: E731
    whole = run(n_nets=5000, threads=1)
    for threads in (2, 7):
        assert state(run(n_nets=5000, threads=threads)) == state(whole)
    parts = [run(n_nets=n, start=s) for s, n in ((1280, 64), (0, 1280), (1344, 3656))]
    merged = parts[0] + parts[1] + parts[2]
    assert state(merged) == state(whole)
    assert merged.n_nets == 5000
    assert (merged.connected(4).mean == whole.connected(4).mean).all()
    assert (merged.connected(4).stderr == whole.connected(4).stderr).all()


def test_an_executor_changes_no_bit():
    whole = correlators(NET, X, n_nets=4096, seed=3)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        assert state(correlators(NET, X, n_nets=4096, seed=3, executor=pool)) == state(whole)
    net = Network(1, (3,), sigma_b=0.0, weight_law={"input": np.ones((64, 3, 1)), "output": np.arange(192.0).reshape(64, 1, 3)})
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert state(correlators(NET, X, n_nets=4096, seed=3, executor=pool)) == state(whole)
        assert state(correlators(net, X, n_nets=64, executor=pool)) == state(correlators(net, X, n_nets=64))


def test_concurrent_runs_in_python_threads_do_not_disturb_each_other():
    whole = state(correlators(NET, X, n_nets=20_000, seed=3))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: state(correlators(NET, X, n_nets=20_000, seed=3, threads=2)), range(8))) == {whole}


# Stored on AVX-512; the same on every machine, instruction set and thread count.
GOLDEN = {
    "words": "6a32b9fb6365f3d9a0d92d74b084d9d417c4d98e113daf81a56679420351ef3e",
    "normals": "115997c169608ab80c725e94b40832482cf41b6eb4f92b4dd63ab09db8cb6e88",
    "erf outputs": "7da80b81be916a373554a390f4f702e2002366426d5340aa69f52259ea7d5fa5",
    "deep outputs": "fdb7a74e4e2cb4d5c9a79b56be9749368d967a01760bc3efb753975c2aa8c62d",
    "layer law outputs": "05e00ad15af655e9cffa15bdb0293f08cacbad3736731dd7d44eb4ac9d7fcf30",
    "direct sums": "bbc55c1437a2ba38f2e03c9b8964df1e057f8feb3d1ae4582a9c07625f3a018f",
    "gram sums": "9f42218d834a6c00ec48aec19b00ce77e0da5efe2ccf87520536883da9b6b1d5",
    "neuron sums": "8017bd6405fa7d9881bd3832b60a1da3fe2170080b2f0317c3d61e01a75e3cc4",
}


def golden(isa):
    deep = mlp(3, (20, 12), activation="tanh", dim_out=2, sigma_b=0.5)
    x3 = np.array([[0.5, -1.0, 2.0], [0.25, 0.5, -0.75], [1.0, 1.0, 1.0]])
    out = {
        "words": _core.philox_words(12345, 7, 2**40, 3, 10, 37, isa),
        "normals": _core.normals(12345, 7, 2**40, 3, 10, 37, 1.5, isa),
        "erf outputs": NET.bind(X, seed=1, isa=isa).outputs(0, 100, 2),
        "deep outputs": deep.bind(x3, seed=1, isa=isa).outputs(7, 100, 2),
        "layer law outputs": deep.bind(x3, seed=1, sampler="layer", isa=isa).outputs(7, 100, 2),
    }
    for estimator in ("direct", "gram", "neuron"):
        program = _core.dense_program({"direct": 3, "gram": 6, "neuron": 3}[estimator], [1, 2, 3] if estimator == "gram" else [2, 4, 6])
        sums = _core.Accumulator(program.n_sums, 256)
        NET.bind(X, seed=1, estimator=estimator, isa=isa).run(program, 0, 700, 2, sums)
        out[f"{estimator} sums"] = sums.total()
    return {k: hashlib.sha256(np.ascontiguousarray(v).tobytes()).hexdigest() for k, v in out.items()}


@pytest.mark.parametrize("isa", _core.isas())
def test_results_have_their_stored_bits(isa):
    assert golden(isa) == GOLDEN


# ---- files and interruptions -----------------------------------------------------------------------------------


def test_saved_results_come_back_whole(tmp_path):
    net = cos_net(8, dim_in=1, momentum=("ball", 4.0), amplitude=lambda k: 1 / (1 + k))
    for result in (correlators(NET, X, n_nets=3000, seed=4, estimator="direct"), correlators(net, X, n_nets=500, seed=4),
                   correlators(NET, X, n_nets=500, indices={4: [[0, 1, 2, 2]]})):
        path = tmp_path / "result.npz"
        result.save(path)
        back = Correlators.load(path)
        assert repr(back) == repr(result) and state(back) == state(result)
        assert (back.full(4).mean == result.full(4).mean).all()
        assert back.spec_hash == result.spec_hash


def test_checkpoint_resumes_to_the_same_bits(tmp_path):
    path = tmp_path / "run.npz"
    whole = correlators(NET, X, n_nets=9000, seed=5)
    correlators(NET, X, n_nets=4096, seed=5, checkpoint=path)
    resumed = correlators(NET, X, n_nets=9000, seed=5, checkpoint=path)
    assert state(resumed) == state(whole)
    assert state(correlators(NET, X, n_nets=9000, seed=5, checkpoint=path)) == state(whole)  # nothing left to do


@pytest.mark.parametrize("change", [{"seed": 6}, {"orders": (2, 4, 6)}, {"estimator": "direct"}, {"block": 512}, {"dtype": "float64"}])
def test_checkpoint_of_another_run_is_refused_and_kept(tmp_path, change):
    path = tmp_path / "run.npz"
    correlators(NET, X, n_nets=4096, seed=5, checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(StateError, match="belongs to another run"):
        correlators(NET, X, n_nets=4096, checkpoint=path, **({"seed": 5} | change))
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "text"])
def test_damaged_checkpoint_is_an_error_and_not_overwritten(tmp_path, damage):
    path = tmp_path / "run.npz"
    correlators(NET, X, n_nets=4096, seed=5, checkpoint=path)
    data = bytearray(path.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 16
    path.write_bytes({"truncate": data[: len(data) // 3], "flip": data, "empty": b"", "text": b"hello"}[damage])
    before = path.read_bytes()
    with pytest.raises(StateError, match="run.npz"):
        correlators(NET, X, n_nets=8192, seed=5, checkpoint=path)
    assert path.read_bytes() == before


KILLED = """
import sys, numpy as np
import nnqft._run
from nnqft.ensemble import correlators
from nnqft.networks import erf_net
nnqft._run.CHECKPOINT_SECONDS = 0.05
correlators(erf_net(50, dim_in=1), np.array([[-1.0], [0.2], [1.0]]), n_nets=int(sys.argv[2]), seed=5, checkpoint=sys.argv[1])
"""


def test_run_killed_at_any_moment_resumes_to_the_same_bits(tmp_path):
    path, n_nets = tmp_path / "run.npz", 8_000_000
    for delay in (0.2, 0.3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(path), str(n_nets)]) as process:
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            time.sleep(delay)
            process.kill()
    assert path.exists()
    net = erf_net(50, dim_in=1)
    partial = Correlators.load(path)
    assert 0 < partial.n_nets
    resumed = correlators(net, X, n_nets=n_nets, seed=5, checkpoint=path)
    assert state(resumed) == state(correlators(net, X, n_nets=n_nets, seed=5))


INTERRUPTED = """
import sys, time, numpy as np
from nnqft.ensemble import correlators
from nnqft.networks import mlp
print("ready", flush=True)
try:
    correlators(mlp(16, ({widths}), activation="erf"), np.ones((4, 16)), n_nets=10**9, seed=5, sampler="weights"{extra})
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize(("widths", "extra"), [("100,", ""), ("2000, 2000, 2000", ""), ("64, 64", ", checkpoint=sys.argv[1]")])
def test_ctrl_c_answers_within_half_a_second(tmp_path, widths, extra):
    code = textwrap.dedent(INTERRUPTED).format(widths=widths, extra=extra)
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "c.npz")], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "ready"
        time.sleep(0.7)
        sent = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline().strip() == "interrupted"
        # 0.5 s is promised on an idle machine; a loaded one may schedule us late.
        assert time.monotonic() - sent < 1.5
        assert process.wait(20) == 0
    if extra:
        assert Correlators.load(tmp_path / "c.npz").n_nets > 0


def test_exceptions_in_the_progress_callback_end_the_run():
    def stop(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        correlators(NET, X, n_nets=10**8, progress=stop)


def test_progress_reports_every_network():
    seen = []
    correlators(NET, X, n_nets=300_000, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (300_000, 300_000) and seen == sorted(seen)


def test_memory_does_not_grow_with_the_number_of_networks():
    small, large = (correlators(NET, X, n_nets=n, seed=1).nbytes for n in (100_000, 3_000_000))
    assert large <= 1.5 * small  # a limb more, as sums of more networks are larger
    expected = accumulator_bytes(3, (2, 4), "gram")
    assert 0.3 * expected < large < 2 * expected


@pytest.mark.slow
def test_a_billion_networks_need_less_than_200_megabytes():
    code = """
import resource
import numpy as np
from nnqft.ensemble import correlators
from nnqft.networks import erf_net
x = np.array([-1, -0.6, -0.2, 0.2, 0.6, 1.0])
result = correlators(erf_net(100, dim_in=1), x, orders=(2, 4), n_nets=10**9, estimator="direct", seed=1)
print(result.n_nets, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    nets, kilobytes = map(int, done.stdout.split())
    assert nets == 10**9 and kilobytes < 200_000


# ---- bad input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: correlators(NET, np.ones((2, 2)), n_nets=10), ShapeError, r"shape \(2, 2\), expected \(n_points, 1\)"),
    (lambda: correlators(NET, np.ones((0, 1)), n_nets=10), ShapeError, "n_points >= 1"),
    (lambda: correlators(NET, [[np.nan]], n_nets=10), ArgumentError, "must be finite"),
    (lambda: correlators(NET, [[np.inf]], n_nets=10), ArgumentError, "must be finite"),
    (lambda: correlators(NET, [["a"]], n_nets=10), ShapeError, "dtype"),
    (lambda: correlators(NET, X, n_nets=0), ArgumentError, "n_nets must lie in"),
    (lambda: correlators(NET, X, n_nets=-5), ArgumentError, "n_nets must lie in"),
    (lambda: correlators(NET, X, n_nets=2**48, start=256), ArgumentError, "n_nets must lie in"),
    (lambda: correlators(NET, X, n_nets=1.5), ArgumentError, "must be an integer"),
    (lambda: correlators(NET, X, n_nets=5000, start=7), ArgumentError, "multiple of the block"),
    (lambda: correlators(NET, X, n_nets=10, orders=(3,)), ArgumentError, "orders must be among 2, 4, 6, 8"),
    (lambda: correlators(NET, X, n_nets=10, orders=(10,)), ArgumentError, "orders must be among 2, 4, 6, 8"),
    (lambda: correlators(NET, X, n_nets=10, orders=()), ArgumentError, "orders must be among"),
    (lambda: correlators(NET, np.arange(9.0), n_nets=10, orders=(8,)), ArgumentError, "at most 8 points"),
    (lambda: correlators(NET, X, n_nets=10, estimator="best"), ArgumentError, "known: auto, direct, gram, neuron"),
    (lambda: correlators(NET, X, n_nets=10, sampler="best"), ArgumentError, "known: auto, weights, layer"),
    (lambda: correlators(NET, X, n_nets=10, dtype="float16"), ArgumentError, "float32 or float64"),
    (lambda: correlators(NET, X, n_nets=10, dtype="nonsense"), ArgumentError, "float32 or float64"),
    (lambda: correlators(NET, X, n_nets=10, seed=-1), ArgumentError, "seed must lie in"),
    (lambda: correlators(NET, X, n_nets=10, seed="x"), ArgumentError, "seed must be an int"),
    (lambda: correlators(NET, X, n_nets=10, threads=0), ArgumentError, "threads must lie in"),
    (lambda: correlators(NET, X, n_nets=10, block=24), ArgumentError, "multiple of 16"),
    (lambda: correlators(NET, X, n_nets=10, device="cuda:99"), DeviceError, "cuda"),
    (lambda: correlators("erf", X, n_nets=10), ArgumentError, "must be a Network"),
    (lambda: correlators(mlp(1, (3, 3)), X, n_nets=10, estimator="neuron"), ArgumentError, "one hidden layer, this one has 2"),
    (lambda: correlators(erf_net(3, dim_in=1, weight_law={"output": "sign"}), X, n_nets=10, estimator="gram"), ArgumentError, "Gaussian output"),
    (lambda: correlators(cos_net(3, dim_in=1), X, n_nets=10, sampler="layer"), ArgumentError, "phases are uniform"),
    (lambda: correlators(erf_net(3, dim_in=1, weight_law="sign"), X, n_nets=10, sampler="layer"), ArgumentError, "normal weights"),
    (lambda: correlators(erf_net(3, dim_in=1, weight_law={"output": ("student_t", 4.0)}), X, n_nets=10), ArgumentError, "does not exist"),
    (lambda: correlators(erf_net(0, dim_in=1), X, n_nets=10), ArgumentError, "widths must be between 1"),
    (lambda: erf_net(3, dim_in=0), ArgumentError, "dim_in must be between 1"),
    (lambda: erf_net(3, dim_in=1, sigma_w=-1.0), ArgumentError, "sigma_w must be a finite number >= 0"),
    (lambda: erf_net(3, dim_in=1, sigma_b=np.nan), ArgumentError, "sigma_b must be"),
    (lambda: erf_net(3, dim_in=1, weight_law="cauchy"), ArgumentError, "known: normal, uniform, sign, student_t"),
    (lambda: erf_net(3, dim_in=1, weight_law=("student_t", -1)), ArgumentError, "nu > 0"),
    (lambda: erf_net(3, dim_in=1, weight_law={"middle": "sign"}), ArgumentError, "known: input, hidden, output, bias"),
    (lambda: mlp(1, (3,), activation="sinh"), ArgumentError, "known: relu, leaky_relu"),
    (lambda: mlp(1, (3,), activation="polynomial"), ArgumentError, "1 to 16"),
    (lambda: mlp(1, (), activation="erf"), ArgumentError, "widths"),
    (lambda: cos_net(3, dim_in=4, momentum=("ball", 1.0)), ArgumentError, "dim_in <= 3"),
    (lambda: cos_net(3, dim_in=1, amplitude=3.0), ArgumentError, "function A"),
    (lambda: Network(1, (3,), momentum=("ball", 1.0)), ArgumentError, "need phase=True"),
    (lambda: NET.draw(-1), ArgumentError, "index must lie in"),
    (lambda: outputs(NET, X, start=5, stop=3), ArgumentError, "must lie in"),
    (lambda: exact_correlators(mlp(1, (3, 3), activation="erf"), X), ArgumentError, "hidden layer"),
    (lambda: exact_correlators(erf_net(3, dim_in=1, weight_law="sign"), X), ArgumentError, "closed-form"),
    (lambda: correlators(NET, X, n_nets=16, indices={4: [[0, 1, 2, 3]]}), ArgumentError, "3"),
    (lambda: accumulator_bytes(6, (2, 4), "best"), ArgumentError, "known: direct"),
    (lambda: erf_net(3, dim_in=1, weight_law={"input": np.ones((2, 4, 1))}).draw(0), ShapeError, r"expected \(n_nets, 3, 1\)"),
    (lambda: correlators(erf_net(3, dim_in=1, weight_law={"input": np.ones((2, 3, 1))}), X, n_nets=5), ArgumentError, "array holds 2"),
    (lambda: relu_net(3, dim_in=1, sigma_w=1e-60).draw(0), ArgumentError, "does not fit the float32 draws"),
    (lambda: relu_net(3, dim_in=1, sigma_w=1e200).draw(0), ArgumentError, "does not fit the float32 draws"),
])  # fmt: skip
def test_bad_input_gets_a_precise_exception(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_views_refuse_orders_that_were_not_measured():
    result = correlators(NET, X, n_nets=512, orders=(2, 4))
    for view in (result.full, result.connected, result.gp, result.deviation, result.background):
        with pytest.raises(ArgumentError, match="this result has"):
            view(6)
        with pytest.raises(ArgumentError, match="order must be an integer"):
            view(4.0)
    with pytest.raises(ArgumentError, match="neuron"):
        result.at_width(5)
    with pytest.raises(ArgumentError, match="'measured' or 'exact'"):
        result.deviation(4, two_point="guess")


@pytest.mark.parametrize("change", [{"seed": 4}, {"orders": (2,)}, {"block": 32}, {"dtype": "float64"}, {"estimator": "direct"}])
def test_runs_that_differ_do_not_merge(change):
    a = correlators(NET, X, n_nets=512, seed=3)
    with pytest.raises(StateError, match="differ in"):
        a + correlators(NET, X, start=512, n_nets=512, **({"seed": 3} | change))


def test_exact_correlators_are_correlators_that_neither_merge_nor_save(tmp_path):
    exact = exact_correlators(NET, X)
    assert isinstance(exact, Correlators) and exact.full(4).stderr.max() == 0
    for refused in (lambda: exact + exact, lambda: exact.save(tmp_path / "x.npz"), exact.spec):
        with pytest.raises(ArgumentError, match="hold no networks"):
            refused()


@pytest.mark.parametrize("law", ["normal", {"output": "sign", "output_bias": "uniform"}])
def test_exact_correlators_at_another_width_are_those_of_the_wider_net(law):
    net = erf_net(20, dim_in=1, weight_law=law)
    got, want = exact_correlators(net, X, orders=(2, 4, 6)).at_width(7), exact_correlators(net.with_width(7), X, orders=(2, 4, 6))
    for n in (2, 4, 6):
        np.testing.assert_allclose(got.connected(n).mean, want.connected(n).mean, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(got.full(n).mean, want.full(n).mean, rtol=1e-12)


def test_runs_that_overlap_do_not_merge():
    a, b = (correlators(NET, X, n_nets=512, start=s, seed=3) for s in (0, 256))
    with pytest.raises(StateError, match="overlap"):
        a + b


def test_student_t_with_few_moments_warns_of_an_infinite_error():
    net = erf_net(3, dim_in=1, weight_law={"output": ("student_t", 6.0)})
    with pytest.warns(NNQFTWarning, match="standard error is infinite"):
        correlators(net, X, n_nets=4096, orders=(2, 4))


def test_few_blocks_give_no_error_bar_and_say_so():
    result = correlators(NET, X, n_nets=100, seed=0)
    with pytest.warns(NNQFTWarning, match="no error bar"):
        tensor = result.full(2)
    assert np.isnan(tensor.stderr).all() and np.isfinite(tensor.mean).all()


def test_overflow_becomes_nan_with_the_network_named():
    net = mlp(1, (4,), activation="exp", sigma_w=60.0)
    result = correlators(net, X, n_nets=4096, orders=(2, 4), estimator="direct", seed=0)
    with pytest.warns(NNQFTWarning, match=r"from network \d+ \(seed 0\)"):
        tensor = result.full(4)
    assert np.isnan(tensor.mean).all()


@pytest.mark.parametrize("scale", [1e-15, 1e-6, 1e6, 1e15])
def test_scales_far_from_one_scale_the_results(scale):
    base, scaled = (correlators(relu_net(8, dim_in=1, sigma_b=0.0), X[1:] * s, n_nets=4096, orders=(2,), seed=1).full(2) for s in (1.0, scale))
    np.testing.assert_allclose(scaled.mean / scale**2, base.mean, rtol=1e-6)  # float32 inputs


def test_inputs_of_any_layout_are_the_same_inputs():
    want = outputs(mlp(3, (5,), activation="erf"), np.arange(12.0).reshape(4, 3), stop=8)
    base = np.arange(12.0).reshape(4, 3)
    read_only = base.copy()
    read_only.flags.writeable = False
    for x in (np.asfortranarray(base), base[::-1][::-1], base.astype(">f8"), base.astype(np.int32), base.tolist(), read_only,
              np.repeat(base, 2, axis=1)[:, ::2]):
        assert (outputs(mlp(3, (5,), activation="erf"), x, stop=8) == want).all()


def test_listed_indices_equal_the_dense_run():
    x = np.linspace(-1, 1, 5)[:, None]
    rows = np.array([[0, 1, 2, 3], [4, 0, 0, 4], [2, 2, 2, 2]])
    for estimator in ("direct", "gram", "neuron"):
        dense = correlators(NET, x, n_nets=4096, orders=(2, 4), estimator=estimator, seed=7)
        listed = correlators(NET, x, n_nets=4096, orders=(2, 4), estimator=estimator, seed=7, indices={4: rows})
        for view in ("full", "connected"):
            a, b = getattr(dense, view)(4), getattr(listed, view)(4)
            for row in rows:
                # the products are associated in another order: float32 rounding
                assert b[tuple(row)].mean == pytest.approx(a[tuple(row)].mean, rel=1e-5, abs=1e-6)
                assert b[tuple(row)].stderr == pytest.approx(a[tuple(row)].stderr, rel=1e-3)


def test_index_lists_reach_many_points():
    x = np.linspace(-1, 1, 500)[:, None]
    result = correlators(NET, x, n_nets=20_000, estimator="direct", seed=7, indices={4: [[0, 100, 200, 499]]})
    exact = exact_correlators(NET, x[[0, 100, 200, 499]], orders=(2, 4))
    got = result.full(4)[0, 100, 200, 499]
    assert abs(got.mean - exact.full(4)[0, 1, 2, 3].mean) < 4 * got.stderr
    assert got.stderr < 0.05 * got.mean


def test_seeds_of_every_kind_name_a_stream():
    assert as_key(5) == 5
    sequence = np.random.SeedSequence(5, spawn_key=(2,))
    assert as_key(sequence) == as_key(np.random.SeedSequence(5, spawn_key=(2,)))
    assert as_key(np.random.default_rng(1)) == as_key(np.random.default_rng(1))
    a, b = (correlators(NET, X, n_nets=64, seed=np.random.SeedSequence(5)).seed for _ in range(2))
    assert a == b


def test_networks_compare_hash_and_survive_json():
    import json

    nets = [NET, gauss_net(3, dim_in=2), mlp(4, (3, 2), activation="leaky_relu", weight_law={"output": ("student_t", 7)}),
            cos_net(3, dim_in=2, momentum=("ball", 2.0), amplitude=lambda k: 1 / (1 + k))]
    for net in nets:
        back = Network.from_dict(json.loads(json.dumps(net.to_dict())))
        assert back.to_dict() == net.to_dict() and repr(back) == repr(net)
        assert (outputs(back, np.ones((1, net.dim_in)), stop=3) == outputs(net, np.ones((1, net.dim_in)), stop=3)).all()
    one, other = (erf_net(3, dim_in=1, weight_law={"output": law, "input": np.ones((2, 3, 1))}) for law in ("sign", "normal"))
    assert one == erf_net(3, dim_in=1, weight_law={"output": "sign", "input": np.ones((2, 3, 1))}) != other and hash(one) != hash(other)
    assert hash(erf_net(20, dim_in=1)) == hash(NET) and erf_net(20, dim_in=1) == NET != erf_net(21, dim_in=1)
    assert RadialAmplitude(np.cos, 2.0) == RadialAmplitude(np.cos, 2.0)


def test_isa_override_that_the_cpu_lacks_is_an_error():
    code = "import nnqft; nnqft.build_info()"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"NNQFT_ISA": "neon9"}, capture_output=True, text=True)
    assert done.returncode != 0 and "ArgumentError" in done.stderr and "neon9" in done.stderr
    done = subprocess.run([sys.executable, "-c", "import nnqft; print(nnqft.build_info()['isa'])"], env=os.environ | {"NNQFT_ISA": "scalar"},
                          capture_output=True, text=True)  # fmt: skip
    assert done.stdout.strip() == "scalar"
