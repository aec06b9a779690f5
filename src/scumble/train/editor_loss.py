"""What a step of an editor's training draws, and how it is weighed: batches, schedules, scores."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.request import Score
from scumble.core.text import Text
from scumble.scores.cds import CDSScore
from scumble.scores.dds import DDSScore
from scumble.scores.pds import PDSScore
from scumble.scores.sds import SDSScore
from scumble.train.editor_data import Examples
from scumble.train.editor_recipe import EditorRecipe, Loss

REMEMBERED = 4000  # prompts whose text is kept


@dataclass(frozen=True, eq=False)
class Batch:
    """b rows of one step: the pictures' latents z, the tasks' numbers, source and target prompts, times, noise, and
    which rows show their task's target already (owns).
    """

    z: Tensor
    tasks: Tensor
    source: list[str]
    target: list[str]
    t: Tensor
    noise: Noise
    owns: Tensor


def draw(data: Examples, recipe: EditorRecipe, step: int, positions: range) -> Batch:
    """The rows of a step at some positions of the global batch, whichever process they are for."""
    low, high = recipe.loss.t
    rows: list[tuple[int, int, str, int, int, bool]] = []
    for position in positions:
        rng = np.random.default_rng([17, recipe.training.seed, step, position])
        row = int(rng.integers(data.count))
        match = data.matches[row][int(rng.integers(len(data.matches[row])))]
        task, target, owned = match.task, match.target, False
        if recipe.loss.own and data.owns[row] and rng.random() < 0.5:
            task, target, owned = (
                data.owns[row][int(rng.integers(len(data.owns[row])))],
                data.captions[row],
                True,
            )
        rows.append((row, task, target, int(rng.integers(low, high)), int(rng.integers(2**63)), owned))
    at = [row for row, *_ in rows]
    return Batch(
        z=data.latents[at].float(),
        tasks=torch.tensor([task for _, task, *_ in rows]),
        source=[data.captions[row] for row in at],
        target=[target for _, _, target, *_ in rows],
        t=torch.tensor([t for *_, t, _, _ in rows]),
        noise=Noise.of(seed for *_, seed, _ in rows),
        owns=torch.tensor([owned for *_, owned in rows]),
    )


def guidance(loss: Loss, step: int) -> float:
    """The guidance weight at a step: linear from its first value to its last over the warm-up."""
    first, last = loss.guidance
    return first + (last - first) * min(step / max(loss.warm_up, 1), 1.0)


def identity(loss: Loss, step: int) -> float:
    """The identity term's weight at a step: half a cosine from its first value to its last."""
    first, last = loss.identity
    done = min(step / max(loss.identity_steps, 1), 1.0)
    return last + (first - last) * (1 + math.cos(math.pi * done)) / 2


def rate(recipe: EditorRecipe, step: int) -> float:
    """The learning rate at a step: up, hold, and linearly down over the last share `cool_down`."""
    t = recipe.training
    up = (step + 1) / max(t.rate_warm_up, 1)
    down = (t.steps - step) / max(t.cool_down * t.steps, 1)
    return t.rate * min(up, down, 1.0)


class Texts:
    """The texts of prompts, embedded once each and kept."""

    def __init__(self, prior: Prior, size: tuple[int, int]):
        self._prior, self._size = prior, size
        self._known: dict[str, Text] = {}

    def __call__(self, prompts: list[str]) -> Text:
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._known]
        if len(self._known) + len(missing) > REMEMBERED:
            self._known.clear()
            missing = list(dict.fromkeys(prompts))
        if missing:
            text = self._prior.embed(missing, size=self._size)
            self._known |= {prompt: text.take([k]) for k, prompt in enumerate(missing)}
        return Text.cat([self._known[prompt] for prompt in prompts])


def score(prior: Prior, loss: Loss, batch: Batch, texts: Texts, w: float) -> Score:
    """The recipe's score at a batch: its pictures and prompts, guidance w."""
    target, null = texts(batch.target), texts([""] * len(batch.target))
    if loss.score == "sds":
        return SDSScore(prior, target=target, null=null, guidance=w)
    sides: Any = {
        "reference": batch.z, "source": texts(batch.source), "target": target, "null": null, "guidance": w,
    }  # fmt: skip
    if loss.score == "cds":
        return CDSScore(prior, contrast=loss.contrast, **sides)
    return PDSScore(prior, **sides) if loss.score == "pds" else DDSScore(prior, **sides)
