"""The bench, a surface: methods edit pictures with known answers, and are scored and compared with intervals. `studies`
answer single questions about the library; `checkup` and `installation` are what `scumble doctor` runs.

Not here: tasks and scores (`measuring`), parsing of arguments (`cli`), how fast the code is (`benchmarks/`).
"""
