"""Lanczos tridiagonalisation: `lanczos`, its result and its state."""

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg import eigh_tridiagonal

from .. import _blas, _core  # noqa: F401  (_blas connects the kernels)
from .._checks import shown
from .._memory import available_memory
from .._run import integer, progress_bar, thread_count
from ..errors import ArgumentError, ShapeError, StateError
from ..networks import as_key
from ._operators import as_operator, native_handle, real_dtype

__all__ = ["Lanczos", "LanczosState", "lanczos"]

_KERNELS = {np.dtype(np.float64): _core.Lanczos64, np.dtype(np.float32): _core.Lanczos32}
_MAX = 2**62
# Of |u.Av - v.Au| relative to |Au| + |Av|, u and v Gaussian: above the rounding of an operator's products, by far.
_SYMMETRY = {np.dtype(np.float64): 1e-9, np.dtype(np.float32): 1e-3}


class LanczosState:
    """What a run needs to go on: pass one as `state` to `lanczos`, which fills it step by step.

    It holds every finished step even where the call ended with an exception (Ctrl-C, an error in an operator), and is a result's `state`
    otherwise.

    Attributes
    ----------
    steps : array of int, shape (probes,)
        Finished steps.

    Examples
    --------
    >>> state = LanczosState()
    >>> A = np.diag(np.arange(1.0, 50.0))
    >>> _ = lanczos(A, 5, state=state)
    >>> state.steps
    array([5])
    >>> lanczos(A, 9, state=state).steps
    array([9])
    """

    def __init__(self):
        self._core = None
        self._made = {}

    @property
    def steps(self):
        return np.zeros(0, np.int64) if self._core is None else self._core.steps

    @property
    def reorth(self):
        """How the run orthogonalises; None for an empty state."""
        return self._made.get("reorth")

    def __repr__(self):
        return f"<LanczosState: {len(self.steps)} probes, steps {self.steps.tolist()}>"


@dataclass(frozen=True, eq=False)
class Lanczos:
    """T = Q^T A Q for each probe, Q = (q_0 ... q_{k-1}), q_0 along the probe.

    Attributes
    ----------
    alpha, beta : arrays, shape (probes, k), float64
        Diagonal of T, and beta[:, j] between j and j + 1; beta[:, k - 1] is the norm of the residual. Zero beyond `steps`.
    steps : array of int, shape (probes,)
        Less than k where the Krylov space was complete before, or the callback stopped.
    breakdown : array of bool, shape (probes,)
        The Krylov space is complete: the nodes are eigenvalues, and the quadrature is exact. With restart=True: it is the whole space.
    restarts : array of int, shape (probes,)
        How often a random vector went on past a complete Krylov space; beta = 0 there.
    norm, norm2 : arrays, shape (probes,)
        |v_0| and |v_0|^2, the latter n for "rademacher" and "sphere"; inf or 0 where it leaves the range of float64.
    basis : array, shape (probes, max(steps), n), or None
        The vectors q_j, if they were asked for; zero beyond `steps`.
    state : LanczosState
        For more steps or probes.
    seed, distribution, reorth
        How the run was made; seed None for given vectors.

    Examples
    --------
    >>> nodes, weights = lanczos(np.diag([1.0, 1.0, 4.0]), 3).eigen()
    >>> nodes.round(12), weights.round(12)
    (array([[ 1.,  4., nan]]), array([[0.66666667, 0.33333333, 0.        ]]))
    """

    alpha: np.ndarray
    beta: np.ndarray
    steps: np.ndarray
    breakdown: np.ndarray
    restarts: np.ndarray
    norm: np.ndarray
    norm2: np.ndarray
    basis: np.ndarray | None
    state: LanczosState = field(repr=False)
    seed: int | None
    distribution: str | None
    reorth: str

    def __repr__(self):
        return f"<Lanczos: {len(self.steps)} probes, {self.alpha.shape[1]} steps, n = {self.state._core.size}, reorth={self.reorth!r}>"

    @property
    def residual(self):
        """The next vector of each probe, shape (probes, n): unit length, or zero after a breakdown."""
        if not np.array_equal(self.state.steps, self.steps):
            raise StateError(f"the state has gone on to steps {self.state.steps.tolist()}: ask the newer result for its residual")
        return self.state._core.residual(thread_count(None))

    def eigen(self):
        """Nodes and weights of the Gauss quadrature of each probe's spectral measure.

        sum_k w_k f(theta_k) = v.f(A) v / v.v, exact for polynomials of degree up to 2 steps - 1.

        Returns
        -------
        nodes : array, shape (probes, k), float64
            Eigenvalues of T (Ritz values), ascending, in units of A; NaN beyond `steps`.
        weights : array, shape (probes, k), float64
            Squared first components of T's eigenvectors; they add up to 1. Zero beyond `steps`.

        Notes
        -----
        O(k^3) per probe. T is scaled by a power of two before, so that scaling A by one scales the nodes to the bit. G. H. Golub and
        J. H. Welsch, Math. Comp. 23 (1969) 221.

        Examples
        --------
        >>> nodes, weights = lanczos(np.diag(np.arange(10.0)), 10).eigen()
        >>> np.allclose(nodes, np.arange(10)), np.allclose(weights, 0.1)
        (True, True)
        """
        nodes, weights = np.full(self.alpha.shape, np.nan), np.zeros(self.alpha.shape)
        for p, steps in enumerate(self.steps):
            alpha, beta = self.alpha[p, :steps], self.beta[p, : max(steps - 1, 0)]
            if steps == 0:
                continue
            _, exponent = np.frexp(max(np.abs(alpha).max(), beta.max(initial=0.0)))
            theta, vectors = eigh_tridiagonal(np.ldexp(alpha, -exponent), np.ldexp(beta, -exponent))
            nodes[p, :steps] = np.ldexp(theta, exponent)
            weights[p, :steps] = vectors[0] ** 2
        return nodes, weights


def lanczos(op, k, *, v0=None, probes=None, seed=None, distribution=None, reorth="full", restart=False, dtype=None, basis=False,
            callback=None, progress=None, state=None, threads=None, check_symmetric=True):  # fmt: skip
    """Lanczos tridiagonalisation T = Q^T A Q of a symmetric operator, from one or many start vectors in lockstep.

    w = A q_j - beta_{j-1} q_{j-1};  alpha_j = q_j.w;  w -= alpha_j q_j;  beta_j = |w|;  q_{j+1} = w / beta_j.

    Parameters
    ----------
    op : array, sparse CSR matrix, object with matvec, Operator
        See `as_operator`. Symmetric, n x n, any units. One that lives on a CUDA device (CuPy arrays, cupyx CSR matrices, a Hessian
        there, ...) is run there: start vectors, basis and residual are CuPy arrays, T and all else numpy's.
    k : int
        Steps, counted from the beginning of a resumed state; more than n are n.
    v0 : array, shape (n,) or (probes, n), float64 or float32, optional
        Start vectors, of any length but zero. With `state`: further probes.
    probes : int, optional
        How many start vectors to draw, by default one; with `state`, how many there shall be in all. Element i of probe p is a pure
        function of (seed, p, i).
    seed : int, SeedSequence or Generator, optional
        Default: that of `state`, else 0.
    distribution : {"rademacher", "gaussian", "sphere"}, optional
        Of the elements: +-1; standard normal; normal and then scaled to |v|^2 = n. Default: that of `state`, else "rademacher".
    reorth : {"full", "none", "partial"}
        "full": Gram-Schmidt against all earlier vectors, up to eight new ones at a time, so that the basis is read an eighth as often; again
        where it shortened one below 0.7. Q is orthonormal to rounding, T has no ghosts. "none": three vectors per probe whatever k; the
        quadrature stays right, but converged eigenvalues repeat. "partial": single vectors, where Simon's recurrence finds orthogonality
        worse than sqrt(eps).
    restart : bool
        With reorth="full": where the Krylov space is complete before k steps, go on with a random vector orthogonal to it, beta = 0, instead of
        ending the probe. The nodes then include copies of multiple eigenvalues, and what v_0 does not see; the weights stay those of v_0.
    dtype : float64 or float32, optional
        Of the vectors; default that of the operator. alpha and beta are summed in float64 always.
    basis : bool
        Return Q too.
    callback : callable, optional
        callback(step, alpha, beta) after each step, with copies of shape (probes, step); True stops the run.
    progress : True or callable(done, total), optional
        A bar (needs tqdm), or a function that is told the steps that all probes have done. A device is then waited for after each.
    state : LanczosState, optional
        Of an earlier result, with the same operator: goes on from there, to the same bits as an uninterrupted run. Empty: filled.
    threads : int, optional
        Default: all CPUs this process may use. The same bits for any number.
    check_symmetric : bool
        Compare A's two triangles, or u.Av with v.Au for a random pair; not asked of a `Hessian`.

    Returns
    -------
    Lanczos

    Raises
    ------
    ShapeError
        If op is not square, or v0 does not fit it.
    ArgumentError
        If op is not symmetric or returns a NaN or an infinity (the message names step and probe), a start vector is zero or not finite,
        the vectors do not fit into memory, or an argument makes no sense.
    StateError
        If `state` belongs to another kind of run (another seed or distribution, say), or is in use.

    Notes
    -----
    Memory: n * probes * itemsize times 3 for "none", times k + 8 for "full", and k more for the copy that basis=True returns. Cost: k
    products and, for reorth="full", 2 to 4 n k^2 operations a probe; what it reads of the basis is n k^2 itemsize / 16, twice that where
    vectors have to be corrected. A probe stops at step j where beta_j <= 32 eps max(abs(alpha) + beta) sqrt(j): relative to the operator,
    so that scaling A by a power of two changes exponents alone while numbers stay normal. C. C. Paige, J. Inst. Maths Applics 10 (1972)
    373, algorithm A(2,7); J. W. Daniel et al., Math. Comp. 30 (1976) 772; H. D. Simon, Math. Comp. 42 (1984) 115.

    Examples
    --------
    >>> A = np.diag(np.arange(1.0, 101.0))
    >>> run = lanczos(A, 20, probes=4, seed=1)
    >>> run.alpha.shape
    (4, 20)
    >>> nodes, weights = run.eigen()
    >>> float((weights[0] * nodes[0]).sum().round(9))       # Rademacher: exactly tr A / n
    50.5
    """
    op = as_operator(op, dtype=dtype) if not hasattr(op, "native") else as_operator(op)
    n = op.shape[0]
    k = min(integer("k", k, 1, _MAX), n)
    threads = thread_count(threads)
    home = getattr(op, "home", _HOST)
    kind = _vector_dtype(op, dtype, v0, home)
    if callback is not None and not callable(callback):
        raise ArgumentError(f"callback is {type(callback).__name__}; expected a callable(step, alpha, beta)")
    state = LanczosState() if state is None else state
    if not isinstance(state, LanczosState):
        raise ArgumentError(f"state is {type(state).__name__}; expected the .state of an earlier result, or a LanczosState()")
    handle = home.handle(op, kind)
    fresh = state._core is None
    vectors = _start_vectors(v0, n, home)
    core, made = _prepared(state, n, kind, reorth, bool(restart), bool(basis), distribution, seed, home)
    wanted = None if probes is None else integer("probes", probes, 1, _MAX)
    if vectors is not None and wanted is not None and wanted != len(vectors) + core.probes:
        raise ArgumentError(f"probes is {wanted}, but v0 has {len(vectors)} vectors{'' if fresh else f' and the state {core.probes}'}: leave probes out")
    more = 0 if vectors is not None else (1 if fresh else core.probes) - core.probes if wanted is None else wanted - core.probes
    if more < 0:
        raise ArgumentError(f"probes is {wanted}, the state has {core.probes} already; expected at least as many")
    if more and made["seed"] is None and not fresh:
        raise ArgumentError("the state began from given vectors: pass more of them as v0, not probes")
    _affordable(core, n, core.probes + (more or (0 if vectors is None else len(vectors))), k, reorth, basis, home)
    if check_symmetric and fresh and not op.surely_symmetric:
        home.check_symmetric(op, threads)
    if vectors is not None:
        core.add(vectors)
        made["seed"] = None
    elif more:
        core.draw(more, made["distribution"], made["seed"])
    state._core, state._made = core, made

    with progress_bar(progress, k, unit="step") as report:

        def after(step):
            if report is not None:
                report(step)
            return callback is not None and callback(step, core.alpha[:, :step], core.beta[:, :step])

        core.advance(handle, k, threads, None if report is None and callback is None else after)
    return Lanczos(_padded(core.alpha, k), _padded(core.beta, k), core.steps, core.breakdown, core.restarts, core.norm, core.norm2, core.basis(threads) if basis else None, state, made["seed"],
                   None if made["seed"] is None else made["distribution"], made["reorth"])  # fmt: skip


def _padded(columns, k):
    return np.pad(columns, ((0, 0), (0, max(0, k - columns.shape[1]))))


class _Host:
    """What a run asks of the place where its vectors live; on a device `_device._lanczos.Home` answers."""

    device = None

    def __repr__(self):
        return "cpu"

    handle = staticmethod(lambda op, dtype: native_handle(op, dtype))
    kernels = staticmethod(lambda n, dtype, reorth, basis, restart: _KERNELS[dtype](n, reorth, basis, restart))
    asarray = staticmethod(np.asarray)
    contiguous = staticmethod(lambda rows: np.require(rows, requirements=["C", "A"]))
    available_memory = staticmethod(lambda: available_memory())
    check_symmetric = staticmethod(lambda op, threads: require_symmetric(op, threads))


_HOST = _Host()


def _vector_dtype(op, dtype, v0, home):
    kind = op.dtype if dtype is None else real_dtype(dtype)
    if v0 is not None and home.asarray(v0).dtype != kind:
        raise ShapeError(f"v0 has dtype {home.asarray(v0).dtype}, the run's vectors are {kind}: call v0.astype(np.{kind})")
    return kind


def _start_vectors(v0, n, home):
    if v0 is None:
        return None
    v0 = home.asarray(v0)
    rows = v0[None] if v0.ndim == 1 else v0
    if rows.ndim != 2 or rows.shape[1] != n or rows.shape[0] == 0:
        raise ShapeError(f"v0 has shape {v0.shape}; expected ({n},) or (probes, {n})")
    return home.contiguous(rows)


def _prepared(state, n, kind, reorth, restart, basis, distribution, seed, home):
    """The C++ state behind `state`, made now if there is none."""
    made = {"n": n, "dtype": kind, "reorth": reorth, "restart": restart, "basis": basis,
            "distribution": "rademacher" if distribution is None else distribution, "seed": 0 if seed is None else as_key(seed)}  # fmt: skip
    if not isinstance(made["distribution"], str) or made["distribution"] not in ("rademacher", "gaussian", "sphere"):
        raise ArgumentError(f"distribution is {shown(distribution)}; expected 'rademacher', 'gaussian' or 'sphere'")
    if not isinstance(reorth, str) or reorth not in ("full", "none", "partial"):
        raise ArgumentError(f"reorth is {shown(reorth)}; expected 'full', 'none' or 'partial'")
    if restart and reorth != "full":
        raise ArgumentError(f"restart=True needs reorth='full', not {reorth!r}: the new vector is made orthogonal to all others")
    if state._core is None:
        return home.kernels(n, kind, reorth, basis, restart), made
    was = state._made
    if home.device != getattr(state._core, "device", None):
        raise StateError(f"the state lives on another device than {home}: begin a new state there")
    names = ["n", "dtype", "reorth", "restart"]
    if was["seed"] is not None:  # drawn, not given
        names += [name for name, asked in (("distribution", distribution), ("seed", seed)) if asked is not None]
    for name in names:
        if was[name] != made[name]:
            raise StateError(f"the state was made with {name}={was[name]!s}, this call has {made[name]!s}: go on with the same, or begin a new state")
    if basis and not was["basis"] and reorth == "none":
        raise StateError("the state kept no basis: begin a new one with basis=True")
    return state._core, dict(was)


def _affordable(core, n, probes, k, reorth, basis, home):
    affordable(core.bytes(n, probes, k, reorth, bool(basis)), f"{probes} probes of {k} steps with reorth={reorth!r}",
               'take fewer probes at a time or fewer steps, reorth="none" (three vectors), or dtype=np.float32', have=home.available_memory())  # fmt: skip


def affordable(need, what, remedy, *, have=None):
    """ArgumentError unless `need` bytes of memory can be had."""
    have = available_memory() if have is None else have
    if need > have:
        raise ArgumentError(f"{what} need {need / 1e9:.3g} GB for their vectors, {have / 1e9:.3g} GB are free: {remedy}")


def require_mirrored(op, threads):
    """ArgumentError if the two triangles of a dense matrix below `op` differ: no product would show it."""
    for dense in op.triangles:
        difference, largest = dense.asymmetry(threads)
        if difference > 64 * np.finfo(op.dtype).eps * largest:
            raise ArgumentError(f"A is not symmetric: max |A_ij - A_ji| is {difference:.3g}, max |A_ij| is {largest:.3g}; pass (A + A.T) / 2, "
                                "or check_symmetric=False to use the upper triangle")  # fmt: skip


def require_symmetric(op, threads=None):
    """ArgumentError unless op is symmetric: by the entries of dense matrices, by two products for all else but Hessians."""
    threads = thread_count(threads)
    require_mirrored(op, threads)
    if op.surely_symmetric or op.native in op.triangles:
        return
    pair = random_pair(op.shape[0])
    require_mutual(pair, op.matmat(pair.astype(op.dtype)).astype(np.float64), op.dtype)


def random_pair(n):
    """Two Gaussian vectors that no run draws, shape (n, 2)."""
    return np.stack([_core.lanczos_start("gaussian", 0x5E1F, p, n) for p in (0, 1)], axis=1)


def require_mutual(X, AX, dtype):
    """ArgumentError unless u.Av = v.Au for all columns u, v of X, up to the rounding of products in `dtype`."""
    size = np.abs(AX).max()
    if not np.isfinite(size) or size == 0.0:
        return  # the first step says what is wrong
    AX = AX / size
    W, lengths = X.T @ AX, np.linalg.norm(AX, axis=0)
    worst = (abs(W - W.T) / np.maximum(np.add.outer(lengths, lengths), np.finfo(np.float64).tiny)).max()
    if worst > _SYMMETRY[dtype]:
        raise ArgumentError(f"the operator is not symmetric: |u.Av - v.Au| is {worst:.3g} of |Au| + |Av| for random u, v; "
                            "symmetrise it, or pass check_symmetric=False")  # fmt: skip
