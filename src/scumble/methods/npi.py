"""Negative-prompt inversion (Miyake et al. 2023, arXiv:2305.16807): null-text inversion in closed form.

eps = eps(x_t, source) + w (eps(x_t, target) - eps(x_t, source))    down the chain of a DDIM inversion
"""

from dataclasses import dataclass
from typing import ClassVar, cast

from scumble.artifacts.inversion import Inversion
from scumble.core.host import isolated
from scumble.core.prior import Prior
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.inversions import NPIInverter, prepare, resample, told
from scumble.loops.invert import Told


@dataclass(frozen=True, kw_only=True)
class NPI(Method):
    """The source prompt replaces the null prompt, so guidance adds nothing to the source."""

    paper: ClassVar[Paper] = Paper(
        title="Negative-prompt Inversion: Fast Image Inversion for Editing with Text-guided Diffusion Models",
        arxiv="2305.16807",
        bibtex="""@article{miyake2023negative,
  title   = {Negative-prompt Inversion: Fast Image Inversion for Editing with Text-guided Diffusion Models},
  author  = {Miyake, Daiki and Iohara, Akihiro and Saito, Yu and Tanaka, Toshiyuki},
  journal = {arXiv preprint arXiv:2305.16807},
  year    = {2023}
}""",
        departures=(
            "The paper edits with Prompt-to-Prompt on top. This method alone resamples, without attention "
            "control.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True, null=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=7, help="steps of the inversion, and as many of the sampling")
    guidance: float = param(
        7.5, ge=0, try_=3.0, help="how far from the source prompt to the target's; 1 is there"
    )
    told: str = told()

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The path up to noise, with the source prompt as the null prompt, for this and other editors."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        return resample(self, self._inverter(), self.guidance, prior, request, on_step)

    def _inverter(self) -> NPIInverter:
        return NPIInverter(steps=self.steps, told=cast(Told, self.told))
