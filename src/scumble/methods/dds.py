"""Delta Denoising Score (Hertz, Aberman & Cohen-Or 2023): follow what the target prompt adds to the source
prompt.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch

from scumble.core.errors import InputError
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, Parametrization, param, validate
from scumble.loops.descend import Itself, Uniform, descend
from scumble.scores.dds import DDSScore


@dataclass(frozen=True, kw_only=True)
class DDS:
    """The authors' zero-shot editing: 200 steps of plain gradient descent on the latent, from the source's
    own.
    """

    paper: ClassVar[Paper] = Paper(
        title="Delta Denoising Score",
        arxiv="2304.07090",
        bibtex="""@inproceedings{hertz2023delta,
  title     = {Delta Denoising Score},
  author    = {Hertz, Amir and Aberman, Kfir and Cohen-Or, Daniel},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}""",
        departures=(
            "The rate is per element: the notebook's 2000 * 0.1 / (H * W) at 64x64 latents is 0.0488, "
            "and does not shrink on larger ones.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    identity: ClassVar[bool] = True  # equal prompts leave the picture as it is

    steps: int = param(200, ge=1, try_=3, help="gradient steps")
    rate: float = param(2000 * 0.1 / 64**2, gt=0, try_=0.1, help="step size per element of the latent")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    t_low: int = param(50, ge=0, try_=400, help="lowest time drawn")
    t_high: int = param(949, ge=1, try_=500, help="the times drawn are below this one")
    alpha_exp: float = param(0.0, try_=1.0, help="p in the weight alpha^p sigma^q of the gradient at time t")
    sigma_exp: float = param(0.0, try_=2.0, help="q in the weight alpha^p sigma^q of the gradient at time t")

    def __post_init__(self) -> None:
        validate(self)
        if self.t_high <= self.t_low:
            raise InputError(f"t_high: {self.t_high} must be greater than t_low, {self.t_low}")

    @torch.no_grad()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        g = cast(Parametrization, request.given.get("parametrization", Itself()))
        z = job.encode()
        score = DDSScore(
            job.prior,
            reference=z,
            source=job.text(job.source, max(len(z), len(job.source))),
            target=job.text(job.target),
            null=job.text(job.negative),
            guidance=self.guidance,
            alpha_exp=self.alpha_exp,
            sigma_exp=self.sigma_exp,
        )
        plan = Uniform(self.steps, self.t_low, min(self.t_high, prior.schedule.T), self.rate)
        theta = descend(score, job.spread(z), plan, job.noise, mask=job.mask(z), g=g, on_step=job.watch())
        return job.edit(g(theta))
