"""What the trainings on one's own pictures have in common: what they are given, how weights change, what they leave."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import LowRank, Prior, Text
from scumble.core.request import Paper, param, validate
from scumble.core.schedule import Schedule
from scumble.core.types import Latent
from scumble.tuning.denoising import cycled, denoising, draws, rows_of
from scumble.tuning.stages import Adapter, Embedding, Rows, Stage, Weights


@dataclass(frozen=True, kw_only=True, eq=False)
class Material:
    """What is learned: pictures as the prior encodes them, each (1, c, h, w), all of one size (H, W) in pixels.

    `prompt`: what they show, or, for Imagic, what the picture should show. `word`: the identifier that they are bound
    to. `others`: pictures of the class, for prior preservation, which `others_prompt` describes.
    """

    latents: Sequence[Latent]
    size: tuple[int, int]
    prompt: str
    word: str = ""
    others: Sequence[Latent] = ()
    others_prompt: str = ""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """One way to tune a model on one's own pictures: hyper-parameters that make `stages` of a training."""

    name: ClassVar[str]
    paper: ClassVar[Paper]
    word: ClassVar[bool] = False  # it binds an identifier
    several: ClassVar[bool] = False  # it learns from several pictures
    use: ClassVar[str]  # how its file is used, behind "scumble"

    def __post_init__(self) -> None:
        validate(self)

    @abstractmethod
    def stages(self, prior: Prior, material: Material) -> "Stages":
        """The training. Raises InputError where the model, or what is given, does not allow it."""


@dataclass(frozen=True, kw_only=True)
class Changing(Adaptation):
    """One that changes the network's weights: whole, some of them, or by low-rank matrices."""

    form: str = param(
        "weights", choices=("weights", "lora"), help="weights: whole ones; lora: low-rank changes"
    )
    named: str = param("", help="weights: only those with this in their names, such as attn2; empty: all")
    rank: int = param(4, ge=1, help="lora: rank of the matrices")
    alpha: float = param(0.0, ge=0, help="lora: the change is scaled by alpha / rank; 0: by 1")
    targets: str = param("to_q,to_k,to_v,to_out.0", help="lora: the layers whose names end like this")
    text_encoder: bool = param(False, help="train the text encoder as well")
    batch: int = param(1, ge=1, help="pictures per pass through the network")
    accumulate: int = param(1, ge=1, help="passes per optimiser step")
    optimizer: str = param(
        "adam", choices=("adam", "adamw", "adamw8bit"), help="adamw8bit needs bitsandbytes and an accelerator"
    )

    def trained(self, prior: Prior, seed: int) -> "Weights | Adapter":
        parts = ("denoiser", "text") if self.text_encoder else ("denoiser",)
        if self.form == "weights":
            return Weights(prior, parts, self.named)
        ends = [end.strip() for end in self.targets.split(",") if end.strip()]
        if self.text_encoder:
            ends += ["q_proj", "k_proj", "v_proj", "out_proj"]
        alpha = self.alpha or float(self.rank)
        return Adapter(prior, LowRank(rank=self.rank, alpha=alpha, targets=ends, parts=parts, seed=seed))


@dataclass(frozen=True, kw_only=True, eq=False)
class Stages:
    """The stages of a training, one after the other, and what they leave: changes of `weights` of a `form` (that of
    `artifacts.tuned`), and embedded prompts by name.
    """

    stages: Sequence[Stage]
    form: str
    weights: Weights | Adapter | Rows
    texts: Mapping[str, Text | Embedding] = field(default_factory=dict[str, Text | Embedding])

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)


def schedule_of(prior: Prior, material: Material) -> Schedule:
    """The prior's schedule on the canvas of the pictures."""
    return prior.schedule.on(material.size[0] * material.size[1] // prior.card.multiple**2)


def bound(
    prior: Prior, material: Material, recipe: Changing, *, weight: float = 0.0
) -> Callable[[int], Tensor]:
    """The loss of pass k that binds the pictures to the prompt (DreamBooth, eq. 1 and 2): the mean over a batch of the
    pictures, plus `weight` times the mean over as many pictures of the class. Pictures are taken in turn.
    """
    schedule, batch = schedule_of(prior, material), recipe.batch
    prompts = [material.prompt, *([material.others_prompt] if weight else [])]
    fixed = None if recipe.text_encoder else [embedded(prior, prompt, material) for prompt in prompts]

    def loss(k: int) -> Tensor:
        texts = fixed or [embedded(prior, prompt, material) for prompt in prompts]
        latents = [rows_of(material.latents, cycled(len(material.latents), k, batch))]
        if weight:
            latents.append(rows_of(material.others, cycled(len(material.others), k, batch)))
        x0, text = torch.cat(latents), Text.cat([text.expand(batch) for text in texts])
        losses = denoising(prior, x0, text, draws(material.seed, k, len(x0)), schedule)
        return losses[:batch].mean() + (weight * losses[batch:].mean() if weight else 0.0)

    return loss


def embedded(prior: Prior, prompt: str, material: Material) -> Text:
    """A prompt (1 row) on the canvas of the pictures. Raises InputError for a model that takes no text."""
    if "text" not in prior.card.capabilities:
        raise InputError(f"model '{prior.card.id}' takes no text; there is nothing to bind the pictures to")
    return prior.embed((prompt,), size=material.size)
