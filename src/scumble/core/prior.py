"""The interface of a diffusion model (`Prior`), and the batched network call (`ask`)."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.core.control import AttentionControl, Row, Site
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.core.text import Text as Text  # part of the seam, so it is had from here, too
from scumble.core.types import Image, Latent, Time

Guidance = Literal["free", "embedded", "none"]
"""How a model is guided: see `core.guidance`."""


def _nothing() -> dict[str, Mapping[str, object]]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What one must know before using a prior.

    `domain`: one sentence on what it can draw. `words`: the only words it knows, None if open. `size`: canvas
    pixels of the long side; both canvas sides are multiples of `multiple`. `recommended`: method name ->
    field -> value. `method`: the one that edits if none is named. `capabilities`: of "text", "gradient",
    "control" (its attention can be controlled), "joint" (likewise, of the picture and the text together).
    `guidance`: whether it is guided by a null row, by an input of its own (then `Prior.embed` sets
    `Text.extra["guidance"]` to 1), or not at all. `dtype`: the precision that loading takes on an accelerator, if
    none is named. `steps`: how many steps a model was distilled for; None: as many as one likes. `upscaler`: the stage
    that was made to draw its pictures larger. `norm`: the side, in cells of the latent, of the patches whose guided
    output is scaled to the norm of the text's own (Qwen-Image); 0: guidance is not scaled.
    """

    id: str
    hash: str
    domain: str
    words: frozenset[str] | None = None
    size: int
    multiple: int
    licence: str = "unknown"
    method: str = "dds"
    recommended: Mapping[str, Mapping[str, object]] = field(default_factory=_nothing)
    capabilities: frozenset[str] = frozenset({"text", "gradient"})
    guidance: Guidance = "free"
    dtype: str = "float32"
    steps: int | None = None
    upscaler: str | None = None
    norm: int = 0

    def can(self, ability: str, *, joint: bool = False) -> bool:
        """Whether it has a capability. `joint`: control of joint attention will do for "control"."""
        return ability in self.capabilities or (
            joint and ability == "control" and "joint" in self.capabilities
        )


@dataclass(frozen=True, kw_only=True)
class LowRank:
    """Which weights get a low-rank change (LoRA, Hu et al. 2021, arXiv:2106.09685) to train, and of which kind.

    `targets`: how the names of their layers end; `parts`: "denoiser", and "text" for the text encoders.
    """

    rank: int
    alpha: float
    targets: Sequence[str]
    parts: Sequence[str] = ("denoiser",)
    seed: int = 0


@runtime_checkable
class Prior(Protocol):
    """A diffusion model. All of it is differentiable: it uses no no_grad, `Method.__call__` decides."""

    @property
    def schedule(self) -> Schedule: ...

    @property
    def card(self) -> Card: ...

    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        """The mean of the encoder's distribution in the prior's scaled space, float32, on its device; a sample if
        noise is given.
        """
        ...

    def decode(self, latent: Latent) -> Image:
        """The picture of a latent, on the latent's device; not clamped."""
        ...

    def embed(self, prompts: Sequence[str], *, size: tuple[int, int] | None = None, **extra: object) -> Text:
        """The embedded prompts, one row each. `size` is the canvas (H, W), for networks conditioned on it."""
        ...

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        """The network's prediction for x_t, which has the level `at` (None: t); the network is told t. One network
        call.

        Row i of x_t belongs to t[i] and row i of the text. Times are on the CPU.
        """
        ...

    @property
    def loaded(self) -> Mapping[str, Any]:
        """How it was loaded: name, dtype, device, revision, lora, memory, and vae, embedding, clip_skip if used;
        empty if it was made in memory.
        """
        ...

    def sites(self) -> frozenset[Site]:
        """The places that a control can reach; none in a network without attention or features."""
        ...

    def control(self, control: AttentionControl) -> AbstractContextManager[None]:
        """Installs a control for the calls inside, and removes it afterwards, also after an error.

        Raises InputError at the first call if the control wants no site of this network.
        """
        ...

    def parameters(self, part: str = "all") -> Mapping[str, Tensor]:
        """The weights by name; `part` names a component ("all": every one)."""
        ...

    def tuning(self) -> AbstractContextManager[None]:
        """Inside, the weights may be other than they were (`tuning.weights`): no other thread uses the network.

        Raises InputError where they cannot be: quantised, or moved to the device and away again.
        """
        ...

    def adapter(self, low_rank: LowRank) -> AbstractContextManager[Mapping[str, Tensor]]:
        """Inside, weights have low-rank changes that want gradients: "W:up" (out, r) and "W:down" (r, in ...) by the
        names of `parameters`, W' = W + alpha / r up down. Afterwards the network is as it was, whatever happens.

        Raises InputError where no weight is meant, and as `tuning` does.
        """
        ...

    def checkpointed(self) -> AbstractContextManager[None]:
        """Inside, a backward pass through the network computes activations again, block by block, which are otherwise
        kept (gradient checkpointing, Chen et al. 2016, arXiv:1604.06174): the same gradients, less memory, more time.

        Raises InputError for a network that cannot.
        """
        ...


Denoiser = Callable[[Latent, Time, Time | None], Prediction]
"""(x_t, t, at) -> Prediction: the time the network is told, and the level x_t really stands at (None: t)."""

NullText = Text | Callable[[Time], Text]
"""The text of the null branch, or one per time (null-text inversion)."""


class Panel:
    """Named rows whose texts are stacked once, for loops that evaluate the same rows at every step."""

    def __init__(self, texts: Mapping[Row, Text]):
        self._sizes = {row: len(text) for row, text in texts.items()}
        self._text = Text.cat([text.named(row) for row, text in texts.items()])

    def ask(
        self, prior: Prior, x: Mapping[Row, Tensor], t: Time, at: Time | None = None
    ) -> dict[Row, Prediction]:
        """One batched call: takes x_t of every row, in any order, and returns each row's prediction."""
        sizes = list(self._sizes.values())
        x_t = torch.cat([x[row] for row in self._sizes])
        p = prior.predict(x_t, _stack(t, sizes), self._text, None if at is None else _stack(at, sizes))
        answers: dict[Row, Prediction] = {}
        first = 0
        for row, size in self._sizes.items():
            rows = slice(first, first := first + size)
            answers[row] = Prediction(p.x0[rows], p.eps[rows], None if p.var is None else p.var[rows])
        return answers


def _stack(t: Time, sizes: Sequence[int]) -> Tensor:
    """The times of stacked rows. Rows that share one picture use its time."""
    return torch.cat([t[:size] for size in sizes])


def ask(
    prior: Prior, rows: Mapping[Row, tuple[Tensor, Text]], t: Time, at: Time | None = None
) -> dict[Row, Prediction]:
    """The batched network call: evaluates named rows (x_t, text), all at times t (b,), in one call.

    A row may hold one picture where the others hold b (a source shared by b targets, which then share their times).
    """
    panel = Panel({row: text for row, (_, text) in rows.items()})
    return panel.ask(prior, {row: x for row, (x, _) in rows.items()}, t, at)


def clamped(denoise: Denoiser, schedule: Schedule) -> Denoiser:
    """The denoiser with x0 clamped to [-1, 1] and eps derived again from it; for pixel models only."""

    def clamp(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        p = denoise(x_t, t, at)
        return schedule.predict(x_t, t if at is None else at, x0=p.x0.clamp(-1, 1), var=p.var)

    return clamp


BOUND = 1.5
"""The largest bound of dynamic thresholding that DeepFloyd IF publishes; Imagen has none."""


def thresholded(denoise: Denoiser, schedule: Schedule, *, ratio: float, most: float) -> Denoiser:
    """The denoiser with x0 thresholded dynamically, picture by picture, and eps derived again from it (pixels).

    x0 is clamped to [-s, s] and divided by s, the `ratio` quantile of |x0| between 1 and `most` (Imagen, Saharia et al.
    2022, arXiv:2205.11487, section 2.3; without a `most` there).
    """

    def threshold(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        p = denoise(x_t, t, at)
        s = quantile(p.x0.flatten(1).abs(), ratio).clamp(1, most)[:, None, None, None]
        x0 = p.x0.clamp(min=-s, max=s) / s
        return schedule.predict(x_t, t if at is None else at, x0=x0, var=p.var)

    return threshold


MOST = 2**24
"""How many numbers `Tensor.quantile` takes."""


def quantile(x: Tensor, ratio: float) -> Tensor:
    """(b, n) -> (b,): the `ratio` quantile of each row, of any length."""
    if x.numel() <= MOST:
        return x.quantile(ratio, dim=1)
    place = ratio * (x.shape[1] - 1)
    first = int(place)
    ranked = x.sort(dim=1).values
    return ranked[:, first].lerp(ranked[:, min(first + 1, x.shape[1] - 1)], place - first)
