"""Rivals on a device: Lanczos with Hessian products of torch, JAX and CuPy, and with sparse products of CuPy, no look at the device between
steps.

    torch cached     one graph of the gradient for all products, one backward pass through it per vector
    torch batched    the same with all vectors in one backward pass (is_grads_batched)
    torch replayed   `cached` captured in a CUDA graph: no Python, no launches one by one
    torch vmap       forward over reverse, torch.func, all vectors at once
    JAX linearized   the gradient linearised once, its linear part for all vectors at once; the whole run is one compiled program
    CuPy folded      the R-operator on cached activities of the active samples, folded (csrc/nets/fold.hpp), all vectors side by side in each
                     matrix product: what somebody writes who knows the net

The Lanczos around them keeps alpha and beta on the device and makes one pass of Gram-Schmidt by batched matrix products.
torch runs on the CPU too (`place="cpu"`), where answers are checked without a device.
"""

import numpy as np
from rivals import hvp_forms

__all__ = ["array_lanczos", "cupy_lanczos", "cupy_product", "hessian_forms", "jax_run", "torch_lanczos"]


def _model(torch, net, X, y, place):
    """theta (one tensor per layer), and the hinge risk as a function of it."""
    theta = [torch.tensor(w, dtype=torch.float32, device=place, requires_grad=True) for w in net.weights]
    X, y = (torch.tensor(np.asarray(a), dtype=torch.float32, device=place) for a in (X, y))

    def risk(theta):
        h = X
        for w in theta[:-1]:
            h = torch.relu(h @ w.T)
        return torch.relu(1 - y * (h @ theta[-1].T)[:, 0]).mean()

    return theta, risk


def hessian_forms(net, X, y, place="cuda"):
    """{name: product}, product(V) -> H V for rows V (vectors, parameters), float32."""
    import torch

    torch.set_grad_enabled(True)  # which other benches turn off
    theta, risk = _model(torch, net, X, y, place)
    sizes = [t.numel() for t in theta]
    gradient = torch.autograd.grad(risk(theta), theta, create_graph=True)

    def parts(V):
        return [v.reshape(*v.shape[:-1], *t.shape) for v, t in zip(V.split(sizes, dim=-1), theta)]

    def cached(V):
        products = [torch.autograd.grad(gradient, theta, parts(v), retain_graph=True) for v in V]
        return torch.stack([torch.cat([p.reshape(-1) for p in product]) for product in products])

    def batched(V):
        products = torch.autograd.grad(gradient, theta, parts(V), retain_graph=True, is_grads_batched=True)
        return torch.cat([p.reshape(len(V), -1) for p in products], dim=1)

    def vmap(V):
        def one(*v):
            return torch.func.jvp(
                torch.func.grad(lambda *t: risk(t), argnums=tuple(range(len(theta)))), tuple(theta), v
            )[1]

        return torch.cat([p.reshape(len(V), -1) for p in torch.func.vmap(one)(*parts(V))], dim=1)

    captured = {}

    def replayed(V):
        if len(V) not in captured:
            held = V.clone()
            side = torch.cuda.Stream()
            with torch.cuda.stream(side):
                cached(held)  # allocates what a capture may not
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                out = cached(held)
            captured[len(V)] = graph, held, out
        graph, held, out = captured[len(V)]
        held.copy_(V)
        graph.replay()
        return out

    forms = {"torch cached": cached, "torch batched": batched, "torch vmap": vmap}
    return forms | ({"torch replayed": replayed} if place == "cuda" else {})


def cupy_product(cupy, net, X, y):
    """product(V) -> H V for rows V, float32, of the hinge risk of a ReLU net with one output and no biases."""
    host = hvp_forms.Problem(tuple(w.astype(np.float32) for w in net.weights), X.astype(np.float32), y.astype(np.float32), "hinge")
    h, gates, d, _ = hvp_forms._passes(host)
    W, h, gates, d = ([cupy.asarray(np.ascontiguousarray(a)) for a in arrays] for arrays in (host.weights, h, gates, d))
    m, samples, w = len(W) - 2, len(h[0]), W[-1][0]
    gated = d[-1] * gates[m]
    back = cupy.ascontiguousarray(gated.T)
    constant = back @ h[m]
    ends = np.cumsum([0, *(weights.size for weights in W)])

    def product(V):
        c = len(V)
        V = [cupy.ascontiguousarray(V[:, a:b]).reshape(c, *weights.shape) for a, b, weights in zip(ends, ends[1:], W)]
        Rh, out = [None], [None] * len(W)  # Rh: (samples, c, width)
        for layer in range(m):
            r = (h[layer] @ V[layer].reshape(-1, W[layer].shape[1]).T).reshape(samples, c, -1)
            if layer > 0:
                r += (Rh[layer].reshape(samples * c, -1) @ W[layer].T).reshape(r.shape)
            r *= gates[layer][:, None]
            Rh.append(r)
        rows, columns = W[m].shape
        turned = V[m + 1].transpose(0, 2, 1)  # (c, rows, 1)
        A = turned * W[m] + w[:, None] * V[m]
        r = (gated @ cupy.ascontiguousarray(A.transpose(1, 0, 2)).reshape(rows, -1)).reshape(samples, c, columns)
        out[m] = turned * constant
        last = (V[m] * constant).sum(2)
        if m > 0:
            sums = (back @ Rh[m].reshape(samples, -1)).reshape(rows, c, columns).transpose(1, 0, 2)
            out[m] += w[:, None] * sums
            last += (W[m] * sums).sum(2)
        out[m + 1] = last[:, None]
        for layer in range(m - 1, -1, -1):
            r *= gates[layer][:, None]
            width = W[layer].shape[0]
            out[layer] = (r.reshape(samples, -1).T @ h[layer]).reshape(c, width, -1)
            if layer > 0:
                out[layer] += (d[layer].T @ Rh[layer].reshape(samples, -1)).reshape(width, c, -1).transpose(1, 0, 2)
                below = (d[layer] @ V[layer].transpose(1, 0, 2).reshape(width, -1)).reshape(samples, c, -1)
                r = (r.reshape(samples * c, width) @ W[layer]).reshape(below.shape) + below
        return cupy.concatenate([a.reshape(c, -1) for a in out], 1)

    return product


def array_lanczos(xp, product, V, k):
    """alpha, beta (vectors, k) from rows V of CuPy."""
    vectors, n = V.shape
    Q = xp.empty((vectors, k + 1, n), V.dtype)
    Q[:, 0] = V / xp.sqrt((V * V).sum(1))[:, None]
    alpha, beta = [], []
    for j in range(k):
        w = product(Q[:, j])
        if j > 0:
            w -= beta[-1][:, None] * Q[:, j - 1]
        alpha.append((w * Q[:, j]).sum(1))
        w -= alpha[-1][:, None] * Q[:, j]
        basis, w = Q[:, : j + 1], w[:, :, None]
        w = (w - xp.matmul(basis.transpose(0, 2, 1), xp.matmul(basis, w)))[:, :, 0]
        beta.append(xp.sqrt((w * w).sum(1)))
        Q[:, j + 1] = w / beta[-1][:, None]
    return xp.stack(alpha, 1), xp.stack(beta, 1)


def jax_run(net, X, y, V, k):
    """run() -> alpha, beta (vectors, k): one compiled program, from rows V of numpy, float32."""
    import jax
    import jax.numpy as jnp

    X, y, V = (jnp.asarray(np.asarray(a, np.float32)) for a in (X, y, V))
    theta = [jnp.asarray(w.astype(np.float32)) for w in net.weights]
    ends = np.cumsum([0, *(w.size for w in net.weights)])

    def risk(theta):
        h = X
        for w in theta[:-1]:
            h = jax.nn.relu(jnp.matmul(h, w.T, precision="highest"))
        return jnp.maximum(1 - y * jnp.matmul(h, theta[-1].T, precision="highest")[:, 0], 0).mean()

    linear = jax.linearize(jax.grad(risk), theta)[1]

    def product(v):
        parts = [v[a:b].reshape(w.shape) for a, b, w in zip(ends, ends[1:], theta)]
        return jnp.concatenate([p.ravel() for p in linear(parts)])

    def step(j, state):
        Q, alpha, beta = state
        q = Q[:, j]
        w = jax.vmap(product)(q)
        w = w - jnp.where(j > 0, beta[:, j - 1], 0)[:, None] * Q[:, j - 1]
        a = (w * q).sum(1)
        w = w - a[:, None] * q
        w = w - jnp.einsum("vkn,vk->vn", Q, jnp.einsum("vkn,vn->vk", Q, w, precision="highest"), precision="highest")  # rows to come are zero
        b = jnp.sqrt((w * w).sum(1))
        return Q.at[:, j + 1].set(w / b[:, None]), alpha.at[:, j].set(a), beta.at[:, j].set(b)

    @jax.jit
    def run(V):
        vectors, n = V.shape
        Q = jnp.zeros((vectors, k + 1, n), V.dtype).at[:, 0].set(V / jnp.sqrt((V * V).sum(1))[:, None])
        none = jnp.zeros((vectors, k), V.dtype)
        return jax.lax.fori_loop(0, k, step, (Q, none, none))[1:]

    return lambda: jax.block_until_ready(run(V))


def torch_lanczos(product, V, k):
    """alpha, beta (vectors, k) as tensors, from rows V."""
    import torch

    with torch.no_grad():
        vectors, n = V.shape
        Q = torch.empty(vectors, k + 1, n, dtype=V.dtype, device=V.device)
        Q[:, 0] = V / V.norm(dim=1, keepdim=True)
    alpha, beta = [], []
    for j in range(k):
        w = product(Q[:, j])
        with torch.no_grad():
            if j > 0:
                w = w - beta[-1][:, None] * Q[:, j - 1]
            alpha.append((w * Q[:, j]).sum(1))
            w = (w - alpha[-1][:, None] * Q[:, j])[:, :, None]
            basis = Q[:, : j + 1]
            w = torch.baddbmm(w, basis.transpose(1, 2), basis @ w, alpha=-1)[:, :, 0]
            beta.append(w.norm(dim=1))
            torch.div(w, beta[-1][:, None], out=Q[:, j + 1])
    return torch.stack(alpha, 1), torch.stack(beta, 1)


def cupy_lanczos(cupy, A, v, k, reorth):
    """alpha, beta (k,) from one vector, A a cupyx CSR matrix."""
    n = len(v)
    Q = cupy.empty((k + 1, n), v.dtype) if reorth else None
    q, previous, b = v / cupy.sqrt((v * v).sum()), None, None
    alpha, beta = [], []
    for j in range(k):
        if reorth:
            Q[j] = q
        w = A @ q
        if previous is not None:
            w -= b * previous
        a = cupy.dot(q, w)
        w -= a * q
        if reorth:
            w -= Q[: j + 1].T @ (Q[: j + 1] @ w)
        b = cupy.sqrt(cupy.dot(w, w))
        previous, q = q, w / b
        alpha.append(a)
        beta.append(b)
    return cupy.stack(alpha), cupy.stack(beta)
