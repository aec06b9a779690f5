"""The registry of the commands. Each command has its own module and is registered here with its examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from scumble.cli import (
    apply,
    attention,
    batch,
    bench,
    demo,
    direction,
    doctor,
    edit,
    export,
    fetch,
    invert,
    judges,
    methods,
    models,
    page,
    paint,
    replay,
    reproduce,
    sweep,
    train,
    tune,
    upscale,
)

app = typer.Typer(
    name="scumble",
    help="Edit a picture with text prompts: describe what it shows and what it should show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
training = typer.Typer(
    help="Train the models that come with the package, and edits of your own.", no_args_is_help=True
)
app.add_typer(training, name="train")
benching = typer.Typer(help="Measure methods against exact ground truth.", no_args_is_help=True)
app.add_typer(benching, name="bench")

reproducing = typer.Typer(help="Reproduce the experiments of a paper.", no_args_is_help=True)
app.add_typer(reproducing, name="reproduce")


def register(group: typer.Typer, name: str, command: Callable[..., None], examples: Sequence[str]) -> None:
    """Make `command` available as `name`; its help ends with the examples, which a test runs or parses."""
    paragraphs = [" ".join(lines.split()) for lines in (command.__doc__ or "").split("\n\n")]
    group.command(name, help="\n\n".join(paragraphs), epilog="\n\n".join(["Examples:", *examples]))(command)


register(app, "demo", demo.command, demo.EXAMPLES)
register(app, "edit", edit.command, edit.EXAMPLES)
register(app, "paint", paint.command, paint.EXAMPLES)
register(app, "apply", apply.command, apply.EXAMPLES)
register(app, "export", export.command, export.EXAMPLES)
register(app, "invert", invert.command, invert.EXAMPLES)
register(app, "upscale", upscale.command, upscale.EXAMPLES)
register(app, "sweep", sweep.command, sweep.EXAMPLES)
register(app, "batch", batch.command, batch.EXAMPLES)
register(app, "replay", replay.command, replay.EXAMPLES)
register(app, "tune", tune.command, tune.EXAMPLES)
register(app, "page", page.command, page.EXAMPLES)
register(app, "attention", attention.command, attention.EXAMPLES)
register(app, "methods", methods.command, methods.EXAMPLES)
register(app, "models", models.command, models.EXAMPLES)
register(app, "fetch", fetch.command, fetch.EXAMPLES)
register(app, "doctor", doctor.command, doctor.EXAMPLES)
register(benching, "scenes", bench.scenes, bench.SCENES_EXAMPLES)
register(benching, "drawings", bench.drawings, bench.DRAWINGS_EXAMPLES)
register(benching, "report", bench.report, bench.REPORT_EXAMPLES)
register(reproducing, "dds", reproduce.dds, reproduce.DDS_EXAMPLES)
register(training, "prior", train.prior, train.PRIOR_EXAMPLES)
register(training, "editor", train.editor, train.EDITOR_EXAMPLES)
register(training, "direction", direction.command, direction.EXAMPLES)
register(training, "classifier", judges.classifier, judges.CLASSIFIER_EXAMPLES)
register(training, "clip", judges.clip, judges.CLIP_EXAMPLES)
register(training, "sr3", train.sr3, train.SR3_EXAMPLES)
register(training, "card", train.card, train.CARD_EXAMPLES)
register(training, "snapshot", train.snapshot, train.SNAPSHOT_EXAMPLES)


def _version(asked: bool) -> None:
    if asked:
        from scumble import __version__

        typer.echo(f"scumble {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...
