"""How good an edit is: tasks with known answers, the judge of pictures, and measures computed with a model.

Not here: how an edit is made (`editing`), and how results are compared or drawn (`bench`, `reproduce`).
"""
