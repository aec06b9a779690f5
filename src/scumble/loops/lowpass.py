"""Low-pass filters by resampling: down by a factor and up again, as pure matrix algebra.

"box" takes the mean of every block and repeats it: an exact projection. "bicubic" is the antialiased cubic resampling
of ILVR's published code, which is no projection: filtered twice, a picture changes again by about a sixth.
"""

from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.core.types import Latent

Kind = Literal["bicubic", "box"]


def low_pass(x: Latent, factor: int, kind: Kind = "bicubic") -> Latent:
    """phi_N(x): what is left of x (b, c, h, w) after going down by `factor` on both axes, and up again.

    Both sides must be multiples of the factor; a factor of 1 leaves x as it is.
    """
    return resize(resize(x, factor, kind, down=True), factor, kind)


def resize(x: Latent, factor: int, kind: Kind = "bicubic", *, down: bool = False) -> Float[Tensor, "b c _ _"]:
    """x on a grid `factor` times as fine on both axes, or as coarse."""
    rows, columns = (_resampling(n, factor, kind, down).to(x) for n in x.shape[-2:])
    return rows @ x @ columns.T


@cache
def _resampling(n: int, factor: int, kind: Kind, down: bool) -> Tensor:
    """(n', n) float64: the weights of the n samples in each of the n' new ones."""
    if kind == "box":
        blocks = torch.eye(n // factor if down else n, dtype=torch.float64).repeat_interleave(factor, 0)
        return blocks.T / factor if down else blocks
    scale = 1 / factor if down else float(factor)
    new = torch.arange(1, round(n * scale) + 1, dtype=torch.float64)
    centres = new / scale + (1 - 1 / scale) / 2  # 1-based, pixel centres aligned
    support = 4 / min(scale, 1)
    first = (centres - support / 2).floor()
    taps = first[:, None] + torch.arange(int(support) + 2, dtype=torch.float64)
    stretch = min(scale, 1)  # a wider kernel going down: no aliasing
    weights = _cubic(stretch * (centres[:, None] - taps))
    weights = weights / weights.sum(1, keepdim=True)
    mirrored = torch.remainder(taps - 1, 2 * n)
    index = torch.where(mirrored < n, mirrored, 2 * n - 1 - mirrored).long()
    table = torch.zeros(len(new), n, dtype=torch.float64)
    return table.scatter_add_(1, index, weights)


def _cubic(d: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5."""
    d = d.abs()
    near, far = 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return torch.where(d <= 1, near, torch.where(d <= 2, far, 0.0))
