"""Lanczos on a device: steps per second of all probes, on the Hessian of a net and on a sparse matrix.

Limits on an H200 (132 multiprocessors at 1.98 GHz, 128 float32 multiply-adds a clock, 4.8 TB/s):

    Hessian 784-256-256-1, 1000 samples    6 F - 4 F_1 - 4 F_2 = 1.07 GFlop a product (folded), F = 0.53 GFlop: 16 us at 67 TFlop/s. The
                                           vectors of 1.07 MB that Gram-Schmidt reads 2 j times a step stay in the cache: some 10 us.
    Laplacian, n = 1e6, float64, k = 100   64 MB of matrix and 7 vectors of 8 MB in each of its passes, two of Gram-Schmidt's besides:
                                           25 us a step, and 0.19 ms on average. (As written, 13 vectors: 35 us, and 0.2 ms.)
"""

import importlib
import os
from functools import partial

import lanczos_forms
import nnqft
import numpy as np
import pytest
import scipy.sparse
from conftest import Contender, imported, repeated
from nnqft._lanczos._probes import probe_vectors
from nnqft.hessian import Hessian
from nnqft.lanczos import lanczos, slq

pytestmark = pytest.mark.gpu


def workload(emulated, active):
    """Net, samples and labels of the 784-256-256-1 benchmark, a share `active` of them within the hinge's margin, about; in a
    rehearsal a small one."""
    dim, width, samples = (20, 8, 40) if emulated else (784, 256, 1000)
    net = nnqft.networks.mlp(dim, [width, width], activation="relu", sigma_w=2**0.5, sigma_b=0.0).draw(0, seed=1)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((samples, dim)).astype(np.float32), np.sign(rng.standard_normal(samples))
    if active < 1:  # the others are right, far from the margin
        weights = [*net.weights[:-1], 1e4 * net.weights[-1]]
        net = nnqft.networks.Net.from_weights(weights, activation="relu")
        f = X.astype(np.float64)
        for w in weights[:-1]:
            f = np.maximum(f @ w.T, 0.0)
        y = np.sign(f @ weights[-1].T)[:, 0] * np.where(np.arange(samples) < active * samples, -1.0, 1.0)
    return net, X, y


def torch_contenders(net, X, y, probes, k, second_moment, names):
    import torch

    n = sum(w.size for w in net.weights)
    V = torch.from_numpy(probe_vectors(n, probes, seed=3).T.astype(np.float32).copy()).cuda()
    for name, product in lanczos_forms.hessian_forms(net, X, y).items():
        if name not in names:
            continue
        try:
            alpha, beta = lanczos_forms.torch_lanczos(product, V, k)
        except (RuntimeError, NotImplementedError) as error:
            print(f"{name} left out: {type(error).__name__}: {error}")
            continue
        # A gate that float32 turns over moves a product by some 1e-3: theirs are of float32, ours of float64.
        assert float((alpha[:, 0] ** 2 + beta[:, 0] ** 2).mean()) == pytest.approx(second_moment, rel=0.02)
        run = partial(lanczos_forms.torch_lanczos, product, V, k)
        yield Contender(name, repeated(run, size=probes * k, wait=torch.cuda.synchronize))


def array_contenders(cupy, emulated, net, X, y, probes, k, second_moment):
    """JAX, and what is written for this net in CuPy."""
    V = probe_vectors(sum(w.size for w in net.weights), probes, seed=3).T.astype(np.float32)
    there, product = cupy.asarray(V), lanczos_forms.cupy_product(cupy, net, X, y)
    runs = {"CuPy folded": (partial(lanczos_forms.array_lanczos, cupy, product, there, k), cupy.cuda.get_current_stream().synchronize)}
    if not emulated and imported("jax"):
        runs["JAX linearized"] = lanczos_forms.jax_run(net, X, y, V, k), None
    for name, (run, wait) in runs.items():
        alpha, beta = run()
        assert float((alpha[:, 0] ** 2 + beta[:, 0] ** 2).mean()) == pytest.approx(second_moment, rel=0.02)
        yield Contender(name, repeated(run, size=probes * k, wait=wait))


WORKS = [(10, 1.0), (1, 1.0), (10, 0.1)]  # probes, share of samples that are active


@pytest.mark.parametrize("forms", [("torch cached",), ("torch batched", "torch replayed", "torch vmap")])
@pytest.mark.parametrize(("probes", "active"), WORKS)
def test_slq_of_a_hessian(device_duel, cupy, emulated, probes, active, forms):
    net, X, y = workload(emulated, active)
    k = 4 if emulated else 50
    H, on_cpu = Hessian(net, X, y, loss="hinge", device="cuda"), Hessian(net, X, y, loss="hinge")
    options = {"probes": probes, "seed": 3, "check_symmetric": False}
    second = float(slq(H, k, **options).moment(2).mean)
    assert second == pytest.approx(float(slq(on_cpu, 2, **options).moment(2).mean), rel=1e-4)
    wait = cupy.cuda.get_current_stream().synchronize
    ours = Contender("nnqft", repeated(partial(slq, H, k, **options), size=probes * k, wait=wait))
    rivals = list(torch_contenders(net, X, y, probes, k, second, forms)) if imported("torch") and not emulated else []
    one_by_one = forms == ("torch cached",)
    if not one_by_one:
        rivals += array_contenders(cupy, emulated, net, X, y, probes, k, second)
    else:
        cores = len(os.sched_getaffinity(0))
        rivals.append(Contender(f"nnqft on {cores} CPU cores", repeated(partial(slq, on_cpu, k, **options), size=probes * k)))
    work = f"784-256-256-1, {probes} probes, {100 * active:.0f} % active"
    # Batches of torch are bound by the same arithmetic: with all samples active nobody can be 10x as fast as they are.
    barred = one_by_one and (probes, active) == WORKS[0]
    title = f"{'SLQ' if barred else 'Hessian'} {work}" + ("" if one_by_one else ", against batches and graphs")
    bar = ">= 10x" if barred else None
    limit = f"{67e12 / 1.07e9 * 1000 / max(1, H.n_active):.3g} steps/s (float32)"
    device_duel(title, ours, rivals, unit="steps/s", bar=bar, limit=limit)


@pytest.mark.parametrize("reorth", ["none", "full"])
def test_lanczos_of_a_sparse_matrix(device_duel, cupy, emulated, reorth):
    side, k = (20, 6) if emulated else (1000, 100)
    n = side * side
    one = scipy.sparse.diags_array([np.full(side, 2.0), -np.ones(side - 1), -np.ones(side - 1)], offsets=[0, 1, -1])
    host = scipy.sparse.kronsum(one, one).tocsr()
    A = importlib.import_module("cupyx.scipy.sparse").csr_matrix(
        tuple(map(cupy.asarray, (host.data, host.indices, host.indptr))), host.shape
    )
    run = lanczos(A, k, reorth=reorth, check_symmetric=False)
    v = cupy.asarray(probe_vectors(n, 1, seed=0)[:, 0])
    alpha, _ = lanczos_forms.cupy_lanczos(cupy, A, v, k, reorth == "full")
    few = min(k, 30)  # later coefficients depend on every rounding once Ritz values have converged
    np.testing.assert_allclose(run.alpha[0, :few], alpha.get()[:few], rtol=0, atol=1e-8)
    wait = cupy.cuda.get_current_stream().synchronize
    ours = Contender(
        "nnqft", repeated(lambda: lanczos(A, k, reorth=reorth, check_symmetric=False), size=k, wait=wait)
    )
    cores = len(os.sched_getaffinity(0))
    rivals = [
        Contender("CuPy, cuSPARSE", repeated(lambda: lanczos_forms.cupy_lanczos(cupy, A, v, k, reorth == "full"), size=k, wait=wait)),
        Contender(f"nnqft on {cores} CPU cores", repeated(lambda: lanczos(host, k, reorth=reorth, check_symmetric=False), size=k)),
    ]
    limit = {"none": 4.8e12 / (64e6 + 7 * 8e6), "full": 4.8e12 / (64e6 + (7 + k) * 8e6)}[reorth]
    device_duel(
        f"Lanczos, Laplacian n=1e6, {reorth}", ours, rivals, unit="steps/s", limit=f"{limit:.3g} steps/s (memory)"
    )
