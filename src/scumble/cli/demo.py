"""`scumble demo`: draws pictures and edits them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli import options, values
from scumble.cli.voice import Voice, hand_over, perform, prepare
from scumble.editing.recipe import Recipe
from scumble.editing.results import Delivery, Film, make_folder
from scumble.editing.telling import record, summary

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.prior import Prior
    from scumble.scenes.world import Thing

SIZE = 256  # pixels of the demo's pictures
SOURCE = "a red circle on a white background"
TARGET = "a blue circle on a white background"
TWO = "a red circle on the left and a yellow star on the right on a white background"
CHANGES: Mapping[str, tuple[str, str]] = {
    "recolour": ("red", "purple"),
    "reshape": ("circle", "square"),
    "background": ("white", "sky"),
}
TASKS = ("blue", "green", "yellow", "star", "heart", "square", "sky", "night")
EXAMPLES = ("scumble demo", "scumble demo -o try --set steps=50")


def command(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path("demo"),
    model: options.Model = "scenes",
    settings: options.Settings = None,
    quiet: options.Quiet = False,
) -> None:
    """Draw pictures and edit them: an edit step by step, three side by side, and by a trained editor."""
    run(out, model, settings or [], Voice(quiet))


def run(folder: Path, model: str, settings: Sequence[str], voice: Voice) -> None:
    """Write before.png, after.png, after.compare.png and after.film.gif into `folder`, then two.png with three edits
    and their sheet, two.edits.png; with the built-in model also before.tasks.png, by its trained editor.
    """
    from scumble.pictures import writing
    from scumble.scenes.world import Thing

    make_folder(folder)
    before, after, two = folder / "before.png", folder / "after.png", folder / "two.png"
    writing.check_output(before)
    circle = Thing(shape="circle", colour="red", size="large")
    writing.save(drawn([circle]), before)
    recipe = Recipe(before, source=SOURCE, target=TARGET, model=model, settings=values.settings(settings))
    plan = prepare(voice, recipe)
    delivery, film = Delivery(after, extras=("compare", "film"), overwrite=True), Film(plan)
    edit = perform(plan, voice, film)
    delivery.save(after, edit, plan, film)
    done = [before, after, *delivery.beside(after)]

    star = Thing(shape="star", colour="yellow", size="large", place="right")
    writing.save(drawn([Thing(shape="circle", colour="red", size="large", place="left"), star]), two)
    done += [two, *several(two, recipe.on(plan.prior), voice)]
    if model == "scenes":
        done.append(trained(before, plan.prior, voice))
    hand_over(done, as_json=False)

    voice.say(f'edited: "{SOURCE}" became "{TARGET}" by {plan.name}')
    voice.say(f"{summary(record(after, edit, plan))} (previews for the film included)")
    line = [f'scumble edit {before} --source "{SOURCE}" --change red=blue']
    line += [] if model == "scenes" else [f'--model "{model}"']
    line += [f"--set {setting}" for setting in settings]
    voice.say(f"the same edit as a command:\n  {' '.join(line)} -o {folder / 'by-hand.png'}")


def drawn(things: Sequence[Thing]) -> Image.Image:
    """Shapes on a white background."""
    from PIL import Image

    from scumble.scenes.render import render
    from scumble.scenes.world import Scene

    return Image.fromarray(render(Scene(things=tuple(things), background="white"), SIZE))


def several(picture: Path, asked: Recipe, voice: Voice) -> list[Path]:
    """Edit one picture in three ways, and lay the results side by side. Returns the paths written."""
    from dataclasses import replace

    from scumble.pictures import sheets
    from scumble.pictures.reading import read

    delivery, done, placed = Delivery(None, overwrite=True), list[Path](), None
    cells = [sheets.Cell(read(picture).rgb, ["before", TWO])]
    for name, (old, new) in CHANGES.items():
        plan = prepare(voice, replace(asked, image=picture, source=TWO, target=TWO.replace(old, new)), placed)
        placed = plan.placed
        edit = perform(plan, voice)
        assert edit.picture is not None
        done += delivery.save(picture.with_name(f"two.{name}.png"), edit, plan)
        cells.append(sheets.Cell(edit.picture, [name, f"{old} becomes {new}"]))
    sheet = sheets.sheet(cells, columns=len(cells))
    return [*done, delivery.write(sheet, picture.with_name("two.edits.png"))]


def trained(picture: Path, prior: Prior, voice: Voice) -> Path:
    """Eight edits of a picture by the built-in editor, one forward pass each, on one sheet. Returns its path."""
    from scumble.editing import apply
    from scumble.pictures import sheets
    from scumble.pictures.reading import read

    editor = apply.read("scenes")
    began = time.perf_counter()
    plans = apply.plans(apply.recipes(editor, TASKS, 1.0, Recipe(picture)), prior)
    edits = list(apply.together(plans, 1))
    took = time.perf_counter() - began
    cells = [sheets.Cell(read(picture).rgb, ["before"])]
    cells += [
        sheets.Cell(edit.picture, [task])
        for task, edit in zip(TASKS, edits, strict=True)
        if edit.picture is not None
    ]
    voice.say(f"the trained editor: {len(edits)} edits of {picture.name} in {took:.1f} s")
    written = picture.with_name(f"{picture.stem}.tasks.png")
    return Delivery(None, overwrite=True).write(sheets.sheet(cells, columns=3), written)
