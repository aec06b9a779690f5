"""Weights over time for a score of two branches: of the edit, and of the pull to the source."""

from collections.abc import Callable
from dataclasses import dataclass

from scumble.core.schedule import Schedule
from scumble.core.types import Coef, Time


@dataclass(frozen=True)
class Weights:
    """score = edit (eps(target) - eps(source)) + pull (x - source); None means no weight.

    `pull` > 0 moves towards the source, < 0 away from it. `lead` adds lead (x - source) to the noised target before
    the network call, to look ahead of x.
    """

    edit: Coef
    pull: Coef | None = None
    lead: Coef | None = None


Weighting = Callable[[Schedule, Time], Weights]


def powers(alpha_exp: float, sigma_exp: float) -> Weighting:
    """alpha^p sigma^q on the edit, as in the DDS authors' code; 0 and 0 mean no weight."""

    def weigh(schedule: Schedule, t: Time) -> Weights:
        alpha, sigma = schedule.at(t)
        return Weights(alpha**alpha_exp * sigma**sigma_exp)

    return weigh
