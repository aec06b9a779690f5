"""What a network says about x_t, whatever it was trained to output."""

from dataclasses import dataclass

from torch import Tensor

from scumble.core.types import Coef, Latent, Mask


@dataclass(frozen=True, eq=False)
class Prediction:
    """The two ends of x_t = alpha x0 + sigma eps, as the network sees them.

    `x0` and `eps` have the shape and unit of the latent. `var` is the raw learned-range channel in [-1, 1]
    (Nichol & Dhariwal 2021, eq. 15) of a network that has one. Only `Schedule.predict` makes a Prediction
    from a network's output.
    """

    x0: Latent
    eps: Latent
    var: Tensor | None = None

    def toward(self, other: "Prediction", w: float | Coef | Mask) -> "Prediction":
        """self + w (other - self), per element; `var` is the other's. w may leave [0, 1]."""
        return Prediction(
            self.x0 + w * (other.x0 - self.x0), self.eps + w * (other.eps - self.eps), other.var
        )
