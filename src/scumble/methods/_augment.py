"""Random views of a picture: small rotations, shifts and changes of perspective, as Blended Diffusion shows to CLIP."""

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.core.noise import Noise
from scumble.core.types import Latent

TURN, MOVE, TILT, CHANCE = 15.0, 0.1, 0.7, 0.7
"""Degrees, share of the side, share of half the side that a corner may move inwards; the chance of each of the two."""


def augmented(y: Latent, n: int, noise: Noise) -> Tensor:
    """(b, c, h, w) -> (n b, c, h, w): y itself, then n - 1 random views of each picture; differentiable.

    Each view is turned and moved with a chance of 0.7, and tilted with a chance of 0.7; border values fill what
    comes into sight. Draws n - 1 times 13 numbers per picture.
    """
    if n == 1:
        return y
    draws = noise.like(y.new_empty(len(y), n - 1, 13, 1).float())[
        ..., 0
    ].cpu()  # some devices have no float64
    uniform = (
        1 + torch.erf(draws.movedim(1, 0).reshape(-1, 13).double() / math.sqrt(2))
    ) / 2  # (n - 1) b views
    corners = _moved(_tilted(uniform), uniform)
    grid = _grid(corners, (y.shape[-2], y.shape[-1])).to(y)
    views = F.grid_sample(y.repeat(n - 1, 1, 1, 1), grid, padding_mode="border", align_corners=False)
    return torch.cat([y, views])


def _tilted(u: Tensor) -> Tensor:
    """The corners (m, 4, 2) of what a view shows, in [-1, 1]: each moved inwards, or none."""
    square = u.new_tensor([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    tilted = square * (1 - TILT * u[:, 5:].reshape(-1, 4, 2))
    return torch.where((u[:, 4] < CHANCE)[:, None, None], tilted, square)


def _moved(corners: Tensor, u: Tensor) -> Tensor:
    """The corners turned about the centre and moved, or as they are."""
    angle = (2 * u[:, 1] - 1) * math.radians(TURN)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], -1).reshape(-1, 2, 2)
    shift = (2 * u[:, 2:4] - 1) * 2 * MOVE
    return torch.where((u[:, 0] < CHANCE)[:, None, None], corners @ turn + shift[:, None], corners)


def _grid(corners: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each pixel of a view comes from, (m, h, w, 2): the projective map of the square to the corners."""
    h, w = size
    square = corners.new_tensor([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    x, y = square[:, 0].expand(len(corners), 4), square[:, 1].expand(len(corners), 4)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    u, v = corners.unbind(-1)
    rows = [
        torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], -1),
        torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], -1),
    ]
    solved: Tensor = cast(Any, torch.linalg).solve(torch.cat(rows, 1), torch.cat([u, v], 1))  # (m, 8)
    matrix = torch.cat([solved, torch.ones_like(solved[:, :1])], 1).reshape(-1, 3, 3)
    ys = (torch.arange(h, dtype=corners.dtype, device=corners.device) * 2 + 1) / h - 1
    xs = (torch.arange(w, dtype=corners.dtype, device=corners.device) * 2 + 1) / w - 1
    points = torch.stack([xs.expand(h, w), ys[:, None].expand(h, w), xs.new_ones(h, w)], -1)
    mapped = points.reshape(-1, 3) @ matrix.mT
    return (mapped[..., :2] / mapped[..., 2:]).reshape(-1, h, w, 2)
