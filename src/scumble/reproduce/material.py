"""What the experiments use: a prior, pictures with what is known of their edits, and descents from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.job import Counted
from scumble.core.noise import Noise
from scumble.core.pixels import Pixels, rms, to_pixels
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior, Text
from scumble.core.request import Score
from scumble.core.types import Image, Latent, Mask, Time
from scumble.editing.checks import check_words
from scumble.loops.optimizers import Optimizer
from scumble.measuring.judge import Known, judge
from scumble.measuring.measures import margin
from scumble.measuring.tasks import Case, Task, Tasks, scene_tasks
from scumble.methods.dds import DDS
from scumble.reproduce.measure import outside, sharpness
from scumble.reproduce.paths import follow
from scumble.scenes import Split, edits, generator, random_scene, short_caption
from scumble.scores.dds import DDSScore
from scumble.scores.sds import SDSScore

SEED = 300  # of this stream of edits: no other measurement reads it
KINDS = ("recolour", "reshape", "retexture", "background")
"""What is edited: appearances, which the paper is about."""

Tell = Callable[[int], None]
"""Told after every call of the network: how many rows were asked so far."""


def scenes(split: Split, n: int, side: int) -> tuple[Tasks, list[str]]:
    """n edits of a split, with prompts that do not say where and how large objects are."""
    rng = generator(split, SEED + 1)
    prompts = [short_caption(random_scene(rng, 1, held_out=split == "test")) for _ in range(n)]
    return scene_tasks(split, n, side, edits(split, SEED, KINDS), "reproduce"), prompts


@dataclass(frozen=True, eq=False, kw_only=True)
class Material:
    """Pictures that share a canvas, on a prior with one guidance. Picture i uses seed + i.

    prompts: to generate from noise; by default the targets. batch: pictures per network call.
    """

    prior: Prior
    cases: Sequence[Case]
    seed: int = 0
    guidance: float
    batch: int = 16
    prompts: Sequence[str] = ()

    @classmethod
    def of(cls, prior: Prior, tasks: Sequence[Task], **others: Any) -> Material:
        """Reads the pictures.

        Raises:
            InputError: words that the prior does not know, a schedule that is too short, several canvas sizes.
        """
        if DDS.t_high > prior.schedule.T:
            raise InputError(
                f"model '{prior.card.id}': it has {prior.schedule.T} times, but the paper draws them up to "
                f"{DDS.t_high - 1}; use another model"
            )
        check_words(prior.card, [text for task in tasks for text in (task.source, task.target)], False)
        cases = [Case.of(task, prior) for task in tasks]
        canvases = sorted({case.placed.fit.canvas for case in cases})
        if len(canvases) > 1:
            sizes = ", ".join(f"{w}x{h}" for w, h in canvases)
            raise InputError(f"--data: canvases of {sizes} pixels; give pictures of one shape")
        return cls(prior=prior, cases=cases, **others)

    def __len__(self) -> int:
        return len(self.cases)

    def first(self, n: int) -> Material:
        """The first n pictures."""
        return replace(self, cases=self.cases[:n])

    def still(self) -> Material:
        """The same with the source prompts as targets: nothing should change."""
        alone = [
            replace(p, task=replace(p.task, target=p.task.source), known=Known(source=p.known.source))
            for p in self.cases
        ]
        return replace(self, cases=alone)

    def watched(self, tell: Tell) -> tuple[Material, Watched]:
        """The same, with a report of every network call."""
        prior = Watched(self.prior, tell)
        return replace(self, prior=prior), prior

    def parts(self) -> Iterator[tuple[slice, Material]]:
        """The pictures in groups that fit one network call, with their indices."""
        for i in range(0, len(self), self.batch):
            here = slice(i, i + self.batch)
            yield here, replace(self, cases=self.cases[here], seed=self.seed + i)

    # What is known

    @cached_property
    def z(self) -> Latent:
        return self.encode([p.known.source for p in self.cases])

    @cached_property
    def truth(self) -> Latent:
        """The latents of the true edits."""
        return self.encode([p.known.truths[0] for p in self.cases])

    @cached_property
    def mask(self) -> Mask:
        """The true masks on the latent's grid: a cell may change as much as the pixel in it that may change most."""
        masks = torch.cat([p.mask() for p in self.cases]).to(self.z)
        return torch.nn.functional.adaptive_max_pool2d(masks, self.z.shape[-2:])

    @cached_property
    def before(self) -> list[Pixels]:
        """The codec's pictures of the sources."""
        return self.shown(self.z)

    @cached_property
    def sharp(self) -> list[float]:
        """The reference sharpness of the edits: that of the decoded true edits or, if unknown, of the sources."""
        known = all(p.known.truths for p in self.cases)
        return [sharpness(picture) for picture in (self.shown(self.truth) if known else self.before)]

    @property
    def source(self) -> list[str]:
        return [p.task.source for p in self.cases]

    @property
    def target(self) -> list[str]:
        return [p.task.target for p in self.cases]

    # Scores

    def text(self, prompts: Sequence[str]) -> Text:
        width, height = self.cases[0].placed.fit.canvas
        return self.prior.embed(prompts, size=(height, width))

    def sds(self, prompts: Sequence[str]) -> SDSScore:
        """SDS towards one prompt per picture."""
        null = self.text([""] * len(prompts))
        return SDSScore(self.prior, target=self.text(prompts), null=null, guidance=self.guidance)

    def dds(self, guidance: float | None = None) -> DDSScore:
        """DDS from the sources to the targets."""
        return DDSScore(
            self.prior,
            reference=self.z,
            source=self.text(self.source),
            target=self.text(self.target),
            null=self.text([""] * len(self)),
            guidance=self.guidance if guidance is None else guidance,
        )

    # Descents

    @torch.no_grad()
    def path(
        self,
        score: Callable[[Material], Score],
        at: Sequence[int],
        *,
        rate: float = DDS.rate,
        optimizer: Optimizer | None = None,
    ) -> Latent:
        """The latents after these numbers of the paper's steps from the sources, (len(at), n, c, h, w)."""
        states = [
            follow(score(part), part.z, Noise(part.seed, len(part)), at, rate, optimizer)
            for _, part in self.parts()
        ]
        return torch.cat(states, dim=1)

    @torch.no_grad()
    def gradients(
        self, score: Callable[[Material], Score], x: Latent, draws: Sequence[tuple[float, int]]
    ) -> Tensor:
        """The gradients at latents x (n, c, h, w) for every (time, seed), (len(draws), n, c, h, w); all pictures
        see the same noise.
        """
        found: list[Tensor] = []
        for here, part in self.parts():
            one = score(part)
            times = [(self.prior.schedule.time(t, len(part)), Noise(seed)) for t, seed in draws]
            found.append(torch.stack([one(x[here], t, noise) for t, noise in times]))
        return torch.cat(found, dim=1)

    # Pictures

    @torch.no_grad()
    def encode(self, pictures: Sequence[Pixels]) -> Latent:
        pairs = list(zip(self.cases, pictures, strict=True))
        some = (pairs[i : i + self.batch] for i in range(0, len(pairs), self.batch))
        return torch.cat([self.prior.encode(torch.cat([p.put(x) for p, x in part])) for part in some])

    @torch.no_grad()
    def images(self, x: Latent) -> Image:
        """The pictures of latents on the canvas, (b, 3, H, W), any number of them."""
        return torch.cat([self.prior.decode(part) for part in x.split(self.batch)])

    def shown(self, x: Latent) -> list[Pixels]:
        """The pictures of the edits so far, latents (n, c, h, w), each at its source's size."""
        both = zip(self.images(x), self.cases, strict=True)
        return [np.asarray(p.placed.upright(image[None])) for image, p in both]

    def drawn(self, x: Latent) -> Pixels:
        """The pictures of any latents on the canvas, (b, H, W, 3)."""
        return to_pixels(self.images(x))

    def answers(self) -> Pixels | None:
        """The true edits on the canvas, (n, H, W, 3); None if they are unknown."""
        if not all(p.known.truths for p in self.cases):
            return None
        return to_pixels(torch.cat([p.put(p.known.truths[0]) for p in self.cases]))

    def seen(self, x: Latent) -> list[dict[str, Any]]:
        """The measurements of the current edits, latents (n, c, h, w): one row per picture.

        distance, outside: RMS difference to the codec's picture of the source, in the whole picture and outside the
        true mask, 8-bit steps. achieved: the share of the squared error to the true edit, inside its mask, that is
        removed. sharpness: 1 is as sharp as the codec's picture of the true edit or, if unknown, of the source. None
        if a value is unknown.
        """
        found = zip(self.cases, self.shown(x), self.before, self.sharp, strict=True)
        return [
            {"picture": p.task.id, "kind": p.task.kind, **measured(p, after, before, sharp)}
            for p, after, before, sharp in found
        ]

    def directions(self, x: Latent) -> list[float]:
        """How much better each target explains the edit than its source does (`measuring.measures.margin`), minus the
        same for the picture before the edit.
        """
        after, before = self.images(x), self.images(self.z)
        quads = zip(after, before, self.source, self.target, strict=True)
        return [margin(self.prior, a[None], s, t) - margin(self.prior, b[None], s, t) for a, b, s, t in quads]


def measured(case: Case, after: Pixels, before: Pixels, sharp: float) -> dict[str, float | None]:
    """The numbers of `Material.seen` for one picture; `sharp`: how sharp it should be."""
    known = case.known
    left = judge(known, after, read=False).left
    return {
        "distance": rms(after, before),
        "outside": outside(after, before, known.masks[0] if known.masks else None),
        "achieved": None if left is None else 1 - left,
        "sharpness": sharpness(after) / sharp if sharp else None,
    }


class Watched(Counted):
    """A prior that reports how many rows it evaluated."""

    def __init__(self, prior: Prior, tell: Tell):
        super().__init__(prior)
        self._tell = tell

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        answer = super().predict(x_t, t, text, at)
        self._tell(self.rows)
        return answer
