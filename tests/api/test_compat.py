"""The drop-in functions against closed forms and, where they are installed, against the libraries whose names they bear."""

import inspect
import itertools
import json
import math
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from nnqft.compat import piquasso, thewalrus
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError

VALUES = json.loads((Path(__file__).parents[1] / "data" / "wick.json").read_text())
EPS = np.finfo(float).eps


def symmetric(n, seed, dtype=float):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, n)) if dtype is float else rng.normal(size=(n, n)) + 1j * rng.normal(size=(n, n))
    return A + A.T


def quiet(function, *arguments, **options):
    """A peer's answer, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


# ---------------------------------------------------------------- thewalrus: values


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float32, np.float64, np.complex64, np.complex128])
def test_every_number_type_is_taken_and_only_complex_gives_complex(dtype):
    A = np.ones((8, 8), dtype=dtype)
    for value, expected in ((thewalrus.hafnian(A), 105), (thewalrus.hafnian(A, loop=True), 764), (thewalrus.loop_hafnian(A), 764),
                            (thewalrus.hafnian_repeated(A[:2, :2], [4, 4]), 105), (thewalrus.low_rank_hafnian(A[:, :1]), 105)):  # fmt: skip
        assert value == expected
        assert type(value) is (complex if np.dtype(dtype).kind == "c" else float)
    assert thewalrus.hafnian_batched(A[:2, :2], 3).dtype == (np.complex128 if np.dtype(dtype).kind == "c" else np.float64)


@pytest.mark.parametrize("case", VALUES["random_integer"] + VALUES["odd_loop"], ids=lambda case: f"n={case['n']}")
def test_the_diagonal_is_the_loop_weight(case):
    A, mu = np.array(case["A"]), np.array(case["mu"])
    looped = A.copy()
    np.fill_diagonal(looped, mu)
    assert thewalrus.hafnian(looped, loop=True) == thewalrus.loop_hafnian(looped) == int(case["lhaf"])
    assert thewalrus.loop_hafnian(A, mu) == int(case["lhaf"])
    assert thewalrus.hafnian(A) == int(case.get("haf", 0))


@pytest.mark.parametrize("case", VALUES["repeated"], ids=lambda case: str(case["rpt"]))
def test_repeats_use_the_diagonal_between_copies_and_mu_for_loops(case):
    A, rpt, mu = np.array(case["A"]), case["rpt"], np.array(case["mu"])
    assert thewalrus.hafnian_repeated(A, rpt) == thewalrus.hafnian_repeated(A, rpt, mu=mu) == int(case["haf"])
    assert thewalrus.hafnian_repeated(A, rpt, mu=mu, loop=True) == thewalrus.loop_hafnian(A, mu, rpt) == int(case["lhaf"])
    expanded = thewalrus.reduction(A, rpt)
    assert thewalrus.hafnian(expanded) == int(case["haf"])
    np.fill_diagonal(expanded, thewalrus.reduction(mu, rpt))
    assert thewalrus.hafnian(expanded, loop=True) == int(case["lhaf"])


def test_without_mu_the_diagonal_of_the_matrix_weighs_the_loops_of_repeats():
    A = symmetric(3, 0)
    assert thewalrus.hafnian_repeated(A, [2, 0, 3], loop=True) == thewalrus.hafnian_repeated(A, [2, 0, 3], mu=A.diagonal(), loop=True)
    assert thewalrus.loop_hafnian(A, reps=[2, 0, 3]) == thewalrus.hafnian_repeated(A, [2, 0, 3], loop=True)


def test_counts_may_be_whole_floats_and_any_integer_type():
    A = symmetric(3, 1)
    expected = thewalrus.hafnian_repeated(A, [2, 1, 1])
    for rpt in ([2.0, 1.0, 1.0], (2, 1, 1), np.array([2, 1, 1], dtype=np.uint8), np.array([2, 1, 1], dtype=np.int32)):
        assert thewalrus.hafnian_repeated(A, rpt) == expected


def test_nothing_is_one_and_odd_is_zero():
    empty = np.zeros((0, 0))
    assert thewalrus.hafnian(empty) == thewalrus.hafnian(empty, loop=True) == thewalrus.loop_hafnian(empty) == 1
    assert thewalrus.hafnian_repeated(empty, []) == thewalrus.hafnian_repeated(symmetric(2, 0), [0, 0]) == 1
    assert thewalrus.low_rank_hafnian(np.zeros((0, 2))) == 1
    assert thewalrus.hafnian_batched(empty, 4).tolist() == 1.0
    assert thewalrus.hafnian(symmetric(3, 0)) == thewalrus.hafnian_repeated(symmetric(2, 0), [2, 1]) == thewalrus.low_rank_hafnian(np.ones((3, 2))) == 0
    assert thewalrus.low_rank_hafnian(np.zeros((2, 0))) == 0
    assert thewalrus.hafnian(np.array([[3.0]]), loop=True) == 3


def test_a_complex_mean_makes_the_result_complex():
    A, mu = symmetric(3, 2), np.array([1j, 0.5, -1.0])
    value = thewalrus.hafnian_repeated(A, [1, 1, 1], mu=mu, loop=True)
    assert value == pytest.approx(mu.prod() + mu[0] * A[1, 2] + mu[1] * A[0, 2] + mu[2] * A[0, 1], rel=8 * EPS)
    assert thewalrus.loop_hafnian(A + 0j, mu.imag) == thewalrus.loop_hafnian(A, mu.imag)


# ---------------------------------------------------------------- thewalrus: what is no failure there and a wrong number


@pytest.mark.parametrize("case", VALUES["one_large_entry"], ids=lambda case: f"n={case['n']}-M={case['M']}-({case['i']},{case['j']})")
def test_one_large_entry_does_not_drown_the_others(case):
    A = np.ones((case["n"], case["n"]))
    A[case["i"], case["j"]] = A[case["j"], case["i"]] = float(case["M"])
    exact = int(case["haf"])
    assert abs(thewalrus.hafnian(A) - exact) <= (0 if exact < 2**53 else 1e-14 * exact)


def test_small_numbers_are_numbers():
    assert thewalrus.hafnian(2.0**-40 * np.ones((8, 8))) == 105 * 2.0**-160
    assert thewalrus.hafnian(np.ones((8, 8)) - np.diag(np.full(8, 1e-9)), loop=True) == pytest.approx(764, rel=1e-8)


def test_rounding_is_averaged_out_and_asymmetry_is_refused_at_every_scale():
    A = symmetric(4, 3)
    for scale in (1.0, 1e-200, 1e150):
        tilted = scale * A
        tilted[0, 1] *= 1 + 1e-7
        assert thewalrus.hafnian(tilted) == pytest.approx(thewalrus.hafnian((tilted + tilted.T) / 2), rel=4 * EPS)
        with pytest.raises(ArgumentError, match="not symmetric"):
            thewalrus.hafnian(tilted, rtol=1e-12, atol=1e-12)
        tilted[0, 1] *= 1.1
        with pytest.raises(ArgumentError, match="not symmetric"):
            thewalrus.hafnian(tilted)
    with pytest.raises(ArgumentError, match="without conjugation"):
        thewalrus.hafnian(np.array([[0, 1j], [-1j, 0]]))


# ---------------------------------------------------------------- thewalrus: all repeats below a cutoff


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("n, cutoff", [(1, 7), (2, 5), (3, 4), (4, 3)])
@pytest.mark.parametrize("mean", [False, True])
def test_the_box_holds_the_hafnian_of_every_repetition(n, cutoff, dtype, mean):
    A = symmetric(n, 4, dtype)
    mu = symmetric(n, 5, dtype)[0] if mean else None
    box = thewalrus.hafnian_batched(A, cutoff, mu=mu)
    assert box.shape == (cutoff,) * n and box.dtype == dtype
    assert np.array_equal(thewalrus.hafnian_batched(A, cutoff, mu=mu, make_tensor=False), box.ravel())
    normed = thewalrus.hafnian_batched(A, cutoff, mu=mu, renorm=True)
    size = thewalrus.hafnian_batched(abs(A), cutoff, mu=abs(mu) if mean else None)
    for k in itertools.product(range(cutoff), repeat=n):
        exact = thewalrus.hafnian_repeated(A, k, mu=mu, loop=mean)
        allowed = 4 * n * cutoff * EPS * size[k]  # n additions a step, cutoff steps, complex products
        norm = math.sqrt(math.prod(map(math.factorial, k)))
        assert abs(box[k] - exact) <= allowed and abs(normed[k] - exact / norm) <= allowed / norm


def test_a_mean_needs_no_inverse():
    box = thewalrus.hafnian_batched(np.ones((2, 2)), 5, mu=np.array([1, 1]))
    involutions = [1, *(int(VALUES["ones_loop"][str(n)]) for n in range(1, 9))]
    assert all(box[i, j] == involutions[i + j] for i in range(5) for j in range(5))


def test_renormalised_boxes_reach_cutoffs_whose_hafnians_overflow():
    box = thewalrus.hafnian_batched(np.array([[1.0]]), 601, renorm=True)
    n = np.arange(0, 601, 2)
    logs = np.array([0.5 * math.lgamma(k + 1) - (k / 2) * math.log(2) - math.lgamma(k / 2 + 1) for k in n])  # (n-1)!! / sqrt(n!)
    assert np.allclose(box[::2], np.exp(logs), rtol=1e-11, atol=0) and not box[1::2].any()  # lgamma near 1400 has 1e-13 absolute
    with pytest.raises(ArgumentError, match="renorm=True"):
        thewalrus.hafnian_batched(np.array([[1.0]]), 601)


@pytest.mark.parametrize("cutoff, error", [(0, ArgumentError), (-1, ArgumentError), (2.5, TypeError)])
def test_cutoffs_are_positive_whole_numbers(cutoff, error):
    with pytest.raises(error):
        thewalrus.hafnian_batched(np.ones((2, 2)), cutoff)


def test_boxes_beyond_memory_are_refused_before_they_are_asked_for():
    with pytest.raises(ArgumentError, match="bytes"):
        thewalrus.hafnian_batched(np.ones((40, 40)), 10)
    with pytest.raises(ArgumentError, match="bytes"):
        thewalrus.hafnian_batched(np.ones((2, 2)), 10**30)


# ---------------------------------------------------------------- thewalrus: reduction, low rank, estimates


def test_reduction_repeats_rows_and_columns_of_any_dtype():
    A = np.arange(9).reshape(3, 3)
    assert thewalrus.reduction(A, [2, 0, 1]).tolist() == [[0, 0, 2], [0, 0, 2], [6, 6, 8]]
    assert thewalrus.reduction(np.array(["a", "b"]), (0, 2)).tolist() == ["b", "b"]
    assert thewalrus.reduction(A, [0, 0, 0]).shape == (0, 0)
    for bad in ([1, 1], [1, 1, 1, 1], [[1, 1, 1]]):
        with pytest.raises(ShapeError):
            thewalrus.reduction(A, bad)
    for bad in ([1, -1, 1], [1, 0.5, 1], [1, math.nan, 1], [1, math.inf, 1], ["a", 1, 1]):
        with pytest.raises(ArgumentError, match="non-negative whole numbers"):
            thewalrus.reduction(A, bad)
    with pytest.raises(ShapeError):
        thewalrus.reduction(np.ones((2, 3)), [1, 1])


def rank_two_exactly(G):
    """haf(G G^T) from the coefficients of prod_i (G_i0 x + G_i1 y), in whole numbers of 2^-100."""
    coefficients = [1]
    for a, b in ((int(Fraction(a) * 2**100), int(Fraction(b) * 2**100)) for a, b in G.tolist()):
        rising = [0, *(a * c for c in coefficients)]
        coefficients = [p + b * q for p, q in zip(rising, [*coefficients, 0], strict=True)]
    odd = [math.prod(range(1, k, 2)) for k in range(len(G) + 1)]
    return Fraction(sum(coefficients[k] * odd[k] * odd[len(G) - k] for k in range(0, len(G) + 1, 2)), 2 ** (100 * len(G)))


@pytest.mark.parametrize("n", [2, 10, 18, 40, 100, 300])
def test_rank_two_is_right_to_the_last_digits_where_the_terms_cancel(n):
    G = np.random.default_rng(n).normal(size=(n, 2)) * 2.0 ** -(n // 60)
    exact = float(rank_two_exactly(G))
    assert thewalrus.low_rank_hafnian(G) == pytest.approx(exact, rel=1e-12)  # n eps, and what the average over the circle cancels


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("n, r", [(2, 5), (14, 4), (18, 1), (18, 2), (20, 3), (22, 4), (18, 5)])
def test_low_rank_agrees_with_the_hafnian_of_the_product(n, r, dtype):
    rng = np.random.default_rng(100 * n + r)
    G = rng.normal(size=(n, r)) + (1j * rng.normal(size=(n, r)) if dtype is complex else 0)
    scale = thewalrus.hafnian(abs(G) @ abs(G).T)
    value = thewalrus.low_rank_hafnian(G)
    assert abs(value - thewalrus.hafnian(G @ G.T)) <= 4 * n * EPS * scale and type(value) is dtype


def test_rank_one_is_a_product():
    v = np.array(VALUES["rank_one"]["v"])
    assert thewalrus.low_rank_hafnian(v[:, np.newaxis]) == int(VALUES["rank_one"]["haf"])
    assert thewalrus.low_rank_hafnian(np.ones((30, 1))) == pytest.approx(int(VALUES["ones"]["30"]), rel=30 * EPS)


def test_powers_of_two_pass_through_low_rank_exactly():
    G = np.random.default_rng(0).normal(size=(20, 2))
    scales = np.array([2.0**500, 2.0**-500] * 10)
    assert thewalrus.low_rank_hafnian(scales[:, np.newaxis] * G) == thewalrus.low_rank_hafnian(G)
    with pytest.warns(NNQFTWarning, match="exceeds the range"):
        assert math.isinf(thewalrus.low_rank_hafnian(2.0**500 * G))


@pytest.mark.parametrize("shape", [(400, 10), (1002, 3), (200, 4000)])
def test_ranks_out_of_reach_are_refused(shape):
    with pytest.raises(ArgumentError, match="out of reach"):
        thewalrus.low_rank_hafnian(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("loop", [False, True])
def test_estimates_are_unbiased(loop):
    A = abs(symmetric(4, 6))
    pairs = list(itertools.combinations(range(4), 2))
    determinants = []
    for signs in itertools.product((-1, 1), repeat=6):
        W = np.diag(A.diagonal()) if loop else np.zeros((4, 4))
        for (i, j), sign in zip(pairs, signs, strict=True):
            W[i, j], W[j, i] = sign * math.sqrt(A[i, j]), -sign * math.sqrt(A[i, j])
        determinants.append(np.linalg.det(W))
    exact = thewalrus.hafnian(A, loop=loop)
    assert np.mean(determinants) == pytest.approx(exact, rel=1e-12)
    n = 40_000
    estimate = thewalrus.hafnian(A, loop=loop, approx=True, num_samples=n)
    stderr = np.std(determinants) / math.sqrt(n)
    assert abs(estimate - exact) < 4.5 * stderr < 0.05 * exact  # fails for 7 signs in a million
    assert estimate == thewalrus.hafnian(A, loop=loop, approx=True, num_samples=n)


def test_estimates_are_for_matrices_without_negative_entries():
    for A in (-np.ones((4, 4)), 1j * np.ones((4, 4))):
        with pytest.raises(ArgumentError, match="without negative entries"):
            thewalrus.hafnian(A, approx=True)
    with pytest.raises(ArgumentError, match="num_samples"):
        thewalrus.hafnian(np.ones((4, 4)), approx=True, num_samples=0)
    assert thewalrus.hafnian(np.ones((3, 3)), approx=True) == 0 and thewalrus.hafnian(np.zeros((0, 0)), approx=True) == 1


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("A", [np.ones((2, 3)), np.ones(4), np.ones((2, 2, 2)), np.array([["a", "b"], ["b", "a"]]), np.ones((2, 2), dtype=object),
                               np.ones((2, 2), dtype=np.longdouble), 3.0])  # fmt: skip
def test_what_is_no_matrix_of_numbers_is_refused(A):
    for function in (thewalrus.hafnian, thewalrus.loop_hafnian, lambda A: thewalrus.hafnian(A, loop=True), lambda A: thewalrus.hafnian_batched(A, 2),
                     lambda A: thewalrus.hafnian_repeated(A, [1, 1]), lambda A: piquasso.hafnian_with_reduction(A, [1, 1])):  # fmt: skip
        with pytest.raises(ShapeError):
            function(A)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(value):
    A = np.ones((4, 4))
    A[0, 1] = A[1, 0] = value
    for call in (lambda: thewalrus.hafnian(A), lambda: thewalrus.low_rank_hafnian(A), lambda: thewalrus.hafnian_batched(A, 2),
                 lambda: thewalrus.loop_hafnian(np.ones((4, 4)), A[0]), lambda: piquasso.hafnian_with_reduction(A, np.ones(4, int))):  # fmt: skip
        with pytest.raises(ArgumentError, match="not finite"):
            call()


def test_lengths_and_counts_must_fit():
    A = np.ones((3, 3))
    for call in (lambda: thewalrus.hafnian_repeated(A, [1, 1]), lambda: thewalrus.hafnian_repeated(A, [1, 1, 1], mu=[1, 2], loop=True),
                 lambda: thewalrus.loop_hafnian(A, [1.0]), lambda: thewalrus.hafnian_batched(A, 2, mu=[1.0]), lambda: thewalrus.low_rank_hafnian([1.0, 2.0]),
                 lambda: piquasso.hafnian_with_reduction(A, [1, 1]), lambda: piquasso.loop_hafnian_with_reduction(A, [1.0], [1, 1, 1])):  # fmt: skip
        with pytest.raises(ShapeError):
            call()
    for bad in ([1, -1, 1], [0.5, 1, 1], [2**40, 1, 1], [2**63, 1, 1]):
        for call in (thewalrus.hafnian_repeated, piquasso.hafnian_with_reduction):
            with pytest.raises(ArgumentError):
                call(A, bad)


# ---------------------------------------------------------------- piquasso: values


@pytest.mark.parametrize("case", VALUES["repeated"], ids=lambda case: str(case["rpt"]))
def test_occupation_numbers_are_repeats(case):
    A, mu, occupation = np.array(case["A"], dtype=float), np.array(case["mu"], dtype=float), np.array(case["rpt"])
    for dtype in (float, complex):
        assert piquasso.hafnian_with_reduction(A.astype(dtype), occupation) == int(case["haf"])
        assert piquasso.loop_hafnian_with_reduction(A.astype(dtype), mu.astype(dtype), occupation) == int(case["lhaf"])


@pytest.mark.parametrize("dtype", [float, complex])
def test_batches_add_photons_to_the_last_mode(dtype):
    A, mu, occupation = symmetric(3, 7, dtype), symmetric(3, 8)[0], np.array([2, 1, 3])
    plain = piquasso.hafnian_with_reduction_batch(A, occupation, 5)
    looped = piquasso.loop_hafnian_with_reduction_batch(A, mu, occupation, 5)
    assert occupation.tolist() == [2, 1, 3] and plain.dtype == looped.dtype == dtype
    for more in range(5):
        assert plain[more] == piquasso.hafnian_with_reduction(A, [2, 1, 3 + more])
        assert looped[more] == piquasso.loop_hafnian_with_reduction(A, mu, [2, 1, 3 + more])


@pytest.mark.parametrize("modes, cutoff", [(3, 0), (3, -2), (0, 2)])
def test_batches_need_a_mode_and_a_cutoff(modes, cutoff):
    with pytest.raises(ArgumentError, match="at least 1 of each"):
        piquasso.hafnian_with_reduction_batch(np.ones((modes, modes)), np.zeros(modes, int), cutoff)


def test_rows_of_nothing_but_rounding_do_not_count_as_asymmetric():
    """The matrix of a state with a mode in its vacuum comes from an inverse: that row is rounding."""
    A = symmetric(4, 9)
    A[3, :], A[:, 3] = 1e-17, -2e-17
    assert piquasso.hafnian_with_reduction(A, np.array([1, 1, 0, 0])) == A[0, 1]


# ---------------------------------------------------------------- the peers themselves


@pytest.fixture(scope="module")
def walrus():
    return quiet(pytest.importorskip, "thewalrus", reason="thewalrus is not installed")


@pytest.fixture(scope="module")
def pq():
    return quiet(pytest.importorskip, "piquasso", reason="piquasso is not installed")


@pytest.mark.parametrize("name", thewalrus.__all__)
def test_signatures_are_those_of_thewalrus(walrus, name):
    theirs = inspect.signature(getattr(walrus, name)).parameters.values()
    ours = inspect.signature(getattr(thewalrus, name)).parameters.values()
    assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs]


def structured():
    ring = np.roll(np.eye(12), 1, axis=0)
    yield "ring", ring + ring.T
    yield "complete bipartite", np.kron([[0, 1], [1, 0]], np.ones((6, 6)))
    yield "diagonal blocks", np.kron(np.eye(3), symmetric(4, 10))
    yield "band", np.triu(np.tril(symmetric(12, 11), 2), -2)
    yield "rank one", np.outer(np.arange(1.0, 13), np.arange(1.0, 13))
    for n in (2, 4, 6, 10, 14, 18):
        yield f"random {n}", symmetric(n, n)
        yield f"positive {n}", abs(symmetric(n, n))
        yield f"complex {n}", symmetric(n, n, complex)
    yield "integers", np.random.default_rng(0).integers(-3, 4, size=(10, 10)) * (1 - np.eye(10, dtype=int))


STRUCTURED = {name: (A + A.T) / 2 for name, A in structured()}


@pytest.mark.parametrize("A", STRUCTURED.values(), ids=STRUCTURED.keys())
def test_hafnians_are_those_of_thewalrus(walrus, A):
    size = thewalrus.hafnian(abs(A))
    assert abs(thewalrus.hafnian(A) - quiet(walrus.hafnian, A, method="recursive")) <= 1e-13 * size  # both subtract pairs only
    looped = thewalrus.hafnian(A, loop=True), quiet(walrus.hafnian, A, loop=True)
    assert abs(looped[0] - looped[1]) <= 1e-10 * thewalrus.hafnian(abs(A), loop=True)  # theirs goes through eigenvalues


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("rpt", [(2, 1, 1), (3, 0, 3), (1, 2, 2), (0, 0, 1), (4, 4, 4), (0, 0, 0)])
def test_repeated_hafnians_are_those_of_thewalrus(walrus, rpt, dtype):
    A, mu = symmetric(3, 12, dtype), symmetric(3, 13, dtype)[0]
    weight = thewalrus.hafnian_repeated(abs(A), rpt, mu=abs(mu), loop=True)
    for options in ({}, {"loop": True}, {"mu": mu, "loop": True}):
        scale = weight if "mu" in options else thewalrus.hafnian_repeated(abs(A), rpt, loop=True)
        assert abs(thewalrus.hafnian_repeated(A, rpt, **options) - quiet(walrus.hafnian_repeated, A, rpt, **options)) <= 1e-10 * scale
    assert abs(thewalrus.loop_hafnian(A, mu, rpt) - quiet(walrus.loop_hafnian, A, mu, np.array(rpt))) <= 1e-10 * weight


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("options", [{}, {"renorm": True}, {"make_tensor": False}, {"renorm": True, "make_tensor": False}])
def test_boxes_are_those_of_thewalrus(walrus, options, dtype):
    A = symmetric(3, 14, dtype)
    for mu in (None, symmetric(3, 15)[0]):
        ours, theirs = thewalrus.hafnian_batched(A, 4, mu=mu, **options), quiet(walrus.hafnian_batched, A, 4, mu=mu, **options)
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert np.allclose(ours, theirs, rtol=1e-10, atol=1e-10 * abs(theirs).max())  # theirs divides by A


def test_reductions_and_low_ranks_are_those_of_thewalrus(walrus):
    A = symmetric(3, 16)
    assert np.array_equal(thewalrus.reduction(A, (2, 0, 1)), walrus.reduction(A, (2, 0, 1)))
    for n, r in ((4, 1), (6, 2), (8, 3), (18, 2)):
        G = np.random.default_rng(n).normal(size=(n, r))
        scale = thewalrus.hafnian(abs(G) @ abs(G).T)  # theirs expands the polynomial
        assert abs(thewalrus.low_rank_hafnian(G) - quiet(walrus.low_rank_hafnian, G)) <= 1e-13 * scale
        assert abs(thewalrus.low_rank_hafnian(G * (1 + 1j)) - quiet(walrus.low_rank_hafnian, G * (1 + 1j))) <= 1e-13 * 2 ** (n / 2) * scale


@pytest.mark.parametrize("dtype", [float, complex])
@pytest.mark.parametrize("occupation", [(1, 1, 0), (2, 1, 1), (3, 2, 3), (0, 0, 0), (1, 0, 0)])
def test_reduced_hafnians_are_those_of_piquasso(pq, occupation, dtype):
    theirs = pytest.importorskip("piquasso._math.hafnian")
    A, mu, occupation = symmetric(3, 17, dtype), symmetric(3, 18, dtype)[0], np.array(occupation)
    scale = piquasso.loop_hafnian_with_reduction_batch(abs(A), abs(mu), occupation, 4)
    for name, arguments in (("hafnian_with_reduction", (A, occupation)), ("loop_hafnian_with_reduction", (A, mu, occupation)),
                            ("hafnian_with_reduction_batch", (A, occupation, 4)), ("loop_hafnian_with_reduction_batch", (A, mu, occupation, 4))):  # fmt: skip
        ours, reference = getattr(piquasso, name)(*arguments), getattr(theirs, name)(*arguments)
        assert np.shape(ours) == np.shape(reference) and np.result_type(ours) == np.result_type(reference)
        assert np.all(abs(ours - reference) <= 1e-10 * (scale if np.ndim(ours) else scale[0]))


def test_a_connector_hands_them_to_the_simulators_of_piquasso(pq):
    class Connector(pq.NumpyConnector):
        def hafnian(self, matrix, reduce_on):
            calls.append(tuple(reduce_on))
            return piquasso.hafnian_with_reduction(matrix, reduce_on)

        def loop_hafnian(self, matrix, diagonal, reduce_on):
            calls.append(tuple(reduce_on))
            return piquasso.loop_hafnian_with_reduction(matrix, diagonal, reduce_on)

        def loop_hafnian_batch(self, matrix, diagonal, reduce_on, cutoff):
            calls.append((*reduce_on, cutoff))
            return piquasso.loop_hafnian_with_reduction_batch(matrix, diagonal, reduce_on, cutoff)

    def program(displaced):
        with pq.Program() as result:
            pq.Q(0) | pq.Squeezing(r=0.4, phi=0.3)
            pq.Q(1) | pq.Squeezing(r=0.2)
            if displaced:
                pq.Q(2) | pq.Displacement(r=0.3, phi=0.7)
            pq.Q(0, 1) | pq.Beamsplitter(theta=0.7, phi=0.4)
            pq.Q(1, 2) | pq.Beamsplitter(theta=0.3, phi=1.1)
        return result

    def run(connector, displaced, measure=False):
        calculation = program(displaced)
        if measure:
            with calculation:
                pq.Q() | pq.ParticleNumberMeasurement()
        simulator = pq.GaussianSimulator(d=3, connector=connector, config=pq.Config(seed_sequence=5, measurement_cutoff=4))
        return quiet(simulator.execute, calculation, **({"shots": 40} if measure else {}))

    for displaced in (False, True):
        calls = []
        ours, theirs = run(Connector(), displaced).state, run(pq.NumpyConnector(), displaced).state
        for photons in ((0, 0, 0), (1, 1, 0), (2, 0, 2), (1, 2, 1), (3, 3, 2)):
            expected = theirs.get_particle_detection_probability(photons)
            assert ours.get_particle_detection_probability(photons) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert len(calls) == 5
    calls = []
    assert run(Connector(), True, measure=True).samples == run(pq.NumpyConnector(), True, measure=True).samples
    assert calls and all(call[-1] == 4 for call in calls)
