"""One training run: optimiser, budget, running averages of the weights, log, checkpoints, resuming.

accelerate moves model and batches and spreads them over however many devices there are; this adds what a recipe that
must end at a given time needs: a learning rate that follows the share of the budget spent.
"""

from __future__ import annotations

import json
import logging
import math
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


class Run:
    """State of one stage of training: in a `with` block `going`, `autocast`, `update` in a loop, then `finish`.

    minutes: wall-clock budget, earlier parts of a resumed run counted in. The rate warms up over 1 % of it, then falls
    along a cosine to 1 %. ema: decay of the weights' running average (warmed up), which is what is kept.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        model: nn.Module,
        *,
        rate: float,
        minutes: float,
        ema: float,
        decay: float = 1e-2,
    ):
        from accelerate import Accelerator

        self.name, self.folder, self.rate, self.minutes, self.ema = name, folder, rate, minutes, ema
        folder.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(mixed_precision="bf16")
        self.device = self.accelerator.device
        optimiser = torch.optim.AdamW(
            model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=decay, fused=True
        )
        self.model, self.optimiser = self.accelerator.prepare(model, optimiser)
        self.average = [p.detach().clone() for p in model.parameters()]
        self.step, self.pictures, self.spent = 0, 0, 0.0
        self._sums: dict[str, Tensor] = {}
        self._since = 0
        self._first = True
        self._resume()
        self.began = self.saved = self.logged = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.step:  # cancelled: nothing is lost
            self._save()

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.resume.pt"

    @property
    def elapsed(self) -> float:
        """Minutes spent, earlier parts of this run counted in."""
        return self.spent + (time.monotonic() - self.began) / 60

    @property
    def progress(self) -> float:
        return self.elapsed / self.minutes

    def going(self) -> bool:
        """Whether budget is left (one step is always taken); sets the learning rate for the next step."""
        share = self.progress
        factor = min(share / 0.01, 1.0) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * max(factor, 0.01)
        return share < 1 or self._first

    def autocast(self) -> AbstractContextManager[Any]:
        return self.accelerator.autocast()

    def update(self, loss: Tensor, *, pictures: int, **shown: Tensor) -> None:
        """One optimiser step; logs every half minute, checkpoints every ten."""
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._first = False
        self.pictures += pictures * self.accelerator.num_processes
        keep = min(self.ema, (1 + self.step) / (10 + self.step))
        for average, p in zip(self.average, self.model.parameters(), strict=True):
            average.lerp_(p.detach(), 1 - keep)
        for key, value in {"loss": loss.detach(), **shown}.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value
        self._since += 1
        if time.monotonic() - self.logged > 30:
            self._log()
        if time.monotonic() - self.saved > 600:
            self._save()

    def finish(self) -> nn.Module:
        """The model with its averaged weights, in evaluation mode; the resume file is no longer needed."""
        if self._since:
            self._log()
        model = self.accelerator.unwrap_model(self.model)
        for p, average in zip(model.parameters(), self.average, strict=True):
            p.data.copy_(average)
        self.checkpoint.unlink(missing_ok=True)
        return model.eval()

    def _log(self) -> None:
        row = {
            "step": self.step,
            "pictures": self.pictures,
            "minutes": round(self.elapsed, 2),
            "rate": self.optimiser.param_groups[0]["lr"],
            **{key: round(float(value) / self._since, 5) for key, value in self._sums.items()},
        }
        if self.accelerator.is_main_process:
            with (self.folder / f"{self.name}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            log.info("%s %s", self.name, json.dumps(row))
        self._sums, self._since, self.logged = {}, 0, time.monotonic()

    def _save(self) -> None:
        state = {
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "pictures": self.pictures,
            "minutes": self.elapsed,
        }
        if self.accelerator.is_main_process:
            partial = self.checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(self.checkpoint)
        self.saved = time.monotonic()

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.pictures, self.spent = state["step"], state["pictures"], state["minutes"]
