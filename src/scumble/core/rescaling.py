"""Guidance whose output is scaled afterwards: to the spread or to the norms that the text's own output has."""

from collections.abc import Callable

import torch
from torch import Tensor

from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time


def rescaled(
    schedule: Schedule, x_t: Latent, at: Time, guided: Prediction, text: Prediction, share: float
) -> Prediction:
    """Guidance whose output has the spread that the text's own has, picture by picture, by a `share` in [0, 1]
    (Lin et al. 2023, arXiv:2305.08891, eq. 14-16). What is rescaled is what the network outputs (eps, v, ...).
    """
    output = schedule.prediction
    said, own = (_output(schedule, p, at) for p in (guided, text))
    gain = own.flatten(1).std(1) / said.flatten(1).std(1).clamp(min=torch.finfo(said.dtype).tiny)
    scaled = said * (1 + share * (gain.reshape(-1, 1, 1, 1) - 1))
    return schedule.predict(x_t, at, **{output: scaled}, var=guided.var)


def normed(schedule: Schedule, at: Time, guided: Prediction, text: Prediction, patch: int) -> Prediction:
    """Guidance whose output has the norm of the text's own in every patch of patch x patch cells, over all channels, as
    Qwen-Image's authors sample it (2025, arXiv:2508.02324; the published pipeline). What is scaled is what the network
    outputs.
    """
    said, own = (_output(schedule, p, at) for p in (guided, text))
    alpha, sigma = (c.to(own) for c in schedule.at(at))
    gain = _norms(own, patch) / _norms(said, patch).clamp(min=torch.finfo(said.dtype).tiny)
    gain = gain.repeat_interleave(patch, -2).repeat_interleave(patch, -1)
    x_t = alpha * text.x0 + sigma * text.eps
    return schedule.predict(x_t, at, **{schedule.prediction: gain * said}, var=guided.var)


def _norms(x: Latent, patch: int) -> Tensor:
    """(b, c, h, w) -> (b, 1, h / patch, w / patch): the norm of each patch, all its channels together."""
    squares = x.square().sum(1, keepdim=True)
    return torch.nn.functional.avg_pool2d(squares, patch, divisor_override=1).sqrt()


def _output(schedule: Schedule, p: Prediction, at: Time) -> Latent:
    alpha, sigma = (c.to(p.eps) for c in schedule.at(at))
    outputs: dict[str, Callable[[], Latent]] = {
        "eps": lambda: p.eps,
        "x0": lambda: p.x0,
        "v": lambda: alpha * p.eps - sigma * p.x0,
        "flow": lambda: p.eps - p.x0,
    }
    return outputs[schedule.prediction]()
