"""What the built-in prior can do, measured on the test split and written into its card.

Each gate returns mean, spread and count; `measure` runs them all. Sampling and editing use the same public functions
as users do.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from scumble.core.grids import upward
from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.pixels import Pixels, psnr, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.loops.ddim import ddim
from scumble.loops.invert import invert
from scumble.measuring.judge import Judged, Known, judge
from scumble.methods.dds import DDS
from scumble.scenes import SceneEdit, edits, full_caption, read, render, scenes
from scumble.scenes.grammar import ATTRIBUTES
from scumble.scenes.reader import mistakes, read_picture

from .data import SIDE

log = logging.getLogger(__name__)

FIRST_KINDS = ("recolour", "reshape", "retexture", "background")


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


@torch.no_grad()
def codec_gates(prior: Prior, count: int = 1000, read: int = 300) -> dict[str, Figure]:
    """Round trips of canonical test pictures through encode (posterior mean) and decode.

    "codec_psnr_db" and its 5th percentile, in dB per 8-bit picture; "codec_read", the share of attributes that the
    parser reads rightly on the first `read` of them.
    """
    values: list[float] = []
    right: list[float] = []
    drawn = scenes("test", 1)
    while len(values) < count:
        some = list(islice(drawn, min(50, count - len(values))))
        true = [render(scene, SIDE) for scene in some]
        made = to_pixels(prior.decode(prior.encode(to_images(true))))
        values += [psnr(a, b) for a, b in zip(true, made, strict=True)]
        for scene, picture in zip(some, made, strict=True):
            if len(right) < read:
                asked = len(ATTRIBUTES) * len(scene.things) + 2
                right.append(1 - len(mistakes(scene, read_picture(picture).scene)) / asked)
    low = Figure(mean=round(float(np.percentile(values, 5)), 4), std=0.0, count=count)
    found = {"codec_psnr_db": Figure.of(values), "codec_psnr_db.5th": low}
    return found | {"codec_read": Figure.of(right)} if right else found


@torch.no_grad()
def sample(
    prior: Prior, prompts: Sequence[str], *, guidance: float, steps: int = 50, seed: int = 0
) -> list[Pixels]:
    """Pictures of prompts: DDIM from pure noise."""
    text, null = prior.embed(prompts), prior.embed([""]).expand(len(prompts))
    like = prior.encode(torch.zeros(1, 3, SIDE, SIDE)).expand(len(prompts), -1, -1, -1)
    x = Noise(seed, len(prompts)).like(like)
    schedule = prior.schedule
    x = ddim(guide(prior, text, null, guidance), x, schedule.grid(steps), schedule)
    return list(to_pixels(prior.decode(x)))


def samples(prior: Prior, things: int, *, guidance: float, count: int = 1000, steps: int = 50) -> Figure:
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


def edit_scenes(
    prior: Prior, method: Callable[..., object], drawn: Sequence[SceneEdit], *, batch: int = 20, seed: int = 0
) -> tuple[list[Judged], list[Pixels]]:
    """Edits scenes with a method, in batches; returns the scores (unread) and the method's own pictures."""
    judged: list[Judged] = []
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
        judged += [judge(Known.of(e, SIDE), r, read=False) for e, r in zip(some, results, strict=True)]
        pictures += list(results)
    return judged, pictures


def first_reading(prior: Prior, *, guidance: float, count: int = 200) -> dict[str, Figure]:
    """DDS on random edits of four kinds: success overall and per kind, and preservation."""
    drawn = list(islice(edits("test", 4, FIRST_KINDS), count))
    judged, _ = edit_scenes(prior, DDS(guidance=guidance), drawn)
    done = [(edit.kind, bool(j.done)) for edit, j in zip(drawn, judged, strict=True)]
    figures = {"success": Figure.of([yes for _, yes in done])}
    for kind in FIRST_KINDS:
        figures[f"success.{kind}"] = Figure.of([yes for k, yes in done if k == kind])
    return figures | {"preserved_db": Figure.of([j.preserved for j in judged if j.preserved is not None])}


def measure(prior: Prior, *, guidance: float, scale: float = 1.0) -> dict[str, object]:
    """All gates; `scale` shrinks the sample counts of the slow ones (a quick look)."""

    def n(count: int) -> int:
        return max(round(count * scale), 10)

    gates: dict[str, object] = {"guidance": guidance}
    gates |= _told("codec", codec_gates(prior))
    gates["inversion_psnr_db"] = _told("inversion", inversion_psnr(prior, n(200)))
    for things in (1, 2):
        figure = samples(prior, things, guidance=guidance, count=n(1000))
        gates[f"samples_right.{things}"] = _told(f"samples of {things}", figure)
    gates["dds"] = _told("dds", first_reading(prior, guidance=guidance, count=n(200)))
    return gates


T = TypeVar("T")


def _told(name: str, figure: T) -> T:
    log.info("%s: %s", name, figure)
    return figure
