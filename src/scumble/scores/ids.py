"""Identity-preserving Distillation Sampling (Kim et al. 2025, arXiv:2502.19930, Algorithm 1).

DDS takes the source's prediction as the network's error. This is right only as far as the prediction points back to
the source, which it does not at high noise. IDS first moves the noised source to where it does (fixed-point
regularization), and evaluates the score there. The authors' code can add the contrastive term of CDS, under the
corrected noise.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.types import Latent, Time
from scumble.scores.branches import Branches, Sides, Source
from scumble.scores.cds import CDSScore


class IDSScore:
    """DDS at a noised source that was moved until the network predicts the source from it.

    `repeats` times x_t <- x_t - rate sqrt(n) d/dx_t |ref - x0(x_t, source)|, with n the number of elements of a
    picture's latent and the norm per picture. Then eps = (x_t - alpha ref) / sigma replaces the drawn noise. With
    `forward` instead x_t <- alpha ref + sigma eps(x_t, source): the same fixed points, without a gradient. Costs 2
    repeats + 4 evaluations and `repeats` backward passes, none with `forward`.

    With `contrast` > 0 the score at that eps is that of `CDSScore`, with its `patches`, `sizes` and `temperature`.
    This costs one more backward pass, and the prior needs attention.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        repeats: int = 3,
        rate: float = 1 / 128,
        forward: bool = False,
        contrast: float = 0.0,
        patches: int = 256,
        sizes: Sequence[int] = (1, 2),
        temperature: float = 0.07,
        **sides: Unpack[Sides],
    ):
        self.branches = Branches(prior, **sides)
        self._contrasted = (
            CDSScore(prior, contrast=contrast, patches=patches, sizes=sizes, temperature=temperature, **sides)
            if contrast
            else None
        )
        self._repeats, self._rate, self._forward = repeats, rate, forward

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        schedule, reference = self.branches.prior.schedule, self.branches.reference
        n = len(reference)
        source_t, _ = self.branches.noised(x, t, noise)
        for _ in range(self._repeats):
            source_t = self._drawn(source_t, t[:n])
        eps = schedule.predict(source_t, t[:n], x0=reference).eps
        if self._contrasted is not None:
            return self._contrasted.under(eps.expand_as(x), x, t, noise)
        # Mixed anew, so that equal prompts see equal states to the last bit.
        states = schedule.mix(reference, eps, t[:n]), schedule.mix(x, eps.expand_as(x), t)
        source, target = self.branches(*states, t)
        return target.eps - source.eps

    def _drawn(self, x_t: Source, t: Time) -> Tensor:
        """The noised source after one step towards a prediction of the source."""
        reference = self.branches.reference
        if self._forward:
            eps = self.branches.of_source(x_t, t).eps
            return self.branches.prior.schedule.mix(reference, eps, t)
        with torch.enable_grad():
            leaf = x_t.detach().requires_grad_()
            away = (reference - self.branches.of_source(leaf, t).x0).square().sum(dim=(1, 2, 3))
            away = away.clamp(min=torch.finfo(away.dtype).tiny).sqrt()  # where it is 0, so is its gradient
            (grad,) = torch.autograd.grad(away.sum(), leaf)
        return x_t - self._rate * x_t[0].numel() ** 0.5 * grad
