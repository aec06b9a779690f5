"""The paper's descents: its times, its rate, and the steps at which they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from scumble.core.noise import Noise
from scumble.core.request import Score
from scumble.core.types import Latent, Time
from scumble.loops.descend import Uniform, descend
from scumble.loops.optimizers import Optimizer
from scumble.methods.dds import DDS


def follow(
    score: Score,
    x: Latent,
    noise: Noise,
    at: Sequence[int],
    rate: float = DDS.rate,
    optimizer: Optimizer | None = None,
) -> Latent:
    """The latents after these numbers of the paper's steps from x (b, c, h, w), (len(at), b, c, h, w)."""
    kept = {0: x}

    def watch(k: int, n: int, t: float, now: Latent, clean: Latent) -> None:
        if k in at:
            kept[k] = now

    plan = Uniform(max(at), DDS.t_low, DDS.t_high, rate)
    descend(score, x, plan, noise, optimizer=optimizer, on_step=watch)
    return torch.stack([kept[k] for k in at])


@dataclass(frozen=True)
class Pulled:
    """A score with an L2 pull to a latent: score + weight (x - z)."""

    score: Score
    z: Latent
    weight: float

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        return self.score(x, t, noise) + self.weight * (x - self.z)


def stops(steps: int, shares: Sequence[float] = (0, 0.05, 0.125, 0.25, 0.375, 0.5, 0.75, 1)) -> list[int]:
    """Numbers of steps up to `steps`, at these shares of them."""
    return sorted({round(steps * part) for part in shares})


def times(count: int) -> list[int]:
    """Times spaced evenly over the range that the paper draws from."""
    return [round(DDS.t_low + (DDS.t_high - DDS.t_low) * (k + 0.5) / count) for k in range(count)]
