"""Correlators of network ensembles against width: the experiments of Halverson, Maiti and Stoner, arXiv:2008.08601.

cases      nets, inputs, widths, sizes            tables     numbers of the report
sampling   the drawn networks, kept as moments    figures    drawn with nnqft.plot
analysis   moments to correlators with errors     writeup    the report in Markdown
noise      what a sample can know, exactly        fits       power laws
couplings  which action: Table 5, running, predictions; couplings_figures, couplings_writeup
"""

import operator
import time

from ... import plot
from ..._build import build_info
from ...errors import ArgumentError
from .._folder import Folder
from .._progress import progress_bar, say
from .._report import Report
from .analysis import analyse, exact_values
from .cases import Scale
from .couplings import study
from .couplings_figures import draw_couplings
from .couplings_writeup import write_couplings
from .figures import draw_all
from .sampling import sample_all, work
from .tables import build, rates
from .writeup import write_up

__all__ = ["Scale", "run"]

FORMAT = "nnqft.halverson/1"


def run(outdir="nnqft-halverson", *, scale="quick", seed=0, device="cpu", threads=None, progress=None):
    """Rerun the paper: correlators against width, couplings of the action, predictions, running.

    Three nets (gauss, relu, erf) at the paper's inputs for d = 1, 2, 3, by products of outputs ("direct") and by hidden
    Gram matrices ("gram"), beside their exact values; slopes, constants, kernel checks, and what sampling cannot see.
    Then the action: lambda and kappa, Table 5 and what explains its entries, the predicted 6-point function, beta
    functions, the conjecture on constant couplings, technical naturalness, Edgeworth densities against histograms.

    Parameters
    ----------
    outdir : str or Path
        Gets report.md, report.json, figures/*.png and raw/*.npz. In a folder of the same run it goes on.
    scale : {"quick", "paper"} or Scale
        paper: ten widths from 2 to 1000, 100 experiments of 10^5 drawn networks each for every net, width, dimension
        and estimator. quick: eight widths to 100, 16 experiments of 4 * 10^4.
    seed : int
        Every experiment derives its own: `SeedSequence(seed, spawn_key=(net, width, d, experiment))`.
    device : {"cpu"}
    threads : int, optional
        Changes no bit of the raw results.
    progress : bool or callable(done, total), optional
        In neurons drawn.

    Returns
    -------
    Report
        `.tables`, `.figures`, `.text`, `.path`, `.metadata` (with the wall seconds of every part).

    Raises
    ------
    ArgumentError, DeviceError
        Unknown scale or device, bad seed.
    StateError
        `outdir` holds another run, other files, or is in use; nothing in it is changed.

    Notes
    -----
    Cost on two cores: quick below a minute, paper below 20 minutes. An interrupt loses at most the sample in hand (one
    net, dimension, width and estimator); call again with the same settings to go on.

    Examples
    --------
    >>> import tempfile
    >>> tiny = Scale("tiny", 8, 1024, widths=(2, 10), dims=(1,))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = run(folder, scale=tiny)
    >>> rows = report.tables["slopes"]
    >>> {r["quantity"]: round(r["slope"], 1) for r in rows if (r["net"], r["estimator"]) == ("erf", "gram")}
    {'m4': -1.0, 'm6': -1.0, 'g4': -1.0, 'g6': -2.0}
    """
    start, scale, seed = time.perf_counter(), Scale.of(scale), _check_seed(seed)
    plot.require()  # now, not after the sampling
    spec = {
        "format": FORMAT,
        "seed": seed,
        "device": device,
        "scale": scale.to_dict(),
        "inputs": {case.title: case.x.tolist() for case in scale.cases},
    }
    with Folder(outdir, spec) as folder:
        with progress_bar(progress, work(scale), "neuron") as advance:
            samples = sample_all(folder, scale, seed=seed, device=device, threads=threads, advance=advance)
        sampled = time.perf_counter()
        exact = exact_values(scale)
        measured = [analyse(sample, exact[sample.case].at_width(sample.width)) for sample in samples]
        tables = build(measured, scale)
        analysed = time.perf_counter()
        action = study(samples, exact, scale, seed=seed, threads=threads)
        tables |= action.tables
        studied = time.perf_counter()
        figures = draw_all(folder, measured, tables, scale) | draw_couplings(folder, action)
        seconds = _sampling_seconds(samples) | {
            "analysis": analysed - sampled,
            "couplings": studied - analysed,
            "figures": time.perf_counter() - studied,
        }
        metadata = _metadata(scale, seed, device, threads) | {
            "seconds": seconds | {"total": sum(seconds.values()), "this call": time.perf_counter() - start},
            "rates": rates(samples, tables["estimators"]),
        }
        text = write_up(measured, tables, metadata, scale, write_couplings(action))
        report = Report("halverson", folder.path, metadata, tables, figures, text)
        report.save(folder)
    spent = metadata["seconds"]
    budget = f", budget on two cores {scale.budget:.0f} s" if scale.budget else ""
    say(progress, f"{spent['total']:.1f} s of work, {spent['this call']:.1f} s of it in this call{budget}")
    return report


def _check_seed(seed):
    try:
        seed = operator.index(seed)
    except TypeError:
        raise ArgumentError(
            f"seed must be an int, from which every experiment derives its own; got {type(seed).__name__}"
        ) from None
    if seed < 0:
        raise ArgumentError(f"seed must not be negative, got {seed}")
    return seed


def _sampling_seconds(samples):
    """Of the runs that made the stored samples, in this call or before."""
    seconds = {}
    for sample in samples:
        part = f"sampling {sample.case.title}, {sample.estimator}"
        seconds[part] = seconds.get(part, 0.0) + sample.seconds
    return seconds


def _metadata(scale, seed, device, threads):
    info = build_info()
    return {"format": FORMAT, "version": info["version"], "isa": info["isa"], "device": device,
            "threads": info["threads"] if threads is None else threads, "seed": seed, "scale": scale.to_dict(),
            "budget_seconds": scale.budget}  # fmt: skip
