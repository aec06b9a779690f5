"""Edit-friendly DDPM inversion (Huberman-Spiegelglas, Kulikov & Michaeli 2024, arXiv:2304.06140).

z_t = alpha_t z + sigma_t eps_t,  eps_t drawn for every level;    n_t = z_s - mu(z_t, source)
x_s = mu(x_t, target) + n_t    (mu: the mean of the step from t to s)
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from scumble.artifacts.inversion import Inversion
from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.masks import blend
from scumble.core.prior import Prior
from scumble.core.request import Artifact, Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.types import Latent
from scumble.inversions import EditFriendlyInverter, prepare, resample
from scumble.loops.descend import check_finite
from scumble.loops.steps import ddim
from scumble.scores.branches import Branches


@dataclass(frozen=True, kw_only=True)
class EditFriendly(Method):
    """The source is noised to every level independently. What a DDPM step must add to get from one level to the next
    is its noise map; the edit adds the same maps.

    At eta = 1 this is a descent along the DDS score (`loops.descend.EditFriendly`).
    """

    paper: ClassVar[Paper] = Paper(
        title="An Edit Friendly DDPM Noise Space: Inversion and Manipulations",
        arxiv="2304.06140",
        bibtex="""@inproceedings{huberman2024edit,
  title     = {An Edit Friendly {DDPM} Noise Space: Inversion and Manipulations},
  author    = {Huberman-Spiegelglas, Inbar and Kulikov, Vladimir and Michaeli, Tomer},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  year      = {2024}
}""",
        departures=(
            "The released code drops the last noise map, so that not even the source prompt returns the "
            "picture, and writes eta instead of eta^2 in DDIM's step. Here the map is kept and the step "
            "is DDIM's, unless compat='authors'.",
            "Inversion and edit run together, with four predictions in one call. A noise map is never "
            "divided by its standard deviation, so eta = 0 and the last step are no special cases.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)
    prepares: ClassVar[type[Artifact] | None] = Inversion

    strength: float = param(
        0.64,
        ge=0,
        le=1,
        try_=0.9,
        help="the noise level to start at: 1 less the share of steps the paper skips",
    )
    steps: int = param(
        100, ge=1, try_=50, help="levels of the full path from noise; strength * steps are taken"
    )
    guidance: float = param(
        15.0, ge=0, try_=3.0, help="classifier-free guidance towards the target; 1 is none"
    )
    source_guidance: float = param(3.5, ge=0, try_=2.0, help="guidance of the inversion; 1 is none")
    eta: float = param(1.0, ge=0, le=1, try_=0.5, help="share of a DDPM step's noise: 1 the paper's, 0 none")
    compat: str = param(
        "", choices=("", "authors"), try_="authors", help="follow the released code where it differs"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Inversion:
        """The noised levels and the noise maps, for this and other editors with the same levels."""
        return prepare(self, self._inverter(), prior, request, on_step)

    def _inverter(self) -> EditFriendlyInverter:
        if self.eta != 1 or self.compat:
            raise InputError("eta: an inversion that is kept is of eta 1, without compat")
        skip = self.steps - portion(self.steps, self.strength)
        return EditFriendlyInverter(steps=self.steps, skip=skip, guidance=self.source_guidance)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        if "inversion" in request.given:
            return resample(self, self._inverter(), self.guidance, prior, request, on_step)
        job = Job(self, prior, request, on_step)
        schedule = job.schedule
        z = job.encode()
        both = Branches(
            job.prior,
            reference=z,
            **job.texts(),
            guidance=self.guidance,
            source_guidance=self.source_guidance,
        )
        source, mask, watch = both.reference, job.mask(z), job.watch()
        pairs = schedule.grid(self.steps)
        pairs = pairs[len(pairs) - portion(self.steps, self.strength) :]
        levels = {t: schedule.mix(source, job.noise.like(source), t) for t, _ in reversed(pairs)}
        x = job.spread(levels[pairs[0][0]]) if pairs else job.spread(z)
        eta = self.eta**0.5 if self.compat == "authors" else self.eta
        maps: list[Latent] = []
        for k, (t, s) in enumerate(pairs, 1):
            x_t, x_s = levels[t], levels.get(s, source)
            of_source, of_target = both(x_t, x, schedule.time(t, len(x)))
            added = (
                x_s - ddim(of_source, x_t, t, s, schedule, eta=eta).mean
            )  # the noise map, times its spread
            maps.append(added)
            if self.compat == "authors" and k == len(pairs):
                added = torch.zeros_like(added)
            goal = ddim(of_target, x, t, s, schedule, eta=eta).mean + added
            check_finite(goal, "EditFriendly", f"step {k} of {len(pairs)}, at time {t:g}")
            x = blend(x_s + schedule.carry(x - x_t, t, s), goal, mask)
            watch(k, len(pairs), t, x, of_target.x0)
        edit = job.edit(x)
        return replace(edit, kept={**edit.kept, "noise_maps": maps}) if "noise_maps" in request.keep else edit
