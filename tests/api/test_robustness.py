"""No crash, no hang and no silently wrong number, whatever comes in: the compiled module called with nonsense, from many threads at
once, and while the interpreter ends."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nnqft import _core, _store
from nnqft.ensemble import Correlators, correlators, outputs, plan_size, weights
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError, StateError
from nnqft.networks import Net, erf_net, mlp

X = np.array([[-1.0], [0.2], [1.0]])
NET = erf_net(20, dim_in=1)
INT32 = lambda *shape: np.zeros(shape, np.int32)  # noqa: E731
NORMAL = {"law": "normal", "scale": 1.0, "nu": 0.0}
ERF, IDENTITY, POLYNOMIAL = 2, 11, 12


def layer(fan_in, fan_out, **changes):
    return {"fan_in": fan_in, "fan_out": fan_out, "weight": NORMAL, "bias": NORMAL, "activation": ERF, "params": [], "normalised": False,
            "gain": 1.0, "weight_variance": 1.0, "bias_variance": 1.0} | changes  # fmt: skip


def ensemble(*layers, **changes):
    layers = list(layers) or [layer(1, 5), layer(5, 1, activation=IDENTITY)]
    return _core.Ensemble(**({"layers": layers, "points": X, "dim_out": 1, "seed": 0, "sampler": "weights", "estimator": "direct",
                              "field_scale": 1.0, "float64": False, "isa": ""} | changes))  # fmt: skip


def array_law(values, nets):
    return {"law": "array", "scale": 1.0, "nu": 0.0, "values": values, "start": 0, "nets": nets}


PROGRAM = _core.dense_program(3, [2, 4])


def counted(n_nets=1600, program=PROGRAM, block=16):
    sums = _core.Accumulator(program.n_sums, block)
    ensemble().run(program, 0, n_nets, 1, sums)
    return sums


def restore_arguments(sums):
    limbs, bases, nets, blocks, covered, bad = sums.state()
    return [limbs, bases.tolist(), nets.tolist(), blocks.tolist(), [tuple(row) for row in covered.tolist()], *bad]


def restored(changes):
    arguments = restore_arguments(counted())
    for place, value in changes.items():
        arguments[place] = value(arguments[place]) if callable(value) else value
    _core.Accumulator(PROGRAM.n_sums, 16).restore(*arguments)


@pytest.mark.parametrize(("call", "errors"), [
    # moment programs
    (lambda: _core.listed_program(3, [0], [INT32(2, 0)], 1), ArgumentError),
    (lambda: _core.listed_program(3, [-2], [INT32(1, 2)], 1), ShapeError),
    (lambda: _core.listed_program(3, [2, 4], [INT32(1, 2), INT32(1, 4)], 100), ArgumentError),
    (lambda: _core.listed_program(3, [2, 4], [INT32(1, 2), INT32(1, 4)], -3), ArgumentError),
    (lambda: _core.listed_program(3, [2, 2], [INT32(1, 2), INT32(1, 2)], 2), ArgumentError),
    (lambda: _core.listed_program(3, [2, 4], [INT32(1, 2)], 2), ShapeError),
    (lambda: _core.listed_program(3, [2], [INT32(1, 2), INT32(1, 2)], 2), ShapeError),
    (lambda: _core.listed_program(3, [2], [INT32(1, 2) - 1], 2), ArgumentError),
    (lambda: _core.dense_program(3, [2, 2]), ArgumentError),
    (lambda: _core.dense_program(3, [5]), ArgumentError),
    (lambda: _core.dense_program(-1, [2]), ArgumentError),
    (lambda: _core.dense_program(2**31 - 1, [8]), ArgumentError),
    (lambda: _core.dense_program(2**40, [2]), TypeError),
    # ensembles
    (lambda: ensemble(layer(1, 5)), ArgumentError),
    (lambda: ensemble(1, 2), TypeError),
    (lambda: ensemble({}, {}), KeyError),
    (lambda: ensemble(layer(1, 5), layer(6, 1)), ShapeError),
    (lambda: ensemble(layer(1, 0), layer(0, 1)), ArgumentError),
    (lambda: ensemble(layer(1, -5), layer(-5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 2**31 - 1), layer(2**31 - 1, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 2**40), layer(2**40, 1)), RuntimeError),
    (lambda: ensemble(layer(1, 5, activation=99), layer(5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 5, activation=-1), layer(5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 5, activation=POLYNOMIAL), layer(5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 5, params=[1.0] * 17), layer(5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 5, weight={"law": "cauchy"}), layer(5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 5, weight=3), layer(5, 1)), TypeError),
    (lambda: ensemble(layer(1, 5, bias=NORMAL | {"law": "ball"}), layer(5, 1)), ArgumentError),
    (lambda: ensemble(layer(1, 5), layer(5, 1, weight=NORMAL | {"law": "ball"})), ArgumentError),
    (lambda: ensemble(layer(1, 2, weight=array_law(np.zeros(0), 2**63)), layer(2, 1)), ShapeError),  # 2 * 2**63 wraps to 0
    (lambda: ensemble(layer(1, 2, weight=array_law(np.zeros(3), 1)), layer(2, 1)), ShapeError),
    (lambda: ensemble(points=np.zeros((0, 1))), ShapeError),
    (lambda: ensemble(points=np.zeros(3)), ShapeError),
    (lambda: ensemble(points=X[:, :0]), ShapeError),
    (lambda: ensemble(points=np.full((3, 1), np.nan), sampler="layer"), ArgumentError),
    (lambda: ensemble(amplitude=(np.ones(1), 1.0)), ArgumentError),
    (lambda: ensemble(amplitude=(np.ones(3),)), IndexError),
    (lambda: ensemble(sampler="best"), ArgumentError),
    (lambda: ensemble(estimator="best"), ArgumentError),
    (lambda: ensemble(isa="neon9"), ArgumentError),
    (lambda: ensemble().draw_tensor(0, 2, False), ArgumentError),
    (lambda: ensemble().draw_tensor(0, -1, False), ArgumentError),
    (lambda: ensemble().draw_tensor(2**48, 0, False), ArgumentError),
    (lambda: ensemble().draw_tensor(-1, 0, False), TypeError),
    (lambda: ensemble().outputs(0, 16, 2**32 - 1), ArgumentError),
    (lambda: ensemble().outputs(0, 16, 0), ArgumentError),
    (lambda: ensemble().outputs(16, 0, 1), ArgumentError),
    (lambda: ensemble().outputs(0, 2**48 + 1, 1), ArgumentError),
    (lambda: ensemble().outputs(0, 2**46, 1), (ArgumentError, MemoryError)),
    (lambda: ensemble().outputs(0, 10**7, 1, 3), TypeError),
    # runs
    (lambda: ensemble().run(PROGRAM, 0, 16, 2**32 - 1, _core.Accumulator(PROGRAM.n_sums, 16)), ArgumentError),
    (lambda: ensemble().run(PROGRAM, 0, 16, 1, _core.Accumulator(PROGRAM.n_sums + 1, 16)), ShapeError),
    (lambda: ensemble().run(_core.dense_program(4, [2]), 0, 16, 1, _core.Accumulator(10, 16)), ShapeError),
    (lambda: ensemble(estimator="gram").run(PROGRAM, 0, 16, 1, _core.Accumulator(PROGRAM.n_sums, 16)), ShapeError),
    (lambda: ensemble().run(_core.dense_program(3, []), 0, 16, 1, _core.Accumulator(1, 16)), ShapeError),
    (lambda: ensemble().run(PROGRAM, 8, 16, 1, _core.Accumulator(PROGRAM.n_sums, 16)), ArgumentError),
    (lambda: ensemble().run(PROGRAM, 0, 2**48 + 16, 1, _core.Accumulator(PROGRAM.n_sums, 16)), ArgumentError),
    (lambda: ensemble().run(None, 0, 16, 1, None), TypeError),
    # accumulators
    (lambda: _core.Accumulator(0, 16), ArgumentError),
    (lambda: _core.Accumulator(2**62, 16), ArgumentError),
    (lambda: _core.Accumulator(3, 0), ArgumentError),
    (lambda: _core.Accumulator(3, 7), ArgumentError),
    (lambda: _core.Accumulator(3, 2**33), ArgumentError),  # blocks are counted in 32 bits by the kernels
    (lambda: _core.Accumulator(3, 2**64 - 1), ArgumentError),
    (lambda: _core.Accumulator(10**15, 16).total(), MemoryError),
    (lambda: _core.Accumulator(10**15, 16).replica_sums(), (MemoryError, ValueError)),
    (lambda: counted().merge(_core.Accumulator(3, 32)), StateError),
    (lambda: counted().merge(counted()), StateError),
    (lambda: counted().missing(-1, 5), TypeError),
    (lambda: restored({0: [INT32(0, PROGRAM.n_sums).astype(np.int64)] * 63}), StateError),
    (lambda: restored({0: [INT32(1, 3).astype(np.int64)] * 64}), StateError),
    (lambda: restored({0: [None] * 64}), (StateError, TypeError, ValueError)),
    (lambda: restored({0: lambda limbs: [a + 2**40 for a in limbs]}), StateError),
    (lambda: restored({1: [2**62] * 64}), StateError),
    (lambda: restored({2: [2**63] * 2 + [0] * 62, 4: []}), StateError),  # 2**64 nets wrap to none
    (lambda: restored({3: [1] * 64}), StateError),
    (lambda: restored({4: [(0, 2**64 - 1)]}), StateError),
    (lambda: restored({4: [(8, 1608)]}), StateError),
    (lambda: restored({4: [(0, 1600), (0, 1600)]}), StateError),
    (lambda: restored({4: [(0, 1600, 3)]}), TypeError),
    (lambda: restored({5: 101}), StateError),
    # objects that were never initialised
    (lambda: _core.Accumulator.__new__(_core.Accumulator).n_nets, TypeError),
    (lambda: _core.Ensemble.__new__(_core.Ensemble).outputs(0, 1, 1), TypeError),
    (lambda: _core.Program.__new__(_core.Program).orders, TypeError),
    (lambda: ensemble().run(_core.Program.__new__(_core.Program), 0, 16, 1, _core.Accumulator(3, 16)), TypeError),
    (lambda: _core.Program(), TypeError),
    # arrays
    (lambda: _core.activate(POLYNOMIAL, [], np.ones(3)), ArgumentError),
    (lambda: _core.activate(POLYNOMIAL, [1.0] * 17, np.ones(3)), ArgumentError),
    (lambda: _core.activate(99, [], np.ones(3)), ArgumentError),
    (lambda: _core.activate(-(2**31), [], np.ones(3, np.float32)), ArgumentError),
    (lambda: _core.activate(0, [], np.ones(3, np.int64)), TypeError),
    (lambda: _core.normals(0, 2**16, 0, 1, 1, 1), ArgumentError),
    (lambda: _core.normals(0, 0, 2**48, 1, 1, 1), ArgumentError),
    (lambda: _core.normals(0, 0, 0, 1, 2**35, 1), ArgumentError),
    (lambda: _core.normals(0, 0, 0, 2**40, 2**10, 2**10), ArgumentError),
    (lambda: _core.normals(0, 0, 0, 1, 2**20, 2**20), MemoryError),
])  # fmt: skip
def test_the_compiled_module_answers_nonsense_with_an_exception(call, errors):
    with pytest.raises(errors):
        call()


def test_empty_arrays_take_no_time_however_long_their_other_axes_are():
    start = time.monotonic()
    for isa in _core.isas():
        assert _core.philox_words(0, 0, 0, 2**48, 0, 5, isa).size == 0
        assert _core.normals(0, 0, 0, 2**47, 4, 0, 1.0, isa).size == 0
    assert ensemble().outputs(5, 5, 1).shape == (0, 3, 1)
    assert _core.activate(0, [], np.ones((2**40, 0)))[0].shape == (2**40, 0)
    assert time.monotonic() - start < 5


def test_huge_numbers_of_fields_cost_only_what_is_listed():
    program = _core.listed_program(2**31 - 1, [1, 2], [np.array([[2**31 - 2]], np.int32), np.array([[0, 2**31 - 2]], np.int32)], 1)
    assert (program.n_sums, program.n_slots) == (2, 2**31 - 1)
    with pytest.raises(ShapeError):
        ensemble().run(program, 0, 16, 1, _core.Accumulator(2, 16))


def test_the_last_networks_are_counted_right():
    last, sums = _core.MAX_NETS, _core.Accumulator(PROGRAM.n_sums, 16)
    assert ensemble().run(PROGRAM, last - 1600, last, 2, sums)
    assert sums.n_nets == 1600 and sums.covered().tolist() == [[last - 1600, last]]
    assert (ensemble().outputs(last - 1, last, 1) == ensemble().outputs(last - 40, last, 1)[-1:]).all()


# ---- threads -----------------------------------------------------------------------------------------------------------


def test_an_accumulator_may_be_read_saved_and_merged_while_runs_add_to_it():
    sums, other, engine = _core.Accumulator(PROGRAM.n_sums, 16), counted(16 * 10), ensemble()
    n_nets, first, failures = 200_000, 160, []

    def read():
        while any(t.is_alive() for t in runs):
            try:
                copy = _core.Accumulator(PROGRAM.n_sums, 16)
                copy.restore(*restore_arguments(sums))  # refuses what does not belong together
                assert copy.n_nets <= sums.n_nets
                _, nets, blocks = sums.replica_sums()
                assert (nets == 16 * blocks).all()
                sums.total(), sums.covered(), sums.missing(0, n_nets), sums.nbytes, sums.bad_blocks, sums.first_bad
            except Exception as error:
                failures.append(error)
                return

    runs = [threading.Thread(target=engine.run, args=(PROGRAM, first, n_nets, 2, sums)) for _ in range(2)]  # the same networks twice
    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in runs + readers:
        thread.start()
    sums.merge(other)
    for thread in runs + readers:
        thread.join()
    assert not failures
    assert [np.array(a).tolist() for a in restore_arguments(sums)[1:5]] == [np.array(a).tolist() for a in restore_arguments(counted(n_nets))[1:5]]
    assert (sums.total() == counted(n_nets).total()).all()


def test_restoring_during_a_run_leaves_one_consistent_state():
    sums, saved = _core.Accumulator(PROGRAM.n_sums, 16), restore_arguments(counted())
    run = threading.Thread(target=ensemble().run, args=(PROGRAM, 0, 300_000, 2, sums))
    run.start()
    while run.is_alive():
        sums.restore(*saved)
    _, nets, blocks = sums.replica_sums()
    assert (nets == 16 * blocks).all() and nets.sum() == sums.n_nets


def test_objects_that_a_run_uses_may_be_deleted_meanwhile():
    engine, program, sums = ensemble(), _core.dense_program(3, [2]), _core.Accumulator(6, 16)
    run = threading.Thread(target=lambda e, p, s: e.run(p, 0, 300_000, 2, s), args=(engine, program, sums))
    run.start()
    del engine, program
    run.join()
    assert sums.n_nets == 300_000


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, MemoryError])
def test_whatever_progress_raises_ends_the_run_and_arrives(error):
    def progress(done, total=None):
        raise error("enough")

    for call in (lambda: ensemble().outputs(0, 10**7, 2, progress), lambda: ensemble().run(PROGRAM, 0, 10**10, 2, counted(), progress),
                 lambda: correlators(NET, X, n_nets=10**9, progress=progress)):  # fmt: skip
        with pytest.raises(error, match="enough"):
            call()


def test_progress_may_start_runs_of_its_own():
    inner = []
    correlators(NET, X, n_nets=2_000_000, progress=lambda done, total: inner.append(correlators(NET, X, n_nets=160).n_nets))
    assert set(inner) == {160}


EXIT = """
import threading, time
import numpy as np
from nnqft.ensemble import correlators, outputs
from nnqft.networks import erf_net
x, net = np.array([[-1.0], [0.2], [1.0]]), erf_net(20, dim_in=1)
ready = threading.Barrier(4)
def forever():
    correlators(net, x, n_nets=64)
    ready.wait()
    while True:
        try:
            {work}
        except Exception:
            pass
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
ready.wait()
time.sleep({delay})
"""


@pytest.mark.parametrize("work", [
    "correlators(net, x, n_nets=10**12, progress=lambda done, total: None)",
    "correlators(net, x, n_nets=5000, progress=lambda done, total: None)",
    "outputs(net, x, stop=1000, threads=2)",
])  # fmt: skip
@pytest.mark.parametrize("delay", [0.05, 0.2])
def test_the_interpreter_ends_while_daemon_threads_compute(work, delay):
    done = subprocess.run([sys.executable, "-c", EXIT.format(work=work, delay=delay)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""


def test_accumulators_larger_than_memory_are_refused_before_they_grow(monkeypatch):
    pages = {"SC_PHYS_PAGES": 2**18, "SC_PAGE_SIZE": 2**12}  # 1 GiB
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    x = np.linspace(-1, 1, 60)
    with pytest.raises(ArgumentError, match="moments would take about 2 GB, this machine has 1: list the indices"):
        correlators(NET, x, n_nets=10**6, estimator="direct")
    correlators(NET, x, n_nets=16, estimator="direct")  # one replica is enough for one block


@pytest.mark.parametrize("call", [
    lambda: plan_size(6, (), "direct"),
    lambda: plan_size(6, (3,), "direct"),
    lambda: plan_size(6, (2, 4), "auto"),
    lambda: weights("erf", 0),
])  # fmt: skip
def test_helpers_check_their_arguments_too(call):
    with pytest.raises(ArgumentError):
        call()


# ---- wrong numbers -----------------------------------------------------------------------------------------------------


def test_concrete_nets_check_the_parameters_of_their_activation():
    matrices = [np.ones((3, 2)), np.ones((1, 3))]
    for activation, params in (("polynomial", ()), ("polynomial", [1.0] * 17), ("leaky_relu", (0.1, 0.2)), ("relu", (1.0,)), ("polynomial", (np.nan,))):
        with pytest.raises(ArgumentError, match="activation_params"):
            Net.from_weights(matrices, activation=activation, activation_params=params)
    assert Net.from_weights(matrices, activation="leaky_relu")(-np.ones((1, 2)))[0, 0] == pytest.approx(-0.06)  # slope 0.01


def test_networks_beyond_a_user_array_are_refused():
    net = erf_net(3, dim_in=1, weight_law={"input": np.ones((2, 3, 1))})
    assert net.draw(1).weights[0].tolist() == [[1.0]] * 3
    for call in (lambda: net.draw(2), lambda: outputs(net, X, start=1, stop=3)):
        with pytest.raises(ArgumentError, match="array holds 2"):
            call()


@pytest.mark.parametrize("sampler", ["weights", "layer"])
def test_overflow_in_hidden_layers_becomes_nan_under_both_samplers(sampler):
    result = correlators(mlp(1, (4, 4), activation="exp", sigma_w=40.0), X[2:], n_nets=1024, orders=(2,), estimator="direct", sampler=sampler)
    with pytest.warns(NNQFTWarning, match="gave NaN or infinity"):
        assert np.isnan(result.full(2).mean).all()


def forge(path, change):
    header, arrays = _store.load(path)
    change(header, arrays)
    _store.save(path, header, arrays)


@pytest.mark.parametrize("change", [
    lambda h, a: a.update(planes=-a["planes"]),
    lambda h, a: a.update(planes=a["planes"] + 2**60),
    lambda h, a: a.update(planes=a["planes"] + 1),
    lambda h, a: a.update(limbs=a["limbs"][:-1]),
    lambda h, a: a.update(limbs=a["limbs"] + 2**40),
    lambda h, a: a.update(bases=a["bases"] + 2**62),
    lambda h, a: a.update(nets=a["nets"] + np.uint64(1)),
    lambda h, a: a.update(blocks=a["blocks"] * np.uint64(2)),
    lambda h, a: a.update(covered=a["covered"] + np.uint64(8)),
    lambda h, a: a.update(bad=a["bad"] + np.uint64(500)),
    lambda h, a: h["spec"].update(points=[["a"]]),
    lambda h, a: h["spec"].update(points=[[0.0]] * 4),
    lambda h, a: h["spec"].update(orders=[]),
    lambda h, a: h["spec"].update(orders=[2]),
    lambda h, a: h["spec"].update(estimator="best"),
    lambda h, a: h["spec"].update(block=7),
    lambda h, a: h["spec"].update(network=None),
    lambda h, a: h["spec"]["network"].update(widths=[-1]),
    lambda h, a: h["spec"].pop("seed"),
])  # fmt: skip
def test_forged_files_with_a_right_seal_are_an_error(tmp_path, change):
    path = tmp_path / "run.npz"
    correlators(NET, X, n_nets=2000, seed=5).save(path)
    forge(path, change)
    with pytest.raises(StateError, match="run.npz"):
        Correlators.load(path)


def test_merging_after_saving_and_loading_changes_no_bit(tmp_path):
    run = lambda **k: correlators(NET, X, orders=(2, 4), block=64, seed=3, **k)  # noqa: E731
    whole = run(n_nets=3000)
    parts = []
    for start, n_nets in ((640, 2360), (0, 64), (64, 576)):  # the first ends in a partial block
        run(n_nets=n_nets, start=start).save(tmp_path / "part.npz")
        parts.append(Correlators.load(tmp_path / "part.npz"))
    merged = parts[0] + parts[1] + parts[2]
    merged.save(tmp_path / "merged.npz")
    whole.save(tmp_path / "whole.npz")
    assert (tmp_path / "merged.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()
    with pytest.raises(StateError, match="partial block"):
        correlators(NET, X, orders=(2, 4), block=64, seed=3, n_nets=4000, checkpoint=tmp_path / "whole.npz")


def test_runs_that_begin_beyond_others_leave_a_gap_that_can_be_filled(tmp_path):
    run = lambda **k: correlators(NET, X, block=64, seed=3, **k)  # noqa: E731
    far = run(n_nets=128, start=2**47)
    assert far.intervals.tolist() == [[2**47, 2**47 + 128]] and far.n_nets == 128
    both = run(n_nets=192) + far
    assert both.n_nets == 320 and both.intervals.tolist() == [[0, 192], [2**47, 2**47 + 128]]
    assert (run(n_nets=5, start=2**48 - 64).moments() == run(n_nets=5, start=2**48 - 64, threads=1).moments()).all()


@pytest.mark.parametrize(("width", "n_nets", "block"), [(1, 37, 16), (5, 16, 16), (17, 100, 32), (37, 300, 256), (31, 45, 48)])
def test_the_neuron_estimator_counts_every_neuron_once_in_partial_blocks(width, n_nets, block):
    net = erf_net(width, dim_in=1)
    got = correlators(net, X, orders=(2, 4), n_nets=n_nets, block=block, estimator="neuron", seed=2).moments()
    h = np.concatenate([net.draw(i, seed=2).features(X) for i in range(n_nets)], axis=1)  # (points, samples)
    want = [np.prod(h[index], axis=0).mean() for n in (2, 4) for index in _core.multiset_index(3, n)]
    np.testing.assert_allclose(got, want, rtol=0, atol=2e-6)  # float32 fields and products


def test_unequal_replicas_are_weighted_by_their_networks():
    # 64 blocks of 16 and one more of 4: one replica holds 20 networks, the others 16. The mean over replicas of equal
    # weight would be another number; the delete-one estimates of a linear function have no bias.
    result = correlators(NET, X, orders=(2,), n_nets=64 * 16 + 4, block=16, estimator="direct", seed=9)
    y = outputs(NET, X, stop=64 * 16 + 4, seed=9)[..., 0].astype(np.float64)
    want = [(y[:, i] * y[:, j]).mean() for i in range(3) for j in range(i, 3)]
    np.testing.assert_allclose(result.full(2).mean, want, rtol=1e-6)
    spread = [(y[:, i] * y[:, j]).std() / np.sqrt(len(y)) for i in range(3) for j in range(i, 3)]
    np.testing.assert_allclose(result.full(2).stderr, spread, rtol=0.3)  # known to 1 / sqrt(2 * 64)
