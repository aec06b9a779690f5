"""What is optimised for one picture before it is edited: null embeddings today, weights later.

Not here: training of models that ship (`train`), and the methods that use the result (`methods`).
"""
