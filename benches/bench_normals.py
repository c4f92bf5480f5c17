"""Normals per second: our counter-based Box-Muller against the generators of numpy, torch and JAX.

Limit: 32-bit random words, one per normal; ten Philox rounds cost about 120 vector instructions per 64 words and
Box-Muller about 110, so two vector ports at 3 GHz give 1.7 G/s per AVX-512 core.
"""

import numpy as np
import pytest
import rivals
from conftest import Contender

from nnqft import _core


def ours(isa):
    rows, columns = 64, 4096

    def run(n):
        calls = max(1, n // (rows * columns))
        for k in range(calls):
            _core.normals(7, 0, k, 1, rows, columns, 1.0, isa)
        return calls * rows * columns

    return Contender(f"nnqft {isa}", run)


@pytest.mark.parametrize("isa", [i for i in _core.isas() if i != "scalar"])
def test_normals_on_one_core(duel, isa):
    z = _core.normals(7, 0, 0, 64, 64, 1024, 1.0, isa).astype(np.float64)
    # 4.2e6 normals: five standard errors of the second and fourth moment
    assert abs((z**2).mean() - 1) < 5 * np.sqrt(2 / z.size)
    assert abs((z**4).mean() - 3) < 5 * np.sqrt(96 / z.size)
    peers = []
    for library, forms in rivals.NORMALS.items():
        for form in forms:
            _, second, fourth = rivals.pool.normals(library, form, 1 << 20, threads=1)[0][0]
            assert abs(second - 1) < 0.01 and abs(fourth - 3) < 0.1
            peers.append(Contender(f"{library} {form}", lambda n, a=library, b=form: rivals.pool.normals(a, b, n, threads=1)[0][0][0]))
    duel(f"normals, one core, {isa}", ours(isa), peers, unit="normals/s", bar={"avx512": ">= 1.0 G/s", "avx2": ">= 0.5 G/s"}[isa], limit="1.7 G/s avx512")
