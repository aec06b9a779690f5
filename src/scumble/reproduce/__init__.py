"""The experiments of the DDS paper, a surface: each makes a figure and a table, and judges the claim by a criterion.

Not here: the bench's tables (`bench`), judge and measures (`measuring`), parsing of arguments (`cli`).
"""
