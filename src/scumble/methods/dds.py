"""Delta Denoising Score (Hertz, Aberman & Cohen-Or 2023, arXiv:2304.07090, eq. 4).

    x <- x - rate (eps(x_t, target) - eps(z_t, source))
    x_t = alpha_t x + sigma_t eps,  z_t = alpha_t z + sigma_t eps

z is the source's latent, where x starts. Both predictions are guided, and share the time t and the noise eps, which
are drawn anew in every step. The difference is `scores.dds.DDSScore`; the descent is `Distillation.follow`.
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param
from scumble.methods._distillation import Distillation
from scumble.scores.dds import DDSScore


@dataclass(frozen=True, kw_only=True)
class DDS(Distillation):
    """The authors' zero-shot editing: 200 steps of plain gradient descent on the latent, from the source latent."""

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
            "The rate is per element: the notebook's 2000 * 0.1 / (H * W) for 64x64 latents is 0.0488, "
            "and does not shrink for larger latents.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    identity: ClassVar[bool] = True  # equal prompts leave the picture as it is

    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance on both branches; 1 is none")
    alpha_exp: float = param(0.0, try_=1.0, help="p in the weight alpha^p sigma^q of the gradient at time t")
    sigma_exp: float = param(0.0, try_=2.0, help="q in the weight alpha^p sigma^q of the gradient at time t")

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        z = job.encode()
        score = DDSScore(
            job.prior,
            reference=z,
            **job.texts(),
            guidance=self.guidance,
            alpha_exp=self.alpha_exp,
            sigma_exp=self.sigma_exp,
        )
        return self.follow(score, job.spread(z), job)
