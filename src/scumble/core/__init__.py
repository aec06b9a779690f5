"""The basic types of the library: schedules, predictions, priors, noise, requests, errors, the machine.

Not here: anything that knows a model, a method or another room of the library. Torch and numpy only.
"""
