"""Hessian-vector products of ReLU nets and whole spectral densities, float32: against a cached R-operator in numpy,
torch, JAX, PyHessian and curvlinops.

Rates are by the clock; on one thread by processor time, which a busy machine disturbs less. Limit: 6 F - 4 F_1 - 4 F_m flops of
the active samples (rivals/hvp_forms.py) at the speed of this machine's best matrix product in numpy. JAX sizes its pool
of threads when it is loaded: it runs where all processors are used.
"""

import time
import warnings
from functools import cache

import numpy as np
import pytest
from conftest import Contender, imported, repeated
from rivals import hvp_forms
from threadpoolctl import threadpool_limits

from nnqft.hessian import Hessian
from nnqft.lanczos import slq
from nnqft.networks import Net

TINY, SMALL = ((20, 32, 32, 1), 256), ((64, 128, 128, 1), 512)
SEED, WIDE = ((784, 256, 256, 1), 1000), ((784, 1024, 1024, 1), 1000)
BARS = {TINY: ">= 1.5x", SMALL: ">= 1.5x", SEED: ">= 1.1x", WIDE: ">= 1.1x"}  # over numpy; over torch 1.1x everywhere
SLQ_STEPS = 50


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request):
    torch = imported("torch")
    before = torch.get_num_threads() if torch else None
    if torch:
        torch.set_num_threads(request.param)
    with threadpool_limits(request.param, user_api="blas"):
        yield request.param
    if torch:
        torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def processor_time(monkeypatch, request):
    """One thread at work: its processor time is what an idle machine's clock would show."""
    if "threads" in request.fixturenames and request.getfixturevalue("threads") == 1:
        monkeypatch.setattr(time, "perf_counter", time.process_time)


def operator(p, threads):
    return Hessian(Net.from_weights(list(p.weights), activation="relu"), p.X, p.y, loss=p.loss, threads=threads)


@cache
def peak():
    """Flops per second of the best of several products, on one thread."""
    a, seconds = np.ones((512, 512), np.float32), []
    out = np.empty_like(a)
    with threadpool_limits(1):
        for _ in range(100):
            start = time.process_time()
            np.matmul(a, a, out=out)
            seconds.append(time.process_time() - start)
    return 2 * 512**3 / min(s for s in seconds if s > 0)


def contender(name, product, *arguments, each=1):
    return Contender(name, repeated(lambda: product(*arguments), size=each))


def installed(library, form):
    needs = {"pyhessian": "pyhessian", "curvlinops": "curvlinops"}.get(form, library)
    return imported(needs) is not None


def rivals(forms, v, want, *arguments):
    """Contenders whose answers agree, but for a gate of float32 now and then that is not that of float64."""
    for library, names in forms.items():
        for form in names:
            if not installed(library, form):
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of cycles between parameters and gradients, say
                product = hvp_forms.build(library, form, *arguments)
                assert np.linalg.norm(product(v) - want) < 1e-3 * np.linalg.norm(want)
            yield contender(f"{library} {form}", product, v)


def count(threads):
    return "1 thread" if threads == 1 else f"{threads} threads"


def shape(widths, n):
    return f"{'-'.join(map(str, widths))}, batch {n}"


def against(duel, size, loss, libraries, threads, bar, **forms):
    (widths, n), p = size, hvp_forms.problem(*size, loss)
    H = operator(p, threads)
    v = np.random.default_rng(1).standard_normal(p.size).astype(np.float32)
    peers = list(rivals({name: forms.get(name, hvp_forms.FORMS[name]) for name in libraries}, v, H.matvec(v), widths, n, loss))
    limit = f"{threads * peak() / p.flops(H.n_active):.3g} products/s"
    title = f"Hv {shape(widths, n)}, {loss}, against {' and '.join(libraries)}{', folded' if forms else ''}, {count(threads)}"
    duel(title, contender("Hessian", H.matvec, v), peers, unit="products/s", bar=bar, limit=limit)


@pytest.mark.parametrize("size", BARS, ids=lambda size: shape(*size))
def test_products_against_numpy(duel, size, threads):
    against(duel, size, "hinge", ["numpy"], threads, BARS[size])


@pytest.mark.parametrize("size", BARS, ids=lambda size: shape(*size))
def test_products_against_the_same_formulas_in_numpy(duel, size, threads):
    against(duel, size, "hinge", ["numpy"], threads, None, numpy=["folded"])


@pytest.mark.parametrize("size", BARS, ids=lambda size: shape(*size))
def test_products_against_torch_and_jax(duel, size, threads):
    libraries = ["torch", "jax"] if threads > 1 and imported("jax") else ["torch"]
    against(duel, size, "hinge", libraries, threads, ">= 1.1x")


@pytest.mark.parametrize("size", [((20, 32, 32, 10), 256), ((784, 256, 256, 10), 1000)], ids=lambda size: shape(*size))
def test_products_for_cross_entropy(duel, size, threads):
    against(duel, size, "cross_entropy", ["numpy", "torch"], threads, ">= 1.1x")


@pytest.mark.parametrize("size", [SMALL, WIDE], ids=lambda size: shape(*size))
def test_eight_vectors_at_once(duel, size, threads):
    """Per vector, against the best forms one by one, and torch's batch of vectors."""
    (widths, n), p = size, hvp_forms.problem(*size)
    H = operator(p, threads)
    V = np.random.default_rng(1).standard_normal((8, p.size)).astype(np.float32)
    want = (H @ V.T).T
    contenders = [contender("Hessian.matmat", H.matmat, V.T, each=8)]
    for library, form in (("numpy", "products"), ("torch", "cached")):
        if imported(library):
            one = hvp_forms.build(library, form, widths, n)
            np.testing.assert_allclose(one(V[7]), want[7], rtol=0, atol=3e-6 * np.abs(want).max())
            contenders.append(contender(f"{library} {form}, one by one", lambda one=one: [one(v) for v in V], each=8))
    if imported("torch"):
        batch = hvp_forms.build("torch", "vmap", widths, n)
        np.testing.assert_allclose(batch(V), want, rtol=0, atol=3e-6 * np.abs(want).max())
        contenders.append(contender("torch vmap", batch, V, each=8))
    title = f"Hv {shape(widths, n)}, hinge, 8 vectors, {count(threads)}"
    limit = f"{threads * peak() / p.flops(H.n_active):.3g} products/s"
    duel(title, contenders[0], contenders[1:], unit="products/s", bar=">= 1.1x", limit=limit)


def pyhessian_density(p):
    """PyHessian's density() as released, with a torch.eig (see the test)."""
    import torch
    from pyhessian import hessian

    loss, y = hvp_forms.criterion(p)
    kept = hessian(hvp_forms.module(p), loss, data=(torch.tensor(p.X), y), cuda=False)
    nodes, weights = kept.density(iter=SLQ_STEPS, n_v=1)
    return np.array(nodes[0]), np.array(weights[0])


def curvlinops_density(p):
    import torch
    from curvlinops import HessianLinearOperator
    from curvlinops.papyan2020traces.spectrum import fast_lanczos

    net = hvp_forms.module(p)
    loss, y = hvp_forms.criterion(p)
    data = [(torch.tensor(p.X), y)]
    op = HessianLinearOperator(net, loss, list(net.parameters()), data, check_deterministic=False)
    nodes, vectors = fast_lanczos(op, SLQ_STEPS)
    return nodes.numpy(), vectors[0].numpy() ** 2


@pytest.mark.parametrize("reorth", ["full", "none"])
@pytest.mark.parametrize("active", [None, 0.1], ids=["as drawn", "10 % active"])
def test_spectral_density_end_to_end(duel, monkeypatch, threads, active, reorth):
    """From weights and data to nodes and weights, 50 steps from one random vector.

    PyHessian orthogonalises fully, curvlinops does not; a density needs none of it, but its nodes then repeat.
    """
    torch = imported("torch")
    if torch is None or imported("pyhessian") is None or imported("curvlinops") is None:
        pytest.skip("needs torch, pyhessian and curvlinops")
    try:
        torch.eig(torch.eye(2), eigenvectors=True)
    except RuntimeError as reason:
        print(f"\nPyHessian's density() would raise: {str(reason).splitlines()[0]}")

    def eig(T, eigenvectors):  # T is symmetric
        values, vectors = torch.linalg.eigh(T)
        return values[:, None], vectors

    monkeypatch.setattr(torch, "eig", eig, raising=False)
    warnings.simplefilter("ignore")  # PyHessian's cycles between parameters and gradients
    p = hvp_forms.problem(*SEED, "hinge", active)

    def ours():
        density = slq(operator(p, threads), SLQ_STEPS, probes=1, reorth=reorth, threads=threads)
        return density.nodes[0], density.weights[0]

    # Different random vectors: the largest eigenvalue has converged; the second moment is a mean over 1e5 squares.
    want = ours()
    for density in (pyhessian_density, curvlinops_density):
        nodes, weights = density(p)
        assert abs(nodes.max() / want[0].max() - 1) < 1e-3
        assert abs(weights @ nodes**2 / (want[1] @ want[0] ** 2) - 1) < 0.2
    samples = "as drawn" if active is None else "10 % active"
    title = f"SLQ, {SLQ_STEPS} steps, reorth={reorth}, {shape(*SEED)}, {samples}, {count(threads)}"
    n_active = operator(p, 1).n_active
    limit = f"{threads * peak() / (SLQ_STEPS * p.flops(n_active)):.3g} runs/s"
    mine = contender("slq(Hessian)", ours)
    bar = ">= 1.4x PyHessian, >= 2.2x curvlinops" if active is None else ">= 6.7x PyHessian"
    peers = [contender("PyHessian", pyhessian_density, p), contender("curvlinops fast_lanczos", curvlinops_density, p)]
    duel(title, mine, peers, unit="runs/s", bar=bar, limit=limit, seconds=0.5, rounds=5)
