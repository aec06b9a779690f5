"""How good an edit is: tasks with known answers, the judge of pictures, and measures computed by a model.

Not here: how an edit is made, and how results are compared or drawn (`bench`, `reproduce`).
"""
