"""What eigsh and outliers take, return and refuse."""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft import _core
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError, StateError
from nnqft.lanczos import as_operator, eigsh, outliers

A = np.diag(np.arange(1.0, 41.0))


def test_all_kinds_of_operators_give_the_same_pairs():
    kinds = [A, np.asfortranarray(A), sp.csr_array(A), sp.linalg.aslinearoperator(A), A[::-1, ::-1][::-1, ::-1]]
    for op in kinds:
        w, V = eigsh(op, 3)
        np.testing.assert_allclose(w, [38, 39, 40], rtol=1e-10)
        assert V.shape == (40, 3) and V.dtype == w.dtype == np.float64


def test_equal_seeds_give_equal_bits():
    for one, two in ((eigsh(A, 3, seed=5), eigsh(A, 3, seed=5)),):
        np.testing.assert_array_equal(one[0], two[0])
        np.testing.assert_array_equal(one[1], two[1])
    assert abs(abs(eigsh(A, 3, seed=5)[1]) - abs(eigsh(A, 3, seed=6)[1])).max() < 1e-8


def test_any_number_of_threads_gives_the_same_bits():
    line = sp.diags_array([np.ones(4999), np.linspace(-1, 1, 5000), np.ones(4999)], offsets=[-1, 0, 1])
    G = np.random.default_rng(3).normal(size=(900, 900))
    for op in (sp.csr_array(line), G + G.T, (G + G.T).astype(np.float32)):
        runs = [eigsh(op, 3, threads=threads, max_restarts=400) for threads in (1, 2, 7)]
        for w, V in runs[1:]:
            np.testing.assert_array_equal(w, runs[0][0])
            np.testing.assert_array_equal(V, runs[0][1])


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no SIGINT to one process")
def test_ctrl_c_ends_a_search_within_half_a_second():
    op, sent = sp.csr_array(sp.diags_array(np.linspace(0, 1, 1_000_000))), []  # a spectrum without gaps: thousands of products

    def interrupt():
        time.sleep(0.7)
        sent.append(time.process_time())
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        eigsh(op, 4, tol=1e-14, threads=2)
    late = time.process_time() - sent[0]
    sender.join()
    assert late < 1.0  # of processor time, whatever else the machine does: half a second of two threads


def test_what_did_not_converge_is_said_and_flagged():
    G = np.random.default_rng(1).normal(size=(300, 300))
    with pytest.warns(NNQFTWarning, match="did not converge"):
        w, V, info = eigsh(G + G.T, 4, ncv=8, max_restarts=2, return_info=True)
    assert not info.converged.all() and not info.verified and info.restarts == 2
    # The residual is a true bound all the same.
    values = np.linalg.eigvalsh(G + G.T)
    for x, r in zip(w, info.residuals, strict=True):
        assert abs(values - x).min() <= r * (1 + 1e-9)


def test_a_verification_that_did_not_end_is_said():
    A = np.diag(np.concatenate([np.linspace(0.0, 1.0, 200), [3.0, 3.0]]))
    with pytest.warns(NNQFTWarning, match="better ones are left was not settled in 0 restarts"):
        w, _, info = eigsh(A, 1, max_restarts=0, return_info=True)
    assert info.converged.all() and not info.verified and w[0] == pytest.approx(3.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        eigsh(A, 1, max_restarts=0, verify=False)


def test_products_are_counted():
    calls = []

    def product(x):
        calls.append(1)
        return np.arange(1.0, 41.0) * x

    info = eigsh(sp.linalg.LinearOperator((40, 40), matvec=product, dtype=np.float64), 2, return_info=True)[2]
    assert info.products == len(calls)


@pytest.mark.parametrize(("options", "error", "message"), [
    ({"k": 0}, ArgumentError, "k is 0"), ({"k": 41}, ArgumentError, "only 40 eigenvalues"), ({"k": 2.5}, ArgumentError, "2.5"),
    ({"which": "SM"}, ArgumentError, "expected one of 'LM', 'LA', 'SA', 'BE'"), ({"ncv": 3, "k": 3}, ArgumentError, "ncv is 3"),
    ({"ncv": 41}, ArgumentError, "at most n = 40"), ({"tol": 0}, ArgumentError, "tol must be"), ({"tol": np.nan}, ArgumentError, "tol must be"),
    ({"v0": np.ones(3)}, ShapeError, r"expected \(40,\)"), ({"v0": np.zeros(40)}, ArgumentError, "not zero"),
    ({"v0": np.full(40, np.inf)}, ArgumentError, "finite"), ({"seed": "x"}, ArgumentError, "seed"),
    ({"max_restarts": -1}, ArgumentError, "max_restarts is -1"),
])  # fmt: skip
def test_senseless_arguments_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        eigsh(A, **options)


def test_operators_that_are_not_symmetric_or_not_finite_are_named():
    G = np.random.default_rng(2).normal(size=(60, 60))
    with pytest.raises(ArgumentError, match="not symmetric"):
        eigsh(sp.csr_array(G), 3)
    with pytest.raises(ArgumentError, match="not symmetric"):
        eigsh(sp.csr_array(G + G.T + 1e-4 * G), 3)
    with pytest.raises(ArgumentError, match="product 1 "):
        eigsh(np.diag([1.0, np.nan, 2.0]), 1)
    with pytest.raises(ShapeError, match="square"):
        eigsh(np.ones((2, 3)), 1)


def test_an_error_in_the_operator_comes_through():
    def product(x):
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        eigsh(sp.linalg.LinearOperator((9, 9), matvec=product, dtype=np.float64), 2)


def test_an_operator_may_use_the_search_it_is_searched_by_in_no_way():
    core = _core.ThickRestart64(as_operator(A).native, 4, 0)
    core.start(None, 1)
    nested = _core.ThickRestart64(_core.python64(40, lambda x: (nested.extend(3, 1), x)[1]), 4, 0)
    nested.start(None, 1)
    with pytest.raises(StateError, match="under way"):
        nested.extend(2, 1)
    assert nested.used == 0
    for wrong in (lambda: core.restart(np.ones((3, 3), order="F"), np.ones(3), False, 1), lambda: core.combine(np.ones(3), 1),
                  lambda: core.residuals(np.ones((3, 1), order="F"), np.ones(1), 1), lambda: core.start(np.ones(3), 1)):  # fmt: skip
        with pytest.raises(ShapeError, match="expected float64"):
            wrong()
    with pytest.raises(ArgumentError, match="keeps 1 to 0"):
        core.restart(np.ones((0, 0), order="F"), np.ones(0), False, 1)
    with pytest.raises(ArgumentError, match="does not fit"):
        _core.ThickRestart64(as_operator(A).native, 41, 0)
    with pytest.raises((TypeError, RuntimeError)):
        _core.ThickRestart64.__new__(_core.ThickRestart64).extend(1, 1)


def test_a_basis_that_does_not_fit_into_memory_is_refused_before_it_is_made():
    with pytest.raises(ArgumentError, match="GB .* smaller ncv"):
        eigsh(as_operator(lambda x: x, n=10**10), 500)


def test_outliers_need_room_and_a_factor():
    with pytest.raises(ArgumentError, match="46 eigenvalues; the operator has 40"):
        outliers(A)
    with pytest.raises(ArgumentError, match="factor must be"):
        outliers(np.diag(np.arange(100.0)), factor=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = outliers(np.diag(np.concatenate([np.linspace(0, 1, 100), [5.0]])), 3)
    assert found.high.tolist() == pytest.approx([5.0]) and len(found.low) == 0
    assert abs(found.high_vectors[-1, 0]) == pytest.approx(1)
    assert "1 above" in repr(found)
