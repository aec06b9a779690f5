"""How far a latent moves with the colours of its picture: what forms that make pictures scale themselves by."""

import torch

from scumble.core.host import isolated
from scumble.core.prior import Prior
from scumble.core.types import Image

NUDGE = 0.1  # of a colour, to see how far the latent moves


@isolated()
def pace(prior: Prior, image: Image) -> float:
    """stride / gain: a picture in units of it takes steps of the latent's own length, where all pixels agree.

    stride: the pixels on the side of a latent cell. gain: how far the cell moves with its colour (RMS). Then a
    cell's stride^2 pixels each move by gain / stride^2 of a step, and the cell, by gain of that, by
    (gain / stride)^2 of what it would have moved by itself.
    """
    inside = (1 - NUDGE) * image
    z = prior.encode(inside)
    colours = torch.eye(3, dtype=inside.dtype, device=inside.device)
    nudged = torch.stack([prior.encode(inside + NUDGE * colour[:, None, None]) for colour in colours])
    gain = float((nudged - z).square().sum(2).mean().sqrt()) / NUDGE
    return image.shape[-1] / z.shape[-1] / gain
