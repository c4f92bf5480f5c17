"""Correlators of network ensembles: measured (`correlators`) and exact (`exact_correlators`).

    G^(n)(x_1, ..., x_n) = E[f(x_1) ... f(x_n)] over an ensemble of random networks f.

Every measured number carries its standard error (delete-one jackknife over 64 replicas) and knows the estimator,
sampler and seed that made it. Results do not depend on threads, batches, instruction set or splitting of a run.
"""

import operator
import os
import warnings
from math import comb
from collections.abc import Iterable

import numpy as np

from . import _backend, _core
from ._correlators import Correlators, ExactCorrelators
from ._device import DeviceEnsemble
from ._plan import ESTIMATORS, MAX_ORDER, SAMPLERS, check_moments, estimator_refusal, make_plan
from ._run import integer, measure, progress_bar, thread_count
from .errors import ArgumentError, NNQFTWarning
from .networks import Network, as_key, check_points

__all__ = ["correlators", "exact_correlators", "outputs", "weights", "Correlators", "accumulator_bytes", "plan_size"]


def correlators(net, x, *, orders=(2, 4), n_nets, start=0, estimator="auto", sampler="auto", dtype="float32", seed=0, device=None,
                threads=None, executor=None, checkpoint=None, progress=None, indices=None, block=None):
    """Measure n-point functions of an ensemble at given inputs.

    Parameters
    ----------
    net : Network
        The law of the ensemble.
    x : array, shape (n_points, dim_in), real
        Inputs; also one-dimensional for dim_in = 1. Computed with in `dtype`.
    orders : iterable of {2, 4, 6, 8}
        All even orders up to the highest are measured. Order 8 for up to 8 fields ("neuron", "gram": points).
    n_nets : int
        Number of networks.
    start : int
        First network; a multiple of the block. Runs over disjoint nets with one seed merge with `a + b`.
    estimator : {"auto", "direct", "gram", "neuron"}
        direct: products of outputs. gram: exact sum over Gaussian output weights, any depth. neuron: cumulants add over
        iid neurons, one hidden layer; one run serves every width. auto: gram where it applies, else direct.
    sampler : {"auto", "weights", "layer"}
        weights: draws every weight. layer: draws pre-activations from their exact Gaussian law given the layer before
        (normal laws only). auto: the cheaper of those that apply.
    dtype : {"float32", "float64"}
        Precision of forward passes; the draws are the same float32 numbers. Sums are float64 and exact across blocks.
    seed : int, SeedSequence or Generator
    device : {"cpu", "cuda", "cuda:N"} or list of the latter, optional
        Default: where `x` is. float32 results have the same bits everywhere, and `a + b` merges runs of different devices;
        float64 ones differ by rounding (the activations are those of CUDA's library). Several devices share the run.
    threads : int, optional
        Of the CPU; on a device they add up its block sums. Default: `nnqft.build_info()["threads"]`. Changes no bit of the result.
    executor : concurrent.futures.Executor, optional
        Runs parts of the work as tasks on CPUs instead of threads.
    checkpoint : path, optional
        Saved there about every 30 s and at the end; an existing one is resumed, to the same bits.
    progress : bool or callable(done, total), optional
    indices : mapping {order: rows} or sequence of arrays (count, order), optional
        Only these tuples of fields (and the sub-tuples that connected functions need), for many points.
    block : int, optional
        Networks per block. Default: 16 below 4096 nets, 4096 for more than 4096 moments and 65536 nets or more, else 256.
        Merging needs equal blocks.

    Returns
    -------
    Correlators
        `.full(n)`, `.connected(n)`, `.gp(n)`, `.deviation(n)`, `.background(n)`.

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs, unknown names, an estimator or sampler that does not hold for this law, moments that do not exist.
    StateError
        A checkpoint of another run, or a corrupted one.
    DeviceError
        A device that is missing, or too little memory there.

    Notes
    -----
    Cost: one random word per weight ("layer": per neuron and point), and C(fields + n - 1, n) products per net (gram: over
    pairs of points). Statistical error O(1 / sqrt(n_nets)). Halverson, Maiti and Stoner, arXiv:2008.08601, section 3.

    Examples
    --------
    >>> from nnqft.networks import erf_net
    >>> result = correlators(erf_net(100, dim_in=1), [[-1.0], [1.0]], orders=(2, 4), n_nets=20_000, seed=1)
    >>> result
    Correlators(n_nets=20000, orders=(2, 4), estimator='gram', sampler='weights', seed=1)
    >>> result.connected(4)[0, 0, 1, 1]
    0.00695(8)
    """
    x, devices = _place(x, device)
    x, orders, n_nets, start = _check(net, x, orders, n_nets, start)
    if devices and executor is not None:
        raise ArgumentError("an executor runs its tasks on CPUs: leave out executor, or device; several devices go as device=['cuda:0', 'cuda:1']")
    estimator, sampler, dtype = _names(net, len(x), estimator, sampler, dtype)
    for order in reversed(orders):
        message = check_moments(net, order)
        if message:
            warnings.warn(message, NNQFTWarning, stacklevel=2)
    plan = make_plan(net, len(x), orders, estimator, indices)
    limit = len(x) if estimator in ("gram", "neuron") else len(x) * net.dim_out
    if max(orders) == MAX_ORDER and limit > 8 and indices is None:
        raise ArgumentError(f"order 8 is measured for at most 8 points (fields with 'direct'), {limit} came; list the indices wanted")
    net.laws.check_range(start, start + n_nets)
    block = _block(block, n_nets, plan.program.n_sums)
    _check_memory(plan.program.n_sums, -(-n_nets // block))
    if start % block:
        raise ArgumentError(f"start={start} must be a multiple of the block of {block} networks; nearest: {start - start % block}")
    threads = thread_count(threads)
    seed = as_key(seed)
    exponent = _field_exponent(net, x, estimator, sampler, dtype, seed)
    result = Correlators._new(net, x, plan, sampler=sampler, dtype=dtype, seed=seed, block=block, exponent=exponent)
    measure(result, start, start + n_nets, threads=threads, executor=executor, checkpoint=checkpoint, progress=progress, devices=devices)
    return result


def exact_correlators(net, x, *, orders=(2, 4)):
    """Exact n-point functions of a net with one hidden layer, at its width.

    Parameters
    ----------
    net : Network
        One hidden layer; normal input weights and hidden biases (cos-net: its phases), any output law with moments.
    x : array, shape (n_points, dim_in), real
    orders : iterable of {2, 4, 6, 8}

    Returns
    -------
    Correlators
        With zero standard errors.

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs; no exact route for this law, with the alternatives.

    Notes
    -----
    Relative error 1e-9 or better: closed forms (gauss, cos), quadrature on spheres (relu), trapezoid sums (erf).
    Halverson, Maiti and Stoner, arXiv:2008.08601; cumulants of iid neurons, so exact in 1/width.

    Examples
    --------
    >>> from nnqft.networks import relu_net
    >>> exact = exact_correlators(relu_net(20, dim_in=1), [[0.2], [1.2]], orders=(2, 4))
    >>> round(exact.deviation(4)[0, 0, 1, 1].mean, 12)      # 5 / width
    0.25
    """
    x, orders, _, _ = _check(net, x, orders, 1, 0)
    return ExactCorrelators._compute(net, x, orders)


def outputs(net, x, *, start=0, stop, seed=0, sampler="weights", dtype="float32", device=None, threads=None, progress=None):
    """Fields f(x) of networks start ... stop - 1: the values whose products `correlators` averages.

    Parameters
    ----------
    net, x, seed, sampler, dtype, threads
        As for `correlators`.
    start, stop : int
        Range of networks.
    device : {"cpu", "cuda", "cuda:N"}, optional
        Default: where `x` is.

    Returns
    -------
    array, shape (stop - start, n_points, dim_out), float32 or float64
        numpy; CuPy, in the order of the current stream, if `x` is on a device.

    Raises
    ------
    ShapeError, ArgumentError, DeviceError

    Notes
    -----
    Memory: 4 or 8 bytes per value. float32 results have the same bits on every machine.

    Examples
    --------
    >>> from nnqft.networks import erf_net
    >>> outputs(erf_net(10, dim_in=1), [[0.0], [1.0]], stop=3, seed=0).shape
    (3, 2, 1)
    """
    given = x
    x, devices = _place(x, device)
    if len(devices) > 1:
        raise ArgumentError(f"outputs come from one device, got {device!r}")
    x, _, n, start = _check(net, x, (2,), operator.index(stop) - operator.index(start), start, least=0)
    if sampler not in SAMPLERS:
        raise ArgumentError(f"unknown sampler {sampler!r}; known: {', '.join(SAMPLERS)}")
    _, sampler, dtype = _names(net, len(x), "direct", sampler, dtype)
    net.laws.check_range(start, start + n)
    threads = thread_count(threads)
    kernel = net.bind(x, seed=as_key(seed), sampler=sampler, dtype=dtype)
    with progress_bar(progress, n) as report:
        if devices:
            return _backend.like(DeviceEnsemble(kernel, devices).outputs(start, start + n, report), given)
        return kernel.outputs(start, start + n, threads, report)


def weights(net, index, *, seed=0):
    """Weight matrices and biases of network `index`: `Network.draw` as two tuples.

    Examples
    --------
    >>> from nnqft.networks import erf_net
    >>> w, b = weights(erf_net(4, dim_in=2), 0, seed=1)
    >>> w[1].shape
    (1, 4)
    """
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a Network, got {type(net).__name__}: see nnqft.networks")
    drawn = net.draw(index, seed=seed)
    return drawn.weights, drawn.biases


def plan_size(m, orders, estimator, *, dim_out=1):
    """Number of moments that a run accumulates, for all multi-indices.

    Examples
    --------
    >>> plan_size(6, (2, 4), "direct"), plan_size(6, (2, 4), "gram")
    (147, 252)
    """
    if estimator not in ESTIMATORS:
        raise ArgumentError(f"unknown estimator {estimator!r}; known: {', '.join(ESTIMATORS)}")
    top = max(_orders(orders))
    if estimator == "gram":
        pairs = m * (m + 1) // 2
        return sum(comb(pairs + k - 1, k) for k in range(1, top // 2 + 1))
    fields = m * dim_out if estimator == "direct" else m
    return sum(comb(fields + n - 1, n) for n in range(2, top + 1, 2))


def accumulator_bytes(m, orders, estimator, *, dim_out=1):
    """Memory of an accumulator, whatever the number of networks: 64 replicas of about 5 limbs of 8 bytes per moment.

    Parameters
    ----------
    m : int
        Number of points.
    orders : iterable of int
    estimator : {"direct", "gram", "neuron"}

    Returns
    -------
    int
        Bytes in a typical run; sums that span many magnitudes take more limbs.

    Examples
    --------
    >>> accumulator_bytes(6, (2, 4), "direct")
    376320
    """
    return _core.accumulator_bytes(plan_size(m, orders, estimator, dim_out=dim_out))


# ---- checks -----------------------------------------------------------------------------------------------


def _orders(orders):
    if not isinstance(orders, Iterable):
        orders = (orders,)
    orders = tuple(sorted({integer("an order", n, 1, 64) for n in orders}))
    bad = [n for n in orders if n % 2 or n > MAX_ORDER]
    if bad or not orders:
        raise ArgumentError(f"orders must be among 2, 4, 6, 8 (odd functions vanish), got {bad or orders}")
    return orders


def _check_memory(n_sums, n_blocks):
    """Replicas hold limbs once a block has come to them; the system would rather kill the process than say no."""
    need = _core.accumulator_bytes(n_sums) * min(n_blocks, 64) // 64
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else need
    if need > have:
        raise ArgumentError(f"{n_sums} moments would take about {need / 1e9:.0f} GB, this machine has {have / 1e9:.0f}: list the indices wanted")


def _place(x, device):
    """(x as a host array, indices of the devices to run on: none for the CPU)."""
    if isinstance(device, (list, tuple)):
        devices = _backend.require_devices(device)
        name = f"cuda:{devices[0]}"
    else:
        name = _backend.place(device, x=x)
        devices = [] if name == "cpu" else [_backend.require_cuda(name)]
    if devices:
        x = _backend.asarray(x, device=name).get()
    return x, devices


def _check(net, x, orders, n_nets, start, least=1):
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a Network, got {type(net).__name__}: see nnqft.networks")
    x = np.asarray(x)
    if x.ndim == 1 and net.dim_in == 1:
        x = x.reshape(-1, 1)
    x = check_points(net, x)
    orders = _orders(orders)
    start = integer("start", start, 0, _core.MAX_NETS)
    return x, orders, integer("n_nets", n_nets, least, _core.MAX_NETS - start), start


def _field_exponent(net, x, estimator, sampler, dtype, seed):
    """e such that fields are of order 2**e, 0 if within 2**+-12: the kernels sum products of fields / 2**e.

    From the first 16 networks, whose float32 outputs have the same bits everywhere; products of 8 fields then stay in range.
    """
    largest = float(np.abs(net.bind(x, seed=seed, sampler=sampler).outputs(0, 16, 1)).max())
    if not 0.0 < largest < np.inf:
        return 0
    if dtype == "float32" and largest < (1e-17 if estimator == "gram" else 1e-35):
        warnings.warn(f"outputs are of order {largest:.0e}, and float32 loses numbers below 1e-38: use dtype='float64' or rescale", NNQFTWarning,
                      stacklevel=3)
    exponent = int(np.frexp(largest)[1])
    return exponent if abs(exponent) > 12 else 0


def _block(block, n_nets, n_sums):
    if block is None:
        return _core.block_size(n_nets, n_sums)
    block = integer("block", block, 16, 1 << 24)
    if block % 16:
        raise ArgumentError(f"block must be a multiple of 16, got {block}")
    return block


def _names(net, n_points, estimator, sampler, dtype):
    if estimator == "auto":
        estimator = "direct" if estimator_refusal(net, "gram") else "gram"
    elif estimator not in ESTIMATORS:
        raise ArgumentError(f"unknown estimator {estimator!r}; known: auto, {', '.join(ESTIMATORS)}")
    refusal = net.layer_law_refusal
    if sampler == "auto":
        # Normals per neuron: fan_in for weights, the number of points for the layer law.
        fans = (net.dim_in, *net.widths[:-1])
        by_weights = sum(fan * width for fan, width in zip(fans, net.widths))
        by_law = sum(min(n_points, fan + 1 if layer == 0 else n_points) * width for layer, (fan, width) in enumerate(zip(fans, net.widths)))
        sampler = "layer" if refusal is None and by_law < by_weights else "weights"
    elif sampler not in SAMPLERS:
        raise ArgumentError(f"unknown sampler {sampler!r}; known: auto, {', '.join(SAMPLERS)}")
    if sampler == "layer" and refusal:
        raise ArgumentError(f"sampler 'layer' does not apply: {refusal}; use sampler='weights'")
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = None
    if name not in ("float32", "float64"):
        raise ArgumentError(f"dtype must be float32 or float64, got {dtype!r}")
    return estimator, sampler, name
