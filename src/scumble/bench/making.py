"""A batch of edits: onto the canvas, through the method, and back as pictures of their own size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from scumble.bench.contestants import Ready
from scumble.core.errors import InputError
from scumble.core.job import Counted
from scumble.core.noise import Noise
from scumble.core.pixels import Pixels, psnr
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest
from scumble.core.types import Image, Latent
from scumble.measuring.tasks import Placed, Task
from scumble.pictures import reading
from scumble.pictures.canvas import upright
from scumble.pictures.layer import lift


@dataclass(frozen=True, eq=False, kw_only=True)
class Made:
    """An edit that was made; its evaluations and times are its share of the batch's.

    result, codec: of the picture's own size; the codec's own picture of the source. back: PSNR to the source of the
    result edited back, dB, where that was asked for and something had changed. refused_back: why it was not edited
    back.
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
    """An edit that the method refuses, in its own words."""

    why: str


def batches(todo: Iterator[tuple[int, Task]], prior: Prior, size: int) -> Iterator[tuple[int, list[Placed]]]:
    """(repeat, edits) in batches of at most `size` that one request can hold: one canvas, seeds in a row."""
    some: list[Placed] = []
    last = 0
    for repeat, task in todo:
        placed = Placed.of(task, prior.card)
        if some and (
            len(some) == size
            or repeat != last
            or task.index != some[-1].task.index + 1
            or placed.fit.canvas != some[0].fit.canvas
        ):
            yield last, some
            some = []
        some.append(placed)
        last = repeat
    if some:
        yield last, some


def attempt(
    ready: Ready, prior: Prior, some: Sequence[Placed], *, seed: int, back: bool = False
) -> list[Made | Refused]:
    """What comes of every edit of a batch: where the method refuses one, each is tried alone."""
    try:
        return [*make(ready, prior, some, seed=seed, back=back)]
    except InputError as error:
        if len(some) == 1:
            return [Refused(str(error))]
    alone = (attempt(ready, prior, [placed], seed=seed + i, back=back) for i, placed in enumerate(some))
    return [outcome for (outcome,) in alone]


def make(ready: Ready, prior: Prior, some: Sequence[Placed], *, seed: int, back: bool = False) -> list[Made]:
    """Edit i of the batch draws from seed + i, as it would alone.

    Raises:
        InputError: what the method refuses, or values that ran away.
    """
    clocked = Clocked(prior)
    sources = [placed.known.source for placed in some]
    request = _request(ready, prior, some, seed)
    started = _now()
    edit = _edit(ready, clocked, request)
    seconds = _now() - started
    codecs, results = _shown(ready, prior, request, edit, some, sources)
    came_back, refused_back = _returned(ready, prior, request, some, results, back)
    return [
        Made(
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
    some: Sequence[Placed],
    results: Sequence[Pixels],
    back: bool,
) -> tuple[Sequence[float | None], str | None]:
    """PSNR to the source of every result edited back, None for a no-op; and why an edit alone was not."""
    nothing = [None] * len(some)
    moved = [back and placed.task.kind != "noop" for placed in some]
    if not any(moved):
        return nothing, None
    again = replace(
        request,
        image=torch.cat([placed.put(result) for placed, result in zip(some, results, strict=True)]),
        source=request.target,
        target=request.source,
    )
    try:
        edit = _edit(ready, prior, again)
    except InputError as error:
        if len(some) > 1:
            raise
        return nothing, str(error)
    _, returned = _shown(ready, prior, again, edit, some, results)
    sources = [placed.known.source for placed in some]
    return [psnr(a, b) if m else None for a, b, m in zip(sources, returned, moved, strict=True)], None


def _request(ready: Ready, prior: Prior, some: Sequence[Placed], seed: int) -> EditRequest:
    speaks = "text" in prior.card.capabilities
    masked = "mask" in ready.contestant.extras
    true = ready.method.needs.reference  # only the ceiling's, see `contestants.make_ready`
    return EditRequest(
        image=torch.cat([placed.put(placed.known.source) for placed in some]),
        source=[placed.task.source for placed in some] if speaks else None,
        target=[placed.task.target for placed in some] if speaks else None,
        mask=torch.cat([placed.mask() for placed in some]) if masked else None,
        reference=torch.cat([placed.put(placed.known.truths[0]) for placed in some]) if true else None,
        seed=seed,
    )


def _edit(ready: Ready, prior: Prior, request: EditRequest) -> Edit:
    edit = ready.method(prior, request)
    if not edit.raw.isfinite().all():
        raise InputError("the values ran away to infinity; try smaller steps or less guidance")
    return edit


def _shown(
    ready: Ready,
    prior: Prior,
    request: EditRequest,
    edit: Edit,
    some: Sequence[Placed],
    pictures: Sequence[Pixels],
) -> tuple[list[Pixels], list[Pixels]]:
    """The codec's pictures of what was edited, and the results: the method's own pictures, or under the layer."""
    assert request.image is not None
    with torch.no_grad():
        before = prior.decode(prior.encode(request.image))
    codecs: list[Pixels] = []
    results: list[Pixels] = []
    for i, (placed, pixels) in enumerate(zip(some, pictures, strict=True)):
        d0, d1 = before[i : i + 1], edit.raw[i : i + 1]
        codecs.append(np.asarray(upright(d0, placed.fit)))
        if "layer" in ready.contestant.extras:
            picture = reading.read(pixels, placed.task.id)
            results.append(np.asarray(lift(d0, d1, picture, placed.fit).over(picture.rgb)))
        else:
            results.append(np.asarray(upright(d1, placed.fit)))
    return codecs, results


class Clocked(Counted):
    """A prior that also takes the time spent in its codec."""

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
    """Seconds, after all that an accelerator was asked for is done."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()
