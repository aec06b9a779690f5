"""From a picture to an Inversion: the kinds there are, and what every editor does with any of them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch

from scumble.core.errors import InputError
from scumble.core.grids import upward
from scumble.core.inversion import Inversion, digests
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, guide
from scumble.core.request import Each, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent
from scumble.loops.ddim import ddim
from scumble.loops.invert import Told, invert
from scumble.tuning.null_text import Tuning, tune_null_text


class Inverter(Protocol):
    """A kind of inversion with its values. It reports `phases` times `steps` steps."""

    @property
    def steps(self) -> int: ...

    @property
    def phases(self) -> int: ...

    def __call__(self, job: Job, total: int) -> Inversion:
        """The inversion of the job's pictures; `total`: the steps that the whole job will report."""
        ...


@dataclass(frozen=True, kw_only=True)
class DDIMInverter:
    """The chain that DDIM inversion walks up under the source prompts (see `loops.invert`).

    `forced` makes it Direct Inversion (Ju et al. 2024): an editor's source branch is put back on the chain
    after each step, which is adding the difference that they store, without a pass to measure it.
    """

    phases: ClassVar[int] = 1

    steps: int = 50
    guidance: float = 1.0
    told: Told = "target"
    refine: int = 0
    forced: bool = False

    def __call__(self, job: Job, total: int) -> Inversion:
        schedule, rows = job.prior.schedule, job.sources
        pairs = schedule.grid(self.steps)
        z = job.encode().expand(rows, -1, -1, -1)
        denoise = guide(job.prior, job.text(job.source, rows), job.text(job.negative, rows), self.guidance)
        states = [z]

        def keep(x_s: Latent, *_: Any) -> Latent:
            states.insert(0, x_s)
            return x_s

        invert(
            denoise, z, upward(pairs), schedule,
            told=self.told, refine=self.refine, each=keep, on_step=job.watch(0, total),
        )  # fmt: skip
        return described(
            job, pairs=tuple(pairs), trajectory=torch.stack(states), forced=self.forced,
            kind="direct" if self.forced else "ddim", settings=asdict(self),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NPIInverter(DDIMInverter):
    """Negative-prompt inversion (Miyake et al. 2023, arXiv:2305.16807): the source prompt itself stands in
    for the null text, so that guidance has nothing to add to the source. Costs no tuning.
    """

    def __call__(self, job: Job, total: int) -> Inversion:
        tokens = job.text(job.source, job.sources).tokens
        return replace(
            super().__call__(job, total),
            kind="npi", nulls=tokens.expand(self.steps, -1, -1, -1), settings=asdict(self),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NullTextInverter:
    """Null-text inversion (see `tuning.null_text`), for editors that guide as strongly."""

    phases: ClassVar[int] = 2

    steps: int = 50
    guidance: float = 7.5
    tuning: Tuning = field(default_factory=Tuning)

    def __call__(self, job: Job, total: int) -> Inversion:
        pivot = DDIMInverter(steps=self.steps)(job, total)
        rows, steps = job.sources, len(pivot.pairs)
        tuned = tune_null_text(
            job.prior, pivot.trajectory, pivot.pairs, job.text(job.source, rows), job.text(job.negative, rows),
            self.guidance, self.tuning, job.watch(steps, total),
        )  # fmt: skip
        return replace(
            pivot, kind="null_text", nulls=tuned.tokens, guidance=self.guidance, settings=asdict(self)
        )


KINDS: dict[str, Callable[[int, float], Inverter]] = {
    "ddim": lambda steps, guidance: DDIMInverter(steps=steps),
    "direct": lambda steps, guidance: DDIMInverter(steps=steps, forced=True),
    "npi": lambda steps, guidance: NPIInverter(steps=steps),
    "null_text": lambda steps, guidance: NullTextInverter(steps=steps, guidance=guidance),
}
"""The kinds that an editor may offer as its `inversion`, for its steps and its guidance."""


def begin(job: Job, inverter: Inverter, *, guidance: float, then: int) -> tuple[Inversion, Watch]:
    """The inversion that an edit starts from, given or made now, and what its own `then` steps report to.

    Raises InputError where the one given was made for something else.
    """
    given = job.request.given.get("inversion")
    if given is None:
        made = inverter.phases * inverter.steps
        return inverter(job, made + then), job.watch(made, made + then)
    if not isinstance(given, Inversion):
        raise InputError(f"inversion: {type(given).__name__} is none; `scumble invert` makes one")
    given.check(job.prior.card, job.image, job.source, job.prior.schedule.grid(inverter.steps))
    if given.guidance not in (None, guidance):
        raise InputError(
            f"inversion: its null text was tuned for guidance {given.guidance:g}, but this edit's is "
            f"{guidance:g}; set guidance={given.guidance:g}, or invert the picture again"
        )
    return given.to(job.text(job.source).tokens.device), job.watch(0, then)


def replay(
    inversion: Inversion,
    denoise: Denoiser,
    schedule: Schedule,
    *sizes: int,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """From the inversion's start down its own moves, with its own noise; the rows of all branches come back.

    `sizes`: the rows of each of the editor's branches, in the order in which `denoise` takes them. With more
    than one the first is the source's: it is forced where the inversion says so, before `each` is called.
    """

    def after(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        x_s = inversion.after(x_s, s) if len(sizes) > 1 else x_s
        return x_s if each is None else each(x_s, p, t, s)

    return ddim(
        denoise, inversion.start(*sizes), inversion.pairs, schedule,
        eta=inversion.eta, noise=inversion.noise(*sizes), each=after, on_step=on_step,
    )  # fmt: skip


def described(job: Job, **parts: Any) -> Inversion:
    """The inversion of a job's pictures, with what they and the prior are."""
    card, (height, width) = job.prior.card, job.image.shape[-2:]
    return Inversion(
        prior=card.id,
        prior_hash=card.hash,
        size=(height, width),
        pictures=digests(job.image),
        prompts=job.source * (job.sources // len(job.source)),
        **parts,
    )
