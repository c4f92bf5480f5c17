"""Figures of correlators and their errors."""

import numpy as np

from ..errors import ShapeError
from ._canvas import COLORS, axes_for, plain_decades

__all__ = ["against_width", "nets_needed", "pulls", "ratios", "tensor"]


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
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> curve = SimpleNamespace(widths=[2, 4], value=[0.5, 0.24], stderr=[0.01, 0.01], exact=[0.5, 0.25])
    >>> len(plot.against_width(curve, ax=axes[0, 0]))
    2
    """
    ax = axes_for(ax)
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
    plain_decades(ax)
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
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> artists = plot.tensor(T, ax=axes[0, 0], exact=[1.1, 0.5, 1.9])
    """
    ax = axes_for(ax)
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
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> artists = plot.pulls([(2, [0.3, -1.2]), (10, [0.8, 0.1])], ax=axes[0, 0], bound=3.9)
    """
    ax = axes_for(ax)
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
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> artists = plot.ratios(SimpleNamespace(widths=[2, 4], ratio=[1.1, 0.9], stderr=[0.1, 0.1]), ax=axes[0, 0])
    """
    ax = axes_for(ax)
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
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> artists = plot.nets_needed(SimpleNamespace(widths=[2, 4], nets=[1e4, 1.1e4], exact=[1e4, 1e4]), ax=axes[0, 0])
    """
    ax = axes_for(ax)
    artists = ax.plot(result.widths, result.exact, "-", color=color, zorder=2)
    artists += ax.plot(
        result.widths, np.asarray(result.nets, dtype=np.float64), marker, color=color, label=label, zorder=3
    )
    ax.set(xscale="log", yscale="log", xlabel="width $N$", ylabel="networks for 1 %")
    return artists
