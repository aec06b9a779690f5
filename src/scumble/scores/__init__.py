"""Gradient fields over clean latents, one per paper: what a descent follows.

Not here: the descent (`loops`), and the published values of its parameters (`methods`).
"""
