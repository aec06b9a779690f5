"""DDS split into two terms, each with its own weight: the difference between the prompts, and between the pictures.

Write T, S and N for the predictions under the target, source and null prompt, x for the edit and z for the source,
noised alike. DDS with guidance is w (T(x) - S(z)) + (1 - w) (N(x) - N(z)). Rearranged around S(x) that is

    w (T(x) - S(x)) + w (S(x) - S(z)) + (1 - w) (N(x) - N(z))

If the step from z to x changes the prediction equally under both prompts, then S(x) - S(z) = N(x) - N(z), and the
last two terms together are S(x) - S(z): the null rows cancel, and guidance weighs only the prompts. This holds at
x = z, and on Gaussians of equal variance. TurboEdit (Deutch et al. 2024, arXiv:2408.00735, section 3.3) calls the
two terms cross-prompt and cross-trajectory, and found that a large weight on the second causes artefacts.

With w = `guidance` and v = `cross_trajectory` the gradient is v (T(x) - S(z)) + (w - v) (T(x) - S(x)). The edit has
arrived where the first bracket is 0: under the target prompt the model predicts for x what it predicted for z under
the source prompt. The second bracket is largest there, so with w > v the edit overshoots. `fade` reduces w - v as
the first bracket falls.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from scumble.core.control import SOURCE, TARGET
from scumble.core.noise import Noise
from scumble.core.prior import Panel, Prior, Text
from scumble.core.types import Latent, Mask, Time
from scumble.scores.branches import Source

FAINT = 1e-3  # in units of eps: a gradient or difference of this size is mostly rounding

Bank = Callable[[float], Sequence[tuple[Latent, Latent]]]
"""Maps a time to its draws of noise, each with the prediction for the source (`SourceBank.at`)."""


class SplitScore:
    """w (eps(x_t, target) - eps(x_t, source)) + v (eps(x_t, source) - eps(z_t, source)).

    w is `guidance`, v is `cross_trajectory`. `reference` (b or 1, c, h, w): z. With a `bank` the prediction for the
    source is read from it; without one, it is computed under newly drawn noise. Costs three evaluations, or with a
    bank two for each of its draws, which are averaged.

    `fade`: w falls towards v as the edit arrives. With the norms taken per picture, w becomes

        v + (w - v) min(1, |eps(x_t, target) - eps(z_t, source)| / |eps(x_t, target) - eps(x_t, source)|)

    `focus` > 0: the gradient is multiplied by `mask`, which is computed from how much the prompts have disagreed so
    far (`focused`). Use such a score for one descent only.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        reference: Source,
        source: Text,
        target: Text,
        guidance: float,
        cross_trajectory: float = 1.0,
        fade: bool = False,
        focus: float = 0.0,
        bank: Bank | None = None,
    ):
        self._prior, self._reference, self._source = prior, reference.expand(len(source), -1, -1, -1), source
        self._panel = Panel({TARGET: target, SOURCE: source.expand(len(target))})
        self._guidance, self._cross_trajectory, self._fade = guidance, cross_trajectory, fade
        self._focus, self._bank = focus, bank
        self._disagreed: Tensor | float = 0.0

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        draws = self._draws(x, t, noise) if self._bank is None else self._bank(float(t[0]))
        prompts, moved = torch.zeros_like(x), torch.zeros_like(x)
        for eps, of_source in draws:
            x_t = self._prior.schedule.mix(x, eps.to(x).expand_as(x), t)
            p = self._panel.ask(self._prior, {TARGET: x_t, SOURCE: x_t}, t)
            prompts = prompts + (p[TARGET].eps - p[SOURCE].eps) / len(draws)
            moved = moved + (p[SOURCE].eps - of_source.to(x)) / len(draws)
        left = prompts + moved
        grad = self._cross_trajectory * left + self._extra(prompts, left) * prompts
        if self._focus:
            self._disagreed = self._disagreed + _evened(prompts)
            grad = self.mask * grad
        return grad

    @property
    def mask(self) -> Mask:
        """The weights of the latest gradient, (b, 1, h, w)."""
        assert isinstance(self._disagreed, Tensor)
        return focused(self._disagreed, self._focus)

    def _extra(self, prompts: Latent, left: Latent) -> Tensor | float:
        """w - v, the weight of the cross-prompt term beyond v, for each picture."""
        extra = self._guidance - self._cross_trajectory
        return extra * (_rms(left) / _rms(prompts).clamp(min=FAINT)).clamp(max=1) if self._fade else extra

    def _draws(self, x: Latent, t: Time, noise: Noise) -> list[tuple[Latent, Latent]]:
        n = len(self._reference)
        eps = noise.like(x)
        z_t = self._prior.schedule.mix(self._reference, eps[:n], t[:n])
        return [(eps, self._prior.predict(z_t, t[:n], self._source.named(SOURCE)).eps)]


def focused(disagreed: Tensor, share: float) -> Mask:
    """A soft mask: 1 where the disagreement is at least `share` of its maximum, proportional to it below that."""
    most = disagreed.flatten(1).amax(1).reshape(-1, 1, 1, 1)
    return (disagreed / (share * most).clamp(min=torch.finfo(disagreed.dtype).tiny)).clamp(max=1)


def _evened(prompts: Latent) -> Tensor:
    """The disagreement of the prompts, smoothed over 3 x 3, (b, 1, h, w). The mean per picture is 1, or less if the
    prompts hardly disagree.
    """
    size = functional.pad(prompts.abs().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    smooth = functional.avg_pool2d(size, 3, 1)
    return smooth / smooth.mean((1, 2, 3), keepdim=True).clamp(min=FAINT)


def _rms(x: Latent) -> Tensor:
    return x.square().mean((1, 2, 3), keepdim=True).sqrt()
