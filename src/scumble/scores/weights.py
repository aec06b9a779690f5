"""How a score of two branches weighs over time: the edit, and the pull back to the source or the push out."""

from collections.abc import Callable
from dataclasses import dataclass

from scumble.core.schedule import Schedule
from scumble.core.types import Coef, Time


@dataclass(frozen=True)
class Weights:
    """score = edit (eps(target) - eps(source)) + pull (x - source); None weighs nothing.

    `pull` > 0 draws back to the source, < 0 pushes away from it. `lead` adds lead (x - source) to the noised
    target before the network looks at it: it looks ahead of where x stands.
    """

    edit: Coef
    pull: Coef | None = None
    lead: Coef | None = None


Weighting = Callable[[Schedule, Time], Weights]


def powers(alpha_exp: float, sigma_exp: float) -> Weighting:
    """alpha^p sigma^q on the edit, as the code of the DDS authors offers; 0 and 0 are no weight."""

    def weigh(schedule: Schedule, t: Time) -> Weights:
        alpha, sigma = schedule.at(t)
        return Weights(alpha**alpha_exp * sigma**sigma_exp)

    return weigh
