"""The state of a training on the disk, from which another process goes on to the same result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.tuning.goal import Lessons
from scumble.tuning.training import Training


class Stopped(Exception):
    """The training was asked to stop."""


@dataclass(frozen=True)
class State:
    """A training's state at `path`; `fingerprint`: what it is the state of, in JSON."""

    path: Path
    fingerprint: Mapping[str, Any]

    def write(self, training: Training, lessons: Lessons) -> None:
        """The training's state and its lessons. Raises as `keep` does."""
        seen = [lessons.views, lessons.embeddings, lessons.latents]
        self.keep({"lessons": seen, "training": training.state()})

    def keep(self, values: Mapping[str, Any]) -> None:
        """Whole or not at all. Raises MachineError where there is no room."""
        state = {"fingerprint": json.dumps(self.fingerprint, sort_keys=True), **values}
        with atomic(self.path) as temporary:
            torch.save(state, temporary)

    def read(self) -> dict[str, Any] | None:
        """None where there is none. Raises InputError for a damaged one, and for that of another training."""
        if not self.path.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            then: dict[str, Any] = json.loads(state["fingerprint"])
        except Exception as error:  # a damaged file can make torch raise anything
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise InputError(f"{self.path}: cannot be read ({reason}); delete it to begin anew") from None
        now: dict[str, Any] = json.loads(json.dumps(self.fingerprint))
        changed = [name for name in sorted({*then, *now}) if then.get(name) != now.get(name)]
        if changed:
            raise InputError(
                f"{self.path}: the state of a training with another {', '.join(changed)}; take the old values to go "
                "on, or delete it to begin anew"
            )
        return state
