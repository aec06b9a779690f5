"""DDS taken apart: what the prompts differ by, and what the pictures differ by, each with a weight of its own.

Guided, DDS is w (T(x) - S(z)) + (1 - w) (N(x) - N(z)), with T, S and N the predictions for the target, the source
and the null prompt, x the edit and z the source, noised alike. Written around S(x) that is

    w (T(x) - S(x)) + w (S(x) - S(z)) + (1 - w) (N(x) - N(z))

Where a step from z to x changes the prediction alike under both prompts, S(x) - S(z) = N(x) - N(z), the last two
terms are S(x) - S(z): the null rows cancel, and guidance weighs the prompts alone. It does on Gaussians of one
width, and at x = z. TurboEdit (Deutch et al. 2024, arXiv:2408.00735, section 3.3) calls the two the cross-prompt
and the cross-trajectory term, and found that weighing up the second is what makes artefacts.

The two weights together are trajectory (T(x) - S(z)) + (guidance - trajectory) (T(x) - S(x)). An edit has arrived
where the first bracket is nothing: the model says of it, as the target, what it said of the source. The second
bracket is largest there, so weights that differ drive the edit on beyond its end. `fade` lets what they differ by
fall as the first bracket does.
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

FAINT = 1e-3  # in units of eps: of a gradient or a difference of this size most is rounding

Bank = Callable[[float], Sequence[tuple[Latent, Latent]]]
"""A time -> the draws of noise there and what is predicted for the source under each (`SourceBank.at`)."""


class SplitScore:
    """guidance (eps(x_t, target) - eps(x_t, source)) + trajectory (eps(x_t, source) - eps(z_t, source)).

    `reference` (b or 1, c, h, w): z. A `bank` knows the last term; without one the source is asked, under noise
    drawn afresh. Three evaluations, or with a bank two for each of its draws, which are averaged.

    `fade`: guidance falls towards trajectory as the edit arrives; it is

        trajectory + (guidance - trajectory) min(1, |eps(x_t, target) - eps(z_t, source)| /
                                                    |eps(x_t, target) - eps(x_t, source)|)

    with the norms of a picture. `focus` > 0: the gradient is weighed by `focused(...)` of how far the prompts have
    disagreed so far (`mask`); such a score is for one descent.
    """

    def __init__(
        self,
        prior: Prior,
        *,
        reference: Source,
        source: Text,
        target: Text,
        guidance: float,
        trajectory: float = 1.0,
        fade: bool = False,
        focus: float = 0.0,
        bank: Bank | None = None,
    ):
        self._prior, self._reference, self._source = prior, reference.expand(len(source), -1, -1, -1), source
        self._panel = Panel({TARGET: target, SOURCE: source.expand(len(target))})
        self._guidance, self._trajectory, self._fade = guidance, trajectory, fade
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
        grad = self._trajectory * left + self._extra(prompts, left) * prompts
        if self._focus:
            self._disagreed = self._disagreed + _evened(prompts)
            grad = self.mask * grad
        return grad

    @property
    def mask(self) -> Mask:
        """Where the gradients went, (b, 1, h, w)."""
        assert isinstance(self._disagreed, Tensor)
        return focused(self._disagreed, self._focus)

    def _extra(self, prompts: Latent, left: Latent) -> Tensor | float:
        """By how much guidance exceeds trajectory for each picture."""
        extra = self._guidance - self._trajectory
        return extra * (_rms(left) / _rms(prompts).clamp(min=FAINT)).clamp(max=1) if self._fade else extra

    def _draws(self, x: Latent, t: Time, noise: Noise) -> list[tuple[Latent, Latent]]:
        n = len(self._reference)
        eps = noise.like(x)
        z_t = self._prior.schedule.mix(self._reference, eps[:n], t[:n])
        return [(eps, self._prior.predict(z_t, t[:n], self._source.named(SOURCE)).eps)]


def focused(disagreed: Tensor, share: float) -> Mask:
    """A soft mask: 1 where it disagreed by at least `share` of the most, below that in proportion."""
    most = disagreed.flatten(1).amax(1).reshape(-1, 1, 1, 1)
    return (disagreed / (share * most).clamp(min=torch.finfo(disagreed.dtype).tiny)).clamp(max=1)


def _evened(prompts: Latent) -> Tensor:
    """How far the prompts disagree at every place and around it, (b, 1, h, w); the mean of a picture is 1, and less
    where they hardly disagree.
    """
    size = functional.pad(prompts.abs().mean(1, keepdim=True), (1, 1, 1, 1), mode="replicate")
    smooth = functional.avg_pool2d(size, 3, 1)
    return smooth / smooth.mean((1, 2, 3), keepdim=True).clamp(min=FAINT)


def _rms(x: Latent) -> Tensor:
    return x.square().mean((1, 2, 3), keepdim=True).sqrt()
