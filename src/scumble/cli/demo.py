"""`scumble demo`: from nothing to an edited picture that one can look at."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli.options import Model, Settings

if TYPE_CHECKING:
    from PIL import Image

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
    film = [plan.picture.rgb]

    def record(step: Step) -> None:
        if step.k % max(1, step.n // FRAMES) == 0 or step.k == step.n:
            film.append(plan.show(step.preview()))

    started = time.perf_counter()
    edit = perform(plan, record)
    seconds = time.perf_counter() - started
    assert edit.picture is not None
    files.save(edit.picture, after, edit.provenance)
    files.save(side_by_side([plan.picture.rgb, edit.picture], [SOURCE, TARGET]), folder / "compare.png")
    save_film(film, folder / "film.gif")

    typer.echo(f'edited: "{SOURCE}" became "{TARGET}" by {plan.name}')
    typer.echo(f"{summary(edit, seconds)} (previews for the film included)")
    typer.echo(f"look at: {folder / 'compare.png'} and {folder / 'film.gif'}")
    line = [f'scumble edit {before} --source "{SOURCE}" --target "{TARGET}"']
    line += [] if model == "scenes" else [f'--model "{model}"']
    line += [f"--set {setting}" for setting in settings]
    typer.echo(f"the same by hand:\n  {' '.join(line)} -o {folder / 'by-hand.png'}")


def side_by_side(pictures: Sequence[Image.Image], captions: Sequence[str]) -> Image.Image:
    """The pictures in a row, each above its caption."""
    from PIL import Image, ImageDraw, ImageFont

    margin, line = 16, 20
    width, height = pictures[0].size
    sheet = Image.new(
        "RGB", (len(pictures) * (width + margin) + margin, height + 2 * margin + line), "#f2f2f2"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=14)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        left = margin + i * (width + margin)
        sheet.paste(picture, (left, margin))
        draw.text((left + width / 2, margin + height + line / 2 + 4), caption, "#222222", font, anchor="mm")
    return sheet


def save_film(frames: Sequence[Image.Image], path: Path) -> None:
    """A GIF that loops and rests on its first and its last frame."""
    from scumble import files

    rest, tick = 1200, 80  # ms
    durations = [rest, *[tick] * (len(frames) - 2), rest]
    with files.atomic(path) as temporary:
        frames[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=frames[1:],
            duration=durations,
            loop=0,
            optimize=True,
        )
