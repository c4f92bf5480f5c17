"""Figures: one function each, `(result, *, ax=None) -> artists`. They draw, and show or save nothing.

Measured numbers are points with error bars, exact ones lines, noise levels dashed; what a sample cannot know is a cross
without. Colours are those of Okabe and Ito, which colour-blind readers tell apart. Needs matplotlib, imported
when drawing.

    with plot.theme():
        figure, axes = plot.canvas(1, 2)
        plot.tensor(result.connected(4), ax=axes[0, 0])
"""

from contextlib import contextmanager

import numpy as np

from ._plot_couplings import coupling, coupling_against_width, six_point
from ._plot_edgeworth import edgeworth
from ._plot_eft import beta, flow_lines, running
from ._plot_meanfield import depth
from ._plot_theories import along_shifts, naturalness, symmetry
from .errors import ArgumentError, ShapeError

__all__ = [
    "COLORS", "against_width", "along_shifts", "beta", "canvas", "coupling", "coupling_against_width", "depth",
    "diagram", "diagrams", "edgeworth", "flow_lines", "naturalness", "nets_needed", "pulls", "ratios", "require",
    "running", "six_point", "symmetry", "tensor", "theme",
]  # fmt: skip

COLORS = {
    "black": "#000000", "orange": "#E69F00", "sky": "#56B4E9", "green": "#009E73", "yellow": "#F0E442",
    "blue": "#0072B2", "red": "#D55E00", "purple": "#CC79A7", "grey": "#8C8C8C",
}  # fmt: skip


@contextmanager
def theme():
    """Settings of the papers' figures, for the time of a `with` block; figures keep what they were made with.

    Examples
    --------
    >>> with theme():
    ...     figure, axes = canvas(1, 2)
    >>> axes.shape
    (1, 2)
    """
    matplotlib = require()
    settings = {
        "font.size": 9, "axes.titlesize": 9, "axes.labelsize": 9, "legend.fontsize": 8, "xtick.labelsize": 8,
        "ytick.labelsize": 8, "font.family": "sans-serif", "mathtext.fontset": "dejavusans", "axes.linewidth": 0.7,
        "lines.linewidth": 1.1, "lines.markersize": 4.0, "xtick.direction": "in", "ytick.direction": "in",
        "xtick.top": True, "ytick.right": True, "legend.frameon": False, "errorbar.capsize": 0.0,
        "axes.axisbelow": True, "figure.dpi": 100.0,
    }  # fmt: skip
    with matplotlib.rc_context(settings):
        yield


def canvas(rows=1, columns=1, *, size=None, **options):
    """A figure outside pyplot, to be saved with `figure.savefig`: nothing to close, no display needed.

    Parameters
    ----------
    rows, columns : int
    size : (float, float), optional
        Inches; default 3.4 by 2.6 for every panel.
    **options
        For `matplotlib.figure.Figure.subplots`, such as sharex=True.

    Returns
    -------
    figure, axes
        axes: array, shape (rows, columns).
    """
    require()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size or (3.4 * columns, 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def against_width(
    result, *, ax=None, color=COLORS["blue"], marker="o", label=None, exact=True, background=True, shift=1.0
):
    """A correlator against the width: measured points, exact curve, background level, on logarithmic axes.

    Parameters
    ----------
    result : object
        With arrays of one length: `widths`, `value`, `stderr`; and, as far as it has them, `exact`, `background` (noise
        level), `resolved` (bool: filled markers, else hollow) and `trusted` (bool: else crosses without error bars).
    ax : matplotlib Axes, optional
        Default: pyplot's current axes.
    color, marker, label
        Of the points; the lines take the colour.
    exact, background : bool
        Draw these, where the result has them.
    shift : float
        Factor on the widths of the points, to set several results side by side.

    Returns
    -------
    list of artists

    Raises
    ------
    ShapeError
        If the arrays' lengths differ.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> figure, axes = canvas()
    >>> curve = SimpleNamespace(widths=[2, 4], value=[0.5, 0.24], stderr=[0.01, 0.01], exact=[0.5, 0.25])
    >>> len(against_width(curve, ax=axes[0, 0]))
    2
    """
    ax = _axes(ax)
    names = ("widths", "value", "stderr", "exact", "background", "resolved", "trusted")
    given = {name: np.asarray(getattr(result, name)) for name in names if getattr(result, name, None) is not None}
    n = given["widths"]
    if any(array.shape != n.shape for array in given.values()):
        raise ShapeError(f"widths and values differ in shape: { ({name: a.shape for name, a in given.items()}) }")
    trusted = given.get("trusted", np.ones(n.shape, bool))
    resolved = given.get("resolved", np.ones(n.shape, bool)) & trusted
    artists = []
    if exact and "exact" in given and (given["exact"] > 0).all():
        artists += ax.plot(n, given["exact"], "-", color=color, zorder=2)
    if background and "background" in given:
        level = np.where(trusted, given["background"], np.nan)
        artists += ax.plot(n, level, linestyle=(0, (3, 2)), color=color, lw=0.8, alpha=0.75, zorder=1)
    for use, face in ((resolved, color), (trusted & ~resolved, "white")):
        if use.any():
            value, error = given["value"][use], given["stderr"][use]
            down = np.minimum(error, 0.9 * value)  # a bar that reaches 0 would leave a logarithmic axis
            named = label if face == color or not resolved.any() else None
            style = {"color": color, "mfc": face, "mew": 0.8, "elinewidth": 0.8, "zorder": 3, "label": named}
            artists.append(ax.errorbar(n[use] * shift, value, (down, error), fmt=marker, **style))
    if not trusted.all():
        artists += ax.plot(
            n[~trusted] * shift, given["value"][~trusted], "x", color=color, ms=4.5, mew=1.0, alpha=0.7, zorder=3
        )
    ax.set(xscale="log", yscale="log", xlabel="width $N$")
    _plain_decades(ax)
    return artists


def tensor(result, *, ax=None, exact=None, color=COLORS["blue"], label=None):
    """The entries of a `SymmetricTensor` with their errors, in storage order; exact values as dashes.

    Parameters
    ----------
    result : SymmetricTensor
    ax : matplotlib Axes, optional
    exact : SymmetricTensor or array (count,), optional
        For comparison.

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft.tensor import SymmetricTensor
    >>> T = SymmetricTensor([1.0, 0.5, 2.0], [0.1, 0.02, 0.3], order=2, size=2)
    >>> figure, axes = canvas()
    >>> artists = tensor(T, ax=axes[0, 0], exact=[1.1, 0.5, 1.9])
    """
    ax = _axes(ax)
    position = np.arange(len(result))
    artists = []
    if exact is not None:
        values = np.asarray(getattr(exact, "mean", exact), dtype=np.float64)
        if values.shape != (len(result),):
            raise ShapeError(f"exact has shape {values.shape}; this tensor has {len(result)} entries")
        artists += ax.plot(position, values, "_", color=COLORS["red"], ms=7, mew=1.2, label="exact", zorder=2)
    error = np.where(np.isfinite(result.stderr), result.stderr, 0.0)
    artists.append(
        ax.errorbar(position, result.mean, error, fmt="o", color=color, ms=3, elinewidth=0.8, label=label, zorder=3)
    )
    if len(result) <= 21:
        ax.set_xticks(position, ["".join(map(str, row)) for row in result.index.tolist()], rotation=90)
    ax.set(xlabel="multi-index" if len(result) <= 21 else "entry", ylabel=f"order-{result.order} correlator")
    return artists


def pulls(result, *, ax=None, bound=None, color=COLORS["blue"], marker="o", label=None, shift=1.0):
    """Deviations from exact values in standard errors, against the width.

    Parameters
    ----------
    result : sequence of (width, pulls)
        Pulls: array, one for every tuple of inputs.
    ax : matplotlib Axes, optional
    bound : float, optional
        Dashed lines at +- bound: what the largest pull of a right measurement stays below.
    shift : float
        Factor on the widths, to set several results side by side.

    Returns
    -------
    list of artists

    Examples
    --------
    >>> figure, axes = canvas()
    >>> artists = pulls([(2, [0.3, -1.2]), (10, [0.8, 0.1])], ax=axes[0, 0], bound=3.9)
    """
    ax = _axes(ax)
    artists = [ax.axhspan(-1, 1, color="0.93", lw=0, zorder=0), ax.axhline(0, color="0.5", lw=0.6, zorder=1)]
    if bound is not None:
        artists += [ax.axhline(y, color="0.35", ls=(0, (3, 2)), lw=0.8, zorder=1) for y in (-bound, bound)]
    width = np.concatenate([np.full(len(z), n * shift) for n, z in result]) if len(result) else np.array([])
    z = np.concatenate([np.asarray(z, dtype=np.float64) for _, z in result]) if len(result) else np.array([])
    artists += ax.plot(
        width, z, marker, color=color, ms=2.6, mew=0.6 if marker in "x+" else 0, alpha=0.55, label=label, zorder=2
    )
    ax.set(xscale="log", xlabel="width $N$", ylabel="pull")
    return artists


def ratios(result, *, ax=None, color=COLORS["blue"], marker="o", label=None):
    """Measured over expected against the width, with errors, around a line at 1.

    Parameters
    ----------
    result : object
        With arrays `widths`, `ratio` and `stderr`.
    ax : matplotlib Axes, optional

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> figure, axes = canvas()
    >>> artists = ratios(SimpleNamespace(widths=[2, 4], ratio=[1.1, 0.9], stderr=[0.1, 0.1]), ax=axes[0, 0])
    """
    ax = _axes(ax)
    artists = [ax.axhline(1, color="0.5", lw=0.8, zorder=1)]
    artists.append(
        ax.errorbar(
            result.widths, result.ratio, result.stderr, fmt=marker, color=color, elinewidth=0.8, label=label, zorder=3
        )
    )
    ax.set(xscale="log", xlabel="width $N$")
    return artists


def nets_needed(result, *, ax=None, color=COLORS["blue"], marker="o", label=None):
    """Networks that an estimator needs for a given precision, against the width: measured points, exact curve.

    Parameters
    ----------
    result : object
        With arrays `widths`, `nets` (measured; nan where unknown) and `exact`.
    ax : matplotlib Axes, optional

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> figure, axes = canvas()
    >>> artists = nets_needed(SimpleNamespace(widths=[2, 4], nets=[1e4, 1.1e4], exact=[1e4, 1e4]), ax=axes[0, 0])
    """
    ax = _axes(ax)
    artists = ax.plot(result.widths, result.exact, "-", color=color, zorder=2)
    artists += ax.plot(
        result.widths, np.asarray(result.nets, dtype=np.float64), marker, color=color, label=label, zorder=3
    )
    ax.set(xscale="log", yscale="log", xlabel="width $N$", ylabel="networks for 1 %")
    return artists


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
    >>> figure, axes = canvas()
    >>> artists = diagram(diagrams(4, [4, 4])[0], ax=axes[0, 0])
    """
    from ._diagrams import _drawing

    _drawing.check(result)
    return _drawing.draw_one(_axes(ax), result, labels=labels, color=color, accent=accent)


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
    >>> figure, axes = canvas(size=(7, 5))
    >>> artists = diagrams(wick.diagrams(4, [4, 4]), ax=axes[0, 0])
    """
    from ._diagrams import _drawing

    result = list(result)
    if not result:
        raise ArgumentError("there are no diagrams to draw")
    for each in result:
        _drawing.check(each)
    if columns is not None and (isinstance(columns, bool) or not hasattr(columns, "__index__") or columns < 1):
        raise ArgumentError(f"columns must be a positive integer, got {columns!r}")
    return _drawing.draw_many(_axes(ax), result, columns=columns, merge=merge, color=color, accent=accent)


def _plain_decades(ax):
    """Labels at powers of ten only: those between overlap on short axes."""
    from matplotlib.ticker import NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())


def require():
    """matplotlib, or an ImportError that says how to get it."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('nnqft.plot needs matplotlib: pip install ".[experiments]" in the source folder') from error
    return matplotlib


def _axes(ax):
    if ax is not None:
        if not hasattr(ax, "errorbar"):
            raise ArgumentError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
        return ax
    require()
    from matplotlib import pyplot

    return pyplot.gca()
