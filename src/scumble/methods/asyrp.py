"""Asyrp (Kwon, Jeong & Uh 2023, arXiv:2210.10960): a trained shift of the bottleneck edits what the network predicts.

    x_s = alpha_s x0(x_t | h + D(h, t)) + sqrt(sigma_s^2 - std^2) eps(x_t | h) + std z

Down to `edit_until` h is shifted, and only in the predicted picture; below it the step is DDIM's; below `boost` it is
DDPM's, whose fresh noise mends the quality. `tuning.h_space` trains D.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from scumble.artifacts.h_space import HSpaceDirection
from scumble.attention.h_space import HSpace, Shift
from scumble.core.control import SOURCE, TARGET
from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Panel, Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, Watch, param, validate
from scumble.core.types import Latent, Pair
from scumble.loops import steps
from scumble.loops.cycle import climb, downward, levels
from scumble.networks.delta import DeltaBlock

NUDGE = 1e-6  # of the published grid, before it is rounded down


@dataclass(frozen=True, kw_only=True)
class Asyrp(Method):
    """Deterministic sampling whose bottleneck a small network shifts towards an attribute."""

    paper: ClassVar[Paper] = Paper(
        title="Diffusion Models already have a Semantic Latent Space",
        arxiv="2210.10960",
        bibtex="""@inproceedings{kwon2023diffusion,
  title     = {Diffusion Models already have a Semantic Latent Space},
  author    = {Kwon, Mingi and Jeong, Jaeseok and Uh, Youngjung},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023}
}""",
        departures=(
            "The ends of the three phases are values; the paper reads them off LPIPS distances, which need another "
            "network.",
            "The small network embeds the time itself, as this library does not look at the model's own embedding, and "
            "starts at zero: an untrained direction changes nothing.",
            "A model that reads text is asked with the source prompt, by default the empty one, without guidance.",
            "The model is asked once, with and without the shift as two rows; the published code runs the decoder "
            "twice, also where nothing is shifted.",
            "The words of an edit are put into twelve sentences; the published code has the 79 of ImageNet.",
        ),
    )
    needs: ClassVar[Needs] = Needs(control=True, given=("direction",))

    steps: int = param(40, ge=2, try_=6, help="steps of the way down; the paper's best took 1000")
    inversion_steps: int = param(40, ge=2, try_=5, help="levels of the way up, one more than its steps")
    start: int = param(999, ge=1, try_=700, help="time that the picture is taken up to")
    edit_until: int = param(500, ge=0, try_=100, help="the bottleneck is shifted at times from here on up")
    boost: int = param(
        200, ge=0, try_=0, help="below this time the steps add noise, which mends the quality; 0: none"
    )
    strength: float = param(1.0, try_=-0.5, help="of the shift; below 0 it goes the other way")
    keep: float = param(1.0, try_=0.5, help="share of the bottleneck's own feature in the shifted one")
    asymmetric: bool = param(
        True, try_=False, help="shift the predicted picture alone, not the direction back to x_t"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        schedule = job.schedule
        given = job.given("direction", HSpaceDirection, "`scumble train direction --method asyrp` makes one")
        assert given is not None
        given.check(prior.card)
        up = levels(schedule, self.start, self.inversion_steps, NUDGE)
        down = downward(schedule, levels(schedule, self.start, self.steps, NUDGE))
        n, text = len(up) - 1 + len(down), job.text(job.source)
        plain = guide(job.prior, text, text, 1)
        x = climb(plain, job.spread(job.encode()), up, schedule, on_step=job.watch(0, n))
        control = HSpace(shifts(given, self.strength, self.steps), keep=self.keep)
        return job.edit(self._down(job, plain, control, x, down, job.watch(len(up) - 1, n)))

    def _down(
        self, job: Job, plain: Denoiser, control: HSpace, x: Latent, pairs: Sequence[Pair], watch: Watch
    ) -> Latent:
        """The three phases."""
        schedule, text = job.prior.schedule, job.text(job.source)
        panel = Panel({SOURCE: text, TARGET: text})

        def predict(x_t: Latent, t: float, s: float) -> Prediction:
            now = schedule.time(t, len(x_t))
            if t < self.edit_until:
                return plain(x_t, now, None)
            with job.prior.control(control):
                p = panel.ask(job.prior, {SOURCE: x_t, TARGET: x_t}, now)
            return Prediction(p[TARGET].x0, p[SOURCE if self.asymmetric else TARGET].eps)

        def step(p: Prediction, x_t: Latent, t: float, s: float, before: steps.Before | None) -> steps.Move:
            return steps.ddim(p, x_t, t, s, schedule, eta=float(t < self.boost))

        return steps.fold(predict, x, pairs, schedule, step, noise=job.noise, on_step=watch)


def shifts(direction: HSpaceDirection, strength: float, steps: int) -> list[tuple[Shift, float]]:
    """The networks of a direction, and the weight of each on a grid of `steps` steps.

    Raises InputError for weights that are not a DeltaBlock's.
    """
    try:
        return [
            (DeltaBlock.of(each.weights), strength * each.weight * each.steps / steps)
            for each in direction.attributes
        ]
    except (KeyError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"direction: its network cannot be used ({reason}); train it again") from None
