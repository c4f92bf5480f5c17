"""Hessian-vector products of ReLU nets in numpy, torch and JAX: one function of a vector for each form, all in float32.

    numpy  products      Pearlmutter's R-operator on cached activities of the active samples; buffers reused
           concatenated  the same with one product of twice the inner length: [h Rh] [V W]^T, [d Rd] [V; W]
           folded        the same folded as in csrc/nets/fold.hpp: two products in the last hidden layer; hinge loss
    torch  cached        the gradient's graph made once, torch.autograd.grad with retain_graph
           rev-rev       the graph made for each product
           pyhessian     PyHessian's own product, on the graph that it keeps
           curvlinops    HessianLinearOperator
           vmap          the cached graph for all vectors together
    jax    linearize     the gradient linearised once, its linear part compiled: forward and backward passes are kept
           jvp           forward over reverse, compiled
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

__all__ = ["FORMS", "Problem", "build", "criterion", "module", "problem"]

FORMS = {"numpy": ("products", "concatenated"), "torch": ("cached", "rev-rev", "pyhessian", "curvlinops"),
         "jax": ("linearize", "jvp")}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """Weights, (out, in) each, inputs, targets: +-1 for the hinge, classes for cross-entropy; the mean over samples."""

    weights: tuple
    X: np.ndarray
    y: np.ndarray
    loss: str

    @property
    def size(self):
        return sum(w.size for w in self.weights)

    def flops(self, n_active):
        """6 F - 4 F_1 of a product: F for a forward pass of the active samples, F_1 for their first layer; folded, 4 F_m less."""
        layers = [2.0 * w.size * n_active for w in self.weights]
        return 6 * sum(layers) - 4 * layers[0] - 4 * (layers[-2] if len(self.weights[-1]) == 1 else 0)


@cache
def problem(widths, n, loss="hinge", active=None):
    """What every contender is given. `active`: the net has learnt; this fraction of samples is within the margin."""
    rng = np.random.default_rng(0)
    weights = [(rng.standard_normal((b, a)) * np.sqrt(2 / a)).astype(np.float32) for a, b in pairwise(widths)]
    X = rng.standard_normal((n, widths[0])).astype(np.float32)
    if loss == "cross_entropy":
        return Problem(tuple(weights), X, rng.integers(0, widths[-1], n), loss)
    y = np.sign(rng.standard_normal(n)).astype(np.float32)
    if active is not None:
        h = X
        for w in weights[:-1]:
            h = np.maximum(h @ w.T, 0)
        f = (h @ weights[-1].T)[:, 0]
        weights[-1] = weights[-1] / np.quantile(np.abs(f), active).astype(np.float32)
        y = np.sign(f)
    return Problem(tuple(weights), X, y, loss)


def build(library, form, *arguments):
    """A function of a vector, or of an array of vectors for vmap."""
    return {"numpy": _numpy, "torch": _torch, "jax": _jax}[library](form, problem(*arguments))


def _split(p, v):
    parts, at = [], 0
    for w in p.weights:
        parts.append(v[at : at + w.size].reshape(w.shape))
        at += w.size
    return parts


def _passes(p):
    """Activities, gates and deltas of the active samples, and the softmax where there is one."""
    h, gates = [p.X], []
    for w in p.weights[:-1]:
        z = h[-1] @ w.T
        gates.append((z > 0).astype(np.float32))
        h.append(z * gates[-1])
    f = h[-1] @ p.weights[-1].T
    softmax = None
    if p.loss == "hinge":
        top = -(p.y * (p.y * f[:, 0] < 1))[:, None]
        used = top.any(1)
        h, gates, top = [a[used] for a in h], [a[used] for a in gates], top[used]
    else:
        softmax = np.exp(f - f.max(1, keepdims=True))
        softmax /= softmax.sum(1, keepdims=True)
        top = softmax.copy()
        top[np.arange(len(top)), p.y] -= 1
    deltas = [(top / len(p.X)).astype(np.float32)]
    for w, gate in zip(p.weights[:0:-1], gates[::-1]):
        deltas.insert(0, (deltas[0] @ w) * gate)
    return h, gates, deltas, softmax


def _numpy(form, p):
    h, gates, d, softmax = _passes(p)
    W, depth, n = p.weights, len(p.weights), len(h[0])
    out = np.empty(p.size, np.float32)
    to = _split(p, out)

    def top(Rf):  # R of the last deltas
        r = softmax * Rf
        r -= softmax * r.sum(1, keepdims=True)
        r /= len(p.X)
        return r

    if form == "products":
        Rh = [None, *(np.empty_like(a) for a in h[1:])]
        more = [np.empty_like(a) for a in h]
        Rd = [np.empty_like(a) for a in d]
        extra = [np.empty_like(w) for w in W]

        def forward(layer, V, r, room):
            np.matmul(h[layer], V[layer].T, out=r)
            if layer > 0:
                r += np.matmul(Rh[layer], W[layer].T, out=room)

        def product(v):
            V = _split(p, v)
            for layer in range(depth - 1):
                forward(layer, V, Rh[layer + 1], more[layer + 1])
                Rh[layer + 1] *= gates[layer]
            r = None
            if softmax is not None:
                forward(depth - 1, V, Rd[-1], np.empty_like(Rd[-1]))
                r = top(Rd[-1])
            for layer in range(depth - 1, -1, -1):
                if r is not None:
                    np.matmul(r.T, h[layer], out=to[layer])
                if layer == 0:
                    break
                if r is None:
                    np.matmul(d[layer].T, Rh[layer], out=to[layer])
                else:
                    to[layer] += np.matmul(d[layer].T, Rh[layer], out=extra[layer])
                e = np.matmul(d[layer], V[layer], out=Rd[layer - 1])
                if r is not None:
                    e += np.matmul(r, W[layer], out=more[layer])
                e *= gates[layer - 1]
                r = e
            return out

        return product

    if form == "folded":
        m, w = depth - 2, W[-1][0]
        gated = d[-1] * gates[m]  # of the last hidden layer, without its weights on the way out
        constant = gated.T @ h[m]
        Rh = [None, *(np.empty_like(a) for a in h[1 : m + 1])]
        more, room = [np.empty_like(a) for a in h], np.empty_like(W[m])

        def product(v):
            V = _split(p, v)
            for layer in range(m):
                np.matmul(h[layer], V[layer].T, out=Rh[layer + 1])
                if layer > 0:
                    Rh[layer + 1] += np.matmul(Rh[layer], W[layer].T, out=more[layer + 1])
                Rh[layer + 1] *= gates[layer]
            sums = np.matmul(gated.T, Rh[m], out=room)
            to[m + 1][0] = np.einsum("nk,nk->n", V[m], constant) + np.einsum("nk,nk->n", W[m], sums)
            np.multiply(V[m + 1].T, constant, out=to[m])
            sums *= w[:, None]
            to[m] += sums
            np.multiply(w[:, None], V[m], out=room)
            r = gated @ (room + V[m + 1].T * W[m])
            for layer in range(m - 1, -1, -1):
                r *= gates[layer]
                np.matmul(r.T, h[layer], out=to[layer])
                if layer > 0:
                    to[layer] += d[layer].T @ Rh[layer]
                    r = r @ W[layer] + d[layer] @ V[layer]
            return out

        return product

    # Pairs side by side: activities [h Rh] and deltas [d Rd] as columns, weights [V W].
    both_h = [np.concatenate([a, a], 1) for a in h]
    both_d = [np.concatenate([a, a], 1) for a in d]
    ahead = [np.concatenate([w, w], 1) for w in W]
    back = [np.concatenate([w, w], 0) for w in W]
    stack_d, stack_h = [np.concatenate([a, a], 0) for a in d], [np.concatenate([a, a], 0) for a in h]

    def product(v):
        V = _split(p, v)
        for layer in range(depth - (softmax is None)):
            width = W[layer].shape[1]
            if layer == 0:
                r = h[0] @ V[0].T
            else:
                ahead[layer][:, :width] = V[layer]
                r = both_h[layer] @ ahead[layer].T
            if layer < depth - 1:
                np.multiply(r, gates[layer], out=both_h[layer + 1][:, r.shape[1] :])
                stack_h[layer + 1][n:] = both_h[layer + 1][:, r.shape[1] :]
        rd = None if softmax is None else top(r)
        for layer in range(depth - 1, -1, -1):
            width = W[layer].shape[0]
            if layer == 0:
                np.matmul(rd.T, h[0], out=to[0])
            elif rd is None:
                np.matmul(d[layer].T, stack_h[layer][n:], out=to[layer])
                rd = d[layer] @ V[layer]
                rd *= gates[layer - 1]
            else:
                stack_d[layer][:n] = rd  # [Rd; d]^T [h; Rh]
                np.matmul(stack_d[layer].T, stack_h[layer], out=to[layer])
                both_d[layer][:, width:] = rd
                back[layer][:width] = V[layer]
                rd = both_d[layer] @ back[layer]
                rd *= gates[layer - 1]
        return out

    return product


def module(p):
    """The net for torch."""
    import torch

    layers = []
    for w in p.weights:
        layers += [torch.nn.Linear(w.shape[1], w.shape[0], bias=False), torch.nn.ReLU()]
        layers[-2].weight.data = torch.tensor(w)
    return torch.nn.Sequential(*layers[:-1])


def criterion(p):
    """Loss and targets for torch."""
    import torch

    if p.loss == "cross_entropy":
        return torch.nn.CrossEntropyLoss(), torch.tensor(p.y)

    class Hinge(torch.nn.Module):
        reduction = "mean"

        def forward(self, f, y):
            return torch.clamp(1 - y * f, min=0).mean()

    return Hinge(), torch.tensor(p.y)[:, None]


def _torch(form, p):
    import torch

    net, X = module(p), torch.tensor(p.X)
    loss, y = criterion(p)
    parameters = list(net.parameters())

    def flat(parts):
        return torch.cat([a.reshape(-1) for a in parts]).numpy()

    if form == "pyhessian":
        from pyhessian import hessian
        from pyhessian.utils import hessian_vector_product

        kept = hessian(net, loss, data=(X, y), cuda=False)
        return lambda v: flat(hessian_vector_product(kept.gradsH, kept.params, _split(p, torch.from_numpy(v))))
    if form == "curvlinops":
        from curvlinops import HessianLinearOperator

        op = HessianLinearOperator(net, loss, parameters, [(X, y)], check_deterministic=False)
        return lambda v: (op @ torch.from_numpy(v)).detach().numpy()
    graph = torch.autograd.grad(loss(net(X), y), parameters, create_graph=True)
    if form == "rev-rev":

        def product(v):
            graph = torch.autograd.grad(loss(net(X), y), parameters, create_graph=True)
            return flat(torch.autograd.grad(graph, parameters, _split(p, torch.from_numpy(v))))

        return product
    if form == "vmap":

        def product(vectors):
            parts, at = [], 0
            for w in p.weights:
                parts.append(torch.from_numpy(vectors[:, at : at + w.size].reshape(len(vectors), *w.shape)))
                at += w.size
            rows = torch.autograd.grad(graph, parameters, parts, retain_graph=True, is_grads_batched=True)
            return torch.cat([a.reshape(len(vectors), -1) for a in rows], 1).numpy()

        return product
    return lambda v: flat(torch.autograd.grad(graph, parameters, _split(p, torch.from_numpy(v)), retain_graph=True))


def _jax(form, p):
    import jax
    import jax.numpy as jnp

    X, y = jnp.asarray(p.X), jnp.asarray(p.y)

    def risk(weights):
        h = X
        for w in weights[:-1]:
            h = jax.nn.relu(h @ w.T)
        f = h @ weights[-1].T
        if p.loss == "cross_entropy":
            return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(f), y[:, None], 1))
        return jnp.mean(jnp.maximum(1 - y * f[:, 0], 0))

    weights = [jnp.asarray(w) for w in p.weights]
    if form == "linearize":
        run = jax.jit(jax.linearize(jax.grad(risk), weights)[1])
    else:
        run = jax.jit(lambda parts: jax.jvp(jax.grad(risk), (weights,), (parts,))[1])
    join = jax.jit(lambda parts: jnp.concatenate([a.ravel() for a in parts]))
    return lambda v: np.asarray(join(run([jnp.asarray(a) for a in _split(p, v)])))
