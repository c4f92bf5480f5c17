"""Figures by subject; they stand in `nnqft.plot`."""
