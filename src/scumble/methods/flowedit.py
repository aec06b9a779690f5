"""FlowEdit (Kulikov et al. 2025, arXiv:2412.08629, Algorithm 1): from source to target along the difference of flows.

    z <- z + (s - t) (V(z_t + z - z0, target) - V(z_t, source)),    z_t = (1 - t) z0 + t eps    on a rectified flow

Here y = alpha (x - source) takes that step on any schedule: y_s = alpha_s dx0 + sigma_s deps, d the difference of the
two predictions at source_t + y and source_t.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from scumble.core.errors import InputError
from scumble.core.grids import pairs, portion
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.masks import blend
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Pair
from scumble.loops import steps
from scumble.loops.ddim import ddim
from scumble.loops.descend import check_finite
from scumble.scores.branches import Branches


@dataclass(frozen=True, kw_only=True)
class FlowEdit(Method):
    """Needs no inversion: at every level the source is noised again, and the edit follows the difference of the two
    prompts' flows.

    The difference of the two states, y = alpha (x - source), takes steps like a DDIM state, by mixing the differences
    of x0 and eps. On a rectified flow this is an Euler step on the difference of velocities. Nothing is divided by
    alpha, so it may start from pure noise. Where alpha > 0, it is a descent along the DDS score
    (`loops.descend.Descending`).
    """

    paper: ClassVar[Paper] = Paper(
        title="FlowEdit: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models",
        arxiv="2412.08629",
        bibtex="""@inproceedings{kulikov2025flowedit,
  title     = {{FlowEdit}: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models},
  author    = {Kulikov, Vladimir and Kleiner, Matan and Huberman-Spiegelglas, Inbar and Michaeli, Tomer},
  booktitle = {Proceedings of the IEEE/CVF International Conference on Computer Vision (ICCV)},
  year      = {2025}
}""",
        departures=(
            "The paper covers only rectified flows. On other schedules the same step is taken in their "
            "parametrization.",
            "The paper's n_max is strength * steps. The defaults are the paper's for Stable Diffusion 3.",
        ),
    )
    needs: ClassVar[Needs] = Needs(source=True, target=True)

    strength: float = param(
        0.66, ge=0, le=1, try_=0.9, help="the noise level to start at: the paper's n_max / T"
    )
    steps: int = param(
        50, ge=1, try_=20, help="levels of the full path from noise; strength * steps are taken"
    )
    guidance: float = param(
        13.5, ge=0, try_=3.0, help="classifier-free guidance towards the target; 1 is none"
    )
    source_guidance: float = param(3.5, ge=0, try_=2.0, help="guidance of the source; 1 is none")
    n_avg: int = param(1, ge=1, try_=2, help="draws of noise averaged in every step")
    n_min: int = param(
        0, ge=0, try_=1, help="of the steps taken, how many at the end are plain sampling of the target"
    )

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        schedule = job.schedule
        moves = self._moves(schedule)
        z = job.encode()
        both = Branches(
            job.prior,
            reference=z,
            **job.texts(),
            guidance=self.guidance,
            source_guidance=self.source_guidance,
        )
        cut = len(moves) - self.n_min
        y = self._difference(job, both, moves[:cut], len(moves))
        if not moves[cut:]:
            return job.edit(z + y)
        t, mask = moves[cut][0], job.mask(z)
        x = schedule.mix(both.reference, job.noise.like(both.reference), t) + y
        watch = job.watch(cut, len(moves))
        x = ddim(job.guide(self.guidance), x, moves[cut:], schedule, on_step=watch)
        return job.edit(blend(z, x, mask))

    def _moves(self, schedule: Schedule) -> list[Pair]:
        """The last strength * steps moves of the grid, down to the clean level."""
        taken = portion(self.steps, self.strength)
        if self.n_min > taken:
            raise InputError(f"n_min: {self.n_min}, but only {taken} steps are taken (strength * steps)")
        grid = schedule.grid(self.steps)
        times = [t for t, _ in grid[len(grid) - taken :]]
        return pairs(times[::-1], schedule.clean) if times else []

    def _difference(self, job: Job, both: Branches, moves: Sequence[Pair], n: int) -> Latent:
        """y at the last level of the moves, starting from 0 at the first."""
        schedule, source, watch = job.schedule, both.reference, job.watch(0, n)
        mask, y = job.mask(source), job.spread(torch.zeros_like(source))
        for k, (t, s) in enumerate(moves, 1):
            now = schedule.time(t, len(y))
            x0 = eps = torch.zeros_like(y)
            for _ in range(self.n_avg):
                x_t = schedule.mix(source, job.noise.like(source), t)
                of_source, of_target = both(x_t, x_t + y, now)
                x0 = x0 + (of_target.x0 - of_source.x0) / self.n_avg
                eps = eps + (of_target.eps - of_source.eps) / self.n_avg
            y_s = steps.ddim(Prediction(x0, eps), y, t, s, schedule).mean
            check_finite(y_s, "FlowEdit", f"step {k} of {n}, at time {t:g}")
            y = blend(schedule.carry(y, t, s), y_s, mask)
            watch(k, n, t, source + y, source + x0)
        return y
