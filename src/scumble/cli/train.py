"""`scumble train`: hand over to the recipe, and show what it reports."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import typer

from scumble.core.errors import InputError


def run(name: str, out: Path, **options: Any) -> None:
    if name != "scenes":
        raise InputError(f"train prior: there is no recipe {name!r}; the only one is scenes")
    _report()
    from scumble.train.prior import train_prior

    typer.echo(f"the prior is in {train_prior(out, **options)}; `scumble train card` measures it")


def measure(folder: Path, **options: Any) -> None:
    if not (folder / "card.json").exists():
        raise InputError(
            f"{folder}: no card.json there; name the folder of a prior made by `scumble train prior`"
        )
    _report()
    from scumble.train.card import make_card

    typer.echo(json.dumps(make_card(folder, **options), indent=1, default=vars))
    typer.echo(f"written: {folder / 'README.md'}")


def _report() -> None:
    """What the recipes log (loss, pictures seen, minutes spent) goes to stderr."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("scumble").setLevel(logging.INFO)
