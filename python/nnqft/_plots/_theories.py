"""Figures of engineered theories and symmetries; they stand in `nnqft.plot`."""

from collections.abc import Sequence

import numpy as np

from ..errors import ArgumentError
from ._canvas import COLORS, axes_for, plain_decades

__all__ = ["along_shifts", "naturalness", "symmetry"]


def along_shifts(result, *, ax=None, tuples=None, label=None, color=None, marker="o"):
    """Quartic couplings of tuples of points against the distance that they were moved, over their value at the first.

    Parameters
    ----------
    result : ShiftedCouplings
        From `nnqft.eft.coupling_along_shifts`. Its shifts should lie on a line, in the order of the curve.
    ax : matplotlib Axes, optional
        Gets a logarithmic ordinate, if all couplings keep their sign.
    tuples : sequence of int, optional
        Numbers of the tuples to draw; default: all.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If `result` is something else.

    Examples
    --------
    >>> from nnqft import eft, networks, plot
    >>> figure, axes = plot.canvas()
    >>> for make in (networks.gauss_net, networks.cos_net):
    ...     moved = eft.coupling_along_shifts(make(100, dim_in=1), [[0.0], [0.5]], shifts=[0.0, 0.5, 1.0])
    ...     artists = plot.along_shifts(moved, ax=axes[0, 0], tuples=[2])
    """
    if not hasattr(result, "shifts") or not hasattr(result, "coupling"):
        raise ArgumentError(f"along_shifts() draws ShiftedCouplings, got {type(result).__name__}")
    ax, color = axes_for(ax), color or COLORS["blue"]
    rows = range(result.coupling.shape[1]) if tuples is None else tuples
    distance = np.linalg.norm(result.shifts - result.shifts[0], axis=1)
    artists = [ax.axhline(1, color="0.5", lw=0.8, zorder=1)]
    for k in rows:
        ratio = result.coupling[:, k] / result.coupling[0, k]
        named = label if len(artists) == 1 else None
        artists += ax.plot(distance, ratio, marker=marker, ms=3, color=color, label=named, zorder=3)
    if all((line.get_ydata() > 0).all() for line in artists[1:]):
        ax.set_yscale("log")
        plain_decades(ax)
    ax.set(xlabel="shift", ylabel=r"$\lambda_m(x + s) / \lambda_m(x)$")
    return artists


def naturalness(result, *, ax=None, color=None, label=None):
    """A coupling (solid) and its part that breaks a symmetry (dashed) against the parameter that restores it.

    Parameters
    ----------
    result : Naturalness
        From `nnqft.eft.naturalness`. The width gets logarithmic axes and |coupling|.
    ax : matplotlib Axes, optional

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If `result` is something else.

    Notes
    -----
    A vertical line marks where the symmetry holds, a dotted one where the coupling of this tuple alone vanishes.

    Examples
    --------
    >>> from nnqft import eft, networks, plot
    >>> figure, axes = plot.canvas()
    >>> scan = eft.naturalness(networks.cos_net(100, dim_in=1), [[0.0]], parameter="kurtosis", values=[1.0, 2.0, 3.0])
    >>> len(plot.naturalness(scan, ax=axes[0, 0]))
    5
    """
    if not hasattr(result, "breaking") or not hasattr(result, "restored_at"):
        raise ArgumentError(f"naturalness() draws what eft.naturalness returns, got {type(result).__name__}")
    ax, color = axes_for(ax), color or COLORS["blue"]
    if result.parameter == "width":
        artists = ax.plot(result.values, abs(result.coupling), "o-", ms=3, color=color, label=label)
        ax.set(xscale="log", yscale="log", xlabel="width $N$", ylabel=r"$|\lambda|$")
        plain_decades(ax)
        return artists
    artists = [ax.axhline(0, color="0.5", lw=0.6, zorder=1)]
    artists += ax.plot(result.values, result.coupling, "-", color=color, label=label, zorder=3)
    artists += ax.plot(result.values, result.breaking, "--", color=COLORS["red"], label="breaking", zorder=2)
    artists.append(ax.axvline(result.restored_at, color="0.5", lw=0.8, zorder=1))
    if np.isfinite(result.tuned):
        artists.append(ax.axvline(result.tuned, color=color, ls=":", lw=0.8, zorder=1))
    names = {"kurtosis": r"$E\,v^4$ of the output weights", "phase": r"phases within $\pm \pi t$: $t$"}
    ax.set(xlabel=names[result.parameter], ylabel=r"$\lambda$")
    return artists


def symmetry(result, *, ax=None, bound=None, color=None):
    """Differences that a symmetry says vanish, in standard errors, check by check; those of exact correlators: over the
    largest correlator.

    Parameters
    ----------
    result : Invariance, or sequence of them
        From `nnqft.eft.check_invariance`; all measured, or all exact.
    ax : matplotlib Axes, optional
    bound : float, optional
        Dashed lines at +- bound.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If there is no check, or `result` holds something else, or both kinds.

    Examples
    --------
    >>> from nnqft import eft, networks, plot
    >>> from nnqft.ensemble import correlators
    >>> shift = ("translation", [1.0])
    >>> run = correlators(networks.cos_net(10, dim_in=1), eft.orbit([[0.0], [0.5]], shift), n_nets=8192)
    >>> figure, axes = plot.canvas()
    >>> artists = plot.symmetry([eft.check_invariance(run, shift, order=n) for n in (2, 4)], ax=axes[0, 0], bound=4)
    """
    checks = list(result) if isinstance(result, Sequence) else [result]
    if not checks or not all(hasattr(c, "difference") and hasattr(c, "defect") for c in checks):
        raise ArgumentError("symmetry() draws results of check_invariance, one or more")
    exact = {c.exact for c in checks}
    if len(exact) == 2:
        raise ArgumentError("symmetry() draws measured checks or exact ones, not both: their scales differ")
    exact = exact.pop()
    ax, color = axes_for(ax), color or COLORS["blue"]
    artists = [ax.axhline(0, color="0.5", lw=0.6, zorder=1)]
    if not exact:
        artists.append(ax.axhspan(-1, 1, color="0.93", lw=0, zorder=0))
    if bound is not None:
        artists += [ax.axhline(y, color="0.35", ls=(0, (3, 2)), lw=0.8, zorder=1) for y in (-bound, bound)]
    for k, check in enumerate(checks):
        value = check.z
        if exact:
            largest = np.abs(check.difference).max()
            value = check.difference * (check.defect / largest if largest > 0 else 0.0)
        spread = k + 0.6 * ((np.arange(len(value)) + 0.5) / len(value) - 0.5)
        artists += ax.plot(spread, value, "o", ms=2.6, mew=0, color=color, alpha=0.7, zorder=2)
    ax.set_xticks(range(len(checks)), [f"{c.symmetry.split(' by ')[0]}\norder {c.order}" for c in checks])
    ax.set(ylabel="difference / largest correlator" if exact else "difference in standard errors")
    return artists
