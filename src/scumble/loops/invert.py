"""DDIM inversion: from a picture to the noise that it would come from, in either of two published conventions.

They differ in the time of the network call at level t, on the way up to level s. With "source" the network gets t, the
level of x (Dhariwal & Nichol 2021; DiffusionCLIP, arXiv:2110.02711). With "target" it gets s, the level that x moves
to and the time that the step back down will use (Prompt-to-Prompt, arXiv:2208.01626; null-text inversion,
arXiv:2211.09794). A clean level below every time of the network (-1) is told as 0.
"""

from collections.abc import Sequence
from typing import Literal

from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser
from scumble.core.request import Each, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair
from scumble.loops import steps

Told = Literal["source", "target"]


def invert(
    denoise: Denoiser,
    x: Latent,
    pairs: Sequence[Pair],
    schedule: Schedule,
    *,
    told: Told = "target",
    refine: int = 0,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """Takes x from the level of the first t to the level of the last s; the pairs go up (`grids.upward`).

    It is deterministic. Use it without clamping and without guidance, or the way back does not return. `refine`
    repeats each move with the eps predicted at its result and time s. A fixed point of this is the exact inverse of
    the step back down (Pan et al. 2023, arXiv:2309.04907; Garibi et al. 2024, arXiv:2403.14602).
    """

    def predict(x_t: Latent, t: float, s: float) -> Prediction:
        stands, goes = schedule.time(t, len(x_t)), schedule.time(s, len(x_t))
        p = denoise(x_t, goes if told == "target" else stands.clamp(min=0), stands)
        for _ in range(refine):
            p = schedule.predict(
                x_t, stands, eps=denoise(steps.ddim(p, x_t, t, s, schedule).mean, goes, None).eps
            )
        return p

    return steps.fold(
        predict,
        x,
        pairs,
        schedule,
        lambda p, x_t, t, s, before: steps.ddim(p, x_t, t, s, schedule),
        each=each,
        on_step=on_step,
    )
