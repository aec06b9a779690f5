"""The prediction of a network for x_t, for any kind of output that it was trained for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from scumble.core.types import Coef, Latent, Mask

Output = Literal["eps", "v", "x0", "flow"]

PREDICTION_TYPES: Mapping[Output, str] = {
    "eps": "epsilon",
    "v": "v_prediction",
    "x0": "sample",
    "flow": "flow_prediction",
}
"""What a network can output, and the name that scheduler configs give it."""

OUTPUTS: Mapping[str, Output] = {name: output for output, name in PREDICTION_TYPES.items()}


@dataclass(frozen=True, eq=False)
class Prediction:
    """The two ends of x_t = alpha x0 + sigma eps, as the network predicts them.

    `x0` and `eps` have the shape and unit of the latent. `var` is the raw learned-range channel in [-1, 1] (Nichol &
    Dhariwal 2021, eq. 15) of a network that has one. Only `Schedule.predict` makes a Prediction from a network's
    output.
    """

    x0: Latent
    eps: Latent
    var: Tensor | None = None

    def toward(self, other: "Prediction", w: float | Coef | Mask) -> "Prediction":
        """self + w (other - self), per element; `var` is the other's. w may leave [0, 1]."""
        return Prediction(
            self.x0 + w * (other.x0 - self.x0), self.eps + w * (other.eps - self.eps), other.var
        )
