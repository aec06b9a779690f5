"""Muon (Jordan et al. 2024): momentum whose matrices are made orthogonal before each step; AdamW for all else.

The step has the root mean square that AdamW's would have (Liu et al. 2025, arXiv:2502.16982, section 2.2), so that both
share one rate. torch.optim.Muon takes matrices only, not kernels of convolutions, and cannot be recorded in a CUDA
graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the iteration x <- a x + (b x x^T + c (x x^T)^2) x, which pulls singular values to about 1."""

lists: Any = torch
"""PyTorch's own functions on lists of tensors; they have no public name."""


class Muon(torch.optim.Optimizer):
    """One group "matrices" (kernels are flattened to rows of their inputs), one group "rest" for AdamW's update.

    lr, weight_decay: of both. momentum: Nesterov's, for the matrices. betas, eps: AdamW's.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        rest: Iterable[nn.Parameter],
        lr: float | Tensor,
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.99),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ):
        groups = [{"params": list(matrices), "kind": "matrices"}, {"params": list(rest), "kind": "rest"}]
        super().__init__(
            groups, {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        )

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """One step for every parameter that has a gradient."""
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if not params:
                continue
            shrink = 1 - group["lr"] * group["weight_decay"]
            lists._foreach_mul_(params, shrink)
            (self._matrices if group["kind"] == "matrices" else self._rest)(params, group)

    def _matrices(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        alike: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
        for p in params:
            if not self.state[p]:
                self.state[p]["momentum"] = torch.zeros_like(p)
            alike[len(p), p[0].numel()].append(p)
        grads = [p.grad for p in params]
        buffers = [self.state[p]["momentum"] for p in params]
        lists._foreach_lerp_(buffers, grads, 1 - group["momentum"])
        for shape, several in alike.items():
            moved = torch.stack(
                [p.grad.lerp(self.state[p]["momentum"], group["momentum"]).reshape(shape) for p in several]  # pyright: ignore[reportOptionalMemberAccess]
            )
            steps = orthogonal(moved) * (0.2 * max(shape) ** 0.5) * group["lr"]
            for p, step in zip(several, steps.unbind(), strict=True):
                p.sub_(step.reshape(p.shape))

    def _rest(self, params: list[nn.Parameter], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p]["step"] = torch.zeros((), device=p.device)
                self.state[p]["mean"], self.state[p]["square"] = torch.zeros_like(p), torch.zeros_like(p)
        grads: list[Tensor] = [p.grad for p in params]  # pyright: ignore[reportAssignmentType]
        steps, means, squares = ([self.state[p][k] for p in params] for k in ("step", "mean", "square"))
        first, second = group["betas"]
        lists._foreach_add_(steps, 1)
        lists._foreach_lerp_(means, grads, 1 - first)
        lists._foreach_mul_(squares, second)
        lists._foreach_addcmul_(squares, grads, grads, 1 - second)
        below = lists._foreach_mul(squares, 1 / (1 - second ** steps[0]))
        lists._foreach_sqrt_(below)
        lists._foreach_add_(below, group["eps"])
        change = lists._foreach_div(means, below)
        lists._foreach_mul_(change, -group["lr"] / (1 - first ** steps[0]))
        lists._foreach_add_(params, change)


def orthogonal(matrices: Tensor, iterations: int = 5) -> Tensor:
    """(n, rows, columns) -> the nearest matrices whose singular values are all about 1."""
    a, b, c = QUINTIC
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.float().flatten(1).norm(dim=1)[:, None, None] + 1e-7).bfloat16()
    for _ in range(iterations):
        square = x @ x.mT
        x = a * x + (b * square + c * (square @ square)) @ x
    return (x.mT if tall else x).float()


NO_MATRICES = ("conv_in", "conv_out", "token_embedding", "position_embedding")
"""Parts of networks that Muon leaves to AdamW, as Jordan et al. do: what meets the data, and tables of vectors."""


def new_optimiser(
    kind: str, trained: Sequence[tuple[str, nn.Parameter]], *, rate: float, decay: float
) -> torch.optim.Optimizer:
    """AdamW, or Muon for matrices and kernels and AdamW's update for all else. trained: names and parameters."""
    if kind == "adamw":
        return torch.optim.AdamW(
            [p for _, p in trained], lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=True
        )
    matrices = [p for name, p in trained if p.ndim >= 2 and not any(part in name for part in NO_MATRICES)]
    taken = {id(p) for p in matrices}
    return Muon(matrices, [p for _, p in trained if id(p) not in taken], rate, weight_decay=decay)
