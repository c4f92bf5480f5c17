"""The C ABI: a C program compiled against the installed header and library, and the library called through ctypes."""

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nnqft
from nnqft.wick import hafnian, hafnian_batch, moments, wick_all

INT64, INT32, DOUBLE, POINTER, SIZE = ctypes.c_int64, ctypes.c_int32, ctypes.c_double, ctypes.c_void_p, ctypes.c_size_t
OK, ARGUMENT_ERROR, MEMORY_ERROR, STOPPED = range(4)


class Run(ctypes.Structure):
    _fields_ = [("threads", INT32), ("reserved", INT32), ("max_seconds", DOUBLE), ("poll", ctypes.CFUNCTYPE(ctypes.c_int, DOUBLE, POINTER)), ("context", POINTER)]


@pytest.fixture(scope="module")
def library():
    library = ctypes.CDLL(nnqft.get_library())
    tail = [POINTER, POINTER, POINTER, SIZE]  # run, out, message, message_bytes
    library.nnqft_version.restype = ctypes.c_char_p
    library.nnqft_hafnian.argtypes = library.nnqft_hafnian_complex.argtypes = [INT64, POINTER, POINTER, POINTER, *tail]
    library.nnqft_hafnian_batch.argtypes = [INT64, POINTER, POINTER, INT64, INT64, POINTER, *tail]
    library.nnqft_wick_all.argtypes = [INT64, INT32, POINTER, POINTER, *tail]
    library.nnqft_moments.argtypes = library.nnqft_moments_float.argtypes = [INT64, INT64, POINTER, POINTER, INT32, *tail]
    library.nnqft_multiset_count.argtypes, library.nnqft_multiset_count.restype = [INT64, INT64], INT64
    return library


def call(function, *arguments):
    """Code and message of a function whose last two arguments are left out; arrays become pointers."""
    message = ctypes.create_string_buffer(b"untouched", 200)
    code = function(*[x.ctypes.data if isinstance(x, np.ndarray) else x for x in arguments], message, len(message))
    return code, message.value.decode()


# ---------------------------------------------------------------- from C


@pytest.fixture(scope="module")
def printed(tmp_path_factory):
    """What the C program prints: name -> numbers."""
    compiler = shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler: neither $CC, cc, gcc nor clang is on the PATH")
    program, library = tmp_path_factory.mktemp("c") / "program", Path(nnqft.get_library())
    command = [compiler, "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", Path(__file__).with_name("c_header.c"), "-I", nnqft.get_include(),
               library, f"-Wl,-rpath,{library.parent}", "-lm", "-o", program]  # fmt: skip
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    ran = subprocess.run([program], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    lines = (line.split() for line in ran.stdout.splitlines())
    return {name: np.array([float.fromhex(x) for x in numbers]) for name, *numbers in lines}


def test_a_c_program_gets_the_bits_that_python_gets(printed):
    i = np.arange(4)
    K, mu = 1 / (i[:, None] + i + 1), 1 / (i + 3)
    complex_K, complex_mu = K + 1j * (i[:, None] - i) ** 2 / 8, mu + 0.5j
    F, weights = ((np.arange(4000) * 7 % 31 - 15) / 8).reshape(1000, 4), 1.0 + np.arange(1000) % 3
    repeats, index = np.array([3, 0, 2, 5]), np.array([[0, 1, 2, 3, 0, 0], [3, 3, 2, 2, 1, 1]])
    expected = {"hafnian": [hafnian(K)], "loop": [hafnian(K, mu=mu, repeats=repeats)], "complex": [hafnian(complex_K, mu=complex_mu, repeats=repeats)],
                "batch": hafnian_batch(K, index, mu=mu), "wick_all": wick_all(K, 6, mu=mu).mean,
                "moments": moments(F, orders=4, weights=weights, stderr=False)[4].mean}  # fmt: skip
    assert printed.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(printed[name], np.array(values).view(np.float64)), name


def test_the_header_is_c_plus_plus_too(tmp_path):
    compiler = shutil.which(os.environ.get("CXX", "c++")) or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler: neither $CXX, c++, g++ nor clang++ is on the PATH")
    source = tmp_path / "program.cpp"
    source.write_text("#include <nnqft.h>\nint main() { return nnqft_abi_version() - NNQFT_ABI_VERSION; }\n")
    library = Path(nnqft.get_library())
    command = [compiler, "-std=c++98", "-Wall", "-Wextra", "-Werror", source, "-I", nnqft.get_include(), library, f"-Wl,-rpath,{library.parent}", "-o", tmp_path / "program"]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert subprocess.run([tmp_path / "program"], timeout=60).returncode == 0


# ---------------------------------------------------------------- through ctypes


def test_the_library_is_this_version(library):
    header = (Path(nnqft.get_include()) / "nnqft.h").read_text()
    assert library.nnqft_version().decode() == nnqft.__version__
    assert f'#define NNQFT_VERSION "{nnqft.__version__}"' in header
    assert f"#define NNQFT_ABI_VERSION {library.nnqft_abi_version()} " in header


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("nm") is None, reason="needs nm and ELF")
def test_the_library_exports_what_the_header_declares_and_nothing_else():
    header = (Path(nnqft.get_include()) / "nnqft.h").read_text()
    declared = {line.split("(")[0].split()[-1].lstrip("*") for line in header.splitlines() if line.startswith("NNQFT_API")}
    symbols = subprocess.run(["nm", "-D", "--defined-only", nnqft.get_library()], capture_output=True, text=True, check=True).stdout
    assert {line.split()[-1] for line in symbols.splitlines()} == declared


def test_empty_problems_need_no_arrays(library):
    out = np.full(2, 7.0)
    assert call(library.nnqft_hafnian, 0, None, None, None, None, out) == (OK, "") and out[0] == 1
    assert call(library.nnqft_hafnian_complex, 0, None, None, None, None, out) == (OK, "") and out.tolist() == [1, 0]
    assert call(library.nnqft_hafnian_batch, 3, np.ones((3, 3)), None, 0, 4, None, None, None) == (OK, "")
    assert call(library.nnqft_hafnian_batch, 0, None, None, 2, 0, None, None, out) == (OK, "") and out.tolist() == [1, 1]


@pytest.mark.parametrize("n", [1, 5, 14, 30])
def test_hafnians_of_any_size_have_pythons_bits(library, n):
    rng = np.random.default_rng(n)
    K, mu = rng.normal(size=(n, n)), rng.normal(size=n)
    K += K.T
    out = np.empty(1)
    assert call(library.nnqft_hafnian, n, K, mu, None, None, out) == (OK, "") and out[0] == hafnian(K, mu=mu)
    K[0, -1] *= 1 + 1e-14  # rounding: the upper triangle counts
    assert call(library.nnqft_hafnian, n, K, None, None, None, out) == (OK, "") and out[0] == hafnian(K)


def test_every_pointer_that_is_missing_is_named(library):
    K, out, index = np.ones((3, 3)), np.empty(10), np.zeros((2, 2), np.int32)
    for name, function, arguments in [
        ("K", library.nnqft_hafnian, (3, None, None, None, None, out)),
        ("out", library.nnqft_hafnian, (3, K, None, None, None, None)),
        ("K", library.nnqft_hafnian_complex, (3, None, None, None, None, out)),
        ("K", library.nnqft_hafnian_batch, (3, None, None, 2, 2, index, None, out)),
        ("index", library.nnqft_hafnian_batch, (3, K, None, 2, 2, None, None, out)),
        ("out", library.nnqft_hafnian_batch, (3, K, None, 2, 2, index, None, None)),
        ("K", library.nnqft_wick_all, (3, 2, None, None, None, out)),
        ("out", library.nnqft_wick_all, (3, 2, K, None, None, None)),
        ("F", library.nnqft_moments, (3, 3, None, None, 2, None, out)),
        ("F", library.nnqft_moments_float, (3, 3, None, None, 2, None, out)),
        ("out", library.nnqft_moments, (3, 3, K, None, 2, None, None)),
    ]:
        assert call(function, *arguments) == (ARGUMENT_ERROR, f"{name} is NULL")


def test_sizes_and_values_out_of_range_are_named(library):
    K, out, index = np.ones((3, 3)), np.empty(10), np.zeros((2, 2), np.int32)
    big = 2**62
    bad = K.copy()
    bad[1, 2] = np.inf
    for text, function, arguments in [
        ("m is -1", library.nnqft_hafnian, (-1, K, None, None, None, out)),
        (f"m is {big}", library.nnqft_hafnian, (big, K, None, None, None, out)),
        ("K[1, 2] is inf", library.nnqft_hafnian, (3, bad, None, None, None, out)),
        ("mu[2] is nan", library.nnqft_hafnian, (3, K, np.array([0, 0, np.nan]), None, None, out)),
        ("a repeat is -2", library.nnqft_hafnian, (3, K, None, np.array([1, -2, 1], np.int32), None, out)),
        ("count is -1", library.nnqft_hafnian_batch, (3, K, None, -1, 2, index, None, out)),
        (f"count is {big}", library.nnqft_hafnian_batch, (3, K, None, big, 2, index, None, out)),
        ("n is -1", library.nnqft_hafnian_batch, (3, K, None, 2, -1, index, None, out)),
        ("index[0, 0] is 3", library.nnqft_hafnian_batch, (3, K, None, 2, 2, index + np.int32(3), None, out)),
        ("order is 0", library.nnqft_wick_all, (3, 0, K, None, None, out)),
        ("order is 65", library.nnqft_wick_all, (3, 65, K, None, None, out)),
        ("bytes of memory", library.nnqft_wick_all, (300, 8, np.ones((300, 300)), None, None, out)),
        ("samples is 0", library.nnqft_moments, (0, 3, K, None, 2, None, out)),
        ("fields is 0", library.nnqft_moments, (3, 0, K, None, 2, None, out)),
        ("order is 9", library.nnqft_moments, (3, 3, K, None, 9, None, out)),
        ("sample 1 is not finite", library.nnqft_moments, (3, 3, bad, None, 2, None, out)),
        ("weights add up to 0", library.nnqft_moments, (3, 3, K, np.zeros(3), 2, None, out)),
        ("threads is -1", library.nnqft_wick_all, (3, 2, K, None, ctypes.byref(Run(threads=-1)), out)),
        ("max_seconds is -1", library.nnqft_hafnian, (3, K, None, None, ctypes.byref(Run(max_seconds=-1)), out)),
        ("out of reach", library.nnqft_hafnian, (600, np.add.outer(np.arange(600.0), np.arange(600.0)), None, None, None, out)),
    ]:
        code, message = call(function, *arguments)
        assert code == ARGUMENT_ERROR and text in message


def test_messages_are_cut_to_their_buffer(library):
    buffer = ctypes.create_string_buffer(b"abcdefgh", 9)
    for size, kept in ((0, b"abcdefgh"), (1, b""), (5, b"m is"), (9, b"m is -1,")):
        ctypes.memmove(buffer, b"abcdefgh", 9)
        assert library.nnqft_hafnian(-1, None, None, None, None, None, buffer, size) == ARGUMENT_ERROR
        assert buffer.value == kept
    assert library.nnqft_hafnian(-1, None, None, None, None, None, None, 100) == ARGUMENT_ERROR


def test_threads_change_no_bit_and_poll_stops_the_work(library):
    rng = np.random.default_rng(0)
    K = rng.normal(size=(34, 34))
    K += K.T
    results = []
    for threads in (1, 2, 7):
        out = np.empty(1)
        assert call(library.nnqft_hafnian, 34, K, None, None, ctypes.byref(Run(threads=threads)), out) == (OK, "")
        results.append(out[0])
    assert set(results) == {hafnian(K)}

    shares = []
    poll = Run._fields_[3][1](lambda share, context: shares.append(share) or 1)
    run = Run(threads=2, max_seconds=np.inf, poll=poll)
    big = rng.normal(size=(50, 50))
    assert call(library.nnqft_hafnian, 50, big + big.T, None, None, ctypes.byref(run), np.empty(1)) == (STOPPED, "poll() gave up")
    assert len(shares) == 1 and 0 <= shares[0] < 1
    F = rng.normal(size=(200_000, 12))
    assert call(library.nnqft_moments, *F.shape, F, None, 8, ctypes.byref(run), np.empty(library.nnqft_multiset_count(12, 8))) == (STOPPED, "poll() gave up")


def test_moments_of_floats_and_doubles_agree_to_the_bit_where_the_numbers_do(library):
    F = np.random.default_rng(1).normal(size=(5000, 3)).astype(np.float32)
    narrow, wide = np.empty(15), np.empty(15)
    assert call(library.nnqft_moments_float, 5000, 3, F, None, 4, None, narrow) == (OK, "")
    assert call(library.nnqft_moments, 5000, 3, F.astype(np.float64), None, 4, None, wide) == (OK, "")
    assert np.array_equal(narrow, wide) and np.array_equal(narrow, moments(F, orders=4, stderr=False)[4].mean)
