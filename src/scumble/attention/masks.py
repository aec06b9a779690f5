"""Masks from attention maps and guidance: where a concept is, and where it would change most (Brack et al. 2024,
arXiv:2311.16711, section 3.3).
"""

import torch
from torch import Tensor

from scumble.core.text import Text
from scumble.core.types import Latent, Mask


def concept_mask(maps: Tensor, text: Text, level: float, size: tuple[int, int], *, published: bool) -> Mask:
    """(b, 1, *size): 1 where the tokens of a prompt together get at least the quantile `level` of what they get in
    their map (b, L, h, w), smoothed. `published` smooths with the broader kernel of the code.
    """
    found = torch.stack([maps[i, tokens].sum(0) for i, tokens in enumerate(spelled(text))])[:, None]
    mask = at_least(smoothed(found, 0.5 * 2**0.5 if published else 0.5), level)
    return torch.nn.functional.interpolate(mask, size)


def guidance_mask(guidance: Latent, level: float) -> Mask:
    """(b, 1, h, w): 1 where the guidance, summed over channels, is at least its quantile `level`."""
    return at_least(guidance.abs().sum(1, keepdim=True), level)


def at_least(x: Tensor, level: float) -> Mask:
    """1 where x (b, 1, h, w) is at least the quantile `level` of its row."""
    return (x >= x.float().flatten(1).quantile(level, dim=1).to(x)[:, None, None, None]).to(x)


def smoothed(x: Tensor, sigma: float) -> Tensor:
    """x (b, 1, h, w) under a Gaussian of 3 x 3, reflected at the edges."""
    line = torch.exp(-(torch.tensor([1.0, 0, 1], dtype=torch.float32) ** 2) / (2 * sigma**2)).to(x)
    kernel = line[:, None] * line
    return torch.nn.functional.conv2d(
        torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"), (kernel / kernel.sum())[None, None]
    )


def spelled(text: Text) -> list[list[int]]:
    """For every row, the positions of the tokens that spell its prompt: neither start, end nor padding."""
    return [[i for i, (start, end) in enumerate(offsets) if end > start] for offsets in text.offsets]
