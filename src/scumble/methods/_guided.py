"""Classifier-free guidance as all methods that sample have it: its weight, rescale, and an interval of times."""

from dataclasses import dataclass
from typing import ClassVar

from scumble.core.job import Job
from scumble.core.prior import Denoiser
from scumble.core.request import Method, param


@dataclass(frozen=True, kw_only=True)
class Guided(Method):
    """A method whose target is reached by guided denoising: of one prompt, or of several at once.

    Ho & Salimans 2022 (arXiv:2207.12598); Liu et al. 2022 (arXiv:2206.01714) for several prompts; Lin et al. 2023
    (arXiv:2305.08891) for rescale; Kynkäänniemi et al. 2024 (arXiv:2404.07724) for the interval.
    """

    composes: ClassVar[bool] = True

    guidance: float = param(
        7.5, ge=0, try_=3.0, help="classifier-free guidance towards the target; 1 is none"
    )
    rescale: float = param(
        0.0,
        ge=0,
        le=1,
        try_=0.7,
        help="how far the guided prediction gets the contrast of the unguided one; 0.7 helps where strong guidance "
        "oversaturates",
    )
    guidance_low: float = param(
        0.0,
        ge=0,
        le=1,
        try_=0.4,
        help="guide only above this share of the noise levels; 0 is the clean end",
    )
    guidance_high: float = param(
        1.0,
        ge=0,
        le=1,
        try_=0.3,
        help="guide only below this share of the noise levels; 1 is pure noise",
    )

    def denoiser(self, job: Job) -> Denoiser:
        """The guided denoiser of the job's target prompts."""
        interval = self.guidance_low, self.guidance_high
        return job.guide(self.guidance, rescale=self.rescale, interval=interval)
