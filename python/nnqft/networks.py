"""Network ensembles: the law of an ensemble (`Network`), one network drawn from it (`Net`), infinite width.

    f(x) = b + sum_j a_j h_j(x),   h_j(x) = phi(w_j . x + b_j)            (one hidden layer; deeper nets repeat)

Weights have variance sigma_w^2 / fan_in, biases sigma_b^2 (Halverson, Maiti and Stoner, arXiv:2008.08601).
"""

import hashlib
import operator
from dataclasses import dataclass, field, replace
from math import inf, pi, sqrt

import numpy as np
from scipy.interpolate import CubicSpline

from . import _core
from ._free_scalar import FreeScalarAmplitude
from ._kernels import check_points  # noqa: F401  (shared with ensemble)
from ._kernels import nngp_kernel as nngp
from ._kernels import ntk_kernel as ntk
from ._kernels_extra import conv_nngp, residual_nngp
from ._laws import Laws
from .errors import ArgumentError
from .net import Conv2d, Dense, Net, activation_parameters

__all__ = ["Network", "gauss_net", "relu_net", "erf_net", "cos_net", "free_scalar_net", "mlp", "Net", "Dense", "Conv2d", "nngp", "ntk", "conv_nngp",
           "residual_nngp", "RadialAmplitude", "as_key"]

KERNEL_ACTIVATIONS = (
    "relu", "leaky_relu", "erf", "tanh", "sigmoid", "softplus", "swish", "gelu", "sin", "cos", "exp", "identity", "polynomial",
)  # fmt: skip
_GROWTH = {"erf": 0, "tanh": 0, "sigmoid": 0, "sin": 0, "cos": 0, "exp": inf, "gauss": inf}  # h ~ z^growth; others 1
_MAX_WIDTH = 2**31 - 64
_NORMAL_REACH = 6.77  # no draw exceeds this many standard deviations


def as_key(seed):
    """The 64-bit key of a seed: an int as it is, a `SeedSequence` or `Generator` by its own words.

    Examples
    --------
    >>> as_key(7)
    7
    """
    if isinstance(seed, np.random.SeedSequence):
        return int(seed.generate_state(1, np.uint64)[0])
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(0, 2**64, dtype=np.uint64))
    try:
        key = operator.index(seed)
    except TypeError:
        raise ArgumentError(f"seed must be an int, a SeedSequence or a Generator; got {type(seed).__name__}") from None
    if not 0 <= key < 2**64:
        raise ArgumentError(f"seed must lie in [0, 2**64); got {key}: use numpy.random.SeedSequence({key}) for larger entropy")
    return key


class RadialAmplitude:
    """A(|w|), the amplitude of neurons A(|w|) cos(w.x + c), on 0 <= |w| <= reach.

    The kernels interpolate linearly in a table of 16385 nodes (relative error about (reach / scale)^2 / 2e9 for a
    function that varies over `scale`); exact results call the function itself.
    """

    nodes = 16385

    def __init__(self, function, reach, table=None):
        self.function, self.reach = function, float(reach)
        if table is None:
            table = function(np.linspace(0.0, self.reach, self.nodes))
        table = np.asarray(table, dtype=np.float64)
        if table.shape != (self.nodes,) or not np.isfinite(table).all():
            raise ArgumentError(f"amplitude must map |w| in [0, {self.reach:g}] to finite numbers, elementwise")
        self.table = table
        self.digest = hashlib.sha256(table.tobytes()).hexdigest()

    def __call__(self, k):
        return self.function(k)

    def __eq__(self, other):
        return (self.digest, self.reach) == (other.digest, other.reach) if isinstance(other, RadialAmplitude) else NotImplemented

    def __hash__(self):
        return hash((self.digest, self.reach))

    def __repr__(self):
        return f"RadialAmplitude({self.digest[:8]}, reach={self.reach:g})"


def _table_amplitude(table, reach):
    return RadialAmplitude(CubicSpline(np.linspace(0.0, reach, len(table)), table), reach, table)


@dataclass(frozen=True)
class Network:
    """The law of an ensemble of fully connected networks.

    Parameters
    ----------
    dim_in : int
        Number of inputs d.
    widths : sequence of int
        Neurons in each hidden layer.
    dim_out : int
        Number of outputs.
    activation : str
        relu, leaky_relu, erf, tanh, sigmoid, softplus, swish, gelu, sin, cos, exp, identity, polynomial; or gauss, the
        normalised exponential exp(z - Var z), with Var z = sigma_b^2 + sigma_w^2 |input|^2 / fan_in.
    activation_params : sequence of float
        leaky_relu: slope for z < 0; polynomial: coefficients c0, c1, ... (at most 16).
    sigma_w, sigma_b : float
        Standard deviations: every weight has variance sigma_w^2 / fan_in, every bias sigma_b^2.
    weight_law : str, tuple or dict
        "normal", "uniform", "sign", ("student_t", nu), for all weight tensors; or a dict with keys input, hidden,
        output, bias, output_bias, whose values may also be arrays (n_nets, fan_out, fan_in) of given weights.
    phase : bool
        Cos-net: first-layer biases uniform on [-pi, pi] and amplitude sqrt(2); sigma_b is the output bias only.
    momentum : "normal" or ("ball", radius)
        Cos-net: law of w; uniform in a ball for dim_in <= 3.
    amplitude : callable or None
        Cos-net: A(|w|), vectorised, instead of sqrt(2): any radial momentum spectrum, e.g. the free massive scalar.

    Raises
    ------
    ArgumentError
        For unknown names (with the known ones), widths below 1, negative or non-finite scales.

    Notes
    -----
    Frozen and hashable. Cost of a draw: one 32-bit word per weight. Conventions: arXiv:2008.08601.

    Examples
    --------
    >>> net = Network(1, (100,), activation="erf")
    >>> net
    Network(1-100-1, erf, sigma_w=1, sigma_b=1)
    >>> net.draw(3, seed=0).weights[0].shape
    (100, 1)
    """

    dim_in: int
    widths: tuple
    dim_out: int = 1
    activation: str = "erf"
    activation_params: tuple = ()
    sigma_w: float = 1.0
    sigma_b: float = 1.0
    weight_law: object = field(default="normal", compare=False)
    phase: bool = False
    momentum: object = "normal"
    amplitude: object = None
    laws: Laws = field(init=False, repr=False)

    def __post_init__(self):
        put = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        widths = self.widths if isinstance(self.widths, (tuple, list, np.ndarray)) else (self.widths,)
        for name, values in (("dim_in", (self.dim_in,)), ("widths", widths), ("dim_out", (self.dim_out,))):
            try:
                values = tuple(operator.index(v) for v in values)
            except TypeError:
                raise ArgumentError(f"{name} must be integers, got {getattr(self, name)!r}") from None
            if not values or min(values) < 1 or max(values) > _MAX_WIDTH:
                raise ArgumentError(f"{name} must be between 1 and {_MAX_WIDTH}, got {getattr(self, name)!r}")
            put(name, values if name == "widths" else values[0])
        if self.activation not in (*KERNEL_ACTIVATIONS, "gauss"):
            raise ArgumentError(f"unknown activation {self.activation!r}; known: {', '.join((*KERNEL_ACTIVATIONS, 'gauss'))}")
        put("activation_params", activation_parameters(self.activation, self.activation_params))
        for name in ("sigma_w", "sigma_b"):
            value = getattr(self, name)
            if np.ndim(value) != 0 or not np.isfinite(value) or value < 0:
                raise ArgumentError(f"{name} must be a finite number >= 0, got {value!r}")
            put(name, float(value))
        put("laws", Laws.of(self.weight_law))
        self._check_momenta(put)

    def _check_momenta(self, put):
        ball = self.momentum != "normal"
        if not self.phase:
            if ball or self.amplitude is not None:
                raise ArgumentError("momentum and amplitude describe a cos-net: they need phase=True")
            return
        if self.activation != "cos":
            raise ArgumentError(f"a uniform phase makes a cos-net: it needs activation='cos', got {self.activation!r}")
        if ball:
            momentum = tuple(self.momentum) if isinstance(self.momentum, (tuple, list)) else ()
            if len(momentum) != 2 or momentum[0] != "ball" or not 0 < momentum[1] < inf:
                raise ArgumentError(f'momentum must be "normal" or ("ball", radius > 0), got {self.momentum!r}')
            if self.dim_in > 3:
                raise ArgumentError(f"momenta uniform in a ball need dim_in <= 3, got {self.dim_in}")
            put("momentum", ("ball", float(momentum[1])))
        if self.amplitude is not None and not isinstance(self.amplitude, RadialAmplitude):
            if not callable(self.amplitude):
                raise ArgumentError(f"amplitude must be a function A(|w|), got {type(self.amplitude).__name__}")
            reach = self.momentum[1] if ball else _NORMAL_REACH * self.sigma_w
            put("amplitude", RadialAmplitude(self.amplitude, max(reach, 1e-300)))
        if self.amplitude is not None and self.dim_in > 8:
            raise ArgumentError(f"an amplitude needs dim_in <= 8, got {self.dim_in}")

    # ---- what the law says about itself

    @property
    def depth(self):
        """Number of hidden layers."""
        return len(self.widths)

    @property
    def output_weight_moments(self):
        """E v^2, v^4, v^6, v^8 of the output weights in units of sigma_w / sqrt(width)."""
        return self.laws.output.moments(8)

    @property
    def layer_law_refusal(self):
        """Why pre-activations do not have a Gaussian law given the layer before; None if they have."""
        if self.phase:
            return "a cos-net's phases are uniform"
        if not self.laws.all_normal:
            return f"it needs normal weights and biases, this ensemble has {self.laws!r}"
        return None

    def highest_moment(self):
        """Supremum of the n for which E |f|^n exists (inf unless some law is Student-t)."""
        worst, growth = inf, 1.0
        step = _GROWTH.get(self.activation, 1)
        if self.activation == "polynomial":
            step = len(self.activation_params) - 1
        tensors = [("output", 1.0), ("output_bias", 1.0)]
        for layer in range(self.depth):
            growth = growth * step
            tensors += [("hidden" if layer < self.depth - 1 else "input", growth), ("bias", growth)]
        for name, power in tensors:
            law = getattr(self.laws, name)
            if law.kind == "student_t" and power > 0 and not (name.endswith("bias") and self.sigma_b == 0):
                worst = min(worst, 0.0 if power == inf else law.nu / power)
        return worst

    def with_width(self, width):
        """The same law with another width (int: every hidden layer)."""
        return replace(self, widths=(width,) * self.depth if isinstance(width, (int, np.integer)) else tuple(width))

    # ---- one net

    def draw(self, index, *, seed=0):
        """Network number `index` of the ensemble, with the very weights that the kernels draw.

        Parameters
        ----------
        index : int
            0 <= index < 2**48.
        seed : int, SeedSequence or Generator

        Returns
        -------
        Net
            Weights (fan_out, fan_in) and biases (fan_out,), float64 arrays that hold float32 draws exactly.

        Notes
        -----
        Cost: 16 draws per weight (a vector of nets is generated, one is kept).

        Examples
        --------
        >>> net = erf_net(4, dim_in=2).draw(0, seed=1)
        >>> [w.shape for w in net.weights], [b.shape for b in net.biases]
        ([(4, 2), (1, 4)], [(4,), (1,)])
        """
        index = operator.index(index)
        if not 0 <= index < _core.MAX_NETS:
            raise ArgumentError(f"index must lie in [0, 2**48), got {index}")
        self.laws.check_range(index, index + 1)
        kernel = self.bind(np.zeros((1, self.dim_in)), seed=as_key(seed))
        weights = [kernel.draw_tensor(index, layer, False) for layer in range(self.depth + 1)]
        weights[-1] = np.ascontiguousarray(weights[-1].T)
        biases = [kernel.draw_tensor(index, layer, True)[:, 0] for layer in range(self.depth + 1)]
        biases = [b if b.any() else None for b in biases]  # of no variance: none
        amplitude = None
        if self.phase:
            k = np.sqrt((weights[0] ** 2).sum(1))
            amplitude = np.full(self.widths[0], sqrt(2.0)) if self.amplitude is None else np.asarray(self.amplitude(k))
        normalisers = None
        if self.activation == "gauss":
            fans = (self.dim_in, *self.widths[:-1])
            normalisers = tuple((self.sigma_w**2 / n, self.sigma_b**2) for n in fans)
        return Net(weights, biases, self.activation, self.activation_params, amplitude=amplitude, normalisers=normalisers)

    def bind(self, points, *, seed, sampler="weights", estimator="direct", dtype="float32", isa="", field_scale=1.0):
        """The compiled ensemble at `points` (n_points, dim_in); private to the package."""
        fans = (self.dim_in, *self.widths, self.dim_out)
        layers = []
        for layer, (fan_in, fan_out) in enumerate(zip(fans, fans[1:])):
            last, first = layer == self.depth, layer == 0
            weight = self.laws.output if last else (self.laws.input if first else self.laws.hidden)
            bias = self.laws.output_bias if last else self.laws.bias
            std_w = self.sigma_w / sqrt(fan_in)
            w = weight.kernel(std_w, (fan_out, fan_in))
            b = bias.kernel(self.sigma_b, (fan_out, 1))
            if last and weight.kind == "array":
                w["values"] = np.ascontiguousarray(w["values"].transpose(0, 2, 1))
            if first and self.phase:
                b = {"law": "uniform", "scale": pi, "nu": 0.0}
                if self.momentum != "normal":
                    w = {"law": "ball", "scale": self.momentum[1], "nu": 0.0}
            activation = "identity" if last else ("exp" if self.activation == "gauss" else self.activation)
            layers.append({
                "fan_in": fan_in, "fan_out": fan_out, "weight": w, "bias": b,
                "activation": KERNEL_ACTIVATIONS.index(activation),
                "params": [] if last else list(self.activation_params),
                "normalised": self.activation == "gauss" and not last,
                "gain": sqrt(2.0) if first and self.phase and self.amplitude is None else 1.0,
                "weight_variance": self.sigma_w**2 / fan_in, "bias_variance": self.sigma_b**2,
            })  # fmt: skip
        amplitude = None if self.amplitude is None else (self.amplitude.table, self.amplitude.reach)
        return _core.Ensemble(layers=layers, points=np.ascontiguousarray(points, dtype=np.float64), dim_out=self.dim_out, seed=seed,
                              sampler=sampler, estimator=estimator, field_scale=field_scale, float64=dtype == "float64", isa=isa, amplitude=amplitude)

    # ---- to and from plain data

    def to_dict(self):
        """Plain data that identifies the law (JSON; user arrays and amplitudes by table or digest)."""
        state = {name: getattr(self, name) for name in ("dim_in", "dim_out", "activation", "sigma_w", "sigma_b", "phase")}
        state |= {"widths": list(self.widths), "activation_params": list(self.activation_params), "laws": self.laws.to_dict()}
        state["momentum"] = self.momentum if self.momentum == "normal" else list(self.momentum)
        if self.amplitude is not None:
            state["amplitude"] = {"reach": self.amplitude.reach, "table": self.amplitude.table.tolist()}
        return state

    @classmethod
    def from_dict(cls, state):
        """Inverse of `to_dict`; an amplitude comes back as its table, user arrays only by digest."""
        state = dict(state)
        laws = Laws.from_dict(state.pop("laws"))
        amplitude = state.pop("amplitude", None)
        if amplitude is not None:
            amplitude = _table_amplitude(np.asarray(amplitude["table"]), amplitude["reach"])
        if state["momentum"] != "normal":
            state["momentum"] = tuple(state["momentum"])
        return cls(**state, weight_law=laws, amplitude=amplitude)

    def __repr__(self):
        sizes = "-".join(str(n) for n in (self.dim_in, *self.widths, self.dim_out))
        name = self.activation + (str(self.activation_params) if self.activation_params else "")
        extra = "" if self.laws.all_normal else f", weight_law={self.laws!r}"
        if self.phase:
            extra += ", phase=True" + ("" if self.momentum == "normal" else f", momentum={self.momentum}")
            extra += "" if self.amplitude is None else f", amplitude={self.amplitude!r}"
        return f"Network({sizes}, {name}, sigma_w={self.sigma_w:g}, sigma_b={self.sigma_b:g}{extra})"


def mlp(dim_in, widths, *, activation="relu", dim_out=1, sigma_w=1.0, sigma_b=0.0, **laws):
    """Fully connected network of any depth; keywords as for `Network`.

    Examples
    --------
    >>> mlp(16, (256, 256), activation="erf", sigma_b=1.0)
    Network(16-256-256-1, erf, sigma_w=1, sigma_b=1)
    """
    return Network(dim_in, widths, activation=activation, dim_out=dim_out, sigma_w=sigma_w, sigma_b=sigma_b, **laws)


def erf_net(width, *, dim_in, sigma_w=1.0, sigma_b=1.0, **laws):
    """One hidden layer of erf (arXiv:2008.08601, section 2).

    Examples
    --------
    >>> nngp(erf_net(100, dim_in=1), [[1.0]]).round(6)
    array([[1.590334]])
    """
    return Network(dim_in, width, activation="erf", sigma_w=sigma_w, sigma_b=sigma_b, **laws)


def relu_net(width, *, dim_in, sigma_w=1.0, sigma_b=0.0, **laws):
    """One hidden layer of relu; sigma_b = 0 by default, as in arXiv:2008.08601.

    Examples
    --------
    >>> float(nngp(relu_net(20, dim_in=1), [[1.0]])[0, 0])
    0.5
    """
    return Network(dim_in, width, activation="relu", sigma_w=sigma_w, sigma_b=sigma_b, **laws)


def gauss_net(width, *, dim_in, sigma_w=1.0, sigma_b=1.0, **laws):
    """One hidden layer of normalised exponentials exp(z - sigma_b^2 - sigma_w^2 |x|^2 / d) (arXiv:2008.08601).

    Its kernel sigma_b^2 + sigma_w^2 exp(-sigma_w^2 |x - y|^2 / (2 d)) is translation invariant; its higher
    correlators are not.

    Examples
    --------
    >>> float(nngp(gauss_net(20, dim_in=1), [[0.3]])[0, 0])
    2.0
    """
    return Network(dim_in, width, activation="gauss", sigma_w=sigma_w, sigma_b=sigma_b, **laws)


def cos_net(width, *, dim_in, sigma_w=1.0, sigma_b=1.0, momentum="normal", amplitude=None, **laws):
    """One hidden layer of A(|w|) cos(w.x + c), c uniform (Halverson, arXiv:2112.04527).

    With the defaults (w normal, A = sqrt 2) the kernel is the gauss-net's, and every correlator is translation
    invariant. `sigma_b` is the output bias only. With momentum=("ball", Lambda) and A(k) = const / sqrt(k^2 + m^2)
    the kernel is the free massive scalar's propagator below the cutoff Lambda.

    Examples
    --------
    >>> massive = cos_net(50, dim_in=1, sigma_b=0.0, momentum=("ball", 20.0), amplitude=lambda k: 1 / np.sqrt(k**2 + 1))
    >>> K = nngp(massive, [[0.0], [1.0], [2.0]])
    >>> bool(abs(K[0, 1] / K[0, 0] - np.exp(-1)) < 0.02)     # exp(-m |x|), up to the cutoff
    True
    """
    return Network(dim_in, width, activation="cos", sigma_w=sigma_w, sigma_b=sigma_b, phase=True, momentum=momentum,
                   amplitude=amplitude, **laws)


def free_scalar_net(width, *, dim_in, mass=1.0, cutoff, sigma_w=1.0, sigma_b=0.0, **laws):
    """The cos-net whose kernel is the propagator of the free massive scalar field below a momentum cutoff.

    K(x, y) = sigma_b^2 + sigma_w^2 int_{|p| < cutoff} d^d p / (2 pi)^d  e^{i p.(x - y)} / (p^2 + mass^2)

    Parameters
    ----------
    width : int
        Neurons; wide means width >> E A^4 / (E A^2)^2, which is cutoff / (pi mass) in one dimension: see Notes.
    dim_in : {1, 2, 3}
    mass, cutoff : float
        Momenta, 0 < mass, cutoff <= 1000 mass.
    sigma_w, sigma_b : float
        Field strength, and standard deviation of the output bias, a constant field.
    **laws
        As for `Network`.

    Returns
    -------
    Network
        An ordinary one, with exact correlators; every correlator is invariant under translations and rotations.

    Raises
    ------
    ArgumentError
        For dimensions, masses or cutoffs out of range.

    Notes
    -----
    Neurons A(|w|) cos(w.x + c), w uniform in the ball |w| < cutoff, A(k) = const / sqrt(k^2 + mass^2). Interactions at finite
    width: G_c^(4) / G_GP^(4) = (1.5 E A^4 / (E A^2)^2 - 1) / width at coincident points. Halverson, arXiv:2112.04527.

    Examples
    --------
    >>> net = free_scalar_net(1000, dim_in=1, mass=2.0, cutoff=100.0)
    >>> nngp(net, [[0.0], [0.5], [1.0]])[0].round(3)            # exp(-2 r) / 4
    array([0.247, 0.092, 0.034])
    """
    amplitude = FreeScalarAmplitude(dim_in, mass, cutoff)
    return cos_net(width, dim_in=dim_in, sigma_w=sigma_w, sigma_b=sigma_b, momentum=("ball", amplitude.cutoff), amplitude=amplitude,
                   **laws)
