"""SDE-DPM-Solver++ (Lu et al. 2022, arXiv:2211.01095, appendix B): DDPM's posterior, and its second-order form.

Order 1 is the step of `ddpm` with the small variance, and DDIM's with eta = 1. Order 2 continues the line through
the last two clean predictions, over the log of the signal-to-noise ratio.
"""

from collections.abc import Sequence

from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair


def dpm(
    denoise: Denoiser,
    x: Latent,
    pairs: Sequence[Pair],
    schedule: Schedule,
    *,
    order: int = 2,
    noise: Noise | None = None,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """x at the level of the first t -> x at the level of the last s.

    Draws from `noise` after the network, except in a step to the clean level; without one `each` adds what there
    is to add.
    """
    before: tuple[float, Latent] | None = None
    for k, (t, s) in enumerate(pairs, 1):
        p = denoise(x, schedule.time(t, len(x)), None)
        x_s, std = posterior(schedule, x, p.x0, (t, s), before)
        if noise is not None and s != schedule.clean:
            x_s = x_s + std.to(x) * noise.like(x)
        before = (t, p.x0) if order == 2 else None
        x = x_s if each is None else each(x_s, p, t, s)
        if on_step is not None:
            on_step(k, len(pairs), t, x, p.x0)
    return x


def posterior(
    schedule: Schedule, x: Latent, x0: Latent, pair: Pair, before: tuple[float, Latent] | None
) -> tuple[Latent, Tensor]:
    """(mean, std) of a step from x; `before`: the level above and what was predicted there, for order 2.

    A step to the clean level is of order 1: its log ratio is infinite.
    """
    t, s = pair
    c_x0, c_xt, std = schedule.posterior(t, s)
    if before is not None and s != schedule.clean:
        above, x0_above = before
        ratios = [schedule.at(level) for level in (above, t, s)]
        log_above, log_t, log_s = [(alpha / sigma).log() for alpha, sigma in ratios]
        x0 = x0 + ((log_s - log_t) / (log_t - log_above) / 2).to(x) * (x0 - x0_above)
    return c_x0.to(x) * x0 + c_xt.to(x) * x, std
