"""Pictures of diagrams: every line once, parallel lines and loops apart, labels in place, nothing random."""

import itertools

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.patches import PathPatch, Polygon
from nnqft import plot
from nnqft._diagrams._layout import bezier, layout
from nnqft.errors import ArgumentError
from nnqft.wick import diagrams

EXCHANGE = ("z_i(t)", "z_i(u)", "h_j(t)", "h_j(u)")
RESPONSE = {("h", "z"): "causal", ("h", "h"): "plain"}
GALLERY = [
    *diagrams(4, [4, 4]),
    *diagrams(2, [4, 4, 4]),
    *diagrams(0, [4, 6]),
    *diagrams(3, [3, 4]),
    *diagrams(["h_a", "h_a"], [EXCHANGE] * 2, propagators=RESPONSE),
]


@pytest.fixture
def ax():
    return plot.canvas()[1][0, 0]


def parts(artists, kind):
    return [artist for artist in artists if type(artist) is kind]


@pytest.mark.parametrize("d", GALLERY[::5], ids=str)
def test_every_line_is_one_curve_between_its_nodes(d, ax):
    placed = layout(d)
    assert len(placed.lines) == sum(edge.multiplicity for edge in d.edges)
    assert len(parts(plot.diagram(d, ax=ax), PathPatch)) == len(placed.lines)
    for curve, edge, (a, b) in placed.lines:
        assert {a[0], b[0]} == {edge.a, edge.b}
        np.testing.assert_allclose(curve[[0, -1]], [placed.nodes[a], placed.nodes[b]], atol=1e-12)


@pytest.mark.parametrize("d", GALLERY[::5], ids=str)
def test_nodes_and_the_middles_of_lines_keep_apart(d):
    placed = layout(d)
    nodes = np.array(list(placed.nodes.values()))
    middles = np.array([bezier(curve, 0.5) for curve, *_ in placed.lines])
    for points, least in ((nodes, 0.3), (middles, 0.1)):
        assert all(np.hypot(*(p - q)) > least for p, q in itertools.combinations(points, 2))


def test_a_picture_is_the_same_each_time():
    d = diagrams(4, [4, 4, 4])[7]
    np.testing.assert_array_equal(layout(d).points(), layout(d).points())


def test_external_points_are_labelled_left_and_right_in_their_order(ax):
    (star,) = (d for d in diagrams(4, [4]) if d.connected)
    nodes = layout(star).nodes
    x = {i: nodes[f"x{i}", ""] for i in range(4)}
    assert x[0][0] < 0 < x[2][0]
    assert x[1][0] < 0 < x[3][0]
    assert x[0][1] > x[1][1]
    assert x[2][1] > x[3][1]
    texts = {artist.get_text() for artist in plot.diagram(star, ax=ax) if hasattr(artist, "get_text")}
    assert texts == {f"$x_{{{i}}}$" for i in range(4)}
    assert not any(hasattr(artist, "get_text") for artist in plot.diagram(star, ax=ax, labels=False))


def test_arrows_point_to_the_later_end(ax):
    (d,) = diagrams(["h", "z"], [], propagators=RESPONSE)
    nodes = layout(d).nodes
    (arrow,) = parts(plot.diagram(d, ax=ax), Polygon)
    tip, *wings = arrow.get_xy()[:3]
    forward = nodes["x0", ""] - nodes["x1", ""]
    assert np.dot(tip - np.mean(wings, axis=0), forward) > 0
    assert ax.texts[0].get_text() == "$h(x_{0})$"


def test_a_gallery_shows_each_topology_once_with_its_count(ax):
    found = diagrams(4, [4, 4])
    artists = plot.diagrams(found, ax=ax)
    captions = [artist.get_text() for artist in artists if hasattr(artist, "get_text")]
    assert len(captions) == len({d.topology for d in found}) == 11
    assert captions[0] == r"3 $\times$ 576,  $S = 2$"
    assert len(parts(plot.diagrams(found[:3], ax=ax, merge=False, columns=2), PathPatch)) == 18
    indexed = diagrams(["p_1", "p_1"], [("p_i", "p_i", "p_j", "p_j")])
    assert [t.get_text() for t in plot.diagrams(indexed, ax=ax) if hasattr(t, "get_text")][:2] == [
        "8,  $S = 1$",
        "4 $N$,  $S = 2$",
    ]


def test_a_diagram_draws_itself_and_saves_without_a_display(tmp_path):
    figure, axes = plot.canvas()
    diagrams(2, [4, 4])[2].draw(ax=axes[0, 0])
    figure.savefig(tmp_path / "sunset.png")
    assert (tmp_path / "sunset.png").stat().st_size > 1000


def test_a_diagram_without_nodes_is_an_empty_picture(ax):
    assert plot.diagram(diagrams(0, [])[0], ax=ax) == []


@pytest.mark.parametrize("wrong", [None, "x0-x1", 4])
def test_other_objects_are_refused(wrong, ax):
    with pytest.raises(ArgumentError, match="expected a Diagram"):
        plot.diagram(wrong, ax=ax)
    with pytest.raises(ArgumentError, match="expected a Diagram"):
        plot.diagrams([wrong], ax=ax)


def test_empty_galleries_and_odd_columns_are_refused(ax):
    with pytest.raises(ArgumentError, match="no diagrams to draw"):
        plot.diagrams([], ax=ax)
    for columns in (0, 1.5, True):
        with pytest.raises(ArgumentError, match="columns must be"):
            plot.diagrams(diagrams(2, [4]), ax=ax, columns=columns)
