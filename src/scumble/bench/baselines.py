"""Reference rows for every table: doing nothing, ignoring the picture, and the best that the codec allows.

They are methods like any other, so the same code runs, scores and counts them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.loops.ddim import ddim


@dataclass(frozen=True, kw_only=True)
class Copy(Method):
    """The source, unchanged: it preserves everything and edits nothing."""

    paper: ClassVar[Paper] = Paper(title="The source itself", arxiv="none", bibtex="")
    needs: ClassVar[Needs] = Needs()

    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        image = request.image
        assert image is not None
        return Edit(image=image, raw=image, latent=image, evaluations=0, seed=request.seed)


@dataclass(frozen=True, kw_only=True)
class Resample(Method):
    """A new picture of the target prompt, from pure noise: it may edit, and preserves nothing."""

    paper: ClassVar[Paper] = Paper(
        title="Denoising Diffusion Implicit Models", arxiv="2010.02502", bibtex="@misc{song2020ddim}"
    )
    needs: ClassVar[Needs] = Needs(target=True)

    steps: int = param(50, ge=1, help="DDIM steps")
    guidance: float = param(7.5, ge=0, help="classifier-free guidance; 1 is none")

    def __post_init__(self) -> None:
        validate(self)

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        noise = job.noise.like(job.spread(job.encode()))
        schedule = prior.schedule
        x = ddim(job.guide(self.guidance), noise, schedule.grid(self.steps), schedule, on_step=job.watch())
        return job.edit(x)


@dataclass(frozen=True, kw_only=True)
class Ceiling(Method):
    """The codec's picture of the true edit, which the bench passes as the reference. No editor can do better."""

    paper: ClassVar[Paper] = Paper(title="The codec's picture of the true edit", arxiv="none", bibtex="")
    needs: ClassVar[Needs] = Needs(reference=True)

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        assert request.reference is not None
        latent = prior.encode(request.reference)
        raw = prior.decode(latent)
        return Edit(image=raw, raw=raw, latent=latent, evaluations=0, seed=request.seed)


BASELINES: dict[str, type[Any]] = {"copy": Copy, "resample": Resample, "ceiling": Ceiling}
SEEDLESS = frozenset({"copy", "ceiling"})
"""They draw no noise: one seed is all there is."""
