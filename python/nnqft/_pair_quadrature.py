"""Gaussian pair averages of an arbitrary function: nested Gauss-Legendre panels, graded towards its kinks.

    u = sqrt(kxx) z1,   v = sqrt(kyy) (rho z1 + c z2),   c = sqrt(1 - rho^2),   z1, z2 ~ N(0, 1).

Panels halve towards every kink of phi down to unit size (the scale of a smooth activation) and, in z1, towards
the place where v meets a kink, down to the width c that z2 blurs it to: any variance and correlation resolve.
"""

import numpy as np

from .errors import ArgumentError

__all__ = ["gauss_legendre", "pair_quadrature", "panels"]

_RADIUS = 12.0  # exp(-72) = 5e-32: polynomial growth may be steep
_SLACK = 1e-10  # accepted difference of two orders, relative to the root of E phi(u)^2 E phi(v)^2
_ORDERS = (16, 24)


def pair_quadrature(phi, kinks, kxx, kxy, kyy):
    """E[phi(u) phi(v)] for each entry of three 1-d arrays; equal entries are computed once."""
    triples, inverse = np.unique(np.stack([kxx, kxy, kyy], axis=1), axis=0, return_inverse=True)
    kinks = np.unique(np.append(kinks, 0.0))
    values = np.array([_pair(phi, kinks, *triple) for triple in triples])
    return values[inverse.ravel()] if len(values) else np.empty(0)


def gauss_legendre(edges, order):
    """Nodes and weights of Gauss-Legendre panels between consecutive edges (last axis), flattened over panels."""
    node, weight = np.polynomial.legendre.leggauss(order)
    middle, half = (edges[..., 1:] + edges[..., :-1]) / 2, np.diff(edges) / 2
    shape = edges.shape[:-1] + (-1,)
    return ((middle[..., None] + half[..., None] * node).reshape(shape), (half[..., None] * weight).reshape(shape))


def panels(centres, finest, radius=_RADIUS):
    """Sorted panel edges on [-radius, radius]: unit panels, and panels that halve towards each centre.

    centres : array (..., n_centres); finest : array (n_centres,), the smallest panel beside each centre.
    """
    edges = [np.broadcast_to(np.linspace(-radius, radius, 2 * int(radius) + 1), centres.shape[:-1] + (2 * int(radius) + 1,))]
    for i, smallest in enumerate(finest):
        reach = smallest * 2.0 ** np.arange(max(1, 1 + int(np.ceil(-np.log2(smallest)))))
        edges.append(centres[..., i, None] + np.concatenate([-reach[::-1], [0.0], reach]))
    return np.sort(np.clip(np.concatenate(edges, axis=-1), -radius, radius), axis=-1)


def _pair(phi, kinks, kxx, kxy, kyy):
    if kxx < kyy:
        kxx, kyy = kyy, kxx  # the wider variable outside
    coarse, fine = (_nested(phi, kinks, kxx, kxy, kyy, order) for order in _ORDERS)
    size = np.sqrt(fine[1] * fine[2])
    if not np.isfinite(fine[0]) or abs(fine[0] - coarse[0]) > _SLACK * size:
        raise ArgumentError(
            f"the pair average of the given function does not converge at kxx = {kxx:.6g}, kxy = {kxy:.6g}, kyy = {kyy:.6g} "
            f"(two orders give {coarse[0]:.12g} and {fine[0]:.12g}): pass the positions of its kinks and jumps as params")
    return fine[0]


def _nested(phi, kinks, kxx, kxy, kyy, order):
    """E phi phi, E phi(u)^2, E phi(v)^2."""
    su, sv = np.sqrt(kxx), np.sqrt(kyy)
    rho = kxy / (su * sv) if su * sv > 0 else 0.0
    c2 = (su * sv - kxy) * (su * sv + kxy) / (kxx * kyy) if su * sv > 0 else 1.0
    c = np.sqrt(max(c2, 0.0))
    scale = lambda s: np.full(len(kinks), min(1.0, 1.0 / s)) if s > 0 else np.ones(len(kinks))
    at = lambda s: kinks / s if s > 0 else np.zeros(len(kinks))

    blur = max(c, 1e-17) / max(abs(rho), 1e-300)
    crossings = [(at(su), scale(su))]
    if abs(rho) * sv > 0:
        where = at(rho * sv) if rho * sv > 0 else kinks / (rho * sv)
        if c == 0:
            blur = 1.0 / (abs(rho) * sv)  # z2 drops out: phi(v) has the scale of phi
        crossings.append((where, np.full(len(kinks), min(1.0, blur, 1.0 / (abs(rho) * sv)))))
    centres, finest = (np.concatenate(part) for part in zip(*crossings))
    near = np.abs(centres) < _RADIUS + 1
    z1, w1 = gauss_legendre(panels(centres[near], finest[near]), order)
    w1 = w1 * np.exp(-z1 * z1 / 2) / np.sqrt(2 * np.pi)
    phi_u = _evaluate(phi, su * z1)

    if c * sv == 0:
        phi_v = _evaluate(phi, sv * rho * z1)
        mean_v, mean_v2 = phi_v, phi_v**2
    else:
        start = (kinks / sv - rho * z1[:, None]) / c  # z2 at which v meets each kink
        z2, w2 = gauss_legendre(panels(np.clip(start, -_RADIUS - 1, _RADIUS + 1), scale(sv * c)), order)
        w2 = w2 * np.exp(-z2 * z2 / 2) / np.sqrt(2 * np.pi)
        phi_v = _evaluate(phi, sv * (rho * z1[:, None] + c * z2))
        mean_v, mean_v2 = (phi_v * w2).sum(1), (phi_v**2 * w2).sum(1)
    return (w1 * phi_u * mean_v).sum(), (w1 * phi_u**2).sum(), (w1 * mean_v2).sum()


def _evaluate(phi, z):
    value = np.asarray(phi(z))
    if value.shape != z.shape or value.dtype.kind not in "fiub":
        raise ArgumentError(f"the activation must map a float array to a real array of the same shape; "
                            f"{z.shape} gave {value.dtype} {value.shape}")
    return value
