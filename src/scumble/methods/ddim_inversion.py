"""DDIM inversion and resampling (Song et al. 2021, arXiv:2010.02502; Dhariwal & Nichol 2021).

x_s = alpha_s x0(x_t) + sigma_s eps(x_t)    up the levels with the source prompt, down again with the target's
"""

from dataclasses import dataclass
from typing import ClassVar, cast

from scumble.artifacts.inversion import Inversion
from scumble.core.host import isolated
from scumble.core.prior import Prior
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.inversions import DDIMInverter, prepare, resample, told
from scumble.loops.invert import Told


@dataclass(frozen=True, kw_only=True)
class DDIMInversion(Method):
    """The simplest editor of real pictures, and the baseline for other inversions."""

    paper: ClassVar[Paper] = Paper(
        title="Denoising Diffusion Implicit Models",
        arxiv="2010.02502",
        bibtex="""@inproceedings{song2021denoising,
  title     = {Denoising Diffusion Implicit Models},
  author    = {Song, Jiaming and Meng, Chenlin and Ermon, Stefano},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2021}
}""",
        departures=(
            "On the way up, the time of a network call is the level that x moves to (told='target', as in "
            "Prompt-to-Prompt). With told='source' it is the level of x (as in Dhariwal & Nichol 2021).",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=7, help="steps of the inversion, and as many of the sampling")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance of the sampling; 1 is none")
    inversion_guidance: float = param(
        1.0, ge=0, try_=3.0, help="guidance of the inversion; any value but 1 loses the picture"
    )
    told: str = told()
    refine: int = param(
        0,
        ge=0,
        try_=2,
        help="repeats of every inversion move, to approach the exact inverse of the sampling step",
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The path up to noise, for this and other editors."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        return resample(self, self._inverter(), self.guidance, prior, request, on_step)

    def _inverter(self) -> DDIMInverter:
        told = cast(Told, self.told)
        return DDIMInverter(steps=self.steps, guidance=self.inversion_guidance, told=told, refine=self.refine)
