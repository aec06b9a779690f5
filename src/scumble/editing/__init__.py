"""An edit asked for, checked, made and described: recipe, plan, checks, passport. Every surface is a view of it.

Not here: parsing of arguments or printing (`cli`), and the mathematics of a method (`methods`).
"""
