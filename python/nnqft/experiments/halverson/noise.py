"""What sampling can and cannot see: the exact law of one network's contribution to a correlator, at one input.

An estimator averages phi over n networks; phi is a polynomial of the output f ("direct") or of the fluctuation
delta = C - E C of the hidden Gram matrix ("gram"), to first order in 1/n:

    direct   m_n: f^n;   g_4: f^4 - 6 G2 f^2;   g_6: f^6 - 15 G2 f^4 - (15 G4 - 90 G2^2) f^2
    gram     m_2: delta;   m_4 = g_4: 3 delta^2;   g_6: 15 (delta^3 - 3 var delta);   m_6: 45 K delta^2 + g_6's

Its variance says how many networks a signal needs, its kurtosis whether the spread of a sample knows that variance.
Moments of f to order 24 follow from one neuron's: f is a sum of independent terms, so generating functions multiply.
Where a heavy tail is not in the sample, the mean comes out too small and so does its error bar.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb, exp, factorial, prod, sqrt

import numpy as np
from numpy.polynomial import polynomial as poly
from scipy.special import erf

__all__ = ["QUANTITIES", "OneNet", "neuron_powers", "one_net"]

QUANTITIES = {"m2": 2, "m4": 4, "m6": 6, "g4": 4, "g6": 6}  # and their orders; m: deviations, g: connected functions
_TOP = 24  # the kurtosis of f^6


@dataclass(frozen=True)
class OneNet:
    """One network's contribution to a quantity, over G_GP: the signal in its mean, standard deviation, kurtosis."""

    signal: float
    std: float
    kurtosis: float

    @property
    def nets_for_unit_signal(self):
        """Networks for signal / noise = 1; inf where there is no signal."""
        return (self.std / self.signal) ** 2 if self.signal else float("inf")

    def tail(self, n_nets):
        """Relative standard error of an error bar that comes from the spread of `n_nets` networks."""
        return 0.5 * sqrt((self.kurtosis - 1) / n_nets)


def neuron_powers(net, x):
    """E h(x)^n for n = 0, 2, .., 24 of one hidden neuron at one input x (dim_in,).

    gauss: exp(n^2 s^2 / 2 - n s^2), s^2 = Var z; relu: (n - 1)!! s^n / 2; erf: trapezoid sum, converged to rounding.
    """
    s = sqrt(net.sigma_b**2 + net.sigma_w**2 * float(np.dot(x, x)) / net.dim_in)
    orders = range(0, _TOP + 1, 2)
    if net.activation == "gauss":
        return [exp((n * n / 2 - n) * s * s) for n in orders]
    if net.activation == "relu":
        return [1.0] + [0.5 * prod(range(n - 1, 0, -2)) * s**n for n in orders if n]
    z = np.arange(-9, 9, 0.01)
    weight = np.exp(-z * z / 2)
    return [float((weight * erf(s * z) ** n).sum() / weight.sum()) for n in orders]


@lru_cache(maxsize=4096)
def one_net(case, width, quantity, estimator):
    """`OneNet` of a quantity at the first input of a case."""
    net, n = case.law(width), QUANTITIES[quantity]
    h = neuron_powers(net, case.x[0])
    w2, b2 = net.sigma_w**2, net.sigma_b**2
    K = b2 + w2 * h[1]
    c4 = w2**2 / width * (3 * h[2] - 3 * h[1] ** 2)
    c6 = w2**3 / width**2 * (15 * h[3] - 45 * h[2] * h[1] + 30 * h[1] ** 3)
    signal = {"m2": 0.0, "m4": c4, "g4": c4, "g6": c6, "m6": 15 * c4 * K + c6}[quantity]
    if estimator == "direct":
        moments = _output_moments(h, width, w2, b2)
        power = [0.0] * n + [1.0]
        g4, g6 = [0, 0, -6 * K, 0, 1.0], [0, 0, 90 * K**2 - 15 * moments[4], 0, -15 * K, 0, 1.0]
        phi = {"g4": g4, "g6": g6}.get(quantity, power)
    else:
        moments = _gram_moments(h, width, w2)
        variance = moments[2]
        phi = {"m2": [0, 1.0], "m4": [0, 0, 3.0], "g4": [0, 0, 3.0], "g6": [0, -45 * variance, 0, 15.0],
               "m6": [0, -45 * variance, 45 * K, 15.0]}[quantity]  # fmt: skip
    mean = lambda p: float(np.dot(p, moments[: len(p)]))
    centred = np.array(phi, dtype=float)
    centred[0] -= mean(centred)
    square = poly.polymul(centred, centred)
    variance, fourth = mean(square), mean(poly.polymul(square, square))
    gaussian = prod(range(n - 1, 0, -2)) * K ** (n // 2)
    return OneNet(signal / gaussian, sqrt(variance) / gaussian, fourth / variance**2)


def _output_moments(h, width, w2, b2):
    """E f^k, k = 0 .. 24: neurons a_j h_j and the output bias are independent; all terms are positive."""
    gauss = [prod(range(n - 1, 0, -2)) for n in range(0, _TOP + 1, 2)]
    term = [0.0] * (_TOP + 1)
    bias = list(term)
    for k, (g, power) in enumerate(zip(gauss, h)):
        term[2 * k] = g * power * (w2 / width) ** k
        bias[2 * k] = g * b2**k
    return _moments(_multiply(_power(_series(term), width), _series(bias)))


def _gram_moments(h, width, w2):
    """E delta^k, k = 0 .. 12, of delta = (sigma_w^2 / N) sum_j (h_j^2 - E h^2)."""
    centred = [
        sum(comb(k, j) * h[j] * (-h[1]) ** (k - j) for j in range(k + 1)) * (w2 / width) ** k
        for k in range(_TOP // 2 + 1)
    ]
    centred[1] = 0.0
    return _moments(_power(_series(centred), width))


def _series(moments):
    return np.array([m / factorial(k) for k, m in enumerate(moments)])


def _moments(series):
    return np.array([a * factorial(k) for k, a in enumerate(series)])


def _multiply(a, b):
    return np.convolve(a, b)[: len(a)]


def _power(series, n):
    result = np.zeros_like(series)
    result[0] = 1.0
    while n:
        if n & 1:
            result = _multiply(result, series)
        series, n = _multiply(series, series), n >> 1
    return result
