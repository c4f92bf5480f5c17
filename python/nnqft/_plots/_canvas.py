"""Figures, their settings, and where a drawing goes if it is told nothing."""

from contextlib import contextmanager

from ..errors import ArgumentError

__all__ = ["COLORS", "axes_for", "canvas", "plain_decades", "require", "theme"]

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


def require():
    """matplotlib, or an ImportError that says how to get it."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError('nnqft.plot needs matplotlib: pip install ".[experiments]" in the source folder') from error
    return matplotlib


def axes_for(ax):
    if ax is not None:
        if not hasattr(ax, "errorbar"):
            raise ArgumentError(f"ax must be matplotlib Axes, got {type(ax).__name__}")
        return ax
    require()
    from matplotlib import pyplot

    return pyplot.gca()


def plain_decades(ax):
    """Labels at powers of ten only: those between overlap on short axes."""
    from matplotlib.ticker import NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_formatter(NullFormatter())
