"""One training run: optimiser, budget, running average of the weights, log, checkpoints, resuming.

accelerate moves model and batches and spreads them over however many devices there are; this adds what a long run on
shared machines needs: a learning rate that follows the time spent, and a checkpoint from which another process goes on.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.precision import fast_dtype

from .accelerating import new_accelerator
from .captured import Captured
from .muon import new_optimiser

log = logging.getLogger(__name__)

WARM_UP = 500
"""Steps over which the learning rate rises to its full value, unless a run says otherwise."""

COOL_DOWN = 0.18
"""Share of the budget, the last, over which the learning rate falls linearly to zero, unless a run says otherwise."""

MOVABLE = ("minutes", "cool_down")
"""What a resumed run may have otherwise."""

LOG_EVERY, SAVE_EVERY = 30, 300
"""Seconds between two lines of the log, two checkpoints."""


class Run:
    """State of one stage of training: in a `with` block `going`, `autocast`, `update` in a loop, then `finish`.

    minutes: wall-clock budget, earlier parts of a resumed run included. The rate warms up, holds, and cools down once,
    in the last part of the budget; a resumed run may have another budget than before, so a run can be prolonged as
    long as it has not cooled down, or cooled down at any time. warm_up: in steps. cool_down: a share of the budget.
    ema: decay of the weights' running average (warmed up), which is what is kept.
    recipe: what a resumed run must agree in, apart from the budget and the cool-down. extra: networks trained along and
    not kept.
    optimiser: "adamw" or "muon". Parameters that ask for no gradient stay as they are.

    Raises InputError for a checkpoint of another recipe.
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
        recipe: Mapping[str, Any] | None = None,
        extra: nn.Module | None = None,
        optimiser: str = "adamw",
        warm_up: int = WARM_UP,
        cool_down: float = COOL_DOWN,
    ):
        self.name, self.folder, self.rate, self.minutes, self.ema = name, folder, rate, minutes, ema
        self.warm_up, self.cool_down = warm_up, cool_down
        self.recipe = {k: v for k, v in (recipe or {}).items() if k not in MOVABLE}
        folder.mkdir(parents=True, exist_ok=True)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        half = fast_dtype(device) == torch.bfloat16
        self.accelerator = new_accelerator(mixed_precision="bf16" if half else "no", cpu=device == "cpu")
        if self.accelerator.num_processes > 1:  # each would draw the same pictures
            raise InputError(
                f"{name}: {self.accelerator.num_processes} processes; this training takes one. Start it without "
                "accelerate launch or torchrun; only `scumble train editor` takes several"
            )
        self.device = self.accelerator.device
        named = [*model.named_parameters(), *(extra.named_parameters() if extra is not None else ())]
        asked = [(name, p) for name, p in named if p.requires_grad]
        self.trained = [p for _, p in asked]
        self.model, self.optimiser = self.accelerator.prepare(
            model, new_optimiser(optimiser, asked, rate=rate, decay=decay)
        )
        self.extra = None if extra is None else self.accelerator.prepare(extra)
        self.average = [p.detach().clone() for p in model.parameters()]
        self._gradients: Callable[[], dict[str, Tensor]] | None = None
        self.step, self.pictures, self.spent = 0, 0, 0.0
        self._sums: dict[str, Tensor] = {}
        self._since = 0
        self._first = True
        self._resume()
        self.began = self.saved = self.logged = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.step and not issubclass(kind, InputError):  # cancelled: nothing is lost
            self.save()

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{self.name}.resume.pt"

    @property
    def elapsed(self) -> float:
        """Minutes spent, earlier parts of this run included."""
        return self.spent + (time.monotonic() - self.began) / 60

    @property
    def progress(self) -> float:
        return self.elapsed / self.minutes if self.minutes > 0 else 1.0

    def going(self) -> bool:
        """Whether budget is left (one step is always taken); sets the learning rate for the next step."""
        factor = min((self.step + 1) / self.warm_up, (1 - self.progress) / self.cool_down, 1.0)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate * max(factor, 0.001)
        return self.progress < 1 or self._first

    def autocast(self) -> AbstractContextManager[Any]:
        return self.accelerator.autocast()

    def update(self, loss: Tensor, *, pictures: int, **shown: Tensor) -> None:
        """One optimiser step; logs from time to time. Save whenever `due`."""
        self.accelerator.backward(loss)
        self._descend()
        self.optimiser.zero_grad(set_to_none=True)
        self._after(pictures, {"loss": loss.detach(), **shown})

    def repeat(self, lesson: Callable[[], dict[str, Tensor]], *, pictures: int) -> None:
        """`update` with the loss under "loss" of what a lesson returns; all of it is logged.

        It must be the same lesson each time, of unchanging shapes. On one GPU it is recorded and replayed
        (`Captured`), so the lesson must not look at a tensor's value.
        """

        def gradients() -> dict[str, Tensor]:
            found = lesson()
            self.accelerator.backward(found["loss"])
            return {name: value.detach() for name, value in found.items()}

        if self._gradients is None:
            alone = self.device.type == "cuda" and self.accelerator.num_processes == 1
            self._gradients = Captured(gradients) if alone else gradients
        found = self._gradients()
        self._descend()
        if not (isinstance(self._gradients, Captured) and self._gradients.graph):
            self.optimiser.zero_grad(set_to_none=True)
        self._after(pictures, found)

    def _descend(self) -> None:
        """Follow the gradients; move the average."""
        self.accelerator.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        keep = min(self.ema, (2 + self.step) / (11 + self.step))
        now = [p.detach() for p in self.model.parameters()]
        torch._foreach_lerp_(self.average, now, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]

    def _after(self, pictures: int, shown: Mapping[str, Tensor]) -> None:
        self.step += 1
        self._first = False
        self.pictures += pictures * self.accelerator.num_processes
        for key, value in shown.items():
            self._sums[key] = self._sums.get(key, torch.zeros_like(value)) + value
        self._since += 1
        if time.monotonic() - self.logged > LOG_EVERY:
            self._log()

    @property
    def due(self) -> bool:
        """Whether it is time to `save` again."""
        return time.monotonic() - self.saved > SAVE_EVERY

    def note(self, **found: object) -> None:
        """A line of the log by itself: what was measured at this step."""
        row = {"step": self.step, "pictures": self.pictures, "minutes": round(self.elapsed, 2), **found}
        self._write(row)

    def finish(self) -> nn.Module:
        """The model with its averaged weights, in evaluation mode; the checkpoint stays, to go on from."""
        if self._since:
            self._log()
        self.save()
        model = self.accelerator.unwrap_model(self.model)
        _load_average(model, self.average)
        return model.eval()

    def _check(self) -> None:
        """Raises InputError where the loss since the last line of the log, or a weight, is not finite."""
        loss = self._sums.get("loss", torch.zeros(()))
        if all(bool(torch.isfinite(x.detach()).all()) for x in (loss, *self.trained)):
            return
        last = self.checkpoint if self.checkpoint.exists() else "none"
        raise InputError(
            f"{self.name}: the loss is not finite by step {self.step}; the last good checkpoint is {last}. Run the "
            "same command again to go on from it; if it comes back, begin anew in another folder with another seed"
        )

    def _log(self) -> None:
        self._check()
        row = {
            "step": self.step,
            "pictures": self.pictures,
            "minutes": round(self.elapsed, 2),
            "rate": self.optimiser.param_groups[0]["lr"],
            **{key: round(float(value) / self._since, 5) for key, value in self._sums.items()},
        }
        self._write(row)
        self._sums, self._since, self.logged = {}, 0, time.monotonic()

    def _write(self, row: dict[str, object]) -> None:
        if self.accelerator.is_main_process:
            with (self.folder / f"{self.name}.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")
            log.info("%s %s", self.name, json.dumps(row))

    def save(self) -> None:
        """Writes the checkpoint, complete or not at all. Raises InputError where it cannot, and where the loss is not
        finite; the last one stays.
        """
        self._check()
        state = {
            "recipe": json.dumps(self.recipe, sort_keys=True),
            "model": self.accelerator.unwrap_model(self.model).state_dict(),
            "extra": None if self.extra is None else self.accelerator.unwrap_model(self.extra).state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "average": self.average,
            "step": self.step,
            "pictures": self.pictures,
            "minutes": self.elapsed,
        }
        self.saved = time.monotonic()
        if not self.accelerator.is_main_process:
            return
        partial = self.checkpoint.with_suffix(".partial")
        try:
            torch.save(state, partial)
        except (OSError, RuntimeError) as error:
            partial.unlink(missing_ok=True)
            last = (
                f"the last one, {self.checkpoint}, stays" if self.checkpoint.exists() else "there is none yet"
            )
            raise InputError(
                f"{self.checkpoint}: the checkpoint could not be written ({error}); {last}. "
                "Free some disk space and run the same command again."
            ) from error
        partial.replace(self.checkpoint)

    def _resume(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
        then, now = json.loads(state["recipe"]), json.loads(json.dumps(self.recipe))
        changed = [
            f"{k}: {then.get(k)} then, {now.get(k)} now"
            for k in sorted({*then, *now})
            if then.get(k) != now.get(k)
        ]
        if changed:
            raise InputError(
                f"{self.checkpoint}: this run began with another recipe ({'; '.join(changed)}). "
                "Take the old values, or another output folder for a new run."
            )
        self.accelerator.unwrap_model(self.model).load_state_dict(state["model"])
        if self.extra is not None:
            self.accelerator.unwrap_model(self.extra).load_state_dict(state["extra"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average = state["average"]
        self.step, self.pictures, self.spent = state["step"], state["pictures"], state["minutes"]


M = TypeVar("M", bound=nn.Module)


def averaged(model: M, checkpoint: Path) -> M:
    """The model with the averaged weights of a run's checkpoint, in evaluation mode."""
    _load_average(model, torch.load(checkpoint, map_location="cpu", weights_only=True)["average"])
    return model.eval()


def _load_average(model: nn.Module, average: list[Tensor]) -> None:
    for p, value in zip(model.parameters(), average, strict=True):
        p.data.copy_(value)
