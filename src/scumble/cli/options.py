"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A parameter of the method; `scumble methods dds` lists them."
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", help='"scenes" (built in), a checkpoint folder, or the id of one on the hub.'),
]
