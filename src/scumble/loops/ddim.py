"""DDIM (Song et al. 2021, arXiv:2010.02502, eq. 12): a step re-mixes the two ends at the next level.

Down the grid it samples; up the grid it inverts (see `invert`); on a rectified flow it is Euler's method.
"""

from collections.abc import Sequence

from scumble.core.noise import Noise
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Shift, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair


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
    """x at the level of the first t -> x at the level of the last s. eta > 0 draws from `noise`, after the
    network.
    """
    if eta and noise is None:
        raise TypeError("ddim() with eta > 0 needs noise")
    for k, (t, s) in enumerate(pairs, 1):
        now = schedule.time(t, len(x))
        p = denoise(x, now, None)
        kept, fresh = schedule.ddim(t, s, eta)
        x_s = schedule.at(s)[0].to(x) * p.x0 + kept.to(x) * p.eps
        if shift is not None:
            x_s = shift(x_s, fresh**2, x, now)
        if noise is not None and float(fresh) > 0:
            x_s = x_s + fresh.to(x) * noise.like(x)
        x = x_s if each is None else each(x_s, p, t, s)
        if on_step is not None:
            on_step(k, len(pairs), t, x, p.x0)
    return x
