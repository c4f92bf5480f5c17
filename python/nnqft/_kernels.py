"""Infinite width: the kernel of the free theory (NNGP) and the tangent kernel (NTK), at any depth.

    K_0 = sigma_b^2 + sigma_w^2 x.y / d           K_{l+1} = sigma_b^2 + sigma_w^2 E[phi(u) phi(v)],  (u, v) ~ N(0, K_l)
    T_0 = K_0                                     T_{l+1} = K_{l+1} + sigma_w^2 E[phi'(u) phi'(v)] T_l

Sources: Neal (1996); Lee et al., arXiv:1711.00165, eq. (5); Jacot et al., arXiv:1806.07572, theorem 1.
The cos-net sqrt(2) cos(w.x + c), c uniform: K = sigma_b^2 + sigma_w^2 exp(-sigma_w^2 |x - y|^2 / 2d)
(Rahimi and Recht 2007; Halverson, arXiv:2112.04527), or the transform of its spectrum (`_spectrum`).
"""

import numpy as np

from ._checks import real_array
from ._duals import ACTIVATIONS, check_activation, dual, dual_derivative
from ._spectrum import amplitude_and_momentum, spectral_average
from .errors import ArgumentError, ShapeError

__all__ = ["ACTIVATIONS", "dual", "dual_derivative", "nngp_kernel", "ntk_kernel"]


def nngp_kernel(net, x, y=None):
    """Covariance of one output component of the infinitely wide network.

    For one hidden layer this is the two-point function at every width.

    Parameters
    ----------
    net : object
        Law of the ensemble: dim_in, widths, activation, activation_params, sigma_w, sigma_b, and for the
        cos-net phase, amplitude, momentum.
    x, y : array, shape (n_points, dim_in), real
        Inputs; `y=None` stands for `y = x`.

    Returns
    -------
    array, shape (len(x), len(y)), float64
        K(x_i, y_j), output bias included, in units of the output squared.

    Raises
    ------
    ShapeError, ArgumentError
        Inputs of the wrong shape or not finite; an activation, law or depth without a kernel; overflow.

    Notes
    -----
    Relative error about 1e-13 per layer. Cost: depth * pairs * (0.1 us, or 60 us for tanh, sigmoid, softplus, swish).
    Sources: module header.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> net = SimpleNamespace(dim_in=1, widths=(10,), activation="erf", activation_params=(), sigma_w=1.0, sigma_b=1.0)
    >>> nngp_kernel(net, [[1.0]]).round(9)
    array([[1.59033447]])
    """
    return _kernels(net, x, y, tangent=False)


def ntk_kernel(net, x, y=None):
    """Neural tangent kernel of the infinitely wide network, one output component. Parameters as for `nngp_kernel`.

    The parameters are unit normals: weights sigma_w W / sqrt(fan_in), biases sigma_b b (the cos-net's phase c itself).

    Returns
    -------
    array, shape (len(x), len(y)), float64
        sum over all parameters of df(x_i)/dtheta df(y_j)/dtheta.

    Raises
    ------
    ShapeError, ArgumentError
        As for `nngp_kernel`; also for a cos-net with its own spectrum, whose momenta are not unit normals.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> net = SimpleNamespace(dim_in=1, widths=(10,), activation="relu", activation_params=(), sigma_w=1.0, sigma_b=0.0)
    >>> ntk_kernel(net, [[1.0], [2.0]])
    array([[1., 2.],
           [2., 4.]])
    """
    return _kernels(net, x, y, tangent=True)


def check_law(net):
    """The activation's parameters; raises where a formula for normal hidden weights would not hold."""
    params = check_activation(net.activation, getattr(net, "activation_params", ()))
    for name in ("sigma_w", "sigma_b"):
        sigma = getattr(net, name)
        if not (np.ndim(sigma) == 0 and np.isfinite(sigma) and sigma >= 0):
            raise ArgumentError(f"{name} must be one finite number >= 0; {sigma!r} came")
    amplitude, ball = amplitude_and_momentum(net)
    phase = getattr(net, "phase", False)
    if phase:
        if net.activation != "cos" or len(net.widths) != 1:
            raise ArgumentError(f"a uniform phase needs the activation cos and one hidden layer; "
                                f"{net.activation} with {len(net.widths)} hidden layers came")
    elif amplitude is not None or ball is not None:
        raise ArgumentError("amplitude and momentum describe a cos-net: they need phase=True")
    must_be_normal = (["input"] if ball is None else []) + ([] if phase or net.sigma_b == 0 else ["bias"])
    _check_weight_laws(net, must_be_normal)
    return params


def _check_weight_laws(net, must_be_normal):
    """Sums over finitely many inputs need normal weights; sums over infinitely many neurons only a variance."""
    laws = getattr(net, "laws", None)
    if laws is None:
        return
    for name in must_be_normal:
        law = getattr(laws, name)
        if law.kind != "normal":
            raise ArgumentError(f"{name} weights of law {law!r} have no closed-form averages, normal ones have: "
                                "measure with nnqft.ensemble.correlators")
    must_have_variance = ["output"] + (["hidden"] if len(net.widths) > 1 else []) + (["output_bias"] if net.sigma_b > 0 else [])
    for name in must_have_variance:
        law = getattr(laws, name)
        if not np.isfinite(law.moments(2)[0]):
            raise ArgumentError(f"{name} weights of law {law!r} have no variance, so there is no two-point function")


def check_points(net, x, name="x"):
    """Inputs as a finite float64 array (n_points, dim_in)."""
    points = real_array(name, x, finite=False)
    if points.ndim != 2 or points.shape[1] != net.dim_in or not len(points):
        hint = ": call x.reshape(-1, 1)" if points.ndim == 1 and net.dim_in == 1 else ""
        raise ShapeError(f"{name} has shape {points.shape}, expected (n_points, {net.dim_in}) with n_points >= 1{hint}")
    if not np.isfinite(points).all():
        raise ArgumentError(f"{name} must be finite; row {int(np.argmin(np.isfinite(points).all(axis=1)))} is not")
    return points


def _kernels(net, x, y, tangent):
    params = check_law(net)
    x = check_points(net, x)
    y, symmetric = (x, True) if y is None else (check_points(net, y, "y"), False)
    i, j = np.triu_indices(len(x)) if symmetric else np.indices((len(x), len(y))).reshape(2, -1)
    recursion = _cos_net if getattr(net, "phase", False) else _layers
    values = recursion(net, params, x, y, i, j, tangent)
    if not np.isfinite(values).all():
        raise ArgumentError("the kernel overflows float64: use smaller sigma_w, sigma_b or inputs")
    out = np.empty((len(x), len(y)))
    out[i, j] = values
    if symmetric:
        out[j, i] = values
    return out


def _layers(net, params, x, y, i, j, tangent):
    """The recursion on a list of pairs (x_i, y_j), with the variances of all points beside it."""
    with np.errstate(over="ignore", invalid="ignore"):
        weight, bias = np.float64(net.sigma_w) ** 2, np.float64(net.sigma_b) ** 2
        var_x = bias + weight / net.dim_in * (x * x).sum(1)
        var_y = bias + weight / net.dim_in * (y * y).sum(1)
        pair = bias + weight / net.dim_in * (x @ y.T)[i, j]
    if not all(np.isfinite(values).all() for values in (var_x, var_y, pair)):
        raise ArgumentError("the first covariance overflows float64: use smaller sigma_w, sigma_b or inputs")
    label = np.unique(np.concatenate([x, y]), axis=0, return_inverse=True)[1].ravel()
    pair = np.where(label[i] == label[len(x) + j], var_x[i], pair)  # repeated points: correlation 1, not 1 - ulp
    theta = pair
    for _ in net.widths:
        slope = dual_derivative(net.activation, params, var_x[i], pair, var_y[j]) if tangent else 0.0
        pair = bias + weight * dual(net.activation, params, var_x[i], pair, var_y[j])
        var_x = bias + weight * dual(net.activation, params, var_x, var_x, var_x)
        var_y = bias + weight * dual(net.activation, params, var_y, var_y, var_y)
        theta = pair + weight * slope * theta
    return theta if tangent else pair


def _cos_net(net, params, x, y, i, j, tangent):
    with np.errstate(over="ignore"):
        weight, bias = np.float64(net.sigma_w) ** 2, np.float64(net.sigma_b) ** 2
    wave = weight * spectral_average(net, 2, np.linalg.norm(x[i] - y[j], axis=1)) / 2
    if not tangent:
        return bias + wave
    if amplitude_and_momentum(net) != (None, None):
        raise ArgumentError("the tangent kernel of a cos-net needs normal momenta and the constant amplitude sqrt(2)")
    return bias + wave + wave * (weight / net.dim_in * (x[i] * y[j]).sum(1) + 1.0)
