"""
Compiled kernels of nnqft. Private: call the modules of the package.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['Accumulator', 'BlasThreadsOff', 'Dense32', 'Dense64', 'Ensemble', 'ExactTotal', 'Lanczos32', 'Lanczos64', 'MAX_NETS', 'MomentAccumulator', 'NetHessianF32', 'NetHessianF64', 'NetJacobianF32', 'NetJacobianF64', 'NetStructure', 'Operator32', 'Operator64', 'Program', 'ThickRestart32', 'ThickRestart64', 'accumulator_bytes', 'activate', 'all_moment_sums', 'blas_is_external', 'blas_threads_known', 'block_size', 'canonical_index', 'closure', 'csr32', 'csr64', 'default_threads', 'dense32', 'dense64', 'dense_program', 'even_closure', 'even_cumulants', 'gram_closure', 'gram_correlators', 'hafnian', 'hafnian_batch', 'hafnian_batch_vjp', 'hafnian_box', 'hafnian_derivative', 'hafnian_fast', 'hafnian_with', 'hafnian_with_multisets', 'hafnian_work', 'isa', 'isas', 'lanczos_start', 'listed_program', 'moment_block_sums', 'moment_count', 'moment_sums', 'moments_from_cumulants', 'multiset_count', 'multiset_index', 'multiset_ranks', 'multiset_unrank', 'net_gradient', 'net_outputs', 'normals', 'pairing_sums', 'pairings', 'philox_words', 'python32', 'python64', 'stop_everything', 'use_blas', 'vector_cumulants', 'vector_moments', 'wick_all', 'wick_all_theory', 'wick_all_vjp']
class Accumulator:
    """
    Exact block sums of a run, in 64 replicas, and the nets they cover.
    """
    def __init__(self, n_sums: typing.SupportsInt | typing.SupportsIndex, block: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def add_rows(self, first: typing.SupportsInt | typing.SupportsIndex, last: typing.SupportsInt | typing.SupportsIndex, rows: numpy.typing.NDArray[numpy.float64], threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Sums of whole blocks, one row each; rows for nets counted already are dropped.
        """
    def covered(self) -> numpy.typing.NDArray[numpy.uint64]:
        ...
    def merge(self, arg0: Accumulator) -> None:
        ...
    def missing(self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.uint64]:
        ...
    def replica_sums(self) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.uint64], numpy.typing.NDArray[numpy.uint64]]:
        """
        (sums (64, n_sums), nets (64,), blocks (64,)).
        """
    def restore(self, arg0: list, arg1: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], arg2: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], arg3: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], arg4: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], arg5: typing.SupportsInt | typing.SupportsIndex, arg6: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def state(self) -> tuple[list, numpy.typing.NDArray[numpy.int64], numpy.typing.NDArray[numpy.uint64], numpy.typing.NDArray[numpy.uint64], numpy.typing.NDArray[numpy.uint64], tuple[int, int]]:
        """
        Canonical state: equal results give equal bytes.
        """
    def total(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def bad_blocks(self) -> int:
        ...
    @property
    def block(self) -> int:
        ...
    @property
    def first_bad(self) -> int:
        ...
    @property
    def n_nets(self) -> int:
        ...
    @property
    def n_sums(self) -> int:
        ...
    @property
    def nbytes(self) -> int:
        ...
class Program:
    """
    Which products of fields are summed.
    """
    @property
    def capsule(self) -> typing.Any:
        ...
    @property
    def n_fields(self) -> int:
        ...
    @property
    def n_slots(self) -> int:
        ...
    @property
    def n_sums(self) -> int:
        ...
    @property
    def offsets(self) -> list[int]:
        ...
    @property
    def orders(self) -> list[int]:
        ...
class Ensemble:
    """
    An ensemble bound to its inputs.
    """
    def __init__(self, *, layers: list, points: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], dim_out: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, sampler: str, estimator: str, field_scale: typing.SupportsFloat | typing.SupportsIndex, float64: bool, isa: str, amplitude: typing.Any = None) -> None:
        ...
    def check_run(self, program: Program, first: typing.SupportsInt | typing.SupportsIndex, last: typing.SupportsInt | typing.SupportsIndex, into: Accumulator) -> None:
        ...
    def draw_tensor(self, net: typing.SupportsInt | typing.SupportsIndex, layer: typing.SupportsInt | typing.SupportsIndex, bias: bool) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def outputs(self, first: typing.SupportsInt | typing.SupportsIndex, last: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any = None) -> numpy.ndarray:
        ...
    def run(self, program: Program, first: typing.SupportsInt | typing.SupportsIndex, last: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, into: Accumulator, progress: typing.Any = None) -> bool:
        ...
    @property
    def capsule(self) -> typing.Any:
        ...
    @property
    def first_rank(self) -> int:
        ...
    @property
    def float64(self) -> bool:
        ...
    @property
    def isa(self) -> str:
        ...
    @property
    def shape(self) -> tuple[int, int]:
        """
        (n_points, dim_out) of a net's fields.
        """
class MomentAccumulator:
    """
    Exact block sums of moment tensors of a stream, in 64 replicas.
    """
    def __init__(self, m: typing.SupportsInt | typing.SupportsIndex, orders: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], block: typing.SupportsInt | typing.SupportsIndex, start: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def means(self, min_groups: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.float64], int, int, bool, int, int]:
        """
        (means, standard errors, samples, groups with samples, weighted, bad blocks, first bad sample).
        """
    def merge(self, other: MomentAccumulator) -> None:
        ...
    def push(self, F: numpy.ndarray, weights: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any) -> None:
        ...
    def push_sums(self, sums: numpy.typing.NDArray[numpy.float64], bad: numpy.typing.NDArray[numpy.int64]) -> None:
        """
        Whole blocks: sums (blocks, n_sums), and the first bad sample of each or -1 (blocks).
        """
    def replica_sums(self) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.uint64], int, int]:
        """
        (sums (64, n_sums), samples (64,), blocks that are not finite, first sample of such a block).
        """
    def restore(self, next_block: typing.SupportsInt | typing.SupportsIndex, limbs: list, bases: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], samples: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], waiting: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], bad_blocks: typing.SupportsInt | typing.SupportsIndex, first_bad: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def state(self) -> tuple:
        """
        Canonical state: equal results give equal bytes.
        """
    @property
    def block(self) -> int:
        ...
    @property
    def m(self) -> int:
        ...
    @property
    def n_samples(self) -> int:
        ...
    @property
    def n_sums(self) -> int:
        ...
    @property
    def n_waiting(self) -> int:
        ...
    @property
    def nbytes(self) -> int:
        ...
class ExactTotal:
    """
    Exact sums of block sums.
    """
    def __init__(self, n_sums: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def add(self, sums: numpy.typing.NDArray[numpy.float64], bad: numpy.typing.NDArray[numpy.int64]) -> int:
        """
        The first block that cannot be added, or -1.
        """
    def round(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
class Operator64:
    """
    A symmetric operator in C++.
    """
    def matmat(self, X: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        A X for X of shape (n, columns).
        """
    @property
    def size(self) -> int:
        ...
class Dense64(Operator64):
    def asymmetry(self, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[float, float]:
        """
        (max |A_ij - A_ji|, max |A_ij|).
        """
class Lanczos64:
    """
    State of a Lanczos run.
    """
    @staticmethod
    def bytes(n: typing.SupportsInt | typing.SupportsIndex, probes: typing.SupportsInt | typing.SupportsIndex, steps: typing.SupportsInt | typing.SupportsIndex, reorth: str, basis: bool) -> float:
        """
        Bytes of the vectors of a run.
        """
    def __init__(self, n: typing.SupportsInt | typing.SupportsIndex, reorth: str, basis: bool, restart: bool = False) -> None:
        ...
    def add(self, v0: typing.Any) -> None:
        ...
    def advance(self, operator: Operator64, steps: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, after: typing.Any = None) -> None:
        """
        Every probe to `steps` steps; after(step) stops by returning True.
        """
    def basis(self, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def draw(self, count: typing.SupportsInt | typing.SupportsIndex, distribution: str, seed: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def residual(self, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def alpha(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def beta(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def breakdown(self) -> numpy.typing.NDArray[numpy.bool]:
        ...
    @property
    def norm(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def norm2(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def probes(self) -> int:
        ...
    @property
    def restarts(self) -> numpy.typing.NDArray[numpy.int64]:
        ...
    @property
    def size(self) -> int:
        ...
    @property
    def steps(self) -> numpy.typing.NDArray[numpy.int64]:
        ...
class Operator32:
    """
    A symmetric operator in C++.
    """
    def matmat(self, X: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
        """
        A X for X of shape (n, columns).
        """
    @property
    def size(self) -> int:
        ...
class Dense32(Operator32):
    def asymmetry(self, threads: typing.SupportsInt | typing.SupportsIndex) -> tuple[float, float]:
        """
        (max |A_ij - A_ji|, max |A_ij|).
        """
class Lanczos32:
    """
    State of a Lanczos run.
    """
    @staticmethod
    def bytes(n: typing.SupportsInt | typing.SupportsIndex, probes: typing.SupportsInt | typing.SupportsIndex, steps: typing.SupportsInt | typing.SupportsIndex, reorth: str, basis: bool) -> float:
        """
        Bytes of the vectors of a run.
        """
    def __init__(self, n: typing.SupportsInt | typing.SupportsIndex, reorth: str, basis: bool, restart: bool = False) -> None:
        ...
    def add(self, v0: typing.Any) -> None:
        ...
    def advance(self, operator: Operator32, steps: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex, after: typing.Any = None) -> None:
        """
        Every probe to `steps` steps; after(step) stops by returning True.
        """
    def basis(self, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
        ...
    def draw(self, count: typing.SupportsInt | typing.SupportsIndex, distribution: str, seed: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def residual(self, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
        ...
    @property
    def alpha(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def beta(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def breakdown(self) -> numpy.typing.NDArray[numpy.bool]:
        ...
    @property
    def norm(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def norm2(self) -> numpy.typing.NDArray[numpy.float64]:
        ...
    @property
    def probes(self) -> int:
        ...
    @property
    def restarts(self) -> numpy.typing.NDArray[numpy.int64]:
        ...
    @property
    def size(self) -> int:
        ...
    @property
    def steps(self) -> numpy.typing.NDArray[numpy.int64]:
        ...
class BlasThreadsOff:
    """
    Context in which scipy's BLAS and LAPACK stay on the calling thread.
    """
    def __enter__(self) -> None:
        ...
    def __exit__(self, *args) -> None:
        ...
    def __init__(self) -> None:
        ...
class ThickRestart64:
    """
    Basis of a restarted Lanczos search, and its projection.
    """
    @typing.overload
    def __init__(self, operator: Operator64, size: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @typing.overload
    def __init__(self, operator: Operator32, size: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def combine(self, S: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        V S.
        """
    def extend(self, to: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Lanczos steps until the basis has `to` vectors.
        """
    def residuals(self, V: numpy.ndarray, w: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        |2^exponent A v - w v| of each column.
        """
    def restart(self, S: numpy.ndarray, theta: numpy.ndarray, fresh: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        V <- V S, T <- diag(theta).
        """
    def start(self, v0: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def T(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        V^T A V, times 2^exponent.
        """
    @property
    def beta(self) -> float:
        ...
    @property
    def exponent(self) -> int:
        ...
    @property
    def norm(self) -> float:
        ...
    @property
    def products(self) -> int:
        ...
    @property
    def skewness(self) -> float:
        ...
    @property
    def used(self) -> int:
        ...
class ThickRestart32:
    """
    Basis of a restarted Lanczos search, and its projection.
    """
    def __init__(self, operator: Operator32, size: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def combine(self, S: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        V S.
        """
    def extend(self, to: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        Lanczos steps until the basis has `to` vectors.
        """
    def residuals(self, V: numpy.ndarray, w: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        |2^exponent A v - w v| of each column.
        """
    def restart(self, S: numpy.ndarray, theta: numpy.ndarray, fresh: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        """
        V <- V S, T <- diag(theta).
        """
    def start(self, v0: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def T(self) -> numpy.typing.NDArray[numpy.float64]:
        """
        V^T A V, times 2^exponent.
        """
    @property
    def beta(self) -> float:
        ...
    @property
    def exponent(self) -> int:
        ...
    @property
    def norm(self) -> float:
        ...
    @property
    def products(self) -> int:
        ...
    @property
    def skewness(self) -> float:
        ...
    @property
    def used(self) -> int:
        ...
class NetStructure:
    """
    Layers of a net, without its parameters.
    """
    def __init__(self, layers: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsFloat | typing.SupportsIndex, collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]]]) -> None:
        ...
    @property
    def ranges(self) -> list[tuple[int, int]]:
        ...
    @property
    def size(self) -> int:
        ...
class NetHessianF32:
    """
    Products with the Hessian of a net's risk.
    """
    def __init__(self, net: NetStructure, theta: numpy.ndarray, X: numpy.ndarray, first: numpy.ndarray | None, diagonal: numpy.ndarray | None, rank_one: numpy.ndarray | None, sign: typing.SupportsFloat | typing.SupportsIndex, matrix: numpy.ndarray | None, gauss_newton: bool, decay: typing.SupportsFloat | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def apply(self, V: numpy.ndarray, rows: collections.abc.Sequence[bool], columns: collections.abc.Sequence[bool], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
        """
        One product per row of V.
        """
    def entries(self, rows: numpy.ndarray, columns: numpy.ndarray, per_sample: bool, n_samples: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        Columns ascending.
        """
    def native(self, layers: collections.abc.Sequence[bool]) -> Operator32:
        """
        The block on these layers, as an operator in C++.
        """
class NetHessianF64:
    """
    Products with the Hessian of a net's risk.
    """
    def __init__(self, net: NetStructure, theta: numpy.ndarray, X: numpy.ndarray, first: numpy.ndarray | None, diagonal: numpy.ndarray | None, rank_one: numpy.ndarray | None, sign: typing.SupportsFloat | typing.SupportsIndex, matrix: numpy.ndarray | None, gauss_newton: bool, decay: typing.SupportsFloat | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def apply(self, V: numpy.ndarray, rows: collections.abc.Sequence[bool], columns: collections.abc.Sequence[bool], threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        One product per row of V.
        """
    def entries(self, rows: numpy.ndarray, columns: numpy.ndarray, per_sample: bool, n_samples: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        Columns ascending.
        """
    def native(self, layers: collections.abc.Sequence[bool]) -> Operator64:
        """
        The block on these layers, as an operator in C++.
        """
class NetJacobianF32:
    """
    Products with the Jacobians of a net's outputs and activities.
    """
    def __init__(self, net: NetStructure, theta: numpy.ndarray, X: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def by_activities(self, V: numpy.ndarray, start: typing.SupportsInt | typing.SupportsIndex, stop: typing.SupportsInt | typing.SupportsIndex, transposed: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
        """
        From h_start to h_stop, or back.
        """
    def by_parameters(self, V: numpy.ndarray, layers: collections.abc.Sequence[bool], transposed: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float32]:
        """
        J v, or J^T v, for each row v of V.
        """
class NetJacobianF64:
    """
    Products with the Jacobians of a net's outputs and activities.
    """
    def __init__(self, net: NetStructure, theta: numpy.ndarray, X: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def by_activities(self, V: numpy.ndarray, start: typing.SupportsInt | typing.SupportsIndex, stop: typing.SupportsInt | typing.SupportsIndex, transposed: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        From h_start to h_stop, or back.
        """
    def by_parameters(self, V: numpy.ndarray, layers: collections.abc.Sequence[bool], transposed: bool, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
        """
        J v, or J^T v, for each row v of V.
        """
def accumulator_bytes(n_sums: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
@typing.overload
def activate(kind: typing.SupportsInt | typing.SupportsIndex, params: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], x: numpy.typing.NDArray[numpy.float32], derivatives: bool = False, isa: str = '') -> tuple:
    ...
@typing.overload
def activate(kind: typing.SupportsInt | typing.SupportsIndex, params: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], x: numpy.typing.NDArray[numpy.float64], derivatives: bool = False, isa: str = '') -> tuple:
    """
    (y,) or (y, dy, d2y) of an activation, float32 or float64.
    """
def all_moment_sums(F: numpy.ndarray, orders: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], weights: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any) -> tuple[numpy.typing.NDArray[numpy.float64], int]:
    """
    (sums of the orders one after the other, first row that made them all NaN or -1).
    """
def blas_is_external() -> bool:
    """
    False while dense products are the plain loops of csrc/core/blas.cpp.
    """
def blas_threads_known() -> bool:
    """
    Whether the BLAS in use tells its number of threads and lets it be set.
    """
def block_size(n_nets: typing.SupportsInt | typing.SupportsIndex, n_sums: typing.SupportsInt | typing.SupportsIndex) -> int:
    ...
def canonical_index(index: numpy.ndarray, m: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int32]:
    """
    Rows sorted within, then among each other, without duplicates.
    """
def closure(lists: collections.abc.Sequence, m: typing.SupportsInt | typing.SupportsIndex) -> dict:
    """
    {order: rows} with all sub-multi-indices.
    """
def csr32(indptr: typing.Any, indices: typing.Any, data: typing.Any) -> Operator32:
    """
    A CSR matrix, not copied.
    """
def csr64(indptr: typing.Any, indices: typing.Any, data: typing.Any) -> Operator64:
    """
    A CSR matrix, not copied.
    """
def default_threads() -> int:
    ...
def dense32(A: numpy.ndarray) -> Dense32:
    """
    The symmetric matrix A (its upper triangle), not copied.
    """
def dense64(A: numpy.ndarray) -> Dense64:
    """
    The symmetric matrix A (its upper triangle), not copied.
    """
def dense_program(n_fields: typing.SupportsInt | typing.SupportsIndex, orders: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> Program:
    ...
def even_closure(lists: collections.abc.Sequence, m: typing.SupportsInt | typing.SupportsIndex) -> dict:
    """
    {order: rows} with all sub-multi-indices of even size.
    """
def even_cumulants(moments: collections.abc.Sequence, m: typing.SupportsInt | typing.SupportsIndex, index: typing.Any = None) -> list:
    """
    Joint cumulants of an even theory from moments of order 2, 4, .., each (batch, count).
    """
def gram_closure(fields: numpy.ndarray, m_points: typing.SupportsInt | typing.SupportsIndex, d_out: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int32]:
    """
    Multi-indices over pair variables that gram_correlators needs for these fields.
    """
def gram_correlators(moments: numpy.ndarray, m_points: typing.SupportsInt | typing.SupportsIndex, d_out: typing.SupportsInt | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex, fields: typing.Any = None, pairs: typing.Any = None) -> numpy.typing.NDArray[numpy.float64]:
    """
    n-point functions from moments (or cumulants) of the pair variables, (batch, count) -> (batch, count).
    """
def hafnian(K: typing.Any, mu: typing.Any, repeats: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any = None) -> typing.Any:
    """
    haf(K, mu; repeats).
    """
def hafnian_batch(K: typing.Any, index: typing.Any, mu: typing.Any, packed: bool, threads: typing.SupportsInt | typing.SupportsIndex, max_seconds: typing.SupportsFloat | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    Hafnians of index tuples (batch, n) over K (m, m), or with index None of K (batch, n, n), or packed (batch, n (n-1) / 2).
    """
def hafnian_batch_vjp(K: typing.Any, index: typing.Any, g: typing.Any, mu: typing.Any, packed: bool, threads: typing.SupportsInt | typing.SupportsIndex, max_seconds: typing.SupportsFloat | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], typing.Any]:
    """
    (K_bar, mu_bar) of sum_b g_b haf_b, mu_bar None without mu.
    """
@typing.overload
def hafnian_box(A: numpy.typing.NDArray[numpy.float64], mu: typing.Any, cutoff: typing.SupportsInt | typing.SupportsIndex, norm: bool) -> typing.Any:
    """
    Hafnians of A with all repeats of its rows below the cutoff, flat; with mu, loop hafnians; over sqrt(prod k!) if norm.
    """
@typing.overload
def hafnian_box(A: numpy.typing.NDArray[numpy.complex128], mu: typing.Any, cutoff: typing.SupportsInt | typing.SupportsIndex, norm: bool) -> typing.Any:
    ...
def hafnian_derivative(K: typing.Any, mu: typing.Any, repeats: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex, progress: typing.Any = None) -> tuple:
    """
    (d haf / d K, d haf / d mu or None).
    """
def hafnian_fast(K: typing.Any, mu: typing.Any = None, repeats: typing.Any = None) -> typing.Any:
    """
    haf(K, mu; repeats), or None where the arguments need a look or the work time.
    """
def hafnian_with(K: typing.Any, mu: typing.Any, repeats: typing.Any, sum: collections.abc.Callable) -> typing.Any:
    """
    haf(K, mu; repeats) by the sieve, its sum over signs by sum((vertices, squares, mean, levels), 'real' | 'complex' | 'integer', numbers) -> array (1 or 2).
    """
def hafnian_with_multisets(K: typing.Any, mu: typing.Any, repeats: typing.Any, sum: collections.abc.Callable) -> typing.Any:
    """
    haf(K, mu; repeats) by the recursion over sub-multisets, by sum(complex, mean, K (m m), mu (m), repeats (m)) -> number.
    """
def hafnian_work(K: typing.Any, mu: typing.Any, repeats: typing.Any, derivatives: bool = False) -> tuple[str, float, float, float]:
    """
    (method, multiply-adds, seconds on one thread, bytes per thread).
    """
def isa() -> str:
    """
    Instruction set in use.
    """
def isas() -> list[str]:
    """
    Instruction sets that this CPU and build have.
    """
def lanczos_start(distribution: str, seed: typing.SupportsInt | typing.SupportsIndex, probe: typing.SupportsInt | typing.SupportsIndex, n: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    The start vector of one probe.
    """
def listed_program(n_fields: typing.SupportsInt | typing.SupportsIndex, orders: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], lists: collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.int32]], stride: typing.SupportsInt | typing.SupportsIndex) -> Program:
    ...
def moment_block_sums(F: numpy.ndarray, orders: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], block: typing.SupportsInt | typing.SupportsIndex, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    Sums over blocks of `block` rows (the last may be shorter), (blocks, sums of the orders one after the other); NaN for a block
    with a value that is not finite.
    """
def moment_count(m: typing.SupportsInt | typing.SupportsIndex, orders: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex]) -> int:
    """
    Sum of C(m+n-1, n) over the orders n.
    """
def moment_sums(F: numpy.ndarray, order: typing.SupportsInt | typing.SupportsIndex, weights: typing.Any = None, *, threads: typing.SupportsInt | typing.SupportsIndex = 1) -> numpy.typing.NDArray[numpy.float64]:
    """
    sum_r w_r F_ri1 .. F_rin over the rows, packed float64; order 0 is the sum of the weights. All NaN if some row or sum is not finite.
    """
def moments_from_cumulants(cumulants: collections.abc.Sequence, m: typing.SupportsInt | typing.SupportsIndex, index: typing.Any = None) -> list:
    """
    Inverse of even_cumulants.
    """
def multiset_count(m: typing.SupportsInt | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex) -> int:
    """
    C(m+order-1, order); raises beyond 64 bits.
    """
def multiset_index(m: typing.SupportsInt | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int32]:
    """
    All sorted multi-indices in lexicographic order, int32 (count, order).
    """
def multiset_ranks(index: numpy.ndarray, m: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int64]:
    """
    Lexicographic rank of every sorted row, int64 (count,).
    """
def multiset_unrank(ranks: numpy.ndarray, m: typing.SupportsInt | typing.SupportsIndex, order: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int32]:
    """
    Inverse of multiset_ranks, int32 (count, order).
    """
def net_gradient(net: NetStructure, theta: numpy.ndarray, X: numpy.ndarray, first: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    ...
def net_outputs(net: NetStructure, theta: numpy.ndarray, X: numpy.ndarray, threads: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    ...
def normals(seed: typing.SupportsInt | typing.SupportsIndex, tensor: typing.SupportsInt | typing.SupportsIndex, first_net: typing.SupportsInt | typing.SupportsIndex, n_nets: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex, columns: typing.SupportsInt | typing.SupportsIndex, sigma: typing.SupportsFloat | typing.SupportsIndex = 1.0, isa: str = '') -> numpy.typing.NDArray[numpy.float32]:
    """
    Normals at addresses (net, row, column), shape (n_nets, rows, columns).
    """
def pairing_sums(K: numpy.ndarray, order: typing.SupportsInt | typing.SupportsIndex, index: typing.Any = None) -> numpy.typing.NDArray[numpy.float64]:
    """
    Gaussian correlators: K (batch, m, m), upper triangle read -> (batch, count).
    """
def pairings(n: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int32]:
    """
    All perfect matchings of n legs, int32 ((n-1)!!, n/2, 2).
    """
def philox_words(seed: typing.SupportsInt | typing.SupportsIndex, tensor: typing.SupportsInt | typing.SupportsIndex, first_net: typing.SupportsInt | typing.SupportsIndex, n_nets: typing.SupportsInt | typing.SupportsIndex, rows: typing.SupportsInt | typing.SupportsIndex, columns: typing.SupportsInt | typing.SupportsIndex, isa: str = '') -> numpy.typing.NDArray[numpy.uint32]:
    """
    Random words at addresses (net, row, column), shape (n_nets, rows, columns).
    """
def python32(n: typing.SupportsInt | typing.SupportsIndex, matmat: typing.Any, epsilon: typing.SupportsFloat | typing.SupportsIndex = 0.0) -> Operator32:
    """
    An operator by a function of (n, columns) arrays.
    """
def python64(n: typing.SupportsInt | typing.SupportsIndex, matmat: typing.Any, epsilon: typing.SupportsFloat | typing.SupportsIndex = 0.0) -> Operator64:
    """
    An operator by a function of (n, columns) arrays.
    """
def stop_everything() -> bool:
    """
    Stop every run and wait for its threads (at exit).
    """
def use_blas(api: dict, set_threads: typing.SupportsInt | typing.SupportsIndex, get_threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Dense products by the functions of cython_blas.__pyx_capi__; addresses of its thread switch and count, or 0 and 0.
    """
def vector_cumulants(moments: collections.abc.Sequence, m: typing.SupportsInt | typing.SupportsIndex, index: typing.Any = None) -> list:
    """
    Joint cumulants of any vector variable from raw moments of order 1, 2, .., each (batch, count).
    """
def vector_moments(cumulants: collections.abc.Sequence, m: typing.SupportsInt | typing.SupportsIndex, index: typing.Any = None) -> list:
    """
    Inverse of vector_cumulants.
    """
def wick_all(K: numpy.ndarray, order: typing.SupportsInt | typing.SupportsIndex, mu: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex, most_bytes: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.float64]:
    """
    Gaussian n-point functions of all multisets, float64 (count,).
    """
def wick_all_theory(K: numpy.ndarray, order: typing.SupportsInt | typing.SupportsIndex, mu: typing.Any, most_bytes: typing.SupportsInt | typing.SupportsIndex) -> tuple[typing.Any, typing.Any, typing.Any]:
    """
    What wick_all() runs on: (K (m m), mu or None, exponents or None).
    """
def wick_all_vjp(K: numpy.ndarray, order: typing.SupportsInt | typing.SupportsIndex, G_bar: numpy.ndarray, mu: typing.Any, most_bytes: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], typing.Any]:
    """
    Derivatives of sum G_bar * wick_all, (K_bar (m, m), mu_bar (m,) or None).
    """
MAX_NETS: int = 281474976710656
__version__: str = '0.1.0'
