"""Parametrizations: what an optimising method moves instead of the latent (pixels, a table of colours, a field).

Not here: the descent itself (`loops`), and how a method chooses a form (`editing`).
"""
