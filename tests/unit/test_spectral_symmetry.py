"""Symmetry statistics: exact Hessians, hand-made spectra, error bars over probes and groups."""

import json
from pathlib import Path

import numpy as np
import pytest

from nnqft.errors import ArgumentError, ShapeError
from nnqft.lanczos import SpectralDensity, slq, spectral_symmetry

HESSIANS = json.loads((Path(__file__).parents[1] / "data" / "lanczos.json").read_text())["relu_hinge"]


@pytest.mark.parametrize("name", HESSIANS)
def test_relu_hinge_hessians_have_their_statistics(name):
    case = HESSIANS[name]
    stats, s = case["stats"], spectral_symmetry(case["eigs"])
    for ours, theirs in (("skew3", "skew3"), ("skew5", "skew5"), ("w1", "w1"), ("negative", "neg_frac"),
                         ("positive", "pos_frac"), ("edge_ratio", "edge_ratio"), ("trace_ratio", "trace_ratio")):  # fmt: skip
        assert getattr(s, ours).mean == pytest.approx(stats[theirs], rel=1e-11, abs=1e-13), ours
        assert getattr(s, ours).stderr == 0
    # The stored value was taken without a band around zero: the signs of rounded zeros add up to 3 / P to it.
    assert s.ks.mean <= stats["ks"] <= s.ks.mean + 3.5 / case["P"]
    assert s.n == case["P"] and s.negative.mean + s.zero.mean + s.positive.mean == pytest.approx(1)


def test_one_hidden_layer_is_exactly_symmetric():
    s = spectral_symmetry(HESSIANS["d2_8-10-1"]["eigs"])
    for name in ("trace_ratio", "skew3", "skew5", "w1", "ks", "odd_energy", "sign_test"):
        assert abs(getattr(s, name).mean) < 1e-12, name


def test_a_hand_made_spectrum():
    s = spectral_symmetry([-2.0, -1.0, 0.0, 1.0, 3.0])
    m2 = 15 / 5
    assert s.trace_ratio.mean == pytest.approx(0.2 / m2**0.5)
    assert s.skew3.mean == pytest.approx(19 / 5 / m2**1.5)
    # F(x) - (1 - F(-x)) is -1/5 between 2 and 3, on both sides, over E|x| = 7/5
    assert s.w1.mean == pytest.approx(2 * 0.2 / 1.4)
    assert (s.ks.mean, s.edge_ratio.mean) == pytest.approx((0.2, 2 / 3))
    assert s.participation.mean == pytest.approx(m2**2 / (99 / 5))
    assert s.sign_test.mean == pytest.approx(0)
    assert set(s.to_dict()) >= {"w1", "ks", "tol", "n"} and s.to_dict()["ks"]["mean"] == s.ks.mean


def test_a_one_sided_spectrum_is_as_asymmetric_as_can_be():
    s = spectral_symmetry([1.0, 2.0, 4.0])
    assert (s.w1.mean, s.ks.mean, s.positive.mean, s.negative.mean) == pytest.approx((2, 1, 1, 0))
    assert np.isnan(s.edge_ratio.mean)
    assert spectral_symmetry([1.0, 2.0, 4.0], width=0.05).odd_energy.mean == pytest.approx(0.5, abs=1e-12)


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e250])
def test_units_do_not_matter(factor):
    x = np.random.default_rng(1).normal(size=50) + 0.3
    a, b, c = spectral_symmetry(x), spectral_symmetry(x * factor), spectral_symmetry(-x * factor)
    for name in ("w1", "ks", "skew3", "participation"):
        assert getattr(b, name).mean == pytest.approx(getattr(a, name).mean, rel=1e-9)
    assert c.skew3.mean == pytest.approx(-a.skew3.mean) and c.negative.mean == a.positive.mean
    assert c.w1.mean == pytest.approx(a.w1.mean) and c.ks.mean == pytest.approx(a.ks.mean)


@pytest.mark.parametrize("x", [[0.0], [0.0, 0.0], [1.0], [-1.0, 1.0]])
def test_trivial_spectra_give_numbers(x):
    s = spectral_symmetry(x)
    assert all(
        np.isfinite(getattr(s, name).mean)
        for name in ("trace_ratio", "skew3", "w1", "ks", "odd_energy", "participation")
    )
    assert s.zero.mean == (1 if x[0] == 0 else 0)


def test_errors_over_groups_are_those_of_repeated_samples():
    rng = np.random.default_rng(2)
    draw = lambda: rng.gamma(3.0, size=4000) - 3
    runs = [spectral_symmetry(draw(), groups=20) for _ in range(80)]
    for name in ("trace_ratio", "skew3", "w1", "ks", "negative"):
        values, errors = np.array([[getattr(s, name).mean, getattr(s, name).stderr] for s in runs]).T
        # Spread known to 8 %, errors to 16 % each; skewness has the heavier tails.
        assert 0.7 < np.sqrt(np.mean(errors**2)) / values.std(ddof=1) < 1.4, name


def test_errors_over_probes_cover_the_exact_skewness():
    values = np.array(HESSIANS["d4_5-6-5-4-1"]["eigs"])
    Q = np.linalg.qr(np.random.default_rng(3).normal(size=(84, 84)))[0]
    A = (Q * values) @ Q.T
    # A Ritz value near the kernel scatters around 0 by less than the distance of its neighbours: the band has to cover it.
    exact = spectral_symmetry(values, tol=0.02)
    s = spectral_symmetry(slq((A + A.T) / 2, 30, probes=40, seed=4), tol=0.02)
    for name in ("trace_ratio", "skew3", "skew5", "negative", "positive"):
        estimate = getattr(s, name)
        # |t| < 5 with 39 degrees of freedom; 0.03: one Ritz value on the wrong side of the band's edge.
        assert abs(estimate.mean - getattr(exact, name).mean) < 5 * estimate.stderr + (0.03 if "tive" in name else 0)
        assert (
            0 < estimate.stderr < 0.5 * (1 if name != "skew5" else 20)
        )  # 84 eigenvalues and 40 probes say little about m5
    assert s.edge_ratio.mean == pytest.approx(exact.edge_ratio.mean, rel=1e-6)


def test_rows_are_groups_and_the_exact_density_has_no_error():
    x = np.random.default_rng(5).normal(size=(12, 100))
    rows = spectral_symmetry(x)
    assert rows.n == 100 and rows.skew3.stderr > 0
    assert rows.skew3.mean == pytest.approx(spectral_symmetry(x.ravel()).skew3.mean)
    exact = spectral_symmetry(SpectralDensity.from_eigenvalues(x[0]))
    assert (exact.w1.stderr, exact.w1.mean) == (0, pytest.approx(spectral_symmetry(x[0]).w1.mean, rel=1e-12))
    assert np.isnan(spectral_symmetry(x[:1]).skew3.stderr)


def test_the_zero_band_is_an_argument():
    s = spectral_symmetry([-1.0, -0.01, 0.02, 1.0, 2.0], tol=0.1)
    assert (s.zero.mean, s.negative.mean, s.tol) == (pytest.approx(0.4), pytest.approx(0.2), 0.1)
    # Zeros of one sign are no asymmetry for KS, which looks outside of the band.
    assert spectral_symmetry([-1.0, 0.05, 0.06, 0.07, 1.0], tol=0.2).ks.mean == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("x", "options", "error", "message"), [
    ([], {}, ShapeError, "not empty"), (np.ones((2, 2, 2)), {}, ShapeError, r"\(2, 2, 2\)"),
    ([1.0, np.nan], {}, ArgumentError, "not finite"), ([1j], {}, ShapeError, "complex"), ("text", {}, ShapeError, "real numbers"),
    ([1.0], {"tol": -1}, ArgumentError, "tol must be"), ([1.0, 2.0], {"groups": 3}, ArgumentError, "only 2 samples"),
    ([1.0, 2.0], {"groups": 1}, ArgumentError, "groups is 1"), (np.ones((2, 2)), {"groups": 2}, ArgumentError, "already"),
])  # fmt: skip
def test_senseless_input_is_refused(x, options, error, message):
    with pytest.raises(error, match=message):
        spectral_symmetry(x, **options)


def test_what_counts_as_zero_depends_on_how_well_values_are_known():
    values = np.array([-1.0, 1e-8, 1.0])
    assert spectral_symmetry(values).zero.mean == pytest.approx(0, abs=1e-15) and spectral_symmetry(values).tol == 1e-10
    S = SpectralDensity(values[None], np.full((1, 3), 1 / 3), 9)  # Ritz values
    assert spectral_symmetry(S).zero.mean == pytest.approx(1 / 3) and spectral_symmetry(S).tol == 1e-6
