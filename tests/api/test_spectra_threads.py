"""The threads of BLAS, which is asked for dense algebra, change no bit either."""

import os
import subprocess
import sys

CODE = """
import hashlib
import numpy as np
from nnqft.lanczos import as_operator, eigsh, kpm, lanczos, singular_values, slq, spectral_bounds, trace
rng, digests = np.random.default_rng(0), {}
def note(name, *arrays):
    digests[name] = hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()[:8]
J, A = rng.normal(size=(900, 500)), rng.normal(size=(800, 800))
A = A + A.T
for form in (J, J.T, np.asfortranarray(J), J.astype(np.float32), J[::2, ::2]):
    for probes in (1, 3):
        note(f"singular values {form.shape} {form.dtype} {form.strides} {probes}", singular_values(form, 15, probes=probes).nodes)
steep = np.repeat(J[:20, :5], 40, axis=0)
steep = (steep[:, None, :] * steep[None, :, :]).sum(axis=2)  # rank 5: the range is exhausted
for method in ("hutchinson", "hutch++", "xtrace"):
    for name, op in {"A": A, "float32": A.astype(np.float32), "steep": steep, "sum": as_operator(A) + A}.items():
        t = trace(op, 240, method=method)
        note(f"{method} {name}", [t.mean, t.stderr])
note("kpm", kpm(A, 40, probes=4).moments)
note("bounds", spectral_bounds(A, 300))
note("slq", slq(A, 40, probes=4).nodes)
note("eigsh", *eigsh(A, 5))
run = lanczos(A, 100, probes=2, basis=True)
note("lanczos", run.alpha, run.basis, *run.eigen())
print(*digests.items(), sep="\\n")
"""


def test_the_threads_of_blas_change_no_bit():
    def digests(threads):
        environment = os.environ | {name: str(threads) for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")}
        return subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    one = digests(1)
    assert len(one) == 27
    assert digests(2) == one
