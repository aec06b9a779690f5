"""Tensor algebra on attention maps: which words they belong to, and how to record, replace and threshold them.

Not here: any model (`priors` installs controls), and any method.
"""
