"""Random numbers by address: the documented counter on the CPU, the same bits on a CUDA device, and the extension without one."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nnqft import _backend
from nnqft.errors import ArgumentError, DeviceError

# Every branch of the address: no multiple of 4 rows, one column, a net number across 2^32, the last net and tensor.
ADDRESSES = [
    {"seed": 0, "tensor": 0, "n_nets": 1, "rows": 4, "columns": 1},
    {"seed": 1, "tensor": 1, "n_nets": 33, "rows": 7, "columns": 5},
    {"seed": 2**64 - 1, "tensor": 2**16 - 1, "n_nets": 17, "rows": 1, "columns": 129, "first_net": 2**48 - 17},
    {"seed": 3, "tensor": 9, "n_nets": 32, "rows": 13, "columns": 3, "first_net": 2**32 - 16},
    {"seed": 4, "tensor": 2, "n_nets": 5, "rows": 1021, "columns": 257},
]
EMPTY = [
    dict(seed=0, tensor=0, **{"n_nets": 2, "rows": 3, "columns": 4, axis: 0}) for axis in ("n_nets", "rows", "columns")
]


def philox(counter, seed):
    """Philox4x32-10 in whole Python numbers, from the paper."""
    c, k = list(counter), [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


@pytest.fixture
def cuda():
    return pytest.importorskip("nnqft._cuda", reason="this build has no CUDA module")


# --- the address -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("a", ADDRESSES[:4])
def test_words_are_philox_of_the_documented_counter(a):
    words = _backend.philox_words(**a)
    assert words.dtype == np.uint32 and words.shape == (a["n_nets"], a["rows"], a["columns"])
    rng = np.random.default_rng(5)
    for _ in range(40):
        n, row, column = (int(rng.integers(size)) for size in words.shape)
        net = a.get("first_net", 0) + n
        counter = (column, row // 4, net & 0xFFFFFFFF, (net >> 32) + (a["tensor"] << 16))
        assert words[n, row, column] == philox(counter, a["seed"])[row % 4]


def test_normals_are_box_muller_of_the_words_of_their_rows():
    a = {"seed": 11, "tensor": 4, "n_nets": 16, "rows": 8, "columns": 3}
    words = _backend.philox_words(**a)
    radius = 0.5 * np.sqrt(-2 * np.log((words[:, 0::2] + 0.5) / 2**32))
    # The second word: signs of sine and cosine, whether they are swapped, and the angle within an octant.
    k = words[:, 1::2]
    angle = ((k & 0x1FFFFFFF) + 0.5) * (np.pi / 4 / 2**29)
    swap = (k >> 29) & 1 == 1
    cosine, sine = np.where(swap, np.sin(angle), np.cos(angle)), np.where(swap, np.cos(angle), np.sin(angle))
    z = _backend.normals(**a, sigma=0.5)
    # A few ulp of the radius.
    assert np.all(np.abs(z[:, 0::2] - radius * np.where(k >> 30 & 1, -cosine, cosine)) <= 4 * np.finfo(np.float32).eps * radius)
    assert np.all(np.abs(z[:, 1::2] - radius * np.where(k >> 31, -sine, sine)) <= 4 * np.finfo(np.float32).eps * radius)


def test_a_smaller_request_is_a_corner_of_a_larger_one():
    whole = _backend.philox_words(5, 1, n_nets=20, rows=9, columns=6)
    part = _backend.philox_words(5, 1, first_net=3, n_nets=17, rows=5, columns=2)
    assert np.array_equal(part, whole[3:, :5, :2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1; expected 0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed is 18446744073709551616"),
        ({"tensor": 2**16}, "tensor is 65536; expected 0 to 65535"),
        ({"n_nets": 1.5}, "n_nets is 1.5; expected an integer"),
        ({"rows": -4}, "rows is -4"),
        ({"first_net": 2**48}, re.escape("nets 281474976710656 + 2 go past the last one, 2^48 - 1")),
        ({"n_nets": 2**40, "rows": 2**30, "columns": 2**30}, "do not fit in any memory"),
    ],
)
def test_addresses_out_of_range_are_refused_by_name(change, message):
    with pytest.raises(ArgumentError, match=message):
        _backend.philox_words(**{"seed": 0, "tensor": 0, "n_nets": 2, "rows": 3, "columns": 4, **change})


@pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf"), 1e39, "wide", None])
def test_a_standard_deviation_must_be_a_finite_float32(sigma):
    with pytest.raises(ArgumentError, match="sigma is"):
        _backend.normals(0, 0, n_nets=1, rows=1, columns=1, sigma=sigma)


# --- the extension without a driver ----------------------------------------------------------------------------------


def test_extension_imports_and_counts_devices_on_any_machine(cuda):
    code = "import nnqft._cuda as c; n = c.device_count(); assert n >= 0 and (n > 0) == (c.no_device_reason() == ''), n; print(n)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) == cuda.device_count() == len(_backend.devices())


def test_extension_takes_its_arguments_in_the_order_of_the_wrapper(cuda):
    address = ["device", "seed", "tensor", "first_net", "n_nets", "rows", "columns"]
    for kernel, names in [(cuda.philox_words, []), (cuda.normals, ["sigma"])]:
        assert re.findall(r"(\w+): ", kernel.__doc__) == [*address, *names, "out", "stream"]


def test_extension_depends_on_no_cuda_library(cuda):
    if not shutil.which("ldd"):
        pytest.skip("no ldd on this machine")
    libraries = subprocess.run(["ldd", cuda.__file__], capture_output=True, text=True, check=True).stdout
    assert "libc.so" in libraries and "cuda" not in libraries.replace(cuda.__file__, "")


def test_failed_calls_name_the_call_and_the_error_and_leave_nothing_behind(cuda):
    if cuda.device_count():
        with pytest.raises(DeviceError, match="^cudaGetDeviceProperties failed: cudaErrorInvalidDevice: "):
            cuda.device_properties(cuda.device_count())
        assert cuda.device_properties(0)["name"]
    else:
        error = cuda.no_device_reason()
        with pytest.raises(DeviceError, match=re.escape(f"cudaGetDeviceProperties failed: {error}")):
            cuda.device_properties(0)
        with pytest.raises(DeviceError, match=re.escape(f"cudaSetDevice failed: {error}")):
            cuda.normals(0, 1, 0, 0, 1, 4, 1, 1.0, 256, 0)


def test_extension_refuses_pointers_no_array_can_have(cuda):
    with pytest.raises(ArgumentError, match="out is a null pointer"):
        cuda.philox_words(0, 1, 0, 0, 1, 4, 1, 0, 0)
    with pytest.raises(ArgumentError, match="out is not aligned"):
        cuda.normals(0, 1, 0, 0, 1, 4, 1, 1.0, 258, 0)


def test_device_code_has_only_operations_that_round_as_the_cpu_does(cuda, tmp_path):
    """PTX of the kernels, with the extension's own flags: no flush to zero, approximation, or fma that is not written out."""
    root = Path(__file__).resolve().parents[2]
    if not shutil.which("nvcc"):
        pytest.skip("no nvcc on this machine")

    def ptx(source):
        flags = [*cuda.flags.split(), "-std=c++17", "-arch=compute_80", f"-I{root}", f"-I{root / 'csrc'}"]
        subprocess.run(["nvcc", *flags, "-ptx", str(source), "-o", str(tmp_path / "out.ptx")], check=True)
        return (tmp_path / "out.ptx").read_text()

    kernels = ptx(root / "cuda/core/random.cu")
    assert "fma.rn.f32" in kernels
    # The root of Box-Muller, two per block in one kernel: an approximation that the next four operations round as sqrt.rn.f32 does.
    kernels, roots = re.subn(r"rsqrt\.approx\.ftz\.f32", "", kernels)
    assert roots == 2
    assert not re.search(r"\.(ftz|approx|full)\b|fma\.rn\.f64|\b(mad|fma)\.f|\b(add|mul|sub)\.f32", kernels)

    probe = tmp_path / "probe.cu"
    probe.write_text("__global__ void f(float* x) { x[0] = x[1] * x[2] + x[3] / x[4]; }")
    code = ptx(probe)
    assert "fma" not in code and "mul.rn.f32" in code and "add.rn.f32" in code and "div.rn.f32" in code


# --- on a device -----------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("a", ADDRESSES + EMPTY)
def test_device_words_are_the_words_of_the_cpu(cupy, a):
    words = _backend.philox_words(**a, device="cuda")
    assert isinstance(words, cupy.ndarray) and words.dtype == np.uint32
    np.testing.assert_array_equal(words.get(), _backend.philox_words(**a))


@pytest.mark.gpu
@pytest.mark.parametrize("sigma", [1.0, 0.37, 0.0, 1e-42])
@pytest.mark.parametrize("a", ADDRESSES + EMPTY)
def test_device_normals_are_the_normals_of_the_cpu_to_the_last_bit(cupy, a, sigma):
    z = _backend.normals(**a, sigma=sigma, device="cuda")
    assert z.dtype == np.float32
    np.testing.assert_array_equal(z.get().view(np.uint32), _backend.normals(**a, sigma=sigma).view(np.uint32))


@pytest.mark.gpu
def test_device_normals_agree_with_the_cpu_over_sixteen_million_draws(cupy):
    a = {"seed": 99, "tensor": 3, "n_nets": 4096, "rows": 64, "columns": 64}
    z = _backend.normals(**a, device="cuda").get()
    assert np.array_equal(z.view(np.uint32), _backend.normals(**a).view(np.uint32))


@pytest.mark.gpu
def test_device_draws_repeat_and_do_not_depend_on_the_launch(cupy):
    first = _backend.normals(8, 1, n_nets=1000, rows=30, columns=7, device="cuda")
    again = _backend.normals(8, 1, n_nets=1000, rows=30, columns=7, device="cuda")
    part = _backend.normals(8, 1, n_nets=10, rows=5, columns=2, first_net=990, device="cuda")
    assert cupy.array_equal(first, again) and cupy.array_equal(part, first[990:, :5, :2])


@pytest.mark.gpu
def test_two_streams_draw_side_by_side(cupy):
    a = {"tensor": 1, "n_nets": 512, "rows": 33, "columns": 65}
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    drawn = []
    for seed, stream in enumerate(streams):
        with stream:
            drawn.append(_backend.normals(seed, device="cuda", **a))
    for seed, stream in enumerate(streams):
        stream.synchronize()
        np.testing.assert_array_equal(drawn[seed].get(), _backend.normals(seed, **a))


@pytest.mark.gpu
def test_a_request_beyond_the_memory_of_the_device_is_a_device_error(cupy):
    with pytest.raises(DeviceError, match="no room on the device for"):
        _backend.philox_words(0, 0, n_nets=2**30, rows=2**10, columns=1, device="cuda")
