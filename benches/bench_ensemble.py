"""W1-W4: networks per second, all of G2 and G4, against the best forms of numpy, torch and JAX at equal threads.

    W1, W2   d=1, erf, N = 100 and 1000, 6 points             301 and 3001 normals per net, 6 erf per neuron
    W3       d=16, 5 x 256, erf, 16 points                    267,777 normals and 4.3 M multiply-adds per net
    W4       d=784, 128, relu, 32 points                      100,609 normals and 3.2 M multiply-adds per net

Limit of the explicit weights: the random numbers, measured at 1.36 G/s per AVX-512 core (bench_normals).
"""

import time
from statistics import median

import numpy as np
import pytest
import rivals
from conftest import Contender

from nnqft.ensemble import correlators, exact_correlators
from nnqft.networks import Network, erf_net

BARS = {("W1", "weights"): ">= 6x", ("W2", "weights"): ">= 6x", ("W3", "weights"): ">= 4x", ("W4", "weights"): ">= 4x",
        ("W3", "layer"): ">= 30x", ("W4", "layer"): ">= 30x"}  # fmt: skip
NORMALS = {"W1": 301, "W2": 3001, "W3": 267_777, "W4": 100_609}


def network(work):
    return Network(work.dim_in, work.widths, activation=work.activation, sigma_w=1.0, sigma_b=1.0)


def measured(work, n, threads, sampler, estimator="direct"):
    return correlators(network(work), work.points, orders=(2, 4), n_nets=n, estimator=estimator, sampler=sampler, threads=threads, seed=1)


def check(work, n, sampler, estimator):
    """Our answer against theory, as the rivals' answers are checked."""
    result = measured(work, n, 2, sampler, estimator)
    moments = {"n_nets": n, "G2": result.full(2).mean, "G2_stderr": result.full(2).stderr, "G4": result.full(4).mean, "gram": estimator == "gram"}
    assert all(z < 5 for z in rivals.z_scores(work, moments).values())
    assert np.median(result.full(2).stderr / result.full(2).mean) < 0.1


def contenders(name, threads, sampler, estimator):
    """The best form of each library, the plain forms that people write first, and JAX with a generator written by hand."""
    estimator = estimator if sampler == "layer" else None
    chosen = []
    for library in rivals.pool.LIBRARIES:
        for hand_written in (False, True):
            try:
                chosen.append(rivals.best(name, library=library, sampler=sampler, estimator=estimator, hand_written=hand_written))
            except ValueError:  # the library has no form of this kind
                continue
    plain = [r for r in rivals.candidates(name, sampler=sampler, estimator=estimator) if r.form in ("baddbmm", "vmap/normal", "points", "batched/normal")]
    chosen += {(r.library, r.form): r for r in plain}.values()  # the largest chunk of each
    for rival in dict.fromkeys(chosen):
        moments = rival(20_000 if name in ("W1", "W2") else 1500, threads=threads)
        assert all(z < 5 for z in rivals.z_scores(rivals.WORKLOADS[name], moments).values()), rival
        mark = " (generator by hand)" if rival.hand_written else ""
        yield Contender(f"{rival.library} {rival.form} x{rival.chunk}{mark}", lambda n, r=rival: r(n, threads=threads)["n_nets"])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", ["W1", "W2", "W3", "W4"])
def test_explicit_weights(duel, name, threads):
    work = rivals.WORKLOADS[name]
    check(work, {"W1": 100_000, "W2": 20_000}.get(name, 600), "weights", "direct")
    ours = Contender("nnqft direct, weights", lambda n: measured(work, n, threads, "weights").n_nets)
    limit = f"{threads * 1.36e9 / NORMALS[name]:.3g} nets/s"
    duel(f"{name}, direct, explicit weights, {threads} thread(s)", ours, list(contenders(name, threads, "weights", None)), unit="nets/s",
         bar=BARS[name, "weights"], limit=limit)  # fmt: skip


@pytest.mark.parametrize("against", ["explicit weights", "layer law"])
@pytest.mark.parametrize("estimator", ["direct", "gram"])
@pytest.mark.parametrize("name", ["W3", "W4"])
def test_layer_law(duel, name, estimator, against):
    """The bar compares with the rivals' explicit weights; their own layer law is in the list as well."""
    work, threads = rivals.WORKLOADS[name], 2
    check(work, 4000, "layer", estimator)
    ours = Contender(f"nnqft {estimator}, layer", lambda n: measured(work, n, threads, "layer", estimator).n_nets)
    peers = list(contenders(name, threads, "weights" if against == "explicit weights" else "layer", estimator))
    bar = BARS[name, "layer"] if against == "explicit weights" else None
    duel(f"{name}, {estimator}, layer law against {against}, {threads} threads", ours, peers, unit="nets/s", bar=bar)


@pytest.mark.parametrize("estimator", ["direct", "gram", "neuron"])
def test_time_to_one_percent_on_the_connected_four_point_function(benchmark, rows, estimator):
    """erf, N = 100, one core. direct and gram cannot be run to 1 % in a bench where they need 1e11 nets: then extrapolated."""
    net, x = erf_net(100, dim_in=1), np.array([[1.0]])
    exact = exact_correlators(net, x, orders=(2, 4)).connected(4).mean[0]
    n = {"direct": 4_000_000, "gram": 65_536, "neuron": 4096}[estimator]
    seconds = []
    for seed in range(7):
        start = time.perf_counter()
        result = correlators(net, x, orders=(2, 4), n_nets=n, estimator=estimator, seed=seed, threads=1)
        tensor = result.connected(4)
        seconds.append((time.perf_counter() - start) * (tensor.stderr[0] / (0.01 * exact)) ** 2)
        assert abs(tensor.mean[0] - exact) < 4.5 * tensor.stderr[0]
    benchmark.group = "seconds to 1 % on G4_connected (erf, N=100, one core)"
    benchmark.extra_info["seconds_to_one_percent"] = median(seconds)
    benchmark.pedantic(lambda: correlators(net, x, orders=(2, 4), n_nets=n, estimator=estimator, seed=0, threads=1), rounds=3)
    rows.append({"title": f"time to 1 % on connected G4, erf N=100, {estimator}, one core", "ours": estimator, "rate": median(seconds),
                          "unit": "s", "bar": "< 0.1 s with the best of the three", "limit": None})  # fmt: skip
