"""The loops that move a latent along times or down a gradient, each written once.

Not here: hyper-parameters of a method (`methods`), and how a gradient is made (`scores`).
"""
