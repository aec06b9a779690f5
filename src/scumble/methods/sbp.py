"""Score distillation as a bridge (McAllister et al. 2024, arXiv:2406.09417).

x <- x - rate sigma_t^q (eps_w(x_t, target) - eps)                           first: SDS
x <- x - rate sigma_t^q w (eps(x_t, target + good) - eps(x_t, target + bad))    then
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._distillation import Distillation, optimizer
from scumble.scores.sbp import SBPScore

GOOD = ", detailed high resolution, high quality, sharp"
BAD = ", oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"


@dataclass(frozen=True, kw_only=True)
class SBP(Distillation):
    """SDS first, then from the target prompt's bad pictures to its good ones; starts from the picture."""

    paper: ClassVar[Paper] = Paper(
        title="Rethinking Score Distillation as a Bridge Between Image Distributions",
        arxiv="2406.09417",
        bibtex="""@inproceedings{mcallister2024rethinking,
  title     = {Rethinking Score Distillation as a Bridge Between Image Distributions},
  author    = {McAllister, David and Ge, Songwei and Huang, Jia-Bin and Jacobs, David W. and
               Efros, Alexei A. and Holynski, Aleksander and Kanazawa, Angjoo},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year      = {2024}
}""",
        departures=(
            "The released code uses AdamW, whose weight decay pulls the latent towards 0. This is Adam.",
        ),
    )
    needs: ClassVar[Needs] = Needs(target=True)

    steps: int = param(1000, ge=1, try_=3, help="gradient steps")
    rate: float = param(0.01, gt=0, try_=0.1, help="step size per element of the latent")
    t_low: int = param(20, ge=0, try_=400, help="lowest time drawn")
    t_high: int = param(980, ge=1, try_=500, help="the times drawn are below this one")
    optimizer: str = optimizer("adam")
    guidance: float = param(
        40.0, ge=0, try_=3.0, help="guidance of the first stage, weight of the difference in the second"
    )
    first: float = param(0.5, ge=0, le=1, try_=0.0, help="share of the steps that are plain SDS")
    good: str = param(GOOD, try_=", sharp", help="text added to the target prompt to move towards")
    bad: str = param(BAD, try_=", blurry", help="text added to the target prompt to move away from")
    sigma_exp: float = param(2.0, try_=0.0, help="q in the weight sigma^q of the gradient at time t")

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        good, bad = job.known("good", self.good), job.known("bad", self.bad)
        score = SBPScore(
            job.prior,
            target=job.text(job.target),
            null=job.text(job.negative),
            good=job.text([prompt + good for prompt in job.target]),
            bad=job.text([prompt + bad for prompt in job.target]),
            guidance=self.guidance,
            after=round(self.first * self.steps),
            sigma_exp=self.sigma_exp,
        )
        return self.follow(score, job.spread(job.encode()), job)
