"""Noise-Free Score Distillation (Katzir et al. 2024, arXiv:2310.17590, eq. 9-10): SDS without the noise it draws.

x <- x - rate sigma_t^q (delta_D + w (eps(x_t, target) - eps(x_t, null)))
delta_D = eps(x_t, null) for t < t_clean, else eps(x_t, null) - eps(x_t, bad)
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._distillation import Distillation, alike, optimizer
from scumble.scores.nfsd import NFSDScore

BAD = "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"


@dataclass(frozen=True, kw_only=True)
class NFSD(Distillation):
    """NFSD on the latent of a picture, starting from the picture. It has no source prompt, so nothing holds the
    picture in place.
    """

    paper: ClassVar[Paper] = Paper(
        title="Noise-Free Score Distillation",
        arxiv="2310.17590",
        bibtex="""@inproceedings{katzir2024noise,
  title     = {Noise-Free Score Distillation},
  author    = {Katzir, Oren and Patashnik, Or and Cohen-Or, Daniel and Lischinski, Dani},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2024}
}""",
        departures=(
            "The authors published no code. Weight, times, steps, rate and Adam follow the code of SBP, "
            "which contains NFSD, but without its weight decay.",
            "Three evaluations per step; that code makes four.",
        ),
    )
    needs: ClassVar[Needs] = Needs(target=True)

    steps: int = param(1000, ge=1, try_=3, help="gradient steps")
    rate: float = param(0.01, gt=0, try_=0.1, help="step size per element of the latent")
    t_low: int = param(20, ge=0, try_=400, help="lowest time drawn")
    t_high: int = param(980, ge=1, try_=500, help="the times drawn are below this one")
    optimizer: str = optimizer("adam")
    guidance: float = param(
        7.5, ge=0, try_=3.0, help="weight of the prompt's direction; no more than in sampling is needed"
    )
    t_clean: int = param(
        200,
        ge=0,
        le=1000,
        try_=800,
        help="below this time only the null prediction is used (of a flow: the same noise-to-signal ratio)",
    )
    bad: str = param(BAD, try_="a", help="a prompt that describes bad pictures")
    sigma_exp: float = param(2.0, try_=0.0, help="q in the weight sigma^q of the gradient at time t")

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        score = NFSDScore(
            job.prior,
            target=job.text(job.target),
            null=job.text(job.negative),
            bad=job.text([job.known("bad", self.bad)]),
            guidance=self.guidance,
            t_clean=alike(job.schedule, self.t_clean),
            sigma_exp=self.sigma_exp,
        )
        return self.follow(score, job.spread(job.encode()), job)
