"""Imagic (Kawar et al. 2022, arXiv:2210.09276): a picture's own embedding, mixed with the target's.

    e   = eta e_target + (1 - eta) e_optimised
    x_0 = samples of the tuned model for e, from pure noise

`tuning.imagic` finds e_optimised and the weights.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from scumble.artifacts.tuned import TunedWeights
from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.host import isolated
from scumble.core.job import Job
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Paper, param, validate
from scumble.loops.ddim import ddim
from scumble.tuning.imagic import PAPER
from scumble.tuning.weights import changed


@dataclass(frozen=True, kw_only=True)
class Imagic(Method):
    """Pictures between what a picture shows and what it should show, by a model that was tuned on it."""

    paper: ClassVar[Paper] = PAPER
    needs: ClassVar[Needs] = Needs(prompt=False, given=("tuned",))

    eta: float = param(
        0.7, try_=0.3, help="share of the target: 0 is the picture, 1 the target, above 1 exaggerates"
    )
    steps: int = param(50, ge=1, try_=7, help="steps of DDIM from noise")
    guidance: float = param(7.5, ge=0, try_=3.0, help="classifier-free guidance; 1 is none")

    def __post_init__(self) -> None:
        validate(self)

    @isolated()
    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        job = Job(self, prior, request, on_step)
        tuned = job.given("tuned", TunedWeights, "`scumble tune imagic` makes one")
        assert tuned is not None
        tuned.check(prior.card)
        optimised, target = _texts(tuned)
        with changed(job.prior, tuned.weights(job.prior.parameters())):
            null = job.text(job.negative)
            tokens = (self.eta * target + (1 - self.eta) * optimised).to(null.tokens)
            if tokens.shape[1:] != null.tokens.shape[1:]:
                raise InputError("tuned: its embeddings are of another size than this model's; tune it again")
            text = replace(
                job.text((str(tuned.recipe.get("prompt", "")),)), tokens=tokens.expand(job.rows, -1, -1)
            )
            x = job.noise.like(job.spread(job.encode()))  # only the shape of the picture's latent counts
            pairs = job.schedule.grid(self.steps)
            x = ddim(guide(job.prior, text, null, self.guidance), x, pairs, job.schedule, on_step=job.watch())
        return job.edit(x)


def _texts(tuned: TunedWeights) -> tuple[Tensor, Tensor]:
    """The two embeddings, (1, L, D) each. Raises InputError for weights that another training made."""
    if not {"optimised", "target"} <= {*tuned.texts}:
        made = tuned.recipe.get("method", "another training")
        raise InputError(f"tuned: made by {made}, and imagic needs the file of `scumble tune imagic`")
    return tuned.texts["optimised"], tuned.texts["target"]
