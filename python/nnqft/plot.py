"""Figures: one function each, `(result, *, ax=None) -> artists`. They draw, and show or save nothing.

Measured numbers are points with error bars, exact ones lines, noise levels dashed; what a sample cannot know is a cross
without. Colours are those of Okabe and Ito, which colour-blind readers tell apart. Needs matplotlib, imported
when drawing.

    with plot.theme():
        figure, axes = plot.canvas(1, 2)
        plot.tensor(result.connected(4), ax=axes[0, 0])
"""

from ._plots._canvas import COLORS, canvas, require, theme
from ._plots._correlators import against_width, nets_needed, pulls, ratios, tensor
from ._plots._couplings import coupling, coupling_against_width, six_point
from ._plots._diagrams import diagram, diagrams
from ._plots._edgeworth import edgeworth
from ._plots._meanfield import depth
from ._plots._running import beta, flow_lines, running
from ._plots._spectra import spectral_cdf, spectral_density, spectrum_over_law
from ._plots._theories import along_shifts, naturalness, symmetry

__all__ = [
    "COLORS", "against_width", "along_shifts", "beta", "canvas", "coupling", "coupling_against_width", "depth",
    "diagram", "diagrams", "edgeworth", "flow_lines", "naturalness", "nets_needed", "pulls", "ratios", "require",
    "running", "six_point", "spectral_cdf", "spectral_density", "spectrum_over_law", "symmetry", "tensor", "theme",
]  # fmt: skip
