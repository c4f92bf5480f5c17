"""Figures draw what they are given: exact curves as lines, measurements as points, the untrustworthy as crosses."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from nnqft import plot
from nnqft.errors import ArgumentError, ShapeError
from nnqft.tensor import SymmetricTensor


@pytest.fixture
def ax():
    return plot.canvas()[1][0, 0]


def curve(**changes):
    values = {
        "widths": [2, 5, 10, 20],
        "value": [0.5, 0.2, 0.1, 0.06],
        "stderr": [0.01] * 4,
        "exact": [0.5, 0.2, 0.1, 0.05],
    }
    return SimpleNamespace(**values | {"background": [0.07] * 4} | changes)


def lines(ax, **wanted):
    return [line for line in ax.lines if all(getattr(line, "get_" + name)() == value for name, value in wanted.items())]


def test_importing_the_module_loads_no_part_of_matplotlib():
    code = "import sys, nnqft.plot, nnqft.experiments.halverson; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_theme_leaves_matplotlibs_settings_as_they_were():
    import matplotlib

    before = dict(matplotlib.rcParams)
    with plot.theme():
        assert matplotlib.rcParams["axes.linewidth"] != before["axes.linewidth"]
    assert dict(matplotlib.rcParams) == before


def test_exact_values_are_a_line_without_markers_and_measurements_markers_without_a_line(ax):
    plot.against_width(curve(), ax=ax)
    (exact,) = lines(ax, linestyle="-")
    (points,) = lines(ax, marker="o")
    assert exact.get_marker() == "None"
    assert points.get_linestyle() == "None"
    np.testing.assert_array_equal(exact.get_ydata(), curve().exact)
    np.testing.assert_array_equal(points.get_ydata(), curve().value)


def test_points_below_the_background_are_hollow(ax):
    plot.against_width(curve(resolved=[True, True, True, False]), ax=ax)
    faces = {tuple(line.get_xdata()): line.get_markerfacecolor() for line in lines(ax, marker="o")}
    assert faces == {(2, 5, 10): plot.COLORS["blue"], (20,): "white"}


def test_untrusted_points_are_crosses_without_error_bars_and_have_no_background(ax):
    plot.against_width(curve(trusted=[False, True, True, True]), ax=ax)
    (cross,) = lines(ax, marker="x")
    assert cross.get_xdata().tolist() == [2]
    (bars,) = ax.containers
    assert len(bars.lines[2][0].get_segments()) == 3
    (background,) = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert np.isnan(background.get_ydata()[0])


def test_an_error_bar_that_reaches_zero_stays_on_a_logarithmic_axis(ax):
    plot.against_width(curve(stderr=[1.0] * 4), ax=ax)
    (bars,) = ax.containers
    assert min(segment[:, 1].min() for segment in bars.lines[2][0].get_segments()) > 0


def test_an_exact_zero_is_not_drawn_on_a_logarithmic_axis(ax):
    plot.against_width(curve(exact=[0.0] * 4), ax=ax)
    assert not lines(ax, linestyle="-")


def test_curves_of_different_lengths_are_refused(ax):
    with pytest.raises(ShapeError, match="differ in shape"):
        plot.against_width(curve(stderr=[0.1]), ax=ax)


def test_something_that_is_no_axes_is_refused():
    with pytest.raises(ArgumentError, match="Axes"):
        plot.against_width(curve(), ax=3)


def test_a_tensor_is_labelled_by_its_multi_indices(ax):
    T = SymmetricTensor([1.0, 0.5, 2.0], [0.1, 0.02, 0.3], order=2, size=2)
    plot.tensor(T, ax=ax, exact=T)
    assert [text.get_text() for text in ax.get_xticklabels()] == ["00", "01", "11"]
    with pytest.raises(ShapeError, match="3 entries"):
        plot.tensor(T, ax=ax, exact=[1.0])


def test_pulls_and_ratios_and_costs_return_their_artists(ax):
    assert len(plot.pulls([(2, [0.5, -1.0]), (5, [2.0])], ax=ax, bound=3.0)) == 5
    assert len(plot.pulls([], ax=ax)) == 3
    assert len(plot.ratios(SimpleNamespace(widths=[2], ratio=[1.0], stderr=[0.1]), ax=ax)) == 2
    assert len(plot.nets_needed(SimpleNamespace(widths=[2, 4], nets=[1e4, np.nan], exact=[1e4, 1e4]), ax=ax)) == 2


def test_without_axes_pyplots_current_ones_are_used():
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, ax = pyplot.subplots()
    plot.against_width(curve())
    assert ax.lines
    pyplot.close(figure)
