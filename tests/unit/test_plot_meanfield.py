"""The figure of corrections against depth draws the numbers of the result."""

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from nnqft import plot
from nnqft.meanfield import finite_width
from nnqft.networks import mlp


def test_every_point_has_a_line_for_the_vertex_and_one_for_the_kernel():
    deep = finite_width(mlp(1, (100, 200, 150), activation="tanh", sigma_w=1.4, sigma_b=0.2), [0.3, 1.0])
    _, axes = plot.canvas()
    _, *lines = plot.depth(deep, ax=axes[0, 0], label="tanh")
    n = np.array(deep.fan_in)
    for point, (vertex, shift) in enumerate(zip(lines[:2], lines[2:], strict=True)):
        K = deep.K[:, point, point]
        np.testing.assert_allclose(vertex.get_ydata(), deep.V[:, point, point, point, point] / (n * K**2))
        np.testing.assert_allclose(shift.get_ydata(), deep.G[:, point, point] / (n * K))
    assert [line.get_label() for line in lines].count("tanh") == 1


def test_a_point_that_vanishes_is_a_gap():
    deep = finite_width(mlp(1, (100, 200), activation="relu"), [0.0, 1.0])
    _, axes = plot.canvas()
    _, zero, one, *_ = plot.depth(deep, ax=axes[0, 0])
    assert np.isnan(zero.get_ydata()).all() and np.isfinite(one.get_ydata()).all()
