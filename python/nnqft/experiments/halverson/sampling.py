"""The sampling: independent runs for every net, dimension, width and estimator, kept as their moments."""

import time
from dataclasses import dataclass

import numpy as np

from ..._plan import make_plan
from ...ensemble import correlators
from .cases import ESTIMATORS, ORDERS, Case, experiment_seed

__all__ = ["Sample", "sample_all", "work"]


@dataclass(frozen=True, eq=False)
class Sample:
    """Measured moments of one net at one width by one estimator, a row per experiment."""

    case: Case
    width: int
    estimator: str
    n_nets: int
    moments: np.ndarray
    seconds: float


def work(scale):
    """Neurons that a study draws, the unit of its progress."""
    return len(scale.cases) * len(ESTIMATORS) * sum(scale.widths) * scale.total


def sample_all(folder, scale, *, seed, device, threads, advance):
    """All samples of a study, in a fixed order; each is stored in `folder` when it is complete, and read if it was.

    advance : callable(neurons), progress. An interrupt loses the sample in hand only.
    """
    samples = []
    for case in scale.cases:
        for estimator in ESTIMATORS:
            for width in scale.widths:
                name = f"{case.net}_d{case.dim_in}_N{width}_{estimator}"
                n_sums = make_plan(case.law(width), len(case.x), ORDERS, estimator, None).program.n_sums
                members = {"moments": (np.float64, (scale.n_experiments, n_sums)), "x": (np.float64, case.x.shape)}
                part = folder.read(name, members)
                if part is not None:
                    advance(width * scale.total)
                else:
                    part = _measure(case, width, estimator, scale, seed, device, threads, advance)
                    folder.store(name, *part)
                header, arrays = part
                samples.append(Sample(case, width, estimator, scale.n_nets, arrays["moments"], header["seconds"]))
    return samples


def _measure(case, width, estimator, scale, seed, device, threads, advance):
    """Header and arrays of one sample: `n_experiments` runs, each with its own seed."""
    net, rows, start = case.law(width), [], time.perf_counter()
    for k in range(scale.n_experiments):
        run = correlators(
            net, case.x, orders=ORDERS, n_nets=scale.n_nets, estimator=estimator, sampler="weights",
            seed=experiment_seed(seed, case, width, k), device=device, threads=threads,
        )  # fmt: skip
        rows.append(run.moments())
        advance(width * scale.n_nets)
    header = {
        "network": net.to_dict(), "estimator": estimator, "sampler": "weights", "orders": ORDERS,
        "n_nets": scale.n_nets, "seed": seed,
        "spawn_key": [*experiment_seed(seed, case, width, 0).spawn_key[:3], "experiment"],
        "seconds": time.perf_counter() - start,
    }  # fmt: skip
    return header, {"moments": np.array(rows), "x": case.x}
