"""Artifacts: values that are prepared once and kept in a file (inversions, banks, directions), and the file format.

Not here: how they are computed (`inversions`, `methods`), or any model.
"""

from scumble.artifacts.store import ARTIFACTS, check_output, digest, given, load, save

__all__ = ["ARTIFACTS", "check_output", "digest", "given", "load", "save"]
