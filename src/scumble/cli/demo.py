"""`scumble demo`: draws a picture and edits it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import options, values
from scumble.cli.voice import Voice, hand_over, perform, prepare
from scumble.editing.recipe import Recipe
from scumble.editing.results import Delivery, Film, make_folder
from scumble.editing.telling import record, summary

SIZE = 256  # pixels of the demo's picture
SOURCE = "a red circle on a white background"
TARGET = "a blue circle on a white background"
EXAMPLES = ("scumble demo", "scumble demo -o try --set steps=50")


def command(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path("demo"),
    model: options.Model = "scenes",
    settings: options.Settings = None,
    quiet: options.Quiet = False,
) -> None:
    """Draw a picture, edit it, and write before, after, comparison and film."""
    run(out, model, settings or [], Voice(quiet))


def run(folder: Path, model: str, settings: Sequence[str], voice: Voice) -> None:
    """Write before.png, after.png, after.compare.png and after.film.gif into `folder`."""
    from PIL import Image

    from scumble.pictures import writing
    from scumble.scenes.render import render
    from scumble.scenes.world import Scene, Thing

    make_folder(folder)
    before, after = folder / "before.png", folder / "after.png"
    writing.check_output(before)
    scene = Scene(things=(Thing(shape="circle", colour="red", size="large"),), background="white")
    writing.save(Image.fromarray(render(scene, SIZE)), before)

    recipe = Recipe(before, source=SOURCE, target=TARGET, model=model, settings=values.settings(settings))
    plan = prepare(voice, recipe)
    delivery, film = Delivery(after, extras=("compare", "film"), overwrite=True), Film(plan)
    edit = perform(plan, voice, film)
    delivery.save(after, edit, plan, film)
    hand_over([before, after, *delivery.beside(after)], as_json=False)

    voice.say(f'edited: "{SOURCE}" became "{TARGET}" by {plan.name}')
    voice.say(f"{summary(record(after, edit, plan))} (previews for the film included)")
    line = [f'scumble edit {before} --source "{SOURCE}" --change red=blue']
    line += [] if model == "scenes" else [f'--model "{model}"']
    line += [f"--set {setting}" for setting in settings]
    voice.say(f"the same edit as a command:\n  {' '.join(line)} -o {folder / 'by-hand.png'}")
