"""Makes a batch of edits: onto the canvas, through the method, and back to pictures of the original size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from scumble.bench.baselines import Copy
from scumble.bench.contestants import Ready
from scumble.core.errors import InputError
from scumble.core.job import Counted
from scumble.core.noise import Noise
from scumble.core.pixels import Pixels, psnr
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest
from scumble.core.types import Image, Latent
from scumble.measuring.tasks import Case, Task
from scumble.pictures import reading
from scumble.pictures.placed import Placed


@dataclass(frozen=True, eq=False, kw_only=True)
class Completed:
    """An edit that was made. Evaluations and times are its share of the batch's.

    result, codec: of the picture's own size; codec: the source, encoded and decoded. back: PSNR between the source and
    the result edited back, dB, if requested and if something had changed. refused_back: why it was not edited back.
    """

    result: Pixels
    codec: Pixels
    back: float | None
    refused_back: str | None
    evaluations: int
    seconds: float
    codec_seconds: float


@dataclass(frozen=True)
class Refused:
    """An edit that the method refused, with its message."""

    why: str


def batches(todo: Iterator[tuple[int, Task]], prior: Prior, size: int) -> Iterator[tuple[int, list[Case]]]:
    """(repeat, edits) in batches of at most `size` that one request can hold: one canvas, seeds in a row."""
    some: list[Case] = []
    last = 0
    for repeat, task in todo:
        case = Case.of(task, prior)
        if some and (
            len(some) == size
            or repeat != last
            or task.index != some[-1].task.index + 1
            or case.placed.fit.canvas != some[0].placed.fit.canvas
        ):
            yield last, some
            some = []
        some.append(case)
        last = repeat
    if some:
        yield last, some


def attempt(
    ready: Ready, prior: Prior, some: Sequence[Case], *, seed: int, back: bool = False
) -> list[Completed | Refused]:
    """The outcome of every edit of a batch. If the method refuses the batch, each edit is tried alone."""
    try:
        return [*make(ready, prior, some, seed=seed, back=back)]
    except InputError as error:
        if len(some) == 1:
            return [Refused(str(error))]
    alone = (attempt(ready, prior, [case], seed=seed + i, back=back) for i, case in enumerate(some))
    return [outcome for (outcome,) in alone]


def make(
    ready: Ready, prior: Prior, some: Sequence[Case], *, seed: int, back: bool = False
) -> list[Completed]:
    """Makes a batch. Edit i draws from seed + i, as it would alone.

    Raises:
        InputError: the method refuses, or values diverge.
    """
    clocked = Clocked(prior)
    places = [case.placed for case in some]
    request = _request(ready, prior, some, seed)
    started = _now()
    request = _encoded(clocked, request)
    edit = _edit(ready, clocked, request)
    seconds = _now() - started
    codecs, results = _shown(ready, prior, request, edit, places)
    came_back, refused_back = _returned(ready, prior, request, some, results, back)
    return [
        Completed(
            result=result,
            codec=codec,
            back=returned,
            refused_back=refused_back,
            evaluations=edit.evaluations,
            seconds=seconds / len(some),
            codec_seconds=clocked.seconds / len(some),
        )
        for result, codec, returned in zip(results, codecs, came_back, strict=True)
    ]


def _returned(
    ready: Ready,
    prior: Prior,
    request: EditRequest,
    some: Sequence[Case],
    results: Sequence[Pixels],
    back: bool,
) -> tuple[Sequence[float | None], str | None]:
    """PSNR to the source of every result edited back, None for a no-op; and why an edit was not edited back."""
    nothing = [None] * len(some)
    moved = [back and case.task.kind != "noop" for case in some]
    if not any(moved):
        return nothing, None
    places = [
        replace(case.placed, picture=reading.read(result, case.task.id))
        for case, result in zip(some, results, strict=True)
    ]
    again = replace(
        request,
        image=torch.cat([placed.image for placed in places]),
        source=request.target,
        target=request.source,
    )
    again = _encoded(prior, again)
    try:
        edit = _edit(ready, prior, again)
    except InputError as error:
        if len(some) > 1:
            raise
        return nothing, str(error)
    _, returned = _shown(ready, prior, again, edit, places)
    sources = [case.known.source for case in some]
    return [psnr(a, b) if m else None for a, b, m in zip(sources, returned, moved, strict=True)], None


def _request(ready: Ready, prior: Prior, some: Sequence[Case], seed: int) -> EditRequest:
    speaks = "text" in prior.card.capabilities
    masked = "mask" in ready.contestant.extras
    reference = None
    if ready.method.needs.reference:  # the ceiling's is the true edit, all others' the picture itself
        shown = [case.known.truths[0] if ready.contestant.frames else case.known.source for case in some]
        reference = torch.cat([case.put(picture) for case, picture in zip(some, shown, strict=True)])
    return EditRequest(
        image=torch.cat([case.placed.image for case in some]),
        source=[case.task.source for case in some] if speaks else None,
        target=[case.task.target for case in some] if speaks else None,
        mask=torch.cat([case.mask() for case in some]) if masked else None,
        reference=reference,
        given=ready.given,
        seed=seed,
    )


def _encoded(prior: Prior, request: EditRequest) -> EditRequest:
    """The request with the latents of its pictures, which method and layer share."""
    assert request.image is not None
    with torch.no_grad():
        return replace(request, latent=prior.encode(request.image))


def _edit(ready: Ready, prior: Prior, request: EditRequest) -> Edit:
    edit = ready.method(prior, request)
    if not edit.raw.isfinite().all():
        raise InputError("the values diverged to infinity; try smaller steps or less guidance")
    return edit


def _shown(
    ready: Ready, prior: Prior, request: EditRequest, edit: Edit, places: Sequence[Placed]
) -> tuple[list[Pixels], list[Pixels]]:
    """The codec's pictures of the sources, and the results: the method's own pictures, or with the layer."""
    assert request.latent is not None
    with torch.no_grad():
        before = prior.decode(request.latent)
    codecs: list[Pixels] = []
    results: list[Pixels] = []
    for i, placed in enumerate(places):
        d0, d1 = before[i : i + 1], edit.raw[i : i + 1]
        codecs.append(np.asarray(placed.upright(d0)))
        if isinstance(ready.method, Copy):  # the source itself, without what the canvas would lose of it
            results.append(np.asarray(placed.picture.rgb))
        elif "layer" in ready.contestant.extras:
            results.append(np.asarray(placed.layer(d1, before=d0).over(placed.picture.rgb)))
        else:
            results.append(np.asarray(placed.upright(d1)))
    return codecs, results


class Clocked(Counted):
    """A prior that also measures the time spent in its codec."""

    def __init__(self, prior: Prior):
        super().__init__(prior)
        self.seconds = 0.0

    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        started = _now()
        latent = super().encode(image, noise)
        self.seconds += _now() - started
        return latent

    def decode(self, latent: Latent) -> Image:
        started = _now()
        image = super().decode(latent)
        self.seconds += _now() - started
        return image


def _now() -> float:
    """The time in seconds, after an accelerator has finished all its work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
