"""Imagic's two optimisations (Kawar et al. 2022, arXiv:2210.09276, sections 3.1 and 3.2).

    e_opt = argmin_e  E |eps - eps_theta(x_t, t, e)|^2        from the target's embedding, the weights as they are
    theta = argmin    E |eps - eps_theta(x_t, t, e_opt)|^2    the embedding as it is now

`methods.imagic` makes pictures of the two embeddings with these weights.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scumble.core.prior import Prior
from scumble.core.request import Paper, param
from scumble.tuning.adaptation import Changing, Material, Stages, embedded, schedule_of
from scumble.tuning.denoising import cycled, denoising, draws, rows_of
from scumble.tuning.stages import Embedding, Stage

PAPER = Paper(
    title="Imagic: Text-Based Real Image Editing with Diffusion Models",
    arxiv="2210.09276",
    bibtex="""@inproceedings{kawar2023imagic,
  title     = {Imagic: Text-Based Real Image Editing with Diffusion Models},
  author    = {Kawar, Bahjat and Zada, Shiran and Lang, Oran and Tov, Omer and Chang, Huiwen and Dekel, Tali and
               Mosseri, Inbar and Irani, Michal},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2023}
}""",
    departures=(
        "form=lora changes the weights by low-rank matrices in the second step, as is common practice.",
        "The picture is encoded once, as the mean of the encoder's distribution; the published code draws one sample.",
        "Of a model with several inputs of text, only the sequence of tokens is optimised.",
    ),
)


@dataclass(frozen=True, kw_only=True)
class ImagicTuning(Changing):
    """Defaults: the paper's for Stable Diffusion (appendix)."""

    name: ClassVar[str] = "imagic"
    paper: ClassVar[Paper] = PAPER
    use: ClassVar[str] = "edit IN.png --method imagic"

    embedding_steps: int = param(1000, ge=0, help="optimiser steps for the embedding")
    embedding_rate: float = param(2e-3, gt=0, help="learning rate of the embedding")
    steps: int = param(1500, ge=0, help="optimiser steps for the weights")
    rate: float = param(5e-7, gt=0, help="learning rate of the weights")

    def stages(self, prior: Prior, material: Material) -> Stages:
        target = embedded(prior, material.prompt, material)
        embedding, weights = Embedding(target), self.trained(prior, material.seed)
        schedule = schedule_of(prior, material)

        def loss(k: int, stage: int) -> Tensor:
            x0 = rows_of(material.latents, cycled(len(material.latents), k, self.batch))
            text = embedding.text if stage == 0 else embedding.learned
            return denoising(
                prior, x0, text, draws(2 * material.seed + stage, k, self.batch), schedule
            ).mean()

        first = Stage(
            name="embedding",
            steps=self.embedding_steps,
            rate=self.embedding_rate,
            trained=embedding,
            loss=lambda k: loss(k, 0),
            accumulate=self.accumulate,
        )
        second = Stage(
            name="weights",
            steps=self.steps,
            rate=self.rate,
            trained=weights,
            loss=lambda k: loss(k, 1),
            optimizer=self.optimizer,
            accumulate=self.accumulate,
        )
        return Stages(
            stages=(first, second),
            form=self.form,
            weights=weights,
            texts={"optimised": embedding, "target": target},
        )
