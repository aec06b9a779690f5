"""Options that several commands share and that do not affect an edit. The others are fields of `Recipe` (`flags`)."""

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
    typer.Option(metavar="OLD=NEW", help="Make the target from --source by replacing words; repeats."),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing file; never the input.")]
NoMetadata = Annotated[bool, typer.Option("--no-metadata", help="Do not store in the file how it was made.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object per result on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print only warnings and errors.")]
