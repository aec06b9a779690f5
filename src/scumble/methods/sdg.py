"""Semantic Diffusion Guidance (Liu et al. 2023, arXiv:2112.05744): towards a text, a picture, or both.

    g = grad_x [ w_text cos(f(x_t, t), E(text)) + w_image S(x_t, ref_t) ],    mean <- mean + var g

f is a CLIP that knows noise; ref_t is the reference, noised to the level of x_t anew at every step. S compares
embeddings (semantic), feature maps place by place (structure), or their Gram matrices (style).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.judges import Embedder, seen
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.core.types import Time
from scumble.methods._steered import Steered

STYLE = 1e10  # the authors' factor: differences of Gram matrices are tiny


@dataclass(frozen=True, kw_only=True)
class SDG(Steered):
    """Sampling towards a text, a reference picture, or both, as a CLIP sees them."""

    paper: ClassVar[Paper] = Paper(
        title="More Control for Free! Image Synthesis with Semantic Diffusion Guidance",
        arxiv="2112.05744",
        bibtex="""@inproceedings{liu2023more,
  title     = {More Control for Free! Image Synthesis with Semantic Diffusion Guidance},
  author    = {Liu, Xihui and Park, Dong Huk and Azadi, Samaneh and Zhang, Gong and Chopikyan, Arman and
               Hu, Yuxiao and Shi, Humphrey and Rohrbach, Anna and Darrell, Trevor},
  booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)},
  year      = {2023}
}""",
        departures=(
            "Every picture has Gram matrices of its own; the released code mixes those of a batch.",
            "The structure loss is in the paper alone: the squared distance of the maps, a mean over each, summed.",
            "The paper samples from noise; a strength below 1 starts from a noised picture, as SDEdit does.",
            "A CLIP that does not know noise looks at the predicted picture, and its gradient goes through the "
            "denoiser; the reference is then not noised.",
        ),
    )
    needs: ClassVar[Needs] = Needs(image=False, given=("clip",), takes=("reference",))

    steps: int = param(
        100, ge=1, try_=20, help="levels of the full path from noise; strength * steps are taken"
    )
    text_weight: float = param(160.0, try_=40.0, help="weight of the target prompt; 0 leaves it out")
    image_weight: float = param(100.0, try_=30.0, help="weight of the reference picture, where there is one")
    image_loss: str = param(
        "semantic",
        choices=("semantic", "structure", "style"),
        try_="structure",
        help="what of the reference counts: its content, its layout, or its style (whose weights are about 1e-5)",
    )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        remedy = "load one with scumble.networks.load('clip', folder)"
        clip = job.given("clip", Embedder, remedy)
        assert clip is not None
        clip.check(prior)
        text = clip.embed_text(job.target).expand(job.rows, -1) if self.text_weight else None
        compare = self._comparison(job, clip)
        if text is None and compare is None:
            raise InputError("text_weight: 0, and there is no reference picture: give one, or a text_weight")

        def energy(y: Tensor, t: Time | None, p: Prediction) -> Tensor:
            value = y.new_zeros(len(y))
            if text is not None:
                value = value + self.text_weight * (clip.embed_image(y, t) * text.to(y)).sum(1)
            return value if compare is None else value + self.image_weight * compare(y, t)

        z = job.spread(job.encode())
        return job.edit(self.sample(job, clip, energy, z))

    def _comparison(self, job: Job, clip: Embedder) -> "Comparison | None":
        picture = job.request.reference
        if picture is None or not self.image_weight:
            return None
        return Comparison(job, clip, job.spread(job.prior.encode(picture)), self.image_loss)


class Comparison:
    """How alike what a CLIP looks at is to a reference, (b,): higher is more alike."""

    def __init__(self, job: Job, clip: Embedder, reference: Tensor, loss: str):
        self._job, self._clip, self._loss = job, clip, loss
        self._reference = reference if clip.noisy else seen(clip, job.prior, reference)

    def __call__(self, y: Tensor, t: Time | None) -> Tensor:
        with torch.no_grad():
            reference = self._reference if t is None else self._noised(t)
        if self._loss == "semantic":
            return (self._clip.embed_image(y, t) * self._clip.embed_image(reference, t)).sum(1)
        maps = self._clip.maps(y, t), self._clip.maps(reference, t)
        return structure(*maps) if self._loss == "structure" else style(*maps)

    def _noised(self, t: Time) -> Tensor:
        return self._job.prior.schedule.mix(self._reference, self._job.noise.like(self._reference), t)


def structure(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """-sum over maps of the mean squared difference, (b,)."""
    return -torch.stack([(a - b).square().mean((1, 2, 3)) for a, b in zip(ours, theirs, strict=True)]).sum(0)


def style(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    """-1e10 times the mean over maps of the mean squared difference of their Gram matrices, (b,)."""
    pairs = zip(ours, theirs, strict=True)
    return -STYLE * torch.stack([(gram(a) - gram(b)).square().mean((1, 2)) for a, b in pairs]).mean(0)


def gram(maps: Tensor) -> Tensor:
    """(b, c, h, w) -> (b, c, c): M M^T, M = maps (c, h w) / sqrt(c h w)."""
    flat = maps.flatten(2) / maps[0].numel() ** 0.5
    return flat @ flat.mT
