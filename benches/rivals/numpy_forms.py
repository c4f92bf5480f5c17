"""numpy rivals: buffers of the size of the second-level cache, every operation in place.

Forms: "points" (d = 1, one hidden layer: loop over points, nets last), "vecdot" (the same, neurons last),
"matmul" (any net: weights of `chunk` nets at a time, batched sgemm).
Generators: "ziggurat" (Generator.standard_normal, SFC64) and "boxmuller" (raw words of SFC64, then vectorised log,
sqrt, cos and sin: 3 to 4 times the ziggurat).
erf is tanh(x P(x^2)) with P fitted to atanh(erf x) / x: absolute error 1.3e-7, six times faster than scipy's.
"""

from __future__ import annotations

import numpy as np

from .workloads import WORKLOADS, PairBlocks

__all__ = ["build", "normals", "Ziggurat", "BoxMuller", "erf_"]

f32 = np.float32


class Ziggurat:
    """float32 normals by the library's own standard_normal."""

    def __init__(self, seed, bits=np.random.SFC64):
        self.generator = np.random.Generator(bits(seed))

    def __call__(self, out):
        self.generator.standard_normal(out=out, dtype=f32)


class BoxMuller:
    """float32 normals from the library's raw 64-bit words: r cos t and r sin t, r = sqrt(-2 log u), u of 31 bits."""

    block = 1 << 17

    def __init__(self, seed, bits=np.random.SFC64):
        self.bits = bits(seed)
        self.r = np.empty(self.block // 2, f32)
        self.t = np.empty(self.block // 2, f32)

    def __call__(self, out):
        flat = out.reshape(-1)
        for start in range(0, flat.size, self.block):
            cosine, sine = np.array_split(flat[start:start + self.block], 2)
            k, k_sine = cosine.size, sine.size
            r, t = self.r[:k], self.t[:k]
            radius, angle = self.bits.random_raw(k).view(np.int32).reshape(2, k)
            radius &= 0x7FFFFFFF
            np.multiply(radius, f32(2**-31), out=r, casting="unsafe", dtype=f32)
            r += f32(2**-32)                                   # never log(0)
            np.log(r, out=r)
            r *= f32(-2)
            np.sqrt(r, out=r)
            np.multiply(angle, f32(np.pi / 2**31), out=t, casting="unsafe", dtype=f32)
            np.cos(t, out=cosine)
            cosine *= r
            np.sin(t[:k_sine], out=sine)
            sine *= r[:k_sine]


_GENERATORS = {"ziggurat": Ziggurat, "boxmuller": BoxMuller}
_ERF = [f32(c) for c in (1.58960401e-07, -5.98569367e-06, 8.97126051e-05, -6.25719619e-04, -1.84383641e-04,
                         1.02765481e-01, 1.12837971)]


def erf_(x, scratch):
    """erf of float32 `x` in place; `scratch`: two arrays of its shape."""
    square, poly = scratch
    np.multiply(x, x, out=square)
    np.minimum(square, f32(25), out=square)                    # erf(5) = 1 in float32; keeps the polynomial finite
    np.multiply(square, _ERF[0], out=poly)
    for c in _ERF[1:-1]:
        poly += c
        poly *= square
    poly += _ERF[-1]
    x *= poly
    np.tanh(x, out=x)


def build(name, form, chunk, seed):
    """A sampler: run(n_nets) -> (nets done, sums of G2, list of block sums of G4), all sums float64."""
    workload = WORKLOADS[name]
    form, generator = form.split("/")
    draw = _GENERATORS[generator](seed)
    m, blocks = workload.n_points, PairBlocks(workload.n_points)
    forward = {"points": _points, "vecdot": _vecdot, "matmul": _matmul}[form](workload, chunk, draw)
    batch = chunk * max(1, 512 // chunk)
    f = np.empty((m, batch), f32)
    right = np.empty((blocks.first.size, batch), f32)
    left = right if blocks.one_order else np.empty_like(right)

    def run(n_nets):
        g2, g4, done = np.zeros((m, m)), blocks.zeros(), 0
        while done < n_nets:
            for start in range(0, batch, chunk):
                forward(f[:, start:start + chunk])
            g2 += f @ f.T
            for i, start in enumerate(np.flatnonzero(blocks.first == blocks.second)):
                np.multiply(f[i:], f[i], out=right[start:start + m - i])
                if left is not right:
                    end = (i + 1) * (i + 2) // 2
                    np.multiply(f[:i + 1], f[i], out=left[end - i - 1:end])
            for (rows, columns), total in zip(blocks.blocks, g4):
                total += left[rows] @ right[columns].T
            done += batch
        return done, g2[blocks.first, blocks.second], g4

    return run


def _points(workload, n, draw):
    """f_i = sum_j a_j erf(w_j x_i + b_j), nets last: the sum over neurons adds whole rows."""
    (width,), x = workload.widths, workload.points[:, 0]
    w, b, a = weights = np.empty((3, width, n), f32)
    h, scratch, bias = np.empty((width, n), f32), np.empty((2, width, n), f32), np.empty(n, f32)

    def forward(out):
        draw(weights)
        draw(bias)
        for i, point in enumerate(x):
            np.multiply(w, point, out=h)
            np.add(h, b, out=h)
            erf_(h, scratch)
            np.multiply(h, a, out=h)
            np.add.reduce(h, axis=0, out=out[i])
        out *= f32(width**-0.5)
        out += bias

    return forward


def _vecdot(workload, n, draw):
    """The same with neurons last: one sdot per net and point."""
    (width,), x = workload.widths, workload.points[:, 0]
    w, b, a = weights = np.empty((3, n, width), f32)
    h, scratch, bias = np.empty((n, width), f32), np.empty((2, n, width), f32), np.empty(n, f32)

    def forward(out):
        draw(weights)
        draw(bias)
        for i, point in enumerate(x):
            np.multiply(w, point, out=h)
            np.add(h, b, out=h)
            erf_(h, scratch)
            np.vecdot(h, a, out=out[i])
        out *= f32(width**-0.5)
        out += bias

    return forward


def _matmul(workload, n, draw):
    """Layers of `n` nets at a time; the first layer is one product for all of them."""
    m = workload.n_points
    weights = np.empty(n * max(i * o for i, o in workload.fans), f32)
    bias = np.empty((n, max(workload.widths), 1), f32)
    h = [np.empty((n, width, m), f32) for width in workload.widths]
    scratch = np.empty((2, n, max(workload.widths), m), f32)
    transposed = np.ascontiguousarray(workload.points.T)
    out_bias, last = np.empty(n, f32), workload.widths[-1]
    a = np.empty((n, 1, last), f32)

    def forward(out):
        previous = transposed
        for (fan_in, width), layer in zip(workload.fans, h):
            w = weights[:n * width * fan_in].reshape(n, width, fan_in)
            draw(w)
            draw(bias)
            if previous is transposed:
                np.matmul(w.reshape(n * width, fan_in), transposed, out=layer.reshape(n * width, m))
            else:
                np.matmul(w, previous, out=layer)
            np.multiply(layer, f32(fan_in**-0.5), out=layer)
            np.add(layer, bias[:, :width], out=layer)
            if workload.activation == "relu":
                np.maximum(layer, f32(0), out=layer)
            else:
                erf_(layer, scratch[:, :, :width])
            previous = layer
        draw(a)
        draw(out_bias)
        out[:] = (a @ previous)[:, 0].T
        out *= f32(last**-0.5)
        out += out_bias

    return forward


def normals(form, seed):
    """run(n) -> (normals drawn, their second and fourth moment in the last buffer)."""
    name, bits = form.split("/")
    draw = _GENERATORS[name](seed, getattr(np.random, bits))
    buffer = np.empty(1 << 17, f32)

    def run(n):
        rounds = -(-n // buffer.size)
        for _ in range(rounds):
            draw(buffer)
        z = buffer.astype(np.float64)
        return rounds * buffer.size, np.mean(z**2), np.mean(z**4)

    return run
