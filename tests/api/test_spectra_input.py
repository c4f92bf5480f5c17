"""Whatever is passed to nnqft.lanczos and nnqft.hessian, what comes back is a result or an error of the library."""

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft import hessian, lanczos
from nnqft.errors import NNQFTError
from nnqft.networks import mlp

A = np.diag(np.arange(1.0, 9.0))
WIDE = np.diag(np.arange(60.0))
S, K = lanczos.slq(A, 4, probes=3), lanczos.kpm(A, 10, probes=2)
NET = mlp(3, (4,), activation="tanh").draw(0, seed=1)
X, Y = np.random.default_rng(0).normal(size=(5, 3)), np.ones(5)
H = hessian.Hessian(NET, X, Y, loss="mse")


class Liar:
    """Claims to be 8 x 8 float64, and returns what `product` makes of a vector."""

    shape, dtype = (8, 8), np.dtype(np.float64)

    def __init__(self, product):
        self.matvec = product


class Shaped:
    """Claims any shape."""

    dtype = np.dtype(np.float64)

    def __init__(self, shape):
        self.shape = shape

    def matvec(self, x):
        return x


OPERATORS = {
    "nan": np.full((8, 8), np.nan), "inf": np.full((8, 8), np.inf), "rectangle": np.ones((3, 8)), "empty": np.zeros((0, 0)), "vector": np.ones(8),
    "0-d": np.array(3.0), "3-d": np.ones((2, 2, 2)), "int": np.eye(8, dtype=int), "complex": np.eye(8) * 1j, "object": np.eye(8).astype(object),
    "text": np.array([["a"]]), "None": None, "list": [[1.0, 0.0], [0.0, 1.0]], "str": "abc", "number": 5, "triangle": np.triu(np.ones((8, 8))),
    "coo": sp.coo_array(A), "sparse triangle": sp.csr_array(np.triu(np.ones((8, 8)))), "sparse nan": sp.csr_array(np.full((8, 8), np.nan)),
    "masked": np.ma.masked_array(A, mask=A > 3), "half": np.eye(8, dtype=np.float16), "long": np.eye(8, dtype=np.longdouble),
    "bool": np.eye(8, dtype=bool), "records": np.zeros((3, 3), dtype=[("a", float)]), "class": Liar, "function": lambda x: x,
    "short": Liar(lambda x: x[:3]), "too long": Liar(lambda x: np.tile(x, 2)), "nothing": Liar(lambda x: None), "words": Liar(lambda x: "x"),
    "imaginary": Liar(lambda x: 1j * x), "outer": Liar(lambda x: np.ones((8, 8))), "objects": Liar(lambda x: x.astype(object)),
    "lost": Liar(lambda x: x * np.nan), "shape str": Shaped("ab"), "shape negative": Shaped((-3, -3)), "shape float": Shaped((8.5, 8.5)),
    "shape nan": Shaped((np.nan, np.nan)), "shape None": Shaped(None), "shape huge": Shaped((2**62, 2**62)), "shape 3": Shaped((8, 8, 8)),
    "shape int": Shaped(8), "shape unknown": Shaped((None, None)),
}  # fmt: skip
USES = {
    "lanczos": lambda op: lanczos.lanczos(op, 4), "slq": lambda op: lanczos.slq(op, 4, probes=2), "kpm": lambda op: lanczos.kpm(op, 10, probes=2),
    "trace": lambda op: lanczos.trace(op, 4), "hutch++": lambda op: lanczos.trace(op, 6, method="hutch++"),
    "eigsh": lambda op: lanczos.eigsh(op, 2), "moments": lambda op: lanczos.spectral_moments(op, [1, 2], probes=2),
    "bounds": lanczos.spectral_bounds, "outliers": lambda op: lanczos.outliers(op, 1), "singular values": lambda op: lanczos.singular_values(op, 3, probes=2),
    "profile": lambda op: hessian.variance_profile(op, [4, 4], probes=2), "eigenvalues": lanczos.SpectralDensity.from_eigenvalues,
    "symmetry": lanczos.spectral_symmetry, "dyson": lambda op: hessian.dyson_density(op, [0.0]),
}  # fmt: skip


# What some functions take although it is no symmetric operator: J need not be one, numbers are converted where they are data (a
# variance profile, eigenvalues, samples of eigenvalues in rows).
ALLOWED = {(op, use) for use, ops in {
    "singular values": ["rectangle", "triangle", "coo", "sparse triangle"],
    "symmetry": ["rectangle", "vector", "int", "list", "triangle", "half"], "eigenvalues": ["vector"], "dyson": ["int", "list", "half"],
}.items() for op in ops}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("op", OPERATORS)
def test_operators_that_are_none_are_errors_of_the_library(op, use):
    if (op, use) in ALLOWED:
        USES[use](OPERATORS[op])
        return
    with pytest.raises(NNQFTError) as raised:
        USES[use](OPERATORS[op])
    assert 10 < len(str(raised.value)) < 500


VALUES = [np.nan, np.inf, -1, 0, 2.5, None, "x", [1, 2], 1j, 2**70, True, np.float64(3), np.array([1, 2]), object(), 1e300, -0.0]
CALLS = {
    "lanczos": ["k", "probes", "seed", "v0", "reorth", "distribution", "dtype", "threads", "callback", "state"],
    "slq": ["k", "probes", "seed", "reorth", "distribution", "state", "dtype", "threads"],
    "kpm": ["degree", "probes", "seed", "bounds", "margin", "distribution"],
    "trace": ["products", "method", "distribution", "seed"],
    "eigsh": ["k", "which", "tol", "ncv", "max_restarts", "v0", "seed", "threads"],
    "outliers": ["most", "factor"], "spectral_bounds": ["k", "margin", "seed"], "spectral_moments": ["orders"], "singular_values": ["k", "probes"],
}  # fmt: skip
BOUND = {
    "moment": S.moment, "mean": S.mean, "mean of": lambda v: S.mean(lambda x: v), "trace of": S.trace, "cdf": S.cdf, "cdf sigma": lambda v: S.cdf(0.0, sigma=v),
    "cdf_bounds": S.cdf_bounds, "count": lambda v: S.count(v, 5), "count to": lambda v: S.count(0, v), "near_zero": S.near_zero, "grid": S.grid,
    "grid scale": lambda v: S.grid(9, scale=v), "threshold": lambda v: S.grid(9, scale="symlog", threshold=v), "density": S.density,
    "density sigma": lambda v: S.density(0.0, sigma=v), "nodes": lambda v: lanczos.SpectralDensity(v, [[1.0]], 3),
    "weights": lambda v: lanczos.SpectralDensity([[1.0]], v, 3), "n": lambda v: lanczos.SpectralDensity([[1.0]], [[1.0]], v),
    "complete": lambda v: lanczos.SpectralDensity([[1.0]], [[1.0]], 3, complete=v), "how": lambda v: lanczos.SpectralDensity([[1.0]], [[1.0]], 3, how=v),
    "Chebyshev density": K.density, "Chebyshev cdf": K.cdf, "Chebyshev mean": K.mean, "Chebyshev mean of": lambda v: K.mean(lambda x: v),
    "Chebyshev moment": K.moment, "Chebyshev grid": K.grid, "moments": lambda v: lanczos.ChebyshevDensity(v, (0, 1), 3),
    "bounds": lambda v: lanczos.ChebyshevDensity([[1.0, 0.0]], v, 3), "Chebyshev n": lambda v: lanczos.ChebyshevDensity([[1.0, 0.0]], (0, 1), v),
    "symmetry": lanczos.spectral_symmetry, "tol": lambda v: lanczos.spectral_symmetry([1.0, 2.0], tol=v),
    "groups": lambda v: lanczos.spectral_symmetry([1.0, 2.0, 3.0], groups=v), "bins": lambda v: lanczos.spectral_symmetry([1.0, 2.0], bins=v),
    "width": lambda v: lanczos.spectral_symmetry(S, width=v), "symlog": lambda v: lanczos.symlog(1.0, v), "symlog of": lambda v: lanczos.symlog(v, 1.0),
    "size": lambda v: lanczos.as_operator(lambda x: x, n=v), "dtype": lambda v: lanczos.as_operator(lambda x: x, n=3, dtype=v),
    "restrict": lanczos.as_operator(A).restrict, "matvec": lanczos.as_operator(A).matvec, "matmat": lanczos.as_operator(A).matmat,
    "dyson": lambda v: hessian.dyson_density(v, [0.0]), "dyson grid": lambda v: hessian.dyson_density([[1.0]], v),
    "dyson weights": lambda v: hessian.dyson_density([[1.0]], [0.0], weights=v), "eta": lambda v: hessian.dyson_density([[1.0]], [0.0], eta=v),
    "dyson moment": hessian.dyson_density([[1.0]], [0.0]).moment, "sizes": lambda v: hessian.variance_profile(A, v),
    "profile probes": lambda v: hessian.variance_profile(sp.csr_array(A), [8], probes=v), "X": lambda v: hessian.Hessian(NET, v, Y, loss="mse"),
    "y": lambda v: hessian.Hessian(NET, X, v, loss="mse"), "loss": lambda v: hessian.Hessian(NET, X, Y, loss=v),
    "loss returns": lambda v: hessian.Hessian(NET, X, Y, loss=lambda f, y: v), "loss pair": lambda v: hessian.Hessian(NET, X, Y, loss=lambda f, y: (v, v)),
    "part": lambda v: hessian.Hessian(NET, X, Y, loss="mse", part=v), "layers": lambda v: hessian.Hessian(NET, X, Y, loss="mse", layers=v),
    "sample_weight": lambda v: hessian.Hessian(NET, X, Y, loss="mse", sample_weight=v),
    "weight_decay": lambda v: hessian.Hessian(NET, X, Y, loss="mse", weight_decay=v), "H dtype": lambda v: hessian.Hessian(NET, X, Y, loss="mse", dtype=v),
    "H threads": lambda v: hessian.Hessian(NET, X, Y, loss="mse", threads=v), "entries": lambda v: H.entries(v, v), "blocks": lambda v: H.blocks(v, 0),
    "net": lambda v: hessian.Hessian(v, X, Y, loss="mse"), "J X": lambda v: hessian.Jacobian(NET, v), "wrt": lambda v: hessian.Jacobian(NET, X, wrt=v),
    "J layers": lambda v: hessian.Jacobian(NET, X, layers=v), "between": lambda v: hessian.Jacobian(NET, X, wrt="inputs", between=v),
    "J dtype": lambda v: hessian.Jacobian(NET, X, dtype=v),
}  # fmt: skip

def call(function, name):
    def run(value):
        needed = {"lanczos": {"k": 2}, "trace": {"products": 20}, "spectral_moments": {"orders": [1]}}.get(function, {})
        getattr(lanczos, function)(WIDE, **(needed | {name: value}))

    return run


BOUND |= {f"{function}({name})": call(function, name) for function, names in CALLS.items() for name in names}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BOUND)
def test_values_that_make_no_sense_are_errors_of_the_library(name):
    for value in VALUES:
        try:
            BOUND[name](value)
        except NNQFTError as error:
            assert 10 < len(str(error)) < 500, value


def test_errors_of_a_users_function_come_through():
    def broken(x):
        raise ZeroDivisionError

    for use in ("lanczos", "slq", "kpm", "trace", "eigsh", "moments", "bounds", "profile"):
        with pytest.raises(ZeroDivisionError):
            USES[use](Liar(broken))
    with pytest.raises(ZeroDivisionError):
        S.mean(broken)
    with pytest.raises(ZeroDivisionError):
        hessian.Hessian(NET, X, Y, loss=lambda f, y: broken(f))
