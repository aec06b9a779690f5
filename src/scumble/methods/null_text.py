"""Null-text inversion (Mokady et al. 2023, arXiv:2211.09794, Algorithm 1).

    null_t = argmin |z*_s - DDIM(z_t; null_t + w (source - null_t))|^2    for every move from t to s
    eps = eps(x_t, null_t) + w (eps(x_t, target) - eps(x_t, null_t))

z* is the chain of an unguided DDIM inversion.
"""

from dataclasses import dataclass
from typing import ClassVar, cast

from scumble.artifacts.inversion import Inversion
from scumble.core.errors import InputError
from scumble.core.host import isolated
from scumble.core.prior import Prior
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.inversions import NullTextInverter, prepare, resample, told
from scumble.loops.invert import Told
from scumble.tuning.null_text import Tuning


@dataclass(frozen=True, kw_only=True)
class NullText(Method):
    """An inversion of real pictures for editors with guidance. Alone, it resamples with the target prompt."""

    paper: ClassVar[Paper] = Paper(
        title="Null-text Inversion for Editing Real Images using Guided Diffusion Models",
        arxiv="2211.09794",
        bibtex="""@inproceedings{mokady2023null,
  title     = {Null-text Inversion for Editing Real Images using Guided Diffusion Models},
  author    = {Mokady, Ron and Hertz, Amir and Aberman, Kfir and Pritch, Yael and Cohen-Or, Daniel},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2023}
}""",
        departures=(
            "The learning rate falls, and the bound for stopping early rises, with the share of the path "
            "instead of the step number, whose constants fit only 50 steps. The pictures of a batch stop "
            "independently. compat='authors' does both as published.",
            "The paper edits with Prompt-to-Prompt on top. This method alone resamples, without attention "
            "control.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True, gradient=True, single=True, null=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=3, help="steps of the inversion, and as many of the sampling")
    guidance: float = param(
        7.5, gt=1, try_=3.0, help="classifier-free guidance that the null text is tuned for"
    )
    inner_steps: int = param(10, ge=1, try_=1, help="maximum number of updates of the null text per step")
    rate: float = param(
        1e-2, gt=0, try_=3e-2, help="Adam's learning rate at the noisiest step; half at the end"
    )
    early_stop: float = param(1e-5, ge=0, try_=10.0, help="a loss below which a step's tuning ends")
    growth: float = param(1e-3, ge=0, try_=100.0, help="by how much early_stop grows up to the last step")
    told: str = told()
    compat: str = param(
        "", choices=("", "authors"), try_="authors", help="follow the published code where it differs"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.compat == "authors" and self.steps > 100:
            raise InputError(f"steps: {self.steps}; the published learning rate is 0 after 100 steps")

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The path up to noise and the optimised null prompts, for editors with the same guidance."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        return resample(self, self._inverter(), self.guidance, prior, request, on_step)

    def _inverter(self) -> NullTextInverter:
        tuning = Tuning(
            inner_steps=self.inner_steps,
            rate=self.rate,
            early_stop=self.early_stop,
            growth=self.growth,
            published=self.compat == "authors",
        )
        return NullTextInverter(
            steps=self.steps, guidance=self.guidance, tuning=tuning, told=cast(Told, self.told)
        )
