"""What an editor's recipe may say: values that would only fail, or mean nothing, once the training has begun."""

from __future__ import annotations

import math
from typing import Any

from scumble.core.errors import InputError
from scumble.train.tasks import Matcher

PRECISIONS = "auto", "float32", "bfloat16"
MOST = 2**32 - 1  # of seeds, and of anything that is counted


def check(recipe: Any) -> None:
    """`recipe`: an EditorRecipe, which calls this.

    Raises InputError for values out of their range, and for some that contradict each other.
    """
    Matcher(recipe.tasks, recipe.words)
    if recipe.training.precision not in PRECISIONS:
        raise InputError(
            f"training: precision: {recipe.training.precision!r} must be one of {', '.join(PRECISIONS)}"
        )
    if recipe.network.text and recipe.loss.cycle:
        raise InputError(
            "loss: cycle: an editor that reads prompts (network: text: true) has no tasks that undo each other; leave "
            "one of the two out"
        )
    _counts(recipe)
    _weights(recipe)


def _counts(recipe: Any) -> None:
    data, network, t = recipe.data, recipe.network, recipe.training
    if recipe.size is not None:
        within("size", recipe.size, 1)
    within("data: held_out", data.held_out, 0)
    if data.scenes is not None:
        within("data: scenes: count", data.scenes.count, 1)
        within("data: scenes: objects", data.scenes.objects, 1, 3)
    if data.samples is not None:
        within("data: samples: count", data.samples.count, 1)
        within("data: samples: steps", data.samples.steps, 1)
    for name in ("layers", "head", "groups"):
        within(f"network: {name}", getattr(network, name), 1)
    for width in network.widths:
        within("network: widths", width, 1)
    within("training: seed", t.seed, 0)
    within("training: rate_warm_up", t.rate_warm_up, 0)


def _weights(recipe: Any) -> None:
    loss, t = recipe.loss, recipe.training
    for name in ("contrast", "cycle", "own", "warm_up", "identity_steps"):
        within(f"loss: {name}", getattr(loss, name), 0)
    for name in ("guidance", "identity"):
        for value in getattr(loss, name):
            within(f"loss: {name}", value, 0)
    within("training: decay", t.decay, 0)
    within("training: rate", t.rate, 0, 1000)
    if recipe.data.samples is not None:
        within("data: samples: guidance", recipe.data.samples.guidance, 0)


def within(place: str, value: float, low: int, high: int = MOST) -> None:
    """Raises InputError for a value out of its range, or none at all (nan)."""
    if not (math.isfinite(value) and low <= value <= high):
        raise InputError(f"{place}: {value} is out of its range; choose {low} to {high}")
