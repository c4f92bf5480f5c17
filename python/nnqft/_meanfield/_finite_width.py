"""The 1/width expansion of deep networks: kernel K, its correction G, the four-point vertex V, layer by layer.

Given layer l - 1, of width n, the neurons of layer l are independent and Gaussian. Their covariance fluctuates:

    C_ab = sigma_b^2 + (sigma_w^2 / n) sum_j phi_j,a phi_j,b
    E C_ab = K_ab + G_ab / n + O(1/n^2),    Cov(C_ab, C_cd) = V_(ab)(cd) / n + O(1/n^2)

With F(C) = sigma_b^2 + sigma_w^2 <phi phi>_C, expanding in C - K gives the next layer, which follows the width n':

    K' = F(K)
    V' = sigma_w^4 [<phi_a phi_b phi_c phi_d> - <phi_a phi_b><phi_c phi_d>]_K + (n' / n) F_ab,p F_cd,q V_pq
    G' = (n' / n) [F_ab,p G_p + (1/2) F_ab,pq V_pq]

Indices behind a comma are derivatives with respect to entries p, q of the covariance; repeated ones are summed.
Yaida, arXiv:1910.00019, and Roberts, Yaida and Hanin, arXiv:2106.10165, chapter 4, but free of inverse kernels.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .._checks import integer, real_array
from .._kernels import check_law, check_points, dual
from .._packed import packed_index, packed_rank, packed_size
from ..errors import ArgumentError, NNQFTWarning
from ..networks import Network
from ..tensor import SymmetricTensor
from ._four_point import four_point
from ._pair_jets import pair_derivatives

__all__ = ["FiniteWidth", "finite_width"]

_RANK = 1e-13  # eigenvalues of a correlation matrix below this are rounding
_MAX_BYTES = 1_000_000_000
_WEAK = 0.5  # a relative correction beyond this is no perturbation
_PAIRINGS = ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))


@dataclass(frozen=True, eq=False)
class FiniteWidth:
    """What `finite_width` returns.

    Layer 0 holds the first pre-activations, layer l those behind hidden layer l, the last one is the output.

    Attributes
    ----------
    net : Network
    x : array, shape (n_points, dim_in)
    K : array, shape (layers, n_points, n_points)
        Kernel at infinite width.
    G : array, shape (layers, n_points, n_points)
        Its correction: the two-point function is K + G / n + O(1/n^2) with n = fan_in[layer].
    V : array, shape (layers, n_points, n_points, n_points, n_points)
        Four-point vertex: V[l, a, b, c, d] = V_(ab)(cd), with Cov(C_ab, C_cd) = V / n + O(1/n^2).
    excess : array of the shape of V, or None
        n times the fourth cumulant of one neuron given the layer before it; normal weights have none.
    """

    net: Network
    x: np.ndarray
    K: np.ndarray
    G: np.ndarray
    V: np.ndarray
    excess: np.ndarray | None = None

    def __post_init__(self):
        for array in (self.x, self.K, self.G, self.V, self.excess):
            if array is not None:
                array.setflags(write=False)

    @property
    def fan_in(self):
        """Width n of the layer before each layer: (dim_in, *widths). In layer 0, G = V = 0 whatever n."""
        return (self.net.dim_in, *self.net.widths)

    @cached_property
    def strength(self):
        """Size of the corrections, about depth / width: the larger of V / (n K^2) and |G| / (n K), over points.

        Returns
        -------
        array, shape (layers,), float64
            The expansion parameter in each layer. One hidden layer is exact whatever its strength.
        """
        K, n = np.einsum("laa->la", self.K), np.array(self.fan_in)[:, None]
        K = np.where(K > 0, K, 1.0)
        vertex = np.einsum("laaaa->la", self.V) / K / K / n  # K^2 would underflow first
        return np.maximum(vertex, abs(np.einsum("laa->la", self.G)) / K / n).max(axis=1)

    def connected(self, n, *, layer=-1):
        """Connected two- or four-point function of the neurons of a layer, by default of the network's outputs.

            G_c^(2)_ij   = K_ij + G_ij / n
            G_c^(4)_ijkl = [V_(ij)(kl) + V_(ik)(jl) + V_(il)(jk)] / n     (a pairing counts if it joins equal outputs)

        Parameters
        ----------
        n : {2, 4}
        layer : int
            0 <= layer <= depth, or from the end.

        Returns
        -------
        SymmetricTensor
            To first order in 1/width, without statistical error. Fields as in `Correlators.connected`,
            point * dim_out + out, for the output; one neuron for hidden layers.

        Raises
        ------
        ArgumentError
            Another order; a layer that does not exist.

        Examples
        --------
        >>> from nnqft.networks import mlp
        >>> deep = finite_width(mlp(1, (100, 100), activation="relu", sigma_w=2**0.5), [[1.0]])
        >>> round(deep.connected(4)[0, 0, 0, 0].mean, 12)     # 3 K^2 (5 + 5) / 100, K = 2
        1.2
        """
        if integer("order", n, 0, 1 << 31) not in (2, 4):
            raise ArgumentError(f"order {n} is not at hand: the recursion holds orders 2 and 4")
        layer = _layer(layer, len(self.K))
        width, last = self.fan_in[layer], layer == self.net.depth
        d_out = self.net.dim_out if last else 1
        index = packed_index(len(self.x) * d_out, n)
        point, out = index // d_out, index % d_out
        if n == 2:
            mean = (self.K[layer] + self.G[layer] / width)[tuple(point.T)] * (out[:, 0] == out[:, 1])
        else:
            mean = np.zeros(len(index))
            for legs in _PAIRINGS:
                o = out[:, legs].T
                mean += self.V[layer][tuple(point[:, legs].T)] * ((o[0] == o[1]) & (o[2] == o[3]))
            same = (out == out[:, :1]).all(axis=1)
            if self.excess is not None:
                mean += self.excess[layer][tuple(point.T)] * same
            mean = mean / width + (_bias_cumulant(self.net) * same if last else 0.0)
        how = {"estimator": "1/width", "layer": layer}
        return SymmetricTensor(mean, 0.0, order=n, size=len(self.x) * d_out, d_out=d_out, how=how)

    def __repr__(self):
        return f"FiniteWidth({self.net!r}, n_points={len(self.x)}, strength={self.strength[-1]:.2g})"


def finite_width(net, x):
    """Kernel, its 1/width correction and the four-point vertex in every layer of a deep network.

    Parameters
    ----------
    net : Network
        Any depth, widths and activation. Input weights and hidden biases are normal; hidden and output weights and the
        output's bias follow any law with a fourth moment.
    x : array, shape (n_points, dim_in), real
        Also one-dimensional for dim_in = 1. Points may coincide.

    Returns
    -------
    FiniteWidth
        `.K`, `.G`, `.V` per layer, in units of the pre-activation squared (V: to the fourth); `.connected(2)` and
        `.connected(4)` of the output, to be compared with those of `Correlators`.

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs, overflow; a cos-net (one hidden layer: see `nnqft.ensemble.exact_correlators`); laws without the
        moments needed; points whose four-point averages would take more than about a minute per layer.

    Warns
    -----
    NNQFTWarning
        If corrections of a deep network exceed half of the leading term: it is too narrow for its depth.

    Notes
    -----
    One hidden layer is exact. Deeper, corrections of relative order 1/width to G and V are left out; rounding and
    quadrature make 1e-10 of K and of sigma_w^4 <phi phi phi phi>. Cost per layer: C(n_points + 3, 4) averages over four
    Gaussians, microseconds each for erf, sin, cos, exp, gauss, polynomials; 10 ms per choice of four points for relu,
    10 ms to seconds for the others, the more the wider the pre-activations.
    Yaida, arXiv:1910.00019; Roberts, Yaida and Hanin, arXiv:2106.10165, chapter 4; derived in docs/depth.md.

    Examples
    --------
    >>> from nnqft.networks import mlp
    >>> deep = finite_width(mlp(1, (30, 30), activation="erf", sigma_b=1.0), [[0.6]])
    >>> deep
    FiniteWidth(Network(1-30-30-1, erf, sigma_w=1, sigma_b=1), n_points=1, strength=0.0019)
    >>> round(deep.V[-1].item() / 30, 8)                       # Var C at the output
    0.00442637
    """
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a Network, got {type(net).__name__}: see nnqft.networks")
    params, kurtosis = check_law(net), _check_laws(net)
    x = real_array("x", x, finite=False)
    x = check_points(net, x.reshape(-1, 1) if x.ndim == 1 and net.dim_in == 1 else x)
    packed_size(len(x), 4)
    if 8.0 * (net.depth + 1) * len(x) ** 4 > _MAX_BYTES:
        raise ArgumentError(f"V over {len(x)} points in {net.depth + 1} layers takes over 1 GB: use fewer points")
    points, where = np.unique(x, axis=0, return_inverse=True)
    with np.errstate(over="ignore", invalid="ignore"):  # _recursion looks for what overflows
        layers = list(zip(*_recursion(net, params, kurtosis, points), strict=True))
    pair = _pair_numbers(len(points))[np.ix_(where.ravel(), where.ravel())]
    K, G = (np.stack([values[pair] for values in layers[k]]) for k in (0, 1))
    V, excess = (np.stack([values[pair[:, :, None, None], pair] for values in layers[k]]) for k in (2, 3))
    result = FiniteWidth(net, x, K, G, V, excess if any(kurtosis) else None)
    strength = result.strength
    if net.depth > 1 and strength.max() > _WEAK:
        message = (
            f"corrections are {strength.max():.2g} of the leading term in layer {strength.argmax()} of {net!r}: "
            "the first order in 1/width does not hold there; measure with nnqft.ensemble.correlators"
        )
        warnings.warn(message, NNQFTWarning, stacklevel=2)
    return result


def _recursion(net, params, kurtosis, points):
    """Yields K (P,), G (P,), V (P, P) and excess (P, P) of each layer, over the P pairs a <= b of distinct points."""
    weight, bias, m = np.float64(net.sigma_w) ** 2, np.float64(net.sigma_b) ** 2, len(points)
    i, j = np.triu_indices(m)
    number = _pair_numbers(m)
    entries = np.stack([number[i, i], number[i, j], number[j, j]])  # F_ab depends on C_aa, C_ab, C_bb
    quadruples = _quadruples(i, j, m)

    rows = np.column_stack([net.sigma_w / np.sqrt(net.dim_in) * points, np.full(m, net.sigma_b)])
    K = (rows @ rows.T)[i, j]
    if not np.isfinite(K).all():
        raise ArgumentError("the first covariance overflows float64: use smaller sigma_w, sigma_b or inputs")
    G, V, excess = np.zeros_like(K), np.zeros((len(K), len(K))), np.zeros((len(K), len(K)))
    yield K, G, V, excess
    for layer, (before, width) in enumerate(zip((net.dim_in, *net.widths), net.widths, strict=False)):
        covariance = K[entries]
        average = dual(net.activation, params, *covariance)
        four = _averages(net, params, rows if layer == 0 else _factor(K[number]), layer)[quadruples]
        drift, inherited = np.zeros_like(G), np.zeros_like(V)
        if layer > 0:  # the first covariance is fixed
            drift, inherited = _transported(net.activation, params, covariance, entries, G, V, excess)
        growth = width / before
        K, G = bias + weight * average, weight * growth * drift
        V = weight**2 * (four - np.outer(average, average) + growth * inherited)
        V, excess = (V + V.T) / 2, kurtosis[layer] * weight**2 * four
        if not all(np.isfinite(values).all() for values in (K, G, V)):
            raise ArgumentError(f"layer {layer + 1} overflows float64: use smaller sigma_w, sigma_b or inputs")
        yield K, G, V, excess


def _transported(activation, params, covariance, entries, G, V, excess):
    """F_ab,p G_p + (1/2) F_ab,pq V_pq and F_ab,p F_cd,q V_pq for F = <phi phi>."""
    grad, hess = pair_derivatives(activation, params, *covariance)
    slope, pairs = np.zeros_like(V), np.arange(len(G))
    for g, entry in zip(grad, entries, strict=True):
        slope[pairs, entry] += g  # += : on the diagonal the three entries are one
    spread = V + excess / 3  # E F needs the three pairings of V and the excess, under four symmetric derivatives
    bend = np.einsum("pqk,pqk->k", hess, spread[entries[:, None], entries])
    return slope @ G + bend / 2, slope @ V @ slope.T


def _averages(net, params, rows, layer):
    try:
        return four_point(net.activation, params, rows)
    except ArgumentError as error:
        raise ArgumentError(f"averages over hidden layer {layer + 1}: {error}") from None


def _factor(covariance):
    """Rows A with A A^T = covariance, of the rank that it has beyond rounding."""
    size = np.sqrt(covariance.diagonal())
    scale = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(covariance / scale / scale[:, None])
    keep = values > _RANK * len(size)
    return size[:, None] * vectors[:, keep] * np.sqrt(values[keep])


def _pair_numbers(m):
    """Number of the pair (a, b) in row-major order of a <= b, symmetric."""
    i, j = np.triu_indices(m)
    number = np.empty((m, m), dtype=np.intp)
    number[i, j] = number[j, i] = np.arange(len(i))
    return number


def _quadruples(i, j, m):
    """Position of the sorted multi-index (a, b, c, d) for pairs of pairs, shape (P, P)."""
    pairs = np.stack([i, j], axis=1)
    both = np.concatenate(np.broadcast_arrays(pairs[:, None], pairs[None]), axis=2)
    return packed_rank(np.sort(both.reshape(-1, 4), axis=1), m).reshape(len(i), len(i))


def _layer(layer, layers):
    return integer("layer", layer, -layers, layers - 1) % layers


def _check_laws(net):
    """Excess kurtosis E v^4 - 3 of the weights behind each hidden layer; laws without an expansion are refused."""
    if net.phase:
        raise ArgumentError("a cos-net has one hidden layer: nnqft.ensemble.exact_correlators has it at any width")
    weights = ["hidden"] * (net.depth - 1) + ["output"]
    for name in (*weights, *(["output_bias"] if net.sigma_b > 0 else [])):
        law = getattr(net.laws, name)
        if law.kind == "array" or not np.isfinite(law.moments(4)[1]):
            raise ArgumentError(f"{name} weights of law {law!r} have no known fourth moment, which 1/width needs")
        if name == "hidden" and law.kind != "normal" and net.activation == "gauss":
            raise ArgumentError(f"the normaliser of gauss goes with normal hidden weights; law {law!r} came")
    return [getattr(net.laws, name).moments(4)[1] - 3.0 for name in weights]


def _bias_cumulant(net):
    """Fourth cumulant of the output's bias."""
    law = net.laws.output_bias
    if net.sigma_b == 0 or law.kind == "normal":
        return 0.0
    with np.errstate(over="ignore"):
        value = np.float64(net.sigma_b) ** 4 * law.cumulants(4)[4]
    if not np.isfinite(value):
        raise ArgumentError(f"the fourth cumulant of the output bias overflows float64 at sigma_b = {net.sigma_b:g}")
    return value
