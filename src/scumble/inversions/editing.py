"""What editors do with an inversion of any kind: start from it, replay it, or prepare it for later."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, get_args

from scumble.artifacts.inversion import Inversion
from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.job import Job
from scumble.core.masks import blend
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Prior
from scumble.core.request import Each, Edit, EditRequest, Method, OnStep, Watch, param
from scumble.core.schedule import Schedule
from scumble.core.types import Latent
from scumble.inversions.kinds import Inverter, drawn
from scumble.loops.ddim import ddim
from scumble.loops.dpm import dpm
from scumble.loops.invert import Told


def told() -> Any:
    """The hyper-parameter of methods with a DDIM inversion: which level the network is told as its time."""
    return param(
        "target",
        choices=get_args(Told)[::-1],
        try_="source",
        help="the time given to the network in the inversion: of the level that x moves to, or of x",
    )


def begin(job: Job, inverter: Inverter, *, guidance: float, then: int) -> tuple[Inversion, Watch]:
    """The inversion that an edit starts from, given or computed now, and the callback for its own `then` steps.

    Without a picture the inversion is only noise: see `drawn`. Raises InputError if the given one was made for
    something else.
    """
    given = job.given("inversion", Inversion, "`scumble invert` makes one")
    if given is None and job.request.image is None:
        return drawn(job, inverter.steps), job.watch(0, then)
    if given is None:
        made = length(inverter, job)
        return inverter(job, made + then), job.watch(made, made + then)
    pairs = inverter.pairs(job.schedule)
    if len(given.pairs) > len(pairs):  # one that goes on further up
        given = given.skip(len(given.pairs) - len(pairs))
    given.check(job.prior.card, job.image, job.source, pairs)
    if given.guidance not in (None, guidance):
        raise InputError(
            f"inversion: its null text was tuned for guidance {given.guidance:g}, but this edit's is "
            f"{guidance:g}; set guidance={given.guidance:g}, or invert the picture again"
        )
    if given.negative is not None and not _alike(given.negative, job.negative):
        raise InputError(
            f"inversion: its null text replaces the negative prompt {given.negative[0]!r}, but this edit's is "
            f"{job.negative[0]!r}; give the same one, or invert the picture again"
        )
    return given.to(job.text(job.source).tokens.device), job.watch(0, then)


def _alike(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether prompts are equal in every row, where one stands for all."""
    rows = max(len(ours), len(theirs))
    return [*ours] * (rows // len(ours)) == [*theirs] * (rows // len(theirs))


def replay(
    inversion: Inversion,
    denoise: Denoiser,
    schedule: Schedule,
    *sizes: int,
    each: Each | None = None,
    on_step: Watch | None = None,
) -> Latent:
    """Runs from the inversion's start down its own moves, with its own noise; returns the rows of all branches.

    `sizes`: the number of rows of each branch, in the order in which `denoise` takes them. With more than one branch,
    the first is the source. Where the inversion says so, it is corrected before `each` is called. It is not reported.
    """

    def after(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        x_s = inversion.added(x_s, s, *sizes)
        x_s = inversion.after(x_s, s) if len(sizes) > 1 else x_s
        return x_s if each is None else each(x_s, p, t, s)

    loop = ddim if inversion.noises is None else partial(dpm, order=inversion.order)
    watch = on_step if len(sizes) == 1 else _behind(sizes[0], on_step)
    return loop(denoise, inversion.start(*sizes), inversion.pairs, schedule, each=after, on_step=watch)


def _behind(rows: int, watch: Watch | None) -> Watch | None:
    """Reports the rows of a state after the first ones: the targets without their source."""
    if watch is None:
        return None
    return lambda k, n, t, x, clean: watch(k, n, t, x[rows:], clean[rows:])


def prepare(
    method: Method, inverter: Inverter, prior: Prior, request: EditRequest, on_step: OnStep | None
) -> Inversion:
    """The inversion of a request's pictures, without any target."""
    job = Job(method, prior, replace(request, target=""), on_step)
    return inverter(job, length(inverter, job))


def length(inverter: Inverter, job: Job) -> int:
    """The number of steps that an inverter reports."""
    return inverter.phases * len(inverter.pairs(job.schedule))


def resample(
    method: Method, inverter: Inverter, w: float, prior: Prior, request: EditRequest, on_step: OnStep | None
) -> Edit:
    """The simplest editor: from the inversion's start down again, with the target prompts and guidance. Outside a mask
    the result is the inversion.
    """
    job = Job(method, prior, request, on_step)
    inversion, watch = begin(job, inverter, guidance=w, then=len(inverter.pairs(job.schedule)))
    denoise = guide(job.prior, job.text(job.target), inversion.null(job.text(job.negative)), w)
    mask = job.mask(inversion.start(len(inversion)))

    def keep(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
        return x_s if mask is None else blend(inversion.at(s), x_s, mask)

    return job.edit(replay(inversion, denoise, job.schedule, job.rows, each=keep, on_step=watch))
