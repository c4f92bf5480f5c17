"""Hessians of networks in parameter space: products, entries, blocks; Jacobians; the random-matrix laws that spectra are compared with.

Spectra come from `nnqft.lanczos`: a `Hessian` is one of its operators.
"""

from ._hessian._dyson import DysonDensity, dyson_density
from ._hessian._from_torch import from_torch
from ._hessian._hessian import Hessian, HessianBlock
from ._hessian._jacobian import Jacobian
from ._hessian._load import load_net
from ._hessian._profile import VarianceProfile, variance_profile

__all__ = [
    "Hessian", "HessianBlock", "Jacobian", "from_torch", "load_net", "dyson_density", "DysonDensity", "variance_profile", "VarianceProfile",
]  # fmt: skip
