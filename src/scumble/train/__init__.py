"""Training of the models and networks that ship with the library: data, loop, gates, card. May import diffusers.

Not here: anything that an edit needs, and what is optimised for one picture (`tuning`).
"""
