"""Closed-form priors: what a perfect network would say. They carry the theory tests, without weights.

Both are pixel priors with the identity codec. They answer in the precision of x_t and are differentiable in
x_t and in the text's tokens. Told a time other than the level x_t stands at, they answer as a network would:
with the eps of the time told.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Text
from scumble.core.schedule import Schedule
from scumble.core.types import Image, Latent, Time
from scumble.priors._identity import IdentityCodec

Mean = float | Sequence[float] | Tensor


class _Exact(IdentityCodec):
    def __init__(self, name: str, domain: str, size: int, schedule: Schedule, weights: Mapping[str, Tensor]):
        self.schedule = schedule
        self._weights = dict(weights)
        digest = hashlib.sha256(b"".join(w.double().numpy().tobytes() for w in weights.values()))
        self.card = Card(
            id=name, hash=digest.hexdigest()[:16], domain=domain, size=size, multiple=1, licence="Apache-2.0"
        )

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        return self._weights

    def x0(self, x_t: Latent, t: Time, text: Text) -> Latent:
        """E[x0 | x_t] at level t."""
        raise NotImplementedError

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        p = self.schedule.predict(x_t, t, x0=self.x0(x_t, t, text))
        return p if at is None else self.schedule.predict(x_t, at, eps=p.eps)


class GaussianPrior(_Exact):
    """N(mu, s^2 I) for every prompt.

    `means`: prompt -> mu, a number, one per channel (c,), or a whole picture (c, H, W); the null prompt is
    "". `std`: s, one for all or prompt -> s. A text's tokens are mu itself: (b, 1, c) or (b, H * W, c).
    """

    def __init__(
        self,
        means: Mapping[str, Mean],
        std: float | Mapping[str, float] = 1.0,
        schedule: Schedule | None = None,
        *,
        channels: int = 3,
        size: int = 8,
    ):
        self._means = {prompt: self._tokens(mean, channels) for prompt, mean in means.items()}
        self._std = dict(std) if isinstance(std, Mapping) else dict.fromkeys(means, std)
        weights = {f"mean[{prompt}]": mean for prompt, mean in self._means.items()}
        super().__init__(
            "gaussian", "A Gaussian per prompt.", size, schedule or Schedule.scaled_linear(), weights
        )

    @staticmethod
    def _tokens(mean: Mean, channels: int) -> Tensor:
        mu = torch.as_tensor(mean, dtype=torch.float64)
        return mu.flatten(1).T if mu.ndim == 3 else mu.expand(channels).reshape(1, channels)

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        for prompt in prompts:
            if prompt not in self._means:
                raise InputError(f"prompt: {prompt!r} is unknown; this prior knows {list(self._means)}")
        return Text(
            tokens=torch.stack([self._means[prompt] for prompt in prompts]),
            prompts=tuple(prompts),
            extra={"std": torch.tensor([self._std[prompt] for prompt in prompts], dtype=torch.float64)},
        )

    def x0(self, x_t: Latent, t: Time, text: Text) -> Latent:
        """mu + alpha s^2 / (alpha^2 s^2 + sigma^2) (x_t - alpha mu): the posterior mean of a Gaussian."""
        alpha, sigma = self.schedule.at(t)
        var = text.extra["std"].reshape(-1, 1, 1, 1) ** 2
        gain = alpha * var / (alpha**2 * var + sigma**2)
        mu = text.tokens.transpose(1, 2).to(x_t)
        mu = mu.reshape(*mu.shape[:2], *(x_t.shape[-2:] if mu.shape[-1] > 1 else (1, 1)))
        return mu + gain.to(x_t) * (x_t - alpha.to(x_t) * mu)


class FinitePrior(_Exact):
    """The exact score of a finite set of captioned pictures: x0 is the softmax-weighted mean of those that
    match.

    `pictures` (n, c, H, W); `matches(prompt, caption)` says whether a picture of that caption answers the
    prompt (default: equality). The null prompt "" is answered by all. A text's tokens (b, 1, n) are the
    weights of the pictures.
    """

    def __init__(
        self,
        pictures: Image,
        captions: Sequence[str],
        matches: Callable[[str, str], bool] = str.__eq__,
        schedule: Schedule | None = None,
    ):
        if len(pictures) != len(captions):
            raise InputError(f"captions: {len(captions)} for {len(pictures)} pictures; give one each")
        self._pictures, self._captions, self._matches = pictures, tuple(captions), matches
        size = max(pictures.shape[-2:])
        schedule = schedule or Schedule.scaled_linear()
        super().__init__("finite", "A finite set of pictures.", size, schedule, {"pictures": pictures})

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        rows = [[not prompt or self._matches(prompt, c) for c in self._captions] for prompt in prompts]
        for prompt, row in zip(prompts, rows, strict=True):
            if not any(row):
                raise InputError(f"prompt: no picture matches {prompt!r}")
        return Text(tokens=torch.tensor(rows, dtype=torch.float64)[:, None], prompts=tuple(prompts))

    def x0(self, x_t: Latent, t: Time, text: Text) -> Latent:
        """sum_i w_i p_i, w = softmax_i(log weight_i - |x_t - alpha p_i|^2 / (2 sigma^2))."""
        if x_t.shape[1:] != self._pictures.shape[1:]:
            shape = tuple(self._pictures.shape[1:])
            raise InputError(f"image: {tuple(x_t.shape[1:])}; this prior's pictures are {shape}")
        alpha, sigma = (c.reshape(-1, 1).to(x_t) for c in self.schedule.at(t))
        pictures = self._pictures.to(x_t).flatten(1)
        # |x_t|^2 is the same for every picture and drops out.
        fit = alpha * (x_t.flatten(1) @ pictures.T) - alpha**2 / 2 * (pictures**2).sum(1)
        prior = text.tokens[:, 0].to(x_t)
        log_prior = torch.where(prior > 0, prior, 1).log()  # a gradient of log 0 would be no number
        weights = torch.where(prior > 0, log_prior + fit / sigma**2, -torch.inf).softmax(1)
        return (weights @ pictures).reshape(x_t.shape)
