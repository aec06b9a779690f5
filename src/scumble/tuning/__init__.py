"""What is optimised for one picture before it is edited, such as null embeddings.

Not here: training of models that ship (`train`), and the methods that use the result (`methods`).
"""
