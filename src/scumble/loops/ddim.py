"""DDIM (Song et al. 2021, arXiv:2010.02502, eq. 12): a step mixes x0 and eps again at the next level.

Down the grid it samples; up the grid it inverts (see `invert`); on a rectified flow it is Euler's method.
"""

from collections.abc import Sequence

from scumble.core.errors import InputError
from scumble.core.noise import Noise
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Shift, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair
from scumble.loops import steps


def ddim(
    denoise: Denoiser,
    x: Latent,
    pairs: Sequence[Pair],
    schedule: Schedule,
    *,
    eta: float = 0.0,
    noise: Noise | None = None,
    shift: Shift | None = None,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """Takes x from the level of the first t to the level of the last s.

    With eta > 0 it draws from `noise`, after the network call. Raises InputError for a `shift` at eta = 0: a shift
    moves the mean by the variance of the new noise, so it would have no effect.
    """
    if eta and noise is None:
        raise TypeError("ddim() with eta > 0 needs noise")
    if shift is not None and not eta:
        raise InputError(
            "eta: 0; gradient guidance that shifts the mean is scaled by the step's variance, which is 0: take "
            "eta > 0, or guide the score instead (scumble.core.guidance.steered)"
        )
    return steps.fold(
        lambda x_t, t, s: denoise(x_t, schedule.time(t, len(x_t)), None),
        x,
        pairs,
        schedule,
        lambda p, x_t, t, s, before: steps.ddim(p, x_t, t, s, schedule, eta=eta),
        noise=noise,
        shift=shift,
        each=each,
        on_step=on_step,
    )
