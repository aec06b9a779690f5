"""Small worlds in float64, in which everything is known."""

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.schedule import Schedule
from scumble.priors.exact import FinitePrior, GaussianPrior

CHAINS = {
    "linear": Schedule.linear(),
    "scaled_linear": Schedule.scaled_linear(),
    "cosine": Schedule.cosine(),
    "short": Schedule.linear(50, 0.002, 0.3),
}
SCHEDULES = {**CHAINS, "flow": Schedule.flow()}
MEANS = {"": 0.1, "cat": (0.6, -0.2, 0.0), "tiger": (-0.3, 0.4, 0.9)}


def normal(*shape: int, seed: int = 7) -> Tensor:
    return Noise(seed, shape[0]).like(torch.empty(shape, dtype=torch.float64))


def picture(b: int = 1, h: int = 4, w: int = 6, seed: int = 1) -> Tensor:
    return 0.4 * normal(b, 3, h, w, seed=seed)


def gaussian(schedule: Schedule | None = None, std: float = 0.5) -> GaussianPrior:
    return GaussianPrior(MEANS, std, schedule)


def mean(prompt: str) -> Tensor:
    return torch.as_tensor(MEANS[prompt], dtype=torch.float64).expand(3).reshape(1, 3, 1, 1)


def finite(schedule: Schedule | None = None) -> FinitePrior:
    """Six pictures of three kinds."""
    captions = ("a red dot", "a red bar", "a blue dot", "a blue bar", "a green dot", "a green bar")
    return FinitePrior(picture(6, 4, 4), captions, lambda prompt, caption: prompt in caption, schedule)
