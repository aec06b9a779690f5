"""The background that a codec loses, won back per picture (Avrahami et al. 2023, arXiv:2206.02779, section 4.2): tune
the decoder, or the latent, until it decodes to the input outside the mask and to what it decoded to inside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.core.types import Image, Latent
from scumble.tuning.weights import changed, check_precise, copied

Area = Float[Tensor, "#b 1 H W"]
"""A mask of the picture's size."""

Report = Callable[[Latent], None]
"""What hears of every update: the latent as it is now."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """`what` is tuned: "decoder" or "latent". `weight`: of the outside against the inside."""

    what: str
    steps: int
    rate: float
    weight: float

    def __call__(self, prior: Prior, z: Latent, image: Image, mask: Area, report: Report) -> Image:
        """The pictures (b, 3, H, W) of the latents z, fitted to `image` where the mask (1 or b, 1, H, W) is 0.

        Every picture is fitted by itself, from the model's own decoder on; the model is left as it was. Reports
        b times `steps` updates. Raises InputError as `check` does.
        """
        self.check(prior, z, image)
        images, masks = image.expand(len(z), -1, -1, -1), mask.expand(len(z), -1, -1, -1)
        rows = (slice(i, i + 1) for i in range(len(z)))
        return torch.cat([self._one(prior, z[row], images[row], masks[row], report) for row in rows])

    def check(self, prior: Prior, z: Latent, image: Image) -> None:
        """Raises InputError for a model without a decoder, or with one of half precision, where it is to be fitted."""
        if self.what != "decoder":
            return
        if z.shape[1:] == image.shape[1:]:
            raise InputError(
                f"fit: model {prior.card.id!r} works on pixels and has no decoder to fit; leave fit out"
            )
        check_precise(prior, prior.parameters("codec"), "fit", "fit the latent (fit=latent)")

    def _one(self, prior: Prior, z: Latent, image: Image, mask: Area, report: Report) -> Image:
        drawn = prior.decode(z)

        def loss(decoded: Image) -> Tensor:
            inside, outside = (mask * (decoded - drawn)), (1 - mask) * (decoded - image)
            return inside.square().mean() + self.weight * outside.square().mean()

        if self.what == "latent":
            z = z.detach().clone().requires_grad_()
            self._descend([z], lambda: loss(prior.decode(z)), lambda: report(z.detach()))
            return prior.decode(z.detach())
        with changed(prior, copied(prior, "codec"), trained=True) as weights:
            self._descend(list(weights.values()), lambda: loss(prior.decode(z)), lambda: report(z))
            return prior.decode(z)

    def _descend(self, leaves: list[Tensor], loss: Callable[[], Tensor], report: Callable[[], None]) -> None:
        """Adam on the loss; the encoder's weights have no part in it and stay."""
        adam: Any = torch.optim.Adam(leaves, lr=self.rate)
        for _ in range(self.steps):
            with torch.enable_grad():
                grads = torch.autograd.grad(loss(), leaves, allow_unused=True)
            for leaf, grad in zip(leaves, grads, strict=True):
                leaf.grad = grad
            adam.step()
            for leaf in leaves:
                leaf.grad = None
            report()
