"""Blended Latent Diffusion (Avrahami et al. 2023, arXiv:2206.02779, Algorithm 1): sample the target prompt inside a
mask; outside, after every step, stands the picture at the same level of noise.

    x_s = m x'_s + (1 - m) (alpha_s z + sigma_s eps),    x'_s a guided step towards the target from level t to s

A mask thinner than a few cells of the latent is lost on the way: it may begin wider (`dilations`). The codec's own
error outside the mask may be fitted away (`fit`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import ClassVar

import torch

from scumble.core.grids import portion
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Each, Edit, EditRequest, Needs, OnStep, Paper, Watch, param, validate
from scumble.core.schedule import Schedule
from scumble.core.types import Image, Latent, Mask, Pair
from scumble.loops.ddim import ddim
from scumble.loops.paste import Paste
from scumble.methods._guided import Guided
from scumble.tuning.background import Fit


@dataclass(frozen=True, kw_only=True)
class BlendedLatentDiffusion(Guided):
    """The target prompt inside a mask, by guidance alone: no classifier, no inpainting network."""

    paper: ClassVar[Paper] = Paper(
        title="Blended Latent Diffusion",
        arxiv="2206.02779",
        bibtex="""@article{avrahami2023blendedlatent,
  title   = {Blended Latent Diffusion},
  author  = {Avrahami, Omri and Fried, Ohad and Lischinski, Dani},
  journal = {ACM Transactions on Graphics (SIGGRAPH)},
  volume  = {42},
  number  = {4},
  year    = {2023}
}""",
        departures=(
            "The background ends as the picture's own latent, and outside the mask as its own pixels. The published "
            "code leaves the noise of the last level in it: compat='authors'.",
            "compat='authors' is the published script for Stable Diffusion 2: it begins with pure noise at a level "
            "below it, and pastes the background one level too noisy.",
            "compat='pipeline' is the inpainting pipeline on an ordinary network: one noise for the start and all "
            "pastes, and a sample of the codec.",
            "Left out: ranking many candidates by CLIP (take several seeds and choose), and pasting pixels in "
            "between through the codec.",
        ),
    )
    needs: ClassVar[Needs] = Needs(target=True, mask=True)

    steps: int = param(50, ge=1, try_=20, help="steps of the full path from noise")
    strength: float = param(
        1.0, gt=0, le=1, try_=0.6, help="the noise level to start at; lower keeps more of what was there"
    )
    guidance: float = param(
        5.0, ge=0, try_=3.0, help="classifier-free guidance towards the target; 1 is none"
    )
    eta: float = param(0.0, ge=0, le=1, try_=1.0, help="fresh noise per step; 1 is DDPM")
    dilations: int = param(
        0, ge=0, try_=1, help="by how many cells the mask begins wider, to narrow on the way; for thin masks"
    )
    fit: str = param(
        "",
        choices=("", "decoder", "latent"),
        try_="latent",
        help="tune the decoder, or the latent, until the background is the picture's; a smoother seam",
    )
    fit_steps: int = param(75, ge=1, try_=5, needs="fit=latent", help="updates of it")
    fit_weight: float = param(
        100.0, ge=0, try_=1.0, needs="fit=latent", help="weight of the background against what was drawn"
    )
    decoder_rate: float = param(
        1e-4, gt=0, try_=1e-2, needs="fit=decoder", help="its learning rate, of the decoder's weights"
    )
    latent_rate: float = param(
        0.1, gt=0, try_=0.01, needs="fit=latent", help="its learning rate, of the latent"
    )
    compat: str = param(
        "",
        choices=("", "authors", "pipeline"),
        try_="authors",
        help="follow published code where it differs from the paper",
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        schedule, pairs = job.schedule, self._pairs(job.schedule)
        z = job.spread(job.encode(sample=self.compat == "pipeline"))
        if self.fit:
            self._fit().check(job.prior, z, job.image)  # before anything costly is done
        mask, eps = job.mask(z), job.noise.like(z)
        assert mask is not None
        n = len(pairs) + (self.fit_steps * len(z) if self.fit else 0)
        watch = job.watch(n=n)
        x = ddim(
            self.denoiser(job),
            self._start(schedule, z, eps, pairs),
            pairs,
            schedule,
            eta=self.eta,
            noise=job.noise,
            each=self._blend(job, z, mask, eps, pairs),
            on_step=watch,
        )
        return job.edit(x, raw=self._fitted(job, x, watch, len(pairs), n) if self.fit else None)

    def _pairs(self, schedule: Schedule) -> list[Pair]:
        """The last strength * steps moves of the grid."""
        grid = schedule.grid(self.steps)
        if self.compat == "authors":  # rounds what is skipped
            return grid[portion(self.steps, 1 - self.strength) :]
        taken = portion(self.steps, self.strength, truncated=self.compat == "pipeline")
        return grid[len(grid) - max(taken, 1) :]

    def _start(self, schedule: Schedule, z: Latent, eps: Latent, pairs: Sequence[Pair]) -> Latent:
        pure = self.compat == "authors" or (self.compat == "pipeline" and self.strength == 1)
        return eps if pure else schedule.mix(z, eps, pairs[0][0])

    def _blend(self, job: Job, z: Latent, mask: Mask, eps: Latent, pairs: Sequence[Pair]) -> Each:
        """After a step, the picture outside the mask of that step."""
        schedule = job.prior.schedule
        if self.compat == "authors":
            paste = Paste(schedule, z, mask, job.noise, level="current")
        else:
            noise = eps if self.compat else job.noise
            paste = Paste(schedule, z, mask, noise, end=pairs[-1][1])
        masks = [widened(mask, self.dilations - i) for i in range(self.dilations + 1)]
        each = len(pairs) // len(masks) + 1  # steps per mask, as published
        at = {t: replace(paste, mask=masks[i // each]) for i, (t, _) in enumerate(pairs)}
        at[pairs[-1][0]] = paste  # the last step ends on the mask itself, however few there are

        def blend(x: Latent, p: Prediction, t: float, s: float) -> Latent:
            return at[t](x, p, t, s)

        return blend

    def _fit(self) -> Fit:
        rate = self.decoder_rate if self.fit == "decoder" else self.latent_rate
        return Fit(what=self.fit, steps=self.fit_steps, rate=rate, weight=self.fit_weight)

    def _fitted(self, job: Job, x: Latent, watch: Watch, done: int, n: int) -> Image:
        """The picture whose background is fitted to the input's."""
        mask, updates = job.request.mask, count(done + 1)
        assert mask is not None
        mask = torch.nn.functional.interpolate(mask.to(x), job.image.shape[-2:])
        return self._fit()(
            job.prior,
            x,
            job.image.to(x),
            mask,
            lambda z: watch(next(updates), n, job.prior.schedule.clean, z, z),
        )


def widened(mask: Mask, cells: int) -> Mask:
    """The mask grown by so many cells in every direction."""
    return torch.nn.functional.max_pool2d(mask, 2 * cells + 1, stride=1, padding=cells) if cells else mask
