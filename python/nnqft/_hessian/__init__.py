"""Hessians of networks and what their spectra are compared with; public names stand in `nnqft.hessian`."""
