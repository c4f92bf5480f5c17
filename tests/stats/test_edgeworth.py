"""Edgeworth densities against histograms of networks, and errors of couplings against repeated runs."""

import numpy as np
import pytest
from scipy import stats

from nnqft import eft
from nnqft.ensemble import correlators, exact_correlators, outputs
from nnqft.errors import NNQFTWarning
from nnqft.networks import erf_net, relu_net
from nnqft.tensor import SymmetricTensor


def chi2(counts, probability):
    expected = counts.sum() * probability
    assert expected.min() > 4  # few such bins: chi^2 keeps its law
    return float(((counts - expected) ** 2 / expected).sum())


def test_histogram_of_one_output_follows_the_second_order_density():
    net, n_nets = relu_net(60, dim_in=1), 1_000_000
    G = exact_correlators(net, [[1.0]], orders=(2, 4, 6))
    f = np.asarray(outputs(net, np.array([[1.0]]), stop=n_nets, seed=5)).ravel()
    sigma = np.sqrt(G.full(2).mean[0])
    edges = sigma * np.concatenate([[-np.inf], np.linspace(-4.4, 4.4, 45), [np.inf]])
    counts = np.histogram(f, edges)[0]
    gauss, first, second = (
        chi2(counts, np.diff(cdf(edges)))
        for cdf in (
            stats.norm(scale=sigma).cdf,
            eft.edgeworth_density(G, order=1).cdf,
            eft.edgeworth_density(G, order=2).cdf,
        )
    )
    # 45 degrees of freedom. Of the root mean square 0.013 of the terms in 1/N^2 a third sits in these bins, adding 45
    # to chi^2 where it is missing; terms in 1/N^3 are ten times smaller and add less than 2.
    assert second < stats.chi2(45).isf(1e-4)
    assert first > second + 25
    assert gauss > 1000


def test_histogram_of_two_outputs_follows_the_density():
    net, n_nets, x = erf_net(30, dim_in=1), 1_000_000, np.array([[0.3], [1.5]])
    p = eft.edgeworth_density(exact_correlators(net, x, orders=(2, 4, 6)))
    f = np.asarray(outputs(net, x, stop=n_nets, seed=2)).reshape(-1, 2).astype(np.float64)
    z = f @ p.inverse.whiten.T
    edges = np.linspace(-3.2, 3.2, 17)
    counts = np.histogram2d(z[:, 0], z[:, 1], (edges, edges))[0].ravel()
    node, weight = np.polynomial.legendre.leggauss(5)
    half = (edges[1] - edges[0]) / 2
    axis = (((edges[:-1] + edges[1:]) / 2)[:, None] + half * node).ravel()
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    cells = lambda values: np.einsum("aibj,i,j->ab", values.reshape(16, 5, 16, 5), weight * half, weight * half).ravel()
    at = grid @ p.inverse.color.T
    volume = np.sqrt(np.prod(p.inverse.eigenvalues))
    edgeworth, gauss = cells(p.pdf(at) * volume), cells(p.gaussian(at) * volume)
    assert (edgeworth > 0).all()
    use = n_nets * gauss > 20  # the corners are empty
    counts = np.append(counts[use], n_nets - counts[use].sum())
    full = [np.append(q[use], 1 - q[use].sum()) for q in (edgeworth, gauss)]
    dof = len(counts) - 1
    assert chi2(counts, full[0]) < stats.chi2(dof).isf(1e-4)
    assert chi2(counts, full[1]) > dof + 500


def test_couplings_from_independent_runs_scatter_as_their_errors_say():
    # 24 runs of 20000 networks; sum of squared pulls over runs, one coupling of each kind. The error itself is known to
    # 9 % (64 replicas), which widens chi^2 by 2 %: the bounds have failure probability 1e-3 for both sides together.
    net, x, n_runs = erf_net(30, dim_in=1), np.array([[0.4], [1.4]]), 24
    exact = eft.action_couplings(exact_correlators(net, x, orders=(2, 4, 6)))
    pulls = {}
    for run in range(n_runs):
        C = correlators(net, x, orders=(2, 4, 6), n_nets=20_480, estimator="gram", seed=100 + run)
        g = eft.action_couplings(C)
        for name, row in (("g2", (0, 1)), ("g4", (0, 0, 1, 1)), ("g4", (1, 1, 1, 1)), ("g6", (0, 0, 0, 1, 1, 1))):
            a, b = getattr(g, name)[row], getattr(exact, name)[row]
            assert 0 < a.stderr < 0.5 * abs(b.mean)
            pulls.setdefault((name, row), []).append((a.mean - b.mean) / a.stderr)
    low, high = stats.chi2(n_runs).ppf([2e-4, 1 - 2e-4])
    for key, z in pulls.items():
        assert 0.9 * low < np.sum(np.square(z)) < 1.1 * high, key


def test_error_of_the_density_covers_the_exact_density():
    net, x = erf_net(30, dim_in=1), np.array([[0.4], [1.4]])
    exact = eft.edgeworth_density(exact_correlators(net, x, orders=(2, 4, 6)))
    f = np.random.default_rng(0).standard_normal((6, 2)) @ exact.inverse.color.T
    pulls = []
    for seed in range(6):
        p = eft.edgeworth_density(correlators(net, x, orders=(2, 4, 6), n_nets=20_480, estimator="gram", seed=seed))
        error = p.stderr(f)
        assert (0 < error).all() and (error < 0.05 * exact.pdf(f)).all()
        pulls.append((p.pdf(f) - exact.pdf(f)) / error)
        assert p.marginal([1]).stderr(f[:2, 1:]).shape == (2,)
    # 36 pulls: largest below 4.5 but for 2.5e-4.
    assert abs(np.array(pulls)).max() < 4.5 and 0.3 < np.mean(np.square(pulls)) < 2.5


def test_exact_kernel_takes_the_noise_of_the_two_point_function_away():
    C = correlators(erf_net(30, dim_in=1), [[0.4], [1.4]], orders=(2, 4, 6), n_nets=20_480, estimator="direct", seed=1)
    measured, exact = (eft.edgeworth_density(C, order=1, two_point=t) for t in ("measured", "exact"))
    f = np.array([[0.2, 0.3]])
    assert exact.stderr(f) < measured.stderr(f)
    kernel = exact_correlators(erf_net(30, dim_in=1), [[0.4], [1.4]], orders=(2,)).full(2).dense()
    np.testing.assert_allclose(np.linalg.inv(exact.inverse.matrix), kernel, rtol=1e-9)
    # With the kernel known the density is linear in G4c; z^4 - 6 z^2 + 3 at z^2 = 1.
    K, G4 = exact.marginal([1]).inverse.eigenvalues[0], C.connected(4)[1, 1, 1, 1]
    f = np.sqrt([[K]])
    assert exact.marginal([1]).stderr(f)[0] == pytest.approx(
        2 / 24 * G4.stderr / K**2 * np.exp(-0.5) / np.sqrt(2 * np.pi * K), rel=1e-9
    )
    # And so is g4: amputated errors.
    C = correlators(erf_net(30, dim_in=1), [[1.4]], orders=(2, 4), n_nets=20_480, estimator="direct", seed=1)
    g = eft.action_couplings(C, two_point="exact")
    assert g.g4.stderr[0] == pytest.approx(C.connected(4).stderr[0] / 24 / C.gp(2).mean[0] ** 4, rel=1e-9)
    assert g.g4.mean[0] == pytest.approx(-C.connected(4).mean[0] / 24 / C.gp(2).mean[0] ** 4, rel=1e-9)


def test_locality_of_measured_correlators_has_a_covering_error():
    x = np.array([[-1.5], [0.0], [1.5]])
    net = erf_net(30, dim_in=1)
    exact = eft.locality(exact_correlators(net, x, orders=(2, 4)), x=x)
    z = []
    for seed in range(8):
        C = correlators(net, x, orders=(2, 4), n_nets=20_480, estimator="gram", seed=seed)
        for measured in (eft.locality(C, x=x), eft.locality(C, C.connected(2), x=x)):
            assert 0 < measured.off_diagonal.stderr < 0.1
        z.append(
            (eft.locality(C, x=x).off_diagonal.mean - exact.off_diagonal.mean) / eft.locality(C).off_diagonal.stderr
        )
    assert abs(np.array(z)).max() < 4.5 and np.mean(np.square(z)) > 0.1
    couplings = eft.action_couplings(correlators(net, x, orders=(2, 4, 6), n_nets=20_480, estimator="gram"))
    assert eft.locality(couplings).off_diagonal.stderr > 0


def test_tensors_with_errors_give_upper_bounds_and_a_warning():
    C = correlators(erf_net(30, dim_in=1), [[0.4], [1.4]], orders=(2, 4, 6), n_nets=20_480, estimator="gram", seed=1)
    tensors = [C.connected(n) for n in (2, 4, 6)]
    right = eft.action_couplings(C)
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        bound = eft.action_couplings(*tensors)
    for name in ("g2", "g4", "g6"):
        ratio = getattr(bound, name).stderr / getattr(right, name).stderr
        assert (ratio > 0.9).all() and (ratio < 100).all()  # 0.9: the jackknife knows its error to 9 %
    f = np.array([[0.1, 0.5], [1.0, -1.0]])
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        p = eft.edgeworth_density(*tensors)
    assert (p.stderr(f) > 0.9 * eft.edgeworth_density(C).stderr(f)).all()
    assert (p.marginal([0]).stderr(f[:, :1]) > 0.9 * eft.edgeworth_density(C).marginal([0]).stderr(f[:, :1])).all()
    # One entry with an error: the bound is the error.
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        g = eft.action_couplings(1.0, SymmetricTensor([0.24], 0.024, order=4, size=1))
    assert g.g4.stderr == pytest.approx([0.001])
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        unknown = eft.action_couplings(1.0, SymmetricTensor([0.24], order=4, size=1))
    assert np.isnan(unknown.g4.stderr).all()
