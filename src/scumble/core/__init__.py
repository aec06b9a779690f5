"""The basic types that every room uses: schedules, predictions, priors, noise, requests, errors. Torch and numpy only.

Not here: anything that knows a particular model, a method or another room.
"""
