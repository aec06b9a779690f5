"""`scumble fetch`: a checkpoint downloaded ahead of time, or for a machine without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import options
from scumble.core.errors import InputError

EXAMPLES = (
    "scumble fetch stable-diffusion-v1-5/stable-diffusion-v1-5",
    "scumble fetch stable-diffusion-v1-5/stable-diffusion-v1-5 --to ./sd15",
)


def command(
    model: Annotated[
        str,
        typer.Argument(metavar="ID", help="A model on the hub, or a .safetensors file without a tokenizer."),
    ],
    to: Annotated[
        Path | None,
        typer.Option("--to", help="A folder to copy to another machine; default: the hub's cache."),
    ] = None,
    revision: options.Revision = None,
) -> None:
    """Download a checkpoint: only the parts that are used, as safetensors, in half precision if available."""
    from scumble.priors import load

    if to is not None and to.exists() and not to.is_dir():
        raise InputError(f"{to}: a file is in the way; choose another folder")
    place = load.obtain(model, revision=revision, to=to)
    typer.echo(place)
    typer.echo(f"`scumble edit ... --model {place if to else model}` uses it", err=True)
