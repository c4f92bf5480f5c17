"""What Lanczos says to bad input, and what it leaves behind when something goes wrong."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import scipy.sparse as sp
from nnqft import _core
from nnqft.errors import ArgumentError, ShapeError, StateError
from nnqft.lanczos import LanczosState, as_operator, gram, kpm, lanczos, singular_values, slq, trace

A = np.diag(np.arange(1.0, 21.0))


def broken_csr(**changes):
    parts = {"indptr": np.array([0, 1, 2], np.int32), "indices": np.array([0, 1], np.int32), "data": np.ones(2)} | changes
    return _core.csr64(parts["indptr"], parts["indices"], parts["data"])


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: lanczos(A[:3], 2), ShapeError, "square"),
    (lambda: lanczos(A[0], 2), ShapeError, "square"),
    (lambda: lanczos(np.zeros((0, 0)), 2), ShapeError, "square"),
    (lambda: lanczos(A.astype(int), 2), ShapeError, "astype"),
    (lambda: lanczos(A.astype(complex), 2), ShapeError, "astype"),
    (lambda: lanczos(A.astype(">f8"), 2), ShapeError, "astype"),
    (lambda: lanczos(A[::-1, ::-1], 2), ShapeError, "ascontiguousarray"),
    (lambda: lanczos(A[::2, ::2], 2), ShapeError, "ascontiguousarray"),
    (lambda: lanczos(sp.coo_array(A), 2), ArgumentError, "tocsr"),
    (lambda: lanczos(sp.csr_array(A.astype(int)), 2), ShapeError, "astype"),
    (lambda: lanczos(lambda x: x, 2), ArgumentError, "size"),
    (lambda: lanczos(None, 2), ArgumentError, "no operator"),
    (lambda: lanczos(np.triu(np.ones((4, 4))), 2), ArgumentError, "not symmetric"),
    (lambda: lanczos(sp.csr_array(np.triu(np.ones((4, 4)))), 2), ArgumentError, "not symmetric"),
    (lambda: lanczos(as_operator(lambda x: np.cumsum(x), n=50), 2), ArgumentError, "not symmetric"),
    (lambda: lanczos(A, 0), ArgumentError, "k must"),
    (lambda: lanczos(A, 2.5), ArgumentError, "k must"),
    (lambda: lanczos(A, 2, probes=0), ArgumentError, "probes"),
    (lambda: lanczos(A, 2, v0=np.zeros(20)), ArgumentError, "zero"),
    (lambda: lanczos(A, 2, v0=np.full(20, np.nan)), ArgumentError, "NaN"),
    (lambda: lanczos(A, 2, v0=np.ones(19)), ShapeError, "v0"),
    (lambda: lanczos(A, 2, v0=np.ones((0, 20))), ShapeError, "v0"),
    (lambda: lanczos(A, 2, v0=np.ones(20, np.float32)), ShapeError, "astype"),
    (lambda: lanczos(A, 2, v0=np.ones(20), probes=3), ArgumentError, "leave probes out"),
    (lambda: lanczos(A, 2, dtype=np.float32), ArgumentError, "astype"),
    (lambda: lanczos(A, 2, dtype=np.int64), ShapeError, "dtype"),
    (lambda: lanczos(A, 2, distribution="uniform"), ArgumentError, "distribution"),
    (lambda: lanczos(A, 2, reorth="some"), ArgumentError, "reorth"),
    (lambda: lanczos(A, 2, reorth="none", restart=True), ArgumentError, "needs reorth='full'"),
    (lambda: lanczos(A, 2, seed=-1), ArgumentError, "seed"),
    (lambda: lanczos(A, 2, threads=0), ArgumentError, "threads"),
    (lambda: lanczos(A, 2, callback=3), ArgumentError, "callback"),
    (lambda: lanczos(A, 2, state=3), ArgumentError, "state"),
    (lambda: lanczos(as_operator(lambda x: x, n=10**9), 10**6, probes=100, check_symmetric=False), ArgumentError, "GB"),
    (lambda: lanczos(A, 2, probes=2**62), ArgumentError, "GB"),
    (lambda: as_operator(lambda x: x, n=0), ArgumentError, "at least 1"),
    (lambda: as_operator(A).matvec(np.ones(3)), ShapeError, "expected"),
    (lambda: as_operator(A).matmat(np.ones((20, 2), np.float32)), ShapeError, "expected"),
    (lambda: as_operator(lambda x: x[:3], n=20).matvec(np.ones(20)), ShapeError, "returned shape"),
    (lambda: as_operator(lambda x: 1j * x, n=20).matvec(np.ones(20)), ShapeError, "real"),
    (lambda: as_operator(A) + as_operator(np.eye(3)), ShapeError, "same"),
    (lambda: as_operator(A) * np.nan, ArgumentError, "nan"),
    (lambda: as_operator(A).restrict([1, 1]), ArgumentError, "once"),
    (lambda: gram(np.ones((3, 3), int)), ShapeError, "float64"),
    (lambda: broken_csr(indices=np.array([0, 2], np.int32)), ArgumentError, "indices"),
    (lambda: broken_csr(indices=np.array([0, -1], np.int32)), ArgumentError, "indices"),
    (lambda: broken_csr(indptr=np.array([0, 3, 2], np.int32)), ArgumentError, "indptr"),
    (lambda: broken_csr(indptr=np.array([1, 1, 2], np.int32)), ArgumentError, "indptr"),
    (lambda: broken_csr(indptr=np.array([0, 1], np.int64)), ShapeError, "indptr"),
    (lambda: broken_csr(data=np.ones(5)), ShapeError, "lengths"),
])  # fmt: skip
def test_bad_input_is_refused_with_words_that_help(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_symmetry_check_can_be_switched_off():
    upper = np.triu(np.ones((4, 4)))
    nodes, _ = lanczos(upper, 4, v0=np.arange(1.0, 5.0), check_symmetric=False).eigen()
    np.testing.assert_allclose(np.nanmax(nodes), 4.0)  # of the matrix of ones, whose upper triangle was read


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("step", [0, 3])
def test_a_number_that_is_none_is_reported_with_its_step_and_costs_no_more(bad, step):
    calls = []

    def matvec(x):
        calls.append(None)
        return x * np.arange(1.0, 21.0) + (bad if len(calls) == step + 1 else 0.0)

    state = LanczosState()
    op = as_operator(matvec, n=20)
    with pytest.raises(ArgumentError, match=f"step {step} "):
        lanczos(op, 8, state=state, check_symmetric=False)
    assert state.steps.tolist() == [step]
    np.testing.assert_array_equal(lanczos(op, 8, state=state).alpha, lanczos(op, 8, check_symmetric=False).alpha)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_matrix_with_a_number_that_is_none_is_refused(bad):
    broken = A.copy()
    broken[3, 4] = broken[4, 3] = bad
    for form in (broken, sp.csr_array(broken)):
        with pytest.raises(ArgumentError, match="NaN or an infinity at step 0"):
            lanczos(form, 3)


class Failed(Exception):
    pass


@pytest.mark.parametrize("reorth", ["full", "none", "partial"])
def test_an_exception_in_an_operator_leaves_a_state_that_resumes_to_the_same_bits(reorth):
    rng, calls = np.random.default_rng(0), []
    M = rng.standard_normal((60, 60))
    M = M + M.T

    def matvec(x):
        calls.append(None)
        if len(calls) in (7, 20, 21):
            raise Failed
        return M @ x

    state, op = LanczosState(), as_operator(matvec, n=60)
    for _ in range(3):
        with pytest.raises(Failed):
            lanczos(op, 15, probes=3, state=state, reorth=reorth, check_symmetric=False)
    run = lanczos(op, 15, probes=3, state=state, reorth=reorth)
    whole = lanczos(as_operator(lambda x: M @ x, n=60), 15, probes=3, reorth=reorth)
    np.testing.assert_array_equal(run.alpha, whole.alpha)
    np.testing.assert_array_equal(run.beta, whole.beta)


def test_a_callback_sees_each_step_and_may_stop_or_fail():
    seen = []

    def watch(step, alpha, beta):
        seen.append((step, alpha.shape, beta.shape))
        return step == 3

    run = lanczos(A, 9, probes=2, callback=watch)
    assert seen == [(s, (2, s), (2, s)) for s in (1, 2, 3)] and run.steps.tolist() == [3, 3]
    np.testing.assert_array_equal(lanczos(A, 9, probes=2, state=run.state).alpha, lanczos(A, 9, probes=2).alpha)

    def fail(step, alpha, beta):
        raise Failed

    state = LanczosState()
    for steps in (1, 2):
        with pytest.raises(Failed):
            lanczos(A, 9, probes=2, callback=fail, state=state)
        assert state.steps.tolist() == [steps, steps]
    resumed, whole = lanczos(A, 9, state=state, basis=True), lanczos(A, 9, probes=2, basis=True)
    for name in ("alpha", "beta", "residual", "basis"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))


PROGRESS = {
    "lanczos": (lambda **o: lanczos(A, 9, probes=3, **o), 9),
    "slq": (lambda **o: slq(A, 9, probes=3, **o), 9),
    "singular values": (lambda **o: singular_values(A, 9, probes=3, **o), 9),
    "kpm": (lambda **o: kpm(A, 11, probes=3, **o), 18),
    "hutchinson": (lambda **o: trace(A, 18, method="hutchinson", **o), 18),
    "hutch++": (lambda **o: trace(A, 18, method="hutch++", **o), 18),
    "xtrace": (lambda **o: trace(A, 18, **o), 18),
    "exact trace": (lambda **o: trace(A, 60, **o), 20),
}


@pytest.mark.parametrize("name", PROGRESS)
def test_progress_is_told_and_changes_nothing(name):
    run, total = PROGRESS[name]
    seen = []

    def tell(*numbers):
        seen.append(numbers)
        return True  # no order to stop

    told, silent = run(progress=tell), run()
    assert seen[-1] == (total, total) and seen == sorted(seen) and len(seen) == len(set(seen)) > 1
    for part in ("alpha", "nodes", "moments", "mean", "stderr"):
        if hasattr(silent, part) and not callable(getattr(silent, part)):
            np.testing.assert_array_equal(getattr(told, part), getattr(silent, part))

    def fail(done, total):
        raise Failed

    with pytest.raises(Failed):
        run(progress=fail)


def test_a_callback_may_use_the_operator_that_is_running():
    op = as_operator(A)
    lanczos(op, 4, callback=lambda step, alpha, beta: op.matvec(np.ones(20)).sum() < 0)
    outer = as_operator(lambda x: op.matvec(x) + 0 * lanczos(op, 2).alpha[0, 0], n=20)
    np.testing.assert_array_equal(lanczos(outer, 4).alpha.shape, (1, 4))


def test_vectors_kept_by_an_operator_stay_what_they_were():
    kept = []

    def matvec(x):
        kept.append((x, x.copy()))
        return A @ x

    lanczos(as_operator(matvec, n=20), 10)
    for x, copy in kept:
        np.testing.assert_array_equal(x, copy)


def test_states_refuse_what_they_do_not_belong_to():
    state = lanczos(A, 3, seed=1).state
    for change in ({"reorth": "none"}, {"restart": True}, {"seed": 0}, {"seed": 2}, {"distribution": "gaussian"}, {"seed": 1, "distribution": "sphere"}):
        with pytest.raises(StateError, match="state was made with"):
            lanczos(A, 5, state=state, **change)
    with pytest.raises(StateError, match="n=20"):
        lanczos(np.eye(3), 3, state=state)
    with pytest.raises(ArgumentError, match="at least as many"):
        lanczos(A, 5, state=lanczos(A, 3, probes=2).state, probes=1)
    given = lanczos(A, 3, v0=np.ones(20)).state
    with pytest.raises(ArgumentError, match="given vectors"):
        lanczos(A, 3, state=given, probes=2)
    assert lanczos(A, 3, state=given, v0=np.arange(20.0)).steps.tolist() == [3, 3]
    first = lanczos(A, 3, seed=1)
    lanczos(A, 4, state=first.state)
    with pytest.raises(StateError, match="gone on"):
        first.residual  # noqa: B018


@pytest.mark.parametrize("law", ["rademacher", "gaussian", "sphere"])
@pytest.mark.parametrize("seed", [0, 7])
def test_probes_that_a_state_is_asked_for_later_follow_its_own_law(law, seed):
    state = lanczos(A, 4, probes=2, distribution=law, seed=seed).state
    run, whole = lanczos(A, 4, probes=4, state=state), lanczos(A, 4, probes=4, distribution=law, seed=seed)
    assert (run.distribution, run.seed) == (whole.distribution, whole.seed) == (law, seed)
    for name in ("alpha", "beta", "norm2"):
        np.testing.assert_array_equal(getattr(run, name), getattr(whole, name))
    state = LanczosState()
    slq(A, 4, probes=2, distribution=law, seed=seed, state=state)
    S = slq(A, 6, probes=5, state=state)
    np.testing.assert_array_equal(S.nodes, slq(A, 6, probes=5, distribution=law, seed=seed).nodes)
    assert (S.how["distribution"], S.how["seed"]) == (law, seed)
    for other in {"rademacher", "gaussian", "sphere"} - {law}:
        with pytest.raises(StateError, match="distribution="):
            slq(A, 6, probes=5, distribution=other, seed=seed, state=state)


def test_one_state_serves_one_thread_at_a_time():
    state, entered, go = LanczosState(), threading.Event(), threading.Event()

    def matvec(x):
        entered.set()
        go.wait(20)
        return A @ x

    op = as_operator(matvec, n=20)
    core = _core.Lanczos64(20, "full", False)
    core.draw(1, "rademacher", 0)
    state._core, state._made = core, {"n": 20, "dtype": np.dtype(np.float64), "reorth": "full", "restart": False, "basis": False, "distribution": "rademacher", "seed": 0}
    worker = threading.Thread(target=lambda: lanczos(op, 3, state=state))
    worker.start()
    entered.wait(20)
    with pytest.raises(StateError, match="already"):
        lanczos(as_operator(A), 3, state=state)
    go.set()
    worker.join()
    assert state.steps.tolist() == [3]


def test_handles_that_were_never_made_are_refused():
    for name in ("Operator64", "Dense64", "Lanczos64"):
        cls = getattr(_core, name)
        with pytest.raises((TypeError, RuntimeError)):
            empty = cls.__new__(cls)
            empty.matmat(np.ones((3, 1)), 1) if name != "Lanczos64" else empty.alpha


def interrupted(op, k, reorth):
    """A run that Ctrl-C ends after its third step: the state it leaves, and the seconds from the signal to its end."""
    state, sent = LanczosState(), []

    def interrupt():
        while len(state.steps) == 0 or state.steps[0] < 3:
            time.sleep(0.01)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        lanczos(op, k, reorth=reorth, state=state, threads=2)
    late = time.monotonic() - sent[0]
    sender.join()
    return state, late


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("reorth", ["none", "full"])
def test_ctrl_c_ends_a_run_within_half_a_second_and_leaves_the_finished_steps(reorth):
    B = sp.csr_array(sp.diags(np.linspace(0, 1, 2_000_000)))
    for _ in range(3):  # a machine that does other things may be late, but not each time
        state, late = interrupted(B, 1_000_000 if reorth == "none" else 60, reorth)
        done = int(state.steps[0])
        assert done >= 3
        if late < 0.5:
            break
    assert late < 0.5
    run = lanczos(B, done + 1, reorth=reorth, state=state, threads=1)
    np.testing.assert_array_equal(run.alpha, lanczos(B, done + 1, reorth=reorth).alpha)


@pytest.mark.parametrize("isa", _core.isas())
def test_every_instruction_set_gives_the_same_bits_of_sparse_runs(isa):
    code = ("import numpy as np, scipy.sparse as sp, hashlib\n"
            "from nnqft.lanczos import lanczos\n"
            "d = np.repeat([1.0, -0.3], 1500) + np.where(np.arange(3000) % 700 < 90, np.linspace(0, 1, 3000), 0)\n"
            "A = sp.csr_array(sp.diags([np.ones(2999), d, np.ones(2999)], [-1, 0, 1]))\n"
            "h = hashlib.sha256()\n"
            "for B in (A, A.astype(np.float32)):\n"
            "    r = lanczos(B, 12, probes=3, basis=True)\n"
            "    h.update(r.alpha.tobytes() + r.beta.tobytes() + r.basis.tobytes())\n"
            "print(h.hexdigest())\n")  # fmt: skip

    def run(name):
        return subprocess.run([sys.executable, "-c", code], env=os.environ | {"NNQFT_ISA": name}, capture_output=True, text=True, check=True).stdout

    assert run(isa) == run("scalar")
