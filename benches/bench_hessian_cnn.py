"""Hessian-vector products of a convolutional ReLU net, float32, batch 1000: against torch in every form, PyHessian and curvlinops.

conv16-32-32, kernels 3x3 with padding 1, a 2x2 max pool behind each, one dense layer: 14 768 parameters. The limit is that of dense
products, 6 F - 4 F_1 = 23.0 Gflop at the speed of this machine's own matrix product; in front of a 2x2 max pool only a quarter of the outputs
matters, which is why it can be passed. On one thread times are processor times, which a busy machine disturbs less.
"""

import time
import warnings

import numpy as np
import pytest
from conftest import Contender, imported, repeated
from threadpoolctl import threadpool_limits

from nnqft.hessian import from_torch

BATCH, FILTERS, SIZE = 1000, (16, 32, 32), 32


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request, monkeypatch):
    torch = pytest.importorskip("torch", reason="the rivals are torch's")
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    if request.param == 1:
        monkeypatch.setattr(time, "perf_counter", time.process_time)
    with threadpool_limits(request.param, user_api="blas"):
        yield request.param
    torch.set_num_threads(before)


def module(torch):
    torch.manual_seed(0)
    layers, channels = [], 3
    for filters in FILTERS:
        layers += [torch.nn.Conv2d(channels, filters, 3, padding=1, bias=False), torch.nn.ReLU(), torch.nn.MaxPool2d(2)]
        channels = filters
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(channels * (SIZE // 8) ** 2, 1, bias=False))


def hinge(f, y):
    return (1 - y * f).clamp(min=0).mean()


def flops():
    """6 F - 4 F_1, F the flops of a forward pass and F_1 those of its first layer."""
    products, channels, size = [], 3, SIZE
    for filters in FILTERS:
        products.append(9 * channels * filters * size**2)
        channels, size = filters, size // 2
    return 2 * BATCH * (6 * (sum(products) + channels * size**2) - 4 * products[0])


def limit(threads):
    a, seconds = np.ones((512, 512), np.float32), []
    with threadpool_limits(1):
        for _ in range(100):
            start = time.process_time()
            a @ a
            seconds.append(time.process_time() - start)
    return f"{threads * 2 * 512**3 / min(s for s in seconds if s > 0) / flops():.3g} products/s (dense)"


def split(torch, v, like):
    return [part.view_as(p) for part, p in zip(torch.tensor(v).split([p.numel() for p in like]), like)]


def flat(parts):
    return np.concatenate([part.detach().numpy().ravel() for part in parts])


def cached(torch, X, y, channels_last=False):
    """One graph of the gradient, kept."""
    net = module(torch).to(X.dtype)
    if channels_last:
        net, X = net.to(memory_format=torch.channels_last), X.contiguous(memory_format=torch.channels_last)
    parameters = list(net.parameters())
    gradient = torch.autograd.grad(hinge(net(X), y), parameters, create_graph=True)
    return lambda v: flat(torch.autograd.grad(gradient, parameters, split(torch, v, parameters), retain_graph=True))


def reverse_reverse(torch, X, y):
    net = module(torch)
    parameters = list(net.parameters())

    def product(v):
        gradient = torch.autograd.grad(hinge(net(X), y), parameters, create_graph=True)
        return flat(torch.autograd.grad(gradient, parameters, split(torch, v, parameters)))

    return product


def forward_reverse(torch, X, y):
    net = module(torch)
    names, parameters = zip(*((name, p.detach()) for name, p in net.named_parameters()))

    def risk(parameters):
        return hinge(torch.func.functional_call(net, dict(zip(names, parameters)), (X,)), y)

    return lambda v: flat(torch.func.jvp(torch.func.grad(risk), (parameters,), (tuple(split(torch, v, parameters)),))[1])


def pyhessian(torch, X, y):
    from pyhessian import hessian
    from pyhessian.utils import hessian_vector_product

    kept = hessian(module(torch), hinge, data=(X, y), cuda=False)
    return lambda v: flat(hessian_vector_product(kept.gradsH, kept.params, split(torch, v, kept.params)))


def curvlinops(torch, X, y):
    from curvlinops import HessianLinearOperator

    class Hinge(torch.nn.Module):
        reduction = "mean"

        def forward(self, f, y):
            return hinge(f, y)

    net = module(torch)
    operator = HessianLinearOperator(net, Hinge(), list(net.parameters()), [(X, y)], check_deterministic=False)
    return lambda v: (operator @ torch.tensor(v)).numpy()


def rivals(torch, X, y):
    yield "torch cached graph", cached(torch, X, y)
    yield "torch cached graph, channels last", cached(torch, X, y, channels_last=True)
    yield "torch reverse over reverse", reverse_reverse(torch, X, y)
    yield "torch forward over reverse", forward_reverse(torch, X, y)
    if imported("pyhessian"):
        yield "PyHessian", pyhessian(torch, X, y)
    if imported("curvlinops"):
        yield "curvlinops", curvlinops(torch, X, y)


def test_products_of_a_convolutional_net(duel, threads):
    torch = imported("torch")
    rng = np.random.default_rng(0)
    X, y = torch.tensor(rng.normal(size=(BATCH, 3, SIZE, SIZE)).astype(np.float32)), torch.tensor(np.sign(rng.normal(size=(BATCH, 1))).astype(np.float32))
    H = from_torch(module(torch), "hinge", (X, y), native=True, threads=threads)
    v = rng.normal(size=H.shape[0]).astype(np.float32)
    few = slice(0, 100)
    part = from_torch(module(torch), "hinge", (X[few], y[few]), native=True, threads=threads)
    exact = cached(torch, X[few].double(), y[few].double())(v.astype(np.float64))
    np.testing.assert_allclose(part @ v, exact, rtol=0, atol=3e-6 * np.abs(exact).max())  # the gates are those of float64
    want, peers = H @ v, []
    warnings.simplefilter("ignore")  # of cycles between parameters and gradients
    for name, product in rivals(torch, X, y):
        assert np.linalg.norm(product(v) - want) < 5e-3 * np.linalg.norm(want)  # a few of 2e7 gates of float32 differ
        peers.append(Contender(name, repeated(lambda product=product: product(v))))
    title = f"Hv of conv16-32-32, batch {BATCH}, hinge, {'1 thread' if threads == 1 else f'{threads} threads'}"
    duel(title, Contender("Hessian", repeated(lambda: H.matvec(v))), peers, unit="products/s", bar=">= 2x torch cached", limit=limit(threads), rounds=3)
