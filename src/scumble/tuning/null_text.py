"""Null-text inversion (Mokady et al. 2023, arXiv:2211.09794): optimise the null embedding, one move at a time, until
guided sampling follows the states of an unguided inversion.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scumble.core.guidance import Branch
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior, Row, Text
from scumble.core.request import Watch
from scumble.core.types import Latent, Pair
from scumble.loops import steps

MAGNIFIED = 2.0**16
"""Factor of the loss in the backward pass, undone afterwards: small losses have gradients that float16 rounds to
nothing. A power of two, so that float32 computes the same.
"""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """The settings of the optimisation. For move i of n, share = i / n.

    Adam starts again at every move, from the embedding of the move before. Its rate falls to half by the end. A
    picture's embedding is finished after `inner_steps` updates, or after the update whose loss was below `early_stop`
    + `growth` * share. `published`: share = i / 50 for any n, and the pictures of a batch have one common loss, so
    they stop together.
    """

    inner_steps: int = 10
    rate: float = 1e-2
    early_stop: float = 1e-5
    growth: float = 1e-3
    published: bool = False


@dataclass(frozen=True, eq=False)
class Tuned:
    """`tokens` (n, b, L, D) of the null prompt at every move; `path` (n + 1, b, c, h, w), the guided states that they
    give; `losses` (n, inner steps, b), -1 after a picture was finished.
    """

    tokens: Tensor
    path: Tensor
    losses: Tensor


def tune_null_text(
    prior: Prior,
    trajectory: Tensor,
    pairs: Sequence[Pair],
    text: Text,
    null: Text,
    guidance: float,
    tuning: Tuning,
    on_step: Watch | None = None,
) -> Tuned:
    """The null prompt for every move of `pairs`, which lead from trajectory[0] down along the trajectory (n + 1, b, c,
    h, w), under `text` (b rows) and guidance.

    Differentiates through the network, with respect to the tokens alone.
    """
    x, found, losses = trajectory[0], list[Tensor](), list[Tensor]()
    path = [x]
    schedule, role = prior.schedule, Branch("target", text, null, guidance, prior.card.norm)

    def predict(x_t: Latent, t: float, s: float) -> Prediction:
        """Guided by the null text that is found for the move."""
        k, now = len(found), schedule.time(t, len(x_t))
        with torch.no_grad():
            aim = prior.predict(x_t, now, text)

        def guided(tokens: Tensor) -> Prediction:
            rows: dict[Row, Prediction] = {("target", "text"): aim}
            rows["target", "null"] = prior.predict(x_t, now, replace(null, tokens=tokens))
            return role.combine(rows, schedule, now)

        def move(tokens: Tensor) -> Latent:
            return steps.ddim(guided(tokens), x_t, t, s, schedule).mean

        share = k / 50 if tuning.published else k / len(pairs)
        start = found[-1] if found else null.tokens
        tokens, lost = _descend(move, start, trajectory[k + 1], share, tuning)
        found.append(tokens)
        losses.append(lost)
        with torch.no_grad():
            return guided(tokens)

    def keep(x_s: Latent, *_: Any) -> Latent:
        path.append(x_s)
        return x_s

    with torch.no_grad():
        steps.fold(
            predict,
            x,
            pairs,
            schedule,
            lambda p, x_t, t, s, before: steps.ddim(p, x_t, t, s, schedule),
            each=keep,
            on_step=on_step,
        )
    return Tuned(torch.stack(found), torch.stack(path), torch.stack(losses))


def _descend(
    move: Callable[[Tensor], Latent], tokens: Tensor, aim: Latent, share: float, tuning: Tuning
) -> tuple[Tensor, Tensor]:
    """(tokens, losses (inner steps, b)) after Adam's steps towards move(tokens) = aim, picture by picture."""
    tokens = tokens.detach().clone().requires_grad_()
    adam: Any = torch.optim.Adam([tokens], lr=tuning.rate * (1 - share / 2))
    losses = torch.full((tuning.inner_steps, len(aim)), -1.0, dtype=torch.float64)
    going = torch.ones(len(aim), dtype=torch.bool, device=tokens.device)
    for j in range(tuning.inner_steps):
        with torch.enable_grad():
            error = (move(tokens) - aim).square().mean((1, 2, 3))
            error = error.mean().expand(len(aim)) if tuning.published else error
            loss = error[0] if tuning.published else error.sum()
            (grad,) = torch.autograd.grad(MAGNIFIED * loss, tokens)
        tokens.grad = grad / MAGNIFIED
        before = tokens.detach().clone()
        adam.step()
        with torch.no_grad():
            tokens.copy_(torch.where(going[:, None, None], tokens, before))
        losses[j] = torch.where(going, error.detach(), -1.0).to(losses)
        going = going & (error.detach() >= tuning.early_stop + tuning.growth * share)
        if not bool(going.any()):
            break
    return tokens.detach(), losses
