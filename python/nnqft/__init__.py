"""Neural-network field theory at C++ speed.

An ensemble of neural networks is a statistical field theory: its n-point functions are correlators, infinite width is the
free theory, 1/width is the coupling.

    networks   laws of ensembles, concrete nets, infinite-width kernels
    ensemble   correlators, measured and exact
    eft        couplings, renormalisation, Edgeworth actions
    meanfield  deep networks at large width
    lanczos    spectra of symmetric operators
    hessian    second derivatives of the risk of one net, random-matrix laws
    wick       pairings, cumulants, jackknife
    tensor     numbers with errors, symmetric tensors
    compat     hafnians under the names of other libraries
"""

import atexit
import logging

from . import _core, compat, eft, ensemble, errors, hessian, lanczos, meanfield, networks, tensor, wick
from ._build import build_info, get_include, get_library
from ._version import __version__

__all__ = [
    "build_info", "get_include", "get_library", "compat", "eft", "ensemble", "errors", "hessian", "lanczos", "meanfield",
    "networks", "tensor", "wick", "__version__",
]  # fmt: skip

logging.getLogger("nnqft").addHandler(logging.NullHandler())
atexit.register(_core.stop_everything)
