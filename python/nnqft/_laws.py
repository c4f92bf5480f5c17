"""Laws of weights and biases: what each random tensor of a network is drawn from."""

import hashlib
from dataclasses import dataclass
from math import comb, inf

import numpy as np

from .errors import ArgumentError, ShapeError

__all__ = ["LAWS", "Laws", "TensorLaw"]

LAWS = ("normal", "uniform", "sign", "student_t", "array")
TENSORS = ("input", "hidden", "output", "bias", "output_bias")


@dataclass(frozen=True, eq=False)
class TensorLaw:
    """One tensor's law: `kind`, for Student-t its degrees of freedom `nu`, for user arrays their `values`.

    Normal, uniform, sign and Student-t have the variance that the layer asks for (sigma_w^2 / fan_in, sigma_b^2);
    Student-t with nu <= 2 has none and is scaled by sigma itself. Arrays are taken as they are.
    """

    kind: str = "normal"
    nu: float | None = None
    values: np.ndarray | None = None
    digest: str | None = None

    def __post_init__(self):
        if self.kind not in LAWS:
            raise ArgumentError(f"unknown weight law {self.kind!r}; known: {', '.join(LAWS)}")
        if (self.kind == "student_t") != (self.nu is not None):
            raise ArgumentError('the law "student_t" needs its degrees of freedom: ("student_t", nu)')
        if self.nu is not None and not self.nu > 0:
            raise ArgumentError(f"Student-t needs nu > 0, got {self.nu}")
        if self.kind == "array" and self.values is not None:
            values = np.array(self.values, dtype=np.float64)
            if not np.isfinite(values).all():
                raise ArgumentError("a weight array holds NaN or infinity")
            values.flags.writeable = False
            object.__setattr__(self, "values", values)
            object.__setattr__(self, "digest", hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest())

    @classmethod
    def of(cls, law):
        """A `TensorLaw` from its short forms: "sign", ("student_t", 5), or an array of weights."""
        if isinstance(law, cls):
            return law
        if isinstance(law, str):
            return cls(law)
        if isinstance(law, (tuple, list)) and len(law) == 2 and law[0] == "student_t":
            return cls("student_t", float(law[1]))
        if isinstance(law, np.ndarray):
            return cls("array", values=law)
        raise ArgumentError(f'a weight law is a name ({", ".join(LAWS[:3])}), ("student_t", nu) or an array; got {law!r}')

    def _key(self):
        return self.kind, self.nu, self.digest

    def __eq__(self, other):
        return self._key() == other._key() if isinstance(other, TensorLaw) else NotImplemented

    def __hash__(self):
        return hash(self._key())

    def __repr__(self):
        if self.kind == "student_t":
            return repr(("student_t", self.nu))
        return f"array({self.digest[:8]})" if self.kind == "array" else repr(self.kind)

    def moments(self, highest):
        """E v^n, n = 2, 4, .. highest, in units of the standard deviation; inf where they do not exist."""
        even = range(2, highest + 1, 2)
        if self.kind == "normal":
            return tuple(float(np.prod(np.arange(n - 1, 0, -2))) for n in even)
        if self.kind == "uniform":
            return tuple(3.0 ** (n // 2) / (n + 1) for n in even)
        if self.kind == "sign":
            return tuple(1.0 for _ in even)
        if self.kind == "student_t":
            out, value, nu = [], 1.0, self.nu
            for n in even:  # E t^n / E t^(n-2) = nu (n - 1) / (nu - n), in units of E t^2 = nu / (nu - 2)
                value = value * (n - 1) * (nu - 2) / (nu - n) if nu > n else inf
                out.append(value)
            return tuple(out)
        raise ArgumentError("moments of a user array are not known; use the direct estimator")

    def cumulants(self, highest):
        """Joint cumulants kappa_2, kappa_4, .. of one such variable in units of its standard deviation."""
        moments = dict(zip(range(2, highest + 1, 2), self.moments(highest), strict=True))
        kappa = {}
        for n in moments:  # M_n = sum_k C(n - 1, k - 1) kappa_k M_(n - k)
            kappa[n] = moments[n] - sum(comb(n - 1, k - 1) * kappa[k] * moments[n - k] for k in kappa)
        return kappa

    def to_dict(self):
        return {"kind": self.kind, "nu": self.nu, "digest": self.digest}

    @classmethod
    def from_dict(cls, state):
        return cls(state["kind"], state["nu"], digest=state["digest"])

    def kernel(self, std, shape):
        """The law as the kernels take it, for a tensor of `shape` (rows, columns) and standard deviation `std`."""
        if self.kind == "array":
            if self.values is None:
                raise ArgumentError("this network was loaded from a file that does not hold its weight arrays; give them again")
            # An unscaled tensor law: values as given, (n_nets, rows, columns).
            values = self.values if self.values.ndim == 3 else self.values[..., np.newaxis]
            if values.shape[1:] != shape:
                raise ShapeError(f"a weight array has shape {self.values.shape}; expected (n_nets, {shape[0]}, {shape[1]})")
            return {"law": "array", "scale": 1.0, "nu": 0.0, "values": np.ascontiguousarray(values), "start": 0, "nets": len(values)}
        if std == 0:
            return {"law": "zero", "scale": 0.0, "nu": 0.0}
        scale = std * (3.0**0.5 if self.kind == "uniform" else 1.0)
        with np.errstate(over="ignore"):
            single = np.float32(scale)
        if not (single > 0 and np.isfinite(single)):
            raise ArgumentError(f"a standard deviation of {std} does not fit the float32 draws: rescale inputs and sigmas")
        return {"law": self.kind, "scale": scale, "nu": self.nu or 0.0}


@dataclass(frozen=True)
class Laws:
    """One law per kind of tensor. `output_bias` follows `bias` unless it is given."""

    input: TensorLaw = TensorLaw()
    hidden: TensorLaw = TensorLaw()
    output: TensorLaw = TensorLaw()
    bias: TensorLaw = TensorLaw()
    output_bias: TensorLaw = TensorLaw()

    @classmethod
    def of(cls, law):
        """From one law for every weight tensor, or a mapping {"input", "hidden", "output", "bias", "output_bias": law}."""
        if isinstance(law, cls):
            return law
        if not isinstance(law, dict):
            law = TensorLaw.of(law)
            if law.kind == "array":
                raise ArgumentError('arrays need the tensor they are for: weight_law={"input": array, "output": array}')
            return cls(input=law, hidden=law, output=law)
        unknown = sorted(set(law) - set(TENSORS))
        if unknown:
            raise ArgumentError(f"unknown tensors {unknown} in weight_law; known: {', '.join(TENSORS)}")
        given = {name: TensorLaw.of(value) for name, value in law.items()}
        if "bias" in given and given["bias"].kind != "array":
            given.setdefault("output_bias", given["bias"])
        return cls(**given)

    @property
    def all_normal(self):
        return all(getattr(self, name).kind == "normal" for name in TENSORS)

    def check_range(self, start, stop):
        """ArgumentError unless every user array holds networks start ... stop - 1."""
        for name in TENSORS:
            values = getattr(self, name).values
            if values is not None and stop > max(start, len(values)):
                raise ArgumentError(f"networks {start} to {stop - 1} were asked for, the {name} array holds {len(values)}")

    def to_dict(self):
        return {name: getattr(self, name).to_dict() for name in TENSORS}

    @classmethod
    def from_dict(cls, state):
        return cls(**{name: TensorLaw.from_dict(state[name]) for name in TENSORS})

    def __repr__(self):
        if self.all_normal:
            return "'normal'"
        return "{" + ", ".join(f"{n!r}: {getattr(self, n)!r}" for n in TENSORS if getattr(self, n).kind != "normal") + "}"
