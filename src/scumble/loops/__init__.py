"""Steps and loops, each written once: DDIM, DDPM, DPM-Solver++, inversion, the way up again, descent along a gradient.

Not here: a method's hyper-parameters, what it does between steps, such as pasting a kept region (`methods`), and how
a gradient is computed (`scores`).
"""
