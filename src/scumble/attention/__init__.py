"""Tensor algebra on attention maps: whose words they belong to; how they are kept, exchanged, made into masks.

Not here: any model (`priors` installs controls), and any method.
"""
