"""An operator that is not symmetric is refused by everything that relies on symmetry, in every form, unless told not to look."""

import numpy as np
import pytest
import scipy.sparse as sp

from nnqft.errors import ArgumentError
from nnqft.hessian import variance_profile
from nnqft.lanczos import as_operator, eigsh, kpm, lanczos, outliers, slq, spectral_bounds, trace

M = np.random.default_rng(0).normal(size=(40, 40))
MIRRORED = np.triu(M) + np.triu(M, 1).T
SYMMETRIC = as_operator(np.diag(np.arange(1.0, 41.0)))

USES = {
    "lanczos": lambda op, **o: lanczos(op, 4, **o).alpha,
    "slq": lambda op, **o: slq(op, 4, probes=2, **o).nodes,
    "eigsh": lambda op, **o: eigsh(op, 2, **o)[0],
    "outliers": lambda op, **o: outliers(op, 2, **o).edges,
    "xtrace": lambda op, **o: trace(op, 20, **o).mean,
    "hutch++": lambda op, **o: trace(op, 20, method="hutch++", **o).mean,
    "hutchinson": lambda op, **o: trace(op, 20, method="hutchinson", **o).mean,
    "exact trace": lambda op, **o: trace(op, 40, **o).mean,
    "bounds": spectral_bounds,
    "kpm": lambda op, **o: kpm(op, 10, probes=2, **o).moments,
    "kpm in bounds": lambda op, **o: kpm(op, 10, probes=2, bounds=(-500.0, 500.0), **o).moments,
    "profile": lambda op, **o: variance_profile(op, [20, 20], **o).variance,
}
FORMS = {
    "dense": lambda A: A,
    "csr": sp.csr_array,
    "linear operator": sp.linalg.aslinearoperator,
    "callable": lambda A: as_operator(lambda x: A @ x, n=len(A)),
    "sum": lambda A: SYMMETRIC + A,
    "multiple": lambda A: 2 * as_operator(A),
    "shift": lambda A: as_operator(A) - 1.0,
    "block": lambda A: as_operator(A).restrict(slice(0, 40)),
    "product": lambda A: as_operator(A) @ as_operator(A),
    "sum of sums": lambda A: -(as_operator(sp.csr_array(np.eye(40))) + (2 * as_operator(A) - SYMMETRIC)),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_symmetric_is_refused(form, use):
    with pytest.raises(ArgumentError, match="not symmetric"):
        USES[use](FORMS[form](M))
    USES[use](FORMS[form](MIRRORED))


@pytest.mark.parametrize("use", USES)
def test_without_the_check_a_dense_matrix_is_its_upper_triangle(use):
    if use == "profile":  # of an array all entries are measured: its two triangles are averaged
        np.testing.assert_allclose(USES[use](M, check_symmetric=False), mean_squares(M), rtol=1e-13)
    else:
        np.testing.assert_array_equal(USES[use](M, check_symmetric=False), USES[use](MIRRORED))


def mean_squares(A):
    blocks = np.square(A).reshape(2, 20, 2, 20).sum(axis=(1, 3))
    return (blocks + blocks.T) / 2 * 40 / 400


def test_one_pair_of_entries_is_enough():
    A = np.diag(np.arange(1.0, 41.0))
    A[3, 30] = 1e-6
    for form in ("dense", "sum", "block"):
        with pytest.raises(ArgumentError, match="max .A_ij - A_ji. is 1e-06"):
            eigsh(FORMS[form](A), 2)


def test_rounding_is_no_asymmetry():
    A = MIRRORED.copy()
    A[0, 1] *= 1 + 4e-16
    for form in FORMS:
        for use in USES:
            USES[use](FORMS[form](A))
