"""Posterior Distillation Sampling (Koo, Park & Sung 2024, arXiv:2311.13831, eq. 12-14).

    x <- x - rate (chi_t (eps(x_t, target) - eps(z_t, source)) + psi_t (x - z))

chi and psi follow from the posterior of the step from t down (`scores.pds`): the noise that leads from x_t to x_s is
matched, not a prediction.
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._distillation import Distillation
from scumble.scores.pds import PDSScore


@dataclass(frozen=True, kw_only=True)
class PDS(Distillation):
    """PDS on the latent of a picture: DDS weighted by the coefficients of the posterior's step."""

    paper: ClassVar[Paper] = Paper(
        title="Posterior Distillation Sampling",
        arxiv="2311.13831",
        bibtex="""@inproceedings{koo2024posterior,
  title     = {Posterior Distillation Sampling},
  author    = {Koo, Juil and Park, Chanho and Sung, Minhyuk},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2024}
}""",
        departures=(
            "With the coefficients of the step actually taken, the paper's pull to the source is exactly "
            "0, and it is 0 here. The released code uses the coefficients of one level with a stride of "
            "two, which causes its pull: compat='authors'.",
            "Times are all whole numbers from t_low on; the code draws every second one.",
            "The paper edits scenes and drawings over thousands of steps. Here steps, rate and plain "
            "descent are those of DDS; the guidance of 100 is the paper's.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    identity: ClassVar[bool] = True  # equal prompts leave the picture as it is

    t_low: int = param(20, ge=1, try_=400, help="lowest time drawn")
    t_high: int = param(980, ge=2, try_=500, help="the times drawn are below this one")
    guidance: float = param(
        100.0, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none"
    )
    stride: int = param(2, ge=1, try_=5, help="levels that the posterior's step goes down")
    compat: str = param(
        "", choices=("", "authors"), try_="authors", help="follow the released code where it differs"
    )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        z = job.encode()
        score = PDSScore(
            job.prior,
            reference=z,
            **job.texts(),
            guidance=self.guidance,
            stride=self.stride,
            released=self.compat == "authors",
        )
        return self.follow(score, job.spread(z), job)
