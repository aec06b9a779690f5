"""What the methods that follow a score at random times have in common: the descent's hyper-parameters, their
checks, and the descent itself. Each of them is a score and its defaults.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from scumble.core.errors import InputError
from scumble.core.job import Job
from scumble.core.request import Edit, Method, Painting, Parametrization, Score, param, validate
from scumble.core.schedule import Schedule
from scumble.core.types import Latent
from scumble.loops.descend import Itself, Uniform, descend
from scumble.loops.optimizers import OPTIMIZERS


def optimizer(default: str) -> Any:
    """The hyper-parameter that names one of `OPTIMIZERS`."""
    return param(default, choices=tuple(OPTIMIZERS), try_="normalized", help="how a gradient becomes a step")


@dataclass(frozen=True, kw_only=True)
class Distillation(Method):
    """The base of methods that descend along a score. The defaults are those of the DDS authors' notebook."""

    forms: ClassVar[tuple[str, ...]] = ("latent", "lut")

    steps: int = param(200, ge=1, try_=3, help="gradient steps")
    rate: float = param(2000 * 0.1 / 64**2, gt=0, try_=0.1, help="step size per element of the latent")
    t_low: int = param(
        50, ge=0, try_=400, help="lowest time drawn (of a flow: the same noise-to-signal ratio)"
    )
    t_high: int = param(949, ge=1, try_=500, help="the times drawn are below this one")
    optimizer: str = optimizer("sgd")

    def __post_init__(self) -> None:
        validate(self)
        if self.t_high <= self.t_low:
            raise InputError(f"t_high: {self.t_high} must be greater than t_low, {self.t_low}")

    def _times(self, schedule: Schedule) -> tuple[int, int]:
        """The range of the drawn times: `t_low` and `t_high` themselves on a discrete schedule. On a flow, the times
        with the same noise-to-signal ratio as Stable Diffusion's t_low and t_high (50..949 become 184..916), because
        the same number would be another level. Raises InputError if they leave the schedule.
        """
        known = schedule if schedule.abar is not None else Schedule.scaled_linear()
        if self.t_high > known.T:
            raise InputError(
                f"t_high: {self.t_high} is beyond this model's {known.T} times; give at most {known.T}"
            )
        low, high = alike(schedule, self.t_low), alike(schedule, self.t_high)
        return low, max(high, low + 1)

    def follow(self, score: Score, x: Latent, job: Job) -> Edit:
        """Descends along the score from x (b, c, h, w), in the request's parametrization. Raises InputError if the
        drawn times leave the prior's schedule, or a gradient is not finite.
        """
        low, high = self._times(job.schedule)
        g = job.given("parametrization", Parametrization, "give one of scumble.forms") or Itself()
        theta = descend(
            score,
            x,
            Uniform(self.steps, low, high, self.rate),
            job.noise,
            mask=job.mask(x),
            g=g,
            optimizer=OPTIMIZERS[self.optimizer],
            on_step=job.watch(),
        )
        kept = {"theta": theta} if "theta" in job.request.keep else None
        return job.edit(g(theta), kept=kept, raw=g.picture(theta) if isinstance(g, Painting) else None)


def alike(schedule: Schedule, t: int) -> int:
    """The time with the noise-to-signal ratio that t has on Stable Diffusion, on a flow; elsewhere t itself."""
    if schedule.abar is not None:
        return t
    alpha, sigma = Schedule.scaled_linear().at(t)
    return round(schedule.level(float(sigma / alpha) if alpha else float("inf")))
