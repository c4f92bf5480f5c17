"""The functions of other libraries on nnqft's kernels, under their names and with their signatures.

    thewalrus  hafnian, hafnian_repeated, loop_hafnian, hafnian_batched, reduction, low_rank_hafnian
    piquasso   hafnian_with_reduction, loop_hafnian_with_reduction and their batches

Neither library is needed to use these modules. `docs/hafnians.md` says how to switch and what differs.
"""

from . import piquasso, thewalrus

__all__ = ["piquasso", "thewalrus"]
