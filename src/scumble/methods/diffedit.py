"""DiffEdit (Couairon et al. 2023, arXiv:2210.11427): find where two prompts disagree, redraw only there.

mask = mean over eps of |eps(z_t, target) - eps(z_t, source)| > threshold,    z_t = alpha_t z + sigma_t eps
x_s = mask DDIM(x_t; target) + (1 - mask) z*_s    (z*: the chain of a DDIM inversion of z)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from scumble.artifacts.inversion import Inversion
from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.guidance import guide, guide_branches
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.masks import blend
from scumble.core.prediction import Prediction
from scumble.core.prior import Denoiser, Prior
from scumble.core.request import (
    Artifact,
    Edit,
    EditRequest,
    Method,
    Needs,
    OnStep,
    Paper,
    Watch,
    param,
    validate,
)
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Mask
from scumble.inversions import DDIMInverter, begin, prepare, replay


@dataclass(frozen=True, kw_only=True)
class DiffEdit(Method):
    """Finds a mask from the difference of two noise predictions, and samples again only inside it."""

    paper: ClassVar[Paper] = Paper(
        title="DiffEdit: Diffusion-based Semantic Image Editing with Mask Guidance",
        arxiv="2210.11427",
        bibtex="""@inproceedings{couairon2023diffedit,
  title     = {{DiffEdit}: Diffusion-based Semantic Image Editing with Mask Guidance},
  author    = {Couairon, Guillaume and Verbeek, Jakob and Schwenk, Holger and Cord, Matthieu},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year      = {2023}
}""",
        departures=(
            "The authors published no code. Where the paper removes extreme values, they are clipped at "
            "`outliers` times the mean, per picture.",
            "compat='pipeline' does what the widely used pipeline does: it clips at the mean over the "
            "whole batch, pastes the inversion one level too noisy (also at the last step), draws a codec "
            "sample for every noise, and rounds the shares of the steps down.",
            "The noise predictions for the mask are unguided: guidance would scale their difference, "
            "which is compared with its own mean.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    steps: int = param(50, ge=1, try_=20, help="steps of the full path from noise")
    strength: float = param(
        0.8, gt=0, le=1, try_=0.5, help="the noise level that the picture is encoded to: the paper's r"
    )
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance of the redrawing; 1 is none")
    inversion_guidance: float = param(
        0.0, ge=0, try_=1.0, help="towards the source prompt when encoding; 0, as in the paper: no prompt"
    )
    draws: int = param(10, ge=1, try_=2, help="noise draws whose differences are averaged: the paper's n")
    mask_strength: float = param(
        0.5, gt=0, le=1, try_=0.8, help="level of those draws, as a share of the way"
    )
    outliers: float = param(3.0, gt=0, try_=1.9, help="differences are cut at so many times their mean")
    threshold: float = param(0.5, gt=0, lt=1, try_=0.3, help="of the cut, above which a place is redrawn")
    compat: str = param(
        "", choices=("", "pipeline"), try_="pipeline", help="follow the widely used pipeline where it differs"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The path up to `strength`, for this and other editors with the same levels."""
        return prepare(self, self._inverter(), prior, request, on_step)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        inverter = self._inverter()
        draws = 0 if request.mask is not None else self.draws
        moves = len(inverter.pairs(job.schedule))
        inversion, watch = begin(job, inverter, guidance=self.guidance, then=draws + moves)
        mask = self._found(job, watch) if draws else self._drawn(job, inversion)

        def keep(x_s: Latent, p: Prediction, t: float, s: float) -> Latent:
            return blend(inversion.at(t if self.compat else s).to(x_s), x_s, mask)

        def on_move(k: int, n: int, t: float, x: Latent, clean: Latent) -> None:
            watch(draws + k, n, t, x, clean)

        null = inversion.null(job.text(job.negative))
        denoise = guide(job.prior, job.text(job.target), null, self.guidance)
        x = replay(inversion, denoise, job.schedule, job.rows, each=keep, on_step=on_move)
        return job.edit(x, {"mask": mask})

    def _inverter(self) -> DDIMInverter:
        return DDIMInverter(
            steps=self.steps,
            skip=self.steps - max(self._share(self.strength), 1),
            guidance=self.inversion_guidance,
            sample=self.compat == "pipeline",
        )

    def _share(self, share: float) -> int:
        return portion(self.steps, share, truncated=bool(self.compat))

    def _found(self, job: Job, watch: Watch) -> Mask:
        """The mask of where the prompts disagree: (rows, 1, h, w)."""
        schedule, texts = job.schedule, job.texts()
        denoise = guide_branches(job.prior, {"source": texts["source"], "target": texts["target"]}, {}, 1)
        t = schedule.grid(self.steps)[self.steps - max(self._share(self.mask_strength), 1)][0]
        latents = [job.encode(sample=bool(self.compat)) for _ in range(self.draws if self.compat else 1)]
        noises = [job.noise.like(latents[0]) for _ in range(self.draws)]
        differences = list[Latent]()
        for k, noise in enumerate(noises):
            x_t = schedule.mix(latents[k % len(latents)], noise, t)
            differences.append(difference(denoise, x_t, t, schedule, job.sources, job.rows))
            watch(k + 1, self.draws, t, job.spread(x_t), job.spread(latents[0]))
        mask = threshold(differences, self.outliers, self.threshold, together=self.compat == "pipeline")
        covered = mask.mean((1, 2, 3))
        # equal prompts differ by rounding alone, which the cut would blow up to a mask
        pairs = zip(texts["source"].expand(job.rows).prompts, texts["target"].prompts, strict=True)
        empty = (covered == 0) | torch.tensor([a == b for a, b in pairs], device=covered.device)
        if bool(empty.any()):
            raise InputError(
                f"mask: empty{_which(empty)}; the prompts disagree nowhere in the picture more than elsewhere. "
                "Lower the threshold, take prompts that differ in what is there, or draw a mask"
            )
        if bool((covered == 1).any()):
            which = _which(covered == 1)
            raise InputError(f"mask: it is the whole picture{which}; raise the threshold, or draw a mask")
        return mask

    def _drawn(self, job: Job, inversion: Inversion) -> Mask:
        """The request's own mask on the latent's grid."""
        mask = job.mask(inversion.trajectory[-1])
        assert mask is not None
        if not bool(mask.any()):
            raise InputError("mask: empty; nothing may change. Draw what may, or leave it to be found")
        return mask


def _which(refused: Tensor) -> str:
    """ " of picture 3 of 8", where there are several."""
    return f" of picture {int(refused.nonzero()[0]) + 1} of {len(refused)}" if len(refused) > 1 else ""


def difference(
    denoise: Denoiser, x_t: Latent, t: float, schedule: Schedule, sources: int, targets: int
) -> Latent:
    """|eps(target rows) - eps(source)| at x_t, averaged over channels: (targets, 1, h, w)."""
    rows = torch.cat([x_t.expand(n, -1, -1, -1) for n in (sources, targets)])
    eps = denoise(rows, schedule.time(t, len(rows)), None).eps
    return (eps[sources:] - eps[:sources]).abs().mean(1, keepdim=True)


def threshold(differences: Sequence[Latent], outliers: float, level: float, *, together: bool) -> Mask:
    """1 where the mean of the differences (b, 1, h, w), clipped at `outliers` times its mean, exceeds `level` times
    the clipping value. The mean is taken per picture, or over all pictures if `together`.
    """
    found = torch.stack(list(differences)).mean(0)
    cut = outliers * (found.mean() if together else found.mean((1, 2, 3), keepdim=True))
    return (found.minimum(cut) > level * cut).to(found)
