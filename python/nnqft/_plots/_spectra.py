"""Figures of spectra: densities, distribution functions, random-matrix laws; they stand in `nnqft.plot`."""

import numpy as np

from ..errors import ArgumentError
from ._canvas import COLORS, axes_for

__all__ = ["spectral_cdf", "spectral_density", "spectrum_over_law"]

_POINTS = 600


def spectral_density(result, *, ax=None, scale="linear", sigma="auto", threshold=None, color=None, label=None):
    """Density of eigenvalues with a band of one standard error, on a linear or a signed logarithmic axis.

    Parameters
    ----------
    result : SpectralDensity or ChebyshevDensity
        From `nnqft.lanczos.slq` or `kpm`.
    ax : matplotlib Axes, optional
    scale : "linear" or "symlog"
        "symlog" (not for `kpm`): density per decade over sign(x) log10 |x|, density axis logarithmic.
    sigma, threshold
        As for `SpectralDensity.density`.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        For a scale that the result cannot give.

    Examples
    --------
    >>> from nnqft import plot
    >>> S = nnqft.lanczos.slq(np.diag(np.linspace(-1.0, 1.0, 200)), 20, probes=4)
    >>> figure, axes = plot.canvas()
    >>> line, band = plot.spectral_density(S, ax=axes[0, 0], scale="symlog")
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    if hasattr(result, "nodes"):
        t = (threshold or result.threshold()) if scale == "symlog" else None
        x = result.grid(_POINTS, scale=scale, threshold=t)
        y, error = result.density(x, sigma=sigma, scale=scale, threshold=t, stderr=True)
    elif scale == "linear":
        t, x = None, result.grid(_POINTS)
        y, error = result.density(x, stderr=True)
    else:
        raise ArgumentError(f"scale is {scale!r}; a {type(result).__name__} is drawn on a linear scale only")
    error = np.where(np.isfinite(error), error, 0.0)
    artists = ax.plot(x, y, "-", color=color, label=label, zorder=2)
    artists.append(ax.fill_between(x, np.maximum(y - error, 0), y + error, color=color, alpha=0.25, lw=0, zorder=1))
    if t is not None:
        from ..lanczos import symlog

        ax.set_xscale("function", functions=(lambda v: symlog(v, t), lambda u: 2 * t * np.sinh(np.log(10) * u)))
        ax.set_xticks(*_decades(x, t))
        ax.set(yscale="log", ylim=(max(y.max(), 1e-300) * 1e-6, max(y.max(), 1e-300) * 3))
    ax.set(xlabel=r"eigenvalue $\lambda$", ylabel=r"$\rho(\lambda)$" if t is None else r"density per decade")
    return artists


def spectral_cdf(result, *, ax=None, exact=None, bounds=False, color=None, label=None):
    """Distribution function of eigenvalues with a band of one standard error.

    Parameters
    ----------
    result : SpectralDensity or ChebyshevDensity
    ax : matplotlib Axes, optional
    exact : SpectralDensity or array (n,), optional
        Exact density, or eigenvalues, drawn as a dashed line.
    bounds : bool
        Draw what k steps leave open (`SpectralDensity.cdf_bounds`) as a lighter band.

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft import plot
    >>> S = nnqft.lanczos.slq(np.diag(np.linspace(-1.0, 1.0, 200)), 20, probes=4)
    >>> figure, axes = plot.canvas()
    >>> len(plot.spectral_cdf(S, ax=axes[0, 0], exact=np.linspace(-1.0, 1.0, 200), bounds=True))
    4
    """
    from ..lanczos import SpectralDensity
    ax, color = axes_for(ax), color or COLORS["blue"]
    low, high = result.edges if hasattr(result, "edges") else result.bounds
    margin = 0.05 * (high - low) or 0.1 * abs(high) or 1.0
    x = np.linspace(low - margin, high + margin, _POINTS)
    y, error = result.cdf(x, stderr=True)
    error = np.where(np.isfinite(error), error, 0.0)
    artists = ax.plot(x, y, "-", color=color, label=label, zorder=3)
    band = {"color": color, "lw": 0}
    artists.append(ax.fill_between(x, np.clip(y - error, 0, 1), np.clip(y + error, 0, 1), alpha=0.3, zorder=2, **band))
    if bounds:
        if not hasattr(result, "cdf_bounds"):
            raise ArgumentError(
                f"a {type(result).__name__} has no bounds for its distribution function; expected bounds=False"
            )
        artists.append(ax.fill_between(x, *result.cdf_bounds(x), alpha=0.12, zorder=1, **band))
    if exact is not None:
        law = exact if isinstance(exact, SpectralDensity) else SpectralDensity.from_eigenvalues(exact)
        artists += ax.plot(x, law.cdf(x), "--", color=COLORS["red"], lw=0.9, label="exact", zorder=4)
    ax.set(xlabel=r"eigenvalue $\lambda$", ylabel=r"$F(\lambda)$", ylim=(-0.02, 1.02))
    return artists


def spectrum_over_law(result, law, *, ax=None, bins=60, color=None, label=None):
    """A measured spectrum under the limit law of its variance profile.

    Parameters
    ----------
    result : SpectralDensity, or array of shape (n,)
        A density is drawn as a curve, eigenvalues as a histogram, both without what sits at 0 if the law has an atom.
    law : DysonDensity
        From `nnqft.hessian.dyson_density`; its atom is named in the legend.
    ax : matplotlib Axes, optional
    bins : int
        Of the histogram.

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft import plot
    >>> law = nnqft.hessian.dyson_density([[1.0]], np.linspace(-2.2, 2.2, 101))
    >>> G = np.random.default_rng(0).normal(size=(300, 300))
    >>> figure, axes = plot.canvas()
    >>> artists = plot.spectrum_over_law(np.linalg.eigvalsh(G + G.T) / 600**0.5, law, ax=axes[0, 0])
    """
    ax, color = axes_for(ax), color or COLORS["sky"]
    if hasattr(result, "nodes"):
        x = result.grid(_POINTS)
        artists = ax.plot(x, result.density(x), "-", color=color, label=label, zorder=2)
    else:
        values = np.asarray(result, dtype=np.float64)
        if values.ndim != 1 or not values.size or not np.isfinite(values).all():
            raise ArgumentError(
                f"result has shape {values.shape}; expected finite eigenvalues of shape (n,) or a SpectralDensity"
            )
        shown = values[abs(values) > 1e-9 * abs(values).max()] if law.atom else values
        counts, edges = np.histogram(shown, bins=bins)
        heights = counts / (len(values) * np.diff(edges))
        artists = [ax.stairs(heights, edges, fill=True, color=color, alpha=0.6, label=label, zorder=1)]
    name = "limit law" if not law.atom else f"limit law, and {law.atom:.3g} at 0"
    order = np.argsort(law.x, axis=None)
    artists += ax.plot(
        law.x.ravel()[order], law.pdf.ravel()[order], "-", color=COLORS["black"], lw=0.9, label=name, zorder=3
    )
    ax.set(xlabel=r"eigenvalue $\lambda$", ylabel=r"$\rho(\lambda)$")
    return artists


def _decades(x, threshold):
    """Ticks of a signed logarithmic axis: 0 and powers of ten on either side, at most five a side, with their labels."""
    first = int(np.ceil(np.log10(threshold) + 0.5))  # closer to 0 there is no room for two labels
    places, labels = [0.0], ["0"]
    for sign, end in ((-1, -x.min()), (1, x.max())):
        last = int(np.floor(np.log10(end))) if end > 0 else first - 1
        for power in range(last, first - 1, -max(1, (last - first) // 4 or 1)):
            places.append(sign * 10.0**power)
            labels.append(rf"${'-' if sign < 0 else ''}10^{{{power}}}$")
    return places, labels
