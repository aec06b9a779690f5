"""One move from level t to level s, as pure functions, and `fold`, which runs them over a grid.

Every loop of the library folds one of these, or calls them one by one (edit-friendly inversion, FlowEdit). A step
draws nothing: it returns the mean of x_s and the standard deviation of the noise to add.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.request import Each, Shift, Watch
from scumble.core.schedule import Schedule, Variance
from scumble.core.types import Latent, Pair


@dataclass(frozen=True, eq=False)
class Move:
    """x_s = mean + std z, with z standard normal noise.

    `std` is None if no noise is added. `var` is the factor for gradient guidance: std^2, except in DDPM's step to the
    clean level, which adds no noise but still has a variance (see `Schedule.posterior`), unless it is fixed_small.
    """

    mean: Latent
    std: Tensor | None
    var: Tensor

    def draw(self, mean: Latent, noise: Noise) -> Latent:
        """mean + std z; `mean`, if given, replaces the step's own (a shifted one)."""
        return mean if self.std is None else mean + self.std.to(mean) * noise.like(mean)


Before = tuple[float, Latent]
"""(level, x0) of the move above: where it started, and what was predicted there."""

Step = Callable[[Prediction, Latent, float, float, Before | None], Move]
"""(p, x_t, t, s, before) -> the move of x_t from level t to level s, given the prediction p at x_t."""


def ddim(p: Prediction, x_t: Latent, t: float, s: float, schedule: Schedule, *, eta: float = 0.0) -> Move:
    """x_s = alpha_s x0 + sqrt(sigma_s^2 - std^2) eps + std z (Song et al. 2021, arXiv:2010.02502, eq. 12).

    eta = 0 is deterministic and goes up as well as down; on a rectified flow it is Euler's step.
    """
    if not eta:
        mean = schedule.mix(p.x0, p.eps, s)
        return Move(mean, None, torch.zeros_like(mean[:, :1, :1, :1]))
    kept, fresh = schedule.ddim(t, s, eta)
    mean = schedule.at(s)[0].to(x_t) * p.x0 + kept.to(x_t) * p.eps
    return Move(mean, fresh if float(fresh) > 0 else None, fresh**2)


def ddpm(
    p: Prediction,
    x_t: Latent,
    t: float,
    s: float,
    schedule: Schedule,
    *,
    kind: Variance = "fixed_small",
    before: Before | None = None,
) -> Move:
    """x_s = c_x0 x0 + c_xt x_t + std z (Ho et al. 2020, arXiv:2006.11239, eq. 6-7).

    `kind` and the network's `p.var` decide std; the level of the move `before` stands in for it at the clean
    level, where no noise is added.
    """
    c_x0, c_xt, std = schedule.posterior(t, s, kind, p.var, above=None if before is None else before[0])
    mean = c_x0.to(x_t) * p.x0 + c_xt.to(x_t) * x_t
    if s == schedule.clean:
        return Move(mean, None, torch.zeros_like(std) if kind == "fixed_small" else std**2)
    return Move(mean, std, std**2)


def dpm(
    p: Prediction,
    x_t: Latent,
    t: float,
    s: float,
    schedule: Schedule,
    *,
    order: int = 2,
    stochastic: bool = True,
    before: Before | None = None,
) -> Move:
    """DPM-Solver++ (2M) (Lu et al. 2022, arXiv:2211.01095, Algorithm 2), or its SDE form (appendix B).

    Order 1 is `ddim` with eta = 0, of the SDE `ddpm` with the small variance. Order 2 continues the line through the
    last two clean predictions, over the log of the signal-to-noise ratio; without a move `before`, and where a ratio
    is infinite or zero (to the clean level, from pure noise), it is of order 1.
    """
    x0 = p.x0
    if order == 2 and before is not None and s != schedule.clean:
        above, x0_above = before
        log_above, log_t, log_s = [
            (alpha / sigma).log() for alpha, sigma in (schedule.at(level) for level in (above, t, s))
        ]
        if bool(log_above.isfinite().all()):
            x0 = x0 + ((log_s - log_t) / (log_t - log_above) / 2).to(x_t) * (x0 - x0_above)
    if not stochastic:
        (alpha_s, sigma_s), (alpha_t, sigma_t) = schedule.at(s), schedule.at(t)
        ratio = sigma_s / sigma_t
        mean = (alpha_s - ratio * alpha_t).to(x_t) * x0 + ratio.to(x_t) * x_t
        return Move(mean, None, torch.zeros_like(mean[:, :1, :1, :1]))
    c_x0, c_xt, std = schedule.posterior(t, s)
    return Move(c_x0.to(x_t) * x0 + c_xt.to(x_t) * x_t, None if s == schedule.clean else std, std**2)


def forward(x_s: Latent, s: float, t: float, schedule: Schedule) -> Move:
    """x_t = scale x_s + std z, up again from level s to level t: RePaint's jumps (Lugmayr et al. 2022,
    arXiv:2201.09865, eq. 1 over any stride).
    """
    scale, std = schedule.forward(s, t)
    return Move(scale.to(x_s) * x_s, std, std**2)


def fold(
    predict: Callable[[Latent, float, float], Prediction],
    x: Latent,
    pairs: Sequence[Pair],
    schedule: Schedule,
    step: Step,
    *,
    noise: Noise | None = None,
    shift: Shift | None = None,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """x at the level of the first t -> x at the level of the last s, one `step` per pair.

    `predict(x, t, s)` is what the network says at level t on the way to s. `shift` moves the mean of a step,
    then its noise is drawn from `noise` (None: only the mean counts), then `each` sees the state. Reports the
    noisier level of every move.
    """
    before: Before | None = None
    for k, (t, s) in enumerate(pairs, 1):
        p = predict(x, t, s)
        move = step(p, x, t, s, before)
        mean = move.mean if shift is None else shift(move.mean, move.var, x, p, schedule.time(t, len(x)))
        x_s = mean if noise is None else move.draw(mean, noise)
        x = x_s if each is None else each(x_s, p, t, s)
        before = (t, p.x0)
        if on_step is not None:
            on_step(k, len(pairs), max(t, s), x, p.x0)
    return x
