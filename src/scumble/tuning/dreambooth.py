"""DreamBooth (Ruiz et al. 2022, arXiv:2208.12242): a subject in several pictures is bound to a rare word.

    loss = |eps - eps_theta(x_t, t, "a sks dog")|^2 + preservation |eps' - eps_theta(x'_t, t, "a dog")|^2

x' are pictures of the class that the model itself made before the training, so that other dogs stay dogs.
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.core.request import Paper, param
from scumble.tuning.adaptation import Changing, Material, Stages, bound
from scumble.tuning.stages import Stage


@dataclass(frozen=True, kw_only=True)
class DreamBooth(Changing):
    """Defaults: those that the README of the common script for LoRAs gives.

    The paper tunes whole weights (form=weights, rate=5e-6).
    """

    name: ClassVar[str] = "dreambooth"
    paper: ClassVar[Paper] = Paper(
        title="DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation",
        arxiv="2208.12242",
        bibtex="""@inproceedings{ruiz2023dreambooth,
  title     = {DreamBooth: Fine Tuning Text-to-Image Diffusion Models for Subject-Driven Generation},
  author    = {Ruiz, Nataniel and Li, Yuanzhen and Jampani, Varun and Pritch, Yael and Rubinstein, Michael and
               Aberman, Kfir},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2023}
}""",
        departures=(
            "Low-rank changes of the attention are the default, as in published scripts; form=weights is the paper's.",
            "Every picture is encoded once, as the mean of the encoder's distribution; scripts draw a sample per step.",
            "Pictures are taken in turn, without random crops.",
        ),
    )
    word: ClassVar[bool] = True
    several: ClassVar[bool] = True
    use: ClassVar[str] = "paint PROMPT"

    form: str = param("lora", choices=("weights", "lora"), help="lora: low-rank changes; weights: whole ones")
    optimizer: str = param(
        "adamw",
        choices=("adam", "adamw", "adamw8bit"),
        help="adamw8bit needs bitsandbytes and an accelerator",
    )
    steps: int = param(500, ge=1, help="optimiser steps")
    rate: float = param(1e-4, gt=0, help="learning rate")
    decay: float = param(1e-2, ge=0, help="weight decay")
    clip: float = param(1.0, ge=0, help="largest norm of a gradient; 0: any")
    preservation: float = param(1.0, ge=0, help="weight of the pictures of the class; 0 does without them")
    class_n: int = param(100, ge=1, help="how many pictures of the class there are")

    def stages(self, prior: Prior, material: Material) -> Stages:
        """Raises InputError, too, where pictures of the class are wanted and there are none."""
        if self.preservation and not material.others:
            raise InputError("class pictures: there are none; give some, or set preservation=0")
        weights = self.trained(prior, material.seed)
        only = Stage(
            name="weights",
            steps=self.steps,
            rate=self.rate,
            trained=weights,
            loss=bound(prior, material, self, weight=self.preservation),
            optimizer=self.optimizer,
            decay=self.decay,
            clip=self.clip,
            accumulate=self.accumulate,
        )
        return Stages(stages=(only,), form=self.form, weights=weights)
