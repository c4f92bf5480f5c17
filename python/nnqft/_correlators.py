"""Results: n-point functions with errors, from accumulated moments (`Correlators`) or exact (`ExactCorrelators`)."""

import os
import warnings
from functools import cached_property

import numpy as np

from . import _core, _store
from ._checks import integer
from ._exact import Moments, exact_moments
from ._plan import Plan, make_plan
from ._version import __version__
from .errors import ArgumentError, NNQFTWarning, StateError
from .networks import Network, nngp
from ._jackknife import jackknife
from .tensor import points_note

__all__ = ["Correlators", "ExactCorrelators"]

_FORMAT = "nnqft.correlators/1"


class _Views:
    """Views that measured and exact correlators share; subclasses give `_full` and `_connected` arrays and errors."""

    @property
    def orders(self):
        """Even orders at hand, ascending."""
        return self._plan.orders

    def _check(self, n):
        if integer("order", n, 0, 1 << 31) not in self.orders:
            raise ArgumentError(f"order {n} is not at hand; this result has {self.orders}")

    @cached_property
    def _kernel(self):
        return nngp(self.net, self.x)

    @cached_property
    def _points(self):
        return points_note(self.x)

    def _notes(self, kind):
        """What a tensor is, of which points, and how it was measured."""
        return self._how | {"kind": kind, "points": self._points}

    def gp(self, n):
        """G_GP^(n), the Gaussian process' n-point function: sum over pairings of products of the kernel K.

        Returns
        -------
        SymmetricTensor
            Exact (zero errors); entries with different outputs paired vanish. Raises ArgumentError for laws without a kernel.
        """
        self._check(n)
        return self._plan.tensor(self._plan.gaussian(self._kernel, n), 0.0, n, n=None,
                                 how={"estimator": "exact", "kind": "gp", "points": self._points})

    def full(self, n):
        """G^(n), the full n-point function, in units of the output ** n.

        Returns
        -------
        SymmetricTensor
            Over the sorted multi-indices of fields (point * dim_out + out).
        """
        self._check(n)
        return self._tensor("full", n)

    def connected(self, n):
        """G_c^(n), the connected n-point function (joint cumulant); bias O(1 / n_nets^2) after the jackknife correction.

        Returns
        -------
        SymmetricTensor
        """
        self._check(n)
        return self._tensor("connected", n)

    def deviation(self, n, *, two_point="measured"):
        """m_n = (G^(n) - G_GP^(n)) / G_GP^(n), the paper's normalised deviation.

        Parameters
        ----------
        n : int
        two_point : {"measured", "exact"}
            "exact" puts the kernel K for the measured 2-point function, which is an identity for one hidden layer at every
            width; it removes most of the noise, since only connected functions are measured then. m_2 is 0 by this identity.

        Returns
        -------
        SymmetricTensor
            nan where G_GP^(n) = 0.

        Raises
        ------
        ArgumentError
            "exact" for deeper nets, whose 2-point function differs from K by O(1 / width).
        """
        self._check(n)
        gaussian = self.gp(n).mean
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = np.where(gaussian == 0.0, np.nan, 1.0 / gaussian)
        mean, stderr = self._difference(n, gaussian, two_point)
        return self._plan.tensor(mean * inverse, abs(stderr * inverse), n, n=self.n_nets, how=self._notes("deviation"))

    def _exact_difference(self, cumulants, n):
        """G^(n) - G_GP^(n) with K as the 2-point function: all partitions but the pairings; cumulants (batch, count) by order."""
        if self.net.depth != 1:
            raise ArgumentError("two_point='exact' is an identity for one hidden layer only; use 'measured'")
        if n == 2:
            return np.zeros_like(cumulants[2])
        index = None if self._plan.listed is None else [self._plan.listed[k] for k in self.orders if k <= n]
        pair = np.broadcast_to(self._plan.gaussian(self._kernel, 2), cumulants[4].shape[:1] + (len(self._plan.gaussian(self._kernel, 2)),))
        rows = [np.ascontiguousarray(pair)] + [np.ascontiguousarray(cumulants[k]) for k in self.orders if 2 < k <= n]
        return _core.moments_from_cumulants(rows, self._plan.fields, index)[-1] - self._plan.gaussian(self._kernel, n)

    def background(self, n, *, nets_per_experiment=100_000):
        """Noise level of an experiment of `nets_per_experiment` networks: std of its G^(n) / |G_GP^(n)|, per tuple.

        The papers average it over tuples: `.average()`.

        Returns
        -------
        SymmetricTensor
            Without an error bar of its own (nan).
        """
        self._check(n)
        if not nets_per_experiment >= 1:
            raise ArgumentError(f"nets_per_experiment must be >= 1, got {nets_per_experiment}")
        with np.errstate(divide="ignore", invalid="ignore"):
            level = self.full(n).stderr / abs(self.gp(n).mean) * np.sqrt(self.n_nets / nets_per_experiment)
        return self._plan.tensor(level, None, n, n=self.n_nets, how=self._notes("background"))


class Correlators(_Views):
    """Measured correlators: block sums of moments in exact accumulators, and what they say.

    Made by `nnqft.ensemble.correlators`. `a + b` merges runs over disjoint networks of one seed, to the same bits as one
    run over all of them; `.save(path)` and `Correlators.load(path)` keep everything needed to go on.
    """

    @classmethod
    def _new(cls, net, x, plan, *, sampler, dtype, seed, block, exponent):
        self = object.__new__(cls)
        self.net, self.x, self._plan, self._exponent = net, x, plan, exponent
        self.sampler, self.dtype, self.seed, self.block = sampler, dtype, seed, block
        self._sums = _core.Accumulator(plan.program.n_sums, block)
        return self

    def _with(self, plan=None):
        return Correlators._new(self.net, self.x, plan or self._plan, sampler=self.sampler, dtype=self.dtype, seed=self.seed, block=self.block,
                                exponent=self._exponent)  # fmt: skip

    def _bind(self):
        """The compiled ensemble whose block sums this result holds."""
        scale = 2.0 ** (-self._exponent * (2 if self.estimator == "gram" else 1))
        return self.net.bind(self.x, seed=self.seed, sampler=self.sampler, estimator=self.estimator, dtype=self.dtype, field_scale=scale)

    # ---- what it is

    @property
    def estimator(self):
        """direct, gram or neuron."""
        return self._plan.name

    @property
    def n_nets(self):
        """Networks counted so far."""
        return self._sums.n_nets

    @property
    def intervals(self):
        """Networks counted, as rows (start, stop)."""
        return self._sums.covered()

    @property
    def nbytes(self):
        """Memory of the accumulators; independent of the number of networks."""
        return self._sums.nbytes

    @property
    def _how(self):
        return {"estimator": self.estimator, "sampler": self.sampler, "seed": self.seed, "version": __version__}

    def spec(self):
        """Plain data that two runs must share to be merged (all but the range of networks)."""
        lists = None if self._plan.listed is None else {str(n): rows.tolist() for n, rows in self._plan.listed.items()}
        return {"format": _FORMAT, "network": self.net.to_dict(), "points": self.x.tolist(), "orders": list(self.orders), "indices": lists,
                "estimator": self.estimator, "sampler": self.sampler, "dtype": self.dtype, "seed": self.seed, "block": self.block,
                "exponent": self._exponent}  # fmt: skip

    @property
    def spec_hash(self):
        """SHA-256 of `spec()`."""
        return _store.spec_hash(self.spec())

    def __repr__(self):
        return (f"Correlators(n_nets={self.n_nets}, orders={self.orders}, estimator={self.estimator!r}, sampler={self.sampler!r}, "
                f"seed={self.seed})")

    # ---- what it says

    @cached_property
    def _replicas(self):
        """(sums (64, moments), samples (64,)); a sample is a net, or a neuron."""
        if not self.n_nets:
            raise StateError("no network has been measured yet")
        sums, nets, _ = self._sums.replica_sums()
        return self._true_sums(sums), nets.astype(np.float64) * self._samples_per_net

    @property
    def _samples_per_net(self):
        return self.net.widths[0] if self.estimator == "neuron" else 1

    def _true_sums(self, sums):
        """Sums of products of the fields themselves; nan with a warning where some blocks could not be counted."""
        if self._sums.bad_blocks:
            warnings.warn(f"{self._sums.bad_blocks} block(s) of {self.block} networks gave NaN or infinity, the first from network "
                          f"{self._sums.first_bad} (seed {self.seed}) on: the results are NaN; see outputs(net, x, start, stop, seed)",
                          NNQFTWarning, stacklevel=5)
            sums = np.full_like(sums, np.nan)
        return sums * self._plan.powers_of_two(self._exponent)

    def moments(self):
        """Means of the products that this run accumulated: all that a study of many runs needs to keep of each.

        Returns
        -------
        array, shape (n_sums,), float64
            In the order of the estimator's program. "direct": the full correlators of every order, packed, one after
            the other; "gram": the same for powers of the hidden Gram matrix. StateError before any network is counted.

        Notes
        -----
        No error bar of its own (compare runs) and no jackknife: 0.1 ms where the views above take 10 ms.

        Examples
        --------
        >>> from nnqft.ensemble import correlators
        >>> from nnqft.networks import relu_net
        >>> run = correlators(relu_net(4, dim_in=1), [[1.0]], orders=(2, 4), n_nets=4096, estimator="direct")
        >>> bool(abs(run.moments()[0] - run.full(2).mean[0]) < 1e-12)
        True
        """
        if not self.n_nets:
            raise StateError("no network has been measured yet")
        return self._true_sums(self._sums.total()) / (self.n_nets * self._samples_per_net)

    def _jackknife(self, function):
        sums, samples = self._replicas
        result = jackknife(sums, samples, function=function)
        mean = result.estimate if result.n_groups < 2 else result.corrected
        return mean, result.stderr

    def _tensor(self, kind, n):
        key = (kind, n)
        cache = self.__dict__.setdefault("_cache", {})
        if key not in cache:
            mean, stderr = self._jackknife(lambda means: getattr(self._plan, kind)(means, n))
            cache[key] = self._plan.tensor(mean, stderr, n, n=self.n_nets, how=self._notes(kind))
        return cache[key]

    def _difference(self, n, gaussian, two_point):
        if two_point == "measured":
            full = self.full(n)
            return full.mean - gaussian, full.stderr
        if two_point != "exact":
            raise ArgumentError(f"two_point must be 'measured' or 'exact', got {two_point!r}")

        def difference(means):
            cumulants = {k: self._plan.connected(means, k) for k in self.orders if k <= n}
            return self._exact_difference(cumulants, n)

        return self._jackknife(difference)

    def function(self, f):
        """Any function of the mean moments, with its jackknife error.

        Parameters
        ----------
        f : callable
            Maps a dict {"full": {n: array (batch, count)}, "connected": {n: ...}} to an array (batch, ...).

        Returns
        -------
        mean, stderr : arrays
        """
        def evaluate(means):
            views = {kind: {n: getattr(self._plan, kind)(means, n) for n in self.orders} for kind in ("full", "connected")}
            return f(views)

        return self._jackknife(evaluate)

    def at_width(self, width):
        """The same measurement at another width (estimator "neuron": neurons are independent of the width they serve)."""
        if self.estimator != "neuron":
            raise ArgumentError(f"only estimator='neuron' serves every width, this is {self.estimator!r}")
        other = self._with(self._plan.at_width(width))
        other._sums = self._sums
        return other

    # ---- merging and keeping

    def __add__(self, other):
        if not isinstance(other, Correlators):
            return NotImplemented
        mine, theirs = self.spec(), other.spec()
        different = [key for key in mine if mine[key] != theirs[key]]
        if different:
            raise StateError("cannot merge: the runs differ in " + ", ".join(f"{k} ({mine[k]!r:.60} and {theirs[k]!r:.60})" for k in different))
        total = self._with()
        total._sums.merge(self._sums)
        total._sums.merge(other._sums)
        return total

    def _state(self):
        limbs, bases, nets, blocks, covered, (bad, first_bad) = self._sums.state()
        arrays = {
            "limbs": np.concatenate([planes.reshape(-1) for planes in limbs]) if limbs else np.zeros(0, np.int64),
            "planes": np.array([len(planes) for planes in limbs], dtype=np.int64),
            "bases": bases, "nets": nets, "blocks": blocks, "covered": covered,
            "bad": np.array([bad, first_bad], dtype=np.uint64),
        }  # fmt: skip
        return {"spec": self.spec(), "spec_hash": self.spec_hash, "version": __version__}, arrays

    def _restore(self, arrays):
        n = self._plan.program.n_sums
        planes = arrays["planes"]
        if not ((0 <= planes) & (planes <= 128)).all() or planes.sum() * n != len(arrays["limbs"]):
            raise StateError(f"the stored sums have {len(arrays['limbs'])} limbs, not as many as {n} moments need")
        ends = np.concatenate([[0], np.cumsum(planes)]) * n
        limbs = [arrays["limbs"][a:b].reshape(-1, n) for a, b in zip(ends, ends[1:])]
        fresh = _core.Accumulator(n, self.block)
        fresh.restore(limbs, arrays["bases"].tolist(), arrays["nets"].tolist(), arrays["blocks"].tolist(),
                      [tuple(row) for row in arrays["covered"].tolist()], int(arrays["bad"][0]), int(arrays["bad"][1]))
        self._sums = fresh
        self.__dict__.pop("_replicas", None)
        self.__dict__.pop("_cache", None)

    def save(self, path, *, keep_previous=False):
        """Write everything to one .npz file, atomically; no pickle.

        Parameters
        ----------
        path : str or Path
        keep_previous : bool
            Keep the file that was there as `<path>.previous`.
        """
        header, arrays = self._state()
        _store.save(path, header, arrays, keep_previous=keep_previous)

    @classmethod
    def load(cls, path):
        """Read what `save` wrote. Raises StateError for any file that is not whole and consistent."""
        header, arrays = _store.load(path, expect=_expected_members)
        try:
            return cls._from_state(header, arrays)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise StateError(f"{os.fspath(path)!r} is whole, but describes no run of this nnqft ({type(error).__name__}: {error})") from error

    @classmethod
    def _from_state(cls, header, arrays):
        spec = header["spec"]
        net, x = Network.from_dict(spec["network"]), np.asarray(spec["points"], dtype=np.float64).reshape(-1, spec["network"]["dim_in"])
        indices = None if spec["indices"] is None else {int(n): np.asarray(rows) for n, rows in spec["indices"].items()}
        plan = make_plan(net, len(x), spec["orders"], spec["estimator"], indices)
        self = cls._new(net, x, plan, sampler=spec["sampler"], dtype=spec["dtype"], seed=spec["seed"], block=spec["block"],
                       exponent=spec["exponent"])
        self._restore(arrays)
        return self


def _expected_members(header):
    """Names, dtypes and ranks or shapes that a file with this header must have."""
    if not isinstance(header, dict) or header.get("spec", {}).get("format") != _FORMAT:
        raise StateError(f"this is not a file of {_FORMAT}")
    return {
        "limbs": (np.int64, (None,)), "planes": (np.int64, (64,)), "bases": (np.int64, (64,)), "nets": (np.uint64, (64,)),
        "blocks": (np.uint64, (64,)), "covered": (np.uint64, (None, 2)), "bad": (np.uint64, (2,)),
    }  # fmt: skip


class ExactCorrelators(Correlators):
    """Exact correlators of one hidden layer: the views of `Correlators` with zero errors; nothing to merge or save."""

    estimator, sampler, seed, n_nets = "exact", None, None, None

    @classmethod
    def _compute(cls, net, x, orders):
        self = object.__new__(cls)
        self.net, self.x = net, x
        self._plan = Plan(net, len(x), orders, None)
        self._values = exact_moments(net, x, self.orders)
        return self

    @property
    def _how(self):
        return {"estimator": "exact", "version": __version__}

    def at_width(self, width):
        """The same correlators at another width, without new integrals: G_c^(n) ~ width^(1 - n/2), G^(2) stays."""
        if self.net.laws.output_bias.kind != "normal":  # its cumulants do not scale with the width
            return ExactCorrelators._compute(self.net.with_width(width), self.x, self.orders)
        other = object.__new__(ExactCorrelators)
        other.net, other.x, other._plan = self.net.with_width(width), self.x, self._plan
        ratio = other.net.widths[0] / self.net.widths[0]
        connected = {n: self._values[n].connected * ratio ** (1 - n / 2) for n in self.orders}
        rows = [np.ascontiguousarray(connected[n][None]) for n in self.orders]
        other._values = {n: Moments(_core.moments_from_cumulants(rows[:k], self._plan.fields, None)[-1][0], connected[n])
                         for k, n in enumerate(self.orders, 1)}
        return other

    def _tensor(self, kind, n):
        return self._plan.tensor(getattr(self._values[n], kind), 0.0, n, n=None, how=self._notes(kind))

    def _difference(self, n, gaussian, two_point):
        # By connected functions: full - gp would cancel at large width.
        cumulants = {k: self._values[k].connected[None] for k in self.orders if k <= n}
        value = self._exact_difference(cumulants, n)[0]
        return value, np.zeros_like(value)

    def _refuse(self, *_args, **_keywords):
        raise ArgumentError("exact correlators hold no networks: call exact_correlators(net, x, orders=...) again instead")

    __add__ = save = function = spec = _refuse

    def __repr__(self):
        return f"ExactCorrelators({self.net!r}, n_points={len(self.x)}, orders={self.orders})"
