"""Gradient fields over clean latents, one per paper: SDS, DDS, CDS and others. A descent follows them.

Not here: the descent (`loops`), and a method's published parameters (`methods`).
"""
