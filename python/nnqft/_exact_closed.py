"""Closed-form neuron moments E[h(x_1) ... h(x_n)], and the moments of erf as orthant probabilities.

z_i = a_i.g with g normal; a = [sigma_w x / sqrt(d), sigma_b], so the covariance is C_ij = a_i.a_j. `index` holds the
sorted multi-indices (rows). Sums over signs s = +-1 run with s_1 = +1, the other half being equal.
"""

from itertools import combinations, product

import numpy as np

from ._pair_quadrature import gauss_legendre
from ._spectrum import spectral_average
from .errors import ArgumentError

__all__ = ["cos_net", "cosine", "exponential", "gauss_net", "identity", "orthant", "sine"]

_MAX_WORK = 1 << 29  # innermost evaluations of an orthant integral: about 20 s
_CHUNK = 1 << 15  # of them at a time: temporaries stay in cache


def exponential(a, index):
    """E prod exp(z_i) = exp(|sum a|^2 / 2)."""
    return np.exp(_length2(a, index, np.ones(index.shape[1])) / 2)


def gauss_net(a, index):
    """E prod exp(z_i - C_ii) = exp(|sum a|^2 / 2 - sum |a_i|^2), the Gauss-net with its normaliser."""
    return np.exp(_length2(a, index, np.ones(index.shape[1])) / 2 - (a * a).sum(1)[index].sum(1))


def cosine(a, index):
    """E prod cos z_i = 2^(1-n) sum_s exp(-|sum s a|^2 / 2)."""
    return sum(np.exp(-_length2(a, index, s) / 2) for s in _signs(index.shape[1])) * 2.0 ** (1 - index.shape[1])


def sine(a, index):
    """E prod sin z_i = (-1)^(n/2) 2^(1-n) sum_s prod(s) exp(-|sum s a|^2 / 2); cancels where every |z| is small."""
    n = index.shape[1]
    size = np.sort(np.minimum(1.0, np.linalg.norm(a, axis=1)))[0]
    if 1e-16 * 2.0 ** (n / 2) > 1e-10 * size**n:
        raise ArgumentError(f"the closed form for sin cancels at pre-activations as small as {size:.2g}")
    return (-1) ** (n // 2) * sum(np.prod(s) * np.exp(-_length2(a, index, s) / 2) for s in _signs(n)) * 2.0 ** (1 - n)


def cos_net(net, x, index):
    """h = A(|w|) cos(w.x + c), c uniform: 2^(1-n) sum over s with sum s = 0 of E[A^n cos(w.sum s x)].

    Normal momenta and A = sqrt 2: M_4 = (1/2) sum_3 exp(-sigma_w^2 |x_a + x_b - x_c - x_d|^2 / 2d).
    """
    n = index.shape[1]
    return sum(spectral_average(net, n, np.sqrt(_length2(x, index, s))) for s in _signs(n) if sum(s) == 0) * 2.0 ** (1 - n)


def identity(a, index):
    """Isserlis: the sum over pairings of prod C."""
    covariance = a @ a.T
    return sum(np.prod([covariance[index[:, p], index[:, q]] for p, q in pairs], axis=0)
               for pairs in _pairings(tuple(range(index.shape[1]))))


def orthant(a, index):
    """E prod erf(z_i) = E prod sign(y_i), y = z + xi, xi ~ N(0, 1/2) independent in every factor.

    Along correlations t R from independence, dE/dr_ij = (2/pi) (1 - r_ij^2)^(-1/2) E[other signs | y_i = y_j = 0]
    (Plackett, Biometrika 41 (1954) 351), so n factors take n/2 - 1 nested integrals over t, ending at
    E sign sign = (2/pi) arcsin r. Any rank, n <= 6.
    """
    n = index.shape[1]
    covariance = a @ a.T
    noise = 0.5 / (0.5 + covariance.diagonal().max())  # every R >= noise * 1: no singularity before t = 1 / (1 - noise)
    edges = np.append(1 - 0.5 ** np.arange(max(1, np.ceil(-np.log2(noise)))), 1.0)
    t, weight = gauss_legendre(edges, 12)
    work = {2: 1, 4: 6 * len(t), 6: 90 * len(t) ** 2}.get(n, np.inf) * len(index)
    if work > _MAX_WORK:
        raise ArgumentError(f"the orthant integral needs {work:.2g} evaluations, more than {_MAX_WORK:.2g} (orders up to 6 only)")
    size = np.sqrt(covariance.diagonal() + 0.5)
    corr = covariance / np.outer(size, size)
    out = np.empty(len(index))
    rows = max(1, _CHUNK // len(t) ** (n // 2 - 1))
    for start in range(0, len(index), rows):
        part = index[start:start + rows]
        pairs = {(i, j): corr[part[:, i], part[:, j]] for i, j in combinations(range(n), 2)}
        out[start:start + rows] = _sign_moment(pairs, tuple(range(n)), t, weight)
    return out


def _sign_moment(corr, legs, t, weight):
    """E prod sign(y_i) over legs; corr[i, j], i < j, are arrays of one shape. Conditioning on y_i = y_j = 0 subtracts
    [r_ik r_il + r_jk r_jl - r (r_ik r_jl + r_jk r_il)] / (1 - r^2) from r_kl."""
    if len(legs) == 2:
        return 2 / np.pi * np.arcsin(corr[legs])
    along = {pair: r[..., None] * t for pair, r in corr.items()}
    total = 0.0
    for i, j in combinations(legs, 2):
        rest = tuple(k for k in legs if k not in (i, j))
        r = along[i, j]
        free = 1 / (1 - r * r)
        to = {k: (along[min(i, k), max(i, k)], along[min(j, k), max(j, k)]) for k in rest}
        slope = {k: (free * (p - r * q), free * (q - r * p)) for k, (p, q) in to.items()}  # regression of y_k on y_i, y_j
        size = {k: np.sqrt(1 - slope[k][0] * to[k][0] - slope[k][1] * to[k][1]) for k in rest}
        given = {(k, l): (along[k, l] - slope[k][0] * to[l][0] - slope[k][1] * to[l][1]) / (size[k] * size[l])
                 for k, l in combinations(rest, 2)}
        total = total + 2 / np.pi * corr[i, j] * ((weight * np.sqrt(free)) * _sign_moment(given, rest, t, weight)).sum(-1)
    return total


def _length2(vectors, index, signs):
    """|sum_i s_i v_i|^2 for every multi-index."""
    total = sum(s * vectors[column] for s, column in zip(signs, index.T))
    return (total * total).sum(1)


def _signs(n):
    return [(1, *s) for s in product((1, -1), repeat=n - 1)]


def _pairings(legs):
    if not legs:
        return [()]
    return [((legs[0], legs[k]), *rest) for k in range(1, len(legs)) for rest in _pairings(legs[1:k] + legs[k + 1:])]

