"""What must stay, put into the state of a loop at the level where that state stands.

Published codes differ in four things, and mostly say so nowhere: when they paste, at which level, with which noise,
and whether the kept region ends clean. `Paste` has one setting for each.

| code | when | level | noise | ends clean |
|---|---|---|---|---|
| here, by default | after a step | of x after it | fresh | yes |
| SDEdit, Algorithm 2 as published | after a step | one too noisy | one draw | no |
| RePaint; Blended Latent Diffusion | before the network | of x | fresh | no |
| Blended Diffusion | after a step | one too noisy | fresh | yes |
| inpainting pipelines | after a step | of x after it | one draw | yes |
"""

from dataclasses import dataclass
from typing import Literal

from scumble.core.masks import blend
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Mask

Level = Literal["next", "current"]


@dataclass(frozen=True, eq=False)
class Paste:
    """mask x + (1 - mask) (alpha z + sigma eps): an `Each` of the loops, and `at` for pasting before the network.

    `z` (b, c, h, w): the clean latents of what stays. `mask` None: nothing does. `noise`: eps, drawn afresh at every
    paste, or one draw for all of them. `level`: that of x after the step, "next", or where the step began, "current",
    which is one too noisy. `end`: the level at which z itself is put in, without noise; None: never.
    """

    schedule: Schedule
    z: Latent
    mask: Mask | None
    noise: Noise | Latent
    level: Level = "next"
    end: float | None = None

    def __call__(self, x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        """x_s after a step from level t to level s, with what stays in its place."""
        return self.at(x_s, s if self.level == "next" else t)

    def at(self, x: Latent, level: float) -> Latent:
        """x with what stays in its place, noised to a level; draws nothing at the level `end`."""
        if self.mask is None:
            return x
        if level == self.end:
            return blend(self.z, x, self.mask)
        eps = self.noise.like(self.z) if isinstance(self.noise, Noise) else self.noise
        return blend(self.schedule.mix(self.z, eps, level), x, self.mask)
