"""The files that are read for an edit, a painting or a training, which no result may replace."""

from __future__ import annotations

from pathlib import Path

from scumble.core.loading import Loading
from scumble.core.places import home
from scumble.priors._find import BUILTIN

ALONE = "image", "mask", "reference", "vae", "model"


def inputs(asked: Loading) -> list[Path]:
    """The names of all files and folders that a recipe may read: some are words, or ids of the hub.

    "FILE:WEIGHT" and "A,B" are taken apart.
    """
    given: dict[str, object] = getattr(asked, "given", {})
    texts = [text for text in (*asked.lora, *asked.embedding, *given.values()) if isinstance(text, str)]
    parts = [part.strip() for text in texts for part in (text, *text.split(","))]
    alone = [getattr(asked, name, None) for name in ALONE]
    named = [name for name in alone if isinstance(name, str | Path) and name not in BUILTIN]
    return [home(name) for name in (*named, *parts, *(p.rpartition(":")[0] for p in parts)) if name]
