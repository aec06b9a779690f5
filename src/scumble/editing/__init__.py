"""One edit, from request to result: recipe, plan, checks, passport, replay. Every surface (command line, page, batch)
calls this room, so what two surfaces need belongs here.

Not here: parsing or printing (the surfaces), pictures and layers (`pictures`), the mathematics of a method (`methods`).
"""
