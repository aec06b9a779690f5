"""DPM-Solver++ (2M) (Lu et al. 2022, arXiv:2211.01095, Algorithm 2) and its SDE form (appendix B).

At order 1 these are DDIM's steps: with eta = 0 for the ODE form, and with eta = 1 (DDPM with the small variance) for
the SDE form.
"""

from collections.abc import Sequence

from scumble.core.noise import Noise
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair
from scumble.loops import steps


def dpm(
    denoise: Denoiser,
    x: Latent,
    pairs: Sequence[Pair],
    schedule: Schedule,
    *,
    order: int = 2,
    stochastic: bool = True,
    noise: Noise | None = None,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """x at the level of the first t -> x at the level of the last s.

    stochastic: the SDE form, which draws from `noise` after the network, except in a step to the clean level;
    without `noise` only the mean counts, and `each` may add noise of its own (edit-friendly inversion).
    """
    return steps.fold(
        lambda x_t, t, s: denoise(x_t, schedule.time(t, len(x_t)), None),
        x,
        pairs,
        schedule,
        lambda p, x_t, t, s, before: steps.dpm(
            p, x_t, t, s, schedule, order=order, stochastic=stochastic, before=before
        ),
        noise=noise,
        each=each,
        on_step=on_step,
    )
