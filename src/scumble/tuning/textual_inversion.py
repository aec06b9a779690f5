"""Textual inversion (Gal et al. 2022, arXiv:2208.01618): a word's embedding is learned, and nothing else changes.

    v = argmin_v E |eps - eps_theta(x_t, t, text(prompt with v))|^2,    eq. 2

The word is one that the tokenizer spells with rare tokens: their rows of the table are what is learned.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.core.request import Paper, param
from scumble.tuning.adaptation import Adaptation, Material, Stages, embedded, schedule_of
from scumble.tuning.denoising import cycled, denoising, draws, rows_of
from scumble.tuning.stages import Rows, Stage, tables


@dataclass(frozen=True, kw_only=True)
class TextualInversion(Adaptation):
    """Defaults: the paper's for latent diffusion (section 4)."""

    name: ClassVar[str] = "textual_inversion"
    paper: ClassVar[Paper] = Paper(
        title="An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion",
        arxiv="2208.01618",
        bibtex="""@inproceedings{gal2023image,
  title     = {An Image is Worth One Word: Personalizing Text-to-Image Generation using Textual Inversion},
  author    = {Gal, Rinon and Alaluf, Yuval and Atzmon, Yuval and Patashnik, Or and Bermano, Amit Haim and
               Chechik, Gal and Cohen-Or, Daniel},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023}
}""",
        departures=(
            "The word is spelled by the tokens that the tokenizer has for it, one or several; the authors add one.",
            "One prompt of yours instead of the list of templates.",
            "The rate is not scaled by the size of the batch.",
        ),
    )
    word: ClassVar[bool] = True
    several: ClassVar[bool] = True
    use: ClassVar[str] = "paint PROMPT"

    init: str = param(
        "", help="a word that says roughly what it is, where the search begins; empty: the tokens' own"
    )
    steps: int = param(5000, ge=1, help="optimiser steps")
    rate: float = param(5e-3, gt=0, help="learning rate")
    batch: int = param(1, ge=1, help="pictures per pass through the network")
    accumulate: int = param(4, ge=1, help="passes per optimiser step")

    def stages(self, prior: Prior, material: Material) -> Stages:
        """Raises InputError, too, for a word that is part of no token, and for a model whose encoders split words
        differently.
        """
        ids, schedule = spelled(prior, material.word, material), schedule_of(prior, material)
        start = self._start(prior, ids, material)
        rows = Rows(prior, ids, start)

        def loss(k: int) -> Tensor:
            x0 = rows_of(material.latents, cycled(len(material.latents), k, self.batch))
            text = embedded(prior, material.prompt, material)
            return denoising(prior, x0, text, draws(material.seed, k, self.batch), schedule).mean()

        only = Stage(
            name="word",
            steps=self.steps,
            rate=self.rate,
            trained=rows,
            loss=loss,
            optimizer="adamw",
            accumulate=self.accumulate,
        )
        return Stages(stages=(only,), form="rows", weights=rows)

    def _start(self, prior: Prior, ids: list[int], material: Material) -> Mapping[str, Tensor]:
        found = tables(prior)
        if any(name.startswith("text_3") or name.endswith("shared.weight") for name in found):
            raise InputError(
                f"textual_inversion: model '{prior.card.id}' reads text by encoders that split words differently; "
                "use dreambooth"
            )
        begin = spelled(prior, self.init, material) if self.init.strip() else ids
        rows = [begin[i % len(begin)] for i in range(len(ids))]
        return {name: table[rows] for name, table in found.items()}


def spelled(prior: Prior, word: str, material: Material) -> list[int]:
    """The ids of the tokens that spell a word, each once. Raises InputError where the model does not say."""
    text = embedded(prior, word, material)
    places = text.spans(word)[0]
    if text.ids is None:
        raise InputError(
            f"word: model '{prior.card.id}' does not say which tokens spell a word; use another one"
        )
    return list(dict.fromkeys(int(text.ids[0, place]) for place in places))
