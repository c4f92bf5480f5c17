"""Rivals on a device: Lanczos with Hessian products of torch, and with sparse products of CuPy, no look at the device between steps.

    torch cached     one graph of the gradient for all products, one backward pass through it per vector
    torch batched    the same with all vectors in one backward pass (is_grads_batched)
    torch replayed   `cached` captured in a CUDA graph: no Python, no launches one by one
    torch vmap       forward over reverse, torch.func, all vectors at once

The Lanczos around them keeps alpha and beta on the device and makes one pass of Gram-Schmidt by batched matrix products.
torch runs on the CPU too (`place="cpu"`), where answers are checked without a device.
"""

import numpy as np

__all__ = ["cupy_lanczos", "hessian_forms", "torch_lanczos"]


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
