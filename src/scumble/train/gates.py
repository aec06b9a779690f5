"""What the built-in prior can do, measured on the test split and written into its card.

Each gate returns mean, spread and count; `measure` runs them all. Sampling and editing go through the same public
parts that users call.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from scumble.core.grids import upward
from scumble.core.noise import Noise
from scumble.core.prior import Prior, guide
from scumble.core.request import EditRequest
from scumble.loops.ddim import ddim
from scumble.loops.invert import invert
from scumble.methods.dds import DDS
from scumble.scenes import SceneEdit, edits, full_caption, read, render, scenes
from scumble.scenes.reader import read_picture
from scumble.scenes.render import Pixels

from .data import SIDE, to_images

log = logging.getLogger(__name__)

FIRST_KINDS = ("recolour", "reshape", "retexture", "background")
SUCCESS = 0.25
"""An edit succeeds when at most this share of the source's squared error to the true edit is left inside the mask."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured quantity: mean, standard deviation between samples, and how many there were."""

    mean: float
    std: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        return cls(
            mean=round(float(np.mean(values)), 4), std=round(float(np.std(values)), 4), count=len(values)
        )


def to_pixels(images: Tensor) -> list[Pixels]:
    """Image (b, 3, H, W) in [-1, 1] -> uint8 (H, W, 3) each."""
    clean = images.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return list(clean.permute(0, 2, 3, 1).cpu().numpy())


def psnr(a: Pixels, b: Pixels) -> float:
    """Of two 8-bit pictures, in dB; capped at 99 for equal ones."""
    mse = np.square(a.astype(np.float64) - b).mean()
    return 99.0 if mse == 0 else float(10 * np.log10(255**2 / mse))


@torch.no_grad()
def codec_psnr(prior: Prior, count: int = 1000) -> Figure:
    """Round trip of test pictures through encode (posterior mean) and decode, 8 bit, dB per picture."""
    values: list[float] = []
    stream = (render(scene, SIDE) for scene in scenes("test", 1))
    while len(values) < count:
        batch = list(islice(stream, min(50, count - len(values))))
        values += [
            psnr(a, b)
            for a, b in zip(batch, to_pixels(prior.decode(prior.encode(to_images(batch)))), strict=True)
        ]
    return Figure.of(values)


@torch.no_grad()
def sample(
    prior: Prior, prompts: Sequence[str], *, guidance: float, steps: int = 50, seed: int = 0
) -> list[Pixels]:
    """Pictures of prompts: DDIM from pure noise."""
    text, null = prior.embed(prompts), prior.embed([""]).expand(len(prompts))
    like = prior.encode(torch.zeros(1, 3, SIDE, SIDE)).expand(len(prompts), -1, -1, -1)
    x = Noise(seed, len(prompts)).like(like)
    schedule = prior.schedule
    return to_pixels(
        prior.decode(ddim(guide(prior, text, null, guidance), x, schedule.grid(steps), schedule))
    )


def samples(prior: Prior, things: int, *, guidance: float, count: int = 500, steps: int = 50) -> Figure:
    """Share of captions whose sample, read back by the parser, has every named attribute of every object right."""
    captions = [full_caption(scene) for scene in islice(scenes("test", 2, things), count)]
    right: list[float] = []
    for i in range(0, count, 50):
        batch = captions[i : i + 50]
        pictures = sample(prior, batch, guidance=guidance, steps=steps, seed=i)
        right += [float(_follows(read_picture(p).scene, c)) for p, c in zip(pictures, batch, strict=True)]
    return Figure.of(right)


def _follows(scene, text: str) -> bool:
    """Whether the named attributes of all objects hold (the background is not asked for by this gate)."""
    return read(text).assignment(scene.things) is not None


@torch.no_grad()
def inversion_psnr(prior: Prior, count: int = 200, steps: int = 50) -> Figure:
    """DDIM inversion with the full caption and back, guidance 1, against the codec's own picture, dB."""
    values: list[float] = []
    drawn = list(islice(scenes("test", 3), count))
    pairs = prior.schedule.grid(steps)
    for i in range(0, count, 50):
        batch = drawn[i : i + 50]
        z = prior.encode(to_images([render(scene, SIDE) for scene in batch]))
        text = prior.embed([full_caption(scene) for scene in batch])
        denoise = guide(prior, text, prior.embed([""]), 1)
        x = ddim(denoise, invert(denoise, z, upward(pairs), prior.schedule), pairs, prior.schedule)
        values += [
            psnr(a, b) for a, b in zip(to_pixels(prior.decode(z)), to_pixels(prior.decode(x)), strict=True)
        ]
    return Figure.of(values)


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One edit, scored against its exact ground truth."""

    kind: str
    left: float
    preserved: float

    @property
    def success(self) -> bool:
        return self.left <= SUCCESS


def score(edit: SceneEdit, result: Pixels) -> Scored:
    """left: squared error to the nearest valid target inside its mask, as a share of the source's; preserved: PSNR to
    the source outside the mask, dB (over the pixels there; 99 where there are none)."""
    before, afters = edit.pictures(SIDE)
    scored: list[Scored] = []
    for i, after in enumerate(afters):
        mask = edit.hard_mask(SIDE, i)
        wrong = float(np.square(result[mask].astype(np.float64) - after[mask]).sum())
        apart = float(np.square(before[mask].astype(np.float64) - after[mask]).sum())
        kept = psnr(result[~mask], before[~mask]) if not mask.all() else 99.0
        scored.append(Scored(kind=edit.kind, left=wrong / max(apart, 1.0), preserved=kept))
    return min(scored, key=lambda s: s.left)


def edit_scenes(
    prior: Prior, method: Callable[..., object], drawn: Sequence[SceneEdit], *, batch: int = 20, seed: int = 0
) -> tuple[list[Scored], list[Pixels]]:
    """Edits scenes with a method, in batches; returns the scores and the method's own pictures."""
    scored: list[Scored] = []
    pictures: list[Pixels] = []
    for i in range(0, len(drawn), batch):
        some = drawn[i : i + batch]
        request = EditRequest(
            image=to_images([render(e.source, SIDE) for e in some]),
            source=[e.source_caption for e in some],
            target=[e.target_caption for e in some],
            seed=seed + i,
        )
        results = to_pixels(method(prior, request).raw)  # pyright: ignore[reportAttributeAccessIssue]
        scored += [score(e, r) for e, r in zip(some, results, strict=True)]
        pictures += results
    return scored, pictures


def first_reading(prior: Prior, *, guidance: float, count: int = 200) -> dict[str, Figure]:
    """DDS on random edits of four kinds: success overall and per kind, and preservation."""
    drawn = list(islice(edits("test", 4, FIRST_KINDS), count))
    scored, _ = edit_scenes(prior, DDS(guidance=guidance), drawn)
    figures = {"success": Figure.of([s.success for s in scored])}
    for kind in FIRST_KINDS:
        figures[f"success.{kind}"] = Figure.of([s.success for s in scored if s.kind == kind])
    return figures | {"preserved_db": Figure.of([s.preserved for s in scored])}


def measure(prior: Prior, *, guidance: float, scale: float = 1.0) -> dict[str, object]:
    """All gates; `scale` shrinks the sample counts of the slow ones (a quick look)."""

    def n(count: int) -> int:
        return max(round(count * scale), 10)

    gates: dict[str, object] = {"guidance": guidance}
    gates["codec_psnr_db"] = _told("codec", codec_psnr(prior))
    gates["inversion_psnr_db"] = _told("inversion", inversion_psnr(prior, n(200)))
    for things in (1, 2):
        figure = samples(prior, things, guidance=guidance, count=n(500))
        gates[f"samples_right.{things}"] = _told(f"samples of {things}", figure)
    gates["dds"] = _told("dds", first_reading(prior, guidance=guidance, count=n(200)))
    return gates


T = TypeVar("T")


def _told(name: str, figure: T) -> T:
    log.info("%s: %s", name, figure)
    return figure
