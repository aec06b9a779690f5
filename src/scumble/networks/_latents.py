"""What our networks on latents have in common: a tower in a folder, its noise schedule, its latent space."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.core.judges import Space
from scumble.core.prior import Prior
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.networks.tower import angles

WEIGHTS = "model.safetensors"
ALIKE = 0.1  # root mean square of what two encoders make of one picture; half precision costs 0.001
PROBE = 64  # side of the picture that tells latent spaces apart


class OnLatents:
    """A network on the latents of one codec, at every noise level of one schedule.

    `about`: what its config.json says: the schedule of the model that it was trained for, and the latent of a picture
    that tells its codec from others. Without a time it judges clean latents.
    """

    space: Space = "latents"
    noisy = True

    def __init__(self, id: str, network: nn.Module, about: Mapping[str, Any]):
        self.id, self.about = id, about
        self.network = network.eval().requires_grad_(False)
        self.hash = digest(network)

    @cached_property
    def schedule(self) -> Schedule:
        return Schedule.from_config(self.about["scheduler"])

    def angle(self, x: Latent, t: Time | None) -> Tensor:
        """How noisy x is, (b,): 0 is clean; `networks.tower.angles`."""
        if t is None:
            return torch.zeros(len(x), device=x.device)
        alpha, sigma = self.schedule.at(t)
        return angles(alpha, sigma).float().to(x.device)

    def check(self, prior: Prior) -> None:
        """Raises InputError for a prior of another codec or another noise schedule."""
        kind = type(self).__name__.lower().removeprefix("latent")
        ours, theirs = torch.tensor(self.about["probe"]["latent"]), prior.encode(probe())
        if ours.shape != theirs.shape[1:]:
            raise InputError(
                f"{kind}: {self.id!r} looks at latents of {_shape(ours)} for {PROBE} x {PROBE} pixels, but "
                f"{prior.card.id!r} makes {_shape(theirs[0])}; train one on this model's codec"
            )
        apart = float((ours - theirs[0].detach().float().cpu()).square().mean().sqrt())
        if apart > ALIKE:
            raise InputError(
                f"{kind}: {self.id!r} was trained on the latents of another codec than {prior.card.id!r} has; "
                "train one on this model's codec"
            )
        table = prior.schedule.abar
        if table is None or self.schedule.abar is None or not _same(table, self.schedule.abar):
            raise InputError(
                f"{kind}: {self.id!r} knows the noise levels of another schedule than {prior.card.id!r} has; "
                "train one for this model"
            )

    def save(self, folder: Path) -> None:
        """config.json and the weights, in half precision."""
        write(folder, self.network, self.about)


def write(folder: Path, network: nn.Module, about: Mapping[str, Any]) -> None:
    """config.json and the weights, in half precision, each whole or not at all."""
    import safetensors.torch

    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / "config.json") as part:
        part.write_text(json.dumps(dict(about), indent=1) + "\n", encoding="utf-8")
    weights = {name: w.detach().half().cpu().contiguous() for name, w in network.state_dict().items()}
    with atomic(folder / WEIGHTS) as part:
        cast(Any, safetensors.torch).save_file(weights, part, {"format": "pt"})


def read(folder: Path, network: nn.Module) -> nn.Module:
    """The network with the weights of a folder, in float32. Raises what loading raises."""
    import safetensors.torch

    weights: dict[str, Tensor] = cast(Any, safetensors.torch).load_file(folder / WEIGHTS)
    network.load_state_dict({name: w.float() for name, w in weights.items()})
    return network


def about(
    kind: str, prior_id: str, scheduler: Mapping[str, Any], probed: Latent, **more: Any
) -> dict[str, Any]:
    """What config.json says. `probed`: the latent (1, c, h, w) of `probe()`, as the codec encodes it."""
    return {
        "model_type": kind,
        "model": prior_id,
        "scheduler": dict(scheduler),
        "probe": {"latent": [[[round(float(v), 3) for v in row] for row in plane] for plane in probed[0]]},
        **more,
    }


def config(folder: Path) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((folder / "config.json").read_text(encoding="utf-8")))


def probe() -> Tensor:
    """A picture (1, 3, 64, 64) of smooth colours, the same everywhere."""
    ramp = torch.linspace(-1, 1, PROBE)
    x, y = ramp.expand(PROBE, PROBE), ramp[:, None].expand(PROBE, PROBE)
    return torch.stack([x, (3 * y).sin(), (x * y * 4).cos()])[None] * 0.8


def digest(network: nn.Module) -> str:
    total = hashlib.sha256()
    for name, weight in sorted(network.state_dict().items()):
        total.update(name.encode() + weight.half().cpu().numpy().tobytes())
    return total.hexdigest()[:16]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a.double(), b.double(), atol=1e-5))


def _shape(latent: Tensor) -> str:
    return " x ".join(map(str, latent.shape))
