"""The study's figures, drawn with `nnqft.plot`: exact curves are lines, measurements points."""

from types import SimpleNamespace

import numpy as np

from ... import plot
from .analysis import series
from .cases import ESTIMATORS, LAWS

__all__ = ["draw_all"]

_BLACK, _BLUE, _RED, _GREEN, _ORANGE = (plot.COLORS[name] for name in ("black", "blue", "red", "green", "orange"))
_ORDER = {2: {"color": _BLACK, "marker": "^"}, 4: {"color": _BLUE, "marker": "o"}, 6: {"color": _RED, "marker": "s"}}
_ESTIMATOR = {"direct": {"color": _ORANGE, "marker": "o"}, "gram": {"color": _GREEN, "marker": "D"}}
_DIM = {1: {"color": _BLUE, "marker": "o"}, 2: {"color": _RED, "marker": "s"}, 3: {"color": _GREEN, "marker": "^"}}
_DASHED = {"ls": (0, (3, 2)), "lw": 0.8}
_FIRST = next(iter(LAWS))


def draw_all(folder, measured, tables, scale):
    """Draw and store every figure; dict, name -> path."""
    with plot.theme():
        figures = {f"correlators_{net}": _correlators(measured, scale, net) for net in LAWS}
        figures["kernels"] = _kernels(measured, tables["kernels"], scale)
        figures["constants"] = _constants(measured, scale)
        figures["noise"] = _noise(measured, scale)
        figures["estimators"] = _estimators(tables["estimators"], scale)
        return {name: folder.figure(name, figure) for name, figure in figures.items()}


def _correlators(measured, scale, net):
    """Deviations as the paper measures them (direct), then connected functions by both estimators."""
    cases = [case for case in scale.cases if case.net == net]
    figure, axes = plot.canvas(3, len(cases), size=(2.6 * len(cases) + 0.4, 7.0), sharex=True, sharey="row")
    for column, case in zip(axes.T, cases):
        for n, style in _ORDER.items():
            plot.against_width(series(measured, case, "direct", f"m{n}"), ax=column[0], **style)
        for ax, quantity in zip(column[1:], ("g4", "g6")):
            for estimator, shift in zip(ESTIMATORS, (1 / 1.05, 1.05)):
                curve = series(measured, case, estimator, quantity)
                plot.against_width(curve, ax=ax, exact=False, shift=shift, **_ESTIMATOR[estimator])
            ax.plot(curve.widths, curve.exact, "-", color="0.3", zorder=2)
        column[0].set_title(case.title.replace("d =", "$d$ ="))
        _set_width_axis(column[0], scale)
        for ax in column[:-1]:
            ax.set_xlabel("")
    labels = (
        r"mean $|m_n|$, direct",
        r"mean $|G^{(4)}_{\rm c} / G^{(4)}_{\rm GP}|$",
        r"mean $|G^{(6)}_{\rm c} / G^{(6)}_{\rm GP}|$",
    )
    for ax, label in zip(axes[:, 0], labels):
        ax.set_ylabel(label)
    handles = [_handle(f"$m_{n}$", **style) for n, style in _ORDER.items()] + _estimator_handles()
    handles += [
        _handle("above background", marker="o"),
        _handle("below", marker="o", mfc="white"),
        _handle("heavy tail: not trustworthy", marker="x"),
        _handle("exact", ls="-"),
        _handle("background", **_DASHED),
    ]
    _legend(figure, handles, columns=(2, 3, 5)[len(cases) - 1])  # what fits below the panels
    return figure


def _kernels(measured, table, scale):
    """Pulls of every 2-point function; tuples of one width are correlated."""
    bounds = [row["bound"] for row in table if "bound" in row]
    for figure, net, ax, cases in _panels(scale):
        styles = [(case, estimator) for case in cases for estimator in ESTIMATORS]
        for k, (case, estimator) in enumerate(styles):
            style = _DIM[case.dim_in] | {"marker": _ESTIMATOR[estimator]["marker"], "shift": _shift(k, len(styles))}
            points = series(measured, case, estimator, "m2").points
            trusted, heavy = ([(p.width, p.mean / p.stderr) for p in points if (p.verdict == "heavy tail") == tail]
                              for tail in (False, True))  # fmt: skip
            plot.pulls(trusted, ax=ax, bound=max(bounds) if bounds and k == 0 else None, **style)
            plot.pulls(heavy, ax=ax, **style | {"marker": "x"})
        ax.set_ylabel(r"$(G^{(2)} - K)$ / standard error" if net == _FIRST else "")
    handles = _dim_handles(scale, marker="o") + [_handle(name, marker=s["marker"]) for name, s in _ESTIMATOR.items()]
    _legend(figure, [*handles, _handle("heavy tail", marker="x"), _handle("bound for all, 0.1 %", **_DASHED)])
    return figure


def _constants(measured, scale):
    """mean |m_4| over its exact value, by gram: 1 at every width."""
    for figure, net, ax, cases in _panels(scale):
        drawn = 0
        for k, case in enumerate(cases):
            points = [p for p in series(measured, case, "gram", "m4").points if p.verdict != "heavy tail"]
            drawn += len(points)
            ratio = [p.aligned / p.exact_value for p in points]
            _draw_ratios(ax, points, ratio, [p.aligned_stderr / p.exact_value for p in points], _shift(k, len(cases)),
                         **_DIM[case.dim_in])  # fmt: skip
        if not drawn:
            text = "heavy tails at every width:\nexact values only"
            ax.text(0.5, 0.6, text, transform=ax.transAxes, ha="center", color="0.35")
        ax.set_ylabel(r"mean $|m_4|$, gram / exact" if net == _FIRST else "")
    _legend(figure, _dim_handles(scale))
    return figure


def _noise(measured, scale):
    """Spread of the experiments over what exact moments say it is: 1, unless the sample misses the tail."""
    for figure, net, ax, cases in _panels(scale):
        for k, (estimator, n) in enumerate((e, n) for e in ESTIMATORS for n in (4, 6)):
            points = series(measured, cases[0], estimator, f"g{n}").points
            ratio = np.array([p.spread / p.exact_spread for p in points])
            stderr = ratio / np.sqrt(2 * (points[0].n_experiments - 1))
            style = {"color": _ORDER[n]["color"], "marker": _ESTIMATOR[estimator]["marker"]}
            _draw_ratios(ax, points, ratio, stderr, _shift(k, 4), **style)
        ax.set_yscale("log")
        ax.set_ylabel("spread of experiments / exact" if net == _FIRST else "")
    handles = [_handle(f"connected, $n$ = {n}", color=_ORDER[n]["color"], marker="o") for n in (4, 6)]
    _legend(figure, handles + [_handle(name, marker=style["marker"]) for name, style in _ESTIMATOR.items()])
    return figure


def _estimators(table, scale):
    """Networks for 1 % on the connected 4-point function."""
    for figure, net, ax, cases in _panels(scale):
        rows = [row for row in table if (row["net"], row["dim_in"]) == (net, cases[0].dim_in)]
        for estimator, style in _ESTIMATOR.items():
            curve = SimpleNamespace(
                widths=[row["width"] for row in rows],
                nets=[np.nan if row[estimator] is None else row[estimator] for row in rows],
                exact=[row[estimator + "_exact"] for row in rows],
            )
            plot.nets_needed(curve, ax=ax, **style)
        ax.set_ylabel(r"networks for 1 % of $G^{(4)}_{\rm c}$" if net == _FIRST else "")
    handles = [_handle("measured variance", marker="o"), _handle("exact variance, one input", ls="-")]
    _legend(figure, _estimator_handles() + handles)
    return figure


# ---- pieces


def _panels(scale):
    """A figure with a panel for every net: yields (figure, net, axes, cases of that net)."""
    figure, axes = plot.canvas(1, len(LAWS), size=(2.7 * len(LAWS), 2.9), sharey=True)
    for ax, net in zip(axes[0], LAWS):
        cases = [case for case in scale.cases if case.net == net]
        ax.set_title(cases[0].title.split(",")[0])
        ax.set(xscale="log", xlabel="width $N$")
        _set_width_axis(ax, scale)
        yield figure, net, ax, cases


def _set_width_axis(ax, scale):
    ax.set_xlim(min(scale.widths) / 1.35, max(scale.widths) * 1.35)


def _shift(k, n):
    """Factor on the widths that sets the k-th of n results beside the others."""
    return 1.06 ** (k - (n - 1) / 2)


def _draw_ratios(ax, points, ratio, stderr, shift, **style):
    widths = np.array([p.width for p in points]) * shift
    plot.ratios(SimpleNamespace(widths=widths, ratio=np.asarray(ratio), stderr=np.asarray(stderr)), ax=ax, **style)


def _legend(figure, handles, columns=7):
    ncols = min(len(handles), columns)
    figure.legend(handles=handles, loc="outside lower center", ncols=ncols, handletextpad=0.4, columnspacing=1.2)


def _handle(label, **style):
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **({"ls": "", "color": "0.3"} | style))


def _estimator_handles():
    return [_handle(name, **style) for name, style in _ESTIMATOR.items()]


def _dim_handles(scale, **style):
    return [_handle(f"$d$ = {dim}", **_DIM[dim] | style) for dim in scale.dims]
