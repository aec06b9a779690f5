"""What an edit did, measured without a reference: how far it moved the picture, and in which direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import ImageChops
from torch import Tensor
from torch.nn import functional as F

from scumble.core.control import SOURCE, TARGET
from scumble.core.host import isolated
from scumble.core.noise import Noise
from scumble.core.pixels import Pixels
from scumble.core.prior import Panel, Prior
from scumble.core.types import Image, Latent

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

DRAWS = 8  # (time, noise) pairs of a margin: half a per cent of what a DDS edit of 200 steps asks


def distance(before: Picture, after: Picture) -> float:
    """The root mean square difference of two pictures of one size, over pixels and RGB, in 8-bit steps."""
    change = ImageChops.difference(before.convert("RGB"), after.convert("RGB"))
    counts = np.asarray(change.histogram(), dtype=np.float64).reshape(3, 256)
    return float(np.sqrt((counts * np.arange(256) ** 2).sum() / counts.sum()))


def ssim(a: Pixels, b: Pixels) -> float:
    """The structural similarity of two pictures (Wang et al. 2004, eq. 13), mean over pixels of their luma.

    A Gaussian window of 11 x 11 pixels, sigma 1.5; K1 = 0.01, K2 = 0.03; only where the window is whole.
    """
    x, y = (torch.as_tensor(each @ np.array([0.299, 0.587, 0.114]))[None, None] for each in (a, b))
    taps = torch.exp(-0.5 * ((torch.arange(11, dtype=torch.float64) - 5) / 1.5) ** 2)
    window = (taps[:, None] * taps / taps.sum() ** 2)[None, None]

    def mean(of: Tensor) -> Tensor:
        return F.conv2d(of, window)

    mx, my = mean(x), mean(y)
    vx, vy, vxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    found = (2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    return float(found.mean())


@isolated()
def margin(
    prior: Prior, image: Image, source: str, target: str, draws: int = DRAWS, latent: Latent | None = None
) -> float:
    """How much better `target` explains a picture than `source`, in the model's own terms.

    The mean over t and noise of ||eps(x_t, source) - noise||^2 - ||eps(x_t, target) - noise||^2, per element
    of the latent: the margin of a diffusion classifier (Li et al. 2023, arXiv:2303.16203, eq. 5), unguided,
    at `draws` evenly spaced times with fixed noise. `image` is (1, 3, H, W) in [-1, 1] on the canvas;
    `latent`: the same as the prior encodes it, where that is known already.

    Law: from a picture a to a picture b it grows by 2 c <b - a, mu_target - mu_source> where each prompt is a
    Gaussian N(mu, s^2), c > 0: of all that changed it counts what went the prompts' way, and the noise drops
    out. It costs 2 * draws evaluations.
    """
    height, width = image.shape[-2:]
    texts = [prior.embed([prompt], size=(height, width)) for prompt in (source, target)]
    panel = Panel({SOURCE: texts[0], TARGET: texts[1]})
    x = prior.encode(image) if latent is None else latent
    schedule, noise = prior.schedule, Noise(0)

    def gain(k: int) -> float:
        t = schedule.time(schedule.T * (2 * k + 1) // (2 * draws), 1)
        eps = noise.like(x)
        x_t = schedule.mix(x, eps, t)
        p = panel.ask(prior, {SOURCE: x_t, TARGET: x_t}, t)
        return _error(p[SOURCE].eps, eps) - _error(p[TARGET].eps, eps)

    return sum(gain(k) for k in range(draws)) / draws


def _error(eps: Latent, noise: Latent) -> float:
    return float((eps.double() - noise).square().mean())


def pareto(edits: Sequence[tuple[float, float]]) -> list[bool]:
    """Of (distance, direction), those that no other beats: closer with at least the same direction, or further along
    with at most the same distance. The unchanged input, (0, 0), competes, so results without direction are not among
    them.
    """
    rivals = [(0.0, 0.0), *edits]

    def beaten(edit: tuple[float, float]) -> bool:
        return any(d <= edit[0] and m >= edit[1] and (d, m) != edit for d, m in rivals)

    return [edit[1] > 0 and not beaten(edit) for edit in edits]
