"""Figures of couplings and of what they predict; they stand in `nnqft.plot`."""

import numpy as np

from ..errors import ArgumentError, ShapeError
from ._canvas import COLORS, axes_for, plain_decades

__all__ = ["coupling", "coupling_against_width", "six_point"]


def coupling(result, *, ax=None, against=None, color=None, label=None, exact=None):
    """A coupling tuple by tuple with errors, its mean as a band of one standard error, exact values as dashes.

    Parameters
    ----------
    result : Coupling
        From `nnqft.eft.quartic_coupling` or `sextic_coupling`.
    ax : matplotlib Axes, optional
    against : array, shape (tuples,), optional
        Abscissa of each tuple, such as its mean input. Default: the tuple's number.
    exact : Coupling or array, shape (tuples,), optional
        For comparison.

    Returns
    -------
    list of artists

    Raises
    ------
    ShapeError
        If `against` or `exact` has another length.

    Examples
    --------
    >>> from nnqft import plot
    >>> from nnqft.tensor import SymmetricTensor
    >>> G, I4 = (SymmetricTensor(v, 0.05, order=4, size=2) for v in ([1.0, 1.1, 0.9, 1.0, 1.0], np.ones(5)))
    >>> figure, axes = plot.canvas()
    >>> artists = plot.coupling(nnqft.eft.quartic_coupling(G, I4), ax=axes[0, 0])
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    values = result.pointwise
    position = _per_tuple(np.arange(len(values)) if against is None else against, values, "against")
    low, high = result.mean.mean - result.stderr, result.mean.mean + result.stderr
    artists = [ax.axhline(result.mean.mean, color=color, lw=0.8, zorder=1)]
    if low < high < np.inf:
        artists.append(ax.axhspan(low, high, color=color, alpha=0.2, lw=0, zorder=0))
    if exact is not None:
        there = _per_tuple(exact.pointwise.mean if hasattr(exact, "pointwise") else exact, values, "exact")
        artists += ax.plot(position, there, "_", color=COLORS["red"], ms=7, mew=1.2, label="exact", zorder=2)
    error = np.where(np.isfinite(values.stderr), values.stderr, 0.0)
    style = {"fmt": "o", "color": color, "ms": 3, "elinewidth": 0.8, "label": label, "zorder": 3}
    artists.append(ax.errorbar(position, values.mean, error, **style))
    symbol = r"\lambda" if values.order == 4 else r"\kappa"
    ax.set(xlabel="tuple" if against is None else "input", ylabel=rf"${symbol}_m$")
    return artists


def coupling_against_width(result, *, ax=None, color=None, marker="o", label=None, power=None):
    """|coupling| against the width with errors, on logarithmic axes, and the power law through the widest.

    Parameters
    ----------
    result : sequence of (width, Coupling or Estimate)
    ax : matplotlib Axes, optional
    power : float, optional
        Draw width^-power through the last point: 1 for lambda, 2 for kappa.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If there is no pair.

    Examples
    --------
    >>> from nnqft import plot
    >>> from nnqft.tensor import Estimate
    >>> figure, axes = plot.canvas()
    >>> pairs = [(width, Estimate(-0.6 / width, 0.01 / width)) for width in (5, 50, 500)]
    >>> len(plot.coupling_against_width(pairs, ax=axes[0, 0], power=1))
    2
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    estimates = [(width, value.mean if hasattr(value, "pointwise") else value) for width, value in result]
    pairs = [(width, estimate.mean, estimate.stderr) for width, estimate in estimates]
    if not pairs:
        raise ArgumentError("there are no couplings to draw: expected pairs (width, Coupling)")
    width, value, error = np.array(pairs, dtype=np.float64).T
    value, error = abs(value), np.where(np.isfinite(error), error, 0.0)
    artists = []
    if power is not None:
        last = int(np.argmax(width))
        line = np.array([width.min(), width.max()])
        artists += ax.plot(line, value[last] * (line / width[last]) ** -power, "-", color=color, lw=0.8, zorder=2)
    down = np.minimum(error, 0.9 * value)  # a bar that reaches 0 would leave a logarithmic axis
    style = {"fmt": marker, "color": color, "elinewidth": 0.8, "label": label, "zorder": 3}
    artists.append(ax.errorbar(width, value, (down, error), **style))
    ax.set(xscale="log", yscale="log", xlabel="width $N$", ylabel="|coupling|")
    plain_decades(ax)
    return artists


def six_point(result, *, exact, ax=None):
    """Predictions of the 6-point function over its exact or measured values, order by order in 1/width.

    Parameters
    ----------
    result : SixPoint
        From `nnqft.eft.predict_six_point`.
    exact : Correlators or SymmetricTensor
        The 6-point function to compare with.
    ax : matplotlib Axes, optional

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft import plot
    >>> six = nnqft.eft.predict_six_point(None, np.eye(2))
    >>> figure, axes = plot.canvas()
    >>> artists = plot.six_point(six, exact=six.total, ax=axes[0, 0])
    """
    ax = axes_for(ax)
    artists = [ax.axhline(1.0, color="0.5", lw=0.8, zorder=1)]
    styles = zip(range(max(result.powers.values()) + 1), ("grey", "blue", "red"), "s^o", strict=False)
    for power, color, marker in styles:
        ratio = result.ratio(exact, power)
        error = np.where(np.isfinite(ratio.stderr), ratio.stderr, 0.0)
        style = {"fmt": marker, "color": COLORS[color], "ms": 3, "elinewidth": 0.8, "zorder": 2 + power}
        label = "free" if power == 0 else rf"to $N^{{-{power}}}$"
        artists.append(ax.errorbar(np.arange(len(ratio)), ratio.mean, error, label=label, **style))
    ax.set(xlabel="tuple", ylabel=r"prediction / $G^{(6)}$")
    return artists


def _per_tuple(values, tensor, name):
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (len(tensor),):
        raise ShapeError(f"{name} has shape {values.shape}; this coupling has {len(tensor)} tuples")
    return values
