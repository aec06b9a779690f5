"""Studies: one question each about how good something is, answered with numbers on held-out scenes.

`python -m scumble.bench.studies NAME` runs one. Not here: how fast the code is (`benchmarks/`).
"""
