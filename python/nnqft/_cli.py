"""The command line: `nnqft info`, `nnqft reproduce PAPER`, `nnqft spectrum MODEL DATA`, `nnqft bench`; also `python -m nnqft`.

Exit codes: 0 done, 2 a wrong argument or an error of the library (one line on stderr), 130 interrupted.
"""

import argparse
import importlib
import json
import pkgutil
import platform
import sys
import time
from pathlib import Path

import numpy as np
import scipy

from . import _backend, _core, ensemble, networks
from ._build import build_info
from ._hessian import _command
from ._version import __version__
from .errors import NNQFTError, StateError

__all__ = ["main"]

_BENCH_CHECK = 5.0  # |z| of a correct kernel: exceeded once in 2 million


def main(argv=None):
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name. Default: those of the process.

    Returns
    -------
    int
        The exit code; argparse raises SystemExit(2) itself for arguments it cannot read.

    Examples
    --------
    >>> main(["info", "--json"]) == 0       # doctest: +ELLIPSIS
    {"version": "...", "isa": ...}
    True
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("nnqft: interrupted", file=sys.stderr)
        return 130
    except (NNQFTError, ImportError, OSError) as error:  # ImportError: an extra is missing, and the message says which
        print("nnqft: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


def papers():
    """Names under `nnqft.experiments`, found without importing them.

    Examples
    --------
    >>> "halverson" in papers()
    True
    """
    folder = Path(__file__).parent / "experiments"
    return sorted(module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_"))


def _parser():
    parser = argparse.ArgumentParser(prog="nnqft", description="Neural-network field theory at C++ speed.")
    parser.add_argument("--version", action="version", version=f"nnqft {__version__}")
    commands = parser.add_subparsers(required=True, metavar="{info,reproduce,spectrum,bench}")

    info = commands.add_parser("info", help="version, instruction sets, threads and devices")
    info.add_argument("--json", action="store_true", help="print nnqft.build_info() as JSON")
    info.set_defaults(command=_info)

    reproduce = commands.add_parser("reproduce", help="rerun a paper: tables, figures and a report")
    reproduce.add_argument("paper", choices=papers())
    reproduce.add_argument("--scale", choices=["quick", "paper"], default="quick",
                           help="about a minute, or the paper's own statistics (default: %(default)s)")  # fmt: skip
    reproduce.add_argument("--outdir", metavar="DIR", help="folder for the results (default: ./nnqft-PAPER)")
    reproduce.add_argument("--seed", type=int, metavar="N", help="seed of every draw (default: the experiment's)")
    reproduce.add_argument("--threads", type=int, metavar="N", help="threads; the results do not depend on them (default: all)")
    reproduce.add_argument("--quiet", action="store_true", help="no progress, only the path of the report")
    reproduce.set_defaults(command=_reproduce)

    spectrum = commands.add_parser("spectrum", help="the Hessian spectrum of a saved perceptron: figure, numbers, quadrature")
    _command.add_arguments(spectrum)
    spectrum.set_defaults(command=_command.run)

    bench = commands.add_parser("bench", help="speed of this machine, in a few seconds")
    bench.add_argument("--quick", action="store_true", help="a shorter, rougher measurement")
    bench.set_defaults(command=_bench)
    return parser


# ---- info ------------------------------------------------------------------------------------------------------------


def _cuda_module(cuda):
    """What was built, in words."""
    if cuda is None:
        return "not built"
    if cuda.emulated:
        return "emulated on the CPU, for tests"
    release = cuda.runtime_version()
    return f"built with CUDA {release // 1000}.{release % 1000 // 10} for {cuda.architectures}"


def _info(arguments):
    info = build_info()
    if arguments.json:
        print(json.dumps(info))
        return
    cuda, missing = _backend._load_cuda()
    devices = [f"cuda:{d['index']} {d['name']}, {d['memory'] / 2**30:.0f} GiB" for d in info["devices"]]
    if not devices:
        devices = ["none: " + (missing if cuda is None else _backend._why_no_device(cuda))]
    rows = [
        ("instruction set", f"{info['isa']} (this machine has {', '.join(info['isas'])})"),
        ("threads", info["threads"]),
        ("CUDA module", _cuda_module(cuda)),
        *(("device", device) for device in devices),
        ("BLAS", info["blas"]),
        ("Python", f"{platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}"),
        ("system", f"{platform.system()} {platform.machine()}"),
    ]
    print(f"nnqft {info['version']}")
    for name, value in rows:
        print(f"  {name:16} {value}")


# ---- reproduce -------------------------------------------------------------------------------------------------------


def _reproduce(arguments):
    experiment = importlib.import_module(f"nnqft.experiments.{arguments.paper}")
    given = {name: getattr(arguments, name) for name in ("seed", "threads") if getattr(arguments, name) is not None}
    outdir = arguments.outdir or f"nnqft-{arguments.paper}"
    report = experiment.run(outdir, scale=arguments.scale, progress=not arguments.quiet, **given)
    print(report.path)


# ---- bench -----------------------------------------------------------------------------------------------------------


def _bench(arguments):
    budget = 0.1 if arguments.quick else 1.5
    info = build_info()
    print(f"nnqft {info['version']}, {info['isa']}, {info['threads']} threads", flush=True)
    print(f"normals  {_normal_rate(budget):.3g} /s       one core", flush=True)
    print(f"W1 nets  {_net_rate(budget):.3g} /s       {info['threads']} threads; 1-100-1 erf, 6 points, G2 and G4, "
          "every weight drawn", flush=True)  # fmt: skip
    print("Against other libraries, in the source folder: pip install \".[bench]\" && pytest benches --benchmark-only")


def _normal_rate(budget):
    """Normals per second of one thread: draws that stay in the cache."""
    shape = 16, 64, 64

    def draw(repeats):
        for _ in range(repeats):
            z = _core.normals(0, 0, 0, *shape)
        return z

    z = draw(1).astype(np.float64)
    _check("the variance of normals", z.var(), 1.0, np.sqrt(2 / z.size))
    return z.size * _rate(draw, 100, budget)


def _net_rate(budget):
    """Networks per second of the workload W1, all threads."""
    net, x = networks.erf_net(100, dim_in=1), np.linspace(-1.0, 1.0, 6)[:, np.newaxis]

    def measure(n_nets):
        return ensemble.correlators(net, x, orders=(2, 4), n_nets=n_nets, estimator="direct", sampler="weights")

    two_point = measure(1 << 14).full(2)[0, 0]
    _check("a two-point function", two_point.mean, networks.nngp(net, x)[0, 0], two_point.stderr)
    return _rate(measure, 1 << 14, budget)


def _check(what, value, expected, stderr):
    """Wrong numbers have no speed."""
    if not abs(value - expected) <= _BENCH_CHECK * stderr:
        raise StateError(f"{what} came out as {value:.6g}, expected {expected:.6g} +- {stderr:.2g}: this build computes wrong numbers")


def _rate(work, n, budget):
    """Units per second of work(n): n grows until a call takes a fifth of `budget` seconds, then the best of five."""

    def seconds():
        start = time.perf_counter()
        work(n)
        return time.perf_counter() - start

    while seconds() < budget / 5:
        n *= 2
    return n / min(seconds() for _ in range(5))
