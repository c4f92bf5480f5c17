"""torch rivals, single-threaded operations on preallocated buffers, normals by in-place `normal_`.

Forms for scalar inputs and one hidden layer: "baddbmm" (two batched products), "points" (nets last, loop over
points: one fused b + x_i w, erf_, mul_, sum over rows), "compiled" (torch.compile fuses erf, product and sum over
neurons; nothing but the normals is stored). Any net: "baddbmm". The layer law: "layer-direct" and "layer-gram"
(pre-activations of a layer are N(0, K) given the layer before: batched Cholesky; the gram form sums over the
output weights exactly, so its moments are those of the last kernel).
"""

from __future__ import annotations

import torch

from .workloads import WORKLOADS, PairBlocks, kernels

__all__ = ["build", "normals"]


def build(name, form, chunk, seed):
    """A sampler: run(n_nets) -> (nets done, sums of G2, list of block sums of G4), all sums float64."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    workload = WORKLOADS[name]
    generator = torch.Generator().manual_seed(seed)
    makers = {"points": _points, "compiled": _compiled, "layer-direct": _layer_law, "layer-gram": _layer_law,
              "baddbmm": _scalar_baddbmm if workload.scalar_layer else _baddbmm}
    gram = form == "layer-gram"
    forward = makers[form](workload, chunk, generator, *([gram] if form.startswith("layer") else []))
    m, blocks = workload.n_points, PairBlocks(workload.n_points, gram=gram)
    batch = chunk * max(1, 512 // chunk)
    size = blocks.first.size
    f = torch.empty(m, batch)
    right = torch.empty(size, batch)
    left = right if blocks.one_order else torch.empty(size, batch)
    filled = right if gram else f
    starts = (blocks.first == blocks.second).nonzero()[0].tolist()

    def products():
        for i, start in enumerate(starts):
            torch.mul(f[i:], f[i], out=right[start:start + m - i])
            if left is not right:
                end = (i + 1) * (i + 2) // 2
                torch.mul(f[:i + 1], f[i], out=left[end - i - 1:end])

    def run(n_nets):
        g2 = torch.zeros(size if gram else (m, m), dtype=torch.float64)
        g4, done = [torch.from_numpy(b) for b in blocks.zeros()], 0
        while done < n_nets:
            for start in range(0, batch, chunk):
                forward(filled[:, start:start + chunk])
            if gram:
                g2 += right.sum(1)
            else:
                g2 += f @ f.T
                products()
            for (rows, columns), total in zip(blocks.blocks, g4):
                total += left[rows] @ right[columns].T
            done += batch
        g2 = g2.numpy() if gram else g2.numpy()[blocks.first, blocks.second]
        return done, g2, [total.numpy() for total in g4]

    return run


def _points(workload, n, generator):
    """f_i = sum_j a_j erf(w_j x_i + b_j), nets last."""
    (width,), x = workload.widths, workload.points[:, 0].tolist()
    weights, bias = torch.empty(3, width, n), torch.empty(n)
    w, b, a = weights
    h, total = torch.empty(width, n), torch.empty(n)

    def forward(out):
        weights.normal_(generator=generator)
        bias.normal_(generator=generator)
        for i, point in enumerate(x):
            torch.add(b, w, alpha=point, out=h)
            h.erf_().mul_(a)
            torch.sum(h, 0, out=total)
            torch.add(bias, total, alpha=width**-0.5, out=out[i])

    return forward


def _compiled(workload, n, generator):
    """torch.compile of the whole network at all points; the normals come from `normal_`."""
    import torch._inductor.config as inductor

    inductor.cpp.threads = 1
    (width,), x = workload.widths, workload.points[:, 0].tolist()
    weights, bias = torch.empty(3, n, width), torch.empty(n)

    @torch.compile(dynamic=False)
    def network(weights, bias):
        w, b, a = weights
        return torch.stack([(a * torch.erf(w * point + b)).sum(1) * width**-0.5 + bias for point in x])

    def forward(out):
        weights.normal_(generator=generator)
        bias.normal_(generator=generator)
        out.copy_(network(weights, bias))

    return forward


def _scalar_baddbmm(workload, n, generator):
    """Two batched products per chunk, hidden layer stored for all points."""
    (width,), m = workload.widths, workload.n_points
    weights, bias = torch.empty(3, n, width), torch.empty(n, 1, 1)
    w, b, a = weights[0].unsqueeze(2), weights[1].unsqueeze(2), weights[2].unsqueeze(1)
    x = torch.from_numpy(workload.points).T.expand(n, 1, m)
    h, f = torch.empty(n, width, m), torch.empty(n, 1, m)

    def forward(out):
        weights.normal_(generator=generator)
        bias.normal_(generator=generator)
        torch.baddbmm(b, w, x, out=h)
        h.erf_()
        torch.baddbmm(bias, a, h, alpha=width**-0.5, out=f)
        out.copy_(f[:, 0].T)

    return forward


def _activate(workload, h):
    return h.erf_() if workload.activation == "erf" else h.relu_()


def _baddbmm(workload, n, generator):
    """Explicit weights of `n` nets; the first layer is one product for all of them."""
    m = workload.n_points
    weights = torch.empty(n * max(i * o for i, o in workload.fans))
    bias = torch.empty(n * max(workload.widths))
    h = [torch.empty(n, width, m) for width in workload.widths]
    x, last = torch.from_numpy(workload.points).T.contiguous(), workload.widths[-1]
    a, out_bias, f = torch.empty(n, 1, last), torch.empty(n, 1, 1), torch.empty(n, 1, m)

    def forward(out):
        previous = None
        for (fan_in, width), layer in zip(workload.fans, h):
            w = weights[:n * width * fan_in].normal_(generator=generator)
            b = bias[:n * width].normal_(generator=generator)
            scale = fan_in**-0.5
            if previous is None:
                torch.addmm(b.view(-1, 1), w.view(-1, fan_in), x, alpha=scale, out=layer.view(-1, m))
            else:
                torch.baddbmm(b.view(n, width, 1), w.view(n, width, fan_in), previous, alpha=scale, out=layer)
            previous = _activate(workload, layer)
        a.normal_(generator=generator)
        out_bias.normal_(generator=generator)
        torch.baddbmm(out_bias, a, previous, alpha=last**-0.5, out=f)
        out.copy_(f[:, 0].T)

    return forward


def _layer_law(workload, n, generator, gram):
    """Pre-activations z L^T with K = L L^T, then K of the next layer from phi^T phi; output weights drawn or summed."""
    m, last = workload.n_points, workload.widths[-1]
    packed = PairBlocks(m)
    first, second = torch.from_numpy(packed.first), torch.from_numpy(packed.second)
    start = torch.linalg.cholesky(torch.from_numpy(kernels(workload)[0])).float().T.contiguous()
    h = [torch.empty(n, width, m) for width in workload.widths]
    z = torch.empty(n * max(workload.widths) * m)
    kernel, one = torch.empty(n, m, m), torch.ones(())
    a, out_bias, f = torch.empty(n, 1, last), torch.empty(n, 1, 1), torch.empty(n, 1, m)

    def next_kernel(phi, width):
        torch.baddbmm(one, phi.transpose(1, 2), phi, alpha=1 / width, out=kernel)

    def forward(out):
        for depth, (width, layer) in enumerate(zip(workload.widths, h)):
            draw = z[:n * width * m].normal_(generator=generator).view(n, width, m)
            if depth == 0:
                torch.mm(draw.view(-1, m), start, out=layer.view(-1, m))
            else:
                next_kernel(h[depth - 1], workload.widths[depth - 1])
                factor, _ = torch.linalg.cholesky_ex(kernel)
                torch.bmm(draw, factor.transpose(1, 2), out=layer)
            _activate(workload, layer)
        if gram:
            next_kernel(h[-1], last)
            out.copy_(kernel[:, first, second].T)
        else:
            a.normal_(generator=generator)
            out_bias.normal_(generator=generator)
            torch.baddbmm(out_bias, a, h[-1], alpha=last**-0.5, out=f)
            out.copy_(f[:, 0].T)

    return forward


def normals(form, seed):
    """run(n) -> (normals drawn, their second and fourth moment in the last buffer)."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    buffer = torch.empty(1 << 16)

    def run(n):
        rounds = -(-n // buffer.numel())
        for _ in range(rounds):
            buffer.normal_(generator=generator)
        z = buffer.double()
        return rounds * buffer.numel(), float((z**2).mean()), float((z**4).mean())

    return run
