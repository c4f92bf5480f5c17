"""`nnqft spectrum`: the Hessian spectrum of a saved net, from two files to a figure and its numbers."""

import io
import json
import os

import numpy as np

from .. import _store, plot
from .._build import build_info
from ..errors import ArgumentError
from .._lanczos._eigsh import eigsh
from .._lanczos._slq import slq
from .._lanczos._symmetry import spectral_symmetry
from ._hessian import PARTS, Hessian
from ._load import load_net, read_tensors
from ._losses import LOSSES

__all__ = ["add_arguments", "run", "spectrum"]

_FORMAT = "nnqft.spectrum/1"
_POINTS = 512


def add_arguments(parser):
    """The options of `nnqft spectrum`, for argparse."""
    parser.add_argument("model", help="torch.save(module.state_dict(), ...) or .npz of a perceptron: <layer>.weight, <layer>.bias; never a pickled module")
    parser.add_argument("data", help=".npz, or a file of torch, with X (samples, ...) and y")
    parser.add_argument("--loss", choices=LOSSES, required=True)
    parser.add_argument("--activation", default="relu", help="between the layers (default: %(default)s)")
    parser.add_argument("--part", choices=PARTS, default="full", help="of the Hessian (default: %(default)s)")
    parser.add_argument("--weight-decay", type=float, default=0.0, metavar="W")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32", help="of products (default: %(default)s)")
    parser.add_argument("-k", "--steps", type=int, default=80, metavar="K", help="Lanczos steps per probe (default: %(default)s)")
    parser.add_argument("--probes", type=int, default=10, metavar="N", help="random vectors; error bars are their spread (default: %(default)s)")
    parser.add_argument("--top", type=int, default=6, metavar="N", help="eigenvalues of largest modulus (default: %(default)s; 0: none)")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--threads", type=int, metavar="N", help="the results do not depend on them (default: all)")
    parser.add_argument("--scale", choices=["symlog", "linear"], default="symlog", help="of the figure's axis (default: %(default)s)")
    parser.add_argument("--out", metavar="PREFIX", help="write PREFIX.json, .npz and .png (default: the model's path without its ending, and -spectrum)")
    parser.add_argument("--no-plot", action="store_true", help="no figure: matplotlib is not needed")


def run(arguments):
    """Do what the command line says, and print a summary."""
    if not arguments.no_plot:
        plot.require()  # before any work
    X, y = read_data(arguments.data)
    net = load_net(arguments.model, activation=arguments.activation)
    options = {"part": arguments.part, "weight_decay": arguments.weight_decay, "dtype": arguments.dtype, "threads": arguments.threads}
    H = Hessian(net, X.reshape(len(X), -1), y, loss=arguments.loss, **options)
    S, report = spectrum(H, arguments.steps, probes=arguments.probes, top=arguments.top, seed=arguments.seed, threads=arguments.threads)
    report = {"format": _FORMAT, "version": build_info()["version"], "model": os.path.basename(arguments.model), "data": os.path.basename(arguments.data),
              "net": repr(net), "loss": arguments.loss, "part": arguments.part, "weight_decay": arguments.weight_decay, "dtype": arguments.dtype, **report}  # fmt: skip
    prefix = arguments.out or os.path.splitext(arguments.model)[0] + "-spectrum"
    S.save(f"{prefix}.npz")
    _store.write(f"{prefix}.json", (json.dumps(report, indent=1, allow_nan=False) + "\n").encode())
    written = [f"{prefix}.json", f"{prefix}.npz"]
    if not arguments.no_plot:
        _store.write(f"{prefix}.png", figure(S, arguments.scale, f"{net!r}, {arguments.loss}"))
        written.append(f"{prefix}.png")
    print("\n".join(summary(report)))
    print("written:", ", ".join(written))


def read_data(path):
    """X, a float array (samples, ...), and y from a file; ArgumentError if it has not both."""
    data = read_tensors(path)
    missing = [name for name in ("X", "y") if not isinstance(data.get(name), np.ndarray)]
    if missing:
        raise ArgumentError(f"{path} has no array {missing[0]!r}; it holds {', '.join(sorted(data)) or 'nothing'}; expected X (samples, ...) and y")
    X, y = data["X"], data["y"]
    if X.ndim < 2 or not len(X) or X.dtype.kind not in "fiu":
        raise ArgumentError(f"X has shape {X.shape} and dtype {X.dtype}; expected real numbers of shape (samples, ...)")
    return (X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)), y


def spectrum(H, k=80, *, probes=10, top=6, seed=0, threads=None):
    """(SpectralDensity, numbers for JSON) of a Hessian: moments, edges, symmetry, extreme eigenvalues, density."""
    S = slq(H, k, probes=probes, seed=seed, threads=threads)
    report = {"parameters": H.shape[0], "samples": H.n_samples, "active_samples": H.n_active, "risk": H.risk,
              "gradient_norm": float(np.linalg.norm(H.gradient)), "steps": S.how["k"], "probes": S.probes, "seed": S.how["seed"]}  # fmt: skip
    numbers = {f"moment_{j}": S.moment(j) for j in (1, 2, 3, 4)} | {"trace": S.trace(), "trace_of_square": S.trace(np.square)}
    report |= {name: {"mean": value.mean, "stderr": value.stderr} for name, value in numbers.items()}
    report["symmetry"] = spectral_symmetry(S).to_dict()
    report["ritz_range"] = S.edges
    if top:
        w, _, info = eigsh(H, min(top, H.shape[0]), seed=seed, threads=threads, return_info=True)
        report["eigenvalues"] = {"values": w, "residuals": info.residuals, "converged": info.converged}
    report["density"] = curves(S)
    return S, plain(report)


def curves(S):
    """Density and distribution on grids; of a spectrum of one point only the distribution."""
    steps = S.cesm()
    out = {"cesm": {"x": steps.x, "share": steps.share, "stderr": steps.stderr}}
    low, high = S.edges
    if high - low > 1e-12 * max(abs(low), abs(high)):
        for scale in ("linear", "symlog"):
            x = S.grid(_POINTS, scale=scale)
            density, error = S.density(x, scale=scale, stderr=True)
            out[scale] = {"x": x, "density": density, "stderr": error}
        out["symlog"]["threshold"] = S.threshold()
    return out


def plain(value):
    """In JSON's types; numbers that are not finite become None."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(part) for part in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def figure(S, scale, title):
    """The density, or for a spectrum of one point the distribution, as the bytes of a PNG file."""
    with plot.theme():
        drawing, axes = plot.canvas(size=(5.0, 3.2))
        low, high = S.edges
        if high - low > 1e-12 * max(abs(low), abs(high)):
            plot.spectral_density(S, ax=axes[0, 0], scale=scale)
        else:
            plot.spectral_cdf(S, ax=axes[0, 0])
        axes[0, 0].set_title(title)
        buffer = io.BytesIO()
        drawing.savefig(buffer, format="png", dpi=200, metadata={"Software": None})
    return buffer.getvalue()


def summary(report):
    """Lines for people."""
    from .._estimate import Estimate

    shown = lambda d: repr(Estimate(d["mean"], np.nan if d["stderr"] is None else d["stderr"]))
    yield f"{report['net']}, {report['loss']}: {report['parameters']} parameters, {report['active_samples']} of {report['samples']} samples active, risk {report['risk']:.6g}"
    yield f"  trace {shown(report['trace'])}, trace of the square {shown(report['trace_of_square'])}"
    yield f"  eigenvalues from {report['ritz_range'][0]:.6g} to {report['ritz_range'][1]:.6g}; negative share {shown(report['symmetry']['negative'])}"
    if "eigenvalues" in report:
        values = report["eigenvalues"]
        marks = ["" if good else "?" for good in values["converged"]]
        yield "  largest in modulus: " + ", ".join(f"{w:.6g}{mark}" for w, mark in zip(values["values"], marks, strict=True))
