"""Spectral densities: quadratures in hand, scales and widths, bounds, counts, files."""

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError, ShapeError, StateError
from nnqft.lanczos import SpectralDensity, slq, spectral_moments, symlog

TWO = SpectralDensity([[-1.0, 1.0], [0.0, 2.0]], [[0.5, 0.5], [0.25, 0.75]], 100)


def test_averages_are_means_over_probes_with_their_spread():
    # probe by probe: 0 and 1.5
    assert (TWO.moment(1).mean, TWO.moment(1).stderr, TWO.moment(1).n) == pytest.approx((0.75, 0.75, 2))
    assert (TWO.trace().mean, TWO.trace().stderr) == pytest.approx((75, 75))
    assert TWO.moment(0).mean == 1 and TWO.moment(0).stderr == 0
    assert TWO.mean(np.abs).mean == pytest.approx((1 + 1.5) / 2)
    assert TWO.trace(np.square).mean == pytest.approx(100 * (1 + 3) / 2)


def test_the_step_function_counts_a_node_half_at_its_place():
    value, error = TWO.cdf([-2, -1, 0, 0.5, 2, 3], sigma=0, stderr=True)
    np.testing.assert_allclose(value, [0, 0.125, 0.3125, 0.375, 0.8125, 1])
    np.testing.assert_allclose(error[[0, 3, 5]], [0, 0.125, 0])
    assert TWO.cdf(0.5, sigma=0) == 0.375 and np.ndim(TWO.cdf(0.5)) == 0
    assert TWO.stderr > 0


def test_exact_densities_have_whole_steps_and_no_errors():
    law = SpectralDensity.from_eigenvalues([3.0, 1.0, 1.0, 2.0])
    value, error = law.cdf([0.9, 1.0, 2.5], stderr=True)
    assert value.tolist() == [0, 0.5, 0.75] and error.tolist() == [0, 0, 0]
    assert law.count(1.0, 2.0).estimate.mean == 3 and law.near_zero(0.5).estimate.mean == 0
    assert law.stderr == 0 and law.logdet().mean == pytest.approx(np.log(6))
    assert law.cdf_bounds(1.0) == (0.5, 0.5)


def test_bounds_enclose_the_measure_of_every_probe():
    rng = np.random.default_rng(1)
    values = np.sort(rng.normal(size=300))
    A = sp.csr_array(sp.diags_array(values))
    S = slq(A, 15, probes=1, seed=2, distribution="gaussian")
    from nnqft.lanczos import lanczos

    weights = lanczos(A, 1, seed=2, distribution="gaussian", basis=True).basis[0, 0] ** 2
    x = np.linspace(-4, 4, 801)
    exact = np.concatenate([[0], np.cumsum(weights)])[np.searchsorted(values, x, side="right")]
    low, high = S.cdf_bounds(x)
    assert (low <= exact + 1e-12).all() and (exact <= high + 1e-12).all()
    assert (high - low).mean() < 0.25


def test_counts_say_what_steps_leave_open():
    values = np.concatenate([np.zeros(40), np.linspace(1, 2, 60)])
    S = slq(np.diag(values), 12, probes=8)
    zeros = S.near_zero(1e-8)
    assert zeros.estimate.mean == pytest.approx(
        40, abs=1e-6
    )  # +-1 probes are exact for the shares of a diagonal matrix
    assert zeros.low <= 40 <= zeros.high and float(zeros) == zeros.estimate.mean
    assert "40" in repr(zeros) and zeros.interval == (-1e-8, 1e-8)
    closed = slq(np.diag(np.repeat([0.0, 1.0, 2.0], 10)), 12, probes=3).count(-0.5, 1.5)
    assert closed.low == pytest.approx(20) and closed.high == pytest.approx(20)


def test_an_unresolved_kernel_has_no_error_bar_instead_of_a_wrong_one():
    values = np.concatenate([np.zeros(3), 10.0 ** np.linspace(-6, 0, 97)])
    zeros = slq(np.diag(values), 8, probes=5).near_zero(1e-9)
    assert zeros.estimate.mean == 0 and np.isnan(zeros.estimate.stderr)
    assert zeros.low == 0 and zeros.high > 3


def test_a_kernel_stays_a_step_beside_a_smooth_bulk():
    values = np.concatenate([np.zeros(300), np.linspace(-1, 1, 200)])
    S, law = slq(np.diag(values), 21, probes=4), SpectralDensity.from_eigenvalues(values)
    x = np.linspace(-1.1, 1.1, 401)
    x = x[abs(x) > 0.02]  # the width of the peak itself, three times
    assert abs(S.cdf(x) - law.cdf(x)).max() < 0.02  # a twentieth of the bulk's 0.4
    assert S.density(0.0) > 20


@pytest.mark.parametrize("scale", ["linear", "symlog"])
@pytest.mark.parametrize("sigma", ["auto", "global", 0.05])
def test_densities_integrate_to_one_on_either_scale(scale, sigma):
    S = slq(np.diag(np.concatenate([np.linspace(-1, 1, 150), 10.0 ** np.arange(-6, 4)])), 40, probes=3)
    if scale == "linear":
        x = np.linspace(-2000, 3000, 1_000_001) if sigma == "global" else np.linspace(-5, 5, 400_001)
        mass = np.trapezoid(S.density(x, sigma=sigma), x)
        outliers = 0.0 if sigma == "global" else S.count(5.0, 1e4).estimate.mean / S.n
        assert mass == pytest.approx(1 - outliers, abs=2e-3)
    else:
        t = 1e-7
        u = np.linspace(-14, 14, 20001)
        x = 2 * t * np.sinh(u * np.log(10))
        assert np.trapezoid(S.density(x, sigma=sigma, scale=scale, threshold=t), u) == pytest.approx(1, abs=1e-6)


def test_the_distribution_is_the_integral_of_the_density():
    S = slq(np.diag(np.linspace(0, 1, 80)), 20, probes=4)
    x = np.linspace(-0.5, 1.5, 4001)
    for sigma in ("auto", "global", 0.03):
        density, cdf = S.density(x, sigma=sigma), S.cdf(x, sigma=sigma)
        np.testing.assert_allclose(
            np.cumsum((density[1:] + density[:-1]) / 2) * (x[1] - x[0]), cdf[1:] - cdf[0], atol=1e-5
        )
        assert (np.diff(cdf) >= 0).all()


def test_equally_spaced_nodes_make_a_flat_density():
    nodes = np.linspace(0, 1, 101)
    S = SpectralDensity(nodes[None], np.full((1, 101), 1 / 101), 101)
    np.testing.assert_allclose(S.density(np.linspace(0.3, 0.7, 500)), 100 / 101, rtol=3e-3)


def test_errors_shrink_with_probes_and_one_probe_has_none():
    S = slq(np.diag(np.linspace(0, 1, 60)), 10, probes=1)
    value, error = S.density([0.5], stderr=True)
    assert np.isfinite(value).all() and np.isnan(error).all() and np.isnan(S.moment(1).stderr) and np.isnan(S.stderr)


def test_copies_from_lost_orthogonality_do_not_spoil_the_density():
    A = sp.csr_array(sp.diags_array(np.concatenate([np.random.default_rng(3).normal(size=2000), [30.0]])))
    loose, full = (slq(A, 120, probes=2, seed=4, distribution="gaussian", reorth=r) for r in ("none", "full"))
    assert np.count_nonzero(abs(loose.nodes - 30) < 1e-6) > 2 * 3  # ghosts
    assert np.count_nonzero(abs(full.nodes - 30) < 1e-6) == 2
    x = np.linspace(-3, 3, 61)
    np.testing.assert_allclose(loose.cdf(x), full.cdf(x), atol=0.01)
    assert np.isfinite(loose.density(x)).all()
    assert loose.moment(4).mean == pytest.approx(full.moment(4).mean, rel=1e-10)


def test_symlog_is_odd_and_logarithmic():
    x = np.array([1e-3, 1.0, 1e5])
    np.testing.assert_allclose(symlog(-x, 1e-8), -symlog(x, 1e-8))
    np.testing.assert_allclose(np.diff(symlog(x, 1e-8)), [3, 5], rtol=1e-9)


def test_zero_one_and_single_point_spectra():
    for A in (np.zeros((4, 4)), np.eye(4), np.array([[2.5]])):
        S = slq(A, 10, probes=3)
        assert S.complete.all()
        assert S.moment(2).mean == pytest.approx(A[0, 0] ** 2)
        assert S.cdf([A[0, 0] - 1e-9, A[0, 0] + 1e-9]).tolist() == pytest.approx([0, 1])
        assert S.near_zero(1e-6).estimate.mean == (4 if not A.any() else 0)
        with pytest.raises(ArgumentError, match="one point has no width"):
            S.density([0.0])
        assert S.density(A[0, 0], sigma=0.1) == pytest.approx(1 / (0.1 * np.sqrt(2 * np.pi)))
    assert slq(np.eye(4), 10).logdet().mean == pytest.approx(0)


def test_files_bring_the_same_density_back(tmp_path):
    S = slq(np.diag([1.0, 1.0, 2.0, 5.0]), 4, probes=3, seed=5)
    S.save(tmp_path / "s.npz")
    back = SpectralDensity.load(tmp_path / "s.npz")
    for name in ("nodes", "weights", "complete"):
        np.testing.assert_array_equal(getattr(back, name), getattr(S, name))
    assert (back.n, back.exact, back.how, repr(back)) == (S.n, S.exact, S.how, repr(S))
    padded = SpectralDensity([[1.0, 2.0], [3.0, np.nan]], [[0.5, 0.5], [1.0, 0.0]], 9)
    assert padded.to_dict()["nodes"] == [[1.0, 2.0], [3.0, None]] and padded.moment(1).mean == 2.25
    with pytest.raises(FileNotFoundError):
        SpectralDensity.load(tmp_path / "nothing.npz")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(StateError):
        SpectralDensity.load(tmp_path / "junk.npz")


def test_results_are_read_only_and_remember_how_they_were_made():
    S = slq(np.diag(np.arange(6.0)), 3, probes=2, seed=np.random.SeedSequence(4))
    with pytest.raises(ValueError):
        S.nodes[0, 0] = 1
    assert S.how["k"] == 3 and S.how["seed"] > 0 and S.moment(1).how["estimator"] == "slq"


def test_moments_take_as_many_products_as_they_need():
    calls = []

    def product(x):
        calls.append(1)
        return np.arange(20.0) * x.ravel()

    op = sp.linalg.LinearOperator((20, 20), matvec=product, dtype=np.float64)
    moments = spectral_moments(op, [0, 1, 2, 5], probes=2, check_symmetric=False)
    assert [m.mean for m in moments] == pytest.approx([np.mean(np.arange(20.0) ** j) for j in (0, 1, 2, 5)])
    assert len(calls) <= 2 * 3
    assert spectral_moments(np.eye(2), []) == []


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: SpectralDensity([[1.0]], [[1.0, 0.0]], 1), ShapeError, "common shape"),
    (lambda: SpectralDensity([[]], [[]], 1), ShapeError, "common shape"),
    (lambda: SpectralDensity([[np.nan]], [[1.0]], 1), ArgumentError, "padding"),
    (lambda: SpectralDensity([[1.0, np.nan]], [[0.5, 0.5]], 1), ArgumentError, "sum to 1"),
    (lambda: SpectralDensity([[1.0]], [[2.0]], 1), ArgumentError, "sum to 1"),
    (lambda: SpectralDensity([[1.0]], [[1.0]], 1, complete=[True, True]), ShapeError, "one per probe"),
    (lambda: SpectralDensity.from_eigenvalues([]), ShapeError, "n >= 1"),
    (lambda: TWO.moment(-1), ArgumentError, "integer >= 0"),
    (lambda: TWO.moment(1.0), ArgumentError, "integer >= 0"),
    (lambda: TWO.trace(np.log), ArgumentError, "whole spectrum"),
    (lambda: TWO.trace(lambda x: x.sum()), ShapeError, "element by element"),
    (lambda: TWO.logdet(), ArgumentError, "positive definite"),
    (lambda: TWO.cdf(np.nan), ArgumentError, "nan"),
    (lambda: TWO.count(1, 0), ArgumentError, "empty"),
    (lambda: TWO.count(np.nan, 0), ArgumentError, "low must be"),
    (lambda: TWO.near_zero(0), ArgumentError, "tol must be"),
    (lambda: TWO.density(0, sigma=0), ArgumentError, "sigma must be"),
    (lambda: TWO.density(0, sigma="papyan"), ArgumentError, "papyan"),
    (lambda: TWO.density(0, scale="log"), ArgumentError, "symlog"),
    (lambda: TWO.density(0, scale="symlog", threshold=-1), ArgumentError, "threshold must be"),
    (lambda: slq(np.eye(3), 0), ArgumentError, "k is 0"),
    (lambda: slq(np.eye(3), 2, probes=0), ArgumentError, "probes is 0"),
    (lambda: slq(np.eye(3), 2, probes=2.5), ArgumentError, "probes is 2.5"),
    (lambda: slq(np.eye(3), 2, seed=-1), ArgumentError, "seed"),
    (lambda: slq(np.eye(3), 2, reorth="some"), ArgumentError, "some"),
    (lambda: slq(np.ones((2, 3)), 2), ShapeError, r"\(2, 3\)"),
    (lambda: slq(np.triu(np.ones((3, 3))), 2), ArgumentError, "not symmetric"),
    (lambda: slq(np.full((3, 3), np.nan), 2), ArgumentError, "NaN|nan|finite|symmetric"),
    (lambda: spectral_moments(np.eye(3), [-1]), ArgumentError, "orders is -1"),
])  # fmt: skip
def test_senseless_arguments_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_bounds_are_those_of_the_neighbouring_nodes():
    S = SpectralDensity([[0.0, 1.0, 2.0, 3.0]], [[0.1, 0.2, 0.3, 0.4]], 50)
    for x, low, high in ((-1, 0, 0.1), (0.5, 0, 0.3), (1.5, 0.1, 0.6), (2, 0.3, 1.0), (9, 0.6, 1.0)):
        assert S.cdf_bounds(x) == pytest.approx((low, high), abs=1e-15)
    count = S.count(1.0, 2.0)  # closed at both ends: F(2) - F(1-) lies between 0.3 - 0.3 and 1 - 0
    assert (count.estimate.mean, count.low, count.high) == pytest.approx((25, 0, 50))
    closed = SpectralDensity.from_eigenvalues([3.0, 1.0, 1.0, 2.0]).count(1.0, 2.0)
    assert (closed.low, closed.high) == (3, 3)


@pytest.mark.parametrize("scale", ["linear", "symlog"])
def test_the_grid_covers_the_smoothing_and_the_threshold_is_a_share_of_the_largest(scale):
    S = slq(np.diag(np.linspace(-3, 1, 200)), 25, probes=3)
    assert S.threshold() == pytest.approx(3e-4, rel=1e-2)
    x = S.grid(400, scale=scale)
    density = S.density(x, scale=scale)
    assert len(x) == 400 and (np.diff(x) > 0).all() and x[0] < -3 and x[-1] > 1
    assert max(density[0], density[-1]) < 1e-3 * density.max()  # 4 standard deviations beyond the last node
    lean = SpectralDensity([[0.0, 1.0, 2.0, 3.0]], [[0.25] * 4], 9)
    assert lean.grid(9)[[0, -1]].tolist() == pytest.approx([-4 * 0.6, 3 + 4 * 0.6])
    x = S.grid(400, scale=scale)
    u = x if scale == "linear" else symlog(x, S.threshold())
    np.testing.assert_allclose(np.diff(u), u[1] - u[0], rtol=1e-6)


def test_the_global_width_is_papyans():
    S = SpectralDensity([[0.0, 1.0, 2.0, 3.0]], [[0.25] * 4], 50)
    peak = S.density(0.0, sigma="global")
    sigma = 3 / (3 * np.sqrt(8 * np.log(3)))
    exact = sum(0.25 * np.exp(-0.5 * (x / sigma) ** 2) for x in range(4)) / (sigma * np.sqrt(2 * np.pi))
    assert peak == pytest.approx(exact, rel=1e-13)


def test_the_automatic_width_follows_the_distance_of_nodes():
    S = SpectralDensity([[0.0, 1.0, 2.0, 3.0, 4.0, 100.0]], [[0.2, 0.2, 0.2, 0.2, 0.19, 0.01]], 50)
    # Distances 1, 1, 1, 1, 96: an outlier gets 3 times the median at most, and 0.6 of that.
    assert S.density(100.0) == pytest.approx(0.01 / (0.6 * 3 * np.sqrt(2 * np.pi)), rel=1e-6)
    inner = 1 + 2 * np.exp(-0.5 / 0.36) + np.exp(-2 / 0.36)  # itself, two neighbours, the one behind; the next adds 1 %
    assert S.density(1.0) == pytest.approx(0.2 / (0.6 * np.sqrt(2 * np.pi)) * inner, rel=0.02)


def test_runs_of_all_steps_are_complete_and_short_ones_are_not():
    A = np.diag(np.linspace(0, 1, 12))
    assert slq(A, 12, probes=2).complete.all() and slq(A, 99, probes=2).complete.all()
    assert not slq(A, 11, probes=2).complete.any()


def test_nodes_that_lost_orthogonality_repeated_do_not_narrow_the_density():
    once = SpectralDensity([[0.0, 1.0, 2.0, 3.0, 4.0]], [[0.2] * 5], 50)
    copies = SpectralDensity([[0.0, 1.0, 2.0, 3.0, 4.0, 4.0 + 1e-12]], [[0.2, 0.2, 0.2, 0.2, 0.1, 0.1]], 50)
    x = np.linspace(-1, 5, 61)
    np.testing.assert_allclose(copies.density(x), once.density(x), rtol=1e-6)
