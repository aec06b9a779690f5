"""Networks that judge, in closed form: what methods that need a classifier or a CLIP are given in the kit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.core.judges import Classifier, Embedder
from scumble.core.prior import Prior
from scumble.core.request import EditRequest

CLASSES = ("a", "b", "red")


def weights(rows: int, columns: int) -> Tensor:
    """Fixed numbers that look random."""
    return torch.linspace(0, 60, rows * columns, dtype=torch.float64).cos().reshape(rows, columns)


def pooled(x: Tensor) -> Tensor:
    """(b, 4 c): four numbers of every channel."""
    return F.adaptive_avg_pool2d(x, (1, 4)).flatten(1)


def tau(x: Tensor, t: Tensor | None) -> Tensor:
    """The time as a column; 0 of clean pictures."""
    return x.new_zeros(len(x), 1) if t is None else t.to(x)[:, None] / 1000


class Plain:
    """It judges x_t, or clean pictures, of any prior whose latents it is given as they are."""

    id, hash, space = "closed form", "", "latents"

    def __init__(self, *, noisy: bool = True):
        self.noisy = noisy

    def check(self, prior: Prior) -> None: ...


class PlainClassifier(Plain, Classifier):
    classes, groups = CLASSES, ((0, 1, 2),)

    def log_prob(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        features = torch.tanh(pooled(x) * (1 - 0.5 * tau(x, t)))
        return F.log_softmax(features @ weights(features.shape[1], len(self.classes)).to(x), 1)


class PlainClip(Plain, Embedder):
    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        features = torch.tanh(2 * pooled(x) + 0.3 * tau(x, t) + 0.1)
        return F.normalize(features @ weights(features.shape[1], 8).to(x), dim=1)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        letters = [sum(map(ord, prompt)) % 97 + 1 for prompt in prompts]
        angle = torch.tensor(letters, dtype=torch.float64)[:, None] * torch.arange(1, 9)
        return F.normalize(angle.sin(), dim=1)

    def clean(self) -> "PlainClip":
        return PlainClip(noisy=False)

    def maps(self, x: Tensor, t: Tensor | None = None) -> tuple[Tensor, ...]:
        return torch.tanh(x + 0.1 * tau(x, t)[..., None, None]), F.avg_pool2d(x, 2)


def given(request: EditRequest) -> Mapping[str, object]:
    """What every request of the kit is given; methods take what they need."""
    return {
        "classifier": PlainClassifier(),
        "clip": PlainClip(),
        "perceptual": lambda a, b: (a - b).abs().mean((1, 2, 3)),
    }
