"""First-order perturbation theory in a deformation of the parameter density, from exact correlators."""

import numpy as np

from .. import _core
from .._version import __version__
from ..ensemble import _check, exact_correlators
from ..errors import ArgumentError
from ..tensor import SymmetricTensor
from ._region import check_potential, check_region

__all__ = ["perturbation"]


def perturbation(net, x, *, potential, region, order=2):
    """First-order change of the full n-point function by a deformation of the parameter density, exactly.

    delta G(x_1 .. x_n) = -int_region d^d y sum_p c_p [G^(n+p)(x_1 .. x_n, y .. y) - G^(n)(x_1 .. x_n) G^(p)(y .. y)]

    Parameters
    ----------
    net : Network
        One hidden layer, one output, with exact correlators.
    x, potential, region
        As for `reweight`.
    order : {2, 4, 6}
        n; with the powers of the potential at most 8.

    Returns
    -------
    SymmetricTensor
        Exact at first order in the coefficients c_p, and at every width.

    Raises
    ------
    ShapeError, ArgumentError
        Bad inputs; order + power above 8; several outputs.

    Notes
    -----
    Cost: exact correlators of n_points + 1 points for every node of the region. The two-point function is to all orders
    in 1/width: tadpole diagrams and those with connected six-point functions of the undeformed theory.

    Examples
    --------
    >>> net = nnqft.networks.free_scalar_net(100, dim_in=1, cutoff=10.0)
    >>> round(perturbation(net, [[0.0]], potential={4: 0.01}, region=nnqft.eft.box(-1, 1))[0, 0].mean, 6)
    -0.015258
    """
    potential = check_potential(potential)
    x, (order,), _, _ = _check(net, x, (order,), 1, 0)
    region = check_region(region, net.dim_in)
    if net.dim_out != 1:
        raise ArgumentError(
            f"perturbation() takes one output, this net has {net.dim_out}: use reweight(...).change({order})"
        )
    if order + max(potential) > 8:
        raise ArgumentError(
            f"order {order} with the power {max(potential)} needs the {order + max(potential)}-point function, exact "
            "ones end at 8"
        )
    n_points, total = len(x), 0.0
    rows = _core.multiset_index(n_points, order).astype(np.int64)
    for y, weight in zip(region.points, region.weights, strict=True):
        exact = exact_correlators(
            net, np.concatenate([x, y[None]]), orders=(order, *potential, *(order + p for p in potential))
        )
        outer = exact.full(order)
        outer = outer.mean[outer.rank(rows)]
        for p, c in potential.items():
            joint = exact.full(order + p)
            joint = joint.mean[joint.rank(np.pad(rows, ((0, 0), (0, p)), constant_values=n_points))]
            total = total - weight * c * (joint - outer * exact.full(p)[(n_points,) * p].mean)
    return SymmetricTensor(
        total, 0.0, order=order, size=n_points, how={"estimator": "first order", "version": __version__}
    )
