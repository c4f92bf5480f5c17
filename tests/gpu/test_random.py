"""Random numbers beyond 2^32 of them and beyond 24 GB; streams that draw side by side."""

import numpy as np
import pytest
from nnqft import _backend

pytestmark = pytest.mark.gpu


def test_twenty_six_gigabytes_of_normals_end_with_the_right_bits(cupy):
    shape = {"n_nets": 25, "rows": 1 << 14, "columns": 1 << 14}  # 6.7e9 numbers: past 2^32
    if cupy.cuda.runtime.memGetInfo()[0] < 29e9:
        pytest.skip("needs 29 GB of free memory on the device")
    z = _backend.normals(11, 3, **shape, device="cuda")
    last = _backend.normals(11, 3, **shape | {"n_nets": 1}, first_net=24)
    assert cupy.array_equal(z[24].view(cupy.uint32), cupy.asarray(last[0].view(np.uint32)))
    for net, row, column in ((0, 0, 0), (7, 16383, 16383), (15, 1, 16383), (16, 0, 0)):
        one = _backend.normals(11, 3, n_nets=1, rows=row + 1, columns=column + 1, first_net=net)
        assert float(z[net, row, column]) == float(one[0, row, column])


def test_many_streams_share_a_device_without_mixing_their_numbers(cupy):
    streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(8)]
    drawn = {}
    for turn in range(5):
        for k, stream in enumerate(streams):
            with stream:
                drawn[turn, k] = _backend.normals(k, turn, n_nets=64, rows=17, columns=9, device="cuda")
    for (turn, k), z in drawn.items():
        streams[k].synchronize()
        assert np.array_equal(
            z.get().view(np.uint32), _backend.normals(k, turn, n_nets=64, rows=17, columns=9).view(np.uint32)
        )
