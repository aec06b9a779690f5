"""What DiffusionCLIP and Asyrp train towards: the edit, measured in the embeddings of a CLIP. Pure functions.

The directional loss is StyleGAN-NADA's (Gal et al. 2022, arXiv:2108.00946, eq. 2): the picture is to move in the
space of embeddings as the text does. Embeddings are unit vectors (b, d).
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from scumble.core.types import Latent

TEMPLATES = (
    "{}", "a picture of {}", "a photo of {}", "a good photo of {}", "a photo of the {}", "a close-up of {}",
    "a drawing of {}", "a painting of {}", "an image of {}", "a bright photo of {}", "a dark photo of {}",
    "a cropped photo of {}",
)  # fmt: skip
"""Sentences around the words of an edit: what they share drops out of the difference."""

_linalg: Any = torch.linalg  # its stubs say nothing
Embeddings = Float[Tensor, "b d"]


def text_direction(source: Embeddings, target: Embeddings) -> Float[Tensor, "1 d"]:
    """The unit vector from the source's sentences to the target's: the mean over templates of the differences.

    Rows are normalised first, so that no template weighs more than another.
    """
    apart = F.normalize(target, dim=-1) - F.normalize(source, dim=-1)
    return F.normalize(apart.mean(0, keepdim=True), dim=-1)


def directional(
    before: Embeddings, after: Embeddings, direction: Float[Tensor, "1 d"]
) -> Float[Tensor, " b"]:
    """d = 1 - cos(dI, dT) per picture, 0 to 2: how far the picture's move is from the text's."""
    moved = after - before
    length: Tensor = _linalg.vector_norm(moved, dim=-1, keepdim=True)  # its gradient at 0 is 0
    moved = moved / (length + 1e-7)
    return 1 - F.cosine_similarity(moved, direction.to(moved))


def penalty(d: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """-log((2 - d) / 2): 0 where the moves agree, unbounded where they are opposite.

    DiffusionCLIP's code (Kim et al. 2022, arXiv:2110.02711) minimises this and not d itself.
    """
    return -((2 - d) / 2).log()


def l1(before: Latent, after: Latent) -> Float[Tensor, " b"]:
    """The mean absolute difference of every picture, or of every latent."""
    return (before - after).abs().flatten(1).mean(1)


def identity(before: Embeddings, after: Embeddings) -> Float[Tensor, " b"]:
    """1 - <A(before), A(after)>: whether it is still the same one, in the eyes of an embedder of identities."""
    return 1 - (F.normalize(before, dim=-1) * F.normalize(after, dim=-1)).sum(-1)


def likeness(source: Embeddings, target: Embeddings) -> float:
    """cos of the mean embeddings of two texts: how alike they are (Kwon et al. 2023, arXiv:2210.10960, eq. 9)."""
    means = (F.normalize(x, dim=-1).mean(0) for x in (source, target))
    return float(F.cosine_similarity(*means, dim=0).detach().to(torch.float64))
