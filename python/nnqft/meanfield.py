"""Mean-field theory of deep networks: infinite width, and the first order in 1/width.

E C = K + G / n,    Cov(C, C) = V / n        (C: covariance of a layer's neurons given the layer before, of width n)
"""

from ._meanfield._finite_width import FiniteWidth, finite_width

__all__ = ["FiniteWidth", "finite_width"]
