"""What is optimised for one picture, or a few, before it is edited: null embeddings, weights, a word.

Not here: training of models that ship (`train`), and the methods that use the result (`methods`).
"""
