"""Spectra of symmetric operators of any origin: Lanczos, densities, extreme eigenpairs, traces.

A Q = Q T + r e^T,   rho(x) ~ mean over probes of sum_k w_k delta(x - theta_k)
"""

from ._lanczos._density import SpectralDensity
from ._lanczos._distribution import CESM, Count
from ._lanczos._driver import Lanczos, LanczosState, lanczos
from ._lanczos._eigsh import EigenInfo, eigsh
from ._lanczos._kpm import ChebyshevDensity, kpm, spectral_bounds
from ._lanczos._operators import Operator, as_operator, gram
from ._lanczos._outliers import Outliers, outliers
from ._lanczos._slq import singular_values, slq, spectral_moments
from ._lanczos._smoothing import symlog
from ._lanczos._symmetry import SpectralSymmetry, spectral_symmetry
from ._lanczos._trace import trace

__all__ = [
    "lanczos", "Lanczos", "LanczosState", "as_operator", "Operator", "gram", "slq", "SpectralDensity", "CESM", "Count", "symlog", "spectral_moments", "singular_values", "kpm",
    "ChebyshevDensity", "spectral_bounds", "eigsh", "EigenInfo", "outliers", "Outliers", "trace", "spectral_symmetry",
    "SpectralSymmetry",
]  # fmt: skip
