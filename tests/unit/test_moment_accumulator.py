"""Streaming moments: any cut of the stream, any number of threads and any instruction set give the same bits."""

import copy
import hashlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError, StateError
from nnqft.wick import MomentAccumulator, jackknife, moments

ORDERS = (1, 2, 3, 4, 6)


def lattice(n_samples, m):
    """Numbers in [-1, 1) with 24 bits, the same everywhere."""
    numbers = np.arange(n_samples * m, dtype=np.uint64) * 2654435761 % 2**24
    return (numbers.astype(float) / 2**23 - 1).reshape(n_samples, m)


def state(accumulator):
    """Everything it holds, as bytes."""
    values, counts = accumulator.sums()
    return counts.tobytes(), {n: v.tobytes() for n, v in values.items()}


def filled(F, cuts=(), weights=None, **options):
    accumulator = MomentAccumulator(F.shape[1], **({"orders": ORDERS} | options))
    ends = [0, *cuts, len(F)]
    for a, b in zip(ends, ends[1:]):
        accumulator.push(F[a:b], weights=None if weights is None else weights[a:b])
    return accumulator


# ---- bits


def digest():
    """Of sums over 3000 rows of 5 fields with weights, in blocks of 300, and of totals over 10,000 rows of 9 fields."""
    F, big = lattice(3000, 5), lattice(10_000, 9).astype(np.float32)
    accumulator = filled(F, (7, 1000), weights=1 + F[:, 0], block=300)
    values, _ = accumulator.sums()
    parts = [values[n] for n in (0, *ORDERS)] + [_core.moment_sums(big, n) for n in (2, 5, 6)]
    parts += [_core.moment_sums(lattice(600, 3) * [1e-200, 1.0, 1e90], 3)]
    return hashlib.sha256(b"".join(p.tobytes() for p in parts)).hexdigest()


SHA256 = "d338818c28a7dcb6f8468a33733a3a9f41f5b67e913385fd81f52b6e0f274949"


def test_sums_have_the_bits_on_record():
    assert digest() == SHA256


@pytest.mark.parametrize("isa", _core.isas())
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_bits_do_not_depend_on_instruction_set_or_threads(isa, threads, request):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_moment_accumulator as t; print(t.digest())"
    command = [sys.executable, "-c", code, os.path.dirname(__file__)]
    environment = os.environ | {"NNQFT_ISA": isa, "NNQFT_NUM_THREADS": str(threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert (done.stdout.strip(), done.stderr) == (SHA256, "")


def test_bits_do_not_depend_on_threads_where_work_is_shared_out():
    many, large = lattice(200_000, 6), lattice(5000, 14)
    for F, orders in ((many, (2, 4)), (large, (6,))):
        results = [moments(F, orders=orders, threads=t)[orders[-1]] for t in (1, 2, 7)]
        assert results[0] == results[1] == results[2]
        totals = [_core.moment_sums(F, orders[-1], threads=t).tobytes() for t in (1, 2, 7)]
        assert totals[0] == totals[1] == totals[2]


@pytest.mark.parametrize("block", [1, 16, 100, 256, 300])
def test_any_cut_of_the_stream_gives_the_same_bits(block):
    F = lattice(1111, 3)
    whole = state(filled(F, block=block))
    for cuts in ((1,), (256,), (255, 257, 258, 600), (0, 0, 1111), range(0, 1111, 10), (1110,)):
        assert state(filled(F, cuts, block=block)) == whole
    narrow = F.astype(np.float32)
    assert state(filled(narrow, (500,), block=block)) == state(filled(narrow.astype(float), block=block))


def test_weights_of_one_are_no_weights():
    F = lattice(1000, 3)
    some = MomentAccumulator(3, orders=ORDERS)
    some.push(F[:300])
    some.push(F[300:700], weights=np.ones(400))
    some.push(F[700:])
    assert state(some) == state(filled(F))


@pytest.mark.parametrize("cuts", [(256,), (512, 1024), (256, 512, 768, 1024)])
def test_parts_of_a_stream_merge_to_the_bits_of_the_whole(cuts):
    F = lattice(1111, 3)
    ends = [0, *cuts, len(F)]
    parts = [filled(F[a:b], start=a) for a, b in zip(ends, ends[1:])]
    whole = state(filled(F))
    for order in (parts, parts[::-1], parts[1:] + parts[:1]):
        total = MomentAccumulator(3, orders=ORDERS)
        for part in order:
            total.merge(part)
        assert state(total) == whole
    assert state(sum(parts[1:], start=parts[0])) == whole
    parts[0].merge(parts[-1])  # its own stream goes on where it was
    parts[0].push(F[cuts[0] : ends[-2]])
    assert state(parts[0]) == whole


def test_more_than_64_blocks_and_merges_of_every_kind_agree_with_plain_sums():
    F = lattice(5000, 2)
    a, b, c = filled(F[:3001], block=16), filled(F[3001:3005], block=16), filled(F[3005:], block=16)
    totals = [(a + b) + c, a + (b + c), (c + a) + b]
    assert state(totals[0]) == state(totals[1]) == state(totals[2])
    values, counts = totals[0].sums()
    assert counts.sum() == 5000
    np.testing.assert_allclose(values[4].sum(axis=0), _core.moment_sums(F, 4), rtol=1e-13)


# ---- results


def test_finalize_is_what_moments_gives():
    F = np.random.default_rng(0).standard_normal((5000, 4))
    assert filled(F, (999,), block=64).finalize() == moments(F, orders=ORDERS, block=64)


def test_groups_hold_every_64th_block():
    F = lattice(64 * 3 + 2, 1)
    values, counts = filled(F, block=1, orders=1).sums()
    assert counts.tolist() == [4, 4] + [3] * 62
    np.testing.assert_allclose(values[1][0, 0], F[::64].sum())
    later, _ = filled(F[:2], block=1, orders=1, start=63).sums()
    assert later[1].ravel().tolist() == [F[1, 0], F[0, 0]]


def test_sums_are_ready_for_the_jackknife():
    F, w = np.random.default_rng(2).standard_normal((6400, 2)), np.random.default_rng(3).random(6400)
    accumulator = filled(F, block=100)
    plain = jackknife(*accumulator.sums(), function=lambda M: M[2])
    result = accumulator.finalize()[2]
    np.testing.assert_allclose(plain.estimate, result.mean, rtol=1e-13)
    np.testing.assert_allclose(plain.stderr, result.stderr, rtol=1e-9)
    weighted = filled(F, weights=w, block=100)
    values, counts = weighted.sums()
    assert values[0].shape == (64, 1) and counts.tolist() == [100] * 64
    np.testing.assert_allclose(values[0].sum(), w.sum(), rtol=1e-14)


def test_pushing_goes_on_after_finalize():
    F = lattice(1000, 2)
    accumulator = filled(F[:700], block=16)
    first = accumulator.finalize()
    assert accumulator.finalize() == first
    accumulator.push(F[700:])
    assert accumulator.finalize() == filled(F, block=16).finalize()


def test_an_empty_accumulator_says_so():
    accumulator = MomentAccumulator(3)
    accumulator.push(np.zeros((0, 3)))
    assert accumulator.n_samples == 0
    for call in (accumulator.finalize, accumulator.sums):
        with pytest.raises(StateError, match="no sample"):
            call()
    assert (accumulator + accumulator).n_samples == 0


def test_it_describes_itself():
    accumulator = filled(lattice(300, 3))
    assert (accumulator.m, accumulator.orders, accumulator.block, accumulator.n_samples) == (3, ORDERS, 256, 300)
    assert repr(accumulator) == "MomentAccumulator(m=3, orders=(1, 2, 3, 4, 6), block=256, n_samples=300)"
    assert 64 * accumulator.nbytes > 300
    assert MomentAccumulator(20, orders=(4,)).block == 4096 and MomentAccumulator(6, orders=6).block == 256


def test_bad_rows_are_counted_aside_and_named_by_their_place_in_the_stream():
    F = lattice(3000, 2)
    F[1234] = np.nan
    parts = [filled(F[:1024]), filled(F[1024:], start=1024)]
    for accumulator in (filled(F), filled(F, (1230, 1240)), parts[0] + parts[1]):
        with pytest.warns(NNQFTWarning, match="1 block.*row 1234 on"):
            assert np.isnan(accumulator.finalize()[2].mean).all()
        with pytest.warns(NNQFTWarning, match="row 1234 on"):
            assert np.isnan(accumulator.sums()[0][2]).all()
    with pytest.warns(NNQFTWarning, match="row 1002 on"):  # 768 + 234, in the unfinished block
        filled(F[1000:1300], start=768).sums()


# ---- keeping


def test_a_saved_accumulator_goes_on_to_the_same_bits(tmp_path):
    F, w = lattice(5000, 3), 1 + lattice(5000, 1)[:, 0]
    for n in (0, 5, 256, 300, 3001):
        accumulator = filled(F[:n], weights=w[:n], block=16, start=160)
        accumulator.save(tmp_path / "m.npz")
        loaded = MomentAccumulator.load(tmp_path / "m.npz")
        twins = [loaded, pickle.loads(pickle.dumps(accumulator)), copy.deepcopy(accumulator)]
        assert (loaded.n_samples, repr(loaded)) == (n, repr(accumulator))
        for twin in (accumulator, *twins):
            twin.push(F[n:], weights=w[n:])
            assert state(twin) == state(filled(F, weights=w, block=16, start=160))


def test_equal_results_give_equal_files(tmp_path):
    F = lattice(3000, 2)
    for name, cuts in (("a", (100,)), ("b", (2000, 2001))):
        filled(F, cuts).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_files_of_something_else_are_refused(tmp_path):
    from nnqft import _store

    header, arrays = filled(lattice(700, 2))._state()
    heads = [{"format": "nnqft.correlators/1"}, {"m": 3}, {"orders": [2]}, {"orders": [9]}, {"block": 0},
             {"block": 100}]  # fmt: skip
    bodies = [{"counters": np.array([2**60, 0, 0], np.uint64)}, {"planes": arrays["planes"][::-1]},
              {"bases": arrays["bases"] + 100}, {"samples": 0 * arrays["samples"]},
              {"waiting": arrays["waiting"][:-1]}]  # fmt: skip
    changes = [(head, {}) for head in heads] + [({}, body) for body in bodies]
    for number, (head, body) in enumerate(changes):
        path = tmp_path / str(number)
        _store.save(path, header | head, arrays | body)
        with pytest.raises(StateError):
            MomentAccumulator.load(path)


# ---- refusals and interruptions


def test_what_does_not_fit_is_refused():
    accumulator = MomentAccumulator(3, orders=2)
    with pytest.raises(ShapeError, match="takes 3 fields per row"):
        accumulator.push(np.zeros((4, 2)))
    with pytest.raises(ShapeError, match="int64"):
        accumulator.push(np.zeros((4, 3), int))
    others = {"m": MomentAccumulator(2, orders=2), "orders": MomentAccumulator(3, orders=4),
              "block": MomentAccumulator(3, orders=2, block=16)}  # fmt: skip
    for what, other in others.items():
        for merge in (accumulator.merge, accumulator.__add__):
            with pytest.raises(StateError, match=what):
                merge(other)
    with pytest.raises(StateError, match="itself"):
        accumulator.merge(accumulator)
    with pytest.raises(TypeError):
        accumulator + 1
    for message, options in {"multiple of the block": {"start": 100}, "start": {"start": -1}, "block": {"block": 0},
                             "threads": {"threads": 0}}.items():  # fmt: skip
        with pytest.raises(ArgumentError, match=message):
            MomentAccumulator(3, **options)
    with pytest.raises(ArgumentError, match="GB"):
        MomentAccumulator(60, orders=6)
    with pytest.raises(TypeError, match="never initialised"):
        _core.MomentAccumulator.__new__(_core.MomentAccumulator).push(np.zeros((1, 1)), None, 1, None)


def test_a_second_call_at_the_same_time_is_refused():
    accumulator = MomentAccumulator(3)

    def meddle(done, total):
        if done == 0:
            return
        assert done < total
        with pytest.raises(StateError, match="another call"):
            accumulator.push(np.zeros((1, 3)))
        raise KeyError

    with pytest.raises(KeyError):
        accumulator.push(np.broadcast_to(0.5, (30_000_000, 3)), progress=meddle)
    accumulator.push(np.zeros((1, 3)))


def test_ctrl_c_stops_a_long_push_and_whole_batches_stay_counted():
    F = np.broadcast_to(np.linspace(0.5, 1, 16), (2_000_000, 16))  # some ten seconds, if nobody stopped it
    accumulator = MomentAccumulator(16, orders=(2, 6), threads=2)
    sent = []

    def interrupt():
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    threading.Timer(0.3, interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        accumulator.push(F)
    assert time.monotonic() - sent[0] < 0.5
    n = accumulator.n_samples
    assert n < len(F) and n % accumulator.block == 0
    if n:
        assert state(accumulator) == state(filled(F[:n], orders=(2, 6)))
