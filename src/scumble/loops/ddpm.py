"""DDPM ancestral sampling (Ho et al. 2020, arXiv:2006.11239, eq. 6-7) over any pairs of levels."""

from collections.abc import Sequence

from scumble.core.noise import Noise
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Shift, Watch
from scumble.core.schedule import Schedule, Variance
from scumble.core.types import Latent, Pair


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
    """x at the level of the first t -> x at the level of the last s.

    Draws from `noise` after the network, except in a step to the clean level, which adds none.
    """
    above: float | None = None
    for k, (t, s) in enumerate(pairs, 1):
        now = schedule.time(t, len(x))
        p = denoise(x, now, None)
        c_x0, c_xt, std = schedule.posterior(t, s, kind, p.var, above=above)
        x_s = c_x0.to(x) * p.x0 + c_xt.to(x) * x
        if shift is not None:
            x_s = shift(x_s, std**2, x, now)
        if s != schedule.clean:
            x_s = x_s + std.to(x) * noise.like(x)
        x = x_s if each is None else each(x_s, p, t, s)
        above = t
        if on_step is not None:
            on_step(k, len(pairs), t, x, p.x0)
    return x
