"""One edit, from request to result: recipe, plan, checks, passport. All surfaces use it.

Not here: parsing of arguments or printing (`cli`), and the mathematics of a method (`methods`).
"""
