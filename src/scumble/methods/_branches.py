"""What methods that edit beside a source branch have in common: both branches from one start, under one control."""

from collections.abc import Mapping
from dataclasses import replace

from scumble.attention.inject import Edits
from scumble.attention.maps import Record
from scumble.core.guidance import guide_branches
from scumble.core.job import Job
from scumble.core.masks import blend_rows
from scumble.core.prediction import Prediction
from scumble.core.prior import Text
from scumble.core.request import Each
from scumble.core.types import Latent
from scumble.inversions import Inverter, begin, replay


def side_by_side(
    job: Job,
    texts: Mapping[str, Text],
    inverter: Inverter,
    w: float,
    control: Edits,
    each: Each | None = None,
    *,
    shown: bool = False,
) -> tuple[Latent, Latent]:
    """The final latents of the source branch and the target branch. They start from a real picture's inversion or,
    without a picture, from noise. Outside a mask, the target is the source.

    `texts` by role, the source first. `each`: as in a loop, on the rows of both, the source first. `shown`: the source
    branch is only read from; it follows its inversion path at every step, without guidance.
    """
    n = len(texts["source"])
    control.check(job.prior.sites())  # before anything costly is done
    moves = len(inverter.pairs(job.schedule))
    inversion, watch = begin(job, inverter, guidance=w, then=moves)
    nulls = {role: inversion.null(job.text(job.negative, len(text))) for role, text in texts.items()}
    if shown:
        inversion = replace(inversion, forced=True, offsets=None)
        del nulls["source"]
    denoise = guide_branches(job.prior, texts, nulls, w)
    mask = job.mask(inversion.start(n))

    def after(x: Latent, p: Prediction, t: float, s: float) -> Latent:
        x = x if each is None else each(x, p, t, s)
        return blend_rows(x, n, mask)

    with job.prior.control(control):
        x = replay(inversion, denoise, job.schedule, n, job.rows, each=after, on_step=watch)
    return x[:n], x[n:]


def kept(job: Job, texts: Mapping[str, Text], record: Record, source: Latent) -> dict[str, object]:
    """What a request may keep of two branches: the source's picture, and the attention maps of both."""
    found: dict[str, object] = {}
    if "attention" in job.request.keep:
        found["attention"] = {role: record.maps((role, "text"), text) for role, text in texts.items()}
    if "source" in job.request.keep:
        found["source"] = job.prior.decode(source)
    return found
