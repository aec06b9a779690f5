"""DDPM ancestral sampling (Ho et al. 2020, arXiv:2006.11239, eq. 6-7) over any pairs of levels."""

from collections.abc import Sequence

from scumble.core.noise import Noise
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Shift, Watch
from scumble.core.schedule import Schedule, Variance
from scumble.core.types import Latent, Pair
from scumble.loops import steps


def ddpm(
    denoise: Denoiser,
    x: Latent,
    pairs: Sequence[Pair],
    schedule: Schedule,
    *,
    noise: Noise,
    kind: Variance = "fixed_small",
    shift: Shift | None = None,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """Takes x from the level of the first t to the level of the last s.

    Draws from `noise` after the network call, except in a step to the clean level, which adds no noise.
    """
    return steps.fold(
        lambda x_t, t, s: denoise(x_t, schedule.time(t, len(x_t)), None),
        x,
        pairs,
        schedule,
        lambda p, x_t, t, s, before: steps.ddpm(p, x_t, t, s, schedule, kind=kind, before=before),
        noise=noise,
        shift=shift,
        each=each,
        on_step=on_step,
    )
