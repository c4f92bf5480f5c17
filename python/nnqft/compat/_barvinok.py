"""Hafnians of matrices of non-negative numbers, estimated: haf(A) = E det W for skew W_ij = +-sqrt(A_ij) with random signs.

det W = Pf(W)^2, and in its average only the squares of single pairings survive. Loop weights d_i >= 0 go on the diagonal: det(W + D) is
the sum over subsets of prod d times the determinant of what is left. Barvinok, Random Structures & Algorithms 14 (1999) 29, in the
form of Godsil and Gutman.
"""

import numpy as np

from .. import _core
from ..errors import ArgumentError

_SEED, _TENSOR = 0, 0x4861  # the signs' address


def estimate(A, loop, n_samples):
    """Mean of n_samples determinants. The signs are a pure function of (sample, row, column)."""
    if A.dtype.kind == "c" or (A < 0).any():
        raise ArgumentError("approx=True takes real matrices without negative entries")
    if n_samples < 1:
        raise ArgumentError(f"num_samples is {n_samples}; expected at least 1")
    n = len(A)
    if n == 0:
        return 1.0
    if n % 2 and not loop:
        return 0.0
    root = np.triu(np.sqrt(A), 1)
    diagonal = np.diag(A.diagonal()) if loop else 0.0
    total = 0.0
    step = max(1, (1 << 20) // n**2)
    for start in range(0, n_samples, step):
        words = _core.philox_words(_SEED, _TENSOR, start, min(step, n_samples - start), n, n)
        upper = np.where(words >> 31, root, -root)
        total += np.linalg.det(upper - upper.transpose(0, 2, 1) + diagonal).sum()
    return float(total / n_samples)
