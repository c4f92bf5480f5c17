"""Effective field theory of network ensembles; public names stand in `nnqft.eft`."""
