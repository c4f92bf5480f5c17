"""How hafnian() treats its arguments, threads, time, and the user's patience."""

import hashlib
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.wick import hafnian, hafnian_vjp

BITS = """
import hashlib, numpy as np
from nnqft.wick import hafnian
rng = np.random.default_rng(5)
h = hashlib.sha256()
for n in (2, 5, 8, 12, 13, 14, 17, 20, 24, 28, 33):
    K = rng.normal(size=(n, n)); K = K + K.T; mu = rng.normal(size=n)
    r = rng.integers(1, 4, n // 2 + 1)
    k = len(r)
    for z in (hafnian(K), hafnian(K, mu=mu), hafnian(K[:k, :k] * (1 + 0.5j), mu=mu[:k] * 1j, repeats=r), hafnian(K[:k, :k], repeats=r)):
        h.update(np.array(z).tobytes())
K = rng.normal(size=(6, 6)); K = K + K.T
for r in ([6] * 6, [4, 5, 6, 7, 8, 2], [9, 1, 1, 1, 1, 1]):
    h.update(np.array(hafnian(K, mu=K[0], repeats=r)).tobytes())
print(h.hexdigest())
"""
GOLDEN = "ffedc8666b341c4094eac2130400a0bfd94f3c95b78500b758f5cef20f76c2e1"


def kernel(n):
    K = np.random.default_rng(n).normal(size=(n, n))
    return K + K.T


def digest(**environment):
    result = subprocess.run([sys.executable, "-c", BITS], env=os.environ | environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_every_instruction_set_gives_the_stored_bits(isa):
    from nnqft import build_info

    if isa not in build_info()["isas"]:
        pytest.skip(f"this CPU lacks {isa}")
    assert digest(NNQFT_ISA=isa) == GOLDEN


@pytest.mark.parametrize("n", [30, 34])
def test_threads_change_no_bit(n):
    K = kernel(n)
    mu = K[0].copy()
    for arguments in ({}, {"mu": mu}):
        assert len({hafnian(K, threads=t, **arguments) for t in (1, 2, 7)}) == 1
    repeats = [4] * 9
    assert len({hafnian(K[:9, :9].copy(), repeats=repeats, threads=t) for t in (1, 2, 7)}) == 1


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 2, 2), (0, 2)])
def test_matrices_that_are_not_square_are_refused(shape):
    with pytest.raises(ShapeError, match="square"):
        hafnian(np.zeros(shape))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.complex64, bool, object])
def test_no_dtype_is_cast_behind_the_callers_back(dtype):
    with pytest.raises(ShapeError, match="float64 or complex128"):
        hafnian(np.ones((2, 2), dtype=dtype))


def test_lists_are_read_as_doubles():
    assert hafnian([[0, 2], [2, 0]]) == 2.0
    assert hafnian([[0, 2j], [2j, 0]]) == 2j


def test_values_that_are_not_finite_are_counted():
    K = np.ones((4, 4))
    K[0, 1] = K[1, 0] = np.nan
    with pytest.raises(ArgumentError, match="2 entries that are not finite"):
        hafnian(K)
    with pytest.raises(ArgumentError, match="mu has 1 "):
        hafnian(np.ones((2, 2)), mu=np.array([1.0, np.inf]))


def test_asymmetry_beyond_rounding_is_refused_and_rounding_is_not():
    K = np.ones((4, 4))
    K[2, 3] = 1 + 1e-14
    assert hafnian(K) == pytest.approx(3.0, rel=1e-13)
    K[2, 3] = 1.001
    with pytest.raises(ArgumentError, match=r"K\[2, 3\] = 1.001"):
        hafnian(K)


@pytest.mark.parametrize("mu", [np.ones(3), np.ones((4, 1)), np.ones(4, dtype=complex), np.ones(4, dtype=np.float32)])
def test_means_must_fit_the_matrix(mu):
    with pytest.raises(ShapeError, match="K needs shape"):
        hafnian(np.ones((4, 4)), mu=mu)


@pytest.mark.parametrize("repeats, error", [([1, -1], ArgumentError), ([1.5, 1], ArgumentError), ([1], ShapeError), ([[1, 1]], ShapeError), (["a", "b"], ArgumentError),
                                            ([2**40, 1], ArgumentError), (np.array([1.0, 2.0]), ArgumentError)])  # fmt: skip
def test_repeats_must_be_counts(repeats, error):
    with pytest.raises(error):
        hafnian(np.ones((2, 2)), repeats=repeats)


def test_layout_and_byte_order_and_locks_do_not_matter():
    K = np.random.default_rng(0).normal(size=(24, 24))
    K = K + K.T
    expected = hafnian(K[::2, ::2].copy())
    assert hafnian(K[::2, ::2]) == expected
    assert hafnian(np.asfortranarray(K[::2, ::2])) == expected
    assert hafnian(K[::-2, ::-2][::-1, ::-1]) == hafnian(K[::-2, ::-2][::-1, ::-1].copy())
    locked = K.copy()
    locked.setflags(write=False)
    assert hafnian(locked) == hafnian(K)
    raw = np.zeros(24 * 24 * 8 + 1, dtype=np.uint8)
    unaligned = raw[1:].view(np.float64).reshape(24, 24)
    unaligned[...] = K
    assert hafnian(unaligned) == hafnian(K)
    assert hafnian(K, repeats=np.ones(24, dtype=np.uint8)) == hafnian(K)


def test_nothing_is_one_and_odd_is_zero():
    assert hafnian(np.zeros((0, 0))) == 1.0
    assert hafnian(np.ones((2, 2)), repeats=[0, 0]) == 1.0
    assert hafnian(np.ones((3, 3))) == 0.0
    assert hafnian(np.ones((1, 1)), mu=np.array([2.5])) == 2.5
    assert hafnian(np.zeros((16, 16))) == 0.0
    assert hafnian(np.zeros((14, 14)), mu=np.full(14, 2.0)) == 2.0**14


def test_overflow_is_infinite_with_a_warning():
    with pytest.warns(NNQFTWarning, match="exceeds the range"):
        assert hafnian(np.full((4, 4), 1e300)) == math.inf


def test_work_that_would_take_years_is_refused_with_its_price():
    with pytest.raises(ArgumentError, match=r"years .*max_seconds=math.inf"):
        hafnian(kernel(120))
    with pytest.raises(ArgumentError, match="out of reach"):
        hafnian(kernel(600))
    with pytest.raises(ArgumentError, match="seconds on"):
        hafnian(kernel(46), max_seconds=1e-3)
    with pytest.raises(ArgumentError, match="positive"):
        hafnian(kernel(46), max_seconds=float("nan"))
    with pytest.raises(ArgumentError):
        hafnian(kernel(10), repeats=[1 << 20] * 10)
    assert hafnian(np.ones((60, 60))) > 0  # points that coincide are one, repeated; their derivatives are not
    with pytest.raises(ArgumentError, match="60 points and its derivatives takes about"):
        hafnian_vjp(np.ones((60, 60)), max_seconds=1e-3)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", 10**6])
def test_threads_must_be_a_sensible_number(threads):
    with pytest.raises(ArgumentError, match="threads"):
        hafnian(np.ones((4, 4)), threads=threads)


def test_progress_rises_to_the_end():
    seen = []
    hafnian(kernel(44), progress=lambda done, total: seen.append((done, total)))
    assert seen and all(total == 100 for _, total in seen)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert 0 <= seen[0][0] <= seen[-1][0] <= 100


def test_an_exception_in_progress_ends_the_work_and_leaves():
    def fail(done, total):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        hafnian(kernel(50), progress=fail)


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_answers_within_half_a_second():
    code = ("import numpy as np\nfrom nnqft.wick import hafnian\nprint('go', flush=True)\n"
            "K = np.random.default_rng(0).normal(size=(70, 70))\nhafnian(K + K.T, max_seconds=float('inf'), threads=2)")  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().strip() == "go"
        time.sleep(0.6)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in error
        assert time.monotonic() - start < 2.0  # half a second, and the interpreter's own end on a busy machine


def test_the_stored_digest_is_a_sha256():
    assert len(GOLDEN) == hashlib.sha256().digest_size * 2
