"""Papers, rerun: one module per paper, each with `run(outdir, *, scale="quick"|"paper", seed, device, ...)` -> Report.

    halverson   correlators of network ensembles against width (arXiv:2008.08601)

A run leaves tables (JSON and Markdown), figures (PNG) and raw results (npz) in its folder, can be interrupted at any
time, and goes on when it is started again with the same settings.
"""

from . import halverson
from ._report import Report

__all__ = ["Report", "halverson"]
