"""ILVR (Choi et al. 2021, arXiv:2108.02938, Algorithm 1): sample, but take the low frequencies of a reference.

    x'_s ~ p(x_s | x_t, target);    y_s = alpha_s y + sigma_s eps;    x_s = x'_s - phi_N(x'_s) + phi_N(y_s)

phi_N goes down by N and up again. The larger N, and the sooner it stops, the freer the picture.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, cast

from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Each, Edit, EditRequest, Needs, OnStep, Paper, param, validate
from scumble.core.schedule import Variance
from scumble.core.types import Latent
from scumble.loops.ddpm import ddpm
from scumble.loops.lowpass import Kind, low_pass
from scumble.loops.paste import Paste
from scumble.methods._guided import Guided


@dataclass(frozen=True, kw_only=True)
class ILVR(Guided):
    """Another picture with the reference's layout and colours; with a mask, only inside it."""

    paper: ClassVar[Paper] = Paper(
        title="ILVR: Conditioning Method for Denoising Diffusion Probabilistic Models",
        arxiv="2108.02938",
        bibtex="""@inproceedings{choi2021ilvr,
  title     = {{ILVR}: Conditioning Method for Denoising Diffusion Probabilistic Models},
  author    = {Choi, Jooyoung and Kim, Sungwon and Jeong, Yonghyun and Gwon, Youngjune and Yoon, Sungroh},
  booktitle = {International Conference on Computer Vision (ICCV)},
  year      = {2021}
}""",
        departures=(
            "The published code takes the reference one level too noisy, and never in the last step. Here it stands "
            "at the level of x after the step, unless compat='authors'.",
            "The published filter is no projection, so phi(x) = phi(y) does not quite hold; low_pass='box' is one.",
            "On latents the filter works on the latent's grid; N still counts pixels of the picture.",
            "Text models sample under classifier-free guidance towards the target. With a mask, the picture stays "
            "outside it. x0 is clamped where clamp is set: latents have no bounds.",
        ),
    )
    needs: ClassVar[Needs] = Needs(reference=True)

    steps: int = param(100, ge=1, try_=50, help="steps from noise to picture")
    factor: int = param(
        32, ge=1, try_=4, help="the paper's N: detail below so many pixels is free; more is freer"
    )
    low_pass: str = param(
        "bicubic", choices=("bicubic", "box"), try_="box", help="the filter: box is an exact projection"
    )
    stop: float = param(
        0.0,
        ge=0,
        le=1,
        try_=0.5,
        help="share of the steps, the last ones, in which all is free; more is freer",
    )
    variance: str = param(
        "fixed_small",
        choices=("fixed_small", "fixed_large", "learned_range"),
        try_="fixed_large",
        help="variance of the fresh noise",
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
        z = job.spread(job.encode())
        return job.edit(
            ddpm(
                job.clamped(self.denoiser(job), z) if self.clamp else self.denoiser(job),
                job.noise.like(z),
                job.schedule.grid(self.steps),
                job.schedule,
                noise=job.noise,
                kind=cast(Variance, self.variance),
                each=self._follow(job, z),
                on_step=job.watch(),
            )
        )

    def _follow(self, job: Job, z: Latent) -> Each:
        """After a step: the reference's low frequencies and, outside a mask, the picture."""
        schedule, pairs = job.schedule, job.schedule.grid(self.steps)
        y, end = self._reference(job), pairs[-1][1]
        cells, kind = self._cells(job, z), cast(Kind, self.low_pass)
        free = portion(len(pairs), self.stop) + (self.compat == "authors")
        followed = {t for t, _ in pairs[: len(pairs) - free]}
        paste = Paste(schedule, z, job.mask(z), job.noise, end=end)

        def follow(x: Latent, p: Prediction, t: float, s: float) -> Latent:
            if t in followed:
                level = t if self.compat == "authors" else s
                y_s = y if level == end else schedule.mix(y, job.noise.like(y), level)
                x = x + low_pass(y_s - x, cells, kind)
            return paste(x, p, t, s)

        return follow

    def _reference(self, job: Job) -> Latent:
        """The reference's latent in all rows."""
        reference = job.request.reference
        assert reference is not None
        if reference.shape[1:] != job.image.shape[1:] or len(reference) not in (1, len(job.image)):
            raise InputError(
                f"reference: {tuple(reference.shape)} where the picture is {tuple(job.image.shape)}; give it the "
                "picture's shape"
            )
        return job.spread(job.prior.encode(reference))

    def _cells(self, job: Job, z: Latent) -> int:
        """N on the latent's grid."""
        (height, width), sides = job.image.shape[-2:], z.shape[-2:]
        stride = height // sides[0]
        most = math.gcd(*sides)
        if self.factor % stride or most % (self.factor // stride):
            fits = ", ".join(str(n * stride) for n in range(1, most + 1) if most % n == 0)
            raise InputError(
                f"factor: {self.factor} does not divide the canvas of {width} x {height} px, on which this model "
                f"works in cells of {stride} px; take one of {fits}"
            )
        return self.factor // stride
