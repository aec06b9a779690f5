"""What methods are given that was trained on a prior: here weights and networks that nobody has trained."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from scumble.artifacts.h_space import Attribute, HSpaceDirection
from scumble.artifacts.tuned import TunedWeights
from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.networks.delta import DeltaBlock
from scumble.tuning.weights import copied


def tuned(prior: Prior) -> TunedWeights:
    """All weights of the denoiser, a little larger."""
    part = "denoiser" if "control" in prior.card.capabilities else "all"
    values = {name: 1.05 * weight for name, weight in copied(prior, part).items()}
    texts = dict(
        zip(("optimised", "target"), prior.embed(("a", "b"), size=(16, 16)).tokens.split(1), strict=True)
    )
    recipe = {"prompt": "b", "word": ""}
    return TunedWeights(
        prior=prior.card.id, prior_hash=prior.card.hash, values=values, texts=texts, recipe=recipe
    )


def delta(channels: int) -> DeltaBlock:
    """A network whose last layer is not empty."""
    block = DeltaBlock.drawn(channels, Noise(3))
    with torch.no_grad():
        block.out.weight.copy_(block.into.weight.flip(0))
    return block


def direction(prior: Prior, channels: int = 32) -> HSpaceDirection:
    one = Attribute(source="a", target="b", steps=40, weights=delta(channels).state_dict())
    return HSpaceDirection(prior=prior.card.id, prior_hash=prior.card.hash, attributes=(one,))


MAKERS: Mapping[str, Callable[[Prior], Any]] = {"tuned": tuned, "direction": direction}


def given(names: tuple[str, ...], prior: Prior) -> Callable[[EditRequest], Mapping[str, object]] | None:
    """What the kit is to give a method that needs `names`; None where nothing of it is trained."""
    made = {name: MAKERS[name](prior) for name in names if name in MAKERS}
    return (lambda request: made) if made else None
