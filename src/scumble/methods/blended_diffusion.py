"""Blended Diffusion (Avrahami et al. 2022, arXiv:2111.14818): CLIP guides inside a mask, the background is put back.

    L = w_clip mean_aug d(CLIP(aug(m x')), E(text)) + w_range mean (x0 - clamp(x0))^2
    x_s <- m (step under -grad L) + (1 - m) (background at the level of x_s)

d(u, v) = 2 arcsin^2(|u - v| / 2). x' = sigma_t x0 + (1 - sigma_t) x_t, and the gradient goes through the denoiser: any
CLIP of clean pictures will do. Of several candidates the one that CLIP likes best is the result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.judges import Embedder, seen
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.core.types import Image, Latent, Mask, Time
from scumble.loops.paste import Paste
from scumble.methods._augment import augmented
from scumble.methods._steered import Steered

Distance = Callable[[Image, Image], Tensor]
"""A perceptual distance of pictures, (b,): LPIPS."""


@dataclass(frozen=True, kw_only=True)
class BlendedDiffusion(Steered):
    """A text that CLIP understands, inside a mask; everything else is kept."""

    paper: ClassVar[Paper] = Paper(
        title="Blended Diffusion for Text-driven Editing of Natural Images",
        arxiv="2111.14818",
        bibtex="""@inproceedings{avrahami2022blended,
  title     = {Blended Diffusion for Text-driven Editing of Natural Images},
  author    = {Avrahami, Omri and Lischinski, Dani and Fried, Ohad},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2022}
}""",
        departures=(
            "The background is put back at the level that x has after the step; the published code puts it back one "
            "level too noisy, under noise that a batch shares, and returns the last predicted picture: "
            "compat='authors'.",
            "One candidate by default; the authors make 32 to 64 and rank them.",
            "On a latent model the range term and the background losses see the decoded picture.",
        ),
    )
    needs: ClassVar[Needs] = Needs(
        target=True, mask=True, gradient=True, given=("clip",), takes=("perceptual",)
    )

    strength: float = param(
        0.75, ge=0, le=1, try_=0.5, help="the noise level to start at; the authors skip 25 of 100 levels"
    )
    steps: int = param(
        100, ge=1, try_=20, help="levels of the full path from noise; strength * steps are taken"
    )
    clip_weight: float = param(1000.0, ge=0, try_=300.0, help="weight of the distance to the text")
    range_weight: float = param(50.0, ge=0, try_=500.0, help="weight of values outside [-1, 1]")
    augmentations: int = param(
        8, ge=1, try_=2, help="views of the picture that CLIP sees per step: itself and warped ones"
    )
    candidates: int = param(
        1, ge=1, try_=3, help="how many are made; the one that CLIP likes best is the result"
    )
    background: str = param(
        "blend",
        choices=("blend", "losses"),
        try_="losses",
        help="blend: put the background back at every step; losses: only ask for it, by the two weights below",
    )
    l2_weight: float = param(
        10000.0, ge=0, try_=100.0, needs="background=losses", help="weight of the background's squared error"
    )
    perceptual_weight: float = param(
        1000.0,
        ge=0,
        try_=10.0,
        needs="background=losses",
        help="weight of the background's distance by the given 'perceptual', where there is one",
    )
    compat: str = param(
        "", choices=("", "authors"), try_="authors", help="follow published code where it differs"
    )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        remedy = "load one with scumble.networks.load('clip', folder)"
        clip = job.given("clip", Embedder, remedy)
        assert clip is not None
        clip.check(prior)
        clip = clip.clean()
        mask = job.request.mask
        if mask is not None and not bool((mask > 0).any()):
            raise InputError(
                "mask: it is black everywhere, so nothing may change (white may change): invert it, or draw one"
            )
        z = job.spread(job.encode())
        goal = Goal(job, self, clip, z)
        made = [self._candidate(job, clip, goal, z, k) for k in range(self.candidates)]
        return job.edit(made[0] if len(made) == 1 else self._best(job, clip, goal, made))

    def _best(self, job: Job, clip: Embedder, goal: "Goal", made: list[Latent]) -> Latent:
        """Of every picture the candidate that is nearest to its text."""
        distances = torch.stack([goal.distance(seen(clip, job.prior, x), augment=False) for x in made])
        rows = torch.arange(len(made[0]), device=distances.device)
        return torch.stack(made)[distances.argmin(0), rows]

    def _candidate(self, job: Job, clip: Embedder, goal: "Goal", z: Latent, k: int) -> Latent:
        schedule, n = job.prior.schedule, portion(self.steps, self.strength)
        end = schedule.clean if schedule.last is None else schedule.last
        mask = job.mask(z) if self.background == "blend" else None
        authors = self.compat == "authors"
        paste = Paste(
            schedule, z, mask, job.noise, "current" if authors else "next", end=None if authors else end
        )
        last = [z]

        def each(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
            last[:] = [p.x0]
            return paste(x_s, p, t, s)

        x = self.sample(job, clip, goal, z, each=each, done=k * n, n=n * self.candidates)
        return last[0] if authors else x

    def views(self, job: Job, y: Tensor) -> Tensor:
        """What CLIP sees of y (b, c, h, w): (augmentations * b, c, h, w), the first b as they are."""
        return augmented(y, self.augmentations, job.noise)


class Goal:
    """The energy: -L, one value per picture."""

    def __init__(self, job: Job, method: BlendedDiffusion, clip: Embedder, z: Latent):
        self._job, self._method, self._clip = job, method, clip
        self._text = clip.embed_text(job.target).expand(job.rows, -1)
        self._mask = self._fine(job, z) if clip.space == "pixels" else job.mask(z)
        self._pixels = self._fine(job, z)
        self._perceptual = cast("Distance | None", job.request.given.get("perceptual"))

    def _fine(self, job: Job, z: Latent) -> Mask | None:
        """The mask at the picture's resolution."""
        mask = job.request.mask
        if mask is None:
            return None
        return torch.nn.functional.interpolate(mask.to(z), job.image.shape[-2:])

    def __call__(self, y: Tensor, t: Time | None, p: Prediction) -> Tensor:
        method = self._method
        value = -method.clip_weight * self.distance(y)
        if method.range_weight:
            x0 = self._job.prior.decode(p.x0)
            value = value - method.range_weight * (x0 - x0.clamp(-1, 1)).square().mean((1, 2, 3))
        return value - self._losses(y) if method.background == "losses" else value

    def distance(self, y: Tensor, *, augment: bool = True) -> Tensor:
        """d(CLIP(aug(m y)), text), a mean over the views, (b,)."""
        inside = y if self._mask is None else self._mask * y
        views = self._method.views(self._job, inside) if augment else inside
        vectors = self._clip.embed_image(views)
        text = self._text.to(vectors).repeat(len(views) // len(y), 1)
        return spherical(vectors, text).reshape(-1, len(y)).mean(0)

    def _losses(self, y: Tensor) -> Tensor:
        """How far the background has come from the picture's own (b,)."""
        method, image = self._method, self._job.image.to(y)
        picture = y if self._clip.space == "pixels" else self._job.prior.decode(y)
        outside = picture if self._pixels is None else (1 - self._pixels) * picture
        value = method.l2_weight * (outside - image).square().mean((1, 2, 3))
        if method.compat:  # a mean over the batch, too
            value = value / len(y)
        if self._perceptual is not None:
            value = value + method.perceptual_weight * self._perceptual(outside, image.expand_as(outside))
        return value


def spherical(a: Tensor, b: Tensor) -> Tensor:
    """2 arcsin^2(|a - b| / 2), the squared angle of unit vectors over 2: (n, d), (n, d) -> (n,)."""
    return 2 * ((a - b).square().sum(-1).sqrt() / 2).arcsin().square()
