"""The denoiser's data, on the device that trains: latents of pictures, the objects in them, and their captions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from scumble.core.errors import InputError

from .drawn import CELLS, Drawn
from .reading import ENDS, IGNORED, VALUES
from .tokenizer import LENGTH, new_tokenizer


@dataclass(frozen=True)
class Batch:
    """n pictures: latents (n, C, CELLS, CELLS) of unit variance, and what is known of them (integers).

    owners: (n, CELLS, CELLS), 0 the ground, k + 1 the scene's thing k. things: (n, 3, 3), of each thing its shape,
    colour and texture, counted from 1; row 0 is the ground's zeros, so that an owner indexes it. grounds: (n,).
    ids: (n, LENGTH), a caption's tokens. refers: (n, LENGTH), k + 1 for a word about thing k, else 0.
    nouns (n, LENGTH, 5), ends (n, ENDS): the answers of `reading.questions`.
    """

    latents: Tensor
    owners: Tensor
    things: Tensor
    grounds: Tensor
    ids: Tensor
    refers: Tensor
    nouns: Tensor
    ends: Tensor


class Bank:
    """A ring of pictures that is refilled during training: new ones replace the oldest.

    stream: chunks of new pictures. encode: maps pictures (n, 3, SIDE, SIDE) to latents of `channels`. capacity: the
    maximum number of pictures. captions: how many a picture has. device: where they are kept. Raises InputError for
    a capacity that does not fit into memory.
    """

    def __init__(
        self,
        stream: Iterator[Drawn],
        encode: Callable[[Tensor], Tensor],
        channels: int,
        capacity: int,
        *,
        captions: int = 4,
        device: torch.device | str = "cpu",
    ):
        self.stream, self.encode, self.capacity, self.captions = stream, encode, capacity, captions
        self.device = torch.device(device)
        self.count, self.next = 0, 0
        shapes: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
            "latents": ((channels, CELLS, CELLS), torch.float16),
            "owners": ((CELLS, CELLS), torch.uint8),
            "things": ((3, 3), torch.uint8),
            "grounds": ((), torch.uint8),
            "ids": ((captions, LENGTH), torch.int16),
            "refers": ((captions, LENGTH), torch.uint8),
            "nouns": ((captions, LENGTH, len(VALUES)), torch.int8),
            "ends": ((captions, ENDS), torch.int8),
        }
        self._check(sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in shapes.values()))
        self._kept = {
            name: torch.zeros((capacity, *shape), dtype=dtype, device=self.device)
            for name, (shape, dtype) in shapes.items()
        }
        self._filled = torch.zeros((), device=self.device)
        tokenizer: Any = new_tokenizer()
        empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids
        self._empty = empty.to(self.device)

    def _check(self, size: int) -> None:
        import psutil

        here = self.device.type == "cuda"
        free = torch.cuda.mem_get_info(self.device)[0] if here else psutil.virtual_memory().available
        need = self.capacity * size
        if need > 0.6 * free:
            raise InputError(
                f"bank: {self.capacity:,} pictures take {need / 2**30:.1f} GiB of memory and {free / 2**30:.1f} are "
                f"free; ask for at most {int(0.6 * free / size):,} (--bank)"
            )

    def grow(self, count: int) -> None:
        """Takes, encodes and keeps new pictures: whole chunks, together at least `count`."""
        while count > 0:
            count -= self._add(next(self.stream))

    def _add(self, drawn: Drawn) -> int:
        count = min(len(drawn.pixels), self.capacity)
        at = ((torch.arange(count) + self.next) % self.capacity).to(self.device)
        images = drawn.pixels[:count].to(self.device).movedim(-1, 1).float().div_(127.5).sub_(1)
        self._kept["latents"][at] = self.encode(images).to(self.device, torch.float16)
        for name in (f.name for f in fields(drawn) if f.name != "pixels"):
            self._kept[name][at] = getattr(drawn, name)[:count].to(self.device)
        self.next = (self.next + count) % self.capacity
        self.count = min(self.count + count, self.capacity)
        self._filled.fill_(self.count)
        return count

    def draw(self, size: int, *, unprompted: float) -> Batch:
        """Random pictures, each with one of its captions or, a share of `unprompted`, with the empty one."""
        at = (torch.rand(size, device=self.device) * self._filled).long()
        which = torch.randint(self.captions, (size,), device=self.device)
        return self._take(at, which, torch.rand(size, device=self.device) < unprompted)

    def first(self, count: int) -> Batch:
        """The first pictures of the ring, with their first captions."""
        at = torch.arange(count, device=self.device)
        return self._take(at, torch.zeros_like(at), torch.zeros_like(at, dtype=torch.bool))

    def _take(self, at: Tensor, which: Tensor, silent: Tensor) -> Batch:
        kept = self._kept
        known = {name: kept[name][at].long() for name in ("owners", "things", "grounds")}
        for name in ("ids", "refers", "nouns", "ends"):
            said = kept[name][at, which].long()
            hidden = silent.reshape(-1, *[1] * (said.ndim - 1))
            known[name] = (
                torch.where(hidden, self._empty, said)
                if name == "ids"
                else said.masked_fill(hidden, 0 if name == "refers" else IGNORED)
            )
        return Batch(kept["latents"][at].float(), **known)


def encoder(codec: Any, autocast: Callable[[], Any], device: torch.device) -> Callable[[Tensor], Tensor]:
    """Pictures to latents of unit variance, with a frozen codec."""
    codec = codec.to(device).eval().requires_grad_(False)

    def encode(images: Tensor) -> Tensor:
        with torch.no_grad(), autocast():
            return codec.encode(images.to(device)).latent_dist.mean.float() * codec.config.scaling_factor

    return encode
