"""The steps of a tuning: accelerate's mixed precision, states on the disk, and what to do where memory runs out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from scumble.core.errors import InputError, MachineError
from scumble.core.job import Counted
from scumble.core.machine import limits
from scumble.core.request import Step
from scumble.core.types import Latent
from scumble.tuning.adaptation import Stages
from scumble.tuning.stages import Stage

from .accelerating import new_accelerator
from .state import State, Stopped
from .tune_asked import Asked

SAVE_EVERY = 60
"""Seconds between two states on the disk."""

Report = Callable[[Step, Mapping[str, float]], None]
"""What the training reports to after every step: the step, and the loss."""


class Cheaper:
    """Inside, running out of memory raises MachineError that names the next cheaper setting."""

    def __init__(self, asked: Asked, device: str):
        self._asked, self._limits = asked, limits(device)

    def __enter__(self) -> None:
        self._limits.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        exhausted = error[1]
        try:
            ended = self._limits.__exit__(*error)
        except MachineError as said:
            exhausted, ended = said, False
        if not isinstance(exhausted, MachineError) or not str(exhausted).startswith("memory: "):
            return ended
        figures = str(exhausted).partition("; try")[0]  # a model's own error names settings that do not train
        raise MachineError(
            f"{figures}; try, one after the other: {'; '.join(cheaper(self._asked))}."
        ) from None


def cheaper(asked: Asked) -> list[str]:
    """Settings that need less memory, the mildest first."""
    chosen, found = asdict(asked.recipe), list[str]()
    if (batch := int(chosen.get("batch", 1))) > 1:
        found.append(f"--set batch={max(batch // 2, 1)} --set accumulate={2 * int(chosen['accumulate'])}")
    if chosen.get("form") == "weights":
        found.append("--set form=lora")
    if chosen.get("text_encoder"):
        found.append("--set text_encoder=false")
    if not asked.checkpointing:
        found.append("--checkpointing")
    if asked.precision == "no":
        found.append("--precision bf16")
    if chosen.get("optimizer") in ("adam", "adamw"):
        found.append("--set optimizer=adamw8bit")
    return [*found, "a smaller --size", "a smaller model"]


class Runner:
    """Goes through stages, step by step."""

    def __init__(self, prior: Counted, stages: Stages, precision: str, shown: Latent):
        """`shown`: what a step shows, the latent of the first picture."""
        device = str(prior.loaded.get("device", "cpu"))
        self.prior, self.stages, self.shown = prior, stages, shown
        self.accelerator = new_accelerator(mixed_precision=precision, cpu=device == "cpu")
        self.done = 0

    def run(self, state: State, on_step: Report | None, stop: Callable[[], bool]) -> None:
        before = state.read() or {"done": 0, "tensors": [], "optimizer": None}
        self.done = int(before["done"])
        first, saved = 0, time.monotonic()
        for number, stage in enumerate(self.stages.stages):
            last = first + stage.steps
            behind = before["tensors"][number] if number < len(before["tensors"]) else None
            with stage.trained.open():
                if behind is not None:
                    _put(stage, behind)
                if self.done < last:
                    optimizer: Any = self.accelerator.prepare(optimiser(stage, stage.trained.tensors))
                    if behind is not None and self.done > first:
                        optimizer.load_state_dict(before["optimizer"])
                while self.done < last:
                    if stop():
                        self._save(state, number, optimizer)
                        raise Stopped
                    loss = self._step(stage, self.done - first, optimizer)
                    self.done += 1
                    if not math.isfinite(loss):
                        raise InputError(
                            f"rate: {stage.rate:g} is too high: the training of the {stage.name} diverged at step "
                            f"{self.done}, and no file is written; lower it with --set, ten times, say"
                        )
                    if on_step is not None:
                        on_step(self._told(), {stage.name: loss})
                    if time.monotonic() - saved > SAVE_EVERY:
                        self._save(state, number, optimizer)
                        saved = time.monotonic()
            first = last

    def _step(self, stage: Stage, k: int, optimizer: Any) -> float:
        total, tensors = 0.0, list(stage.trained.tensors)
        for part in range(stage.accumulate):
            with torch.enable_grad():
                with self.accelerator.autocast():
                    loss = stage.loss(k * stage.accumulate + part) / stage.accumulate
                self.accelerator.backward(loss)  # it divides once more, so gradients are wanted here, too
            total += float(loss.detach())
        stage.trained.take()
        if stage.clip:
            self.accelerator.clip_grad_norm_(tensors, stage.clip)
        optimizer.step()
        for tensor in tensors:
            tensor.grad = None
        stage.trained.put()
        return total

    def _save(self, state: State, number: int, optimizer: Any) -> None:
        tensors = [[x.detach().cpu().clone() for x in stage.trained.tensors] for stage in self.stages.stages]
        state.keep({"done": self.done, "tensors": tensors[: number + 1], "optimizer": optimizer.state_dict()})

    def _told(self) -> Step:
        x, prior = self.shown, self.prior
        return Step(self.done, self.stages.steps, 0.0, x, lambda: prior.decode(x), prior.rows)


def _put(stage: Stage, values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(stage.trained.tensors, values, strict=True):
            tensor.copy_(value)
    stage.trained.put()


def optimiser(stage: Stage, tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
    """A stage's optimiser. Raises InputError where bitsandbytes is wanted and missing."""
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if stage.optimizer == "adamw8bit":
        try:
            bnb: Any = import_module("bitsandbytes")

            kinds["adamw8bit"] = bnb.optim.AdamW8bit
        except ImportError:
            raise InputError(
                "optimizer: adamw8bit needs bitsandbytes, which is not installed; install it, or take adamw"
            ) from None
    made: torch.optim.Optimizer = kinds[stage.optimizer](
        list(tensors), lr=stage.rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=stage.decay
    )
    return made
