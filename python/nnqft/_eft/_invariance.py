"""Is an n-point function invariant under a symmetry? Differences that must vanish, with their joint significance.

A symmetry makes linear statements B G = 0 about the packed entries of G, measured together from the same networks:

    translation, rotation of inputs   G(x_1 .. x_n) - G(T x_1 .. T x_n)
    SO(d_in)                          the same for several rotations T drawn at random
    SO(d_out)                         G - P G,  P the average over rotations, at fixed points; invariant are
                                      delta_ij at order 2, delta delta structures at order 4

Hotelling's T^2 = y C^-1 y, with y = B G and C its jackknife covariance over r replicas, follows q (r-1)/(r-q) F(q, r-q)
in q dimensions if y is normal and the symmetry holds; chi^2 with q degrees of freedom for many replicas. Maiti, Stoner
and Halverson, arXiv:2106.00694: n-point functions are invariant if the weights' law is.
"""

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations, product
from math import comb, prod

import numpy as np
from scipy import stats
from scipy.spatial import cKDTree

from .. import _core
from .._checks import integer, number, real_array, shown
from .._correlators import Correlators, ExactCorrelators
from .._estimate import Estimate
from .._jackknife import replicates
from ..errors import ArgumentError, NNQFTWarning, ShapeError
from ._theories import Reweighted

__all__ = ["Invariance", "check_invariance", "orbit"]

_ROUNDING = 1e-12  # of the largest entry: differences and errors below are identities of every network
_EXACT = 1e-9  # relative error of exact correlators
_NOISE_FLOOR = 1e-3  # directions of y with less noise, relative to the noisiest: float32 rounding would show there
_MIN_REPLICAS = 16
_ROTATIONS = 4  # that SO(d_in) compares; almost surely two already generate all rotations
_SEED = 0
_MOST_MIXED = 1296  # order 4 of 6 outputs at 4 points: seconds
# Largest kurtosis of a difference over its replicas: 3 if normal, below 7 in nineteen of twenty runs of tame networks.
# Above this rare networks make the error bars, and p-values of symmetries that hold come out as 0.
_HEAVY_TAILS = 9.0


@dataclass(frozen=True)
class Invariance:
    """What `check_invariance` found; the null hypothesis is that the symmetry holds.

    Attributes
    ----------
    symmetry, order, kind : str, int, str
        What was asked; `kind` is "connected" or "full".
    chi2, dof : float, int
        Hotelling's T^2 of all differences, and the number of independent ones in it. nan and 0 for exact correlators.
    p_value : float
        Probability of a larger chi2 under the symmetry. Exact correlators: 1 if all differences are rounding, else 0.
    largest_z, p_largest : float
        Largest difference in standard errors, and the probability of a larger one (Bonferroni over the entries).
    defect : float
        Largest difference over the largest correlator compared.
    resolution : float
        Largest error bar of a difference over the largest correlator: smaller violations are not seen.
    replicas : int
        Independent groups of networks; 0 for exact correlators.
    kurtosis : float
        Over the replicas, of the difference with the heaviest tails; 3 if normal.
    index, image : arrays (count, order), int
        Fields of each difference G[index] - G[image]; for SO(d_out) both are the entry itself.
    difference, stderr : arrays (count,)
        In units of the output ** order.
    """

    symmetry: str
    order: int
    kind: str
    chi2: float
    dof: int
    p_value: float
    largest_z: float
    p_largest: float
    defect: float
    resolution: float
    replicas: int
    kurtosis: float
    index: np.ndarray = field(repr=False)
    image: np.ndarray = field(repr=False)
    difference: np.ndarray = field(repr=False)
    stderr: np.ndarray = field(repr=False)

    @property
    def exact(self):
        """True for exact correlators: the defect is rounding or a violation, and nothing is random."""
        return self.replicas == 0

    @property
    def z(self):
        """Differences in standard errors, array (count,); 0 for identities, inf for violations without noise."""
        return _pulls(self.difference, self.stderr)

    def holds(self, level=1e-3):
        """False if the symmetry is refuted: a correct one is refuted with a probability of at most `level`.

        Both tests share the level: p_value or p_largest below level / 2 refutes.
        """
        level = number("level", level, above=0, below=1)
        return bool(min(self.p_value, self.p_largest) >= level / 2)

    def detectable(self, level=1e-3, power=0.95):
        """Size of a violation of any one entry that `holds(level)` refutes with a probability of at least `power`.

        Relative to the largest correlator, as `defect`; for normal errors. 0 for exact correlators.
        """
        level, power = number("level", level, above=0, below=1), number("power", power, above=0, below=1)
        if not self.stderr.any():
            return 0.0
        bound = stats.t.isf(level / 4 / np.count_nonzero(self.stderr), self.replicas - 1)
        return float((bound + stats.norm.isf(1 - power)) * self.resolution)

    def worst(self, count=5):
        """The entries with the largest |z|: list of (index, image, Estimate of the difference)."""
        size = np.abs(self.difference) if self.exact else np.abs(self.z)
        top = np.argsort(-size, kind="stable")[: integer("count", count, 0, 1 << 31)]
        return [
            (tuple(self.index[k].tolist()), tuple(self.image[k].tolist()), Estimate(self.difference[k], self.stderr[k]))
            for k in top
        ]

    def __repr__(self):
        if self.exact:
            verdict = "holds to rounding" if self.p_value else "violated"
            return f"Invariance({self.symmetry}, order {self.order}, exact: {verdict}, defect {self.defect:.2g})"
        return (
            f"Invariance({self.symmetry}, order {self.order}: chi2 = {self.chi2:.1f} / {self.dof}, "
            f"p = {self.p_value:.2g}, largest |z| = {self.largest_z:.1f} (p = {self.p_largest:.2g}), "
            f"defect {self.defect:.2g}, resolution {self.resolution:.2g})"
        )


def orbit(x, symmetry):
    """The points x and, after them, those of their images that are not among them: what to measure jointly.

    Parameters
    ----------
    x : array, shape (n_points, dim_in), real
    symmetry : ("translation", shift), ("rotation", matrix), "SO(d_in)" or ("SO(d_in)", seed)
        shift (dim_in,); matrix (dim_in, dim_in), orthogonal. "SO(d_in)": four rotations, drawn uniformly with a seed,
        by default 0.

    Returns
    -------
    array, shape (n, dim_in), n_points <= n <= 2 n_points; for SO(d_in) n <= 5 n_points

    Raises
    ------
    ShapeError, ArgumentError

    Examples
    --------
    >>> orbit([[0.0], [1.0]], ("translation", [1.0])).tolist()
    [[0.0], [1.0], [2.0]]
    """
    x = real_array("x", x)
    if x.ndim != 2 or not x.size:
        raise ShapeError(f"x has shape {x.shape}; expected (n_points, dim_in), at least one of each")
    _, maps = _transformations(symmetry, x.shape[1])
    return np.concatenate([x, *(transform(x)[_images(x, transform) < 0] for transform in maps)])


def check_invariance(correlators, symmetry, *, order=4, connected=True):
    """Test whether an n-point function is invariant under a symmetry, with the significance of what violates it.

    Parameters
    ----------
    correlators : Correlators, ExactCorrelators, Reweighted, or sequence of Correlators
        For symmetries of the inputs at points that contain images of each other: see `orbit`. A sequence of independent
        runs (disjoint networks or other seeds) pools their replicas.
    symmetry : str or tuple
        ("translation", shift (dim_in,)); ("rotation", matrix (dim_in, dim_in)), any orthogonal one; "SO(d_in)", or
        ("SO(d_in)", seed) for another draw: four random rotations at once, with their joint significance; "SO(d_out)".
    order : int
    connected : bool
        Test the connected function; else the full one.

    Returns
    -------
    Invariance
        `.holds(level)`, `.detectable(level)`, `.chi2`, `.dof`, `.p_value`, `.largest_z`, `.defect`, `.resolution`, all
        differences.

    Raises
    ------
    ShapeError, ArgumentError
        No two points are images of each other; one output; an estimator that has the symmetry built in; fewer than 16
        replicas.

    Warns
    -----
    NNQFTWarning
        When nothing is tested, since every network has the symmetry; when heavy tails make p-values worthless.

    Notes
    -----
    Differences are jackknifed as such, so what their two terms share cancels. chi2 takes at most a quarter as many
    dimensions as there are replicas: all, or those of largest noise (in standardised differences), for which the
    p-value errs on the side of the symmetry. p-values assume differences to be normal; a kurtosis above 9 over
    the replicas draws a warning. Cost: 64 evaluations of the correlators. Maiti, Stoner and Halverson,
    arXiv:2106.00694.

    Examples
    --------
    >>> from nnqft.ensemble import exact_correlators
    >>> shift = ("translation", [1.0])
    >>> x = orbit([[0.0], [0.5]], shift)
    >>> for net in (nnqft.networks.cos_net(10, dim_in=1), nnqft.networks.gauss_net(10, dim_in=1)):
    ...     check_invariance(exact_correlators(net, x), shift)
    Invariance(translation by [1.0], order 4, exact: holds to rounding, defect 0)
    Invariance(translation by [1.0], order 4, exact: violated, defect 1)
    """
    kind, order = "connected" if connected else "full", integer("order", order, 1, 64)
    runs = list(correlators) if isinstance(correlators, Sequence) else [correlators]
    first = _check_runs(runs)
    tensor = getattr(first, kind)(order)
    if isinstance(symmetry, str) and symmetry == "SO(d_out)":
        name, index, image = symmetry, tensor.index, tensor.index
        differ = _outputs_contrast(first, tensor)
    else:
        name, maps = _transformations(symmetry, first.x.shape[1])
        index, image = _pairs(tensor, [_images(first.x, transform) for transform in maps])
        if not len(index):
            raise ArgumentError(
                f"no {order} of the {len(first.x)} points have images under {name} among them: measure at "
                "orbit(x, symmetry)"
            )
        a, b = tensor.rank(index), tensor.rank(image)
        differ = lambda values: values[..., a] - values[..., b]
    size = np.abs(tensor.mean[np.unique(np.concatenate([tensor.rank(index), tensor.rank(image)]))]).max()
    if not np.isfinite(size):
        raise ArgumentError(f"the {kind} function of order {order} has entries that are not finite")
    what = {"symmetry": name, "order": order, "kind": kind, "index": index, "image": image}
    if isinstance(first, ExactCorrelators):
        return _exact_verdict(differ(tensor.mean), size, what)
    return _verdict(*_replicates(runs, kind, order, differ), size, what)


# ---- which differences


def _transformations(symmetry, dim):
    """(name, maps of points) of a symmetry of the inputs."""
    pair = (symmetry, _SEED) if isinstance(symmetry, str) and symmetry == "SO(d_in)" else symmetry
    kinds = ("translation", "rotation", "SO(d_in)")
    if not (isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) and pair[0] in kinds):
        raise ArgumentError(
            'symmetry must be ("translation", shift), ("rotation", matrix), "SO(d_in)", ("SO(d_in)", seed) or, for '
            f'correlators, "SO(d_out)"; got {shown(symmetry)}'
        )
    kind, value = pair
    if kind == "SO(d_in)":
        return _random_rotations(dim, integer("the seed of SO(d_in)", value, 0, 2**64 - 1))
    value = real_array(
        f"the {kind} of {dim}-dimensional inputs", value, shape=(dim,) * (1 if kind == "translation" else 2)
    )
    if kind == "translation":
        return f"translation by {value.tolist()}", [lambda x: x + value]
    with np.errstate(over="ignore", invalid="ignore"):
        orthogonal = np.abs(value.T @ value - np.eye(dim)).max() <= 1e-9
    if not orthogonal:
        raise ArgumentError("the matrix of a rotation must be orthogonal")
    return f"rotation by {value.round(6).tolist()}", [lambda x: x @ value.T]


def _random_rotations(dim, seed):
    """The same matrices for `orbit` and `check_invariance`: uniform on SO(dim)."""
    if dim < 2:
        raise ArgumentError("SO(d_in) needs two-dimensional inputs or more: inputs on a line have no rotations")
    turn = np.random.default_rng([seed, dim])
    matrices = stats.special_ortho_group.rvs(dim, size=_ROTATIONS, random_state=turn)
    return "SO(d_in)", [lambda x, matrix=matrix: x @ matrix.T for matrix in matrices]


def _images(x, transform):
    """Position of every point's image among the points, -1 where it is missing."""
    moved = transform(x)
    distance, nearest = cKDTree(x).query(moved, p=np.inf)
    return np.where(distance <= 1e-9 * max(np.abs(x).max(), np.abs(moved).max()), nearest, -1)


def _pairs(tensor, images):
    """Multi-indices and their images under each map, each pair once; those that are their own image are left out."""
    d_out = tensor.d_out
    points, outs = tensor.index // d_out, tensor.index % d_out
    index, image = [], []
    for at in images:
        rows = (at[points] >= 0).all(axis=1)
        index.append(tensor.index[rows])
        image.append(np.sort(at[points[rows]] * d_out + outs[rows], axis=1))
    index, image = np.concatenate(index), np.concatenate(image)
    if not tensor.is_dense:
        listed = np.isin(_core.multiset_ranks(image.astype(np.int64), tensor.size), tensor._ranks)
        index, image = index[listed], image[listed]
    if not len(index):
        return index, image
    a, b = tensor.rank(index), tensor.rank(image)
    seen = np.unique(np.stack([np.minimum(a, b), np.maximum(a, b)], axis=1), axis=0, return_index=True)[1]
    keep = np.sort(seen[a[seen] != b[seen]])
    return index[keep], image[keep]


def _outputs_contrast(result, tensor):
    """G -> G - P G over all entries."""
    d_out = tensor.d_out
    if d_out < 2:
        raise ArgumentError("SO(d_out) needs a net with two outputs or more")
    if getattr(result, "estimator", None) == "gram":
        raise ArgumentError(
            "estimator 'gram' sums over Gaussian output weights, so SO(d_out) is an identity and nothing is tested: "
            "measure with estimator='direct'"
        )
    if not tensor.is_dense:
        raise ArgumentError("SO(d_out) mixes the entries of all outputs, and this result lists only some")
    points = tensor.index // d_out
    _, group = np.unique(points, axis=0, return_inverse=True)
    group = group.ravel()
    order = np.argsort(group, kind="stable")
    blocks = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    # Entries of one multiset of points, sorted; the residual depends only on which of the points are equal.
    starts = points[[rows[0] for rows in blocks]]
    patterns = [tuple(row) for row in np.cumsum(np.diff(starts, prepend=starts[:, :1]) > 0, axis=1).tolist()]
    largest = max(prod(comb(d_out + k - 1, k) for k in Counter(pattern).values()) for pattern in set(patterns))
    if largest > _MOST_MIXED:
        raise ArgumentError(
            f"SO({d_out}) mixes {largest} entries of order {tensor.order}, at most {_MOST_MIXED} are compared: use a "
            "lower order, fewer points or fewer outputs"
        )
    parts = [(rows, _residual(pattern, d_out)) for rows, pattern in zip(blocks, patterns, strict=True)]

    def differ(values):
        out = np.empty_like(values)
        for rows, matrix in parts:
            out[..., rows] = values[..., rows] @ matrix.T
        return out

    return differ


@lru_cache(maxsize=16)
def _residual(points, d_out):
    """1 - P on the entries of one multiset of points, such as (0, 0, 1, 2), P the average over all rotations.

    P projects onto what every generator annihilates, orthogonally in the norm of the dense tensor, which counts an
    entry once for each ordering: (L_ab G)_I = sum over legs of G with out b for a, minus G with out a for b.
    """
    orderings = Counter(tuple(sorted(p * d_out + out for p, out in zip(points, outs, strict=True)))
                        for outs in product(range(d_out), repeat=len(points)))  # fmt: skip
    rows = sorted(orderings)
    at = {row: k for k, row in enumerate(rows)}
    root = np.sqrt([orderings[row] for row in rows])
    square = np.zeros((len(rows),) * 2)
    for a, b in combinations(range(d_out), 2):
        generator = np.zeros_like(square)
        for row, k in at.items():
            for leg, value in enumerate(row):
                for old, new, sign in ((a, b, 1.0), (b, a, -1.0)):
                    if value % d_out == old:
                        moved = tuple(sorted((*row[:leg], value - old + new, *row[leg + 1 :])))
                        generator[k, at[moved]] += sign
        generator *= root[:, None] / root
        square += generator.T @ generator
    eigenvalues, vectors = np.linalg.eigh(square)
    moved = vectors[:, eigenvalues > 1e-9 * max(eigenvalues[-1], 1.0)]
    residual = moved @ moved.T * root / root[:, None]
    residual.flags.writeable = False
    return residual


# ---- how significant


def _check_runs(runs):
    if not runs or not all(isinstance(run, (Correlators, Reweighted)) for run in runs):
        raise ArgumentError(
            "check_invariance() takes Correlators, exact ones, reweighted ones, or a sequence of measured ones; got "
            + (", ".join(sorted({type(r).__name__ for r in runs})) or "nothing")
        )
    if len(runs) > 1:
        if not all(type(run) is Correlators for run in runs):
            raise ArgumentError("only measured Correlators can be pooled")
        for a, b in combinations(runs, 2):
            if {**a.spec(), "seed": 0} != {**b.spec(), "seed": 0}:
                raise ArgumentError("the runs differ in more than seed and networks")
            overlap = any(s < v and u < t for s, t in a.intervals.tolist() for u, v in b.intervals.tolist())
            if a.seed == b.seed and overlap:
                raise ArgumentError("the runs count some networks twice: give disjoint ones, or other seeds")
    return runs[0]


def _replicates(runs, kind, order, differ):
    """y, and rows d_g with covariance sum_g d_g d_g^T, from the delete-one jackknife over the replicas of all runs."""
    if isinstance(runs[0], Reweighted):
        values, counts, function = runs[0]._problem(kind, order)
    else:
        values, counts = (np.concatenate(part) for part in zip(*(run._replicas for run in runs), strict=True))
        function = lambda means: getattr(runs[0]._plan, kind)(np.ascontiguousarray(means), order)
    groups = np.count_nonzero(counts)
    if groups < _MIN_REPLICAS:
        raise ArgumentError(
            f"{groups} replicas of networks give no covariance: {_MIN_REPLICAS} are needed (more networks, or smaller "
            "blocks)"
        )
    return replicates(values, counts, function=lambda means: differ(function(means)))[1:]


def _pulls(difference, stderr):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(difference == 0, 0.0, difference / stderr)


def _verdict(y, rows, size, what):
    groups = len(rows)
    stderr = np.sqrt((rows**2).sum(axis=0))
    tiny = _ROUNDING * size
    identity = (np.abs(y) <= tiny) & (stderr <= tiny)
    y, stderr = np.where(identity, 0.0, y), np.where(stderr <= tiny, 0.0, stderr)
    z, noisy = _pulls(y, stderr), stderr > 0
    found = {"chi2": 0.0, "dof": 0, "p_value": 1.0, "largest_z": float(np.abs(z).max()), "kurtosis": np.nan}
    if noisy.any():
        unit = rows[:, noisy] / stderr[noisy]
        # Principal directions of C = unit^T unit by the replicas' Gram matrix, which is the smaller one.
        square, u = (part[..., ::-1] for part in np.linalg.eigh(unit @ unit.T))
        q = found["dof"] = min(int((square > _NOISE_FLOOR**2 * square[0]).sum()), groups // 4)
        found["chi2"] = float((((u.T @ (unit @ z[noisy]))[:q] / square[:q]) ** 2).sum())
        found["p_value"] = float(stats.f.sf(found["chi2"] * (groups - q) / (q * (groups - 1)), q, groups - q))
        found["kurtosis"] = float(groups * (unit**4).sum(axis=0).max())
    if np.isinf(found["largest_z"]):
        found["p_value"] = 0.0
    if identity.all():
        _warn(f"every network obeys {what['symmetry']} at these points, or the estimator does: nothing was tested")
    if found["kurtosis"] > _HEAVY_TAILS:
        _warn(
            f"rare networks make some error bars (kurtosis {found['kurtosis']:.3g} over {groups} replicas, 3 if "
            "normal): p-values near 0 may be theirs; use more networks, another estimator or exact_correlators"
        )
    p_largest = min(1.0, 2 * max(noisy.sum(), 1) * float(stats.t.sf(found["largest_z"], groups - 1)))
    return _result(y, stderr, size, what, found | {"p_largest": p_largest, "replicas": groups})


def _exact_verdict(y, size, what):
    p = float(np.abs(y).max() <= _EXACT * size)
    found = {
        "chi2": np.nan,
        "dof": 0,
        "p_value": p,
        "p_largest": p,
        "largest_z": np.nan,
        "replicas": 0,
        "kurtosis": np.nan,
    }
    return _result(y, np.zeros_like(y), size, what, found)


def _result(y, stderr, size, what, found):
    relative = {"defect": y, "resolution": stderr}
    relative = {k: float(np.abs(v).max() / size) if size > 0 else 0.0 for k, v in relative.items()}
    return Invariance(difference=y, stderr=stderr, **relative, **what, **found)


def _warn(message):
    warnings.warn(message, NNQFTWarning, stacklevel=4)  # the caller of check_invariance
