"""The tree of two quartic vertices: closed forms, products over axes, brute force on all pairs of nodes."""

from itertools import combinations

import numpy as np
import pytest
from nnqft.eft import tree_integral
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, nngp, relu_net


def by_hand(net, points, cutoff, nodes):
    """Sum over splits of the double sum over Gauss-Legendre nodes in either half of every axis."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    line, weight = cutoff / 2 * np.concatenate([node - 1, node + 1]), cutoff / 2 * np.tile(weight, 2)
    y = np.stack(np.meshgrid(*[line] * net.dim_in, indexing="ij"), axis=-1).reshape(-1, net.dim_in)
    weight = np.stack(np.meshgrid(*[weight] * net.dim_in, indexing="ij"), axis=-1).prod(axis=-1).ravel()
    legs, K = (nngp(net, a, y) - net.sigma_b**2 for a in (points, y))
    total = 0.0
    for rest in combinations(range(1, 6), 2):
        left = [0, *rest]
        right = [k for k in range(6) if k not in left]
        total += (weight * legs[left].prod(axis=0)) @ K @ (weight * legs[right].prod(axis=0))
    return total


def test_relu_in_one_dimension_is_the_sum_of_its_half_lines():
    """K_W = x y / 2 on the same side: each half line gives (prod x / 8)^2 / 2 (Lambda^5 / 5)^2 per split."""
    T = tree_integral(relu_net(10, dim_in=1), [[0.5], [2.0], [-1.0]], cutoff=3.0)
    np.testing.assert_allclose(T[0, 0, 1, 1, 1, 0].mean, 10 * (3.0**5 / 5) ** 2 / 2**7, rtol=1e-13)
    assert T[0, 0, 1, 1, 1, 2].mean == 0 and T.how["method"] == "closed"


@pytest.mark.parametrize(
    "net", [erf_net(10, dim_in=1), mlp(1, 10, activation="gelu", sigma_b=1.0), gauss_net(10, dim_in=1)]
)
def test_smooth_kernels_equal_the_sum_over_all_pairs_of_nodes(net):
    x = np.array([[-0.7], [0.1], [1.3]])
    T = tree_integral(net, x, cutoff=2.5)
    for row in ([0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 2, 2]):
        truth = by_hand(net, x[row], 2.5, 60)
        np.testing.assert_allclose(T[tuple(row)].mean, truth, rtol=1e-7)
        assert abs(T[tuple(row)].mean - truth) <= T[tuple(row)].stderr


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_gaussian_tree_without_cutoff_is_the_limit_of_large_cutoffs(dim):
    x = np.random.default_rng(dim).normal(size=(3, dim))
    infinite = tree_integral(gauss_net(10, dim_in=dim, sigma_w=1.2), x)
    finite = tree_integral(cos_net(10, dim_in=dim, sigma_w=1.2), x, cutoff=30.0)
    assert not infinite.stderr.any() and finite.stderr.all()
    np.testing.assert_allclose(infinite.mean, finite.mean, rtol=1e-12)


def test_trees_in_two_dimensions_equal_the_sum_over_all_pairs_of_nodes():
    """2e-3: what the rays on which the kernel of relu bends leave of a rule of 32 nodes per axis; erf is smooth."""
    x = np.array([[1.0, 0.2], [0.3, -0.5]])
    for net, rtol in ((relu_net(10, dim_in=2), 2e-3), (erf_net(10, dim_in=2), 1e-9)):
        T = tree_integral(net, x, cutoff=1.5)
        for row in ([0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1]):
            np.testing.assert_allclose(T[tuple(row)].mean, by_hand(net, x[row], 1.5, 16), rtol=rtol)


def test_the_tree_scales_with_the_cutoff_as_its_degree_says():
    """Lambda^(2 (d + 4)) for relu without bias."""
    a, b = (tree_integral(relu_net(10, dim_in=2), [[1.0, 0.5]], cutoff=L).mean[0] for L in (1.0, 10.0))
    np.testing.assert_allclose(b / a, 1e12, rtol=1e-12)


def test_the_tree_of_erf_at_the_origin_is_the_limit_of_finite_cutoffs():
    """K_W(0, y) falls off as 1 / |y|: what is missing at Lambda falls off as Lambda^-3, by 1000 from 100 to 1000."""
    net = erf_net(5, dim_in=1)
    T = tree_integral(net, [[0.0]])
    near, far = (tree_integral(net, [[0.0]], cutoff=L) for L in (1e2, 1e3))
    assert T.stderr[0] < 1e-8 * T.mean[0]
    missing = T.mean[0] - near.mean[0]
    assert abs(T.mean[0] - far.mean[0] - missing / 1e3) <= T.stderr[0] + far.stderr[0]
    assert 1e-7 < missing < 1e-6


def test_a_factor_of_the_weights_is_a_factor_of_the_tree():
    """sigma_w = 1e-10 is K_W / 1e40 at the same points: 1e-280, far below the square of any leg on the way."""
    a, b = (tree_integral(relu_net(10, dim_in=2, sigma_w=s), [[1.0, 0.5]], cutoff=2.0).mean[0] for s in (1.0, 1e-10))
    np.testing.assert_allclose(b, a * 1e-280, rtol=1e-12)
