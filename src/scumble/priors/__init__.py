"""Diffusion models, one file per family of checkpoints (SDXL: `sdxl.py`), and `load`, which finds a model by name. Only
this room and `networks` import diffusers or transformers to edit.

Not here: methods, loops, prompts. Only `editing`, surfaces and tests load a prior.
"""
