"""The page, a surface: edits in a browser. A server for one machine, and what it sends to browsers (`static`).

Not here: anything that another surface would need, such as recipes, checks or files of results (`editing`, `pictures`).
"""
