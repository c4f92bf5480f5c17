"""What a run takes of the memory, as the system counts it, against what `bytes` says and the documentation promises."""

import subprocess
import sys

import numpy as np
import pytest

from nnqft import _core

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux counts the peak in /proc/self/status")

CODE = """
import sys
import numpy as np, scipy.sparse as sp
from nnqft.lanczos import lanczos
n, k, probes, reorth, basis = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5] == "basis"
line = sp.diags_array([-np.ones(n - 1), np.linspace(1.0, 2.0, n), -np.ones(n - 1)], offsets=[-1, 0, 1], format="csr")
def peak():  # ru_maxrss would begin with that of the process that started this one
    with open("/proc/self/status") as status:
        return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
lanczos(line[:100, :100].copy(), 5)  # all code is there
before = peak()
run = lanczos(line, k, probes=probes, reorth=reorth, basis=basis)
assert run.steps.min() == k
print(peak() - before, peak())
"""


def measured(n, k, probes, reorth, basis=False):
    command = [sys.executable, "-c", CODE, *map(str, (n, k, probes, reorth)), "basis" if basis else ""]
    return map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.mark.parametrize("probes", [1, 8])
def test_without_orthogonalisation_memory_does_not_grow_with_the_steps(probes):
    n = 200_000
    few, many = (next(measured(n, k, probes, "none")) for k in (5, 80))
    vector = 8 * n * probes
    assert many < few + vector  # 80 vectors, were they kept
    # Three vectors; the draw adds its own (one probe of float64, the block of all), the check of symmetry a pair and its products.
    assert many < 3 * vector + vector + 8 * 8 * n


@pytest.mark.parametrize("basis", [False, True])
@pytest.mark.parametrize("reorth", ["full", "partial", "none"])
def test_a_run_takes_what_bytes_says(reorth, basis):
    n, k = 100_000, 50
    grown, _ = measured(n, k, 2, reorth, basis)
    said = _core.Lanczos64.bytes(n, 2, k, reorth, basis)
    np.testing.assert_allclose(grown, said, rtol=0.15, atol=10 * 8 * n)  # start vectors, and the check of symmetry


@pytest.mark.slow
def test_a_million_dimensions_and_a_hundred_steps_fit_into_two_gigabytes():
    _, peak = measured(1_000_000, 100, 1, "full")
    assert peak < 2e9
