"""RePaint (Lugmayr et al. 2022, arXiv:2201.09865, Algorithm 1): draw the unknown, put back the known, and do it again.

    x_t = m x_t + (1 - m) (alpha_t z + sigma_t eps);    x_s ~ p(x_s | x_t, target)
    and now and then up again:    x_t = sqrt(1 - beta) x_s + sqrt(beta) eps

What is pasted knows nothing of what is drawn; going up and down again brings the two together (resampling).
"""

from dataclasses import dataclass
from typing import ClassVar, cast

from scumble.core.grids import Jump, jumps, ordered
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Needs, OnStep, Paper, param, validate
from scumble.core.schedule import Schedule, Variance
from scumble.core.types import Pair
from scumble.loops import steps
from scumble.loops.paste import Paste
from scumble.methods._guided import Guided


@dataclass(frozen=True, kw_only=True)
class RePaint(Guided):
    """Inpainting by a model that was never trained to: the inside of a mask is drawn anew."""

    paper: ClassVar[Paper] = Paper(
        title="RePaint: Inpainting using Denoising Diffusion Probabilistic Models",
        arxiv="2201.09865",
        bibtex="""@inproceedings{lugmayr2022repaint,
  title     = {{RePaint}: Inpainting using Denoising Diffusion Probabilistic Models},
  author    = {Lugmayr, Andreas and Danelljan, Martin and Romero, Andres and Yu, Fisher and Timofte, Radu and
               Van Gool, Luc},
  booktitle = {Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2022}
}""",
        departures=(
            "The published code never puts the known pixels back at the end, where they only match roughly. Here "
            "they end exactly as they were, unless compat='authors'.",
            "Text models sample under classifier-free guidance towards the target. x0 is clamped where clamp is set: "
            "latents have no bounds.",
        ),
    )
    needs: ClassVar[Needs] = Needs(mask=True)

    steps: int = param(250, ge=1, try_=20, help="levels from noise to picture, without the jumps")
    jump_length: int = param(10, ge=1, try_=2, help="how many steps to go up again: the paper's j")
    jump_samples: int = param(
        10,
        ge=1,
        try_=3,
        help="how often to pass each stretch, the paper's r; 1 is no resampling, and cheapest",
    )
    jump_start: float = param(
        1.0, ge=0, le=1, try_=0.6, help="go up again only below this share of the steps; 1 is everywhere"
    )
    variance: str = param(
        "fixed_small",
        choices=("fixed_small", "fixed_large", "learned_range"),
        try_="fixed_large",
        help="variance of the fresh noise; learned_range where the network learned it, as in the paper",
    )
    clamp: bool = param(
        False, try_=True, help="clamp the predicted picture to [-1, 1], as published; for pixel models only"
    )
    compat: str = param(
        "",
        choices=("", "authors"),
        try_="authors",
        help="follow published code where it differs from the paper",
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        schedule, moves = job.schedule, self._moves(job.schedule)
        z = job.spread(job.encode())
        denoise = job.clamped(self.denoiser(job), z) if self.clamp else self.denoiser(job)
        end = None if self.compat else moves[-1][1]
        paste = Paste(schedule, z, job.mask(z), job.noise, end=end)
        watch = job.watch()
        x = clean = job.noise.like(z)
        for k, (t, s) in enumerate(moves, 1):
            if s > t:
                up = steps.forward(x, t, s, schedule)
                x = up.draw(up.mean, job.noise)
            else:
                x = x if k == 1 else paste.at(x, t)
                p = denoise(x, schedule.time(t, len(x)), None)
                down = steps.ddpm(p, x, t, s, schedule, kind=cast(Variance, self.variance))
                x, clean = down.draw(down.mean, job.noise), p.x0
            if s == end:
                x = paste.at(x, s)
            watch(k, len(moves), max(t, s), x, clean)
        return job.edit(x)

    def _moves(self, schedule: Schedule) -> list[Pair]:
        """The grid with its jumps."""
        start = None if self.jump_start == 1 else int(self.steps * self.jump_start)
        order = jumps(self.steps, Jump(self.jump_length, self.jump_samples), start=start)
        return ordered(schedule.grid(self.steps), order)
