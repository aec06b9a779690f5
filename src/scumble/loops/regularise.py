"""Pix2Pix-Zero's regularisation of the noise that an inversion predicts (Parmar et al. 2023, arXiv:2302.03027, section
3.2).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time


@dataclass(frozen=True, kw_only=True)
class Regularisation:
    """Weights and repeats. `zero`: a shift may be 0, which penalises variance instead of correlation. This is an error
    in early versions of the code that pipelines still have.
    """

    auto_correlation: float = 20.0
    kl: float = 20.0
    rounds: int = 5
    rolls: int = 5
    zero: bool = False


def regularised(denoise: Denoiser, schedule: Schedule, noise: Noise, values: Regularisation) -> Denoiser:
    """The denoiser with its eps optimised, per picture, towards white noise of mean 0 and variance 1.

    Each round takes `rolls` gradient steps against auto-correlation, with new shifts from `noise`, and one against the
    divergence. The gradients are with respect to eps alone; the network is not differentiated.
    """

    def white(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        eps = denoise(x_t, t, at).eps

        def shifts(side: int) -> Tensor:
            return noise.times(0 if values.zero else 1, max(side // 2, 2), len(eps))

        for _ in range(values.rounds):
            for _ in range(values.rolls):
                grad = _gradient(lambda e: auto_correlation(e, shifts), eps)
                eps = eps - values.auto_correlation / values.rolls * grad
            eps = eps - values.kl * _gradient(divergence, eps)
        return schedule.predict(x_t, t if at is None else at, eps=eps)

    return white


def auto_correlation(eps: Latent, shifts: Callable[[int], Tensor]) -> Tensor:
    """(b,): over channels, scales (halved down to 8) and both axes, the sum of squared correlations with itself.

    `shifts(side)` gives the shift of every picture (b,), one per channel and scale.
    """
    total = eps.new_zeros(len(eps))
    for channel in range(eps.shape[1]):
        plane = eps[:, channel : channel + 1]
        while True:
            side = min(plane.shape[-2:])
            by = [int(shift) for shift in shifts(side)]
            for axis in (1, 2):
                rolled = torch.stack([row.roll(shift, axis) for row, shift in zip(plane, by, strict=True)])
                total = total + (plane * rolled).mean((1, 2, 3)).square()
            if side <= 8:
                break
            plane = torch.nn.functional.avg_pool2d(plane, 2)
    return total


def divergence(eps: Latent) -> Tensor:
    """(b,): twice the divergence of a normal distribution with a picture's mean and variance from N(0, 1)."""
    flat = eps.flatten(1)
    variance = flat.var(1)
    return variance + flat.mean(1) ** 2 - 1 - (variance + 1e-7).log()


def _gradient(loss: Callable[[Latent], Tensor], eps: Latent) -> Latent:
    with torch.enable_grad():
        leaf = eps.detach().requires_grad_()
        return torch.autograd.grad(loss(leaf).sum(), leaf)[0]
