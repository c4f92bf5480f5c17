"""The study's figures, drawn with `nnqft.plot`: exact curves are lines, measurements points."""

from types import SimpleNamespace

import numpy as np

from ... import plot
from .analysis import series
from .cases import ESTIMATORS, LAWS

__all__ = ["draw_all"]

_ORDER_STYLE = {2: (plot.COLORS["black"], "^"), 4: (plot.COLORS["blue"], "o"), 6: (plot.COLORS["red"], "s")}
_ESTIMATOR_STYLE = {
    "direct": (plot.COLORS["orange"], "o", 1 / 1.05),
    "gram": (plot.COLORS["green"], "D", 1.05),
}  # side by side
_DIM_STYLE = {1: (plot.COLORS["blue"], "o"), 2: (plot.COLORS["red"], "s"), 3: (plot.COLORS["green"], "^")}


def draw_all(folder, measured, tables, scale):
    """Draw and store every figure; dict, name -> path."""
    with plot.theme():
        figures = {f"correlators_{net}": _correlators(measured, scale, net) for net in LAWS}
        figures |= {"kernels": _kernels(measured, tables["kernels"], scale), "constants": _constants(measured, scale),
                    "noise": _noise(measured, scale), "estimators": _estimators(tables["estimators"], scale)}  # fmt: skip
        return {name: folder.figure(name, figure) for name, figure in figures.items()}


def _legend(figure, handles, columns=7):
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=min(len(handles), columns),
        handletextpad=0.4,
        columnspacing=1.2,
    )


def _handle(label, **style):
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({"ls": "", "color": "0.3"} | style))


def _point_handles():
    return [_handle("above background", marker="o"), _handle("below", marker="o", mfc="white"),
            _handle("heavy tail: not trustworthy", marker="x"),
            _handle("exact", ls="-"), _handle("background", ls=(0, (3, 2)), lw=0.8)]  # fmt: skip


def _correlators(measured, scale, net):
    """Deviations as the paper measures them (direct), then connected functions by both estimators."""
    cases = [case for case in scale.cases if case.net == net]
    figure, axes = plot.canvas(3, len(cases), size=(2.6 * len(cases) + 0.4, 7.0), sharex=True, sharey="row")
    for column, case in zip(axes.T, cases):
        for n, (color, marker) in _ORDER_STYLE.items():
            plot.against_width(series(measured, case, "direct", f"m{n}"), ax=column[0], color=color, marker=marker)
        for row, n in ((1, 4), (2, 6)):
            for estimator in ESTIMATORS:
                color, marker, shift = _ESTIMATOR_STYLE[estimator]
                curve = series(measured, case, estimator, f"g{n}")
                plot.against_width(curve, ax=column[row], color=color, marker=marker, exact=False, shift=shift)
                column[row].plot(curve.widths, curve.exact, "-", color="0.3", zorder=2)
        column[0].set_title(case.title.replace("d =", "$d$ ="))
        column[0].set_xlim(min(scale.widths) / 1.3, max(scale.widths) * 1.3)
        for ax in column[:-1]:
            ax.set_xlabel("")
    axes[0, 0].set_ylabel(r"mean $|m_n|$, direct")
    axes[1, 0].set_ylabel(r"mean $|G^{(4)}_{\rm c} / G^{(4)}_{\rm GP}|$")
    axes[2, 0].set_ylabel(r"mean $|G^{(6)}_{\rm c} / G^{(6)}_{\rm GP}|$")
    handles = [_handle(f"$m_{n}$", color=color, marker=marker) for n, (color, marker) in _ORDER_STYLE.items()]
    handles += [_handle(name, color=color, marker=marker) for name, (color, marker, _) in _ESTIMATOR_STYLE.items()]
    _legend(figure, handles + _point_handles(), columns=5)
    return figure


def _by_net(scale):
    """Figure with a panel for every net: (figure, net, axes, cases of that net)."""
    figure, axes = plot.canvas(1, len(LAWS), size=(2.7 * len(LAWS), 2.9), sharey=True)
    for ax, net in zip(axes[0], LAWS):
        cases = [case for case in scale.cases if case.net == net]
        ax.set_title(cases[0].title.split(",")[0])
        yield figure, net, ax, cases


def _kernels(measured, table, scale):
    bounds = [row["bound"] for row in table if "bound" in row]
    for figure, net, ax, cases in _by_net(scale):
        styles = [(case, estimator) for case in cases for estimator in ESTIMATORS]
        for k, (case, estimator) in enumerate(styles):
            shift = 1.06 ** (k - (len(styles) - 1) / 2)
            points = series(measured, case, estimator, "m2").points
            color, marker = _DIM_STYLE[case.dim_in][0], _ESTIMATOR_STYLE[estimator][1]
            for heavy in (False, True):
                chosen = [(p.width, p.mean / p.stderr) for p in points if (p.verdict == "heavy tail") == heavy]
                plot.pulls(chosen, ax=ax, color=color, marker="x" if heavy else marker, shift=shift,
                           bound=max(bounds) if k == 0 and not heavy and bounds else None)  # fmt: skip
        ax.set_ylabel(r"$(G^{(2)} - K)$ / standard error" if net == next(iter(LAWS)) else "")
        ax.set_xlim(min(scale.widths) / 1.4, max(scale.widths) * 1.4)
    handles = [_handle(f"$d$ = {dim}", color=_DIM_STYLE[dim][0], marker="o") for dim in scale.dims]
    handles += [_handle(name, marker=marker) for name, (_, marker, _) in _ESTIMATOR_STYLE.items()]
    _legend(
        figure, handles + [_handle("heavy tail", marker="x"), _handle("bound for all, 0.1 %", ls=(0, (3, 2)), lw=0.8)]
    )
    return figure


def _constants(measured, scale):
    """mean |m_4| over its exact value, by gram: flat at 1 for every width."""
    for figure, net, ax, cases in _by_net(scale):
        ax.set(xscale="log", xlabel="width $N$", xlim=(min(scale.widths) / 1.4, max(scale.widths) * 1.4))
        drawn = 0
        for k, case in enumerate(cases):
            points = [p for p in series(measured, case, "gram", "m4").points if p.verdict != "heavy tail"]
            color, marker = _DIM_STYLE[case.dim_in]
            drawn += len(points)
            if points:
                ratio, stderr = (
                    np.array([getattr(p, name) / p.exact_value for p in points])
                    for name in ("aligned", "aligned_stderr")
                )
                plot.ratios(_ratio(points, 1.07 ** (k - 1), ratio, stderr), ax=ax, color=color, marker=marker)
        if not drawn:
            ax.text(
                0.5,
                0.6,
                "heavy tails at every width:\nexact values only",
                transform=ax.transAxes,
                ha="center",
                color="0.35",
            )
        ax.set_ylabel(r"mean $|m_4|$, gram / exact" if net == next(iter(LAWS)) else "")
    _legend(
        figure,
        [
            _handle(f"$d$ = {dim}", color=color, marker=marker)
            for dim, (color, marker) in _DIM_STYLE.items()
            if dim in scale.dims
        ],
    )
    return figure


def _noise(measured, scale):
    """Spread of the experiments over what exact moments say it is: 1, unless the sample misses the tail."""
    for figure, net, ax, cases in _by_net(scale):
        ax.axhline(1, color="0.5", lw=0.8, zorder=1)
        for k, (estimator, n) in enumerate((e, n) for e in ESTIMATORS for n in (4, 6)):
            points = series(measured, cases[0], estimator, f"g{n}").points
            ratio = np.array([p.spread / p.exact_spread for p in points])
            error = ratio / np.sqrt(2 * (points[0].n_experiments - 1))
            plot.ratios(
                _ratio(points, 1.06 ** (k - 1.5), ratio, error),
                ax=ax,
                color=_ORDER_STYLE[n][0],
                marker=_ESTIMATOR_STYLE[estimator][1],
            )
        ax.set(yscale="log", xlim=(min(scale.widths) / 1.4, max(scale.widths) * 1.4))
        ax.set_ylabel("spread of experiments / exact" if net == next(iter(LAWS)) else "")
    handles = [_handle(f"connected, $n$ = {n}", color=_ORDER_STYLE[n][0], marker="o") for n in (4, 6)]
    _legend(figure, handles + [_handle(name, marker=marker) for name, (_, marker, _) in _ESTIMATOR_STYLE.items()])
    return figure


def _ratio(points, shift, ratio, stderr):
    return SimpleNamespace(
        widths=np.array([p.width for p in points]) * shift, ratio=np.asarray(ratio), stderr=np.asarray(stderr)
    )


def _estimators(table, scale):
    for figure, net, ax, cases in _by_net(scale):
        rows = [row for row in table if (row["net"], row["dim_in"]) == (net, cases[0].dim_in)]
        for estimator, (color, marker, _) in _ESTIMATOR_STYLE.items():
            nets = [np.nan if row[estimator] is None else row[estimator] for row in rows]
            plot.nets_needed(SimpleNamespace(widths=[row["width"] for row in rows], nets=nets,
                                             exact=[row[estimator + "_exact"] for row in rows]), ax=ax, color=color, marker=marker)  # fmt: skip
        ax.set_ylabel(r"networks for 1 % of $G^{(4)}_{\rm c}$" if net == next(iter(LAWS)) else "")
    handles = [_handle(name, color=color, marker=marker) for name, (color, marker, _) in _ESTIMATOR_STYLE.items()]
    _legend(figure, handles + [_handle("measured variance", marker="o"), _handle("exact variance, one input", ls="-")])
    return figure
