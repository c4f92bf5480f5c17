"""Spectra of large symmetric operators; public names stand in `nnqft.lanczos`."""
