"""Figures of the second half, drawn with `nnqft.plot`: what the correlators say about the action."""


from ... import plot
from ...tensor import Estimate
from .cases import LAWS, Case

__all__ = ["draw_couplings"]

_TITLES = {net: Case(net, 1).title.split(",")[0] for net in LAWS} | {"cos": "cos-net"}
_NET = {"gauss": "red", "relu": "blue", "erf": "green", "cos": "orange"}
_DIM = {1: ("blue", "o"), 2: ("red", "s"), 3: ("green", "^")}


def draw_couplings(folder, study):
    """Draw and store every figure of a `Couplings`; dict, name -> path."""
    drawings = {"couplings_width": _against_width, "couplings_inputs": _at_inputs, "six_point": _six_point, "rg": _running,
                "edgeworth": _densities, "conjecture": _conjecture, "naturalness": _natural}  # fmt: skip
    with plot.theme():
        return {name: folder.figure(name, draw(study)) for name, draw in drawings.items()}


def _against_width(study):
    """|lambda| against the width, exactly proportional to 1/N; crosses: heavy tails, not trustworthy."""
    figure, axes = plot.canvas(1, len(LAWS), size=(2.7 * len(LAWS), 2.9))
    for ax, net in zip(axes[0], LAWS):
        for dim, (color, marker) in _DIM.items():
            rows = [row for row in study.tables["couplings"] if (row["net"], row["dim_in"]) == (net, dim)]
            if not rows:
                continue
            widths, color = [row["width"] for row in rows], plot.COLORS[color]
            pairs = [(row["width"], Estimate(row["value"], row["stderr"])) for row in rows]
            style = {"color": color, "marker": "x" if net == "gauss" else marker, "label": f"$d$ = {dim}"}
            plot.coupling_against_width(pairs, ax=ax, **style)
            ax.plot(widths, [abs(row["exact"]) for row in rows], "-", color=color, lw=0.9, zorder=1)
        ax.set(title=_TITLES[net], ylabel=r"mean $|\lambda|$" if net == next(iter(LAWS)) else "")
    axes[0, -1].legend()
    return figure


def _at_inputs(study):
    """lambda_m tuple by tuple: at the paper's inputs, and at inputs of order one."""
    keys = list(study.pointwise)
    figure, axes = plot.canvas(1, len(keys), size=(2.2 * len(keys), 2.6))
    for ax, key in zip(axes[0], keys):
        net, spread = (key, False) if isinstance(key, str) else (key[0], True)
        coupling = study.pointwise[key]
        plot.coupling(coupling, ax=ax, color=plot.COLORS[_NET[net]])
        low, high = coupling.pointwise.mean.min(), coupling.pointwise.mean.max()
        if high - low < 0.02 * abs(low):  # the eye should not see structure in 0.01 %
            ax.set_ylim(*sorted((coupling.mean.mean * 0.8, coupling.mean.mean * 1.2)))
        ax.set_title(f"{_TITLES[net]}, {'spread inputs' if spread else 'Table 5'}")
        if ax is not axes[0, 0]:
            ax.set_ylabel("")
    return figure


def _six_point(study):
    """Prediction over exact 6-point function, order by order in 1/width."""
    figure, axes = plot.canvas(1, len(study.six_point), size=(2.7 * len(study.six_point), 2.9), sharey=True)
    for ax, (net, (prediction, exact)) in zip(axes[0], study.six_point.items()):
        plot.six_point(prediction, exact=exact, ax=ax)
        ax.set_title(_TITLES[net])
    for ax in axes[0, 1:]:
        ax.set_ylabel("")
    axes[0, 0].legend()
    return figure


def _running(study):
    """Running quartic couplings, and their exponents beta / lambda."""
    figure, axes = plot.canvas(1, 2, size=(7.2, 3.0))
    for net, flow in study.flows.items():
        color = plot.COLORS[_NET[net]]
        plot.running(flow, ax=axes[0, 0], color=color, label=_TITLES[net], tuples=False)
        plot.beta(study.betas[net], ax=axes[0, 1], color=color, label=_TITLES[net])
    axes[0, 0].legend()
    return figure


def _densities(study):
    """Distribution of f(1) over the Gaussian: networks, and Edgeworth series."""
    figure, axes = plot.canvas(1, len(study.densities), size=(3.6 * len(study.densities), 3.0))
    for ax, (net, (densities, samples)) in zip(axes[0], study.densities.items()):
        first, second = densities
        plot.edgeworth(first, ax=ax, relative=True, color=plot.COLORS["red"])
        plot.edgeworth(second, ax=ax, relative=True, samples=samples, bins=40)
        width = next(row["width"] for row in study.tables["edgeworth"] if row["net"] == net)
        ax.set_title(f"{_TITLES[net]}, $N$ = {width}, $x$ = 1")
    handles = {text: artist for artist, text in zip(*axes[0, 0].get_legend_handles_labels())}
    axes[0, 0].legend(handles.values(), handles.keys())
    return figure


def _conjecture(study):
    """lambda of one tuple, moved: two nets with the same translation invariant kernel."""
    figure, axes = plot.canvas(1, 1, size=(3.6, 3.0))
    for net, moved in study.shifts.items():
        plot.along_shifts(moved, ax=axes[0, 0], tuples=[2], color=plot.COLORS[_NET[net]], label=_TITLES[net])
    axes[0, 0].legend()
    return figure


def _natural(study):
    """Three roads to a small coupling."""
    figure, axes = plot.canvas(1, len(study.natural), size=(2.8 * len(study.natural), 2.9))
    for ax, scan in zip(axes[0], study.natural):
        plot.naturalness(scan, ax=ax)
    return figure
