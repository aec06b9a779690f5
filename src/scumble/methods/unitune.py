"""UniTune (Valevski et al. 2022, arXiv:2210.09477): SDEdit by a model that was tuned on the picture.

    x_t0 = alpha_t0 z + sigma_t0 eps;    x_0 = samples from there for "WORD TARGET", under strong guidance
    out  = blend x_0 + (1 - blend) input, in pixels

`tuning.unitune` binds the picture to the word.
"""

from dataclasses import dataclass
from typing import ClassVar

from scumble.artifacts.tuned import TunedWeights
from scumble.core.errors import InputError
from scumble.core.grids import portion
from scumble.core.guidance import guide
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.loops.ddim import ddim
from scumble.tuning.unitune import PAPER
from scumble.tuning.weights import changed


@dataclass(frozen=True, kw_only=True)
class UniTune(Method):
    """Noise and denoise, by a model that knows the picture by a rare word."""

    paper: ClassVar[Paper] = PAPER
    needs: ClassVar[Needs] = Needs(target=True, given=("tuned",))

    strength: float = param(0.9, ge=0, le=1, try_=0.5, help="the noise level to start at: the paper's t0")
    guidance: float = param(16.0, ge=0, try_=3.0, help="classifier-free guidance; 1 is none")
    steps: int = param(
        50, ge=1, try_=7, help="levels of the full path from noise; strength * steps are taken"
    )
    eta: float = param(0.0, ge=0, le=1, try_=1.0, help="fresh noise per step")
    blend: float = param(1.0, ge=0, le=1, try_=0.5, help="share of the result over the input, in pixels")

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        tuned = job.given("tuned", TunedWeights, "`scumble tune unitune` makes one")
        assert tuned is not None
        tuned.check(prior.card)
        word = tuned.recipe.get("word")
        if word is None:
            raise InputError("tuned: it is bound to no word; `scumble tune unitune` makes what unitune needs")
        prompts = [f"{word} {target}".strip() for target in job.target]
        z, grid = job.spread(job.encode()), job.schedule.grid(self.steps)
        pairs = grid[len(grid) - portion(self.steps, self.strength) :]
        x = z
        if pairs:
            with changed(job.prior, tuned.weights(job.prior.parameters())):
                denoise = guide(job.prior, job.text(prompts), job.text(job.negative), self.guidance)
                x = job.schedule.mix(z, job.noise.like(z), pairs[0][0])
                x = ddim(denoise, x, pairs, job.schedule, eta=self.eta, noise=job.noise, on_step=job.watch())
        raw = job.prior.decode(x)
        return job.edit(x, raw=self.blend * raw + (1 - self.blend) * job.image.to(raw))
