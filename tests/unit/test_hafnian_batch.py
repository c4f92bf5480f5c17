"""Batches of small hafnians: exact integers, identities, bits, derivatives, and what is refused.

Where no tolerance is given, the numbers are integers that float64 holds, and all of them must be equal.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nnqft import _core
from nnqft.errors import ArgumentError, ShapeError
from nnqft.wick import hafnian_batch, hafnian_batch_vjp

VALUES = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())
SMALL = range(1, 13)
CASES = [(n, mean) for n in SMALL for mean in (False, True) if mean or n % 2 == 0]
EPS = np.finfo(np.float64).eps


def matrices(n, mean, count=21, seed=0):
    """Symmetric matrices and means of mixed signs."""
    rng = np.random.default_rng([seed, n, mean])
    K = rng.normal(size=(count, n, n))
    return K + K.swapaxes(1, 2), rng.normal(size=(count, n)) if mean else None


def kernel(m, n, mean, count=21, seed=0):
    """One kernel, its mean, and index tuples with repeats."""
    rng = np.random.default_rng([seed, m, n, mean])
    K = rng.normal(size=(m, m))
    return K + K.T, rng.normal(size=m) if mean else None, rng.integers(0, m, size=(count, n))


def reference(K, mu=None):
    """The sum over partial pairings in exact rational arithmetic."""
    number = lambda x: Fraction(float(x))  # noqa: E731

    @cache
    def of(points):
        if not points:
            return Fraction(1)
        i, rest = points[0], points[1:]
        total = sum((number(K[i][j]) * of(tuple(k for k in rest if k != j)) for j in rest), Fraction(0))
        return total + (0 if mu is None else number(mu[i]) * of(rest))

    return of(tuple(range(len(K))))


def packed(K):
    return K[(slice(None), *np.triu_indices(K.shape[1], 1))]


def one(K, mu=None):
    """The same matrix as a batch, packed, and as an index tuple: all must agree."""
    K = np.asarray(K, dtype=np.float64)
    mu = None if mu is None else np.asarray(mu, dtype=np.float64)
    means = None if mu is None else mu[np.newaxis]
    results = [hafnian_batch(K[np.newaxis], mu=means), hafnian_batch(K, np.arange(len(K))[np.newaxis], mu=mu)]
    if len(K) > 1:
        results.append(hafnian_batch(packed(K[np.newaxis]), mu=means, packed=True))
    assert len({float(r[0]) for r in results}) == 1
    return float(results[0][0])


# ---------------------------------------------------------------- exact integers


@pytest.mark.parametrize("n", [n for n in SMALL if n % 2 == 0])
def test_all_ones_count_the_pairings(n):
    assert one(np.ones((n, n))) == int(VALUES["ones"][str(n)])


@pytest.mark.parametrize("n", SMALL)
def test_all_ones_with_mean_one_count_the_involutions(n):
    assert one(np.ones((n, n)), np.ones(n)) == int(VALUES["ones_loop"][str(n)])


@pytest.mark.parametrize("case", [c for c in VALUES["random_integer"] if c["n"] <= 12], ids=lambda c: str(c["n"]))
def test_integer_matrices_come_out_exact(case):
    assert one(case["A"]) == int(case["haf"])
    assert one(case["A"], case["mu"]) == int(case["lhaf"])


@pytest.mark.parametrize("case", VALUES["odd_loop"], ids=lambda c: str(c["n"]))
def test_odd_numbers_of_points_need_a_mean(case):
    assert one(case["A"], case["mu"]) == int(case["lhaf"])
    assert one(case["A"]) == 0


@pytest.mark.parametrize("case", VALUES["repeated"], ids=lambda c: str(c["rpt"]))
def test_repeated_indices_put_the_diagonal_between_their_copies(case):
    K, mu = np.array(case["A"], dtype=np.float64), np.array(case["mu"], dtype=np.float64)
    index = np.repeat(np.arange(len(K)), case["rpt"])[np.newaxis]
    assert hafnian_batch(K, index)[0] == int(case["haf"])
    assert hafnian_batch(K, index, mu=mu)[0] == int(case["lhaf"])


@pytest.mark.parametrize("case", [c for c in VALUES["one_large_entry"] if c["n"] <= 12], ids=lambda c: f"{c['n']}-{c['M']}-{c['j']}")
def test_one_large_entry_drowns_nothing(case):
    K = np.ones((case["n"],) * 2)
    K[case["i"], case["j"]] = K[case["j"], case["i"]] = float(case["M"])
    assert one(K) == int(case["haf"])


@pytest.mark.parametrize("case", VALUES["bipartite_permanent"], ids=lambda c: str(c["k"]))
def test_bipartite_matrices_give_permanents(case):
    B = np.array(case["B"], dtype=np.float64)
    zero = np.zeros_like(B)
    assert one(np.block([[zero, B], [B.T, zero]])) == int(case["haf"])


@pytest.mark.parametrize("n", [n for n in SMALL if n % 2 == 0])
def test_cocktail_party_graphs_count_their_perfect_matchings(n):
    K = np.ones((n, n)) - np.kron(np.eye(n // 2), np.ones((2, 2)))
    assert one(K) == int(VALUES["cocktail_party"][str(n)])


def test_blocks_factorise_on_both_sides_of_twelve_points():
    A, B = (np.array(VALUES["block_diagonal"][key], dtype=np.float64) for key in ("A1", "A2"))
    whole = np.block([[A, np.zeros((6, 8))], [np.zeros((8, 6)), B]])
    assert one(A) * one(B) == one(whole) == int(VALUES["block_diagonal"]["haf"])
    assert one(np.kron(np.eye(2), A)) == one(A) ** 2


def test_no_points_have_hafnian_one_and_an_empty_batch_is_empty():
    assert hafnian_batch(np.eye(3), np.zeros((4, 0), np.int32)).tolist() == [1.0] * 4
    assert hafnian_batch(np.zeros((4, 0, 0))).tolist() == [1.0] * 4
    assert hafnian_batch(np.zeros((4, 0)), mu=np.zeros((4, 0)), packed=True).tolist() == [1.0] * 4
    assert hafnian_batch(np.zeros((4, 0)), mu=np.full((4, 1), 2.5), packed=True).tolist() == [2.5] * 4
    for n in (0, 1, 4, 12, 20):
        assert hafnian_batch(np.zeros((0, n, n))).shape == hafnian_batch(np.eye(3), np.zeros((0, n), np.int64)).shape == (0,)
    assert hafnian_batch(np.zeros((0, 0)), np.zeros((0, 4), np.int32)).shape == (0,)


# ---------------------------------------------------------------- identities on real matrices


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_errors_stay_below_n_ulp_of_the_sum_of_magnitudes(n, mean):
    K, mu = matrices(n, mean, count=3)
    got = hafnian_batch(K, mu=mu)
    for b in range(3):
        means = (None, None) if mu is None else (mu[b], abs(mu[b]))
        # Each product passes at most 2 n roundings of eps / 2.
        assert abs(Fraction(got[b]) - reference(K[b], means[0])) <= Fraction(n * EPS) * reference(abs(K[b]), means[1])


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_the_order_of_the_points_does_not_matter(n, mean):
    K, mu, index = kernel(7, n, mean)
    shuffled = np.random.default_rng(n).permuted(index, axis=1)
    scale = hafnian_batch(abs(K), index, mu=None if mu is None else abs(mu))
    # n ulp of the sum of magnitudes on either side.
    assert (abs(hafnian_batch(K, index, mu=mu) - hafnian_batch(K, shuffled, mu=mu)) <= 2 * n * EPS * scale).all()


@pytest.mark.parametrize("n", [n for n in SMALL if n % 2 == 0])
def test_a_mean_of_zero_changes_no_bit(n):
    K, _ = matrices(n, False)
    assert hafnian_batch(K, mu=np.zeros((21, n))).tobytes() == hafnian_batch(K).tobytes()


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_powers_of_two_scale_to_the_bit(n, mean):
    K, mu = matrices(n, mean)
    plain = hafnian_batch(K, mu=mu)
    for s in (-40, -1, 3, 40):
        scaled = hafnian_batch(np.ldexp(K, 2 * s), mu=None if mu is None else np.ldexp(mu, s))
        assert scaled.tobytes() == np.ldexp(plain, s * n).tobytes()


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_a_row_times_a_power_of_two_beyond_any_window_scales_to_the_bit(n, mean):
    """haf(D K D) = det(D) haf(K): entries from 2**-990 to 2**990, of which only the product is moderate."""
    K, mu = matrices(n, mean, count=11)
    powers = np.array([(-1) ** i * 480 for i in range(n - n % 2)] + [0] * (n % 2))
    stretched = np.ldexp(K, powers[:, np.newaxis] + powers)
    got = hafnian_batch(stretched, mu=None if mu is None else np.ldexp(mu, powers))
    want = hafnian_batch(K, mu=mu)
    assert got.tobytes() == want.tobytes()
    assert np.array_equal(got, hafnian_batch(packed(stretched), mu=None if mu is None else np.ldexp(mu, powers), packed=True)) or n == 1


@pytest.mark.parametrize("size", [1e-300, 1e300, 5e-324, 1.7e308])
@pytest.mark.parametrize("n", [2, 6, 12])
def test_huge_and_tiny_matrices_come_out_right_where_the_result_is_a_number(n, size):
    K = np.ones((n, n))
    K[0::2, 1::2] = K[1::2, 0::2] = size  # pairs of an even and an odd point: size; else 1 / size, with no overflow
    K[0::2, 0::2] = K[1::2, 1::2] = min(1 / max(size, 1e-300), 1e300)
    with_fractions = reference(K)
    got = one(K)
    want = float(with_fractions) if with_fractions < Fraction(sys.float_info.max) else math.inf
    assert got == pytest.approx(want, rel=n * EPS) if math.isfinite(want) else got == math.inf


def test_scales_may_differ_from_tuple_to_tuple_and_zeros_stay_zeros():
    K = np.zeros((8, 8))
    K[:4, :4], K[4:, 4:] = 1e200, 1e-200
    index = np.array([[0, 1, 4, 5], [0, 1, 2, 3], [4, 5, 6, 7], [0, 4, 4, 4], [0, 1, 2, 4]])
    assert hafnian_batch(K, index).tolist() == [1e200 * 1e-200, math.inf, 0.0, 0.0, 0.0]
    assert hafnian_batch(np.zeros((3, 12, 12))).tolist() == [0.0] * 3


# ---------------------------------------------------------------- the same bits everywhere


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_a_batch_is_its_hafnians_one_by_one(n, mean):
    K, mu, index = kernel(9, n, mean, count=300)
    whole = hafnian_batch(K, index, mu=mu)
    singles = [hafnian_batch(K[np.ix_(t, t)][np.newaxis], mu=None if mu is None else mu[t][np.newaxis])[0] for t in index]
    assert whole.tobytes() == np.array(singles).tobytes()
    dense = K[index[:, :, np.newaxis], index[:, np.newaxis]]
    assert hafnian_batch(dense, mu=None if mu is None else mu[index]).tobytes() == whole.tobytes()


@pytest.mark.parametrize("n", [4, 6, 8, 12])
def test_sorted_lists_that_share_leading_indices_give_the_same_bits(n):
    K, _, index = kernel(5, n, False, count=500)
    index = np.sort(index, axis=1)
    order = np.lexsort(index.T[::-1])
    assert hafnian_batch(K, index[order]).tobytes() == hafnian_batch(K, index)[order].tobytes()


def test_any_layout_of_the_arrays_gives_the_same_bits():
    K, mu, index = kernel(6, 6, True, count=40)
    want = hafnian_batch(K, index, mu=mu).tobytes()
    frozen = K.copy()
    frozen.setflags(write=False)
    unaligned = np.frombuffer(b"x" + K.tobytes(), dtype=np.uint8)[1:].view(np.float64).reshape(K.shape)
    for view in (np.asfortranarray(K), K[::-1, ::-1][::-1, ::-1], np.kron(K, np.ones((2, 2)))[::2, ::2], frozen, unaligned, K.tolist()):
        assert hafnian_batch(view, index, mu=mu).tobytes() == want
    for view in (np.asfortranarray(index), index.astype(np.int32), np.repeat(index, 2, axis=0)[::2], index.tolist()):
        assert hafnian_batch(K, view, mu=np.repeat(mu, 2)[::2]).tobytes() == want


def test_rounding_in_the_lower_triangle_is_tolerated_and_ignored():
    K, mu, index = kernel(6, 6, True)
    noisy = K + 1e-15 * np.tril(np.ones((6, 6)), -1)
    assert hafnian_batch(noisy, index, mu=mu).tobytes() == hafnian_batch(K, index, mu=mu).tobytes()
    dense, means = matrices(6, True)
    noisy = dense + 1e-15 * np.tril(np.ones((6, 6)), -1)
    assert hafnian_batch(noisy, mu=means).tobytes() == hafnian_batch(dense, mu=means).tobytes()


BITS = """
import hashlib
import numpy as np
from nnqft.wick import hafnian_batch, hafnian_batch_vjp
digest = hashlib.sha256()
# Numbers that every machine has alike: no sine, no library of random numbers.
i = np.arange(7.0)
K = ((7 * np.add.outer(i, i) + 3 * np.multiply.outer(i, i)) % 31 - 15) / 37
g = (11 * np.arange(43.0) % 29 - 14) / 23
for n in range(1, 13):
    for mu in (None, (5 * i % 13 - 6) / 11):
        index = (np.arange(43 * n) ** 2 // 3 % 7).reshape(43, n)
        dense, means = K[index[:, :, None], index[:, None]], None if mu is None else mu[index]
        for result in (hafnian_batch(K, index, mu=mu), hafnian_batch(dense * 2.0**-300, mu=means), *hafnian_batch_vjp(K, index, g, mu=mu),
                       *hafnian_batch_vjp(dense, None, g, mu=means)):
            if result is not None:
                digest.update(result.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.parametrize("isa", ["scalar", "avx2", "avx512"])
def test_every_instruction_set_gives_the_stored_bits(isa):
    if isa not in _core.isas():
        pytest.skip(f"this CPU or build lacks {isa}")
    run = subprocess.run([sys.executable, "-c", BITS], env=os.environ | {"NNQFT_ISA": isa}, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "2f7452d9332ffec1a10b2d2302666ced50bdd07535448993d565ba47b8785a6e"


@pytest.mark.parametrize(("n", "mean"), [(4, False), (5, True), (8, False)])
def test_the_number_of_threads_changes_no_bit(n, mean):
    K, mu, index = kernel(20, n, mean, count=100_003)
    g = np.random.default_rng(0).normal(size=len(index))
    value = hafnian_batch(K, index, mu=mu, threads=1)
    bars = hafnian_batch_vjp(K, index, g, mu=mu, threads=1)
    for threads in (2, 7):
        assert hafnian_batch(K, index, mu=mu, threads=threads).tobytes() == value.tobytes()
        for a, b in zip(hafnian_batch_vjp(K, index, g, mu=mu, threads=threads), bars, strict=True):
            assert a is b is None or a.tobytes() == b.tobytes()


CALLS = {"values": "hafnian_batch(K, index, mu=K[0], threads={})", "derivatives": "hafnian_batch_vjp(K, index, np.ones(len(index)), mu=K[0], threads={})"}


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("call", "n"), [("values", 12), ("values", 20), ("derivatives", 12), ("derivatives", 20)])
def test_ctrl_c_answers_within_half_a_second(call, n, threads):
    code = ("import numpy as np\nfrom nnqft.wick import hafnian_batch, hafnian_batch_vjp\nK = np.minimum.outer(np.arange(1.0, 21), np.arange(1.0, 21))\n"
            f"index = np.tile(np.arange({n}, dtype=np.int32), ({10**6 if n < 20 else 10**4}, 1))\nprint('go', flush=True)\n" + CALLS[call].format(threads))  # fmt: skip
    scalar = os.environ | {"NNQFT_ISA": "scalar"}  # some seconds of work
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=scalar) as process:
        assert process.stdout.readline().strip() == "go"
        time.sleep(1.0)
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
        assert "KeyboardInterrupt" in error
        assert time.monotonic() - start < 2.0  # half a second, and the interpreter's own end on a busy machine


# ---------------------------------------------------------------- more than 12 points


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("n", [13, 14, 16, 17])
def test_more_points_go_to_the_sieve(n, mean):
    K, mu, index = kernel(20, n, mean, count=5)
    index = np.array([np.random.default_rng(k).permutation(20)[:n] for k in range(4)] + [[0] * n])
    got = hafnian_batch(K, index, mu=mu)
    dense = hafnian_batch(K[index[:4, :, np.newaxis], index[:4, np.newaxis]], mu=None if mu is None else mu[index[:4]])
    for b, t in enumerate(index):
        means = (None, None) if mu is None else (mu[t], abs(mu[t]))
        bound = Fraction(1e-13) * reference(abs(K[np.ix_(t, t)]), means[1])
        want = reference(K[np.ix_(t, t)], means[0])
        assert abs(Fraction(got[b]) - want) <= bound
        assert b == 4 or abs(Fraction(dense[b]) - want) <= bound


def test_work_beyond_all_measure_is_refused():
    K = np.minimum.outer(np.arange(1.0, 601), np.arange(1.0, 601))  # points that differ: equal ones would be merged
    index = np.tile(np.arange(60), (1000, 1))
    with pytest.raises(ArgumentError, match=r"1000 hafnians of 60 points take about .* seconds.*max_seconds=math\.inf"):
        hafnian_batch(K, index, max_seconds=1.0)
    with pytest.raises(ArgumentError, match="1000 hafnians of 60 points and their derivatives take about"):
        hafnian_batch_vjp(K, index, np.ones(1000), max_seconds=1.0)
    with pytest.raises(ArgumentError, match="1 hafnians of 600 points"):
        hafnian_batch(K[None])


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_derivatives_are_hafnians_of_minors(n, mean):
    K, mu = matrices(n, mean, count=9)
    K_bar, mu_bar = hafnian_batch_vjp(K, None, np.ones(9), mu=mu)
    packed_bar = hafnian_batch_vjp(packed(K), None, np.ones(9), mu=mu, packed=True)[0] if n > 1 else np.zeros((9, 0))

    def minor(*gone):
        kept = [k for k in range(n) if k not in gone]
        size = lambda x: None if x is None else abs(x)  # noqa: E731
        part, means = K[:, kept][:, :, kept], None if mu is None else mu[:, kept]
        return hafnian_batch(part, mu=means), 2 * n * EPS * hafnian_batch(abs(part), mu=size(means))

    for place, (i, j) in enumerate(zip(*np.triu_indices(n, 1), strict=True)):
        want, tolerance = minor(i, j)  # as many roundings as the hafnian has, on either side
        assert (abs(2 * K_bar[:, i, j] - want) <= tolerance).all() and (abs(packed_bar[:, place] - want) <= tolerance).all()
    assert (K_bar == K_bar.swapaxes(1, 2)).all() and not K_bar[:, range(n), range(n)].any()
    for i in range(n if mean else 0):
        want, tolerance = minor(i)
        assert (abs(mu_bar[:, i] - want) <= tolerance).all()


@pytest.mark.parametrize(("n", "mean"), [(14, False), (13, True), (14, True)])
def test_derivatives_beyond_twelve_points_are_hafnians_of_minors(n, mean):
    K, mu = matrices(n, mean, count=3)
    g = np.array([1.0, -2.0, 0.5])
    K_bar, mu_bar = hafnian_batch_vjp(K, None, g, mu=mu)
    for kept, bar in ((slice(2, None), 2 * K_bar[:, 0, 1]), *([(slice(1, None), mu_bar[:, 0])] if mean else [])):
        part, means = K[:, kept, kept], None if mu is None else mu[:, kept]
        size = hafnian_batch(abs(part), mu=None if mu is None else abs(means))
        assert (abs(bar - g * hafnian_batch(part, mu=means)) <= 1e-13 * abs(g) * size).all()
    assert np.array_equal(hafnian_batch_vjp(packed(K), None, g, mu=mu, packed=True)[0], 2 * packed(K_bar))
    # The three matrices as tuples of points into one kernel of three blocks.
    whole = np.zeros((3 * n, 3 * n))
    for b in range(3):
        whole[b * n : b * n + n, b * n : b * n + n] = K[b]
    by_index = hafnian_batch_vjp(whole, np.arange(3 * n).reshape(3, n), g, mu=None if mu is None else mu.ravel())
    assert all(np.array_equal(by_index[0][b * n : b * n + n, b * n : b * n + n], K_bar[b] - np.diag(np.diag(K_bar[b]))) for b in range(3))
    assert mu is None or np.array_equal(by_index[1], mu_bar.ravel())


@pytest.mark.parametrize(("n", "mean"), CASES)
def test_derivatives_by_one_kernel_are_those_of_an_exact_polynomial(n, mean):
    """sum_b g_b haf_b along K + t dK, mu + t dmu, in rational arithmetic: the coefficient of t by differences of a small step."""
    rng = np.random.default_rng(n)
    K, dK = (np.rint(4 * (a + a.T)) for a in rng.normal(size=(2, 4, 4)))
    mu, dmu = (np.rint(4 * a) for a in rng.normal(size=(2, 4))) if mean else (None, None)
    index, g = rng.integers(0, 4, (3, n)), np.array([1.0, -2.0, 3.0])
    K_bar, mu_bar = hafnian_batch_vjp(K, index, g, mu=mu)

    def total(t):
        k = [[Fraction(a) + t * Fraction(b) for a, b in zip(x, y, strict=True)] for x, y in zip(K, dK, strict=True)]
        m = None if mu is None else [Fraction(a) + t * Fraction(b) for a, b in zip(mu, dmu, strict=True)]
        return sum(Fraction(w) * exact([[k[i][j] for j in row] for i in row], None if m is None else [m[i] for i in row])
                   for w, row in zip(g, index, strict=True))  # fmt: skip

    step = Fraction(1, 2**200)  # the next coefficient enters below 2**-100 of an integer
    change = (K_bar * dK).sum() + (0 if mu is None else (mu_bar * dmu).sum())
    assert abs((total(step) - total(-step)) / (2 * step) - Fraction(change)) < Fraction(1, 2**100)
    assert (K_bar == K_bar.T).all()


def exact(K, mu=None):
    """reference() for fractions, each set of points once."""

    @cache
    def of(points):
        if not points:
            return Fraction(1)
        first, *rest = points
        paired = (K[first][j] * of(tuple(k for k in rest if k != j)) for j in rest if K[first][j])
        return sum(paired, Fraction(0) if mu is None else mu[first] * of(tuple(rest)))

    return of(tuple(range(len(K))))


def test_derivatives_of_a_long_list_are_sums_over_its_parts():
    K, mu, index = kernel(5, 6, True, count=20_000)
    g = np.ones(len(index))
    K_bar, mu_bar = hafnian_batch_vjp(K, index, g, mu=mu)
    dense, means = K[index[:, :, np.newaxis], index[:, np.newaxis]], mu[index]
    dense_bar, means_bar = hafnian_batch_vjp(dense, None, g, mu=means)
    want, size = np.zeros((5, 5)), np.zeros((5, 5))
    np.add.at(want, (index[:, :, np.newaxis], index[:, np.newaxis]), dense_bar)
    np.add.at(size, (index[:, :, np.newaxis], index[:, np.newaxis]), abs(dense_bar))
    # Sums of some 20000 * 36 / 25 numbers in different orders: that many roundings of partial sums, which add up as a random walk does.
    np.testing.assert_allclose(K_bar, want, rtol=0, atol=EPS * np.sqrt(20_000 * 36 / 25) * size.max())
    np.testing.assert_allclose(mu_bar, np.bincount(index.ravel(), means_bar.ravel(), 5), rtol=0, atol=EPS * np.sqrt(20_000 * 6 / 5) * abs(means_bar).sum() / 5)


def test_derivatives_survive_scales_that_the_plain_recursion_does_not():
    n, s = 8, 480
    K, mu = matrices(n, True, count=9)
    K_bar, mu_bar = hafnian_batch_vjp(K, None, np.ones(9), mu=mu)
    big = hafnian_batch_vjp(np.ldexp(K, -2 * 140), None, np.ones(9), mu=np.ldexp(mu, -140))
    assert np.array_equal(big[0], np.ldexp(K_bar, -140 * (n - 2))) and np.array_equal(big[1], np.ldexp(mu_bar, -140 * (n - 1)))
    K_bar, _ = hafnian_batch_vjp(np.ldexp(np.ones((1, 4, 4)), s), None, np.ones(1))
    assert K_bar[0, 0, 1] == math.ldexp(0.5, s)


# ---------------------------------------------------------------- what is refused

K4 = np.array([[2.0, 1.0, 0.5, 0.0], [1.0, 3.0, 0.25, 1.0], [0.5, 0.25, 1.0, 2.0], [0.0, 1.0, 2.0, 5.0]])
TUPLE = np.array([[0, 1, 2, 3], [3, 3, 0, 1]])


def with_entry(array, place, value):
    array = np.array(array)
    array[place] = value
    return array


@pytest.mark.parametrize(("arguments", "error", "message"), [
    (dict(K=K4[0], index=TUPLE), ShapeError, r"\(4,\).*one kernel \(m, m\)"),
    (dict(K=K4[:2], index=TUPLE), ShapeError, r"\(2, 4\)"),
    (dict(K=K4.astype(np.float32), index=TUPLE), ShapeError, r"float32.*astype\(np\.float64\)"),
    (dict(K=K4.astype(">f8"), index=TUPLE), ShapeError, ">f8"),
    (dict(K=K4.astype(complex), index=TUPLE), ShapeError, "complex128"),
    (dict(K=None, index=TUPLE), ShapeError, "K is missing"),
    (dict(K=K4, index=TUPLE[0]), ShapeError, r"int64 and shape \(4,\)"),
    (dict(K=K4, index=TUPLE.astype(float)), ShapeError, "float64"),
    (dict(K=K4, index=TUPLE.astype(np.uint64)), ShapeError, "uint64"),
    (dict(K=K4, index=TUPLE.astype(">i4")), ShapeError, ">i4"),
    (dict(K=K4, index=with_entry(TUPLE, (1, 2), 4)), ArgumentError, r"index\[1, 2\] is 4; K has the points 0 to 3"),
    (dict(K=K4, index=with_entry(TUPLE, (1, 3), -1)), ArgumentError, r"index\[1, 3\] is -1"),
    (dict(K=K4, index=with_entry(TUPLE, (0, 0), 2**32)), ArgumentError, r"index\[0, 0\] is 4294967296"),
    (dict(K=K4, index=with_entry(TUPLE.astype(np.int32), (0, 0), -(2**31))), ArgumentError, r"index\[0, 0\] is -2147483648"),
    (dict(K=K4, index=with_entry(TUPLE[:, :3], (1, 1), 9)), ArgumentError, r"index\[1, 1\] is 9"),
    (dict(K=np.zeros((0, 0)), index=TUPLE), ArgumentError, r"index\[0, 0\] is 0; K has no points"),
    (dict(K=with_entry(K4, (2, 2), np.nan), index=TUPLE), ArgumentError, r"K\[2, 2\] is nan"),
    (dict(K=with_entry(K4, (0, 3), -np.inf), index=TUPLE), ArgumentError, r"K\[0, 3\] is -inf"),
    (dict(K=np.triu(K4), index=TUPLE), ArgumentError, r"not symmetric: K\[0, 1\] = 1 but K\[1, 0\] = 0; pass \(K \+ K\^T\) / 2"),
    (dict(K=K4, index=TUPLE, mu=np.zeros(3)), ShapeError, r"mu has shape \(3,\)"),
    (dict(K=K4, index=TUPLE, mu=np.zeros(4, np.float32)), ShapeError, "mu has dtype float32"),
    (dict(K=K4, index=TUPLE, mu=with_entry(np.zeros(4), 1, np.inf)), ArgumentError, r"mu\[1\] is inf"),
    (dict(K=K4, index=TUPLE, packed=True), ArgumentError, "packed=True is for batches of matrices"),
    (dict(K=K4, index=TUPLE, threads=0), ArgumentError, "threads"),
    (dict(K=K4, index=TUPLE, max_seconds=math.nan), ArgumentError, "max_seconds is nan"),
    (dict(K=K4), ShapeError, r"\(batch, n, n\)"),
    (dict(K=K4[np.newaxis, :2]), ShapeError, r"\(1, 2, 4\)"),
    (dict(K=np.array([K4, np.triu(K4)])), ArgumentError, r"K\[1, 0, 1\] = 1 but K\[1, 1, 0\] = 0"),
    (dict(K=np.array([K4, with_entry(K4, (3, 0), np.nan)])), ArgumentError, r"K\[1, 3, 0\] is nan"),
    (dict(K=np.array([K4[:3, :3], with_entry(K4[:3, :3], (0, 2), np.inf)])), ArgumentError, r"K\[1, 0, 2\] is inf"),
    (dict(K=np.array([K4, K4]), mu=with_entry(np.zeros((2, 4)), (1, 3), np.nan)), ArgumentError, r"mu\[1, 3\] is nan"),
    (dict(K=np.array([K4, K4]), mu=np.zeros(4)), ShapeError, r"mu has shape \(4,\).*\(2, 4\)"),
    (dict(K=np.ones((2, 4)), packed=True), ShapeError, "4 entries a row"),
    (dict(K=np.ones((2, 0)), packed=True), ShapeError, "0 or 1 points"),
    (dict(K=np.ones(6), packed=True), ShapeError, r"\(batch, n \(n-1\) / 2\)"),
    (dict(K=with_entry(np.ones((2, 6)), (1, 5), np.nan), packed=True), ArgumentError, r"K\[1, 5\] is nan"),
    (dict(K=np.ones((2, 6)), mu=np.zeros((2, 3)), packed=True), ShapeError, r"mu has shape \(2, 3\)"),
    (dict(K=with_entry(np.ones((9, 14, 14)), (8, 3, 4), 2.0)), ArgumentError, r"K\[8, 3, 4\] = 2 but"),
])  # fmt: skip
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        hafnian_batch(**arguments)
    with pytest.raises(error, match=message):
        hafnian_batch_vjp(**{"index": None, "g": np.ones(np.shape(arguments["K"])[0] if "index" not in arguments else 2)} | arguments)


@pytest.mark.parametrize(("g", "error", "message"), [
    (np.ones(3), ShapeError, r"g has shape \(3,\)"),
    (np.ones((2, 1)), ShapeError, r"g has shape \(2, 1\)"),
    (np.ones(2, np.float32), ShapeError, "g has dtype float32"),
    (np.array([1.0, np.nan]), ArgumentError, r"g\[1\] is nan"),
    (None, ShapeError, "g is missing"),
])  # fmt: skip
def test_bad_weights_are_refused(g, error, message):
    with pytest.raises(error, match=message):
        hafnian_batch_vjp(K4, TUPLE, g)


def test_a_small_asymmetry_is_not_hidden_by_large_rows():
    K = np.diag([1e12, 1.0, 1.0])
    K[1, 2] = 0.5
    with pytest.raises(ArgumentError, match="not symmetric"):
        hafnian_batch(K, np.array([[0, 1]]))
