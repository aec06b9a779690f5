"""`scumble apply`: a trained editor on pictures, in one forward pass each."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli import flags, options
from scumble.cli.voice import Voice, hand_over
from scumble.core.errors import InputError
from scumble.editing.inputs import inputs
from scumble.editing.recipe import Recipe
from scumble.editing.results import Delivery, default, make_folder
from scumble.editing.telling import record, summary
from scumble.pictures import sheets
from scumble.pictures.sheets import Cell

if TYPE_CHECKING:
    from scumble.pictures.reading import Picture

EXAMPLES = (
    "scumble apply runs/scenes-editor in.png --task star",
    "scumble apply runs/scenes-editor a.png b.png --task blue --strength 0.7 -o edited",
)
SHEET = "sheet.png"
FIELDS = ("target", "mask", "keep", "crop", "size")


@flags.takes(
    Recipe, only=FIELDS, usual={"model": ""}, helps={"model": "Default: the one that the editor names."}
)
def command(
    recipe: Recipe,
    editor: Annotated[Path, typer.Argument(metavar="EDITOR", help="The folder of a trained editor.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="IN...", help="PNG, JPEG or WebP pictures.")],
    task: Annotated[
        list[str] | None, typer.Option("--task", help="What to do; repeats.  \\[default: all of its tasks]")
    ] = None,
    strength: Annotated[
        float, typer.Option(min=0, max=2, help="How much of the change: 0 none, 1 as trained.")
    ] = 1.0,
    batch: Annotated[int, typer.Option(min=1, help="Pictures per call of the network.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", help="A picture; for several results a folder.  \\[default: IN.TASK.png]"
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    no_metadata: options.NoMetadata = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Edit pictures with a trained editor, once for every task."""
    delivery = Delivery(out, (), overwrite, not no_metadata)
    with ExitStack() as claims:
        run(editor, pictures, task or [], strength, batch, recipe, delivery, Voice(quiet), as_json, claims)


def run(
    folder: Path,
    pictures: list[Path],
    tasks: list[str],
    strength: float,
    batch: int,
    asked: Recipe,
    delivery: Delivery,
    voice: Voice,
    as_json: bool,
    claims: ExitStack,
) -> None:
    """Check everything, load, edit, save. Raises InputError, whenever possible before any work is done."""
    from scumble.editing import apply, loading
    from scumble.pictures.reading import read

    editor = apply.read(folder)
    read_in = [read(path) for path in pictures]
    wanted = [apply.recipes(editor, tasks, strength, replace(asked, image=each)) for each in read_in]
    names = [str(each.settings.get("task", "edit")) for each in wanted[0]]
    several = len(pictures) * len(names) > 1
    paths = _paths(pictures, names, delivery, claims, several)
    sheet = [delivery.out / SHEET] if len(names) > 1 and delivery.out and delivery.overwrite else []
    delivery.check([*paths, *sheet], read_in[0], [*pictures, *inputs(asked)])
    name = asked.model or str(editor.about.get("prior", "scenes"))
    with voice.waiting(f"loading {name}"):
        prior = loading.load(replace(asked, model=name))
    editor.check(prior)
    if several and delivery.out:
        make_folder(delivery.out)
    plans = [each for recipes in wanted for each in apply.plans(recipes, prior)]
    order = sorted(range(len(plans)), key=lambda k: k % len(names))  # one task's pictures are neighbours
    cells: dict[int, Cell] = {}
    for k, edit in zip(order, apply.together([plans[k] for k in order], batch), strict=True):
        assert edit.picture is not None
        done = delivery.write(edit.picture, paths[k], edit.provenance if delivery.metadata else None)
        hand_over([done], about := record(done, edit, plans[k]), as_json=as_json)
        voice.say(summary(about))
        cells[k] = Cell(sheets.panel(edit.picture, 200, 400), [names[k % len(names)]])
    if len(names) > 1 and delivery.out:
        _sheet(read_in, names, cells, delivery, as_json)


def _paths(
    pictures: list[Path], names: list[str], delivery: Delivery, claims: ExitStack, several: bool
) -> list[Path]:
    """The results' paths: in the folder `-o`, or beside each picture. Raises InputError if two are the same."""
    if not several and delivery.out:
        return [delivery.out]
    if not delivery.out:
        return [default(path, name, claims=claims) for path in pictures for name in names]
    paths = [delivery.out / f"{path.stem}.{name}.png" for path in pictures for name in names]
    if len(set(paths)) < len(paths):
        raise InputError(f"-o {delivery.out}: two of the pictures have one name; edit them in two folders")
    return paths


def _sheet(
    read_in: list[Picture], names: list[str], cells: dict[int, Cell], delivery: Delivery, as_json: bool
) -> None:
    """A contact sheet with one row per picture, the input first."""
    assert delivery.out is not None
    rows: list[Cell] = []
    for k, of in enumerate(read_in):
        rows.append(Cell(sheets.panel(of.rgb, 200, 400), ["input"]))
        rows += [cells[k * len(names) + i] for i in range(len(names))]
    columns = len(names) + 1 if len(read_in) > 1 else None
    hand_over([delivery.write(sheets.sheet(rows, columns), delivery.out / SHEET)], as_json=as_json)
