"""The other libraries' best answers to the ensemble benches: numpy, torch and JAX on the CPU.

A speed ratio means something only against a rival that somebody who knows the library would write. So every form
here works in cache-sized chunks, in place, with the fastest generator of normals the library has, on workers of one
thread each; `best` measures forms and chunk sizes and returns the winner, and each answer is checked against theory.

    rival = rivals.best("W1")                          # fastest of numpy, torch, JAX
    moments = rival(100_000, threads=2)                # {"n_nets", "G2", "G4", ...}
    rivals.z_scores(rivals.WORKLOADS["W1"], moments)   # {"G2": 1.3, "G4": 0.9}

`python -m rivals`, in the folder benches, prints the tables.
"""

from .measure import NORMALS, Rival, best, candidates, measure, measure_normals
from .pool import close
from .workloads import WORKLOADS, Workload, kernels, quartic_diagonal, z_scores

__all__ = ["WORKLOADS", "Workload", "Rival", "candidates", "best", "measure", "NORMALS", "measure_normals",
           "z_scores", "kernels", "quartic_diagonal", "close"]
