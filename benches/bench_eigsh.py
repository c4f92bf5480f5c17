"""Six eigenpairs a second: eigsh, verified and not, against ARPACK (scipy.sparse.linalg.eigsh) at one tolerance of residuals,
one thread.

    dense   n = 4000, Gaussian orthogonal ensemble, float64, LA, 1e-10
    CSR     n = 99,856, 2-D Laplacian, float64, LA, 1e-4
    MLP     64-128-128-1, Hessian of 24,704 weights on 512 samples, float32, LM, 3e-6

Limits. Products with the operator: both need about as many (within 15 % without verification), the dense one 64 MB of memory each where half
the matrix is read, 128 MB where all of it is. On sparse matrices the basis counts: 2 readings of up to 32 vectors a step, 51 MB. It is of
float32 where the operator is: 3.2 MB at most for the MLP, which stay in the L2 cache or near.
Verification, which ARPACK has not, takes about a quarter more products.
"""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import Contender, repeated
from scipy.sparse.linalg import LinearOperator
from scipy.sparse.linalg import eigsh as arpack

from nnqft.hessian import Hessian
from nnqft.lanczos import eigsh
from nnqft.networks import mlp


def dense():
    G = np.random.default_rng(0).normal(size=(4000, 4000))
    return (G + G.T) / np.sqrt(8000), "LA", 1e-10


def laplacian():
    line = sp.diags_array([-np.ones(315), 2 * np.ones(316), -np.ones(315)], offsets=[-1, 0, 1])
    return sp.csr_array(sp.kron(line, sp.eye_array(316)) + sp.kron(sp.eye_array(316), line)), "LA", 1e-4


def perceptron():
    rng = np.random.default_rng(0)
    net = mlp(64, (128, 128), activation="relu", sigma_w=2**0.5, sigma_b=0.0).draw(0, seed=1)
    X = rng.normal(size=(512, 64)).astype(np.float32)
    return Hessian(net, X, np.sign(X[:, 0]), loss="logistic", threads=1), "LM", 3e-6


@pytest.mark.parametrize("verify", [True, False], ids=["verified", "not verified"])
@pytest.mark.parametrize("make", [dense, laplacian, perceptron])
def test_six_eigenpairs(make, verify, duel):
    A, which, tol = make()
    product = LinearOperator(A.shape, matvec=lambda v: A @ v, dtype=A.dtype)
    v0 = np.random.default_rng(1).normal(size=A.shape[0]).astype(A.dtype)
    theirs = np.sort(arpack(product, 6, which=which, tol=tol, v0=v0)[0])
    ours, _, info = eigsh(A, 6, which=which, tol=tol, verify=verify, return_info=True)
    # A residual r bounds the error of an eigenvalue; theirs is relative to the eigenvalue, ours to the norm.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=10 * tol * info.norm)
    assert info.converged.all() and info.verified == verify
    title = f"six eigenpairs, {make.__name__}, n={A.shape[0]}, {A.dtype}, {'verified' if verify else 'not verified'}"
    ours = Contender("eigsh", repeated(lambda: eigsh(A, 6, which=which, tol=tol, verify=verify, threads=1), threads=1))
    rival = Contender("ARPACK", repeated(lambda: arpack(product, 6, which=which, tol=tol, v0=v0), threads=1))
    duel(title, ours, [rival], unit="runs/s", bar=">= 1x", seconds=0.1, rounds=5)
