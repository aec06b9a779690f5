"""`scumble train prior`: hand over to the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scumble.core.errors import InputError


def run(name: str, out: Path, **options: Any) -> None:
    if name != "scenes":
        raise InputError(f"train prior: there is no recipe {name!r}; the only one is scenes")
    from scumble.train.prior import train_prior

    train_prior(out, **options)
