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

from .data import Canvas, canvases
from .drawn import AT_ONCE, owners_of

CHUNK = 256
"""Pictures in a file; chunk k of a split is drawn with a seed of its own."""


@dataclass(frozen=True)
class Gallery:
    """latents: (n, C, h, w) float16, of unit variance. owners: (n, h, w), `drawn.owners_of`. scenes: what they show."""

    latents: Tensor
    owners: Tensor
    scenes: list[Scene]

    def __len__(self) -> int:
        return len(self.scenes)

    def some(self, rows: Tensor, shift: int = 0) -> tuple[Tensor, Tensor]:
        """Latents (n, C, h, w) float32 and owners (n, h, w) of some pictures.

        shift: each is moved by up to so many cells in x and in y, as far as all its objects stay inside; edge cells
        fill the rest. A convolutional codec gives nearly these latents for the moved picture.
        """
        x, owners = self.latents[rows].float(), self.owners[rows].long()
        if shift:
            moved = [_moved(*pair, shift) for pair in zip(x, owners, strict=True)]
            x, owners = torch.stack([a for a, _ in moved]), torch.stack([b for _, b in moved])
        return x, owners

    @classmethod
    def fill(
        cls,
        folder: Path,
        encode: Callable[[Tensor], Tensor],
        codec: str,
        count: int,
        split: Split = "train",
        *,
        things: int | None = None,
    ) -> Gallery:
        """At least `count` pictures of a split: those in the folder, and new ones where they do not suffice.

        codec: its digest. things: how many each picture shows (None: one or two). Raises InputError where the folder
        is of another codec or world.
        """
        folder.mkdir(parents=True, exist_ok=True)
        kind = split if things is None else f"{split}-{things}"
        chunks = [
            _chunk(folder / f"{kind}-{k:04}.safetensors", encode, codec, canvases(100_000 + k, split, things))
            for k in range(-(-count // CHUNK))
        ]
        latents, owners = torch.cat([c.latents for c in chunks]), torch.cat([c.owners for c in chunks])
        return cls(latents, owners, [scene for c in chunks for scene in c.scenes])


def _moved(x: Tensor, owners: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    source: list[Tensor] = []
    for axis in (0, 1):
        side = owners.shape[axis]
        taken = owners.amax(1 - axis).nonzero().flatten().tolist() or [0, side - 1]
        before, after = taken[0], side - 1 - taken[-1]
        # an object at an edge stays: edge cells that fill the rest would prolong it
        low, high = (-min(shift, before), min(shift, after)) if before and after else (0, 0)
        by = int(torch.randint(low, high + 1, ()))
        source.append((torch.arange(side) - by).clamp(0, side - 1))
    rows, columns = source[0][:, None], source[1]
    return x[:, rows, columns], owners[rows, columns]


def _chunk(file: Path, encode: Callable[[Tensor], Tensor], codec: str, stream: Iterator[Canvas]) -> Gallery:
    from safetensors import safe_open
    from safetensors.torch import save

    made = {"world": VERSION, "codec": codec, "owners": True}
    if file.exists():
        opened: Any = safe_open(file, "pt")
        with opened as stored:
            told = json.loads(stored.metadata()["gallery"])
            if {name: told.get(name) for name in made} != made:
                raise InputError(
                    f"{file}: encoded with another codec, or by another version of scumble; choose another folder"
                )
            latents, owners = stored.get_tensor("latents"), stored.get_tensor("owners")
        return Gallery(latents, owners, [_scene(scene) for scene in told["scenes"]])
    parts, covers, scenes = list[Tensor](), list[Tensor](), list[Scene]()
    for some in _batches(stream, CHUNK):
        parts.append(encode(to_images([canvas.pixels for canvas in some])).half().cpu())
        covers += [torch.from_numpy(owners_of(canvas)) for canvas in some]
        scenes += [canvas.scene for canvas in some]
    latents, owners = torch.cat(parts).contiguous(), torch.stack(covers)
    header = {"gallery": json.dumps({**made, "scenes": [asdict(scene) for scene in scenes]})}
    with atomic(file) as temporary:
        temporary.write_bytes(save({"latents": latents, "owners": owners}, header))
    return Gallery(latents, owners, scenes)


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
