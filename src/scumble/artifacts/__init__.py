"""Artifacts: values that are made once and kept in a file (inversions, banks, directions), and their file format.

Not here: how they are made (`inversions`, `methods`), or any model.
"""

from scumble.artifacts.store import ARTIFACTS, check_output, digest, given, load, save

__all__ = ["ARTIFACTS", "check_output", "digest", "given", "load", "save"]
