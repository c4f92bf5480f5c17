"""The tree of two quartic vertices: closed forms, products over axes, brute force on all pairs of nodes."""

from itertools import combinations

import numpy as np
import pytest
from nnqft.eft import tree_integral
from nnqft.networks import cos_net, erf_net, gauss_net, mlp, nngp, relu_net


def by_hand(net, points, cutoff, nodes=60):
    """Sum over splits of the double sum over Gauss-Legendre nodes of either half of the line."""
    node, weight = np.polynomial.legendre.leggauss(nodes)
    y = cutoff / 2 * np.concatenate([node - 1, node + 1])[:, None]
    weight = cutoff / 2 * np.tile(weight, 2)
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


@pytest.mark.parametrize("net", [erf_net(10, dim_in=1), mlp(1, 10, activation="gelu", sigma_b=1.0), gauss_net(10, dim_in=1)])
def test_smooth_kernels_equal_the_sum_over_all_pairs_of_nodes(net):
    x = np.array([[-0.7], [0.1], [1.3]])
    T = tree_integral(net, x, cutoff=2.5)
    for row in ([0, 0, 0, 0, 0, 0], [0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 2, 2]):
        np.testing.assert_allclose(T[tuple(row)].mean, by_hand(net, x[row], 2.5), rtol=1e-7)
        assert abs(T[tuple(row)].mean - by_hand(net, x[row], 2.5)) <= T[tuple(row)].stderr


@pytest.mark.parametrize("dim", [1, 2, 3])
def test_the_gaussian_tree_without_cutoff_is_the_limit_of_large_cutoffs(dim):
    x = np.random.default_rng(dim).normal(size=(3, dim))
    infinite = tree_integral(gauss_net(10, dim_in=dim, sigma_w=1.2), x)
    finite = tree_integral(cos_net(10, dim_in=dim, sigma_w=1.2), x, cutoff=30.0)
    assert not infinite.stderr.any() and finite.stderr.all()
    np.testing.assert_allclose(infinite.mean, finite.mean, rtol=1e-12)


def test_the_homogeneous_route_equals_a_kernel_with_little_bias():
    """1e-4 of bias changes legs by about its square, except near the origin, where they are small."""
    x = np.array([[1.0, 0.2], [0.3, -0.5]])
    homogeneous = tree_integral(relu_net(10, dim_in=2), x, cutoff=2.0, tolerance=1e-4)
    biased = tree_integral(relu_net(10, dim_in=2, sigma_b=1e-4), x, cutoff=2.0, tolerance=1e-4)
    assert homogeneous.how["method"] == "homogeneous" and biased.how["method"] == "quadrature"
    np.testing.assert_allclose(homogeneous.mean, biased.mean, rtol=1e-3)


def test_the_tree_scales_with_the_cutoff_as_its_degree_says():
    """Lambda^(2 (d + 4)) for relu without bias."""
    a, b = (tree_integral(relu_net(10, dim_in=2), [[1.0, 0.5]], cutoff=L).mean[0] for L in (1.0, 10.0))
    np.testing.assert_allclose(b / a, 1e12, rtol=1e-12)
