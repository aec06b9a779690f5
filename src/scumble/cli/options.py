"""Options that several commands share and that decide no edit; those that do are fields of `Recipe` (see `flags`)."""

from __future__ import annotations

from typing import Annotated

import typer

from scumble.cli.flags import option

Model = Annotated[str, option("model")]
Settings = Annotated[list[str] | None, option("settings")]
Given = Annotated[list[str] | None, option("given")]
Size = Annotated[int | None, option("size")]
Force = Annotated[bool, option("force")]
Revision = Annotated[str | None, option("revision")]

Change = Annotated[
    list[str] | None,
    typer.Option(metavar="OLD=NEW", help="Instead of --target: the source with words changed; repeats."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what -o names; never the input.")]
NoMetadata = Annotated[
    bool, typer.Option("--no-metadata", help="Do not write into the file how it was made.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per result on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say nothing but warnings and errors.")]
