"""Pictures of diagrams on matplotlib Axes."""

import numpy as np

from ..errors import ArgumentError
from ._classes import Diagram
from ._layout import bezier, layout

_STYLES = ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))


def draw(ax, diagram, placed, *, labels, color, accent, at=(0.0, 0.0)):
    """Draw one diagram, laid out by `layout`, with its centre at `at`; artists."""
    from matplotlib.patches import PathPatch, Polygon
    from matplotlib.path import Path

    points = placed.points()
    shift = np.asarray(at) - (points.min(axis=0) + points.max(axis=0)) / 2 if len(points) else np.zeros(2)
    style = _line_styles(diagram)
    artists = []
    for a, b in placed.links:
        ends = np.array([placed.nodes[a], placed.nodes[b]]) + shift
        artists += ax.plot(*ends.T, color="0.75", lw=3.0, solid_capstyle="round", zorder=1)
    for curve, edge, ends in placed.lines:
        path = Path(curve + shift, [Path.MOVETO] + [Path.CURVE4] * (len(curve) - 1))
        look = {"ec": color, "lw": 1.3, "ls": style[edge.legs[0].field, edge.legs[1].field], "capstyle": "round"}
        artists.append(ax.add_patch(PathPatch(path, fill=False, zorder=2, **look)))
        if edge.kind in ("directed", "causal"):
            head = _arrow(curve, placed.nodes[ends[0]]) + shift
            artists.append(ax.add_patch(Polygon(head, fc=color, ec="none", zorder=3)))
    for (name, point), position in placed.nodes.items():
        x, y = position + shift
        if name[0] == "y":
            artists += ax.plot([x], [y], "o", color=color, ms=5.0, zorder=4)
            continue
        artists += ax.plot([x], [y], "o", mfc="white", mec=accent, ms=5.5, mew=1.2, zorder=4)
        if labels:
            artists.append(_label(ax, (x, y), placed.outward((name, point)), _name(diagram, int(name[1:])), accent))
    return artists


def _label(ax, xy, outward, text, color):
    dx, dy = outward
    sides = {
        "ha": "left" if dx > 0.4 else "right" if dx < -0.4 else "center",
        "va": "bottom" if dy > 0.4 else "top" if dy < -0.4 else "center",
    }
    return ax.annotate(text, xy, xytext=(6 * dx, 6 * dy), textcoords="offset points", color=color, **sides)


def _name(diagram, i):
    """x_i, with the field in front where external fields differ."""
    if len({leg.field for leg in diagram.external}) == 1:
        return f"$x_{{{i}}}$"
    return f"${_math(diagram.external[i].field)}(x_{{{i}}})$"


def draw_one(ax, diagram, **options):
    """One diagram that fills the Axes."""
    placed = layout(diagram)
    artists = draw(ax, diagram, placed, **options)
    width, height = _size(placed) / 2
    _frame(ax, -width, width, -height, height, 0.45)
    return artists


def draw_many(ax, diagrams, *, columns, merge, **options):
    """A grid of diagrams in one Axes, captioned with their numbers of pairings."""
    groups = {}
    for d in diagrams:
        groups.setdefault((d.vertices, d.topology, d.index_loops) if merge else id(d), []).append(d)
    placed = [layout(group[0]) for group in groups.values()]
    sizes = np.array([_size(p) for p in placed])
    width, height = sizes.max(axis=0) + [1.0 if merge else 1.5, 1.3]
    if columns is None:
        columns = min(len(groups), max(1, round(np.sqrt(1.5 * len(groups) * height / width))))
    artists, top = [], 0.0
    pictures = list(zip(groups.values(), placed, strict=True))
    for first in range(0, len(pictures), columns):
        rise = max(sizes[first : first + columns, 1].max(), 0.4)
        for column, (group, p) in enumerate(pictures[first : first + columns]):
            x = column * width
            artists += draw(ax, group[0], p, at=(x, top - rise / 2), labels=not merge, **options)
            words = {"ha": "center", "va": "top", "fontsize": "small", "color": "0.25"}
            artists.append(ax.text(x, top - rise - (0.3 if merge else 0.5), _caption(group), **words))
        top -= rise + (1.3 if merge else 1.6)
    _frame(ax, -width / 2, (min(columns, len(groups)) - 0.5) * width, top + 0.7, 0.0, 0.3)
    return artists


def _size(placed):
    return np.ptp(placed.points(), axis=0) if placed.nodes else np.zeros(2)


def _caption(group):
    """ "3 x 576, S = 2": labellings, pairings of each, symmetry factor, and powers of N where there are indices."""
    d = group[0]
    words = (f"{len(group)} $\\times$ " if len(group) > 1 else "") + str(d.pairings)
    if any(leg.indices for leg in d.external) or any(leg.indices for legs in d.vertices for leg in legs):
        words += ["", " $N$"][d.index_loops] if d.index_loops < 2 else f" $N^{{{d.index_loops}}}$"
    return f"{words},  $S = {d.symmetry_factor}$"


def _line_styles(diagram):
    """Fields of a line -> its style: by the first field's place in the alphabet; directed ones solid, deltas dotted."""
    kinds = {tuple(leg.field for leg in edge.legs): edge.kind for edge in diagram.edges}
    contact = {name for pair, kind in kinds.items() if kind == "delta" for name in pair}
    legs = [*diagram.external, *(leg for vertex in diagram.vertices for leg in vertex)]
    names = sorted({leg.field for leg in legs} - contact)
    special = {"directed": "-", "causal": "-", "delta": (0, (1, 1.2))}
    return {
        pair: special[kind] if kind in special else _STYLES[names.index(pair[0]) % 4] for pair, kind in kinds.items()
    }


def _arrow(curve, head):
    """A small triangle in the middle of a curve, pointing along it to its end `head`."""
    tip = bezier(curve, 0.5)
    direction = bezier(curve, 0.52) - bezier(curve, 0.48)
    if np.allclose(curve[0], head):
        direction = -direction
    direction = direction / np.hypot(*direction)
    across = np.array([-direction[1], direction[0]])
    return np.array(
        [tip + 0.10 * direction, tip - 0.07 * direction + 0.07 * across, tip - 0.07 * direction - 0.07 * across]
    )


def _math(name):
    """A field's name in mathtext: "h~" is h with a tilde, "phi" the letter."""
    base = name.rstrip("~*'")
    greek = "alpha beta gamma delta epsilon zeta eta theta lambda mu nu xi pi rho sigma tau phi chi psi omega"
    body = f"\\{base}" if base in greek.split() else base if len(base) == 1 else f"\\mathrm{{{base}}}"
    for mark in name[len(base) :]:
        body = f"\\tilde{{{body}}}" if mark == "~" else f"{{{body}}}^{{*}}" if mark == "*" else f"{body}'"
    return body


def _frame(ax, left, right, bottom, top, margin):
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_xlim(left - margin, right + margin)
    ax.set_ylim(bottom - margin, top + margin)


def check(diagram):
    """ArgumentError unless it is a diagram."""
    if not isinstance(diagram, Diagram):
        raise ArgumentError(f"expected a Diagram, got {type(diagram).__name__}")
