"""When are the couplings of a network ensemble constant, and when are they small for a reason?

Constancy: if the kernel K is translation invariant, so should be the quartic coupling

    lambda_m(x_1 .. x_4) = -G_c^(4)(x_1 .. x_4) / 24 I_4,   I_4 = int d^d y prod_i K_W(x_i, y)      (action e^{-S})

is a conjecture of Halverson, Maiti and Stoner, arXiv:2008.08601. Naturalness ('t Hooft): a coupling is naturally small
if switching it off restores a symmetry; else its zero is an accident of one tuple of points.
"""

from dataclasses import dataclass, field
from itertools import product
from math import inf

import numpy as np

from .._checks import choice, real_array, shown
from .._exact import neuron_moments
from .._exact_closed import _length2
from .._laws import TensorLaw
from .._packed import packed_rank
from .._spectrum import spectral_average
from ..ensemble import exact_correlators
from ..errors import ArgumentError, ShapeError
from ..networks import Network, check_points, nngp
from ..tensor import Estimate
from ._couplings import quartic_coupling
from ._cumulants_in import unpacked
from ._data import check_sign, finite
from ._vertex import vertex_integral

__all__ = ["Naturalness", "ShiftedCouplings", "coupling_along_shifts", "naturalness"]

_SHIFTED = 1e-9  # rounding of x + s that is let pass, relative to the distances of the points
_SYMMETRIES = {
    "width": ("rotations of the decorrelated fields K^(-1/2) f", inf),
    "kurtosis": ("SO(d_out)", 3.0),
    "phase": ("translations", 1.0),
}


@dataclass(frozen=True)
class ShiftedCouplings:
    """Quartic couplings of tuples of points that are moved together, from `coupling_along_shifts`.

    Attributes
    ----------
    net : Network
    shifts : array, shape (n_shifts, dim_in)
    index : array, shape (n_tuples, 4)
        Points of every tuple.
    coupling : array, shape (n_shifts, n_tuples)
        In units of 1 / (field ** 4 * volume).
    stderr : array, shape (n_shifts, n_tuples)
        Its errors: those of the vertex integrals, all else is exact.
    kernel_variation : float
        Largest change of the kernel by a shift, over its largest value: 0 if it is translation invariant.
    """

    net: object
    shifts: np.ndarray = field(repr=False)
    index: np.ndarray = field(repr=False)
    coupling: np.ndarray = field(repr=False)
    stderr: np.ndarray = field(repr=False)
    kernel_variation: float

    @property
    def variation(self):
        """Largest over smallest |coupling| along the shifts, array (n_tuples,); 1: constant, inf: of both signs."""
        return _ratio(self.coupling, axis=0)

    @property
    def spread(self):
        """The same over tuples at every shift, array (n_shifts,): the coupling may depend on differences of points."""
        return _ratio(self.coupling, axis=1)

    def __repr__(self):
        return (
            f"ShiftedCouplings({len(self.shifts)} shifts, {len(self.index)} tuples: kernel varies by "
            f"{self.kernel_variation:.2g}, "
            f"lambda by factors up to {self.variation.max():.6g} along shifts, {self.spread.max():.3g} among tuples)"
        )


def coupling_along_shifts(net, x, *, shifts, cutoff=inf, sign="action"):
    """Exact quartic coupling lambda_m of every tuple of the points x + s, for each shift s.

    lambda_m = -G_c^(4) / 24 int_box d^d y prod_4 K_W(x_i, y)

    Parameters
    ----------
    net : Network
        One hidden layer, one output, with exact correlators.
    x : array, shape (n_points, dim_in), real
    shifts : array, shape (n_shifts, dim_in), or (n_shifts,) for dim_in = 1
    cutoff : float
        Half side of the box [-cutoff, cutoff]^d, which does not move along. Kernels that do not fall off need a finite
        one.
    sign : {"action", "table"}
        lambda in e^{-S}, negative for positive kurtosis; or the positive coefficient of G_c^(4) = 24 lambda I_4.

    Returns
    -------
    ShiftedCouplings

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs; coincident points, or shifts so large that rounding moves them together; several outputs or layers; an
        integral that vanishes.
    DivergenceError
        The vertex integral does not exist at this cutoff.

    Notes
    -----
    A translation invariant kernel fixes I_4, not G_c^(4): the gauss-net's lambda grows 410-fold from (0, 0, 1/2, 1/2)
    to (1, 1, 3/2, 3/2), although its kernel is the cos-net's, whose lambda stays. Among tuples both vary. Cost: exact
    correlators and a vertex integral for each shift. Halverson, Maiti and
    Stoner, arXiv:2008.08601, section 4.

    Examples
    --------
    >>> for net in (nnqft.networks.gauss_net(100, dim_in=1), nnqft.networks.cos_net(100, dim_in=1)):
    ...     moved = coupling_along_shifts(net, [[0.0], [0.5]], shifts=[0.0, 1.0])
    ...     print(moved.variation.round(2))
    [  55.6   151.16  409.81 1108.94 3001.17]
    [1. 1. 1. 1. 1.]
    """
    _check_net(net)
    check_sign(sign)
    x = check_points(net, x)
    shifts = _read_shifts(net, x, shifts)
    at = [x + shift for shift in shifts]
    found = [quartic_coupling(exact_correlators(net, y, orders=(2, 4)), cutoff=cutoff, sign=sign).pointwise for y in at]
    kernels = np.array([nngp(net, y) for y in at])
    variation = float(np.abs(kernels - kernels[0]).max() / np.abs(kernels).max())
    mean, stderr = (np.array([getattr(row, name) for row in found]) for name in ("mean", "stderr"))
    return ShiftedCouplings(net, shifts, found[0].index, mean, stderr, variation)


@dataclass(frozen=True)
class Naturalness:
    """Couplings against a parameter of the law of the weights, from `naturalness`.

    Attributes
    ----------
    parameter : str
    values : array, shape (n_values,)
    symmetry : str
        What `restored_at` restores.
    restored_at : float
        Value of the parameter at which `breaking` vanishes for every tuple, and (for the normal law) at all orders.
    coupling : array, shape (n_values,)
        Quartic coupling of one output.
    breaking : array, shape (n_values,)
        The part of it that breaks the symmetry.
    stderr, breaking_stderr : array, shape (n_values,)
        Their errors: those of the vertex integral, all else is exact.
    tuned : float
        Value of the parameter at which `coupling` vanishes for this tuple alone; nan if there is none, or for other
        parameters.
    """

    parameter: str
    values: np.ndarray = field(repr=False)
    symmetry: str
    restored_at: float
    coupling: np.ndarray = field(repr=False)
    breaking: np.ndarray = field(repr=False)
    stderr: np.ndarray = field(repr=False)
    breaking_stderr: np.ndarray = field(repr=False)
    tuned: float

    def __repr__(self):
        return (
            f"Naturalness({self.parameter}: {len(self.values)} values, breaking vanishes at {self.restored_at:g} with "
            f"{self.symmetry}, coupling of this tuple at {self.tuned:.6g})"
        )


def naturalness(net, x, *, parameter, values, cutoff=inf, sign="action"):
    """Exact quartic coupling, and its part that breaks a symmetry, against a parameter that restores the symmetry.

    width     N -> inf: a free theory; G_c^(4) = (sigma_w^4 / N) [E v^4 M_4 - sum_3 M_2 M_2], all of it breaking.
    kurtosis  E v^4 of the output weights -> 3, the normal law's: SO(d_out). G_c^(4) of one output has the breaking
              part (sigma_w^4 / N) (E v^4 - 3) M_4, a vertex sum_a f_a^4. Where E v^4 M_4 = sum_3 M_2 M_2, the
              connected function of one tuple vanishes, without any symmetry.
    phase     cos-net with phases uniform in [-pi t, pi t], t -> 1: translations. With S = sum s over signs, s_1 = 1,
              M_n = 2^(1-n) sum_s (sin pi t S / pi t S) E[A^n cos(w.sum s x)]; breaking is what S != 0 adds. At
              t = 1/2, half a period, even functions are invariant, too: the sign of v makes up for the other half.

    Parameters
    ----------
    net : Network
        One hidden layer, one output; for "phase" a cos-net. Its own value of the parameter does not matter.
    x : array, shape (4, dim_in) or (1, dim_in), real
        The tuple, or one point four times.
    parameter : {"width", "kurtosis", "phase"}
    values : sequence
        Integers >= 1; E v^4 >= 1 or laws ("sign" 1, "uniform" 1.8, "normal" 3, ("student_t", nu) 3 + 6 / (nu - 4)); t in
        [0, 1].
    cutoff, sign
        As for `coupling_along_shifts`. Couplings are -G / 24 I_4 with I_4 of `net`, phases uniform.

    Returns
    -------
    Naturalness

    Raises
    ------
    ShapeError, ArgumentError, DivergenceError
        As for `coupling_along_shifts`; values out of range.

    Notes
    -----
    Cost: neuron moments of four points. Halverson, Maiti and Stoner, arXiv:2008.08601, on technical naturalness; Maiti,
    Stoner and Halverson, arXiv:2106.00694, on symmetry by the weights' law.

    Examples
    --------
    >>> net = nnqft.networks.cos_net(100, dim_in=1, sigma_b=0.0)
    >>> scan = naturalness(net, [[0.0]], parameter="kurtosis", values=["sign", 2.0, "normal"])
    >>> (np.round(scan.coupling / scan.coupling[2], 9) + 0).tolist(), (scan.breaking == 0).tolist(), scan.tuned
    ([-1.0, 0.0, 1.0], [False, False, True], 2.0)
    """
    _check_net(net)
    x = check_points(net, x)
    if len(x) not in (1, 4):
        raise ShapeError(f"x has {len(x)} points; expected the 4 of one tuple, or 1")
    choice("parameter", parameter, _SYMMETRIES)
    if net.sigma_b > 0 and net.laws.output_bias.kind != "normal":
        raise ArgumentError(
            f"the output bias of law {net.laws.output_bias!r} interacts with itself: use a normal one or sigma_b=0"
        )
    integral = vertex_integral(net, x, order=4, cutoff=cutoff)
    # lambda of the tuple for G_c^(4) = 1
    unit = quartic_coupling(Estimate(1.0, 0.0), integral[(0, 1, 2, 3) if len(x) == 4 else (0, 0, 0, 0)], sign=sign).mean
    points = x if len(x) == 4 else np.repeat(x, 4, axis=0)
    values = _values(parameter, values)
    own = net.output_weight_moments[1]
    if parameter == "phase":
        if not net.phase:
            raise ArgumentError("phases belong to a cos-net: networks.cos_net(...)")
        strength = net.sigma_w**4 / net.widths[0]
        coupling = np.array([strength * _connected(own, *_phase_moments(net, points, t)) for t in values])
        breaking = coupling - strength * _connected(own, *_phase_moments(net, points, 1.0))
        tuned = np.nan
    else:
        m4, pairs = _moments(net, points)
        width, kurtosis = (values, own) if parameter == "width" else (net.widths[0], values)
        strength = net.sigma_w**4 / width
        with np.errstate(over="ignore", invalid="ignore"):
            coupling = strength * _connected(kurtosis, m4, pairs)
            breaking = coupling if parameter == "width" else strength * (values - 3) * m4
        # E v^4 >= (E v^2)^2 = 1 for any law.
        tuned = float(pairs / m4) if parameter == "kurtosis" and pairs >= m4 > 0 else np.nan
    symmetry, restored = _SYMMETRIES[parameter]
    with np.errstate(over="ignore", invalid="ignore"):
        parts = [unit.mean * part + 0.0 for part in (coupling, breaking)]  # no -0.0
        errors = [unit.stderr * abs(part) for part in (coupling, breaking)]
    finite("a coupling", np.concatenate(parts), np.concatenate(errors))
    return Naturalness(parameter, values, symmetry, restored, *parts, *errors, tuned)


# ---- parts


def _check_net(net):
    if not isinstance(net, Network):
        raise ArgumentError(f"net must be a Network, got {type(net).__name__}: see nnqft.networks")
    if net.dim_out != 1 or net.depth != 1:
        raise ArgumentError(
            f"couplings are those of one hidden layer and one output, this net has {net.depth} and {net.dim_out}"
        )


def _read_shifts(net, x, shifts):
    shifts = real_array("shifts", shifts)
    if shifts.ndim == 1 and net.dim_in == 1:
        shifts = shifts[:, None]
    if shifts.ndim != 2 or shifts.shape[1] != net.dim_in or not len(shifts):
        raise ShapeError(f"shifts has shape {shifts.shape}; expected (n_shifts, {net.dim_in})")
    moved = x + shifts[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        lost = abs(moved - shifts[:, None] - x).max(axis=(1, 2))
    extent = np.ptp(x, axis=0).max() if len(x) > 1 else abs(x).max()
    if not (lost <= _SHIFTED * extent).all():
        shift = shifts[np.argmax(~(lost <= _SHIFTED * extent))]
        raise ArgumentError(
            f"rounding moves the points together at the shift {shift.tolist()}: use shifts of the size of x"
        )
    return shifts


def _connected(kurtosis, m4, pairs):
    return kurtosis * m4 - pairs


def _moments(net, points):
    """M_4 and sum_3 M_2 M_2 of the tuple."""
    unique, at = np.unique(points, axis=0, return_inverse=True)
    at = np.sort(at.ravel())
    four = neuron_moments(net, unique, 4)
    two = unpacked(neuron_moments(net, unique, 2), len(unique))
    m4 = float(four[packed_rank(at[None], len(unique))[0]])
    a, b, c, d = at
    return m4, float(two[a, b] * two[c, d] + two[a, c] * two[b, d] + two[a, d] * two[b, c])


def _phase_moments(net, points, t):
    """M_4 and sum_3 M_2 M_2 for phases uniform in [-pi t, pi t]."""

    def moment(index):
        n = index.shape[1]
        signs = [(1, *rest) for rest in product((1, -1), repeat=n - 1)]
        return 2.0 ** (1 - n) * sum(
            np.sinc(t * sum(s)) * spectral_average(net, n, np.sqrt(_length2(points, index, s))) for s in signs
        )

    pairs = moment(np.array([[0, 1], [0, 2], [0, 3]])) * moment(np.array([[2, 3], [1, 3], [1, 2]]))
    return float(moment(np.array([[0, 1, 2, 3]]))[0]), float(pairs.sum())


def _values(parameter, values):
    if parameter == "kurtosis" and isinstance(values, list | tuple):
        values = [TensorLaw.of(v).moments(4)[1] if isinstance(v, str | tuple | list) else v for v in values]
    out = real_array(f"values of {parameter}", values, ndim=1, finite=False)
    low, high = {"width": (1, inf), "kurtosis": (1, inf), "phase": (0, 1)}[parameter]
    if not len(out) or not (np.isfinite(out) & (low <= out) & (out <= high)).all():
        raise ArgumentError(f"values of {parameter} must be finite and lie in [{low}, {high}], got {out.tolist()}")
    if parameter == "width" and (out != np.rint(out)).any():
        raise ArgumentError(f"widths are integers, got {shown(out.tolist())}")
    return out


def _ratio(coupling, axis):
    size = np.abs(coupling)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = size.max(axis=axis) / size.min(axis=axis)
    return np.where((coupling > 0).all(axis=axis) | (coupling < 0).all(axis=axis), ratio, inf)
