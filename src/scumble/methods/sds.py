"""Editing by Score Distillation Sampling (Poole et al. 2022, arXiv:2209.14988, eq. 3): the baseline of DDS.

x <- x - rate (eps(x_t, target) - eps),    x_t = alpha_t x + sigma_t eps

The noise that is subtracted is not the network's error at x_t, so expect blur.
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._distillation import Distillation
from scumble.scores.sds import SDSScore


@dataclass(frozen=True, kw_only=True)
class SDS(Distillation):
    """SDS on the latent of a picture, starting from the picture, as in the comparison of the DDS paper."""

    paper: ClassVar[Paper] = Paper(
        title="DreamFusion: Text-to-3D using 2D Diffusion",
        arxiv="2209.14988",
        bibtex="""@inproceedings{poole2023dreamfusion,
  title     = {DreamFusion: Text-to-3D using 2D Diffusion},
  author    = {Poole, Ben and Jain, Ajay and Barron, Jonathan T. and Mildenhall, Ben},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023}
}""",
        departures=(
            "The defaults are those of the DDS authors' notebook, not those of DreamFusion (guidance 100).",
            "The rate is per element and does not shrink for larger latents.",
        ),
    )
    needs: ClassVar[Needs] = Needs(target=True)

    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance; 1 is none")
    alpha_exp: float = param(0.0, try_=1.0, help="p in the weight alpha^p sigma^q of the gradient at time t")
    sigma_exp: float = param(0.0, try_=2.0, help="q in the weight alpha^p sigma^q of the gradient at time t")
    start: str = param(
        "picture", choices=("picture", "noise"), try_="noise", help="the picture, or noise of its size"
    )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        x = job.spread(job.encode())
        if self.start == "noise":
            x = job.noise.like(x)
        score = SDSScore(
            job.prior,
            target=job.text(job.target),
            null=job.text(job.negative),
            guidance=self.guidance,
            alpha_exp=self.alpha_exp,
            sigma_exp=self.sigma_exp,
        )
        return self.follow(score, x, job)
