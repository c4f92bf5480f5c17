"""Figures of mean-field theory; they stand in `nnqft.plot`."""

import numpy as np

from ._canvas import COLORS, axes_for

__all__ = ["depth"]


def depth(result, *, ax=None, color=None, label=None):
    """Corrections at finite width against the layer: V / (n K^2) solid, G / (n K) dashed, one line for each point.

    Parameters
    ----------
    result : FiniteWidth
        From `nnqft.meanfield.finite_width`. Points whose kernel vanishes in a layer have gaps there.
    ax : matplotlib Axes, optional
    color, label
        Of the lines; the label names the first solid one.

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft import plot
    >>> from nnqft.networks import mlp
    >>> figure, axes = plot.canvas()
    >>> deep = nnqft.meanfield.finite_width(mlp(1, (100,) * 5, activation="relu", sigma_w=2**0.5), [[1.0]])
    >>> len(plot.depth(deep, ax=axes[0, 0], label="relu"))
    3
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    layer, n = np.arange(len(result.K)), np.array(result.fan_in)[:, None]
    K = np.einsum("laa->la", result.K)
    K = np.where(K > 0, K, np.nan)
    vertex = np.einsum("laaaa->la", result.V) / K / K / n
    shift = np.einsum("laa->la", result.G) / K / n
    artists = [ax.axhline(0.0, color=COLORS["grey"], lw=0.6, zorder=1)]
    for values, style in ((vertex, {"marker": "o", "ms": 2.5}), (shift, {"linestyle": (0, (4, 2))})):
        for line in values.T:
            artists += ax.plot(layer, line, color=color, lw=0.9, label=label, zorder=2, **style)
            label = None
    ax.set(xlabel="layer", ylabel=r"$V / n K^2$,  $G / n K$")
    ax.xaxis.get_major_locator().set_params(integer=True)
    return artists
