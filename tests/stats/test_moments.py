"""Error bars of moments: their size against the exact standard error, and how often they cover the exact value.

400 data sets at fixed seeds. z = (measured - exact) / stderr has mean 0 and variance 1.03 (64 groups): the mean of 400
values of z lies within 4 / sqrt(400) = 0.2, the mean of z^2 within 1.03 +- 4 sqrt(2 / 400) = 0.28, but for 6e-5 of all
seeds each.
"""

import numpy as np
import pytest

from nnqft.wick import MomentAccumulator, moments

N_SETS, N_SAMPLES = 400, 4096
COVARIANCE = np.array([[1.0, 0.5], [0.5, 2.0]])


def draws(weighted, seed):
    """Gaussian fields; with weights, from a wider Gaussian, and the ratio of densities brings them back."""
    x = np.random.default_rng(seed).standard_normal((N_SAMPLES, 2)) * (1.2 if weighted else 1.0)
    F = x @ np.linalg.cholesky(COVARIANCE).T
    return F, np.exp(-0.5 * (x**2).sum(axis=1) * (1 - 1 / 1.2**2)) if weighted else None


@pytest.mark.parametrize("weighted", [False, True])
def test_error_bars_cover_the_exact_value_as_often_as_they_should(weighted):
    exact = {(0, 1): 0.5, (0, 0, 1, 1): 1.0 * 2.0 + 2 * 0.5**2}
    z = []
    for seed in range(N_SETS):
        F, weights = draws(weighted, seed)
        M = moments(F, orders=(2, 4), weights=weights)
        z.append([(M[len(i)][i].mean - value) / M[len(i)][i].stderr for i, value in exact.items()])
    assert (np.abs(np.mean(z, axis=0)) < 0.2).all()
    assert (np.abs(np.mean(np.square(z), axis=0) - 1.03) < 0.28).all()


def test_error_bars_have_the_size_of_the_exact_standard_error():
    """Var(f0 f1) = K00 K11 + K01^2 for Gaussian fields; 64 groups give each error bar to 9 %, 400 of them to 0.5 %."""
    errors = []
    for seed in range(N_SETS):
        accumulator = MomentAccumulator(2, orders=2, block=32)
        for part in np.array_split(draws(False, seed)[0], 3):
            accumulator.push(part)
        errors.append(accumulator.finalize()[2][0, 1].stderr)
    exact = np.sqrt((1.0 * 2.0 + 0.5**2) / N_SAMPLES)
    assert abs(np.mean(errors) / exact - 1) < 0.02
    assert np.std(errors) / exact < 0.13
