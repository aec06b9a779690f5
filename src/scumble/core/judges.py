"""Networks that say what a picture shows: picture-text embedders (CLIP) and classifiers. They guide by their gradient.

| `space` | `noisy` | what it is given |
|---|---|---|
| "pixels" | False | pictures (b, 3, H, W) in [-1, 1]; it resizes and normalises them itself |
| "pixels" | True | x_t (b, 3, H, W) of a pixel model, with its times t (b,) |
| "latents" | False | clean latents (b, c, h, w) of one codec |
| "latents" | True | x_t (b, c, h, w) of one codec, with the times t (b,) of the prior; t = clean level: clean latents |

All are differentiable in what they are given: no no_grad inside, and none changes its network.
"""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.core.types import Image, Latent, Time

Space = Literal["pixels", "latents"]


@runtime_checkable
class Judge(Protocol):
    """What embedders and classifiers have in common. `id`: its name in messages; `hash`: of its weights."""

    id: str
    hash: str
    space: Space
    noisy: bool

    def check(self, prior: Prior) -> None:
        """Raises InputError where it cannot judge what this prior makes: another latent space or noise schedule."""
        ...


@runtime_checkable
class Embedder(Judge, Protocol):
    """Pictures and texts as unit vectors in one space: their product is high where the text describes the picture."""

    def embed_image(self, x: Image | Latent, t: Time | None = None) -> Float[Tensor, "b d"]:
        """Unit vectors; `t` for noisy ones only."""
        ...

    def embed_text(self, prompts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors. Raises InputError for a prompt that it cannot read."""
        ...

    def clean(self) -> "Embedder":
        """The same for clean pictures or latents. Raises InputError where it looks at noisy ones only."""
        if self.noisy:
            raise InputError(f"clip: {self.id!r} looks at noisy pictures only; give one for clean pictures")
        return self

    def maps(self, x: Image | Latent, t: Time | None = None) -> tuple[Tensor, ...]:
        """Its inner features (b, c_i, h_i, w_i), fine to coarse: what structure and style are read from.

        Raises InputError where it shows none.
        """
        raise InputError(
            f"clip: {self.id!r} shows no feature maps; choose another image loss than structure or style"
        )


@runtime_checkable
class Classifier(Judge, Protocol):
    """p(y | x_t, t). `classes`: their names. Classes of one group exclude each other; `groups` has the numbers of each.

    A plain classifier has one group. Ours has one per attribute: shape, colour, texture, background.
    """

    classes: tuple[str, ...]
    groups: tuple[tuple[int, ...], ...]

    def log_prob(self, x: Image | Latent, t: Time | None = None) -> Float[Tensor, "b n"]:
        """log p(class | x), in every group by itself; `t` for noisy ones only."""
        ...


def seen(judge: Judge, prior: Prior, x: Latent) -> Tensor:
    """The prior's clean latents as the judge is given them: as they are, or decoded."""
    return prior.decode(x) if judge.space == "pixels" else x
