"""Contrastive Denoising Score (Nam et al. 2024): DDS, and the source's structure held by attention features."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from scumble.core.errors import InputError
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._distillation import Distillation
from scumble.scores.cds import CDSScore


@dataclass(frozen=True, kw_only=True)
class CDS(Distillation):
    """DDS with a contrastive loss between the source's and the edit's self-attention features."""

    paper: ClassVar[Paper] = Paper(
        title="Contrastive Denoising Score for Text-guided Latent Diffusion Image Editing",
        arxiv="2311.18608",
        bibtex="""@inproceedings{nam2024contrastive,
  title     = {Contrastive Denoising Score for Text-guided Latent Diffusion Image Editing},
  author    = {Nam, Hyelin and Kwon, Gihyun and Park, Geon Yeong and Ye, Jong Chul},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2024}
}""",
        departures=(
            "Rate and contrast are per element: the code's weight of 3 at latents of 64x64 is 3 * 64^2 / 2000, and "
            "does not fade on larger ones.",
            "The released code asks six evaluations per step, two of them again for their features; here each of "
            "the four is asked once, and only the latent gets a gradient. It contrasts the first picture of a "
            "batch alone; here every picture has its own loss.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True, gradient=True, control=True)

    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    contrast: float = param(
        3 * 64**2 / 2000,
        ge=0,
        try_=60.0,
        help="weight of the contrastive loss, per element: higher keeps more",
    )
    patches: int = param(256, ge=1, try_=2, help="places compared in every layer, drawn anew in every step")
    patch_sizes: str = param("1,2", try_="1", help="sides of the patches compared, in features")
    temperature: float = param(0.07, gt=0, try_=0.5, help="of the contrast: lower looks at the nearest alone")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sizes()

    def _sizes(self) -> tuple[int, ...]:
        try:
            sizes = tuple(int(size) for size in self.patch_sizes.split(","))
        except ValueError:
            sizes = ()
        if not sizes or min(sizes) < 1:
            raise InputError(
                f"patch_sizes: {self.patch_sizes!r}; give whole numbers from 1 on, such as '1,2'"
            )
        return sizes

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        z = job.encode()
        score = CDSScore(
            job.prior,
            reference=z,
            **job.texts(),
            guidance=self.guidance,
            contrast=self.contrast,
            patches=self.patches,
            sizes=self._sizes(),
            temperature=self.temperature,
        )
        return self.follow(score, job.spread(z), job)
