"""The scenes bench: edits with exact ground truth, made by any method, scored, and compared with intervals."""
