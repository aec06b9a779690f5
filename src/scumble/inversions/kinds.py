"""The kinds of inversion: each is a frozen dataclass of its settings that computes an Inversion of a job's pictures."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from scumble.artifacts.inversion import Inversion
from scumble.artifacts.origin import digests
from scumble.core.errors import InputError
from scumble.core.grids import upward
from scumble.core.guidance import guide
from scumble.core.job import Job, unable
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser
from scumble.core.request import Needs, Watch
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair, Time
from scumble.loops.ddim import ddim
from scumble.loops.dpm import dpm
from scumble.loops.invert import Told, invert
from scumble.loops.regularise import Regularisation, regularised
from scumble.tuning.null_text import Tuning, tune_null_text


@runtime_checkable
class Inverter(Protocol):
    """A kind of inversion with its settings."""

    @property
    def steps(self) -> int:
        """The steps of the grid."""
        ...

    @property
    def phases(self) -> int:
        """How many times it goes over its moves, reporting each."""
        ...

    def pairs(self, schedule: Schedule) -> list[Pair]:
        """The moves, downwards, of the inversions that it computes."""
        ...

    def __call__(self, job: Job, total: int) -> Inversion:
        """The inversion of the job's pictures; `total`: the number of steps that the whole job will report."""
        ...


@dataclass(frozen=True, kw_only=True)
class _OnGrid:
    """An inverter over the grid of a schedule, without the `skip` noisiest moves."""

    steps: int = 50
    skip: int = 0

    @property
    def phases(self) -> int:
        return 1

    def pairs(self, schedule: Schedule) -> list[Pair]:
        return schedule.grid(self.steps)[self.skip :]


@dataclass(frozen=True, kw_only=True)
class DDIMInverter(_OnGrid):
    """The states of DDIM inversion under the source prompts (see `loops.invert`).

    At guidance 0 it uses no prompt. `sample` draws the clean latent from the codec's posterior.
    """

    guidance: float = 1.0
    told: Told = "target"
    refine: int = 0
    sample: bool = False

    def __call__(self, job: Job, total: int) -> Inversion:
        pairs = self.pairs(job.schedule)
        z = _clean(job, self.sample)
        text, null = (job.text(prompts, job.sources) for prompts in (job.source, job.negative))
        w = self.guidance
        denoise = guide(job.prior, text, null, w) if w else guide(job.prior, null, null, 1)  # half the cost
        states = chain(denoise, z, pairs, job, total, told=self.told, refine=self.refine)
        settings = asdict(self) | ({} if w == 1 else {"negative": [*job.negative]})
        return described(job, kind="ddim", pairs=tuple(pairs), trajectory=states, settings=settings)


def chain(
    denoise: Denoiser, z: Latent, pairs: Sequence[Pair], job: Job, total: int, *, told: Told, refine: int = 0
) -> Tensor:
    """(n + 1, b, c, h, w): the states of DDIM inversion from z, noisiest first; `pairs` go down."""
    states = [z]

    def keep(x_s: Latent, *_: Any) -> Latent:
        states.insert(0, x_s)
        return x_s

    up, watch = upward(pairs), job.watch(0, total)
    invert(denoise, z, up, job.schedule, told=told, refine=refine, each=keep, on_step=watch)
    return torch.stack(states)


def _check(job: Job, kind: str, needs: Needs) -> None:
    """Raises InputError where the model cannot do what the kind needs, before anything costly is done."""
    if reason := unable(f"the inversion {kind}", needs, job.prior.card):
        raise InputError(reason)


def _clean(job: Job, sample: bool = False) -> Latent:
    return job.encode(sample=sample).expand(job.sources, -1, -1, -1)


@dataclass(frozen=True, kw_only=True)
class DirectInverter(_OnGrid):
    """Direct Inversion (Ju et al. 2024, arXiv:2310.01506): an editor's source branch is set back to these states after
    each step.

    `explicit` measures beforehand, at the editor's `guidance`, how far the branch will drift, and stores the
    difference, as published. The result is the same if the editor's evaluations are equal to the last bit. Otherwise
    the remainder grows from step to step.
    """

    guidance: float = 7.5
    explicit: bool = False
    told: Told = "target"

    @property
    def phases(self) -> int:
        return 2 if self.explicit else 1

    def __call__(self, job: Job, total: int) -> Inversion:
        pivot = DDIMInverter(steps=self.steps, skip=self.skip, told=self.told)(job, total)
        direct = replace(pivot, kind="direct", forced=True, settings=asdict(self))
        if not self.explicit:
            return direct
        rows, watch = job.sources, job.watch(len(pivot.pairs), total)
        denoise = guide(job.prior, job.text(job.source, rows), job.text(job.negative, rows), self.guidance)
        offsets = off_the_chain(denoise, pivot, job.schedule, rows, watch)
        return replace(direct, forced=False, offsets=offsets, guidance=self.guidance, negative=job.negative)


def off_the_chain(
    denoise: Denoiser, pivot: Inversion, schedule: Schedule, rows: int, on_step: Watch | None = None
) -> Tensor:
    """(n, rows, c, h, w): the difference to the chain after each of the denoiser's steps down it."""
    missing: list[Tensor] = []

    def back(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        missing.append(pivot.at(s) - x_s)
        return x_s + missing[-1]

    ddim(denoise, pivot.start(rows), pivot.pairs, schedule, each=back, on_step=on_step)
    return torch.stack(missing)


@dataclass(frozen=True, kw_only=True)
class NPIInverter(DDIMInverter):
    """Negative-prompt inversion (Miyake et al. 2023, arXiv:2305.16807): the source prompt replaces the null prompt, so
    that guidance adds nothing to the source. Needs no optimisation.

    Raises InputError if there is a negative prompt, because its place is taken.
    """

    def __call__(self, job: Job, total: int) -> Inversion:
        if any(job.negative):
            raise InputError("negative: npi uses the source prompt instead; leave it out")
        _check(job, "npi", Needs(null=True))
        text, moves = job.text(job.source, job.sources), self.steps - self.skip
        return replace(
            super().__call__(job, total),
            kind="npi", nulls=text.tokens.expand(moves, -1, -1, -1), negative=("",),
            pooled=None if text.pooled is None else text.pooled.expand(moves, -1, -1),
            masks=None if text.mask is None else text.mask.expand(moves, -1, -1),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class NullTextInverter(_OnGrid):
    """Null-text inversion (see `tuning.null_text`), for editors with the same guidance."""

    guidance: float = 7.5
    tuning: Tuning = field(default_factory=Tuning)
    told: Told = "target"

    @property
    def phases(self) -> int:
        return 2

    def __call__(self, job: Job, total: int) -> Inversion:
        _check(job, "null_text", Needs(null=True))
        pivot = DDIMInverter(steps=self.steps, skip=self.skip, told=self.told)(job, total)
        rows, steps = job.sources, len(pivot.pairs)
        tuned = tune_null_text(
            job.prior, pivot.trajectory, pivot.pairs, job.text(job.source, rows), job.text(job.negative, rows),
            self.guidance, self.tuning, job.watch(steps, total),
        )  # fmt: skip
        return replace(
            pivot, kind="null_text", nulls=tuned.tokens, guidance=self.guidance, negative=job.negative,
            settings=asdict(self),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class EditFriendlyInverter(_OnGrid):
    """Edit-friendly DDPM inversion (Huberman-Spiegelglas et al. 2024, arXiv:2304.06140): the picture is noised to
    every level independently, and the noise that a DDPM step must add to get from one to the next is stored.
    """

    guidance: float = 3.5
    order: int = 1

    def __call__(self, job: Job, total: int) -> Inversion:
        schedule = job.schedule
        pairs, z = self.pairs(job.schedule), _clean(job)
        noised = [schedule.mix(z, job.noise.like(z), t) for t, _ in reversed(pairs)]
        states = torch.stack([*reversed(noised), z])
        added: list[Tensor] = []

        def onward(mean: Latent, p: Prediction, t: float, s: float) -> Latent:
            """What the step lacks is its noise map; the next one starts from the level drawn."""
            added.append(states[len(added) + 1] - mean)
            return states[len(added)]

        denoise, order = self._denoiser(job), self.order
        dpm(denoise, states[0], pairs, schedule, order=order, each=onward, on_step=job.watch(0, total))
        return described(
            job, kind="edit_friendly", pairs=tuple(pairs), trajectory=states, noises=torch.stack(added),
            order=self.order, settings=asdict(self) | {"negative": [*job.negative]},
        )  # fmt: skip

    def _denoiser(self, job: Job) -> Denoiser:
        text, null = (job.text(prompts, job.sources) for prompts in (job.source, job.negative))
        return guide(job.prior, text, null, self.guidance)


@dataclass(frozen=True, kw_only=True)
class RegularisedInverter(_OnGrid):
    """Pix2Pix-Zero's inversion: DDIM inversion with regularised noise (see `loops.regularise`).

    `shifted` is the authors' procedure: it omits the lowest and the highest time, and treats every state as one level
    below the time that the network is told.
    """

    values: Regularisation = field(default_factory=Regularisation)
    sample: bool = False
    shifted: bool = False

    def pairs(self, schedule: Schedule) -> list[Pair]:
        pairs = super().pairs(schedule)
        return [(t - 1, s - 1) for t, s in pairs[:-2]] if self.shifted else pairs

    def __call__(self, job: Job, total: int) -> Inversion:
        pairs, z = self.pairs(job.schedule), _clean(job, self.sample)
        text = job.text(job.source, job.sources)
        denoise = regularised(guide(job.prior, text, text, 1), job.schedule, job.noise, self.values)

        def above(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
            return denoise(x_t, t + 1, at)

        told: Told = "source" if self.shifted else "target"
        states = chain(above if self.shifted else denoise, z, pairs, job, total, told=told)
        if not bool(states.isfinite().all()):
            raise InputError("inversion: its regularised noise diverged to infinity; use smaller weights")
        return described(
            job, kind="regularised", pairs=tuple(pairs), trajectory=states, settings=asdict(self)
        )


KINDS: dict[str, Callable[[int, float], Inverter]] = {
    "ddim": lambda steps, guidance: DDIMInverter(steps=steps),
    "direct": lambda steps, guidance: DirectInverter(steps=steps),
    "npi": lambda steps, guidance: NPIInverter(steps=steps),
    "edit_friendly": lambda steps, guidance: EditFriendlyInverter(steps=steps, guidance=guidance),
    "regularised": lambda steps, guidance: RegularisedInverter(steps=steps),
    "null_text": lambda steps, guidance: NullTextInverter(steps=steps, guidance=guidance),
}
"""The kinds that an editor may offer as its `inversion`, for its steps and its guidance."""


def drawn(job: Job, steps: int) -> Inversion:
    """The start of a picture to be generated: noise, one draw for all its rows, and no moves."""
    noise = job.noise.like(job.encode()).expand(job.sources, -1, -1, -1)
    return described(job, kind="drawn", pairs=tuple(job.schedule.grid(steps)), trajectory=noise[None])


def described(job: Job, **parts: Any) -> Inversion:
    """The inversion of a job's pictures, with the description of the pictures and the prior."""
    card, (height, width) = job.prior.card, job.image.shape[-2:]
    return Inversion(
        prior=card.id,
        prior_hash=card.hash,
        size=(height, width),
        pictures=digests(job.image),
        prompts=job.source * (job.sources // len(job.source)),
        **parts,
    )
