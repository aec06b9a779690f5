"""The models that cases are recorded on, with the schedule that a case states."""

import copy
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from scumble.core.grids import respace
from scumble.core.prediction import Prediction
from scumble.core.schedule import Schedule
from scumble.loops.descend import Itself
from scumble.loops.paste import Paste
from scumble.priors.pixel import Network, PixelPrior
from scumble.priors.stable_diffusion import StableDiffusionPrior

from .case import ROOT, Case

MODELS = Path(__file__).parents[1] / "models"
OUTPUTS = {"epsilon": "eps", "v_prediction": "v", "sample": "x0", "start_x": "x0"}


def tiny_sd(case: Case) -> Any:
    """The tiny Stable Diffusion, with the grid and prediction type of the case."""
    folder = ROOT / "tiny-sd" if (ROOT / "tiny-sd").is_dir() else MODELS / "tiny-sd"
    if "model_check" in case.json:
        digest = hashlib.sha256((folder / "unet/diffusion_pytorch_model.safetensors").read_bytes())
        assert digest.hexdigest()[:16] == case.json["model_check"]["unet_safetensors_sha256_16"]
    prior = copy.copy(_loaded(folder))  # a case may put calls of its own in place of the prior's
    prior.schedule = _stated(case, prior.schedule)
    return prior


@cache
def _loaded(folder: Path) -> StableDiffusionPrior:
    prior = StableDiffusionPrior.from_pretrained(str(folder), device="cpu", dtype="float32")
    _sum_in_double(prior._unet, prior._vae)
    return prior


def _sum_in_double(*networks: nn.Module) -> None:
    """On one thread torch's sums in float32 lose the last two digits that the cases ask for."""
    for module in (module for network in networks for module in network.modules()):
        if isinstance(module, nn.GroupNorm):
            module.forward = partial(_in_double, module)


def _in_double(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    weight, bias = (None if p is None else p.double() for p in (norm.weight, norm.bias))
    return nn.functional.group_norm(x.double(), norm.num_groups, weight, bias, norm.eps).to(x.dtype)


def _stated(case: Case, schedule: Schedule) -> Schedule:
    hyper, stated = case.hyper, dict[str, Any]()
    if "prediction_type" in hyper:
        stated["prediction"] = OUTPUTS[hyper["prediction_type"]]
    if "timestep_spacing" in hyper:
        stated["spacing"] = hyper["timestep_spacing"]
    if "steps_offset" in hyper:
        stated["offset"] = hyper["steps_offset"]
    if "set_alpha_to_one" in hyper:
        stated["last"] = None if hyper["set_alpha_to_one"] else 0
    return replace(schedule, **stated)


def raw(schedule: Schedule, p: Prediction, at: Tensor) -> Tensor:
    """What the network itself put out."""
    if schedule.prediction == "v":
        alpha, sigma = (c.to(p.eps) for c in schedule.at(at))
        return alpha * p.eps - sigma * p.x0
    return p.eps if schedule.prediction == "eps" else p.x0


@dataclass(frozen=True)
class From(Itself):
    """The latent moves, from `latent` on: a descent may start elsewhere than at its source."""

    latent: Tensor

    def start(self, x: Tensor) -> Tensor:
        assert x.shape == self.latent.shape
        return self.latent


def listen(prior: Any) -> list[tuple[Tensor, Tensor]]:
    """(x_t, raw output) of every network call from now on."""
    calls: list[tuple[Tensor, Tensor]] = []
    predict = prior.predict

    def recording(x_t: Tensor, t: Tensor, text: Any, at: Tensor | None = None) -> Any:
        p = predict(x_t, t, text, at)
        calls.append((x_t, raw(prior.schedule, p, t if at is None else at)))
        return p

    prior.predict = recording
    return calls


@contextmanager
def unpasted() -> Iterator[list[Tensor]]:
    """The states of a masked loop before what stays is put back."""
    states, at = list[Tensor](), Paste.at

    def recording(self: Paste, x: Tensor, level: float) -> Tensor:
        states.append(x)
        return at(self, x, level)

    with patch.object(Paste, "at", recording):
        yield states


def pixel_schedule(case: Case) -> Schedule:
    """The chain of the case. Betas stated for 1000 levels are scaled by 1000 / T where the table says so."""
    hyper = case.hyper
    T, prediction = hyper["T"], OUTPUTS[hyper.get("mean_type", "epsilon")]
    settings: dict[str, Any] = {"prediction": prediction, "rescale": hyper.get("rescale_timesteps", False)}
    if hyper["beta_schedule"] == "cosine":
        return Schedule.cosine(T, **settings)
    assert hyper["beta_schedule"] == "linear", hyper["beta_schedule"]
    ends = hyper["beta_start"], hyper["beta_end"]
    made = Schedule.linear(T, *ends, **settings)
    if T != 1000 and "alphas_cumprod" in case:
        scaled = Schedule.linear(T, *(end * 1000 / T for end in ends), **settings)
        index, table = kept(case, T), case["alphas_cumprod"]
        made = min(made, scaled, key=lambda schedule: float((schedule.abar[index] - table).abs().max()))
    return made


def kept(case: Case, T: int) -> list[int]:
    """The levels that the case's respacing keeps; recorded as such, or as the rescaled times the network is
    told.
    """
    spec = case.hyper["timestep_respacing"]
    spec = ",".join(map(str, spec)) if isinstance(spec, list) else str(spec) or str(T)
    levels, recorded = respace(T, spec), case["timesteps"].double()
    ours = torch.tensor(levels, dtype=torch.float64)
    assert torch.equal(ours, recorded) or torch.equal(ours * 1000 / T, recorded), f"{levels} != {recorded}"
    return levels


def tiny_ddpm(case: Case) -> PixelPrior:
    """The tiny pixel model; with variance channels where the case adds them by its formula."""
    prior = PixelPrior.from_pretrained(ROOT / "tiny-ddpm", schedule=pixel_schedule(case))
    assert prior._module is not None
    _sum_in_double(prior._module)
    if case.hyper.get("var_type") != "learned_range":
        return prior
    return PixelPrior(_with_variance(prior.network), prior.schedule, prior.card, prior.parameters())


def tiny_network() -> Network:
    """The tiny pixel model's network alone: (x_t, t) -> eps, t of any kind of number."""
    prior = PixelPrior.from_pretrained(ROOT / "tiny-ddpm")
    assert prior._module is not None
    _sum_in_double(prior._module)
    return prior.network


def _with_variance(network: Network) -> Network:
    def six_channels(x: Tensor, t: Tensor) -> Tensor:
        eps = network(x, t)
        return torch.cat([eps, torch.tanh(0.5 * x - eps.roll(-1, dims=1))], dim=1)

    return six_channels
