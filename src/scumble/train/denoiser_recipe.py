"""What decides the denoiser's training, as one value: in code, in a prior's recipe.json and in a checkpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import torch

from scumble.core.errors import InputError, nearest

from .editor_checks import within
from .editor_recipe import typed
from .run import COOL_DOWN, WARM_UP


@dataclass(frozen=True, kw_only=True)
class DenoiserRecipe:
    """Everything that decides the network's weights, apart from the machine's arithmetic.

    optimiser: "adamw" or "muon". held: whether the text encoder stays as it is; the lessons beside the denoising are
    then left out, too. low: share of the noise levels that are drawn from the lower half; 0.5 is the uniform law.
    channel_weights: of the latent's channels in the loss; empty: all alike.
    fresh: pictures drawn for each one that is trained on; first: pictures drawn beforehand.
    warm_up: steps over which the rate rises; cool_down: share of the budget, the last, over which it falls to zero.
    """

    minutes: float = 90
    seed: int = 0
    latent_channels: int = 8
    channels: tuple[int, ...] = (64, 128, 256)
    heads: tuple[int, ...] = (2, 4, 8)
    attention: tuple[bool, ...] = (True, True, False)
    text_width: int = 128
    text_layers: int = 3
    batch: int = 32
    bank: int = 100_000
    first: int = 6_000
    fresh: float = 0.125
    optimiser: str = "adamw"
    rate: float = 1e-3
    decay: float = 1e-2
    ema: float = 0.9995
    warm_up: int = WARM_UP
    cool_down: float = COOL_DOWN
    low: float = 0.5
    channel_weights: tuple[float, ...] = ()
    unprompted: float = 0.1
    full: float = 0.5
    labels: float = 0.1
    pointing: float = 0.02
    reading: float = 0.1
    held: bool = False

    def __post_init__(self) -> None:
        if self.optimiser not in ("adamw", "muon"):
            raise InputError(f"optimiser: {self.optimiser!r}; it is 'adamw' or 'muon'")
        if not len(self.channels) == len(self.heads) == len(self.attention):
            raise InputError(
                "channels, heads and attention: they need as many values each, one for each level"
            )
        within("seed", self.seed, 0)
        for name in ("batch", "bank", "first"):
            within(name, getattr(self, name), 1)
        if not 0 <= self.low <= 1:
            raise InputError(f"low: {self.low} is no share from 0 to 1")
        if not 0 < self.cool_down <= 1 or self.warm_up < 1:
            raise InputError(
                f"warm_up: {self.warm_up}, cool_down: {self.cool_down}; the first is 1 step or more, the second a "
                "share above 0 and at most 1"
            )
        if self.channel_weights and len(self.channel_weights) != self.latent_channels:
            raise InputError(
                f"channel_weights: {len(self.channel_weights)} weights for {self.latent_channels} latent channels; "
                "give one each, or none"
            )


def read_recipe(path: Path) -> DenoiserRecipe:
    """The denoiser's recipe in a JSON file, such as the recipe.json of a prior; its budget is left out.

    Raises InputError where it cannot be read, or holds a key that no recipe has, or a value of
    the wrong kind or out of its range.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        told = dict(told.get("denoiser", told))
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: not a recipe ({error}); name the recipe.json of a trained prior"
        ) from error
    told.pop("minutes", None)
    names = [f.name for f in fields(DenoiserRecipe)]
    for name in told:
        if name not in names:
            raise InputError(f"{path}: a denoiser's recipe has no {name!r}{nearest(name, names)}")
    try:
        return _recipe(told)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def recipe_of(checkpoint: Path) -> DenoiserRecipe:
    """The recipe of a run, from its checkpoint; its budget is not part of it."""
    stored = json.loads(torch.load(checkpoint, map_location="cpu", weights_only=True)["recipe"])
    return _recipe({f.name: stored[f.name] for f in fields(DenoiserRecipe) if f.name in stored})


def _recipe(told: dict[str, Any]) -> DenoiserRecipe:
    """From JSON, which has lists for tuples."""
    hints = get_type_hints(DenoiserRecipe)
    return DenoiserRecipe(**{name: typed(hints[name], value, name) for name, value in told.items()})
