"""`scumble demo`: from nothing to an edited picture that one can look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli.options import Model, Settings

if TYPE_CHECKING:
    from scumble.core.request import Step

SIZE = 256  # pixels of the demo's picture
FRAMES = 40  # of the film, at most
SOURCE = "a red circle on a white background"
TARGET = "a blue circle on a white background"

EXAMPLES = ("scumble demo", "scumble demo -o try --set steps=50")


def command(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path("demo"),
    model: Model = "scenes",
    settings: Settings = None,
) -> None:
    """Draw a scene, edit it, and write before, after, compare and a film."""
    run(out, model, settings or [])


def run(folder: Path, model: str, settings: Sequence[str] = ()) -> None:
    """Write before.png, after.png, compare.png and film.gif into `folder`."""
    from PIL import Image

    from scumble import files
    from scumble.cli.edit import parse, perform, prepare, summary
    from scumble.cli.sheets import compare, film
    from scumble.core.errors import InputError
    from scumble.scenes.render import render
    from scumble.scenes.world import Scene, Thing

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another with -o") from error
    before, after = folder / "before.png", folder / "after.png"
    files.check_output(before)
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
    files.save(Image.fromarray(render(scene, SIZE)), before)

    plan = prepare(before, model, source=SOURCE, target=TARGET, settings=parse(settings))
    frames = [plan.picture.rgb]

    def record(step: Step) -> None:
        if step.k % max(1, step.n // FRAMES) == 0 or step.k == step.n:
            frames.append(plan.show(step.preview()))

    started = time.perf_counter()
    edit = perform(plan, record)
    seconds = time.perf_counter() - started
    assert edit.picture is not None
    files.save(edit.picture, after, edit.provenance)
    files.save(compare(plan.picture.rgb, edit.picture, SOURCE, TARGET), folder / "compare.png")
    film(frames, folder / "film.gif")

    typer.echo(f'edited: "{SOURCE}" became "{TARGET}" by {plan.name}')
    typer.echo(f"{summary(edit, seconds)} (previews for the film included)")
    typer.echo(f"look at: {folder / 'compare.png'} and {folder / 'film.gif'}")
    line = [f'scumble edit {before} --source "{SOURCE}" --target "{TARGET}"']
    line += [] if model == "scenes" else [f'--model "{model}"']
    line += [f"--set {setting}" for setting in settings]
    typer.echo(f"the same by hand:\n  {' '.join(line)} -o {folder / 'by-hand.png'}")
