"""Edgeworth densities, couplings, regulated inverses: what they refuse, and how they take their input."""

import dataclasses
import json

import numpy as np
import pytest

from nnqft import eft
from nnqft.ensemble import correlators, exact_correlators
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.networks import erf_net, mlp, relu_net
from nnqft.tensor import Estimate, SymmetricTensor

FUNCTIONS = [eft.edgeworth_density, eft.action_couplings]
K = np.array([[1.0, 0.3], [0.3, 2.0]])
G4 = np.array([0.1, 0.0, 0.05, 0.0, 0.2])
G6 = np.zeros(7)


def dense(packed, order):
    return SymmetricTensor(packed, 0, order=order, size=2).dense()


@pytest.mark.parametrize("make", FUNCTIONS)
def test_all_forms_of_input_mean_the_same(make):
    f = np.array([[0.3, -0.4]])
    value = lambda result: result.pdf(f) if hasattr(result, "pdf") else result.g4.mean
    tensor = lambda packed, n: SymmetricTensor(packed, 0, order=n, size=2)
    expected = value(make(K, G4, G6))
    forms = [
        make(tensor(K[np.triu_indices(2)], 2), tensor(G4, 4), tensor(G6, 6)),
        make(K, dense(G4, 4), dense(G6, 6)),
        make(K.tolist(), G4.tolist(), G6.tolist()),
        make(K, G4c=G4[::-1].copy()[::-1], G6c=G6, order=2),
        make(np.asfortranarray(K), G4, G6),
    ]
    for form in forms:
        assert np.array_equal(value(form), expected)
    one = make(Estimate(2.0, 0), Estimate(0.5, 0))
    assert one.inverse.size == 1 and one.order == 1
    assert make(2.0, 0.5, 0.1).order == 2


@pytest.mark.parametrize("make", FUNCTIONS)
@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((K,), {}, ArgumentError, "needs the connected four-point function"),
        ((K, G4), {"order": 2}, ArgumentError, "six|6-point"),
        ((K, G4), {"order": 3}, ArgumentError, r"order must lie in \[1, 2\]"),
        ((K, G4, G6), {"two_point": "exact"}, ArgumentError, "needs Correlators"),
        ((K, G4), {"two_point": "other"}, ArgumentError, "two_point must be"),
        ((np.zeros((2, 2)), G4), {}, ArgumentError, "zero"),
        ((1e-100, 1.0), {}, ArgumentError, "do their units fit"),
        ((1.0, 1e300), {}, ArgumentError, "do their units fit"),
        ((1e-310, 0.0), {}, ArgumentError, "rescale the fields"),
        ((0.0, 0.1), {}, ArgumentError, "zero"),
        ((-1.0, 0.1), {}, ArgumentError, "no positive eigenvalue"),
        ((np.array([[1.0, 2.0], [2.0, 1.0]]), G4), {}, ArgumentError, "degenerate|negative eigenvalue"),
        ((np.array([[1.0, 2.0], [2.0, 1.0]]), G4), {"rcond": 0.1}, ArgumentError, "negative eigenvalue -1"),
        ((np.array([[1.0, 0.1], [0.2, 1.0]]), G4), {}, ArgumentError, "not symmetric"),
        ((np.array([[1.0, np.nan], [np.nan, 1.0]]), G4), {}, ArgumentError, "not finite"),
        ((K, np.array([np.inf, 0, 0, 0, 0])), {}, ArgumentError, "not finite"),
        ((K, G4[:4].copy()), {}, ShapeError, "expected a SymmetricTensor"),
        ((K, G4.astype(np.float32)), {}, ShapeError, "float32"),
        ((K.astype(np.float32), G4), {}, ShapeError, "float32"),
        ((np.ones((2, 3)), G4), {}, ShapeError, "expected float64 of shape"),
        ((np.zeros((0, 0)), G4), {}, ShapeError, "expected float64 of shape"),
        ((K, G4, np.zeros(6)), {}, ShapeError, "G6c has shape"),
        ((K, np.arange(16.0).reshape(2, 2, 2, 2)), {}, ArgumentError, "not symmetric"),
        ((K, SymmetricTensor(G6, 0, order=6, size=2)), {}, ShapeError, "expected order 4"),
        ((K, SymmetricTensor([1.0], 0, order=4, size=1)), {}, ShapeError, "1 fields, G2 has 2"),
        ((K, SymmetricTensor([1.0], 0, order=4, size=2, index=[[0, 0, 1, 1]])), {}, ArgumentError, "lists 1"),
        ((K, G4), {"rcond": 0.0}, ArgumentError, "rcond must be a finite number > 0 and < 1"),
        ((K, G4), {"rcond": np.nan}, ArgumentError, "rcond must be a finite number > 0 and < 1"),
        ((K, G4), {"rcond": 0.1, "rank": 1}, ArgumentError, "not both"),
        ((K, G4), {"rank": 3}, ArgumentError, r"rank must lie in \[1, 2\]"),
        ((np.eye(2), G4), {"rank": 1}, ArgumentError, "between the equal eigenvalues"),
        ((np.ones((2, 2)), G4), {}, ArgumentError, "degenerate.*coincide"),
        ((np.ones((2, 2)), G4), {"rank": 2}, ArgumentError, "not positive"),
    ],
)
def test_bad_input_is_refused_by_name(make, arguments, options, error, message):
    with pytest.raises(error, match=message):
        make(*arguments, **options)


def test_unknown_sign_is_refused():
    with pytest.raises(ArgumentError, match="sign must be"):
        eft.action_couplings(1.0, 0.1, sign="physics")


@pytest.mark.parametrize("make", FUNCTIONS)
def test_coincident_and_nearly_coincident_points_are_refused_unless_a_cutoff_is_given(make):
    net = erf_net(200, dim_in=1)
    for x in ([[0.5], [0.5]], [[0.5], [0.5 + 1e-6]]):
        G = exact_correlators(net, x, orders=(2, 4, 6))
        with pytest.raises(ArgumentError, match="degenerate: 1 of its 2 eigenvalues"):
            make(G)
        assert make(G, rcond=1e-3).inverse.rank == 1
        assert "rank=1 of 2" in repr(make(G, rank=1))
    # A homogeneous kernel has rank one for all positive points.
    G = exact_correlators(relu_net(200, dim_in=1), [[0.2], [0.6], [1.0]], orders=(2, 4, 6))
    with pytest.raises(ArgumentError, match="degenerate: 2 of its 3"):
        make(G)


@pytest.mark.parametrize("make", FUNCTIONS)
def test_measured_degenerate_kernels_are_refused_too(make):
    C = correlators(relu_net(50, dim_in=1), [[0.2], [0.6]], orders=(2, 4), n_nets=4096)
    with pytest.raises(ArgumentError, match="degenerate"):
        make(C)
    assert make(C, rcond=1e-3).inverse.rank == 1


def test_correlators_come_alone_and_with_the_orders_needed():
    G = exact_correlators(erf_net(20, dim_in=1), [[0.5]], orders=(2, 4))
    with pytest.raises(ArgumentError, match="Correlators alone"):
        eft.edgeworth_density(G, 0.1)
    with pytest.raises(ArgumentError, match="orders"):
        eft.action_couplings(G, order=2)
    with pytest.raises(ArgumentError, match="4-point"):
        eft.action_couplings(exact_correlators(erf_net(20, dim_in=1), [[0.5]], orders=(2,)))
    deep = correlators(mlp(1, (20, 20), activation="erf"), [[0.5]], orders=(2, 4), n_nets=4096)
    with pytest.raises(ArgumentError, match="one hidden layer"):
        eft.action_couplings(deep, two_point="exact")
    assert eft.action_couplings(deep).g4.stderr[0] > 0


def test_strong_interactions_are_reported():
    G = exact_correlators(erf_net(5, dim_in=1), [[0.2], [1.0], [-0.7]], orders=(2, 4, 6))
    for make in FUNCTIONS:
        with pytest.warns(NNQFTWarning, match="too strong for an expansion in 1/width"):
            make(G)


def test_points_of_the_density_are_checked():
    p = eft.edgeworth_density(K, G4, G6)
    for method in (p.pdf, p.log, p.ratio, p.stderr, p.negative, p, p.gaussian, eft.action_couplings(K, G4).action):
        with pytest.raises(ShapeError, match="expected float64 of shape"):
            method(np.zeros((3, 1)))
        with pytest.raises(ShapeError, match="float32"):
            method(np.zeros((3, 2), np.float32))
        with pytest.raises(ShapeError, match="shape"):
            method(np.float64(1.0))
        with pytest.raises(ArgumentError, match="must be finite"):
            method(np.array([0.0, np.nan]))
        assert method(np.zeros((0, 2))).shape == (0,)
        assert method(np.zeros((4, 3, 2))).shape == (4, 3)
        assert np.ndim(method(np.zeros(2))) == 0
    with pytest.raises(ArgumentError, match="one field"):
        p.cdf(0.0)
    with pytest.raises(ArgumentError, match="nan"):
        p.marginal([0]).cdf(np.nan)
    for points in ([], [2], [-3], [0, 0], [0.5], [[0]], 0):
        with pytest.raises(ArgumentError):
            p.marginal(points)
    for orders in ([1], [-2]):
        with pytest.raises(ArgumentError, match=r"even|\[0, 64\]"):
            p.moments(orders)
    with pytest.raises(ArgumentError, match="directions"):
        p.negativity(directions=0)


def test_views_and_blocks_of_points_do_not_change_the_density():
    p = eft.edgeworth_density(K, G4, G6)
    f = np.random.default_rng(0).standard_normal((50_000, 2))
    whole = p.pdf(f)
    np.testing.assert_allclose(p.pdf(f[::-3]), whole[::-3], rtol=1e-13)
    np.testing.assert_allclose(p.pdf(np.asfortranarray(f)), whole, rtol=1e-13)
    f.setflags(write=False)
    assert np.array_equal(p(f), whole)


def test_far_away_the_density_vanishes_quietly():
    p = eft.edgeworth_density(1.0, -0.24)
    for scale in (1e2, 1e5, 1e100, 1e300):
        f = np.array([scale])
        assert p.pdf(f) == 0.0 and p.negative(f) and np.isnan(p.log(f))
        assert p.ratio(f) == pytest.approx(-0.01 * scale**4 if scale < 1e50 else -np.inf, rel=1e-3)
    assert eft.edgeworth_density(1.0, 0.24).log(np.array([1e100])) == pytest.approx(-5e199)


def test_couplings_scale_with_the_units_of_the_field():
    # f -> s f: g_n -> g_n / s^n.
    base = eft.action_couplings(K, G4, G6)
    for s in (1e-40, 1e40):
        g = eft.action_couplings(K * s**2, G4 * s**4, G6 * s**6)
        for name in ("g2", "g4"):
            np.testing.assert_allclose(
                getattr(g, name).mean * s ** getattr(g, name).order, getattr(base, name).mean, rtol=1e-10, atol=1e-14
            )


def test_regulated_inverse_is_the_pseudo_inverse_of_what_it_keeps():
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    kernel = Q * np.array([10.0, 3.0, 1.0, 1e-4, 1e-9]) @ Q.T
    kernel = (kernel + kernel.T) / 2
    inverse = eft.regulated_inverse(kernel, rcond=1e-6)
    assert (inverse.rank, inverse.size) == (4, 5) and inverse.condition == pytest.approx(1e5, rel=1e-6)
    assert inverse.cut == pytest.approx(1e-9, abs=1e-14)
    np.testing.assert_allclose(inverse.matrix, np.linalg.pinv(kernel, rcond=1e-6), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inverse.whiten @ kernel @ inverse.whiten.T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(inverse.projector @ inverse.projector, inverse.projector, atol=1e-12)
    assert "rank=4 of 5" in repr(inverse) and "cut=1e-09" in repr(inverse)
    with pytest.raises(ArgumentError, match="degenerate: 2 of its 5"):
        eft.regulated_inverse(kernel, legs=6)
    assert eft.regulated_inverse(np.diag([4.0, 1.0])).rank == 2
    with pytest.raises(ValueError, match="read-only"):
        inverse.matrix[0, 0] = 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        inverse.rank = 3


def test_locality_refuses_what_has_no_answer():
    T = SymmetricTensor(G4, 0, order=4, size=2)
    with pytest.raises(ArgumentError, match="zero"):
        eft.locality(SymmetricTensor(np.zeros(5), 0, order=4, size=2))
    with pytest.raises(ShapeError, match="takes a SymmetricTensor"):
        eft.locality(G4)
    with pytest.raises(ShapeError, match="3 fields, the correlator 2"):
        eft.locality(T, np.eye(3))
    with pytest.raises(ShapeError, match="expected 2 positions"):
        eft.locality(T, x=[[0.0]])
    with pytest.raises(ArgumentError, match="x must be finite"):
        eft.locality(T, x=[0.0, np.inf])
    with pytest.raises(ArgumentError, match="belong to a kernel"):
        eft.locality(T, rcond=0.1)
    with pytest.raises(ArgumentError, match="already"):
        eft.locality(T, eft.regulated_inverse(K), rcond=0.1)
    with pytest.raises(ArgumentError, match="already"):
        eft.locality(eft.action_couplings(K, G4), K)
    with pytest.raises(ArgumentError, match="lists"):
        eft.locality(SymmetricTensor([1.0], 0, order=4, size=2, index=[[0, 0, 1, 1]]))
    noisy = SymmetricTensor(G4, 0.01, order=4, size=2)
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        assert 0 < eft.locality(noisy).off_diagonal.stderr < 1
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        assert 0 < eft.locality(noisy, K).off_diagonal.stderr < 1


def test_amputate_refuses_other_input():
    with pytest.raises(ShapeError, match="takes a SymmetricTensor"):
        eft.amputate(G4, K)
    with pytest.raises(ArgumentError, match="lists"):
        eft.amputate(SymmetricTensor([1.0], 0, order=4, size=2, index=[[0, 0, 1, 1]]), K)


def test_too_many_modes_are_refused_before_memory_is_asked_for():
    with pytest.raises(ArgumentError, match="use fewer points"):
        eft.edgeworth_density(np.diag(np.linspace(1, 2, 15)), np.zeros(3060), np.zeros(38_760))
    with pytest.raises(ArgumentError, match="use fewer points"):
        eft.edgeworth_density(np.eye(8), np.zeros(330)).moments([20])
    with pytest.raises(ArgumentError, match=r"an order must lie in \[0, 64\]"):
        eft.edgeworth_density(K, G4, G6).moments([2**20])


def test_figure_shows_density_gaussian_band_and_histogram():
    plot = pytest.importorskip("nnqft.plot")
    pytest.importorskip("matplotlib")
    ax = plot.canvas()[1][0, 0]
    p = eft.edgeworth_density(4.0, 3.0, 1.0)
    samples = np.random.default_rng(0).normal(scale=2.0, size=5000)
    gauss, curve, points = plot.edgeworth(p, ax=ax, samples=samples)
    np.testing.assert_allclose(curve.get_ydata(), p.pdf(curve.get_xdata()[:, np.newaxis]))
    np.testing.assert_allclose(gauss.get_ydata(), p.gaussian(curve.get_xdata()[:, np.newaxis]))
    width = 9 * 2.0 / 60
    inside = np.count_nonzero(abs(samples) < 9.0)
    assert points.lines[0].get_ydata().sum() * width == pytest.approx(inside / 5000)
    gauss, curve, points = plot.edgeworth(p, ax=plot.canvas()[1][0, 0], samples=samples, relative=True, bins=20)
    np.testing.assert_allclose(curve.get_ydata(), p.ratio(curve.get_xdata()[:, np.newaxis]))
    assert (gauss.get_ydata() == 1).all()
    assert abs(points.lines[0].get_ydata()[8:12] - 1).max() < 0.2  # normal samples, some 700 in each of these bins
    C = correlators(erf_net(30, dim_in=1), [[0.4]], orders=(2, 4), n_nets=4096)
    assert len(plot.edgeworth(eft.edgeworth_density(C), ax=plot.canvas()[1][0, 0])) == 3
    with pytest.raises(ArgumentError, match="2 fields"):
        plot.edgeworth(eft.edgeworth_density(K, G4), ax=ax)
    with pytest.raises(ArgumentError, match="bins"):
        plot.edgeworth(p, ax=ax, bins=0)
    with pytest.raises(ShapeError, match="expected one field"):
        plot.edgeworth(p, ax=ax, samples=np.zeros((3, 1)))


def test_results_become_plain_dicts():
    g = eft.action_couplings(K, G4, G6)
    state = json.loads(json.dumps(g.to_dict()))
    assert state["g6"]["mean"] == g.g6.mean.tolist() and state["rank"] == 2
    where = eft.locality(g, x=[0.0, 1.0])
    state = json.loads(json.dumps(where.to_dict()))
    assert state["patterns"]["2+2"]["mean"] == where.patterns[2, 2].mean
    assert float(where) == where.off_diagonal.mean


def test_couplings_that_overflow_are_refused():
    with pytest.raises(ArgumentError, match="a coupling overflows"):
        eft.action_couplings(1e-110, 1e-222, 0.0)
    with pytest.raises(ArgumentError, match="an amputated function overflows"):
        eft.amputate(SymmetricTensor([1.0], 0, order=4, size=1), np.array([[1e-100]]))


@pytest.mark.parametrize("far", [50.0, 1e80, 1e300, np.inf])
def test_far_out_the_distribution_function_is_0_or_1(far):
    for p in (eft.edgeworth_density(1.0, 0.1, 0.01), eft.edgeworth_density(1e-20, 1e-42)):
        assert p.cdf([far, -far]).tolist() == [1.0, 0.0]


def test_far_out_the_density_and_its_error_are_0_and_the_action_is_refused():
    with pytest.warns(NNQFTWarning, match="upper bounds"):
        p = eft.edgeworth_density(1.0, Estimate(0.1, 0.01))
    assert p.pdf([[1e80], [1e300]]).tolist() == p.stderr([[1e80], [1e300]]).tolist() == [0.0, 0.0]
    action = eft.action_couplings(1.0, 0.1, 0.01)
    assert np.isfinite(action.action([[1e40]])).all()
    with pytest.raises(ArgumentError, match=r"at 1e\+80 standard deviations overflows"):
        action.action([[0.0], [1e80]])
    with pytest.raises(ArgumentError, match="overflows float64"):
        eft.edgeworth_density(1e-100, 1e-202).pdf([[1e300]])
