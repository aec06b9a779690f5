"""Pictures encoded once and kept in a folder: what small networks on latents are trained on, in minutes.

Encoding a picture takes longer than a small network's step. A folder of chunks is filled once, goes on where it was
cut off, and serves several trainings on the same codec.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.core.pixels import to_images
from scumble.scenes.world import VERSION, Scene, Split, Thing

from .data import canvases
from .drawn import AT_ONCE

CHUNK = 256
"""Pictures in a file; chunk k of a split is drawn with a seed of its own."""


@dataclass(frozen=True)
class Gallery:
    """latents: (n, C, h, w) float16, of unit variance. scenes: what the pictures show."""

    latents: Tensor
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)

    @classmethod
    def fill(
        cls, folder: Path, encode: Callable[[Tensor], Tensor], codec: str, count: int, split: Split = "train"
    ) -> Gallery:
        """At least `count` pictures of a split: those in the folder, and new ones where they do not suffice.

        codec: its digest. Raises InputError where the folder is of another codec or world.
        """
        folder.mkdir(parents=True, exist_ok=True)
        chunks = [
            _chunk(folder / f"{split}-{k:04}.safetensors", encode, codec, split, k)
            for k in range(-(-count // CHUNK))
        ]
        return cls(torch.cat([c.latents for c in chunks]), [scene for c in chunks for scene in c.scenes])


def _chunk(file: Path, encode: Callable[[Tensor], Tensor], codec: str, split: Split, k: int) -> Gallery:
    from safetensors import safe_open
    from safetensors.torch import save

    made = {"world": VERSION, "codec": codec}
    if file.exists():
        opened: Any = safe_open(file, "pt")
        with opened as stored:
            told = json.loads(stored.metadata()["gallery"])
            latents = stored.get_tensor("latents")
        if {name: told[name] for name in made} != made:
            raise InputError(
                f"{file}: encoded with another codec, or of another version of the scenes world; choose another folder"
            )
        return Gallery(latents, [_scene(scene) for scene in told["scenes"]])
    stream = canvases(100_000 + k, split)
    parts, scenes = list[Tensor](), list[Scene]()
    for some in _batches(stream, CHUNK):
        parts.append(encode(to_images([canvas.pixels for canvas in some])).half().cpu())
        scenes += [canvas.scene for canvas in some]
    latents = torch.cat(parts).contiguous()
    header = {"gallery": json.dumps({**made, "scenes": [asdict(scene) for scene in scenes]})}
    with atomic(file) as temporary:
        temporary.write_bytes(save({"latents": latents}, header))
    return Gallery(latents, scenes)


def _batches(stream: Iterator[Any], count: int) -> Iterator[list[Any]]:
    for _ in range(count // AT_ONCE):
        yield list(islice(stream, AT_ONCE))


def _scene(told: dict[str, Any]) -> Scene:
    """A scene as JSON has it: lists for tuples."""
    things = tuple(
        Thing(**{name: _tuples(value) for name, value in thing.items()}) for thing in told.pop("things")
    )
    return Scene(things=things, **{name: _tuples(value) for name, value in told.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value
