"""From a picture to an Inversion: the kinds there are, and what every editor does with any of them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.grids import upward
from scumble.core.inversion import Inversion, digests
from scumble.core.job import Job
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Prior, guide
from scumble.core.request import Each, Edit, EditRequest, Method, OnStep, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent
from scumble.loops.ddim import ddim
from scumble.loops.invert import Told, invert
from scumble.tuning.null_text import Tuning, tune_null_text


class Inverter(Protocol):
    """A kind of inversion with its values."""

    @property
    def steps(self) -> int:
        """The steps of the grid."""
        ...

    @property
    def skip(self) -> int:
        """How many of them are left off at the noisy end."""
        ...

    @property
    def phases(self) -> int:
        """How often it goes over the others, reporting each."""
        ...

    def __call__(self, job: Job, total: int) -> Inversion:
        """The inversion of the job's pictures; `total`: the steps that the whole job will report."""
        ...


@dataclass(frozen=True, kw_only=True)
class DDIMInverter:
    """The chain that DDIM inversion walks up under the source prompts (see `loops.invert`).

    At guidance 0 it listens to no prompt. `sample` draws the clean latent from the codec's posterior.
    """

    phases: ClassVar[int] = 1

    steps: int = 50
    skip: int = 0
    guidance: float = 1.0
    told: Told = "target"
    refine: int = 0
    sample: bool = False

    def __call__(self, job: Job, total: int) -> Inversion:
        schedule, rows = job.prior.schedule, job.sources
        pairs = schedule.grid(self.steps)[self.skip :]
        z = job.encode(sample=self.sample).expand(rows, -1, -1, -1)
        text, null = (job.text(prompts, rows) for prompts in (job.source, job.negative))
        w = self.guidance
        denoise = guide(job.prior, text, null, w) if w else guide(job.prior, null, null, 1)  # half the cost
        states = [z]

        def keep(x_s: Latent, *_: Any) -> Latent:
            states.insert(0, x_s)
            return x_s

        invert(
            denoise, z, upward(pairs), schedule,
            told=self.told, refine=self.refine, each=keep, on_step=job.watch(0, total),
        )  # fmt: skip
        return described(
            job, kind="ddim", pairs=tuple(pairs), trajectory=torch.stack(states), settings=asdict(self)
        )


@dataclass(frozen=True, kw_only=True)
class DirectInverter:
    """Direct Inversion (Ju et al. 2024, arXiv:2310.01506): an editor's source branch stands on the chain again
    after each step.

    `explicit` measures beforehand, at the editor's `guidance`, by how much it will have left the chain, and
    stores that, as published. It is the same where the editor's evaluations are equal to the last bit; where
    they are not, what is left over grows from step to step.
    """

    skip: ClassVar[int] = 0

    steps: int = 50
    guidance: float = 7.5
    explicit: bool = False

    @property
    def phases(self) -> int:
        return 2 if self.explicit else 1

    def __call__(self, job: Job, total: int) -> Inversion:
        chain = DDIMInverter(steps=self.steps)(job, total)
        direct = replace(chain, kind="direct", forced=True, settings=asdict(self))
        if not self.explicit:
            return direct
        rows, steps = job.sources, len(chain.pairs)
        denoise = guide(job.prior, job.text(job.source, rows), job.text(job.negative, rows), self.guidance)
        offsets = off_the_chain(denoise, chain, job.prior.schedule, rows, job.watch(steps, total))
        return replace(direct, forced=False, offsets=offsets, guidance=self.guidance)


def off_the_chain(
    denoise: Denoiser, chain: Inversion, schedule: Schedule, rows: int, on_step: Watch | None = None
) -> Tensor:
    """(n, rows, c, h, w): what is missing, after each of the denoiser's steps down the chain, to be on it."""
    missing: list[Tensor] = []

    def back(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        missing.append(chain.at(s) - x_s)
        return x_s + missing[-1]

    ddim(denoise, chain.start(rows), chain.pairs, schedule, each=back, on_step=on_step)
    return torch.stack(missing)


@dataclass(frozen=True, kw_only=True)
class NPIInverter(DDIMInverter):
    """Negative-prompt inversion (Miyake et al. 2023, arXiv:2305.16807): the source prompt itself stands in
    for the null text, so that guidance has nothing to add to the source. Costs no tuning.
    """

    def __call__(self, job: Job, total: int) -> Inversion:
        tokens = job.text(job.source, job.sources).tokens
        return replace(
            super().__call__(job, total),
            kind="npi", nulls=tokens.expand(self.steps - self.skip, -1, -1, -1), settings=asdict(self),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NullTextInverter:
    """Null-text inversion (see `tuning.null_text`), for editors that guide as strongly."""

    phases: ClassVar[int] = 2
    skip: ClassVar[int] = 0

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
    "direct": lambda steps, guidance: DirectInverter(steps=steps),
    "npi": lambda steps, guidance: NPIInverter(steps=steps),
    "null_text": lambda steps, guidance: NullTextInverter(steps=steps, guidance=guidance),
}
"""The kinds that an editor may offer as its `inversion`, for its steps and its guidance."""


def begin(job: Job, inverter: Inverter, *, guidance: float, then: int) -> tuple[Inversion, Watch]:
    """The inversion that an edit starts from, given or made now, and what its own `then` steps report to.

    Where there is no picture yet it is noise alone: see `drawn`.
    Raises InputError where the one given was made for something else.
    """
    given = job.request.given.get("inversion")
    if given is None and job.request.image is None:
        return drawn(job, inverter.steps), job.watch(0, then)
    if given is None:
        made = length(inverter)
        return inverter(job, made + then), job.watch(made, made + then)
    if not isinstance(given, Inversion):
        raise InputError(f"inversion: {type(given).__name__} is none; `scumble invert` makes one")
    grid = job.prior.schedule.grid(inverter.steps)
    given = given.skip(inverter.skip) if given.pairs == tuple(grid) else given
    given.check(job.prior.card, job.image, job.source, grid[inverter.skip :])
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
    than one the first is the source's: it is put right where the inversion says so, before `each` is called,
    and not reported.
    """

    def after(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        x_s = inversion.after(x_s, s) if len(sizes) > 1 else x_s
        return x_s if each is None else each(x_s, p, t, s)

    return ddim(
        denoise, inversion.start(*sizes), inversion.pairs, schedule,
        eta=inversion.eta, noise=inversion.noise(*sizes), each=after,
        on_step=on_step if len(sizes) == 1 else behind(sizes[0], on_step),
    )  # fmt: skip


def behind(rows: int, watch: Watch | None) -> Watch | None:
    """Reports what lies below the first rows of a state: the targets below their source."""
    if watch is None:
        return None
    return lambda k, n, t, x, clean: watch(k, n, t, x[rows:], clean[rows:])


def drawn(job: Job, steps: int) -> Inversion:
    """The start of a picture that is to be painted: noise, one draw for all its rows, and no chain."""
    noise = job.noise.like(job.encode()).expand(job.sources, -1, -1, -1)
    return described(job, kind="drawn", pairs=tuple(job.prior.schedule.grid(steps)), trajectory=noise[None])


def prepare(
    method: Method, inverter: Inverter, prior: Prior, request: EditRequest, on_step: OnStep | None
) -> Inversion:
    """The inversion of a request's pictures, which says nothing about a target yet."""
    job = Job(method, prior, replace(request, target=""), on_step)
    return inverter(job, length(inverter))


def length(inverter: Inverter) -> int:
    """The steps that an inverter reports."""
    return inverter.phases * (inverter.steps - inverter.skip)


def resample(
    method: Method, inverter: Inverter, w: float, prior: Prior, request: EditRequest, on_step: OnStep | None
) -> Edit:
    """The plainest editor: from the inversion's start down again, guided by the target prompts."""
    job = Job(method, prior, request, on_step)
    inversion, watch = begin(job, inverter, guidance=w, then=inverter.steps)
    denoise = guide(job.prior, job.text(job.target), inversion.null(job.text(job.negative)), w)
    return job.edit(replay(inversion, denoise, prior.schedule, job.rows, on_step=watch))


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
