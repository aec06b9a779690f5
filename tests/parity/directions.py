"""DiffusionCLIP and Asyrp, against their authors' code: the chains, the loss, the fine-tuning, the three phases."""

from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F

from scumble.artifacts.h_space import Attribute, HSpaceDirection
from scumble.artifacts.tuned import TunedWeights
from scumble.core.control import Now, Site
from scumble.core.grids import pairs
from scumble.core.judges import Embedder
from scumble.core.noise import Tape
from scumble.core.prior import Prior
from scumble.core.request import Edit, EditRequest, Step
from scumble.loops.cycle import climb, downward, levels
from scumble.loops.ddim import ddim
from scumble.loops.ddpm import ddpm
from scumble.methods import asyrp
from scumble.methods.asyrp import Asyrp
from scumble.methods.diffusionclip import DiffusionCLIP, mixture
from scumble.networks.pretrained import MEAN, STD
from scumble.priors.pixel import PixelPrior
from scumble.tuning import losses
from scumble.tuning.finetune import Finetune, Finetuning
from scumble.tuning.goal import Goal, learn, plain

from .case import Case, same
from .chains import Trail
from .models import tiny_ddpm


def check_diffusionclip(case: Case) -> None:
    hyper = case.hyper
    if "optimizer" in hyper:
        _finetune(case)
    elif "sampling_type" not in hyper:
        _loss(case)
    elif hyper["sampling_type"] == "ddpm":
        _ddpm(case)
    elif hyper["hybrid_config"]:
        _hybrid(case)
    else:
        _edit(case)


# The loss


class Stub(Embedder):
    """The analytic picture encoder of the cases."""

    id, hash, space, noisy = "stub", "", "pixels", False

    def __init__(self, case: Case):
        self.matrix = case["in_clip_P"]

    def check(self, prior: Prior) -> None: ...

    def embed_image(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (MEAN, STD))
        cells = F.avg_pool2d(((x + 1) / 2 - mean) / std, 4)
        return F.normalize(torch.tanh(cells.flatten(1) @ self.matrix.T), dim=-1)

    def embed_text(self, prompts: Sequence[str]) -> Tensor:
        raise AssertionError("the case states the texts' embeddings")


def _goal(case: Case) -> Goal:
    return Goal(Stub(case), losses.text_direction(case["in_text_src"], case["in_text_trg"]))


def _loss(case: Case) -> None:
    goal, hyper = _goal(case), case.hyper
    assert not hyper["id_loss_w"]
    case.close("text_direction", goal.direction)
    source, edited = case["in_source"], case["in_edited"].requires_grad_()
    before, after = (goal.judge.embed_image(x) for x in (source, edited))
    d = losses.directional(before, after, goal.direction).mean()  # the code averages before it takes the log
    clip, l1 = losses.penalty(d[None])[0], losses.l1(source, edited).mean()
    loss = hyper["clip_loss_w"] * clip + hyper["l1_loss_w"] * l1
    for name, ours in {"direction_loss": d, "loss_clip": clip, "loss_l1": l1, "loss": loss}.items():
        case.close(name, ours)
    case.close("grad", torch.autograd.grad(loss, edited)[0])


def _finetune(case: Case) -> None:
    hyper, prior = case.hyper, tiny_ddpm(case)
    assert not hyper["id_loss_w"]
    recipe = Finetune(
        start=hyper["t_0"],
        steps=hyper["n_train_step"],
        inversion_steps=hyper["n_inv_step"],
        saving=hyper["per_step"],
        epochs=hyper["optimizer_passes"],
        rate=hyper["lr"],
        growth=1.0,
        clip=hyper["clip_loss_w"],
        l1=hyper["l1_loss_w"],
        part="all",
    )
    same(torch.tensor(recipe.up(prior)), case["seq_inv"], "seq_inv")
    same(torch.tensor([t for t, _ in reversed(recipe.down(prior))]), case["seq_train"], "seq_train")
    lessons = learn(prior, _goal(case), case["image"].split(1), recipe.up(prior))
    case.close("latent", lessons.latents)
    training, rows = Finetuning(prior, _goal(case), lessons, recipe), list[list[float]]()
    _, gradients, _ = training.look()
    for name, gradient in zip(training.values, gradients, strict=True):
        if f"grad.{name}" in case:
            case.close(f"grad.{name}", gradient, case.rounded(f"grad.{name}"))
    for k in range(training.steps):
        shown = training.advance()
        rows.append([shown["clip"] / recipe.clip, shown["l1"] / recipe.l1, shown["loss"]])
        if k == (len(training.pairs) - 1 if recipe.saving else 0):
            case.close("first_pass_output", training.x[0])
    case.close("losses", torch.tensor(rows), case.rounded("losses"))


# The chains of DiffusionCLIP


def _edit(case: Case) -> None:
    """The method: a second network stands for the tuned weights where the case mixes two."""
    hyper = case.hyper
    prior, own = _switched(case), hyper["model_ratio"] is None
    method = DiffusionCLIP(
        start=hyper["t_0"],
        inversion_steps=hyper["n_inv_step"],
        steps=hyper["n_gen_step"],
        eta=hyper["eta"],
        strength=1.0 if own else hyper["model_ratio"],
    )
    values = {"second": torch.tensor(0.0 if own else 1.0)}
    tuned = TunedWeights(prior=prior.card.id, prior_hash=prior.card.hash, values=values)
    request = EditRequest(
        image=case["image"],
        noise=Tape(case["noise"][:-1]) if "noise" in case else None,  # the last draw has no weight
        given={"tuned": tuned},
    )
    _compare(case, prior, *_watched(method, prior, request))


def _watched(method: Any, prior: Prior, request: EditRequest) -> tuple[Edit, list[Tensor], list[Tensor]]:
    """The edit, the states of all its steps, and the clean pictures predicted there."""
    states, clean = list[Tensor](), list[Tensor]()

    def on_step(step: Step) -> None:
        states.append(step.x)
        clean.append(step.preview())

    return method(prior, request, on_step), states, clean


def _compare(case: Case, prior: PixelPrior, edit: Edit, states: list[Tensor], clean: list[Tensor]) -> None:
    up, n = case.hyper["n_inv_step"], case.hyper["n_inv_step"] - 1
    _same_grids(case, prior, up, case.hyper["n_gen_step"])
    case.close("inv_traj", torch.stack(states[:n]))
    case.close("latent", states[n - 1])
    case.close("gen_traj", torch.stack(states[n:]))
    case.close("x0_traj", torch.stack(clean[n:]))
    case.close("final", edit.raw)


def _same_grids(case: Case, prior: PixelPrior, up: int, down: int, nudge: float = 0.0) -> None:
    start = case.hyper["t_0"]
    same(torch.tensor(levels(prior.schedule, start, up, nudge)), case["seq_inv"], "seq_inv")
    same(torch.tensor(levels(prior.schedule, start, down, nudge)), case["seq_gen"], "seq_gen")


def _second(eps: Tensor, x: Tensor) -> Tensor:
    return 0.7 * eps + 0.3 * torch.tanh(x)


def _third(eps: Tensor, x: Tensor) -> Tensor:
    return 0.5 * eps - 0.4 * torch.sin(2 * x)


def _switched(case: Case) -> PixelPrior:
    """The tiny model with one weight, `second`: at 1 it is the case's second network."""
    prior, second = tiny_ddpm(case), torch.tensor(0.0)

    def network(x: Tensor, t: Tensor) -> Tensor:
        eps = prior.network(x, t)
        return _second(eps, x) if float(second) else eps

    return PixelPrior(network, prior.schedule, prior.card, {"second": second})


@torch.no_grad()
def _hybrid(case: Case) -> None:
    """Two tuned networks, whose shares change at the thresholds."""
    hyper, prior = case.hyper, tiny_ddpm(case)
    first, second = (
        plain(PixelPrior(_after(prior, change), prior.schedule, prior.card), len(case["image"]))
        for change in (_second, _third)
    )
    weights = {int(threshold): pair for threshold, pair in hyper["hybrid_config"].items()}

    def share(t: float) -> float:
        one, other = next(pair for threshold, pair in weights.items() if t >= threshold)
        return other / (one + other)

    schedule, trail, back = prior.schedule, Trail(), Trail()
    up, down = (levels(schedule, hyper["t_0"], hyper[n]) for n in ("n_inv_step", "n_gen_step"))
    _same_grids(case, prior, len(up), len(down))
    x = climb(plain(prior, len(case["image"])), case["image"], up, schedule, each=trail)
    case.close("inv_traj", torch.stack(trail.x))
    case.close("latent", x)
    x = ddim(mixture(first, second, share), x, downward(schedule, down), schedule, each=back)
    case.close("gen_traj", torch.stack(back.x))
    case.close("x0_traj", torch.stack(back.x0))
    case.close("final", x)


def _after(prior: PixelPrior, change: Any) -> Any:
    return lambda x, t: change(prior.network(x, t), x)


@torch.no_grad()
def _ddpm(case: Case) -> None:
    """Ancestral steps over every level: over a strided grid the published coefficients are wrong."""
    hyper, prior = case.hyper, tiny_ddpm(case)
    assert not hyper["n_gen_step"]
    assert hyper["var_type"] == "fixedsmall"
    schedule, trail, back = prior.schedule, Trail(), Trail()
    up, down = levels(schedule, hyper["t_0"], hyper["n_inv_step"]), list(range(hyper["t_0"]))
    same(torch.tensor(up), case["seq_inv"], "seq_inv")
    same(torch.tensor(down), case["seq_gen"], "seq_gen")
    denoise = plain(prior, len(case["image"]))
    x = climb(denoise, case["image"], up, schedule, each=trail)
    case.close("inv_traj", torch.stack(trail.x))
    case.close("latent", x)
    moves, noise = pairs(down, schedule.clean), Tape(case["noise"][:-1])
    final = ddpm(denoise, x, moves, schedule, noise=noise, kind="fixed_small", each=back)
    case.close("gen_traj", torch.stack(back.x))
    case.close("final", final)


# Asyrp


class Closed:
    """The closed-form blocks of the cases, which note what they are given first and what they answer."""

    def __init__(self, amp: float, number: int):
        self.amp, self.number = amp, number
        self.first: tuple[Tensor, Tensor] | None = None

    def __call__(self, h: Tensor, t: Tensor) -> Tensor:
        share = t.to(h).reshape(-1, 1, 1, 1) / 1000
        shift = torch.tanh(h.roll(1, 1) + share) if self.number == 1 else torch.cos(2 * h - share)
        self.first = self.first or (h, self.amp * shift)
        return self.amp * shift


class Mid:
    """Keeps the bottleneck of the first call."""

    first: Tensor | None = None

    def wants(self, site: Site) -> bool:
        return site.kind == "mid"

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        raise AssertionError

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        self.first = h if self.first is None else self.first
        return h


def check_asyrp(case: Case) -> None:
    hyper, prior = case.hyper, tiny_ddpm(case)
    keep, *weights = hyper["hs_coeff"]
    blocks = [Closed(hyper["amp"], number) for number in range(1, len(weights) + 1)]
    assert (hyper["dt_lambda"], hyper["dt_end"]) == (1.0, 999)
    settings: dict[str, Any] = {"start": hyper["t_0"], "inversion_steps": hyper["n_inv_step"]}
    settings |= {"steps": hyper["n_test_step"], "edit_until": hyper["t_edit"]}
    method = Asyrp(**settings, boost=hyper["t_addnoise"], keep=keep)
    attributes = [
        Attribute(source="a", target="b", steps=method.steps, weight=w, weights={}) for w in weights
    ]
    direction = HSpaceDirection(prior=prior.card.id, prior_hash=prior.card.hash, attributes=tuple(attributes))
    noise = Tape(case["noise"][:-1]) if "noise" in case else None  # the last draw has no weight
    request = EditRequest(image=case["image"], noise=noise, given={"direction": direction})
    stubs = iter(blocks)
    with patch.object(asyrp.DeltaBlock, "of", lambda given: next(stubs)):
        edit, states, clean = _watched(method, prior, request)
    n = hyper["n_inv_step"] - 1
    _same_grids(case, prior, hyper["n_inv_step"], hyper["n_test_step"], asyrp.NUDGE)
    case.close("latent", states[n - 1])
    case.close("x_traj", torch.stack(states[n:]))
    case.close("x0_traj", torch.stack(clean[n:]))
    case.close("final", edit.raw)
    _bottleneck(case, prior, blocks[-1], states[n - 1])


@torch.no_grad()
def _bottleneck(case: Case, prior: PixelPrior, block: Closed, latent: Tensor) -> None:
    """The feature that was shifted first, the shift, and the way down without one."""
    down = downward(
        prior.schedule, levels(prior.schedule, case.hyper["t_0"], case.hyper["n_test_step"], asyrp.NUDGE)
    )
    mid = Mid()
    with prior.control(mid):
        x = ddim(plain(prior, len(latent)), latent, down, prior.schedule)
    case.close("unedited", x)
    assert mid.first is not None
    case.close("h_first", mid.first)
    assert block.first is not None
    case.close("delta_h_first", block.first[1])
