"""Sampling: noise becomes a picture of the target prompt. No picture goes in.

x_T = noise;    x_s = step(denoised x_t) from the noisiest level of the grid down to the cleanest
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, cast

from scumble.core.grids import SPACINGS, Spacing
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param, validate
from scumble.core.schedule import Schedule, Variance
from scumble.core.types import Pair
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.loops.dpm import dpm
from scumble.methods._guided import Guided


@dataclass(frozen=True, kw_only=True)
class Sampling(Guided):
    """Text to picture under classifier-free guidance, by one of three samplers."""

    paper: ClassVar[Paper] = Paper(
        title="Classifier-Free Diffusion Guidance",
        arxiv="2207.12598",
        bibtex="""@article{ho2022classifierfree,
  title   = {Classifier-Free Diffusion Guidance},
  author  = {Ho, Jonathan and Salimans, Tim},
  journal = {arXiv preprint arXiv:2207.12598},
  year    = {2022}
}""",
        departures=(
            "guidance is w in null + w (text - null), as in the pipelines; the paper's own w is one less.",
            "The samplers are DDIM (arXiv:2010.02502), DDPM (arXiv:2006.11239) and DPM-Solver++ (2M) "
            "(arXiv:2211.01095). x0 is not clamped: latents have no bounds. threshold is for pixel models: the "
            "dynamic thresholding of Imagen (arXiv:2205.11487), whose bound is 1.5 at most, as in DeepFloyd IF.",
        ),
    )
    needs: ClassVar[Needs] = Needs(image=False)

    sampler: str = param(
        "ddim",
        choices=("ddim", "ddpm", "dpm"),
        try_="dpm",
        help="ddim; ddpm: fresh noise at every step, for many steps; dpm: DPM-Solver++ (2M), for few steps",
    )
    steps: int = param(50, ge=1, try_=20, help="network calls from noise to picture")
    spacing: str = param(
        "",
        choices=("", *SPACINGS),
        try_="trailing",
        help="how the levels are spaced; empty: as the model asks",
    )
    eta: float = param(
        0.0, ge=0, le=1, try_=1.0, needs="sampler=ddim", help="ddim: fresh noise per step; 1 is DDPM"
    )
    variance: str = param(
        "fixed_small",
        choices=("fixed_small", "fixed_large", "learned_range"),
        try_="fixed_large",
        needs="sampler=ddpm",
        help="ddpm: variance of the fresh noise",
    )
    threshold: float = param(
        0.0,
        ge=0,
        lt=1,
        try_=0.5,
        help="pixel models: the share of the clean prediction's values that dynamic thresholding keeps; 0: none",
    )
    order: int = param(2, choices=(1, 2), try_=1, needs="sampler=dpm", help="dpm: order of the solver")

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        x = job.noise.like(job.spread(job.encode()))  # only the shape of the empty canvas's latent counts
        pairs = self._pairs(job.schedule)
        loops = {
            "ddim": partial(ddim, eta=self.eta, noise=job.noise),
            "ddpm": partial(ddpm, kind=cast(Variance, self.variance), noise=job.noise),
            "dpm": partial(dpm, order=self.order, stochastic=False),
        }
        denoise = self.denoiser(job)
        if self.threshold:
            denoise = job.thresholded(denoise, x, self.threshold)
        x = loops[self.sampler](denoise, x, pairs, job.schedule, on_step=job.watch())
        return job.edit(x)

    def _pairs(self, schedule: Schedule) -> list[Pair]:
        """The grid of the sampler, as in the pipelines: only DDIM's ends where the checkpoint says.

        DPM-Solver++ steps through the log of the signal-to-noise ratio, which runs away at the clean end: it leaves
        out the cleanest level of the grids that have one there.
        """
        spacing = cast("Spacing | None", self.spacing or None)
        if self.sampler == "ddim":
            return schedule.grid(self.steps, spacing=spacing)
        ends = schedule.abar is not None and (spacing or schedule.spacing) != "trailing"
        *above, (t, _) = schedule.grid(self.steps + (self.sampler == "dpm" and ends), spacing=spacing)[
            : self.steps
        ]
        return [*above, (t, schedule.clean)]
