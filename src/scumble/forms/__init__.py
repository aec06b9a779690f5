"""Parametrizations: what an optimising method optimises instead of the latent (pixels, a table of colours, a field).

Not here: the descent itself (`loops`), and the choice of a form (`editing`).
"""
