"""The scenes bench: edits with known answers, made by any method, scored, and compared with intervals. `studies` asks
single questions of the library itself; `checkup` and `installation` are what `scumble doctor` looks at.

Not here: the tasks and the judge (`measuring`), parsing of arguments (`cli`), and how fast the code is (`benchmarks/`).
"""
