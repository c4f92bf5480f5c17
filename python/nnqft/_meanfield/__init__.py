"""Mean-field theory of networks and its corrections; public names stand in `nnqft.meanfield`."""
