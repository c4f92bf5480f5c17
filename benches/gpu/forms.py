"""Rivals on a device: how torch, JAX and CuPy draw normals, and how they measure G2 and G4 of the workloads W1-W4.

Every form is run(n) -> (done, G2 sums, G4 block sums) or, for normals, run(n) -> done; it ends with a wait for the device. torch and JAX
also run on the CPU (`place="cpu"`), where their answers are checked without a device.

    torch    points      normals by normal_ into buffers, loop over points: fused b + x w, erf_, mul_, sum
             compiled    torch.compile fuses erf, product and sum over neurons; normals by normal_
             drawn       the same, with torch.randn inside the compiled function: nothing but f need be stored
             baddbmm     two batched products per layer
             layer law   one layer given the one before is Gaussian, independently for each neuron: normals, times the root of its covariance
    JAX      points, neurons (lax.scan over neurons), batched, layer law, one jitted call each; generators threefry and rbg
    CuPy     fused       cupy.fuse of a erf(b + x w), then a sum; normals by cuRAND or by Generator(Philox4x3210)
"""

import time
from functools import cache, partial

import numpy as np
import rivals
from conftest import Contender, imported, repeated
from rivals.workloads import PairBlocks

__all__ = ["contenders", "cupy_forms", "jax_forms", "moments_of", "normals_of", "torch_forms"]


@cache
def contenders(work):
    """Every form that runs here, at its best chunk, its answer checked: what a bench of ours is timed against, whatever the sampler."""
    found = []
    for library, forms in (("torch", torch_forms), ("jax", jax_forms), ("cupy", cupy_forms)):
        if not imported(library):
            continue
        for name, make in forms(work).items():
            try:
                run, chunk = _tuned(make, _chunks(work, compiled=name in ("torch compiled", "torch drawn")))
                scores = rivals.z_scores(work, moments_of(work, *run(4 * chunk)))
            except Exception as error:  # noqa: BLE001  (a rival that does not run here is left out, and said so)
                print(f"{name} left out: {type(error).__name__}: {error}")
                continue
            assert all(z < 5 for z in scores.values()), (name, scores)
            found.append(Contender(f"{name} x{chunk}", lambda n, run=run: run(n)[0]))
    return found


def _chunks(work, compiled):
    """Nets in flight that are worth trying: from what the caches hold to what fills the device several times."""
    per_net = 12 * max(i * o for i, o in work.fans)
    sizes = [n for n in (1 << k for k in range(6, 21, 2)) if 1 << 24 <= n * per_net <= 1 << 32]
    return sizes[-3::2] if compiled else sizes  # compiling takes many seconds each


def _tuned(make, sizes):
    """The fastest of make(chunk), and its chunk."""
    rates = {}
    for chunk in sizes:
        run = make(chunk)
        run(2 * chunk)  # compiles, allocates
        start = time.perf_counter()
        done = run(8 * chunk)[0]
        rates[done / (time.perf_counter() - start)] = run, chunk
    return rates[max(rates)]


def moments_of(work, done, g2, g4):
    """A form's answer as rivals.z_scores reads it."""
    blocks = PairBlocks(work.n_points)
    g2 = np.asarray(g2) / done
    g4, square = blocks.moments([np.asarray(total) / done for total in g4])
    return {"n_nets": done, "G2": g2, "G4": g4, "G2_stderr": np.sqrt((square - g2**2) / done), "gram": False}


# ---- torch ----------------------------------------------------------------------------------------------------------


def torch_forms(work, place="cuda"):
    """{name: make(chunk) -> run}."""
    import torch

    torch.set_grad_enabled(False)
    names = ["points", "compiled", "drawn"] if work.scalar_layer else ["baddbmm", "layer law"]
    return {f"torch {name}": partial(_torch, torch, work, name, place) for name in names}


def _torch(torch, work, name, place, chunk):
    generator = torch.Generator(place).manual_seed(1)
    forward = {"points": _torch_points, "compiled": _torch_compiled, "drawn": _torch_drawn, "baddbmm": _torch_baddbmm,
               "layer law": _torch_layer_law}[name]
    outputs = forward(torch, work, chunk, place, generator)
    blocks = PairBlocks(work.n_points)
    first, second, order = (torch.from_numpy(np.ascontiguousarray(i)).to(place) for i in (blocks.first, blocks.second, blocks._order))

    def run(n):
        g2 = torch.zeros(blocks.first.size, dtype=torch.float64, device=place)
        g4 = [torch.from_numpy(b).to(place) for b in blocks.zeros()]
        done = 0
        while done < n:
            f = outputs()
            right = f[first] * f[second]
            left = right if blocks.one_order else right[order]
            g2 += right.sum(1)
            for (rows, columns), total in zip(blocks.blocks, g4):
                total += left[rows] @ right[columns].T
            done += chunk
        return done, g2.cpu().numpy(), [total.cpu().numpy() for total in g4]  # waits

    return run


def _torch_points(torch, work, n, place, generator):
    (width,), x = work.widths, work.points[:, 0].tolist()
    weights, bias = torch.empty(3, width, n, device=place), torch.empty(n, device=place)
    w, b, a = weights
    h, f = torch.empty(width, n, device=place), torch.empty(len(x), n, device=place)

    def outputs():
        weights.normal_(generator=generator)
        bias.normal_(generator=generator)
        for i, point in enumerate(x):
            torch.add(b, w, alpha=point, out=h)
            h.erf_().mul_(a)
            torch.add(bias, h.sum(0), alpha=width**-0.5, out=f[i])
        return f

    return outputs


def _torch_network(torch, work):
    (width,), x = work.widths, work.points[:, 0].tolist()

    def network(weights, bias):
        w, b, a = weights
        return torch.stack([(a * torch.erf(w * point + b)).sum(0) * width**-0.5 + bias for point in x])

    return network


def _torch_compiled(torch, work, n, place, generator):
    weights, bias = torch.empty(3, *work.widths, n, device=place), torch.empty(n, device=place)
    network = torch.compile(_torch_network(torch, work), dynamic=False)

    def outputs():
        return network(weights.normal_(generator=generator), bias.normal_(generator=generator))

    return outputs


def _torch_drawn(torch, work, n, place, generator):
    torch.manual_seed(1)
    network = _torch_network(torch, work)

    @torch.compile(dynamic=False)
    def outputs():
        return network(torch.randn(3, *work.widths, n, device=place), torch.randn(n, device=place))

    return outputs


def _torch_baddbmm(torch, work, n, place, generator):
    m, last = work.n_points, work.widths[-1]
    weights = torch.empty(n * max(i * o for i, o in work.fans), device=place)
    x = torch.from_numpy(work.points).T.contiguous().to(place)

    def normal(*shape):
        return weights[: int(np.prod(shape))].normal_(generator=generator).view(shape)

    def outputs():
        h = None
        for fan_in, width in work.fans:
            bias = torch.empty(n, width, 1, device=place).normal_(generator=generator)
            w = normal(n, width, fan_in)
            if h is None:
                h = torch.addmm(bias.view(-1, 1), w.view(-1, fan_in), x, alpha=fan_in**-0.5).view(n, width, m)
            else:
                h = torch.baddbmm(bias, w, h, alpha=fan_in**-0.5)
            h = h.erf_() if work.activation == "erf" else h.relu_()
        bias = torch.empty(n, 1, 1, device=place).normal_(generator=generator)
        return torch.baddbmm(bias, normal(n, 1, last), h, alpha=last**-0.5)[:, 0].T

    return outputs


def _torch_layer_law(torch, work, n, place, generator):
    m, x = work.n_points, torch.from_numpy(work.points).to(place)
    first = torch.linalg.cholesky(x.double() @ x.T.double() / work.dim_in + 1.0).float()
    z = torch.empty(n * max(work.widths) * m, device=place)

    def normal(*shape):
        return z[: int(np.prod(shape))].normal_(generator=generator).view(shape)

    def outputs():
        root = first
        for width in work.widths:
            h = torch.matmul(normal(n, width, m), root.mT)
            h = h.erf_() if work.activation == "erf" else h.relu_()
            covariance = torch.baddbmm(torch.ones((), device=place), h.mT, h, alpha=1 / width)
            root = torch.linalg.cholesky_ex(covariance)[0]
        return (root @ normal(n, m, 1))[..., 0].T

    return outputs


# ---- JAX ------------------------------------------------------------------------------------------------------------


def jax_forms(work):
    """{name: make(chunk) -> run}, on JAX's default device."""
    names = ["points", "neurons"] if work.scalar_layer else ["batched", "layer law"]
    return {f"JAX {name}, {generator}": partial(_jax, work, name, generator) for name in names for generator in ("threefry2x32", "rbg")}


def _jax(work, name, generator, chunk):
    import jax
    import jax.numpy as jnp

    blocks, m = PairBlocks(work.n_points), work.n_points
    first = jnp.asarray(np.linalg.cholesky(work.points.astype(np.float64) @ work.points.T / work.dim_in + 1).astype(np.float32))
    x, phi = jnp.asarray(work.points), {"erf": jax.scipy.special.erf, "relu": jax.nn.relu}[work.activation]

    def outputs(key):
        def draw(stream, shape):
            return jax.random.normal(jax.random.fold_in(key, stream), shape, jnp.float32)

        if name == "layer law":
            root = first
            for depth, (_, width) in enumerate(work.fans):
                h = phi(jnp.matmul(draw(depth, (chunk, width, m)), jnp.swapaxes(root, -1, -2), precision="highest"))
                root = jnp.linalg.cholesky(jnp.matmul(jnp.swapaxes(h, 1, 2), h, precision="highest") / np.float32(width) + 1)
            return jnp.matmul(root, draw(100, (chunk, m, 1)), precision="highest")[..., 0].T
        if name == "batched":
            h = x.T
            for depth, (fan_in, width) in enumerate(work.fans):
                w, b = draw(2 * depth, (chunk, width, fan_in)), draw(2 * depth + 1, (chunk, width, 1))
                h = phi(jnp.matmul(w, h, precision="highest") * np.float32(fan_in**-0.5) + b)
            a = draw(100, (chunk, 1, work.widths[-1]))
            return jnp.matmul(a, h, precision="highest")[:, 0].T * np.float32(work.widths[-1] ** -0.5) + draw(101, (chunk,))
        (width,) = work.widths
        if name == "points":
            w, b, a = draw(0, (3, width, chunk))
            f = jnp.stack([(a * phi(w * point + b)).sum(0) for point in work.points[:, 0].tolist()])
        else:
            def add(f, j):
                w, b, a = jax.random.normal(jax.random.fold_in(key, j + 7), (3, chunk), jnp.float32)
                return f + a * phi(w * x + b), None

            f, _ = jax.lax.scan(add, jnp.zeros((m, chunk), jnp.float32), jnp.arange(width))
        return f * np.float32(width**-0.5) + draw(1, (chunk,))

    @jax.jit
    def step(key):
        f = outputs(key)
        right = f[blocks.first] * f[blocks.second]
        left = right if blocks.one_order else right[blocks._order]
        return right.sum(1), [jnp.matmul(left[rows], right[columns].T, precision="highest") for rows, columns in blocks.blocks]

    calls = iter(range(1 << 62))
    key = jax.random.key(1, impl=generator)

    def run(n):
        parts, done = [], 0
        while done < n:
            parts.append(step(jax.random.fold_in(key, next(calls))))
            done += chunk
        parts = jax.device_get(parts)  # waits
        g4 = blocks.zeros()
        for _, products in parts:
            for total, product in zip(g4, products):
                total += product
        return done, sum(np.asarray(g2, np.float64) for g2, _ in parts), g4

    return run


# ---- CuPy -----------------------------------------------------------------------------------------------------------


def cupy_forms(work):
    """{name: make(chunk) -> run}; one hidden layer on scalar inputs only."""
    return {f"CuPy fused, {g}": partial(_cupy, work, g) for g in ("cuRAND", "Philox")} if work.scalar_layer else {}


def _cupy(work, generator, chunk):
    import cupy
    from cupyx.scipy.special import erf

    blocks = PairBlocks(work.n_points)
    first, second, order = (cupy.asarray(i) for i in (blocks.first, blocks.second, blocks._order))
    normal = _cupy_normal(cupy, generator)
    (width,), x = work.widths, work.points[:, 0].tolist()

    @cupy.fuse
    def neuron(w, b, a, point):
        return a * erf(w * point + b)

    def run(n):
        g2, g4, done = cupy.zeros(blocks.first.size), [cupy.asarray(b) for b in blocks.zeros()], 0
        while done < n:
            w, b, a = normal((3, width, chunk))
            bias = normal((chunk,))
            f = cupy.stack([neuron(w, b, a, np.float32(point)).sum(0) * np.float32(width**-0.5) + bias for point in x])
            right = f[first] * f[second]
            left = right if blocks.one_order else right[order]
            g2 += right.sum(1)
            for (rows, columns), total in zip(blocks.blocks, g4):
                total += left[rows] @ right[columns].T
            done += chunk
        return done, g2.get(), [total.get() for total in g4]  # waits

    return run


def _cupy_normal(cupy, generator):
    if generator == "cuRAND":
        state = cupy.random.RandomState(1)
        return lambda shape: state.standard_normal(shape, dtype=np.float32)
    state = cupy.random.Generator(cupy.random.Philox4x3210(1))
    return lambda shape: state.standard_normal(shape, dtype=np.float32)


# ---- normals --------------------------------------------------------------------------------------------------------


def normals_of(library, size):
    """{name: run(n) -> normals drawn}, `size` at a time, into memory."""
    makers = {"torch": _torch_normals, "jax": _jax_normals, "cupy": _cupy_normals}
    return makers[library](size)


def _torch_normals(size):
    import torch

    place = "cuda" if torch.cuda.is_available() else "cpu"
    buffer = torch.empty(size, device=place)
    return {"torch normal_": repeated(buffer.normal_, size=size, wait=torch.cuda.synchronize if place == "cuda" else None)}


def _jax_normals(size):
    import jax

    found = {}
    for generator in ("threefry2x32", "rbg"):
        key, last, calls = jax.random.key(1, impl=generator), [None], iter(range(1 << 62))
        step = jax.jit(lambda key, i: jax.random.normal(jax.random.fold_in(key, i), (size,), np.float32))

        def draw(key=key, last=last, calls=calls, step=step):
            last[0] = step(key, next(calls) % (1 << 31))

        found[f"JAX {generator}"] = repeated(draw, size=size, wait=lambda last=last: last[0].block_until_ready())
    return found


def _cupy_normals(size):
    import cupy

    wait = cupy.cuda.runtime.deviceSynchronize
    return {f"CuPy {g}": repeated(lambda normal=_cupy_normal(cupy, g): normal((size,)), size=size, wait=wait) for g in ("cuRAND", "Philox")}
