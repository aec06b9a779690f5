"""Fast and steady DDS, a method of our own: Delta Denoising Score down the noise levels, with the source asked once.

    x <- x - (sigma_t / alpha_t - sigma_s / alpha_s) m (w (T - S) + v (S - Z))    for t falling to s
    T = eps(x_t, target),  S = eps(x_t, source),  Z = eps(z_t, source)

w is `guidance`, v `cross_trajectory`, m the soft mask of `focus`; the terms in w and v are `scores.split.SplitScore`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from scumble.artifacts.bank import SourceBank, fill
from scumble.core.errors import InputError
from scumble.core.grids import pairs
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import (
    Artifact,
    Edit,
    EditRequest,
    Method,
    Needs,
    OnStep,
    Painting,
    Paper,
    Parametrization,
    param,
    validate,
)
from scumble.core.schedule import Schedule
from scumble.core.types import Latent
from scumble.loops.descend import Descending, Itself, Repeated, descend
from scumble.scores.split import SplitScore


@dataclass(frozen=True, kw_only=True)
class DDSFast(Method):
    """DDS with an eleventh of its evaluations.

    Times fall from `strength`, and each step is as long as the change of the noise-to-signal ratio that it covers
    (`Descending`). Guidance applies only to the difference between the prompts, so no null prompt is evaluated
    (`SplitScore`). Places change where the prompts disagree (`focus`; `Edit.mask` is the mask). The predictions for
    the source are computed for all times in a few large calls, once for all targets (`SourceBank`, which `prepare`
    makes for later edits).
    """

    paper: ClassVar[Paper] = Paper(
        title="Fast and steady DDS (this library), after Delta Denoising Score",
        arxiv="2304.07090",
        bibtex="""@inproceedings{hertz2023delta,
  title     = {Delta Denoising Score},
  author    = {Hertz, Amir and Aberman, Kfir and Cohen-Or, Daniel},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2023}
}""",
        departures=(
            "Falling times and their rates are those of FlowEdit (arXiv 2412.08629); DDS draws times at "
            "random.",
            "The split of the guidance is that of TurboEdit (arXiv 2408.00735); DDS uses guidance on both "
            "branches.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    prepares: ClassVar[type[Artifact] | None] = SourceBank
    identity: ClassVar[bool] = True
    forms: ClassVar[tuple[str, ...]] = ("latent", "lut")
    shares: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "bank": ("steps", "repeats", "strength", "n_avg", "antithetic")
    }

    steps: int = param(12, ge=1, try_=3, help="gradient steps")
    strength: float = param(
        0.97, gt=0, le=1, try_=0.5, help="the noise level to start at, as a share of all times"
    )
    guidance: float = param(2.5, ge=0, try_=2.0, help="weight of the difference between the prompts")
    cross_trajectory: float = param(
        1.5, ge=0, try_=2.0, help="weight of the difference between the pictures, which holds the edit back"
    )
    fade: bool = param(True, try_=False, help="let guidance fall to cross_trajectory as the edit arrives")
    n_avg: int = param(2, ge=1, try_=1, help="draws of noise averaged in every step")
    antithetic: bool = param(
        True, try_=False, help="every second draw is the one before it, negated; one draw has no second"
    )
    repeats: int = param(1, ge=1, try_=2, help="steps in a row that share a time, its noise and the source")
    focus: float = param(
        1.0,
        ge=0,
        le=1,
        try_=0.5,
        help="share of the prompts' largest disagreement that moves in full; 0: all moves",
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.steps % self.repeats:
            raise InputError(
                f"repeats: {self.steps} steps are not a multiple of {self.repeats}; change one of the two"
            )

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        if any(job.negative):
            raise InputError(
                "negative: dds_fast uses no null prompt that it could replace; leave it out, or use dds"
            )
        z, plan, texts = job.encode(), self.plan(job.schedule), job.texts()
        bank = self._bank(job, z, plan)
        score = SplitScore(
            job.prior,
            reference=z,
            source=texts["source"],
            target=texts["target"],
            guidance=self.guidance,
            cross_trajectory=self.cross_trajectory,
            fade=self.fade,
            focus=self.focus,
            bank=bank.at,
        )
        g = job.given("parametrization", Parametrization, "give one of scumble.forms") or Itself()
        steps, mask = Repeated(plan, self.repeats), job.mask(z)
        theta = descend(score, job.spread(z), steps, job.noise, mask=mask, g=g, on_step=job.watch())
        made = {"theta": theta, "bank": bank}
        return job.edit(
            g(theta),
            maps={"mask": score.mask} if self.focus else None,
            kept={name: made[name] for name in request.keep if name in made},
            raw=g.picture(theta) if isinstance(g, Painting) else None,
        )

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> SourceBank:
        """The source's predictions, for `request.given["bank"]` of edits with equal values of what `shares` lists."""
        job = Job(self, prior, replace(request, target="", given={}), on_step)
        return self._bank(job, job.encode(), self.plan(job.schedule))

    def plan(self, schedule: Schedule) -> Descending:
        """Moves of equal length from `strength` down to the clean level, one for every `repeats` steps."""
        levels, top = self.steps // self.repeats, self.strength * schedule.T
        if schedule.abar is not None and levels > top:
            raise InputError(
                f"steps: {levels} levels, but there are only {int(top)} below strength {self.strength:g}; "
                "take fewer steps or more strength"
            )
        times = [top * k / levels for k in range(1, levels + 1)]
        if schedule.abar is not None:
            times = [int(t + 0.5) - 1 for t in times]
        return Descending(schedule, pairs(times, schedule.clean))

    def _bank(self, job: Job, z: Latent, plan: Descending) -> SourceBank:
        """The given bank, or a new one."""
        request, given = job.request, job.given("bank", SourceBank, "`DDSFast.prepare` makes one")
        paired = self.antithetic and self.n_avg > 1
        if given is None:
            return fill(job, z, plan.times, self.n_avg, antithetic=paired)
        card, image, source = job.prior.card, job.image, job.source
        given.check(card, image, source, request.seed, plan.times, self.n_avg, paired)
        return given.to(z.device)
