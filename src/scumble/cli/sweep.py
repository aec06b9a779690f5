"""`scumble sweep`: one picture, many settings, one labelled contact sheet."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli import flags, options, values
from scumble.cli.axes import axes, columns
from scumble.cli.voice import Voice, perform, prepare
from scumble.core.atomic import claimed
from scumble.core.errors import InputError, MachineError
from scumble.core.outputs import Inputs, check_input
from scumble.editing.inputs import inputs
from scumble.editing.passport import passport_of
from scumble.editing.recipe import Recipe
from scumble.editing.results import check_folder, make_folder
from scumble.editing.sweep import EDITS, Cell, CellResult, Ruler, Variant, framed, variants
from scumble.pictures import sheets

if TYPE_CHECKING:
    from PIL import Image

    from scumble.editing.plan import Plan, Shared

EXAMPLES = (
    'scumble sweep in.png --source "a red circle" --target "a blue circle" --over guidance=2.5,4 --over steps=12,24',
    'scumble sweep in.png --source "a red circle" --over "target=a blue circle|a red star" --over method=dds,sdedit',
)
SHEET = "sheet.png"
MARKED = (
    "Framed: no other cell has more direction (towards the target) at the same distance from the input or less. The "
    "input counts as a cell at 0, 0."
)


@flags.takes(Recipe, short=flags.SHORT)
def command(
    recipe: Recipe,
    over: Annotated[
        list[str] | None,
        typer.Option(
            "--over",
            metavar="NAME=A,B",
            help="Values to try for a parameter, or for method, target, seed, keep; repeats. If a value has "
            'commas: "target=a|b".',
        ),
    ] = None,
    change: options.Change = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="The folder to write to, or to continue in.  \\[default: IN.sweep]"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make cells again that have other values.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Try all combinations of some values, and put the results on one contact sheet.

    Cells are saved as they finish. The same command continues a stopped sweep; with more values, it makes only the
    new cells. scumble replay makes a single cell again.

    The sheet frames the Pareto set of two measures. Distance: how far the result is from the input (root mean square
    over all pixels, in 8-bit steps; kept pixels add nothing), with --upscale from the input that is drawn larger.
    Direction: how much better the model explains the result with the target than with the source (the error of its
    noise prediction, averaged over 8 fixed times and noises), minus the same for the input. Measuring takes 16 network
    evaluations per cell, not counted with the edit's.
    """
    from scumble.editing.plan import opened

    picture, swept = Path(str(recipe.image)), axes(over or [])
    (target,) = values.targets(recipe.source or "", [recipe.target] if recipe.target else [], change or [])
    recipe = replace(recipe, target=target or None)
    for name in swept:
        if name in EDITS and getattr(recipe, name) != getattr(Recipe, name):
            raise InputError(f"--{name}: --over sweeps it; leave one of the two out")
    cells = variants(swept, opened(recipe))
    folder = out or picture.with_name(f"{picture.stem}.sweep")
    read = Inputs(inputs(recipe))
    for path in [*(folder / cell.file for cell in cells), folder / SHEET]:
        check_input(path, read)
    run(cells, folder, Voice(quiet), columns(swept, len(cells)), overwrite=overwrite, as_json=as_json)


def run(
    variants: Sequence[Variant],
    folder: Path,
    voice: Voice,
    columns: int | None,
    *,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Check every cell, load once, make the missing cells, draw the sheet. Raises InputError before any work."""
    from scumble import __version__
    from scumble.editing.plan import plan
    from scumble.pictures import writing

    check_folder(folder)
    sheet = folder / SHEET
    first = prepare(voice, variants[0].recipe)
    rest = [plan(variant.recipe, first.placed) for variant in variants[1:]]
    cells = [Cell(v, each, folder / v.file) for v, each in zip(variants, [first, *rest], strict=True)]
    passports = [cell.finished(overwrite) for cell in cells]
    if sheet.exists() and not overwrite and "sheet" not in passport_of(sheet):
        raise InputError(f"{sheet}: this file exists already; choose another name, or --overwrite")
    make_folder(folder)
    try:
        with claimed(sheet):  # two runs would make the same cells
            made = make(cells, passports, voice, as_json)
    except (KeyboardInterrupt, MachineError):
        finished = sum(cell.path.exists() for cell in cells)
        typer.echo(
            f"{finished} of {len(cells)} cells are finished; run the same command to continue", err=True
        )
        raise
    marks = framed(made)
    writing.save(
        draw(made, marks, first.placed.picture.rgb, columns, first),
        sheet,
        {"scumble": __version__, "sheet": [c.path.name for c in cells]},
    )
    for cell, mark in zip(made, marks, strict=True) if as_json else ():
        typer.echo(json.dumps({**cell.record, "pareto": mark}))
    typer.echo(json.dumps({"file": str(sheet)}) if as_json else str(sheet))


def make(
    cells: Sequence[Cell], passports: Sequence[Mapping[str, Any] | None], voice: Voice, as_json: bool
) -> list[CellResult]:
    """Make all cells and report each one when it is finished. Raises InputError if none can be made."""
    made, ruler = list[CellResult](), Ruler()
    shared: Shared = {}
    for cell, passport in zip(cells, passports, strict=True):
        made_before = ", made before" if passport else ""
        voice.say(f"cell {len(made) + 1} of {len(cells)}: {cell.variant.label}{made_before}")
        made.append(cell.make(passport, lambda plan: perform(plan, voice, shared=shared), ruler, shared))
        if "error" in made[-1].record:
            typer.echo(f"this cell failed: {made[-1].record['error']}", err=True)
        elif not as_json:
            typer.echo(str(cell.path))
    if all("error" in cell.record for cell in made):
        raise InputError(f"all cells failed; the last error: {made[-1].record['error']}")
    return made


def draw(
    made: Sequence[CellResult], marks: Sequence[bool], picture: Image.Image, columns: int | None, plan: Plan
) -> Image.Image:
    """The contact sheet, with the input first, or above the grid if the axes give columns."""
    recipe = plan.recipe
    target = "" if "target" in made[0].variant.values else f' to "{recipe.target}"'
    title = f'{plan.prior.card.id}: "{recipe.source or ""}"{target}'
    gaps = [sheets.blank()] * ((columns or 1) - 1)
    cells = [cell.drawn(mark, picture) for cell, mark in zip(made, marks, strict=True)]
    note = MARKED if any(marks) else ""
    return sheets.sheet([sheets.Cell(picture, ["input"]), *gaps, *cells], columns, title, note)
