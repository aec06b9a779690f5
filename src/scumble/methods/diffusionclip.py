"""DiffusionCLIP (Kim, Kwon & Ye 2022, arXiv:2110.02711): weights that were fine-tuned for one edit.

    x_start = DDIM inversion of the picture, by the original weights
    x_0     = the deterministic way down, by the tuned ones: eps = r eps_tuned + (1 - r) eps_original

`tuning.finetune` tunes them, with the directional loss of a CLIP.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from scumble.artifacts.tuned import TunedWeights
from scumble.core.guidance import guide
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.types import Latent, Time
from scumble.loops.cycle import climb, downward, levels
from scumble.loops.ddim import ddim
from scumble.tuning.weights import changed, fitted


@dataclass(frozen=True, kw_only=True)
class DiffusionCLIP(Method):
    """The picture's noise, drawn again by a model that was fine-tuned for the edit."""

    paper: ClassVar[Paper] = Paper(
        title="DiffusionCLIP: Text-Guided Diffusion Models for Robust Image Manipulation",
        arxiv="2110.02711",
        bibtex="""@inproceedings{kim2022diffusionclip,
  title     = {DiffusionCLIP: Text-Guided Diffusion Models for Robust Image Manipulation},
  author    = {Kim, Gwanghyun and Kwon, Taesung and Ye, Jong Chul},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2022}
}""",
        departures=(
            "A model that reads text is asked with the source prompt, by default the empty one, without guidance, in "
            "training and editing alike; the paper's models are unconditional.",
            "Latent models are tuned through their decoder, whose pictures the CLIP looks at.",
            "The batch's losses are per picture; the published code averages the directions first. They are the same "
            "for its batches of one.",
            "The identity term has a gradient in the memory-saving form, too; the published one loses it there.",
            "The words of an edit are put into twelve sentences; the published code has the 79 of ImageNet.",
        ),
    )
    needs: ClassVar[Needs] = Needs(given=("tuned",))

    steps: int = param(40, ge=2, try_=7, help="steps of the way down")
    inversion_steps: int = param(40, ge=2, try_=9, help="levels of the way up, one more than its steps")
    start: int = param(400, ge=1, try_=300, help="time that the picture goes up to: lower keeps more of it")
    strength: float = param(
        1.0, try_=0.5, help="share of the tuned model; 0 is the original, above 1 exaggerates"
    )
    eta: float = param(0.0, ge=0, le=1, try_=1.0, help="fresh noise on the way down; 0 is deterministic")

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        schedule = job.schedule
        tuned = job.given("tuned", TunedWeights, "`scumble train direction --method diffusionclip` makes one")
        assert tuned is not None
        tuned.check(prior.card)
        up = levels(schedule, self.start, self.inversion_steps)
        down = downward(schedule, levels(schedule, self.start, self.steps))
        n = len(up) - 1 + len(down)
        original = _denoiser(job)
        x = climb(original, job.spread(job.encode()), up, schedule, on_step=job.watch(0, n))
        mixed = mixture(original, self._tuned(job, tuned), lambda t: self.strength)
        watch = job.watch(len(up) - 1, n)
        return job.edit(ddim(mixed, x, down, schedule, eta=self.eta, noise=job.noise, on_step=watch))

    @staticmethod
    def _tuned(job: Job, tuned: TunedWeights) -> Denoiser:
        """The denoiser of the tuned weights; the job's own prior keeps its own between calls."""
        values = fitted(job.prior, tuned.weights(job.prior.parameters()))
        with changed(job.prior, values):  # the text encoder may be among them
            denoise = _denoiser(job)

        def inside(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
            with changed(job.prior, values):
                return denoise(x_t, t, at)

        return inside


def _denoiser(job: Job) -> Denoiser:
    text = job.text(job.source)
    return guide(job.prior, text, text, 1)


def mixture(first: Denoiser, second: Denoiser, share: Callable[[float], float]) -> Denoiser:
    """(1 - share) first + share second, the second's share at every time; whoever has none is not asked."""

    def denoise(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        r = share(float(t[0]))
        if r in (0, 1):
            return (second if r else first)(x_t, t, at)
        return first(x_t, t, at).toward(second(x_t, t, at), r)

    return denoise
