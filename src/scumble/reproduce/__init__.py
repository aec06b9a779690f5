"""The figures of the DDS paper, drawn anew on the built-in model, each with a criterion that its claim must meet.

Not here: the bench's tables (`bench`), judges and measures (`measuring`), parsing of arguments (`cli`).
"""
