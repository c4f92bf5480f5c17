"""JAX rivals: one jitted call runs `lax.scan` over chunks of nets and returns float32 sums of at most 8192 nets.

Forms for scalar inputs and one hidden layer: "vmap" (a network written for one net and one set of points, vmapped),
"points" (sum over neurons, one point at a time), "neurons" (`lax.scan` over neurons with all points of `chunk` nets
in the accumulator: nothing but the normals is stored). Any net: "batched". The layer law: "layer-direct",
"layer-gram" (see torch_forms).
Generators: "normal" (jax.random.normal of a threefry key), "rbg" (the same of an rbg key), "boxmuller"
(jax.random.bits, then a Box-Muller transform in polynomials that XLA vectorises), "threefry" (the same transform on
a threefry2x32 written out in jax.numpy, because JAX's own CPU lowering keeps its rounds in a loop: no longer the
library's generator, but the limit of what its compiler gives).

Needs XLA_FLAGS=--xla_cpu_prefer_vector_width=512 (20 to 40 % on AVX-512) before the import of jax; `pool` sets it.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .workloads import WORKLOADS, PairBlocks, kernels

__all__ = ["build", "normals"]

# Half the rounds per word; the default pays for sharding over devices.
jax.config.update("jax_threefry_partitionable", False)

f32 = np.float32


# --- normals -----------------------------------------------------------------------------------------------------
def _cosine(angle):
    """cos(2 pi angle / 2^32) of int32 angles: reduced to (-pi/2, pi/2] exactly, then degree 10 (1e-7)."""
    half_turns = (angle + np.int32(1 << 30)) >> 31
    t = (angle - (half_turns << 31)).astype(jnp.float32) * f32(np.pi / 2**31)
    s = t * t
    c = 1 + s * (-0.5 + s * (4.16666407e-2 + s * (-1.38884036e-3 + s * (2.47618894e-5 + s * -2.60771621e-7))))
    return jnp.where(half_turns == 0, c, -c)


def _box_muller(radius, angle, shape, apart):
    """Normals r cos t and r sin t = r cos(t - pi/2) of `shape` from two arrays of words.

    As one elementwise kernel, 4 to 12 % faster where a network follows, or `apart`, twice as fast alone: the
    difference is what XLA decides to fuse.
    """
    r = jnp.sqrt(-2 * jnp.log((radius >> 8).astype(jnp.float32) * f32(2**-24) + f32(2**-25)))
    angle, quarter = angle.astype(jnp.int32), np.int32(1 << 30)
    if apart:
        z = jnp.concatenate([r * _cosine(angle), r * _cosine(angle - quarter)])
    else:
        z = (r * _cosine(angle - jnp.array([[0], [quarter]], jnp.int32))).reshape(-1)
    return z[:np.prod(shape)].reshape(shape)


def _threefry(key, counter, stream):
    """threefry2x32-20 (Salmon et al., SC 2011) of (counter, stream), all rounds written out."""
    ks = (key[0], key[1], key[0] ^ key[1] ^ np.uint32(0x1BD11BDA))
    x0, x1 = counter + ks[0], jnp.full_like(counter, np.uint32(stream)) + ks[1]
    for step in range(5):
        for turn in ((13, 15, 26, 6), (17, 29, 16, 24))[step % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(turn)) | (x1 >> np.uint32(32 - turn))) ^ x0
        x0, x1 = x0 + ks[(step + 1) % 3], x1 + ks[(step + 2) % 3] + np.uint32(step + 1)
    return x0, x1


def _draw(generator, key, stream, shape, apart=False):
    """Normals of `shape`: stream number `stream` of `key`."""
    half = -(-int(np.prod(shape)) // 2)
    if generator == "threefry":
        # lax.map puts the words into memory: XLA would otherwise hash once per use of a word.
        part, data = -(-half // 4), jax.random.key_data(key)
        words = lax.map(lambda i: _threefry(data, i * np.uint32(part) + lax.iota(jnp.uint32, part), stream),
                        lax.iota(jnp.uint32, 4))
        return _box_muller(*(w.reshape(-1) for w in words), shape, apart)
    key = jax.random.fold_in(key, stream)
    if generator == "boxmuller":
        return _box_muller(*jax.random.bits(key, (2, half)), shape, apart)
    return jax.random.normal(key, shape)


def _key(generator, seed):
    if generator not in ("normal", "rbg", "boxmuller", "threefry"):
        raise ValueError(f"unknown generator {generator!r}: use normal, rbg, boxmuller or threefry")
    return jax.random.key(seed, impl="rbg" if generator == "rbg" else "threefry2x32")


# --- networks ----------------------------------------------------------------------------------------------------
_ACTIVATION = {"erf": jax.scipy.special.erf, "relu": jax.nn.relu}


def _scalar(workload, n, form, draw):
    """One hidden layer on scalar inputs, `n` nets: f of shape (points, n)."""
    (width,), x, phi = workload.widths, workload.points[:, 0], _ACTIVATION[workload.activation]
    bias = draw(1, (n,))
    if form == "neurons":
        def add(f, wba):
            w, b, a = wba
            return f + a * phi(w * x[:, None] + b), None

        f, _ = lax.scan(add, jnp.zeros((x.size, n), jnp.float32), tuple(draw(0, (3, width, n))))
    elif form == "points":
        w, b, a = draw(0, (3, width, n))
        f = jnp.stack([(a * phi(w * point + b)).sum(0) for point in x])
    else:
        w, b, a = draw(0, (3, n, width))
        f = jax.vmap(lambda w, b, a: a @ phi(w[:, None] * x + b[:, None]), out_axes=1)(w, b, a)
    return f * f32(width**-0.5) + bias


def _batched(workload, n, draw):
    """Explicit weights of `n` nets; f of shape (points, n)."""
    phi, m, last = _ACTIVATION[workload.activation], workload.n_points, workload.widths[-1]
    h = workload.points.T
    for depth, (fan_in, width) in enumerate(workload.fans):
        w = draw(2 * depth, (n, width, fan_in))
        b = draw(2 * depth + 1, (n, width, 1))
        product = (w.reshape(-1, fan_in) @ h).reshape(n, width, m) if depth == 0 else w @ h
        h = phi(product * f32(fan_in**-0.5) + b)
    a, bias = draw(100, (n, 1, last)), draw(101, (n,))
    return (a @ h)[:, 0].T * f32(last**-0.5) + bias


def _layer_law(workload, n, gram, draw):
    """Pre-activations z L^T with K = L L^T; the packed last kernel (pairs, n) or outputs (points, n)."""
    phi, m, last = _ACTIVATION[workload.activation], workload.n_points, workload.widths[-1]
    start = np.linalg.cholesky(kernels(workload)[0]).T.astype(f32)
    kernel = None
    for depth, width in enumerate(workload.widths):
        z = draw(depth, (n, width, m))
        if depth == 0:
            h = phi((z.reshape(-1, m) @ start).reshape(z.shape))
        else:
            h = phi(z @ jnp.linalg.cholesky(kernel, symmetrize_input=False).mT)
        if gram or depth + 1 < len(workload.widths):
            kernel = 1 + h.mT @ h / width
    if gram:
        packed = PairBlocks(m)
        return kernel[:, packed.first, packed.second].T
    a, bias = draw(100, (n, 1, last)), draw(101, (n,))
    return (a @ h)[:, 0].T * f32(last**-0.5) + bias


# --- moments -----------------------------------------------------------------------------------------------------
def build(name, form, chunk, seed):
    """A sampler: run(n_nets) -> (nets done, sums of G2, list of block sums of G4), all sums float64."""
    workload = WORKLOADS[name]
    form, generator = form.split("/")
    m, gram = workload.n_points, form == "layer-gram"
    blocks = PairBlocks(m, gram=gram)
    rounds = max(1, (8192 if workload.scalar_layer else 512) // chunk)
    forward = {"batched": _batched, "layer-direct": partial(_layer_law, gram=False),
               "layer-gram": partial(_layer_law, gram=True)}.get(form, partial(_scalar, form=form))

    @jax.jit
    def call(key, number):
        key = jax.random.fold_in(key, number)

        def step(_, i):
            return None, forward(workload, chunk, draw=partial(_draw, generator, jax.random.fold_in(key, i)))

        _, f = lax.scan(step, None, jnp.arange(rounds))
        s = jnp.moveaxis(f, 1, 0).reshape(f.shape[1], -1)
        if gram:
            return s.sum(1), [s[rows] @ s[columns].T for rows, columns in blocks.blocks]
        right = jnp.concatenate([s[i:] * s[i] for i in range(m)])
        left = right if blocks.one_order else jnp.concatenate([s[:i + 1] * s[i] for i in range(m)])
        return ((s @ s.T)[blocks.first, blocks.second],
                [left[rows] @ right[columns].T for rows, columns in blocks.blocks])

    key, state = _key(generator, seed), {"calls": 0}

    def run(n_nets):
        g2, g4, done = np.zeros(blocks.first.size), blocks.zeros(), 0
        while done < n_nets:
            part2, part4 = call(key, state["calls"])
            g2 += np.asarray(part2)
            for total, part in zip(g4, part4):
                total += np.asarray(part)
            state["calls"] += 1
            done += rounds * chunk
        return done, g2, g4

    return run


def normals(form, seed):
    """run(n) -> (normals drawn, their second and fourth moment in the last buffer)."""
    size, blocks, key, state = 1 << 16, 64, _key(form, seed), {"calls": 0}

    @jax.jit
    def call(key, number):
        key = jax.random.fold_in(key, number)
        return lax.fori_loop(0, blocks, lambda i, _: _draw(form, jax.random.fold_in(key, i), 0, (size,), True),
                             jnp.zeros(size, jnp.float32))

    def run(n):
        rounds = -(-n // (size * blocks))
        for _ in range(rounds):
            z = call(key, state["calls"])
            state["calls"] += 1
        z = np.asarray(z, np.float64)
        return rounds * blocks * size, np.mean(z**2), np.mean(z**4)

    return run
