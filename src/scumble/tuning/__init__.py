"""Reversible changes of weights or embeddings; what they find is returned, nothing is left changed."""
