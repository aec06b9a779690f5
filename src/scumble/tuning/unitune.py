"""UniTune's fine-tuning (Valevski et al. 2022, arXiv:2210.09477): one picture is bound to a rare word, in a short run.

    loss = |eps - eps_theta(x_t, t, "beikkpic")|^2

`methods.unitune` edits with these weights and the prompt "beikkpic TARGET".
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.prior import Prior
from scumble.core.request import Paper, param
from scumble.tuning.adaptation import Changing, Material, Stages, bound
from scumble.tuning.stages import Stage

PAPER = Paper(
    title="UniTune: Text-Driven Image Editing by Fine Tuning a Diffusion Model on a Single Image",
    arxiv="2210.09477",
    bibtex="""@article{valevski2022unitune,
  title   = {UniTune: Text-Driven Image Editing by Fine Tuning a Diffusion Model on a Single Image},
  author  = {Valevski, Dani and Kalman, Matan and Molad, Eyal and Segalis, Eyal and Matias, Yossi and
             Leviathan, Yaniv},
  journal = {arXiv preprint arXiv:2210.09477},
  year    = {2022}
}""",
    departures=(
        "Adam instead of Adafactor, which the authors used on Imagen.",
        "There is no published code: steps, rate and batch are the paper's for Imagen.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class UniTuning(Changing):
    """Defaults: the paper's for Imagen's base model."""

    name: ClassVar[str] = "unitune"
    paper: ClassVar[Paper] = PAPER
    word: ClassVar[bool] = True
    use: ClassVar[str] = "edit IN.png --method unitune --target PROMPT"

    batch: int = param(4, ge=1, help="noisy copies of the picture per pass through the network")
    steps: int = param(128, ge=1, help="optimiser steps")
    rate: float = param(1e-4, gt=0, help="learning rate")

    def stages(self, prior: Prior, material: Material) -> Stages:
        weights = self.trained(prior, material.seed)
        only = Stage(
            name="weights",
            steps=self.steps,
            rate=self.rate,
            trained=weights,
            loss=bound(prior, material, self),
            optimizer=self.optimizer,
            accumulate=self.accumulate,
        )
        return Stages(stages=(only,), form=self.form, weights=weights)
