"""What is optimised before an edit: null embeddings, and weights of the model, reversibly.

Not here: training of models that ship (`train`), and the methods that use the result (`methods`).
"""
