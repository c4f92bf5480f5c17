"""Normals per second: our counter-based Box-Muller against the generators of numpy, torch and JAX.

Limit: one 32-bit word per normal. Ten Philox rounds take 110 vector instructions per 64 words, Box-Muller 102, on two ports:
0.6 normals per cycle of an AVX-512 core, 1.45 G/s at 2.4 GHz.
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
    duel(f"normals, one core, {isa}", ours(isa), peers, unit="normals/s", bar={"avx512": ">= 1.0 G/s", "avx2": ">= 0.5 G/s"}[isa], limit={"avx512": "0.6 per cycle", "avx2": "0.3 per cycle"}[isa])
