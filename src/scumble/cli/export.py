"""`scumble export`: a trained editor as one file that needs neither scumble nor, as ONNX, torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import flags, options
from scumble.cli.voice import Voice
from scumble.core.loading import Loading
from scumble.editing.inputs import inputs

EXAMPLES = (
    "scumble export runs/scenes-editor",
    "scumble export runs/scenes-editor -o editor.onnx",
)


@flags.takes(
    Loading,
    without=("device", "dtype", "lora", "vae", "embedding", "clip_skip", "memory"),
    usual={"model": ""},
    helps={"model": "Default: the one that the editor names."},
)
def command(
    loading: Loading,
    editor: Annotated[Path, typer.Argument(metavar="EDITOR", help="The folder of a trained editor.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="NAME.onnx, NAME.pt2 (torch.export), or a folder for both and a README.  "
            "\\[default: EDITOR-exported]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a trained editor and its model's codec as one network, pictures to pictures: ONNX and torch.export.

    The files are run before they count: they give PyTorch's pictures, to one 8-bit step.
    """
    from scumble.editing import apply
    from scumble.editing import loading as models
    from scumble.train import export

    place = out or editor.with_name(f"{editor.resolve().name}-exported")
    export.check(place, [editor, *inputs(loading)], overwrite=overwrite)
    made, voice = apply.read(editor), Voice(quiet)
    name = str(loading.model or made.about.get("prior", "scenes"))
    with voice.waiting(f"loading {name}"):
        prior = models.load(replace(loading, model=name, device="cpu", dtype="float32"))
    with voice.waiting("exporting; this takes a minute"):
        done = export.export(made, prior, place, overwrite=overwrite)
    for path in done:
        typer.echo(path)
