"""Effective field theory of network ensembles: from correlators to couplings, and back.

    exp(-S),   S = S_GP + int d^d y [lambda f(y)^4 + kappa f(y)^6 + ...]        (no 1/4!, 1/6! in the couplings)
"""

__all__ = []
