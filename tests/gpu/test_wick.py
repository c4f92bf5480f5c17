"""The Wick engine on a device: the bits of the CPU, and its refusals."""

import math

import numpy as np
import pytest
from nnqft import wick
from nnqft.errors import ArgumentError, ShapeError

pytestmark = pytest.mark.gpu


def kernel(m, seed=0, complex_numbers=False):
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((m, m)) / 4
    A = A + 1j * rng.standard_normal((m, m)) if complex_numbers else A
    return A + A.T


def same_bits(a, b):
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()


# --- one hafnian


@pytest.mark.parametrize("n", [2, 6, 8, 10, 12, 14, 18, 22, 24])
def test_a_hafnian_has_the_bits_of_the_cpu(cupy, n):
    K = kernel(n, n)
    value = wick.hafnian(K, device="cuda")
    assert isinstance(value, float) and same_bits(value, wick.hafnian(K))


@pytest.mark.parametrize("n", [13, 16, 19])
def test_loop_and_complex_hafnians_have_the_bits_of_the_cpu(cupy, n):
    for complex_numbers in (False, True):
        K = kernel(n, n, complex_numbers)
        mu = K[0].copy()
        assert same_bits(wick.hafnian(K, mu=mu, device="cuda"), wick.hafnian(K, mu=mu))


def test_repeated_points_have_the_bits_of_the_cpu(cupy):
    K, mu = kernel(9), kernel(9)[1]
    for repeats in ([2, 1, 1, 1, 2, 1, 1, 1, 2], [2] * 9, [1, 2, 3, 1, 2, 2, 1, 2, 2]):
        assert wick.hafnian_cost(K, mu=mu, repeats=repeats)["method"] == "sieve"
        assert same_bits(wick.hafnian(K, mu=mu, repeats=repeats, device="cuda"), wick.hafnian(K, mu=mu, repeats=repeats))


@pytest.mark.parametrize("repeats", [[20], [1, 30], [5, 9, 4], [7, 0, 7, 7], [3, 3, 3, 3, 3]])
def test_few_points_of_high_multiplicity_have_the_bits_of_the_cpu(cupy, repeats):
    m = len(repeats)
    for complex_numbers in (False, True):
        K = kernel(m, m, complex_numbers)
        for mu in (None, K[0].copy()):
            assert wick.hafnian_cost(K, mu=mu, repeats=repeats)["method"] in ("multisets", "none")
            assert same_bits(wick.hafnian(K, mu=mu, repeats=repeats, device="cuda"), wick.hafnian(K, mu=mu, repeats=repeats))
    assert wick.hafnian(np.ones((20, 20)), device="cuda") == math.prod(range(1, 20, 2))  # one point twenty times


def test_integers_are_exact_and_rows_of_any_scale_are_right(cupy):
    K = np.rint(8 * kernel(22))
    assert wick.hafnian(K, device="cuda") == wick.hafnian(K)
    d = 10.0 ** np.linspace(-150, 150, 16)
    K = kernel(16) * d[:, None] * d
    assert same_bits(wick.hafnian(K, device="cuda"), wick.hafnian(K))


def test_hafnians_of_arrays_on_a_device_run_there(cupy):
    K = kernel(14)
    assert wick.hafnian(cupy.asarray(K), mu=cupy.asarray(K[0])) == wick.hafnian(K, mu=K[0])
    assert wick.hafnian(cupy.asarray(np.asfortranarray(K))[::-1, ::-1]) == wick.hafnian(K[::-1, ::-1].copy())


def test_a_long_hafnian_tells_its_progress(cupy):
    seen = []
    wick.hafnian(kernel(20), device="cuda", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100, 100) and seen == sorted(seen)


def test_ctrl_c_between_launches_ends_a_long_hafnian(cupy, monkeypatch):
    from nnqft._device import _wick

    monkeypatch.setattr(_wick, "_STEP", 1e-9)  # as many launches as there are

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wick.hafnian(kernel(22), device="cuda", progress=interrupt)


def test_what_a_device_cannot_do_is_refused(cupy):
    K = kernel(14)
    with pytest.raises(ArgumentError, match="not finite"):
        wick.hafnian(K * np.nan, device="cuda")
    with pytest.raises(ArgumentError, match="takes about .* on this device"):
        wick.hafnian(kernel(80), device="cuda")
    with pytest.raises(ArgumentError, match="call hafnian\\(\\) without device"):
        wick.hafnian(kernel(8, 0, True), device="cuda")
    with pytest.raises(ArgumentError, match='the device asked for is "cpu"'):
        wick.hafnian(cupy.asarray(K), device="cpu")


# --- many


@pytest.mark.parametrize("n", range(1, 13))
@pytest.mark.parametrize("mean", [False, True])
def test_index_batches_have_the_bits_of_the_cpu(cupy, n, mean):
    rng = np.random.default_rng(n)
    K, mu = kernel(7), kernel(7)[2] if mean else None
    for dtype in (np.int32, np.int64):
        index = rng.integers(0, 7, (131, n)).astype(dtype)
        value = wick.hafnian_batch(K, cupy.asarray(index), mu=mu)
        assert isinstance(value, cupy.ndarray) and same_bits(value.get(), wick.hafnian_batch(K, index, mu=mu))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 12])
@pytest.mark.parametrize("packed", [False, True])
def test_batches_of_matrices_have_the_bits_of_the_cpu(cupy, n, packed):
    K = np.array([kernel(n, seed) for seed in range(70)]).reshape(70, n, n)
    mu = np.random.default_rng(n).standard_normal((70, n))
    given = K[(slice(None), *np.triu_indices(n, 1))] if packed else K
    for mean in [mu] if n < 2 else [mu, None]:
        value = wick.hafnian_batch(given, mu=mean, packed=packed, device="cuda")
        assert isinstance(value, np.ndarray) and same_bits(value, wick.hafnian_batch(given, mu=mean, packed=packed))


@pytest.mark.parametrize("n", [4, 7, 8, 10, 11])
def test_entries_of_any_scale_have_the_bits_of_the_cpu(cupy, n):
    mu = kernel(n)[0]
    scales = np.array([1.0, 1e-300, 1e300, 1e-160, 1e160, 5e-324, 1e-40])
    K = np.array([kernel(n, i) * scale for i, scale in enumerate(scales)])
    K[0, 0, 1:] *= 1e-290
    K[0, 1:, 0] *= 1e-290
    mean = np.sqrt(scales)[:, None] * mu
    with np.errstate(all="ignore"):
        assert same_bits(wick.hafnian_batch(K, mu=mean, device="cuda"), wick.hafnian_batch(K, mu=mean))
        index = np.random.default_rng(0).integers(0, n, (40, n))
        for one, mean_of_one in zip(K, mean, strict=True):
            values = wick.hafnian_batch(one, index, mu=mean_of_one, device="cuda")
            assert same_bits(values, wick.hafnian_batch(one, index, mu=mean_of_one))


def test_bad_batches_get_the_errors_of_the_cpu(cupy):
    K = np.array([kernel(6, seed) for seed in range(50)])

    def message(call, *arguments, **options):
        with pytest.raises((ArgumentError, ShapeError)) as error:
            call(*arguments, **options)
        return str(error.value)

    nan, lopsided, index = K.copy(), K.copy(), np.zeros((9, 6), np.int64)
    nan[31, 2, 4] = nan[31, 4, 2] = np.nan
    lopsided[40, 1, 0] += 1e-6
    index[4, 3] = 6
    index[7, 0] = -1
    for arguments in ((nan,), (lopsided,), (K[0], index), (nan[31], index), (K[0], index[0]), (K[0].astype(np.float32), index)):
        assert message(wick.hafnian_batch, *arguments, device="cuda") == message(wick.hafnian_batch, *arguments)
    K[3, 1, 2] *= 1 + 1e-15  # within what is rounding: the upper triangle is used
    assert same_bits(wick.hafnian_batch(K, device="cuda"), wick.hafnian_batch(K))


def test_empty_batches_are_empty(cupy):
    assert wick.hafnian_batch(np.ones((3, 3)), np.empty((0, 4), np.int32), device="cuda").shape == (0,)
    assert wick.hafnian_batch(np.ones((3, 3)), np.empty((5, 0), np.int32), device="cuda").tolist() == [1.0] * 5
    assert wick.hafnian_batch(np.empty((0, 6, 6)), device="cuda").shape == (0,)


# --- moments


def same_tensors(a, b):
    return a.keys() == b.keys() and all(same_bits(a[n].mean, b[n].mean) and same_bits(a[n].stderr, b[n].stderr) for n in a)


@pytest.mark.parametrize(("m", "orders"), [(1, (1, 2, 3, 4, 5, 6, 7, 8)), (3, (2, 4, 6)), (6, (2, 4)), (5, (1, 3, 8)), (20, (2, 3)), (9, (5,))])
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_have_the_bits_of_the_cpu(cupy, m, orders, weighted):
    rng = np.random.default_rng(m)
    F = rng.standard_normal((1357, m)).astype(np.float32 if m == 6 else np.float64)
    weights = rng.random(1357) if weighted else None
    on_device = wick.moments(cupy.asarray(F), orders=orders, weights=weights if weights is None else cupy.asarray(weights))
    assert same_tensors(on_device, wick.moments(F, orders=orders, weights=weights))
    total = wick.moments(F, orders=orders, weights=weights, stderr=False, device="cuda")
    assert same_tensors(total, wick.moments(F, orders=orders, weights=weights, stderr=False))


def test_a_stream_may_be_pushed_from_either_side(cupy):
    F = np.random.default_rng(1).standard_normal((2000, 4))
    whole, mixed = (wick.MomentAccumulator(4, orders=(2, 4), block=64) for _ in range(2))
    whole.push(F)
    for i, part in enumerate(np.split(F, [5, 70, 71, 900, 1800])):
        mixed.push(cupy.asarray(part) if i % 2 else part)
    assert mixed.n_samples == 2000 and same_tensors(mixed.finalize(), whole.finalize())
    assert mixed._state()[1]["limbs"].tobytes() == whole._state()[1]["limbs"].tobytes()


@pytest.mark.parametrize("scale", [1e-60, 1e60, 1e-310])
def test_panels_of_any_scale_have_the_bits_of_the_cpu(cupy, scale):
    F = np.random.default_rng(2).standard_normal((700, 3))
    F[300:] *= [scale, 1.0, np.sqrt(scale)]
    F[:, 1] = np.where(np.arange(700) < 256, 0.0, F[:, 1])
    w = np.random.default_rng(3).random(700) * scale
    for weights in (None, w):
        here, there = (wick.MomentAccumulator(3, orders=(1, 4, 5), block=300) for _ in range(2))
        here.push(F, weights=weights)
        there.push(cupy.asarray(F), weights=None if weights is None else cupy.asarray(weights))
        assert all(same_bits(a, b) for a, b in zip(here._state()[1].values(), there._state()[1].values(), strict=True))


@pytest.mark.filterwarnings("ignore::nnqft.errors.NNQFTWarning")
def test_the_first_bad_row_is_named_as_on_the_cpu(cupy):
    F = np.random.default_rng(4).standard_normal((9000, 3))
    F[8211, 1], F[8300, 0] = np.nan, np.inf
    for options in ({"stderr": False}, {"block": 1024}):
        told = []
        for samples in (F, cupy.asarray(F)):
            with pytest.warns(match="from row 8211 on|from row 8192 on") as record:
                assert np.isnan(wick.moments(samples, **options)[2].mean).all()
            told.append(str(record[0].message))
        assert told[0] == told[1]


def test_samples_of_any_layout_are_read_where_they_lie(cupy):
    F = np.random.default_rng(5).standard_normal((600, 8)).astype(np.float32)
    there = cupy.asarray(F)
    for cut in (np.s_[:, ::2], np.s_[::-1], np.s_[::3, 5:2:-1], np.s_[:0], np.s_[:1]):
        options = {"orders": 2, "block": 16}
        if len(F[cut]) == 0:
            with pytest.raises(ArgumentError, match="no rows"):
                wick.moments(there[cut], **options)
        elif len(F[cut]) > 200:
            assert same_tensors(wick.moments(there[cut], **options), wick.moments(F[cut], **options))
        else:
            assert same_tensors(wick.moments(there[cut], stderr=False), wick.moments(F[cut], stderr=False))
    assert same_tensors(wick.moments(cupy.asfortranarray(there) if hasattr(cupy, "asfortranarray") else there.T.copy().T), wick.moments(F))


@pytest.mark.parametrize("column_step", [12, 20])
def test_numbers_at_addresses_that_a_device_cannot_read_are_refused(cupy, column_step):
    memory = cupy.zeros(200)
    place = {"data": (memory.data.ptr, False), "strides": (64, column_step)}

    class Foreign:
        __cuda_array_interface__ = {"shape": (10, 3), "typestr": "<f8", "version": 3} | place

    with pytest.raises(ArgumentError, match="no multiple of the element size: pass a copy"):
        wick.moments(Foreign(), stderr=False)


def test_what_moments_of_a_device_cannot_be_is_refused(cupy):
    F = cupy.asarray(np.ones((40, 3)))
    with pytest.raises(ShapeError, match="float32 or float64"):
        wick.moments(F.astype(np.int32))
    with pytest.raises(ShapeError, match="matrix \\(samples, fields\\)"):
        wick.moments(F[0])
    with pytest.raises(ShapeError, match="one per row of F"):
        wick.moments(F, weights=F[0])
    with pytest.raises(ShapeError, match="takes 4 fields per row"):
        wick.MomentAccumulator(4).push(F)
    with pytest.raises(ArgumentError, match='the device asked for is "cpu"'):
        wick.moments(F, device="cpu")


# --- all multisets


@pytest.mark.parametrize(("m", "order"), [(1, 6), (2, 9), (5, 1), (5, 2), (5, 3), (7, 4), (6, 5), (5, 6), (4, 7), (3, 8), (3, 12), (30, 4)])
def test_all_multisets_have_the_bits_of_the_cpu(cupy, m, order):
    K = kernel(m, order)
    for mu in (None, K[0].copy()):
        value = wick.wick_all(cupy.asarray(K), order, mu=None if mu is None else cupy.asarray(mu))
        assert same_bits(value.mean, wick.wick_all(K, order, mu=mu).mean)


def test_all_multisets_of_points_of_any_scale_have_the_bits_of_the_cpu(cupy):
    d = np.array([1e-150, 1.0, 1e120, 1e-3])
    K = kernel(4) * d[:, None] * d
    for mu in (None, d):
        assert same_bits(wick.wick_all(K, 6, mu=mu, device="cuda").mean, wick.wick_all(K, 6, mu=mu).mean)


def test_all_multisets_of_a_device_refuse_what_the_cpu_refuses(cupy):
    K = kernel(4)
    with pytest.raises(ArgumentError, match="K\\[0, 0\\] is nan"):
        wick.wick_all(cupy.asarray(K * np.nan), 4)
    with pytest.raises(ArgumentError, match="order must be from 1 to 64"):
        wick.wick_all(cupy.asarray(K), 65)
    with pytest.raises(ShapeError, match="square"):
        wick.wick_all(cupy.asarray(K[0]), 4)
