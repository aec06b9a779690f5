"""Tensor algebra on attention maps: which words they belong to, and how to record, replace and threshold them.

Not here: any network (a family of `priors` installs the controls), and any method.
"""
