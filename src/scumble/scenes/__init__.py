"""A procedural world: pictures, captions, and edits with exact ground truth. Numpy only.

Not here: models, and the scores of an edit (`measuring`).
"""

from .edits import KINDS, SceneEdit, edits, random_edit
from .grammar import WORDS, Constraints, caption, full_caption, read, short_caption, unknown_words
from .reader import Reading, mistakes, read_picture
from .render import mask_of, render
from .world import Scene, Split, Thing, generator, random_scene, scenes

__all__ = [
    "KINDS",
    "WORDS",
    "Constraints",
    "Reading",
    "Scene",
    "SceneEdit",
    "Split",
    "Thing",
    "caption",
    "edits",
    "full_caption",
    "generator",
    "mask_of",
    "mistakes",
    "random_edit",
    "random_scene",
    "read",
    "read_picture",
    "render",
    "scenes",
    "short_caption",
    "unknown_words",
]
