"""Gradient fields over clean latents. A score is a gradient per element, in units of eps, not a loss."""
