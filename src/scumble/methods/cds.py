"""Contrastive Denoising Score (Nam et al. 2024, arXiv:2311.18608): DDS that keeps the source's structure.

    x <- x - rate (eps(x_t, target) - eps(z_t, source) + contrast d/dx PatchNCE(features(z_t), features(x_t)))

The features are those of self-attention layers on the way up (`scores.cds`).
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._contrast import Contrastive
from scumble.scores.cds import CDSScore


@dataclass(frozen=True, kw_only=True)
class CDS(Contrastive):
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
            "Rate and contrast are per element. The code's weight of 3 for 64x64 latents is 3 * 64^2 / "
            "2000, and does not shrink for larger latents.",
            "The released code makes six evaluations per step, two of them only for features. Here there "
            "are four, and only the latent has a gradient. It contrasts only the first picture of a "
            "batch; here every picture has its own loss.",
            "Transformers with joint attention (SD 3, FLUX, Qwen-Image, Z-Image) have no decoder: their features are "
            "the picture's outputs of all layers with two streams, or of all layers if there is one stream alone.",
        ),
    )
    needs: ClassVar[Needs] = Needs(
        source=True, target=True, gradient=True, single=True, control=True, joint=True
    )

    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    contrast: float = param(
        3 * 64**2 / 2000,
        ge=0,
        try_=60.0,
        help="weight of the contrastive loss, per element: higher keeps more",
    )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        z = job.encode()
        score = CDSScore(
            job.prior,
            reference=z,
            **job.texts(),
            guidance=self.guidance,
            **self.looks(),
        )
        return self.follow(score, job.spread(z), job)
