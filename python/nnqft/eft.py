"""Effective field theory of network ensembles: from correlators to couplings, and back.

    exp(-S),   S = S_GP + int d^d y [lambda f(y)^4 + kappa f(y)^6 + ...]        (no 1/4!, 1/6! in the couplings)
"""

from ._eft._action import ActionCouplings, action_couplings
from ._eft._couplings import Coupling, SexticCoupling, quartic_coupling, sextic_coupling
from ._eft._edgeworth import EdgeworthDensity, edgeworth_density
from ._eft._fit import CouplingFit, fit_couplings
from ._eft._inverse import KernelInverse, amputate, regulated_inverse
from ._eft._locality import Locality, locality
from ._eft._negativity import Negativity
from ._eft._fixed_points import FixedPoint, lpa_fixed_points
from ._eft._lpa import LPAFlow, lpa_couplings, lpa_flow
from ._eft._power_law import PowerLaw
from ._eft._rg import BetaFunction, beta_function
from ._eft._rg_flow import RGFlow, rg_flow
from ._eft._six_point import SixPoint, predict_six_point
from ._eft._invariance import Invariance, check_invariance, orbit
from ._eft._naturalness import Naturalness, ShiftedCouplings, coupling_along_shifts, naturalness
from ._eft._perturbation import perturbation
from ._eft._region import Region, box
from ._eft._terms import coupling_terms
from ._eft._theories import Reweighted, reweight
from ._eft._tree import tree_integral
from ._eft._vertex import vertex_integral
from ._free_scalar import free_propagator

__all__ = [
    "edgeworth_density", "EdgeworthDensity", "Negativity", "action_couplings", "ActionCouplings", "regulated_inverse",
    "KernelInverse", "amputate", "locality", "Locality",
    "tree_integral", "vertex_integral", "quartic_coupling", "sextic_coupling", "Coupling", "SexticCoupling", "fit_couplings",
    "coupling_terms", "CouplingFit", "predict_six_point", "SixPoint",
    "beta_function", "BetaFunction", "rg_flow", "RGFlow", "PowerLaw",
    "lpa_flow", "LPAFlow", "lpa_couplings", "lpa_fixed_points", "FixedPoint",
    "free_propagator", "reweight", "Reweighted", "box", "Region", "perturbation",
    "check_invariance", "Invariance", "orbit", "coupling_along_shifts", "ShiftedCouplings", "naturalness", "Naturalness",
]  # fmt: skip
