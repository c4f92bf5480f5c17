"""One small call of every kernel and of every path through it: what `benches/gpu_all` runs under compute-sanitizer.

Results are compared with the CPU's, but what counts here is that each kernel is launched, at sizes that end in the middle of its tiles.
Where kernels are emulated, the last test asks which ones were.
"""

import importlib
import os
import re
import shutil
import subprocess
import sys

import nnqft
import numpy as np
import pytest
import scipy.sparse
from nnqft import _backend, wick
from nnqft._device import _moments
from nnqft.ensemble import correlators, outputs
from nnqft.errors import ArgumentError
from nnqft.hessian import Hessian
from nnqft.lanczos import LanczosState, as_operator, gram, lanczos
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, relu_net

pytestmark = pytest.mark.gpu

RNG = np.random.default_rng(1)
A = RNG.standard_normal((37, 37))
A = (A + A.T) / 8


def same(a, b):
    a, b = (x.get() if hasattr(x, "get") else np.asarray(x) for x in (a, b))
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def close(a, b, eps=np.finfo(np.float64).eps):
    a, b = (x.get() if hasattr(x, "get") else np.asarray(x) for x in (a, b))
    np.testing.assert_allclose(a, b, rtol=0, atol=2000 * float(eps) * (1 + np.abs(b).max()))


def test_random_numbers(cupy):
    for draw in (_backend.philox_words, _backend.normals):
        shape = {"n_nets": 2, "rows": 67, "columns": 33}
        same(draw(1, 2, **shape, device="cuda"), draw(1, 2, **shape))


# --- ensembles


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", [
    erf_net(7, dim_in=1), relu_net(5, dim_in=3), gauss_net(5, dim_in=2), cos_net(5, dim_in=2), cos_net(4, dim_in=2, momentum=("ball", 3.0)),
    mlp(3, (6, 5), activation="tanh", dim_out=2, sigma_b=0.5), erf_net(5, dim_in=2, weight_law="uniform"),
    mlp(2, (5, 6, 4), activation="gauss", sigma_w=0.7, sigma_b=0.4),
], ids=["erf", "relu", "gauss", "cos", "ball", "deep", "uniform", "deep gauss"])  # fmt: skip
def test_outputs(cupy, net, dtype):
    X = RNG.standard_normal((5, net.dim_in))
    for sampler in ("weights", "layer")[: 1 if net.layer_law_refusal else 2]:
        given = {"stop": 19, "seed": 1, "sampler": sampler, "dtype": dtype}
        close(outputs(net, X, **given, device="cuda"), outputs(net, X, **given), np.finfo(dtype).eps)


@pytest.mark.parametrize("sampler", ["weights", "layer"])
@pytest.mark.parametrize("estimator", ["direct", "gram", "neuron"])
def test_moments_of_ensembles(cupy, sampler, estimator):
    for net in (erf_net(7, dim_in=1), mlp(3, (6, 5), activation="relu")):
        if sampler == "layer" and net.layer_law_refusal or estimator == "neuron" and len(net.widths) > 1:
            continue
        X = np.linspace(-1, 1, 3 * net.dim_in).reshape(3, net.dim_in)
        run = lambda **k: correlators(net, X, orders=(2, 4), n_nets=40, sampler=sampler, estimator=estimator, **k)
        same(run(device="cuda").moments(), run().moments())


def test_listed_moments_and_many_points(cupy):
    net, X = relu_net(4, dim_in=2), RNG.standard_normal((18, 2))
    for request in ({"orders": (2, 4)}, {"indices": {4: [[0, 7, 7, 17], [3, 4, 5, 6]]}}):
        run = lambda **k: correlators(net, X, n_nets=40, block=16, estimator="direct", **request, **k)
        same(run(device="cuda").moments(), run().moments())


# --- the Wick engine


@pytest.mark.parametrize("n", [8, 14, 18])
@pytest.mark.parametrize("kind", ["real", "complex", "integer"])
@pytest.mark.parametrize("loops", [False, True])
def test_hafnians(cupy, n, kind, loops):
    n = 13 if kind == "complex" and n == 8 else n  # few complex points have no kernel
    K = A[:n, :n] + (1j * A[:n, ::-1][:, :n] if kind == "complex" else 0)
    K = np.rint(20 * K) if kind == "integer" else (K + K.T) / 2
    mu = K[0].copy() if loops else None
    same(wick.hafnian(K, mu=mu, device="cuda"), wick.hafnian(K, mu=mu))


@pytest.mark.parametrize("repeats", [[2, 1, 1, 1, 2, 1, 1, 1, 2, 1, 1], [5, 9, 4]])
def test_hafnians_with_repeated_points(cupy, repeats):
    m = len(repeats)
    for K in (A[:m, :m], A[:m, :m] * (1 + 0.5j)):
        for mu in (None, K[0].copy()):
            same(wick.hafnian(K, mu=mu, repeats=repeats, device="cuda"), wick.hafnian(K, mu=mu, repeats=repeats))


@pytest.mark.parametrize("n", [4, 7, 12])
@pytest.mark.parametrize("scale", [1.0, 1e-160])  # the second leaves the window of the plain recursion
def test_batches(cupy, n, scale):
    K, index = scale * A[:n, :n], RNG.integers(0, n, (35, n))
    many = np.array([K * (1 + i) for i in range(35)])
    packed = many[(slice(None), *np.triu_indices(n, 1))]
    mu = np.sqrt(scale) * RNG.standard_normal((35, n))
    with np.errstate(all="ignore"):
        for mean in (None, mu[0]):
            same(wick.hafnian_batch(K, index.astype(np.int32), mu=mean, device="cuda"), wick.hafnian_batch(K, index, mu=mean))
            same(wick.hafnian_batch(K, index, mu=mean, device="cuda"), wick.hafnian_batch(K, index, mu=mean))
        for mean in (None, mu):
            same(wick.hafnian_batch(many, mu=mean, device="cuda"), wick.hafnian_batch(many, mu=mean))
            same(wick.hafnian_batch(packed, mu=mean, packed=True, device="cuda"), wick.hafnian_batch(packed, mu=mean, packed=True))


@pytest.mark.parametrize(("m", "order"), [(5, 3), (5, 6), (3, 9)])
def test_all_multisets(cupy, m, order):
    for scale in (1.0, 1e-150):
        K = A[:m, :m] * scale
        for mu in (None, np.sqrt(scale) * np.ones(m)):
            same(wick.wick_all(K, order, mu=mu, device="cuda").mean, wick.wick_all(K, order, mu=mu).mean)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1.0, 1e-30])
def test_moments(cupy, dtype, scale):
    F = RNG.standard_normal((333, 5)).astype(dtype)
    F[200:] *= dtype(scale)  # panels of extreme scale
    for weights in (None, RNG.random(333)):
        for orders in ((2, 4), (1, 3, 8)):
            got, want = (wick.moments(F, orders=orders, weights=weights, **k) for k in ({"device": "cuda"}, {}))
            for order in orders:
                same(got[order].mean, want[order].mean)
    count, bad = _moments.total(cupy.asarray(F), None, index=0, orders=[0], report=None)
    assert bad == -1 and count.tolist() == [333.0]


# --- Lanczos


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("reorth", ["full", "none", "partial"])
def test_lanczos_of_all_operators(cupy, dtype, reorth):
    sparse = importlib.import_module("cupyx.scipy.sparse")
    dense = cupy.asarray(A.astype(dtype))
    host = scipy.sparse.csr_array(A.astype(dtype))
    operators = [dense, as_operator(lambda x: dense @ x, n=37, dtype=dtype, device="cuda"), gram(dense)]
    for index in (np.int32, np.int64):
        start, column = (cupy.asarray(a.astype(index)) for a in (host.indptr, host.indices))
        operators.append(sparse.csr_matrix((cupy.asarray(host.data), column, start), host.shape))
    for i, op in enumerate(operators):
        state = LanczosState()
        lanczos(op, 5, probes=3, reorth=reorth, state=state, check_symmetric=False)
        got = lanczos(op, 9, reorth=reorth, state=state)
        want = lanczos(A.T @ A if i == 2 else A, 9, probes=3, reorth=reorth)
        close(got.alpha, want.alpha, 10 * np.finfo(dtype).eps)


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian", "sphere"])
def test_start_vectors_breakdowns_and_numbers_that_are_not_finite(cupy, distribution):
    one = lanczos(cupy.eye(9), 3, probes=2, distribution=distribution, basis=True)
    assert one.breakdown.all() and one.basis.shape == (2, 1, 9)
    run = lanczos(cupy.asarray(A), 4, v0=cupy.asarray(A[:2]))
    close(run.alpha, lanczos(A, 4, v0=A[:2]).alpha)
    with pytest.raises(ArgumentError, match="NaN or an infinity at step"):
        lanczos(as_operator(lambda x: x * np.nan, n=9, device="cuda"), 3, check_symmetric=False)


# --- Hessians


def matrices(f, y):
    """A loss with a full matrix of second derivatives: (sum f)^2 / 2."""
    s = f.sum(axis=1, keepdims=True)
    return s[:, 0] ** 2 / 2, np.repeat(s, f.shape[1], axis=1), np.ones((len(f), f.shape[1], f.shape[1]))


NETS = {
    "relu": (relu_net(9, dim_in=4).draw(0, seed=1), ["hinge", "squared_hinge"]),
    "biases": (mlp(4, [7, 6], activation="relu", sigma_b=0.3).draw(0, seed=1), ["logistic"]),
    "tanh": (mlp(4, [7, 6], activation="tanh", dim_out=3, sigma_b=0.3).draw(0, seed=1), ["mse", "cross_entropy", matrices]),
    "gauss": (gauss_net(8, dim_in=4).draw(1, seed=2), ["mse"]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", NETS)
def test_hessians(cupy, name, dtype):
    net, losses = NETS[name]
    X = RNG.standard_normal((45, 4))
    for loss in losses:
        y = RNG.integers(0, 3, 45) if loss == "cross_entropy" else np.sign(RNG.standard_normal((45, net.dim_out)))
        for part in ("full", "ggn"):
            want, got = (Hessian(net, X, y, loss=loss, part=part, dtype=dtype, weight_decay=0.1, device=d) for d in ("cpu", "cuda"))
            V = RNG.standard_normal((want.shape[0], 3)).astype(dtype)
            close(got @ cupy.asarray(V), want @ V, np.finfo(dtype).eps)
            for block in ((0, -1), (-1, 0), (0, 0)):
                v = V[: want.blocks(*block).shape[1], 0]
                close(got.blocks(*block) @ cupy.asarray(v), want.blocks(*block) @ v, np.finfo(dtype).eps)
            close(got.gradient, want.gradient)
        close(lanczos(got, 4).alpha, lanczos(want, 4).alpha, 10 * np.finfo(dtype).eps)


# --- all of them


def kernels_of(module):
    """{place in the library: kernel}; a kernel is named with its parameters, whatever their templates and numbers."""
    lines = subprocess.run(["nm", "-C", module], capture_output=True, text=True, check=True).stdout.splitlines()
    found = {}
    for line in lines:
        place, kind, name = line.split(" ", 2)
        while "<" in name and name != (shorter := re.sub(r"<[^<>]*>", "", name)):
            name = shorter
        match = re.search(r"(\w+_kernel)(\(.*\))$", name.replace("(anonymous namespace)::", ""))
        if kind in "tT" and match:
            found[int(place, 16)] = re.sub(r"\b(float|double)\b", "T", match[0])
    return found


def test_all_kernels_are_launched_here(cupy, tmp_path):
    module = _backend.cuda_module()
    if not module.emulated or not shutil.which("nm"):
        pytest.skip("the emulator tells which kernels ran, nm their names")
    kernels = kernels_of(module.__file__)
    if not kernels:
        pytest.skip("the module was stripped of its names when it was installed")
    told = tmp_path / "launches"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "gpu", "-k", "not launched_here", __file__]
    done = subprocess.run(command, env=os.environ | {"NNQFT_EMULATION_LAUNCHES": str(told)}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stdout[-2000:]
    launched = {kernels[place] for line in told.read_text().splitlines() if (place := int(line, 16)) in kernels}
    assert len(launched) > 40
    assert sorted(set(kernels.values()) - launched) == []
