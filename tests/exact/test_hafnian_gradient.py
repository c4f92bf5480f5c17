"""Derivatives of single hafnians against minors, differences and each other."""

import math
import os
import subprocess
import sys

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.wick import hafnian, hafnian_vjp


def problem(n, dtype, seed=0):
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n, n + 3)) + (1j * rng.normal(size=(n, n + 3)) if dtype is complex else 0)
    mu = rng.normal(size=n) + (0.5j * rng.normal(size=n) if dtype is complex else 0)
    return factor @ factor.T / (n + 3), mu


def less(counts, *points):
    counts = list(counts)
    for i in points:
        counts[i] -= 1
    return counts if min(counts) >= 0 else None


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("repeats", [(1,) * 2, (1,) * 3, (1,) * 6, (1,) * 12, (1,) * 13, (1,) * 16, (2,) * 8, (1,) * 6 + (2,) * 5, (3,) * 5, (1, 1) + (2,) * 7, (4, 0, 3, 1), (9,)],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("with_mean", [False, True])
def test_every_derivative_is_the_hafnian_without_those_points(repeats, dtype, with_mean):
    m = len(repeats)
    K, mu = problem(m, dtype)
    mean = mu if with_mean else None
    K_bar, mu_bar = hafnian_vjp(K, mu=mean, repeats=repeats)
    size = hafnian_vjp(np.abs(K), mu=None if mean is None else np.abs(mu), repeats=repeats)  # of the terms, taken positive
    assert np.array_equal(K_bar, K_bar.T) and K_bar.dtype == K.dtype
    for i in range(m):
        for j in range(i, m):
            rest = less(repeats, i, j)
            exact = 0 if rest is None else hafnian(K, mu=mean, repeats=rest) * repeats[i] * ((repeats[i] - 1) / 2 if i == j else repeats[j] / 2)
            assert abs(K_bar[i, j] - exact) <= 1e-13 * abs(size[0][i, j])
    if mean is None:
        assert mu_bar is None
        return
    for i in range(m):
        rest = less(repeats, i)
        exact = 0 if rest is None else repeats[i] * hafnian(K, mu=mean, repeats=rest)
        assert abs(mu_bar[i] - exact) <= 1e-13 * abs(size[1][i])


@pytest.mark.parametrize("n", [12, 18, 22])
def test_a_small_step_changes_the_hafnian_as_the_derivatives_say(n):
    K, mu = problem(n, float, seed=n)
    dK, dmu = problem(n, float, seed=n + 1)
    K_bar, mu_bar = hafnian_vjp(K, 3.0, mu=mu)
    slope = np.sum(K_bar * dK) + mu_bar @ dmu
    step = 1e-5  # the central difference errs by about step^2 relatively, and 1e-16 / step by rounding
    difference = (hafnian(K + step * dK, mu=mu + step * dmu) - hafnian(K - step * dK, mu=mu - step * dmu)) / (2 * step)
    assert 3 * difference == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize("n", [14, 20])
def test_euler_holds_because_the_hafnian_is_homogeneous(n):
    """sum K dhaf/dK counts pairs and sum mu dhaf/dmu single points: 2 and 1 per term of degree n."""
    K, mu = problem(n, float)
    K_bar, mu_bar = hafnian_vjp(K, mu=mu)
    off = K - np.diag(np.diag(K))
    weight = hafnian(np.abs(K), mu=np.abs(mu))
    assert abs(2 * np.sum(K_bar * off) + mu_bar @ mu - n * hafnian(K, mu=mu)) <= 1e-12 * weight


def test_points_that_coincide_have_derivatives_of_their_own():
    K = np.ones((14, 14))
    K_bar, _ = hafnian_vjp(K)
    assert np.array_equal(K_bar, (np.ones((14, 14)) - np.eye(14)) * math.prod(range(1, 12, 2)) / 2)


def test_badly_scaled_rows_do_not_matter():
    K, mu = problem(16, float)
    powers = np.random.default_rng(1).integers(-200, 200, 16)
    powers -= int(powers.mean())
    K_bar, mu_bar = hafnian_vjp(np.ldexp(K, powers[:, None] + powers), mu=np.ldexp(mu, powers))
    reference, mean_reference = hafnian_vjp(K, mu=mu)
    total = int(powers.sum())
    assert np.abs(np.ldexp(K_bar, powers[:, None] + powers - total) - reference).max() <= 1e-12 * np.abs(reference).max()
    assert np.abs(np.ldexp(mu_bar, powers - total) - mean_reference).max() <= 1e-12 * np.abs(mean_reference).max()


def test_threads_and_instruction_sets_change_no_bit():
    for n in (24, 30):
        K, mu = problem(n, float)
        assert len({b"".join(x.tobytes() for x in hafnian_vjp(K, mu=mu, threads=t)) for t in (1, 2, 7)}) == 1
    code = ("import numpy as np, hashlib\nfrom nnqft.wick import hafnian_vjp\nrng = np.random.default_rng(3)\nh = hashlib.sha256()\n"
            "for n in (9, 13, 14, 19, 24):\n    K = rng.normal(size=(n, n)); K = K + K.T; r = rng.integers(1, 3, n)\n"
            "    for c in (1.0, 1 + 0.5j):\n        for x in hafnian_vjp(K * c, mu=K[0] * c) + hafnian_vjp(K[:8, :8] * c, mu=K[0, :8] * c, repeats=r[:8]): h.update(x.tobytes())\n"
            "print(h.hexdigest())")  # fmt: skip
    from nnqft import build_info

    digests = {subprocess.run([sys.executable, "-c", code], env=os.environ | {"NNQFT_ISA": isa}, capture_output=True, text=True, check=True).stdout
               for isa in build_info()["isas"]}  # fmt: skip
    assert len(digests) == 1


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="square"):
        hafnian_vjp(np.ones((2, 3)))
    for g in (math.nan, 1j, np.ones(2)):
        with pytest.raises(ArgumentError, match="g must be"):
            hafnian_vjp(np.ones((2, 2)), g)
    with pytest.raises(ArgumentError, match="max_seconds"):
        hafnian_vjp(problem(90, float)[0])
    K_bar, mu_bar = hafnian_vjp(np.ones((0, 0)))
    assert K_bar.shape == (0, 0) and mu_bar is None
    assert not hafnian_vjp(np.ones((3, 3)))[0].any()
