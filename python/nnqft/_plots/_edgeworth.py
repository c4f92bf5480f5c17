"""Figures of the effective field theory; they stand in `nnqft.plot`."""

import numpy as np

from ..errors import ArgumentError, ShapeError
from ._canvas import COLORS, axes_for

__all__ = ["edgeworth"]


def edgeworth(result, *, ax=None, samples=None, bins=60, relative=False, color=None, label=None):
    """Edgeworth density of one field with its band of one standard error, the Gaussian dashed, a histogram as points.

    Parameters
    ----------
    result : EdgeworthDensity
        Of one field: take `.marginal([i])` of more.
    ax : matplotlib Axes, optional
    samples : array, shape (n_nets,), real, optional
        Outputs of networks at that point; bins that hold none are left out.
    bins : int
        Equal bins over 4.5 standard deviations to either side (3.3 if relative, where tails would hide the rest).
    relative : bool
        Divide all by the Gaussian.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If the density has several fields, or there are no bins.
    ShapeError
        If the samples are not a vector.

    Examples
    --------
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> len(plot.edgeworth(nnqft.eft.edgeworth_density(1.0, 0.1), ax=axes[0, 0], relative=True))
    2
    """
    from scipy.special import ndtr

    if result.size != 1:
        raise ArgumentError(f"the density has {result.size} fields: draw .marginal([i])")
    if bins < 1:
        raise ArgumentError(f"bins must be at least 1, got {bins}")
    ax, color = axes_for(ax), color or COLORS["blue"]
    sigma = float(result.inverse.color[0, 0])
    reach = 3.3 if relative else 4.5
    f = np.linspace(-reach, reach, 361) * sigma
    gauss, value, error = (part(f[:, np.newaxis]) for part in (result.gaussian, result.pdf, result.stderr))
    scale = gauss if relative else np.ones_like(gauss)
    name = label or f"Edgeworth, order {result.order}"
    artists = ax.plot(f, gauss / scale, ls=(0, (3, 2)), color=COLORS["grey"], label="Gaussian", zorder=1)
    artists += ax.plot(f, value / scale, "-", color=color, label=name, zorder=2)
    if error.any():
        band = ax.fill_between(f, (value - error) / scale, (value + error) / scale, color=color, alpha=0.25, lw=0)
        artists.append(band)
    if samples is not None:
        samples = np.asarray(samples)
        if samples.ndim != 1:
            raise ShapeError(f"samples have shape {samples.shape}; expected one field's values, (n_nets,)")
        edges = np.linspace(-reach, reach, int(bins) + 1) * sigma
        counts = np.histogram(samples, edges)[0]
        use, middle = counts > 0, (edges[1:] + edges[:-1]) / 2
        unit = len(samples) * np.diff(edges)
        if relative:  # the Gaussian's probability of the bin: its middle value is off by 4 % where bins are broad
            unit = len(samples) * np.diff(ndtr(edges / sigma))
        height, bar = (array[use] / unit[use] for array in (counts, np.sqrt(counts)))
        artists.append(
            ax.errorbar(
                middle[use],
                height,
                bar,
                fmt="o",
                ms=2.5,
                color=COLORS["black"],
                elinewidth=0.7,
                label="networks",
                zorder=3,
            )
        )
    ax.set(xlabel="$f$", ylabel=r"$P / P_\mathrm{Gauss}$" if relative else "$P(f)$")
    return artists
