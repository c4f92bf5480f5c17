"""Figures of spectra show the numbers they are given."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from nnqft import plot
from nnqft.errors import ArgumentError
from nnqft.hessian import dyson_density
from nnqft.lanczos import SpectralDensity, kpm, slq

VALUES = np.concatenate([np.linspace(-1, 1, 150), [4.0, 30.0]])
S = slq(np.diag(VALUES), 25, probes=4, distribution="gaussian")


@pytest.fixture
def ax():
    return plot.canvas()[1][0, 0]


@pytest.mark.parametrize("scale", ["linear", "symlog"])
def test_a_density_is_a_line_with_a_band(ax, scale):
    line, band = plot.spectral_density(S, ax=ax, scale=scale, label="measured")
    x, y = line.get_data()
    np.testing.assert_allclose(y, S.density(x, scale=scale))
    assert line.get_label() == "measured" and ax.get_yscale() == ("log" if scale == "symlog" else "linear")
    ax.figure.canvas.draw()  # the transform of the axis works
    if scale == "symlog":
        ticks = ax.get_xticks()
        assert 0 in ticks and (ticks < 0).any() and (ticks > 0).any() and len(ticks) <= 14
        assert (np.diff(ax.transData.transform(np.column_stack([x, np.ones_like(x)]))[:, 0]) > 0).all()


def test_a_chebyshev_density_is_drawn_on_a_linear_scale_only(ax):
    result = kpm(np.diag(np.linspace(-1, 1, 100)), 30, probes=1)
    line, band = plot.spectral_density(result, ax=ax)
    np.testing.assert_allclose(line.get_ydata(), result.density(line.get_xdata()))
    with pytest.raises(ArgumentError, match="linear scale only"):
        plot.spectral_density(result, ax=ax, scale="symlog")


def test_a_distribution_has_its_band_its_bounds_and_the_exact_curve(ax):
    line, band, bounds, exact = plot.spectral_cdf(S, ax=ax, exact=VALUES, bounds=True)
    x = line.get_xdata()
    np.testing.assert_allclose(line.get_ydata(), S.cdf(x))
    np.testing.assert_allclose(exact.get_ydata(), SpectralDensity.from_eigenvalues(VALUES).cdf(x))
    assert x[0] < VALUES.min() and x[-1] > VALUES.max()
    chebyshev = kpm(np.diag(VALUES), 20, probes=2)
    assert len(plot.spectral_cdf(chebyshev, ax=ax)) == 2
    with pytest.raises(ArgumentError, match="no bounds"):
        plot.spectral_cdf(chebyshev, ax=ax, bounds=True)


def test_a_spectrum_of_one_point_still_has_a_distribution(ax):
    line, _ = plot.spectral_cdf(slq(np.eye(3), 2), ax=ax)
    assert {0.0, 1.0} <= set(line.get_ydata())


def test_eigenvalues_lie_under_their_law_without_the_atom(ax):
    law = dyson_density([[0.0, 1.0], [1.0, 0.0]], np.linspace(-1.5, 1.5, 41)[::-1], weights=[0.25, 0.75])
    X = np.random.default_rng(1).normal(size=(50, 150)) / np.sqrt(200)
    values = np.linalg.eigvalsh(np.block([[np.zeros((50, 50)), X], [X.T, np.zeros((150, 150))]]))
    stairs, line = plot.spectrum_over_law(values, law, ax=ax, bins=20)
    heights, edges, _ = stairs.get_data()
    assert np.sum(heights * np.diff(edges)) == pytest.approx(0.5)  # 100 of 200 are not zero
    assert "0.5 at 0" in line.get_label() and (np.diff(line.get_xdata()) > 0).all()
    curve, _ = plot.spectrum_over_law(S, law, ax=ax)
    np.testing.assert_allclose(curve.get_ydata(), S.density(curve.get_xdata()))
    for wrong in ([], [[1.0]], [np.nan]):
        with pytest.raises(ArgumentError, match="finite eigenvalues"):
            plot.spectrum_over_law(wrong, law, ax=ax)
