"""Figures of the renormalisation group; they stand in `nnqft.plot`."""

import numpy as np

from ..errors import ArgumentError
from ._canvas import COLORS, axes_for, plain_decades

__all__ = ["beta", "flow_lines", "running"]


def running(result, *, ax=None, tuples=True, color=None, marker="o", label=None, power=None):
    """A coupling against the cutoff, sigma_w or the width: its mean with errors, thin lines for tuples, on log axes.

    Parameters
    ----------
    result : RGFlow
        From `nnqft.eft.rg_flow`. Its modulus is drawn, with hollow markers where the mean is negative.
    ax : matplotlib Axes, optional
    tuples : bool
        A line for every tuple of inputs, broken where its coupling changes sign.
    color, marker, label
        Of the mean.
    power : float, optional
        Dashed line scale^power through the last point.

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft import plot
    >>> from nnqft.ensemble import exact_correlators
    >>> from nnqft.networks import relu_net
    >>> G = exact_correlators(relu_net(20, dim_in=1), [[0.5], [1.0]])
    >>> figure, axes = plot.canvas()
    >>> artists = plot.running(nnqft.eft.rg_flow(G, [1, 10, 100]), ax=axes[0, 0], power=-5)
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    scale, mean, error = result.scale, result.mean, result.stderr
    artists = []
    if tuples:
        sign = np.sign(mean[-1])
        for values in result.pointwise.T:
            same = np.where(np.sign(values) == sign, np.abs(values), np.nan)
            artists += ax.plot(scale, same, "-", color=color, lw=0.5, alpha=0.35, zorder=1)
    if power is not None:
        line = np.abs(mean[-1]) * (scale / scale[-1]) ** power
        artists += ax.plot(scale, line, linestyle=(0, (4, 2)), color=COLORS["black"], lw=0.9, zorder=2)
    labels = [label]
    for chosen, face in ((mean < 0, "white"), (mean > 0, color)):
        if chosen.any():
            value, bar = np.abs(mean[chosen]), np.nan_to_num(error[chosen])
            down = np.minimum(bar, 0.9 * value)  # a bar that reaches 0 would leave a logarithmic axis
            style = {"color": color, "mfc": face, "mew": 0.8, "elinewidth": 0.8, "zorder": 3}
            named = labels.pop() if labels else None
            artists.append(ax.errorbar(scale[chosen], value, (down, bar), fmt=marker, label=named, **style))
    symbol = r"\lambda" if result.order == 4 else r"\kappa"
    name = {"cutoff": r"cutoff $\Lambda$", "sigma_w": r"$\sigma_w$", "width": "width $N$"}[result.scale_name]
    ax.set(xscale="log", yscale="log", xlabel=name, ylabel=rf"$|{symbol}|$")
    plain_decades(ax)
    if scale[-1] < 30 * scale[0]:
        _one_two_five(ax.xaxis)
    return artists


def beta(result, *, ax=None, color=None, label=None, limit=None):
    """Exponents beta(g) / g of every tuple against the cutoff.

    Parameters
    ----------
    result : BetaFunction
        From `nnqft.eft.beta_function`.
    ax : matplotlib Axes, optional
    limit : float, optional
        Dashed line, such as -(d + order).

    Returns
    -------
    list of artists

    Examples
    --------
    >>> from nnqft import plot
    >>> from nnqft.networks import erf_net
    >>> figure, axes = plot.canvas()
    >>> result = nnqft.eft.beta_function(erf_net(5, dim_in=1), [[0.5], [1.0]], cutoffs=[1.0, 10.0, 100.0])
    >>> artists = plot.beta(result, ax=axes[0, 0], limit=-1)
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    artists = []
    if limit is not None:
        artists.append(ax.axhline(limit, color=COLORS["black"], linestyle=(0, (4, 2)), lw=0.9, zorder=1))
    marker = "o" if len(result.cutoffs) < 8 else None
    for values in result.exponent.T:
        artists += ax.plot(
            result.cutoffs, values, color=color, marker=marker, ms=2.5, lw=0.8, alpha=0.7, label=label, zorder=2
        )
        label = None
    symbol = {4: r"\lambda", 6: r"\kappa"}.get(result.order, "g")
    ax.set(xscale="log", xlabel=r"cutoff $\Lambda$", ylabel=rf"$\beta({symbol}) / {symbol}$")
    return artists


def flow_lines(result, *, ax=None, plane=(2, 4), color=None, fixed_points=True, arrows=True):
    """Flows of potentials in a plane of dimensionless couplings, with the fixed points of their truncation.

    Parameters
    ----------
    result : LPAFlow, or a sequence of them in one dimension
        Passive or active, from `nnqft.eft.lpa_flow`.
    ax : matplotlib Axes, optional
    plane : (int, int)
        Orders of the couplings on the two axes.
    fixed_points : bool
        Dots, filled for the Gaussian and open for the Wilson-Fisher point.
    arrows : bool
        In the direction of the flow: of smaller k, if k_stop < k_start.

    Returns
    -------
    list of artists

    Raises
    ------
    ArgumentError
        If the flows have different dimensions, or no coupling of these orders.

    Examples
    --------
    >>> from nnqft import plot
    >>> figure, axes = plot.canvas()
    >>> flows = [nnqft.eft.lpa_flow(3, u2=u2, u4=1.0, k=(1.0, 0.3), tolerance=1e-6) for u2 in (-0.05, 0.05)]
    >>> artists = plot.flow_lines(flows, ax=axes[0, 0])
    """
    ax, color = axes_for(ax), color or COLORS["blue"]
    flows = list(result) if isinstance(result, (list, tuple)) else [result]
    if not flows or len({flow.d for flow in flows}) > 1:
        raise ArgumentError(f"flow_lines takes flows of one dimension, got {sorted({flow.d for flow in flows})}")
    artists, points = [], []
    for flow in flows:
        flow.coupling(plane[0]), flow.coupling(plane[1])  # refuses orders that are not there
        x, y = (flow.dimensionless[:, flow.orders.index(n)] for n in plane)
        artists += ax.plot(x, y, "-", color=color, lw=0.9, zorder=2)
        points.append((x, y))
    if fixed_points:
        most = max(flows, key=lambda flow: flow.orders[-1])
        for point in most.fixed_points():
            if point.name in ("Gaussian", "Wilson-Fisher"):
                at = [point.couplings[n // 2 - 1] for n in plane]
                face = "white" if point.name == "Wilson-Fisher" else COLORS["red"]
                artists += ax.plot(*at, "o", color=COLORS["red"], mfc=face, ms=5.5, mew=1.2, zorder=4, label=point.name)
    ax.set(**{axis: rf"$\bar u_{{{n}}}$" for axis, n in zip(("xlabel", "ylabel"), plane, strict=True)})
    if arrows:
        artists += [a for x, y in points for a in _arrow(ax, x, y, color)]
    return artists


def _one_two_five(axis):
    """Labels 1, 2, 5, 10, .. on a short logarithmic axis."""
    from matplotlib.ticker import FuncFormatter

    label = FuncFormatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "125" else "")
    axis.set_major_formatter(label)
    axis.set_minor_formatter(label)


def _arrow(ax, x, y, color):
    """An arrow head half-way along a line, as the axes show it now."""
    spans = [np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim())]
    inside = (
        (x >= min(ax.get_xlim())) & (x <= max(ax.get_xlim())) & (y >= min(ax.get_ylim())) & (y <= max(ax.get_ylim()))
    )
    x, y = x[inside], y[inside]
    way = np.append(0, np.cumsum(np.hypot(np.diff(x) / spans[0], np.diff(y) / spans[1])))
    if len(x) < 2 or way[-1] < 0.05:
        return []
    tail, head = (np.array([np.interp(s, way, x), np.interp(s, way, y)]) for s in (0.5 * way[-1], 0.5 * way[-1] + 1e-3))
    style = {"arrowstyle": "-|>", "color": color, "lw": 0.9, "mutation_scale": 8, "shrinkA": 0, "shrinkB": 0}
    return [ax.annotate("", xy=head, xytext=tail, arrowprops=style, zorder=3)]
