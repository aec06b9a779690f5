"""What an optimising method changes instead of the latent: pixels, a colour table, a small network.

Not here: the descent itself (`loops`), and the choice of a form (`editing`).
"""
