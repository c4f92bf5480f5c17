"""Reweighting: the arithmetic against numpy, bits, warnings, bad input."""

import numpy as np
import pytest

from nnqft import _core, eft
from nnqft._eft import _theories
from nnqft.ensemble import outputs
from nnqft.errors import ArgumentError, NNQFTWarning, ShapeError
from nnqft.networks import erf_net, mlp

X = np.array([[0.2], [-0.7]])
REGION = eft.box(-1.0, 1.0, nodes=6)


def by_hand(net, potential, n_nets, seed):
    f = outputs(net, np.concatenate([X, REGION.points]), stop=n_nets, seed=seed).astype(np.float64)
    square = (f[:, 2:] ** 2).sum(axis=2)
    action = sum(c * (REGION.weights * square ** (p / 2)).sum(axis=1) for p, c in potential.items())
    return f[:, :2].reshape(n_nets, -1), np.exp(-action)


@pytest.mark.parametrize("dim_out", [1, 2])
@pytest.mark.parametrize("potential", [{4: 0.3}, {2: -0.5, 4: 0.2, 6: 0.01}, {2: 0.4}, {4: 0.0}])
def test_correlators_are_weighted_averages_over_the_same_networks(potential, dim_out):
    """Tolerance: rounding of 2000 terms; the jackknife's corrected mean differs from the plain one by less than an error bar."""
    net = erf_net(5, dim_in=1, dim_out=dim_out)
    got = eft.reweight(net, X, potential=potential, region=REGION, n_nets=2000, seed=5)
    f, w = by_hand(net, potential, 2000, 5)
    means, counts, function = got._problem("full", 4)
    total = {k: v.sum(axis=0)[None] / 2000 for k, v in means.items()}
    index = _core.multiset_index(2 * dim_out, 4)
    expected = (w[:, None] * f[:, index].prod(axis=2)).sum(axis=0) / w.sum()
    np.testing.assert_allclose(function(total)[0], expected, rtol=0, atol=1e-12 * abs(expected).max())
    assert (abs(got.full(4).mean - expected) < got.full(4).stderr).all()
    assert got.n_eff == pytest.approx(w.sum() ** 2 / (w**2).sum(), rel=1e-12)
    assert got.efficiency == got.n_eff / 2000
    assert got.largest_share == pytest.approx(w.max() / w.sum(), rel=1e-12)
    assert abs(got.log_z.mean - np.log(w.mean())) < 0.2 * got.log_z.stderr + 1e-12
    free = f[:, index].prod(axis=2).mean(axis=0)
    assert (abs(got.change(4).mean - (expected - free)) < got.change(4).stderr + 1e-12).all()


def test_connected_functions_subtract_pairings_of_the_deformed_two_point_function():
    got = eft.reweight(erf_net(5, dim_in=1), X, potential={4: 0.3}, region=REGION, n_nets=4000, seed=1)
    f, w = by_hand(erf_net(5, dim_in=1), {4: 0.3}, 4000, 1)
    mean = lambda product: (w * product).sum() / w.sum()
    a, b = f.T
    expected = mean(a * a * b * b) - mean(a * a) * mean(b * b) - 2 * mean(a * b) ** 2
    assert abs(got.connected(4)[0, 0, 1, 1].mean - expected) < 0.3 * got.connected(4)[0, 0, 1, 1].stderr
    change = got.change(4, connected=True)[0, 0, 1, 1]
    free = (a * a * b * b).mean() - (a * a).mean() * (b * b).mean() - 2 * (a * b).mean() ** 2
    assert abs(change.mean - (expected - free)) < 0.3 * change.stderr


def test_threads_and_the_size_of_the_parts_change_no_bit(monkeypatch):
    net = erf_net(20, dim_in=1)
    make = lambda **how: eft.reweight(net, X, potential={4: 0.5}, region=REGION, n_nets=9000, seed=2, **how)
    results = [make(threads=n) for n in (1, 2, 7)]
    monkeypatch.setattr(_theories, "_VALUES_AT_A_TIME", 1)
    results.append(make())
    for other in results[1:]:
        assert other.full(4) == results[0].full(4) and other.change(2) == results[0].change(2)
        assert (other.n_eff, other.largest_share, other.log_z) == (
            results[0].n_eff,
            results[0].largest_share,
            results[0].log_z,
        )
    assert make().full(2) != eft.reweight(net, X, potential={4: 0.5}, region=REGION, n_nets=9000, seed=3).full(2)


def test_several_potentials_share_one_sample_and_give_what_each_gives_alone():
    net = erf_net(20, dim_in=1)
    several = eft.reweight(net, X, potential=[{4: 0.1}, {2: 0.3, 4: 0.2}], region=REGION, n_nets=3000)
    for one in several:
        alone = eft.reweight(net, X, potential=one.potential, region=REGION, n_nets=3000)
        assert alone.full(4) == one.full(4) and alone.n_eff == one.n_eff


def test_the_first_network_can_be_chosen():
    net = erf_net(20, dim_in=1)
    parts = [
        eft.reweight(net, X, potential={4: 0.1}, region=REGION, n_nets=n, start=s) for s, n in ((0, 6000), (3000, 3000))
    ]
    f, w = by_hand(net, {4: 0.1}, 6000, 0)
    assert parts[1].full(2)[0, 0].mean == pytest.approx((w * f[:, 0] ** 2)[3000:].sum() / w[3000:].sum(), rel=1e-3)


def test_progress_counts_all_networks():
    seen = []
    eft.reweight(
        erf_net(2, dim_in=1),
        X,
        potential={2: 1.0},
        region=REGION,
        n_nets=5000,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen[-1] == (5000, 5000)


@pytest.mark.parametrize("coupling, nets", [(1e4, 5000), (0.3, 60)])
def test_a_collapse_of_the_weights_is_warned_of(coupling, nets):
    with pytest.warns(NNQFTWarning, match=r"collapses: .* networks count like .*smaller coupling or region"):
        eft.reweight(erf_net(50, dim_in=1), X, potential={4: coupling}, region=eft.box(-3, 3), n_nets=nets)


def test_actions_far_from_zero_neither_overflow_nor_vanish():
    """A linear net's field is sigma_w^2 times a unit one, so its potential is that at 1 in units of sigma_w^8."""
    small, unit, large = (mlp(1, (20,), activation="identity", sigma_w=s) for s in (1e-10, 1.0, 1e10))
    got = [
        eft.reweight(net, X, potential={4: 0.3 / net.sigma_w**8}, region=REGION, n_nets=3000, dtype="float64")
        for net in (small, unit, large)
    ]
    for g in got:
        assert g.n_eff == pytest.approx(got[1].n_eff, rel=1e-4) and g.n_eff > 1000  # float32 draws
        np.testing.assert_allclose(g.full(4).mean / g.net.sigma_w**8, got[1].full(4).mean, rtol=1e-4)
    offset = eft.reweight(small, X, potential={2: 0.0, 4: 1e-300}, region=REGION, n_nets=3000)
    assert offset.n_eff == 3000
    with pytest.warns(NNQFTWarning, match="collapses"):
        frozen = eft.reweight(large, X, potential={4: 1.0}, region=REGION, n_nets=3000)
    # One network outweighs all others by e^1e70: without its replica there is nothing left, and no error bar.
    assert (frozen.n_eff, frozen.largest_share) == (1, 1) and np.isnan(frozen.full(2).stderr).all()


def test_a_network_with_infinite_output_makes_the_result_nan_with_a_warning():
    net = mlp(1, (3,), activation="exp", sigma_w=40.0)
    with pytest.warns(NNQFTWarning, match="collapses|NaN or infinity"):
        got = eft.reweight(net, [[0.1]], potential={4: 1.0}, region=([[9.0]], [1.0]), n_nets=2000)
    with pytest.warns(NNQFTWarning, match="NaN or infinity"):
        assert np.isnan(got.full(2).mean).all() and np.isnan(got.n_eff)


def test_few_networks_give_no_error_bar():
    with pytest.warns(NNQFTWarning):
        got = eft.reweight(erf_net(5, dim_in=1), X, potential={2: 0.1}, region=REGION, n_nets=40)
        assert np.isnan(got.full(2).stderr).all() and np.isfinite(got.full(2).mean).all()


def test_a_box_integrates_polynomials_exactly():
    region = eft.box([-1.0, 0.0], [2.0, 0.5], nodes=(4, 3))
    assert region.points.shape == (12, 2)
    x, y = region.points.T
    assert region.weights.sum() == pytest.approx(1.5)
    assert region.weights @ (x**7 * y**5) == pytest.approx((2**8 - 1) / 8 * 0.5**6 / 6)


NET = erf_net(5, dim_in=1)


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"net": "erf"}, ArgumentError, "net must be a Network, got str"),
    ({"x": [[np.nan]]}, ArgumentError, "row 0 is not"),
    ({"x": np.zeros((2, 3))}, ShapeError, "3"),
    ({"potential": {3: 1.0}}, ArgumentError, "even and in 2 .. 16, got 3"),
    ({"potential": {4.5: 1.0}}, ArgumentError, "must be an integer, got float"),
    ({"potential": {18: 1.0}}, ArgumentError, "got 18"),
    ({"potential": {2: 1.0, 4: -0.1}}, ArgumentError, "no lower bound"),
    ({"potential": {2: -1.0, 4: 0.0}}, ArgumentError, "no lower bound"),
    ({"potential": {4: np.inf}}, ArgumentError, "finite number, got inf"),
    ({"potential": {}}, ArgumentError, "mapping"),
    ({"potential": 0.1}, ArgumentError, "mapping"),
    ({"potential": []}, ArgumentError, "no potential"),
    ({"region": None}, ArgumentError, "box"),
    ({"region": ([[0.0]], [1.0, 2.0])}, ShapeError, r"\(1, 1\) and weights of shape \(2,\)"),
    ({"region": (np.zeros((2, 2)), np.ones(2))}, ShapeError, r"expected \(Q, 1\)"),
    ({"region": (np.zeros((0, 1)), np.ones(0))}, ShapeError, "Q >= 1"),
    ({"region": (np.zeros((70_000, 1)), np.ones(70_000))}, ArgumentError, "70000 points is more than 65536"),
    ({"region": ([[0.0]], [-1.0])}, ArgumentError, "weights positive"),
    ({"region": ([[np.inf]], [1.0])}, ArgumentError, "must be finite"),
    ({"n_nets": 0}, ArgumentError, "n_nets"),
    ({"orders": (3,)}, ArgumentError, "odd functions vanish"),
    ({"sampler": "dice"}, ArgumentError, "unknown sampler"),
    ({"seed": -1}, ArgumentError, "seed"),
])  # fmt: skip
def test_bad_input_is_named(change, error, message):
    given = {"net": NET, "x": X, "potential": {4: 0.1}, "region": REGION, "n_nets": 100} | change
    net, x = given.pop("net"), given.pop("x")
    with pytest.raises(error, match=message):
        eft.reweight(net, x, **given)


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda: eft.box(1.0, 0.0), ArgumentError, "low < high"),
    (lambda: eft.box([0, 0], [1]), ShapeError, "corners"),
    (lambda: eft.box(0, np.inf), ArgumentError, "finite corners"),
    (lambda: eft.box(0, 1, nodes=0), ArgumentError, "nodes must lie in"),
    (lambda: eft.box([0, 0, 0], [1, 1, 1], nodes=100), ArgumentError, "more than 65536"),
    (lambda: eft.box([0, 0], [1, 1], nodes=[3]), ShapeError, "1 numbers of nodes came for 2 axes"),
    (lambda: eft.perturbation(NET, X, potential={6: 1.0}, region=REGION, order=4), ArgumentError, "10-point function"),
    (lambda: eft.perturbation(erf_net(5, dim_in=1, dim_out=2), X, potential={4: 1.0}, region=REGION), ArgumentError, "one output"),
    (lambda: eft.reweight(NET, X, potential={4: 0.1}, region=REGION, n_nets=300).full(6), ArgumentError, "order 6 is not at hand"),
])  # fmt: skip
def test_bad_calls_are_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
