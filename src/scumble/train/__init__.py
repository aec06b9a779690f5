"""How the built-in priors are trained: data, codec, denoiser, gates, card. May import diffusers.

Not here: anything that an edit needs.
"""
