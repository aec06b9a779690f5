"""`scumble paint`: a picture from text for every seed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli import flags, options, values
from scumble.cli.voice import Voice, hand_over
from scumble.core.atomic import claimed
from scumble.core.errors import InputError
from scumble.editing.inputs import inputs
from scumble.editing.paint import PaintRecipe
from scumble.editing.results import Delivery, make_folder, names
from scumble.pictures import sheets
from scumble.pictures.sheets import Cell

if TYPE_CHECKING:
    from scumble.core.request import Edit
    from scumble.editing.paint import Painting

EXAMPLES = (
    'scumble paint "a red circle on a white background" -o circle.png',
    'scumble paint "a red circle on a sky background" --and "a blue star on a sky background" --n 4',
)


@flags.takes(
    PaintRecipe,
    without=("size", "seed"),
    short={"sampler": str, "steps": int, "guidance": float, "eta": float},
)
def command(
    recipe: PaintRecipe,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="WIDTHxHEIGHT", help="Size in pixels.  \\[default: the model's own, square]"
        ),
    ] = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(metavar="N|N-M", help="The same seed gives the same picture; repeats.  \\[default: 0]"),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=values.MOST, help="Pictures, from as many seeds.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="PNG, JPEG or WebP; for several pictures a folder.  \\[default: the first words]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    no_metadata: options.NoMetadata = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Paint a picture of a text prompt, once for every seed."""
    voice, seeds = Voice(quiet), values.seeds(seed or [])
    if n > 1:
        if len(seeds) > 1:
            raise InputError("--n: --seed names several seeds, too; leave one of the two out")
        seeds = list(range(seeds[0], seeds[0] + n))
    recipe = replace(recipe, size=None if size is None else values.canvas(size), seed=seeds[0])
    with ExitStack() as claims:
        run(recipe, seeds, Delivery(out, (), overwrite, not no_metadata), voice, as_json, claims)


def run(
    recipe: PaintRecipe, seeds: list[int], delivery: Delivery, voice: Voice, as_json: bool, claims: ExitStack
) -> None:
    """Check everything, load, paint, save. Raises InputError, whenever possible before any work is done."""
    from scumble.editing.paint import paint

    subject = Path(Path(names([recipe.prompt or "picture"], [0])[0]).stem)
    paths, sheet = delivery.paths(subject, "paint", [recipe.prompt], seeds, claims)
    delivery.check([*paths, *sheet], None, inputs(recipe))
    if delivery.out and not sheet:
        claims.enter_context(claimed(delivery.out))
    with voice.waiting(f"loading {recipe.model}"):
        painting = paint(recipe)
    voice.say(f"model {painting.prior.card.id}: {painting.prior.card.domain}")
    delivery.check_passport(painting.promise(), paths[0])
    if sheet:
        make_folder(sheet[0].parent)
    cells = [
        make(painting.vary(seed), path, delivery, voice, as_json)
        for seed, path in zip(seeds, paths, strict=True)
    ]
    for path in sheet:
        hand_over([delivery.write(sheets.sheet(cells, title=recipe.prompt), path)], as_json=as_json)


def make(painting: Painting, path: Path, delivery: Delivery, voice: Voice, as_json: bool) -> Cell:
    """Paint one picture, save and report it. Returns its cell of a contact sheet."""
    with voice.steps(painting.name) as tell:
        made = painting(tell)
    assert made.picture is not None
    done = delivery.write(made.picture, path, made.provenance if delivery.metadata else None)
    about = record(done, made, painting)
    if as_json:
        typer.echo(json.dumps(about))
    else:
        typer.echo(str(done))
    voice.say(
        f"{done}: {about['seconds']:.1f} s, {made.evaluations} evaluations of the network, seed {made.seed}"
    )
    return Cell(sheets.panel(made.picture, 200, 400), [f"seed {made.seed}"])


def record(path: Path, made: Edit, painting: Painting) -> dict[str, Any]:
    """The --json record of a picture, with memory in bytes."""
    from scumble.core import machine

    passport: dict[str, Any] = dict(made.provenance)
    return {
        "file": str(path),
        "beside": [],
        "target": passport["target"],
        "seed": made.seed,
        "seconds": passport["seconds"],
        "evaluations": made.evaluations,
        "peak_memory": machine.peak(str(painting.prior.loaded.get("device") or "cpu")),
        "passport": passport,
    }
