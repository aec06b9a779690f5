"""Parametrizations: what an optimising method really moves instead of the latent."""
