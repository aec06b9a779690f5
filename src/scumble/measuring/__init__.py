"""How good an edit is: the tasks with known answers, the judge of pictures, the measures that a model takes.

Not here: how an edit is made, and how results are compared or drawn (`bench`, `reproduce`).
"""
