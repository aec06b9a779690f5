"""The diffusion models: the only inference code that knows the libraries they come from."""
