"""Sampling under gradient guidance: what classifier guidance, SDG and Blended Diffusion share.

    mean form    mean <- mean + var g               (Dhariwal & Nichol 2021, arXiv:2105.05233, Algorithm 1)
    score form   eps <- eps - sigma_t g             (Algorithm 2)

g is the gradient of an energy with respect to x_t. A network that knows noise looks at x_t itself; one that does not
looks at sigma_t x0 + (1 - sigma_t) x_t, and its gradient goes through the denoiser (Avrahami et al. 2022).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.guidance import guide, steered
from scumble.core.job import Job
from scumble.core.judges import Judge, seen
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Shift, param, validate
from scumble.core.schedule import Schedule, Variance
from scumble.core.types import Latent, Pair, Time
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.loops.paste import Paste
from scumble.methods._guided import Guided

Energy = Callable[[Tensor, Time | None, Prediction], Tensor]
"""(what the judge looks at, its times, the prediction at x_t) -> (b,), one value per picture, to be raised."""

Gradient = Callable[[Latent, Prediction, Time], Latent]


@dataclass(frozen=True, kw_only=True)
class Steered(Guided):
    """Noise, or a picture noised up to `strength`, sampled down under an energy's gradient."""

    guidance: float = param(
        0.0,
        ge=0,
        try_=3.0,
        help="classifier-free guidance towards the target besides; 1 is the target alone, 0 the negative prompt alone",
    )
    strength: float = param(
        1.0,
        ge=0,
        le=1,
        try_=0.8,
        help="the noise level to start at, as in sdedit; without a picture always noise",
    )
    steps: int = param(
        250, ge=1, try_=20, help="levels of the full path from noise; strength * steps are taken"
    )
    form: str = param(
        "mean",
        choices=("mean", "score"),
        try_="score",
        help="what the gradient moves: the mean of a step that adds noise, or the score, which also works at eta = 0",
    )
    eta: float = param(1.0, ge=0, le=1, try_=0.5, help="fresh noise per step: 1 DDPM, 0 deterministic")
    variance: str = param(
        "fixed_small",
        choices=("fixed_small", "fixed_large", "learned_range"),
        try_="fixed_large",
        help="variance of the fresh noise in the mean form at eta = 1",
    )
    clamp: bool = param(
        False,
        try_=True,
        help="clamp the predicted picture to [-1, 1] before the gradient; for pixel models only",
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.form == "mean" and self.eta == 0:
            raise InputError(
                "eta: 0; form='mean' scales the gradient by the variance of fresh noise, which is 0: "
                "set form='score', or eta above 0"
            )

    def denoiser(self, job: Job) -> Denoiser:
        """The denoiser of the target, or of the negative prompt alone (by default the empty one) at guidance 0."""
        if self.guidance == 0:
            null = job.text(job.negative)
            return guide(job.prior, null, null, 1)
        return super().denoiser(job)

    def start(self, job: Job, z: Latent, pairs: list[Pair]) -> Latent:
        """Noise, on top of the picture where there is one."""
        eps = job.noise.like(z)
        return eps if job.request.image is None else job.prior.schedule.mix(z, eps, pairs[0][0])

    def sample(
        self,
        job: Job,
        judge: Judge,
        energy: Energy,
        z: Latent,
        *,
        each: Each | None = None,
        done: int = 0,
        n: int | None = None,
    ) -> Latent:
        """The clean latent: from z noised, or from noise, down under the energy's gradient.

        After every step what the mask keeps is put back, unless `each` is given.
        """
        schedule = job.prior.schedule
        pairs = self._pairs(schedule)
        if job.request.image is None and self.strength < 1:
            pairs = schedule.grid(self.steps)  # from noise, there is nothing to keep
        if not pairs:
            return z
        denoise = self.denoiser(job)
        traced = None if judge.noisy else Traced(denoise)
        if traced is not None:
            self._check_gradient(job, judge)
            denoise = traced
        if self.clamp:
            denoise = job.clamped(denoise, z)
        gradient = self.gradient(job, judge, energy, traced)
        if each is None:
            each = Paste(schedule, z, job.mask(z), job.noise, end=pairs[-1][1])
        x, watch = self.start(job, z, pairs), job.watch(done, n)
        if self.form == "score":
            loop = partial(ddim, steered(denoise, schedule, gradient), eta=self.eta)
        elif self.eta == 1:
            loop = partial(ddpm, denoise, kind=cast(Variance, self.variance), shift=moving(gradient))
        else:
            loop = partial(ddim, denoise, eta=self.eta, shift=moving(gradient))
        return loop(x, pairs, schedule, noise=job.noise, each=each, on_step=watch)

    def gradient(self, job: Job, judge: Judge, energy: Energy, traced: "Traced | None") -> Gradient:
        """d energy / d x_t, where the judge looks; through the denoiser where its calls are traced."""

        def gradient(x_t: Latent, p: Prediction, t: Time) -> Latent:
            with torch.enable_grad():
                if traced is None:
                    x = x_t.detach().requires_grad_()
                    value = energy(x, t, p)
                else:
                    x, p = traced.x, traced.p
                    value = energy(looked_at(job, judge, x, p, t), None, p)
                return torch.autograd.grad(value.sum(), x)[0]

        return gradient

    def _pairs(self, schedule: Schedule) -> list[Pair]:
        """The last strength * steps moves of the grid, down to the clean level."""
        grid = schedule.grid(self.steps)
        return grid[len(grid) - portion(self.steps, self.strength) :]

    def _check_gradient(self, job: Job, judge: Judge) -> None:
        if "gradient" not in job.prior.card.capabilities:
            raise InputError(
                f"prior: {judge.id!r} judges clean pictures, so its gradient goes through the model, and "
                f"{job.prior.card.id!r} gives none; load it unquantised, its layers not offloaded"
            )


def moving(gradient: Gradient) -> Shift:
    """The mean form: mean + var g."""

    def shift(mean: Latent, var: Tensor, x_t: Latent, p: Prediction, t: Time) -> Latent:
        return mean + var.to(mean) * gradient(x_t, p, t)

    return shift


class Traced:
    """A denoiser whose last call keeps its graph: p is a function of x. What it returns is detached."""

    def __init__(self, denoise: Denoiser):
        self._denoise = denoise
        self.x: Tensor
        self.p: Prediction

    def __call__(self, x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        with torch.enable_grad():
            self.x = x_t.detach().requires_grad_()
            self.p = p = self._denoise(self.x, t, at)
        return Prediction(p.x0.detach(), p.eps.detach(), None if p.var is None else p.var.detach())


def looked_at(job: Job, judge: Judge, x_t: Latent, p: Prediction, t: Time) -> Tensor:
    """What a judge of clean pictures looks at: sigma_t x0 + (1 - sigma_t) x_t, decoded for a judge of pixels."""
    sigma = job.prior.schedule.at(t)[1].to(x_t)
    return seen(judge, job.prior, sigma * p.x0 + (1 - sigma) * x_t)
