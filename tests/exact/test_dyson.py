"""Limit laws of matrices with variance profiles: stored solutions, exact laws, moments, atoms, measured matrices."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.hessian import dyson_density

CASES = json.loads((Path(__file__).parents[1] / "data" / "lanczos.json").read_text())["qve"]


@pytest.mark.parametrize("name", CASES)
def test_stored_densities_and_moments_come_out(name):
    case = CASES[name]
    law = dyson_density(case["S"], case["x"], weights=case["w"], eta=case["eta"])
    np.testing.assert_allclose(law.pdf, case["pdf"], rtol=0, atol=1e-11)
    for j, moment in case["moments"].items():
        assert law.moment(int(j)) == pytest.approx(moment, rel=1e-14)
        assert law.moment(int(j) + 1) == 0


@pytest.mark.parametrize("name", CASES)
def test_densities_integrate_to_their_moments(name):
    case = CASES[name]
    radius = dyson_density(case["S"], [], weights=case["w"]).radius
    # x = r t^3: a density that diverges like |x|^(-1/3) at 0 becomes smooth there.
    t = np.linspace(-1, 1, 6001)[1:-1]
    law = dyson_density(case["S"], radius * t**3, weights=case["w"])
    mass = law.pdf * radius * 3 * t**2 * (t[1] - t[0])
    assert mass.sum() + law.atom == pytest.approx(1, abs=2e-4)  # square-root edges on a grid of 1/3000
    for j in (2, 4, 6):
        assert (mass * law.x**j).sum() == pytest.approx(law.moment(j), rel=1e-3)


def test_wigners_semicircle_is_exact_up_to_its_edges():
    x = np.linspace(-2.5, 2.5, 998)  # not the edges themselves
    law = dyson_density([[1.0]], x)
    np.testing.assert_allclose(law.pdf, np.sqrt(np.maximum(4 - x * x, 0)) / (2 * np.pi), atol=1e-12)
    near = 2 + np.array([-1e-8, -1e-10, 0.0, 1e-10])
    # Merging solutions: an error of the square root of 1e-11, over pi.
    np.testing.assert_allclose(
        dyson_density([[1.0]], near).pdf, np.sqrt(np.maximum(4 - near**2, 0)) / (2 * np.pi), atol=2e-6
    )
    assert np.asarray(law).tolist() == law.pdf.tolist()


@pytest.mark.parametrize("c", [1.0, 0.5, 0.1])
def test_two_blocks_give_marchenko_and_pastur_and_the_kernel_of_a_rectangle(c):
    # [[0, X], [X^T, 0]], X of shape (p, q) with p / q = c and entries of variance 1 / q: +- the singular values of X, and |q - p| zeros.
    w = np.array([c, 1.0]) / (1 + c)
    S = np.array([[0.0, 1 + c], [1 + c, 0.0]])
    low, high = (1 - np.sqrt(c)) ** 2, (1 + np.sqrt(c)) ** 2
    s = np.linspace(-1.1, 1.1, 402) * np.sqrt(high)
    law = dyson_density(S, s, weights=w)
    inside = np.sqrt(np.maximum((high - s**2) * (s**2 - low), 0)) / (2 * np.pi * c * s**2)  # law of s^2, shape (p, p)
    exact = inside * abs(s) * 2 * w[0]
    np.testing.assert_allclose(law.pdf, exact, atol=1e-9)
    assert law.atom == pytest.approx((1 - c) / (1 + c), abs=1e-9)
    np.testing.assert_allclose(law.block_atoms, [0, 1 - c], atol=1e-9)


def test_a_cube_root_cusp_at_zero_is_followed():
    # One zero diagonal block beside a full one: -1/m_2 = z + m_1/2, ..; m ~ z^(-1/3), density ~ |x|^(-1/3).
    x = 10.0 ** np.arange(-6, -2)
    law = dyson_density([[1.0, 1.0], [1.0, 0.0]], x, weights=[0.5, 0.5])
    slope = np.diff(np.log(law.block_pdf[:, 1])) / np.diff(np.log(x))
    np.testing.assert_allclose(slope, -1 / 3, atol=0.02)
    assert law.atom == 0


def test_units_and_the_refinement_of_blocks_change_nothing():
    case = CASES["three_layer_zero_diag"]
    S, w, x = np.array(case["S"]), np.array(case["w"]), np.linspace(-2, 2, 80)
    law = dyson_density(S, x, weights=w)
    for c in (1e-12, 1e-3, 1e9):
        scaled = dyson_density(S * c**2, x * c, weights=3 * w)
        np.testing.assert_allclose(scaled.pdf * c, law.pdf, rtol=1e-8, atol=1e-10)
    # Every block cut in two equal halves is the same matrix.
    halves = dyson_density(np.kron(S, np.ones((2, 2))), x, weights=np.repeat(w, 2) / 2)
    np.testing.assert_allclose(halves.pdf, law.pdf, atol=1e-9)
    np.testing.assert_allclose(halves.block_pdf[:, ::2], law.block_pdf, atol=1e-9)


def test_a_sampled_matrix_follows_its_law():
    case, n = CASES["three_layer_zero_diag"], 1000
    block = np.repeat(np.arange(3), (np.array(case["w"]) * n).astype(int))
    G = np.random.default_rng(1).normal(size=(n, n))
    H = np.triu(G * np.sqrt(np.array(case["S"])[np.ix_(block, block)] / n), 1)
    values = np.linalg.eigvalsh(H + H.T)
    edges = np.linspace(-2.2, 2.2, 23)
    fine = (edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(40) + 0.5) / 40).ravel()
    law = dyson_density(case["S"], fine, weights=case["w"]).pdf.reshape(22, 40).mean(axis=1) * np.diff(edges)
    counts = np.histogram(values, edges)[0]
    # Eigenvalues repel: counts of an interval scatter by about one; the grid's integral and 1/n corrections add three.
    assert abs(counts - n * law).max() < 6


def test_bipartite_matrices_have_the_predicted_kernel():
    n = 400
    law = dyson_density(CASES["bipartite_1_3"]["S"], [0.0, 1e-9], weights=[1.0, 3.0])
    X = np.random.default_rng(2).normal(size=(100, 300)) / np.sqrt(n)
    H = np.block([[np.zeros((100, 100)), X], [X.T, np.zeros((300, 300))]])
    assert np.count_nonzero(abs(np.linalg.eigvalsh(H)) < 1e-9) == pytest.approx(n * law.atom, abs=1e-3)
    assert law.pdf.tolist() == [0, 0]  # a gap surrounds the atom


@pytest.mark.parametrize(("S", "options", "error", "message"), [
    ([[1.0, 2.0]], {}, ShapeError, r"shape \(1, 2\)"),
    (np.zeros((0, 0)), {}, ShapeError, "square"),
    ([[0.0]], {}, ArgumentError, "not zero throughout"),
    ([[-1.0]], {}, ArgumentError, "not negative"),
    ([[np.nan]], {}, ArgumentError, "finite"),
    ([[1.0, 2.0], [1.0, 1.0]], {}, ArgumentError, "symmetric"),
    ([[1.0]], {"weights": [1.0, 2.0]}, ShapeError, r"expected \(1,\)"),
    ([[1.0]], {"weights": [0.0]}, ArgumentError, "positive"),
    ([[1.0]], {"eta": -1.0}, ArgumentError, "eta must be"),
    ([[1.0]], {"eta": np.nan}, ArgumentError, "eta must be"),
])  # fmt: skip
def test_senseless_profiles_are_refused(S, options, error, message):
    with pytest.raises(error, match=message):
        dyson_density(S, [0.0], **options)
    with pytest.raises(ArgumentError, match="grid must be finite"):
        dyson_density([[1.0]], [np.inf])


def test_grids_of_any_shape_and_unconnected_blocks_are_taken():
    law = dyson_density([[1.0, 0.0], [0.0, 0.0]], np.full((2, 3), 0.5), weights=[1.0, 3.0])
    assert law.pdf.shape == (2, 3) and law.block_pdf.shape == (2, 3, 2)
    assert law.atom == pytest.approx(0.75)  # rows of zeros
    assert law.pdf[0, 0] == pytest.approx(np.sqrt(1 / 4 * 4 - 0.25) / (2 * np.pi / 4) / 4)
    assert dyson_density([[1.0]], 0.0).pdf == pytest.approx(1 / np.pi)
    assert dyson_density([[1.0]], []).pdf.shape == (0,)
