"""Couplings from exact correlators: closed forms, two routes to each number, and what a fit can know."""

import itertools
import math

import numpy as np
import pytest

from nnqft.eft import fit_couplings, predict_six_point, quartic_coupling, sextic_coupling
from nnqft.ensemble import exact_correlators
from nnqft.errors import NNQFTWarning
from nnqft.networks import cos_net, erf_net, gauss_net, nngp, relu_net
from nnqft.tensor import Estimate, SymmetricTensor
from nnqft.wick import pairings

SPREAD = np.array([[-1.0], [-0.6], [-0.2], [0.2], [0.6], [1.0]])
POSITIVE = np.array([[0.2], [0.4], [0.6], [0.8], [1.0], [1.2]])
EPS = np.finfo(float).eps


def multisets(m, n):
    return np.array(list(itertools.combinations_with_replacement(range(m), n)))


def packed(values, order, size):
    return SymmetricTensor(values, 0, order=order, size=size)


def gaussian_integral(x, n, sigma_w=1.0):
    """int prod_n K_W for a Gaussian kernel in one dimension."""
    s = x.ravel()[multisets(len(x), n)]
    exponent = -(sigma_w**2 / 2) * ((s * s).sum(1) - s.sum(1) ** 2 / n)
    return packed(sigma_w ** (2 * n) * math.sqrt(2 * math.pi / n) / sigma_w * np.exp(exponent), n, len(x))


def relu_integral(x, n, cutoff, *, power=0, loops=0):
    """K_W(x, y) = x y / 2 for x, y > 0 without a bias: int_0^cutoff y^power (y y / 2)^loops prod_n (x y / 2)."""
    s = x.ravel()[multisets(len(x), n)]
    top = n + power + 2 * loops + 1
    return packed(s.prod(1) * 2.0 ** -(n + loops) * cutoff**top / top, n, len(x))


def relu_tree(x, cutoff):
    """10 splits, each prod x / 2^7 (int y^4)^2."""
    s = x.ravel()[multisets(len(x), 6)]
    return packed(10 * s.prod(1) / 128 * (cutoff**5 / 5) ** 2, 6, len(x))


def quadrature(net, x, cutoff, nodes=400):
    """K_W(x_i, y_k) and weights, by Gauss and Legendre; for kernels that are smooth in the box."""
    t, w = np.polynomial.legendre.leggauss(nodes)
    y, w = cutoff * t, cutoff * w
    return nngp(net, x, y[:, None]) - net.sigma_b**2, y, w


# ---- pointwise couplings


@pytest.mark.parametrize("width", [2, 20, 1000])
@pytest.mark.parametrize("cutoff", [0.5, 1.0, 100.0])
def test_relu_net_has_one_coupling_for_all_inputs(width, cutoff):
    exact = exact_correlators(relu_net(width, dim_in=1), POSITIVE)
    coupling = quartic_coupling(exact, relu_integral(POSITIVE, 4, cutoff))
    expected = -0.625 * (20 / width) / cutoff**5
    # Moments of one neuron come from a quadrature that is right to 1e-13.
    np.testing.assert_allclose(coupling.pointwise.mean, expected, rtol=1e-12)
    assert coupling.mean.mean == pytest.approx(expected, rel=1e-12)
    assert coupling.stderr == 0
    assert not coupling.pointwise.stderr.any()
    assert coupling.spread < 1e-12
    assert coupling.inputs == 1


def test_the_two_signs_are_opposite():
    exact = exact_correlators(erf_net(5, dim_in=1), SPREAD)
    I4 = packed(np.arange(1.0, 127.0), 4, 6)
    action, table = (quartic_coupling(exact, I4, sign=sign) for sign in ("action", "table"))
    np.testing.assert_array_equal(action.pointwise.mean, -table.pointwise.mean)
    assert table.mean.mean == -action.mean.mean


def test_positive_kurtosis_means_negative_lambda():
    assert (
        quartic_coupling(Estimate(1.0, 0.1), 1.0).mean.mean < 0 < quartic_coupling(Estimate(-1.0, 0.1), 1.0).mean.mean
    )


def test_coupling_times_width_does_not_depend_on_the_width():
    values = []
    for width in (2, 50, 5000):
        coupling = quartic_coupling(exact_correlators(cos_net(width, dim_in=1), SPREAD), gaussian_integral(SPREAD, 4))
        values.append(width * coupling.pointwise.mean)
    np.testing.assert_allclose(values[1:], [values[0]] * 2, rtol=1e-11)


@pytest.mark.parametrize("shift", [0.3, 1.0])
def test_shifted_inputs_leave_cos_nets_couplings_and_change_gauss_nets(shift):
    """Both have the kernel exp(-(x - y)^2 / 2); only the cos-net is translation invariant at finite width."""
    couplings = {}
    for make in (cos_net, gauss_net):
        net = make(100, dim_in=1)
        couplings[make] = [
            quartic_coupling(exact_correlators(net, x), gaussian_integral(x, 4)).pointwise.mean
            for x in (SPREAD, SPREAD + shift)
        ]
    before, after = couplings[cos_net]
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-12 * abs(before).max())
    before, after = couplings[gauss_net]
    assert np.median(abs(after / before - 1)) > 0.5


def test_gauss_net_varies_by_a_factor_of_410_under_a_shift_by_one():
    lam = []
    for a in (0.0, 1.0):
        x = np.array([[a], [a + 0.5]])
        lam.append(
            quartic_coupling(exact_correlators(gauss_net(1, dim_in=1), x), gaussian_integral(x, 4))
            .pointwise[0, 0, 1, 1]
            .mean
        )
    assert lam[1] / lam[0] == pytest.approx(66077 / 161.24, rel=1e-4)


def test_entries_of_a_larger_integral_are_found_by_their_indices():
    exact = exact_correlators(erf_net(5, dim_in=1), SPREAD).connected(4)
    rows = [[0, 0, 1, 1], [0, 2, 3, 5]]
    at = exact.rank(np.array(rows))
    some = SymmetricTensor(exact.mean[at], 0, order=4, size=6, index=rows)
    I4 = packed(np.arange(1.0, 127.0), 4, 6)
    np.testing.assert_array_equal(
        quartic_coupling(some, I4).pointwise.mean, quartic_coupling(exact, I4).pointwise.mean[at]
    )


# ---- sextic couplings


def test_relu_nets_sextic_coupling_has_its_closed_form_with_and_without_the_tree():
    width, cutoff = 20, 2.0
    exact = exact_correlators(relu_net(width, dim_in=1), POSITIVE, orders=(2, 4, 6))
    quartic = quartic_coupling(exact, relu_integral(POSITIVE, 4, cutoff))
    kappa = sextic_coupling(
        exact, relu_integral(POSITIVE, 6, cutoff), quartic=quartic, tree=relu_tree(POSITIVE, cutoff),
        loop=relu_integral(POSITIVE, 4, cutoff, loops=1),
    )  # fmt: skip
    # G_c^(6) / prod x = (15 * 15/2 - 45 * 3/2 * 1/2 + 30 / 8) / width^2, from M_2 = 1/2, M_4 = 3/2, M_6 = 15/2
    G6, I6 = 82.5 / width**2, cutoff**7 / 448
    lam = -0.625 / cutoff**5
    tree = (24 * lam) ** 2 * 10 / 128 * (cutoff**5 / 5) ** 2
    np.testing.assert_allclose(kappa.without_tree.pointwise.mean, -G6 / (720 * I6), rtol=1e-11)
    np.testing.assert_allclose(kappa.pointwise.mean, -(G6 - tree) / (720 * I6), rtol=1e-11)
    # The loop: I_4,loop = prod x cutoff^7 / (32 * 7)
    shift = 15 * kappa.mean.mean * (cutoff**7 / 224) / (cutoff**5 / 80)
    np.testing.assert_allclose(kappa.quartic_shift.pointwise.mean, shift, rtol=1e-11)
    np.testing.assert_allclose(kappa.loop.mean, -24 * shift * relu_integral(POSITIVE, 4, cutoff).mean, rtol=1e-11)
    assert kappa.stderr == kappa.without_tree.stderr == 0


def test_the_sign_of_the_tree_does_not_depend_on_conventions():
    x, cutoff = POSITIVE[:2], 1.0
    exact = exact_correlators(relu_net(20, dim_in=1), x, orders=(2, 4, 6))
    kappas = []
    for signs in itertools.product(("action", "table"), repeat=2):
        quartic = quartic_coupling(exact, relu_integral(x, 4, cutoff), sign=signs[0])
        kappa = sextic_coupling(
            exact, relu_integral(x, 6, cutoff), quartic=quartic, tree=relu_tree(x, cutoff), sign=signs[1]
        )
        kappas.append(kappa.mean.mean * (1 if signs[1] == "action" else -1))
    np.testing.assert_allclose(kappas, kappas[0], rtol=1e-14)


def test_the_action_with_one_variable_gives_its_cumulants_back():
    """One point, K = 1: exp(-f^2/2 - lambda f^4 - kappa f^6) has the cumulants that the diagrams say, to the order kept."""
    lam, kappa = 1e-4, 3e-8  # kappa of the order of lambda^2
    t, w = np.polynomial.hermite_e.hermegauss(120)
    weight = w * np.exp(-lam * t**4 - kappa * t**6)
    m2, m4, m6 = (np.sum(weight * t**n) / weight.sum() for n in (2, 4, 6))
    # The 2-point function is the exact one in this theory: rescale the field.
    m4, m6 = m4 / m2**2, m6 / m2**3
    G4, G6 = m4 - 3, m6 - 15 * m4 + 30
    found = quartic_coupling(Estimate(G4, 0), 1.0)
    assert found.mean.mean == pytest.approx(lam, rel=100 * lam)
    sextic = sextic_coupling(Estimate(G6, 0), 1.0, quartic=found, tree=packed([10.0], 6, 1))
    # The next order is lambda kappa and lambda^3, about 100 times lambda relative to kappa.
    assert sextic.mean.mean == pytest.approx(kappa, abs=1e3 * lam**3)
    assert abs(sextic.without_tree.mean.mean / kappa - 1) > 1


# ---- fits


def test_a_model_that_holds_is_found_again():
    rng = np.random.default_rng(1)
    terms = {name: packed(rng.normal(size=126), 4, 6) for name in "abc"}
    c = np.array([2.0, -0.3, 1e3])
    for sign, factor in (("table", 1), ("action", -1)):
        G = packed(factor * sum(ck * t.mean for ck, t in zip(c, terms.values(), strict=True)), 4, 6)
        fit = fit_couplings(G, terms, sign=sign)
        # Condition about 1.2 in unit columns; the largest term is 1e3 times the smallest coefficient.
        np.testing.assert_allclose(fit.values, c, rtol=1e4 * EPS, atol=1e4 * EPS)
        assert fit.identified.all()
        assert fit.rank == 3
        assert fit.mape < 1e-8
        assert not fit.stderr.any()
        np.testing.assert_allclose(fit.predict().mean, G.mean, atol=1e-11)


def test_units_of_the_terms_do_not_matter_to_least_squares():
    rng = np.random.default_rng(2)
    terms = {name: rng.normal(size=126) + 1 for name in "abc"}
    G = packed(rng.normal(size=126), 4, 6)
    one = fit_couplings(G, {k: packed(v, 4, 6) for k, v in terms.items()})
    unit = {"a": 1e-200, "b": 1.0, "c": 1e150}
    other = fit_couplings(G, {k: packed(v * unit[k], 4, 6) for k, v in terms.items()})
    np.testing.assert_allclose(other.values * list(unit.values()), one.values, rtol=1e-12)
    assert other.condition == pytest.approx(one.condition, rel=1e-12)


def test_collinearity_is_that_of_each_term_alone():
    """Two terms at an angle of 1e-5, a third orthogonal to both."""
    rng = np.random.default_rng(3)
    q = np.linalg.qr(rng.normal(size=(126, 3)))[0].T
    terms = {"a": packed(q[0], 4, 6), "b": packed(q[0] + 1e-5 * q[1], 4, 6), "c": packed(q[2], 4, 6)}
    G = SymmetricTensor(q[0] + q[2], 1e-3, order=4, size=6)
    with pytest.warns(NNQFTWarning, match="not identified: a, b"):
        fit = fit_couplings(G, terms, sign="table")
    np.testing.assert_allclose(fit.collinearity, [1e5, 1e5, 1.0], rtol=1e-6)
    assert fit.identified.tolist() == [False, False, True]
    assert fit.rank == 3
    assert np.isinf(fit.stderr[:2]).all()
    assert fit.stderr[2] == pytest.approx(1e-3, rel=1e-9)  # a unit column
    assert "not identified" in repr(fit)
    assert "c  1.0000(10)" in repr(fit)


@pytest.mark.parametrize("solver", ["lstsq", "min_norm", "ridge"])
def test_proportional_terms_are_never_identified(solver):
    rng = np.random.default_rng(4)
    a = rng.normal(size=126)
    terms = {"a": packed(a, 4, 6), "b": packed(-3 * a, 4, 6)}
    with pytest.warns(NNQFTWarning, match="not identified"):
        fit = fit_couplings(SymmetricTensor(a, 0.1, order=4, size=6), terms, solver=solver)
    assert fit.rank == 1
    assert fit.condition > 1e14
    assert not fit.identified.any()
    assert np.isinf(fit.stderr).all()
    assert np.isfinite(fit.covariance).all()


def test_gradient_descent_from_zero_ends_at_the_minimum_norm_point():
    """Rank 1: T = u (3, 4)^T, G = u; after convergence c = (3, 4) / 25."""
    u = np.random.default_rng(5).normal(size=126)
    T = np.outer(u, [3.0, 4.0])
    c = np.zeros(2)
    rate = 0.5 / np.linalg.norm(T, 2) ** 2
    for _ in range(200):
        c -= 2 * rate * T.T @ (T @ c - u)
    with pytest.warns(NNQFTWarning):
        fit = fit_couplings(
            packed(u, 4, 6), {"a": packed(T[:, 0], 4, 6), "b": packed(T[:, 1], 4, 6)}, sign="table", solver="min_norm"
        )
    np.testing.assert_allclose(fit.values, [3 / 25, 4 / 25], rtol=1e-12)
    np.testing.assert_allclose(fit.values, c, rtol=1e-12)


def test_ridge_tends_to_least_squares_and_its_bias_is_in_its_error():
    rng = np.random.default_rng(6)
    terms = {name: packed(rng.normal(size=126), 4, 6) for name in "ab"}
    G = packed(2 * terms["a"].mean - terms["b"].mean, 4, 6)
    weak, strong = (fit_couplings(G, terms, sign="table", solver="ridge", ridge=r) for r in (1e-12, 1e-4))
    np.testing.assert_allclose(weak.values, [2, -1], rtol=1e-11)
    bias = abs(strong.values - [2, -1])
    assert np.all(bias > 1e-5)
    np.testing.assert_allclose(strong.stderr, bias, rtol=1e-3)


def test_a_test_set_is_predicted():
    rng = np.random.default_rng(7)
    train, test = ({"a": packed(rng.normal(size=5), 4, 2)} for _ in range(2))
    G = packed(2 * test["a"].mean * [1, 1, 1, 1, 1.25], 4, 2)
    fit = fit_couplings(packed(2 * train["a"].mean, 4, 2), train, sign="table", test=(G, test))
    assert fit.mape < 1e-12
    assert fit.mape_test == pytest.approx(100 * (1 - 1 / 1.25) / 5)
    assert fit.mse_test == pytest.approx((0.5 * test["a"].mean[-1]) ** 2 / 5)


def test_model_zero_leaves_everything_unexplained():
    G = packed([1.0, -2.0, 3.0, 1.0, 1.0], 4, 2)
    fit = fit_couplings(G, "M0")
    assert (fit.mape, fit.mse, fit.names, fit.rank) == (100, 16 / 5, (), 0)


def test_quadrature_bounds_of_a_term_are_errors_of_its_coefficient():
    a = np.arange(1.0, 6.0)
    G = packed(2 * a, 4, 2)
    fit = fit_couplings(G, {"a": SymmetricTensor(a, 0.01 * a, order=4, size=2)}, sign="table")
    assert fit["a"].stderr == pytest.approx(0.02)
    coupling = quartic_coupling(G, SymmetricTensor(a, 0.01 * a, order=4, size=2), sign="table")
    assert coupling.stderr == pytest.approx(0.02 / 24)
    assert coupling.noise == 0


def test_independent_errors_average_down_and_common_ones_do_not():
    G = SymmetricTensor(np.ones(126), 0.1, order=4, size=6)
    coupling = quartic_coupling(G, packed(np.full(126, 1 / 24), 4, 6), sign="table")
    assert coupling.stderr == pytest.approx(0.1 / math.sqrt(126))
    np.testing.assert_allclose(coupling.pointwise.stderr, 0.1)
    assert coupling.noise == pytest.approx(0.1 * math.sqrt(125 / 126))


# ---- six-point functions


def wick_with_vertices(K, four, six):
    """G^(6) at (0, .., 5) from its definition: pairings, a 4-leg vertex with a spectator, a 6-leg vertex."""
    free = sum(math.prod(K[a, b] for a, b in row) for row in pairings(6).tolist())
    pairs = list(itertools.combinations(range(6), 2))
    quartic = sum(four[tuple(k for k in range(6) if k not in pair)].mean * K[pair] for pair in pairs)
    return free, quartic, six[0, 1, 2, 3, 4, 5].mean


@pytest.mark.parametrize(("lam", "kappa"), [(0.0, 1e-6), (1e-4, 0.0), (1e-4, 3e-8)])
def test_bare_couplings_of_one_variable_give_its_sixth_moment(lam, kappa):
    """exp(-f^2/2 - lambda f^4 - kappa f^6) in units of its second moment."""
    t, w = np.polynomial.hermite_e.hermegauss(120)
    weight = w * np.exp(-lam * t**4 - kappa * t**6)
    m2, m4, m6 = (np.sum(weight * t**n) / weight.sum() for n in (2, 4, 6))
    K, one, six, tree = np.ones((1, 1)), packed([1.0], 4, 1), packed([1.0], 6, 1), packed([10.0], 6, 1)
    if not lam:  # 15 - (5400 + 720) kappa; the next order has coefficients of some 1e7
        sixth = Estimate(kappa, 0)
        bare = predict_six_point(Estimate(0.0, 0), K, terms=one, sextic=sixth, sextic_integral=six, tree=tree, loop=one)
        assert m6 / m2**3 == pytest.approx(bare.total.mean[0], abs=3e7 * kappa**2)
        assert m4 / m2**2 - 3 == pytest.approx(-360 * kappa, abs=1e6 * kappa**2)
        return
    # A lambda from the whole G_c^(4) contains all loops: no loop term, and all of m6 up to order lambda^3.
    measured = quartic_coupling(Estimate(m4 / m2**2 - 3, 0), 1.0)
    total = predict_six_point(measured, K, sextic=Estimate(kappa, 0), sextic_integral=six, tree=tree).total.mean[0]
    next_order = 1e6 * lam**3 + 1e6 * lam * kappa
    assert m6 / m2**3 == pytest.approx(total, abs=next_order)
    assert abs(total - 15 + 360 * measured.mean.mean) > 5 * next_order


def test_terms_are_the_sums_they_say():
    rng = np.random.default_rng(8)
    K = rng.normal(size=(6, 6))
    K = K @ K.T
    I4, I6, T, L = (packed(rng.normal(size=math.comb(5 + n, n)), n, 6) for n in (4, 6, 6, 4))
    lam, kappa = -0.3, 0.7
    six = predict_six_point(
        Estimate(lam, 0), K, terms=I4, sextic=Estimate(kappa, 0), sextic_integral=I6, tree=T, loop=L
    )
    free, quartic, sextic = wick_with_vertices(K, I4, I6)
    _, loop, tree = wick_with_vertices(K, L, T)
    expected = {
        "free": free,
        "quartic": -24 * lam * quartic,
        "sextic": -720 * kappa * sextic,
        "tree": 576 * lam**2 * tree,
        "loop": -360 * kappa * loop,
    }
    assert six.powers == {"free": 0, "quartic": 1, "sextic": 2, "tree": 2, "loop": 2}
    for name, value in expected.items():
        assert six.terms[name][0, 1, 2, 3, 4, 5].mean == pytest.approx(value, rel=1e-12)
    assert six.total[0, 1, 2, 3, 4, 5].mean == pytest.approx(sum(expected.values()), rel=1e-11)
    assert six.up_to(1)[0, 1, 2, 3, 4, 5].mean == pytest.approx(free - 24 * lam * quartic, rel=1e-12)


@pytest.mark.parametrize("width", [2, 20])
def test_relu_net_is_reproduced_to_all_orders_by_lambda_and_kappa(width):
    """One coupling of each kind for all tuples, and f^8 does not enter G^(6): the prediction is exact."""
    x, cutoff = POSITIVE, 1.0
    exact = exact_correlators(relu_net(width, dim_in=1), x, orders=(2, 4, 6))
    quartic = quartic_coupling(exact, relu_integral(x, 4, cutoff))
    for tree in (relu_tree(x, cutoff), None):
        kappa = sextic_coupling(exact, relu_integral(x, 6, cutoff), quartic=quartic, tree=tree)
        six = predict_six_point(quartic, exact, sextic=kappa)
        assert six.complete == (1 if tree is None else 2)
        np.testing.assert_allclose(six.ratio(exact).mean, 1, rtol=1e-11)


def test_one_coupling_measured_per_tuple_gives_the_order_one_over_width_exactly():
    """sum_15 G_c^(4) K is all of G^(6) - G_GP^(6) - G_c^(6): an identity, whatever the kernel."""
    exact = exact_correlators(erf_net(5, dim_in=1), SPREAD, orders=(2, 4, 6))
    six = predict_six_point(fit_couplings(exact, {"itself": exact.connected(4)}, sign="table"), exact)
    expected = exact.full(6).mean - exact.gp(6).mean - exact.connected(6).mean
    np.testing.assert_allclose(six.terms["quartic"].mean, expected, rtol=1e-9, atol=1e-12)
    assert (six.complete, set(six.terms)) == (1, {"free", "quartic"})


def test_errors_of_terms_are_correlated():
    """quartic ~ lambda, tree ~ lambda^2, from one lambda: errors add before they are squared."""
    K, one = np.ones((1, 1)), packed([1.0], 4, 1)
    lam, error = -0.1, 0.01
    six = predict_six_point(
        Estimate(lam, error),
        K,
        terms=one,
        sextic=Estimate(0.0, 0.002),
        sextic_integral=packed([1.0], 6, 1),
        tree=packed([1.0], 6, 1),
    )
    slope = -24 * 15 + 2 * 576 * lam
    assert six.total.stderr[0] == pytest.approx(math.hypot(slope * error, 720 * 0.002))
    assert six.terms["quartic"].stderr[0] == pytest.approx(24 * 15 * error)
    assert six.up_to(0).stderr[0] == 0


def test_errors_of_a_fit_go_through_its_covariance():
    rng = np.random.default_rng(9)
    terms = {name: packed(rng.normal(size=5) + 2, 4, 2) for name in "ab"}
    fit = fit_couplings(SymmetricTensor(rng.normal(size=5), 0.1, order=4, size=2), terms)
    K = np.array([[2.0, 0.5], [0.5, 1.0]])
    six = predict_six_point(fit, K)
    J = np.column_stack(
        [predict_six_point(Estimate(1.0, 0), K, terms=t).terms["quartic"].mean / 24 for t in terms.values()]
    )
    np.testing.assert_allclose(six.terms["quartic"].mean, J @ fit.values, rtol=1e-12)
    np.testing.assert_allclose(
        six.terms["quartic"].stderr, np.sqrt(np.einsum("ik,kl,il->i", J, fit.covariance, J)), rtol=1e-10
    )
