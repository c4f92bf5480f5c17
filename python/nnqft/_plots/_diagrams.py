"""Figures of Feynman diagrams."""

from .._diagrams import _drawing
from ..errors import ArgumentError
from ._canvas import COLORS, axes_for

__all__ = ["diagram", "diagrams"]


def diagram(result, *, ax=None, labels=True, color=COLORS["black"], accent=COLORS["blue"]):
    """A Feynman diagram: external points as open circles, vertices as dots, loops and parallel lines bent apart.

    Parameters
    ----------
    result : Diagram
        From `nnqft.wick.diagrams`.
    ax : matplotlib Axes, optional
        Becomes a frameless picture with equal scales.
    labels : bool
        Write x_0, x_1, .. at the external points.
    color, accent : color
        Of lines and vertices, and of external points.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If `result` is no Diagram.

    Notes
    -----
    Arrows on directed and causal lines point to the later end. Dashes tell propagators of several fields apart, in
    the order of the fields' names; delta lines are dotted. The points of a vertex that has several are joined by a
    grey bar. The picture of a diagram is always the same; cost about 0.05 s.

    Examples
    --------
    >>> from nnqft.wick import diagrams
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> artists = plot.diagram(diagrams(4, [4, 4])[0], ax=axes[0, 0])
    """
    _drawing.check(result)
    return _drawing.draw_one(axes_for(ax), result, labels=labels, color=color, accent=accent)


def diagrams(result, *, ax=None, columns=None, merge=True, color=COLORS["black"], accent=COLORS["blue"]):
    """A gallery of Feynman diagrams in one Axes, row by row.

    Parameters
    ----------
    result : sequence of Diagram
    ax : matplotlib Axes, optional
    columns : int, optional
        Diagrams in a row; default: about as wide as 1.5 times the height.
    merge : bool
        One picture, without labels, for diagrams that differ in the labels of external points alone.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If `result` is empty or holds something else.

    Notes
    -----
    Captions: "3 x 576, S = 2" are three diagrams of 576 pairings each with symmetry factor 2; with indices a power of
    N. See `diagram` for the rest.

    Examples
    --------
    >>> from nnqft import wick
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas(size=(7, 5))
    >>> artists = plot.diagrams(wick.diagrams(4, [4, 4]), ax=axes[0, 0])
    """
    result = list(result)
    if not result:
        raise ArgumentError("there are no diagrams to draw")
    for each in result:
        _drawing.check(each)
    if columns is not None and (isinstance(columns, bool) or not hasattr(columns, "__index__") or columns < 1):
        raise ArgumentError(f"columns must be a positive integer, got {columns!r}")
    return _drawing.draw_many(axes_for(ax), result, columns=columns, merge=merge, color=color, accent=accent)
