"""`scumble edit`: one picture in, one edited picture out for every target and seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli import flags, options, values
from scumble.cli.voice import Voice, hand_over, perform, prepare
from scumble.core.atomic import claimed
from scumble.editing.inputs import inputs
from scumble.editing.recipe import Recipe
from scumble.editing.results import Delivery, Film, make_folder
from scumble.editing.room import Room, room
from scumble.editing.telling import advice, record, summary
from scumble.pictures import sheets
from scumble.pictures.sheets import Cell

if TYPE_CHECKING:
    from scumble.editing.plan import Plan, Shared

EXAMPLES = (
    'scumble edit in.png --source "a red circle" --change red=blue',
    'scumble edit in.png --source "a red circle" --target "a red star" --steps 48 -o star.png --compare',
)


@dataclass(frozen=True)
class Showing:
    """How a command shows its progress and its results."""

    voice: Voice
    as_json: bool = False
    dry_run: bool = False


@flags.takes(Recipe, without=("target", "seed"), short=flags.SHORT)
def command(
    recipe: Recipe,
    target: Annotated[list[str] | None, typer.Option(help="What the picture should show; repeats.")] = None,
    change: options.Change = None,
    seed: Annotated[
        list[str] | None,
        typer.Option(metavar="N|N-M", help="The same seed gives the same edit; repeats.  \\[default: 0]"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="PNG, JPEG or WebP; for several targets or seeds a folder.  \\[default: IN.METHOD.png]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    save_layer: Annotated[
        bool,
        typer.Option(
            "--save-layer", help="Also write OUT.layer.png: only the changed part, with transparency."
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also write OUT.compare.png: before, after and their difference."),
    ] = False,
    film: Annotated[
        bool, typer.Option("--film", help="Also write OUT.film.gif: the edit step by step.")
    ] = False,
    no_metadata: options.NoMetadata = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate time and memory from two steps; write nothing.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Edit a picture, once or for every --target and --seed."""
    voice = Voice(quiet)
    targets = values.targets(recipe.source or "", target or [], change or [])
    if change:
        voice.say(f'target: "{targets[0]}"')
    extras = {"layer": save_layer, "compare": compare, "film": film}
    delivery = Delivery(out, tuple(k for k, v in extras.items() if v), overwrite, not no_metadata)
    run(recipe, targets, values.seeds(seed or []), delivery, Showing(voice, as_json, dry_run))


def run(
    asked: Recipe, targets: Sequence[str], seeds: Sequence[int], delivery: Delivery, showing: Showing
) -> None:
    """Check everything, load, edit, save. Raises InputError, whenever possible before any work is done."""
    with ExitStack() as claims:  # no other run takes the names that are chosen here
        _run(asked, targets, seeds, delivery, showing, None if showing.dry_run else claims)


def _run(
    asked: Recipe,
    targets: Sequence[str],
    seeds: Sequence[int],
    delivery: Delivery,
    showing: Showing,
    claims: ExitStack | None,
) -> None:
    from scumble.editing.plan import opened
    from scumble.pictures.reading import read

    voice, image = showing.voice, read(asked.image)
    recipe = opened(replace(asked, image=image))
    paths, sheet = delivery.paths(Path(str(asked.image)), str(recipe.method), targets, seeds, claims)
    delivery.check([*paths, *sheet], image, inputs(asked), recipe.upscale)
    if delivery.out and not sheet and claims:
        claims.enter_context(claimed(delivery.out))
    known = room(recipe) if showing.dry_run else None
    if showing.dry_run and download(recipe, known, showing):
        return
    if known and not showing.as_json:
        for line in known.lines:
            voice.say(line)
    plan = prepare(voice, replace(recipe, target=targets[0] or None, seed=seeds[0]))
    plans = [plan.vary(target=target, seed=seed) for target in targets for seed in seeds]
    for each, path in zip(plans, paths, strict=True):
        delivery.check_passport(each.promise(), path)
    if showing.dry_run:
        estimate(plan, len(plans), known, showing)
        return
    if sheet:
        make_folder(sheet[0].parent)
    shared: Shared = {}
    cells = [make(plan, path, delivery, showing, shared) for plan, path in zip(plans, paths, strict=True)]
    for path in sheet:
        start = Cell(sheets.panel(image.rgb, 200, 400), ["input", recipe.source or ""])
        hand_over([delivery.write(sheets.sheet([start, *cells]), path)], as_json=showing.as_json)


def make(plan: Plan, path: Path, delivery: Delivery, showing: Showing, shared: Shared) -> Cell:
    """Make an edit, save and report it. Returns its cell of a contact sheet."""
    film = Film(plan) if "film" in delivery.extras else None
    edit = perform(plan, showing.voice, film, shared)
    assert edit.picture is not None
    done = delivery.save(path, edit, plan, film)
    about = record(done[0], edit, plan)
    hand_over(done, about, as_json=showing.as_json)
    showing.voice.say(summary(about))
    if line := advice(about, plan):
        showing.voice.say(line)
    lines = [str(about["target"]), f"seed {about['seed']}, {sheets.percent(about['changed'])} changed"]
    return Cell(sheets.panel(edit.picture, 200, 400), lines)


# Dry runs ------------------------------------------------------------------------------------------------


def download(recipe: Recipe, known: Room | None, showing: Showing) -> bool:
    """Whether the model must be downloaded first. Prints the size of the download, and what the edit will take."""
    from scumble.priors.load import outstanding

    left = outstanding(str(recipe.model), revision=recipe.revision, offline=recipe.offline)
    if left is None:
        return False
    if showing.as_json:
        about = {"model": recipe.model, "licence": left.licence, "download": sum(left.missing.values())}
        typer.echo(json.dumps(about | _room(known)))
    else:
        showing.voice.say(
            f"dry run: {left} would be downloaded first; after that, --dry-run also estimates the time"
        )
        for line in known.lines if known else ():
            showing.voice.say(line)
    return True


def _room(known: Room | None) -> dict[str, Any]:
    return {"room": known.record} if known else {}


def estimate(plan: Plan, edits: int, known: Room | None, showing: Showing) -> None:
    """Print an estimate of the time and memory of `edits` such edits. Nothing is written."""
    from scumble.editing.estimate import estimate

    about = estimate(plan, edits) | _room(known)
    if showing.as_json:
        typer.echo(json.dumps(about))
        return
    width, height = about["canvas"]
    showing.voice.say(
        f"dry run: {plan.name} on model {about['model']} ({about['hash'][:12]}), canvas {width}x{height}; "
        f"{'one edit' if edits == 1 else f'{edits} edits'}, {about['evaluations']} evaluations of the network"
    )
    if drawn := about.get("upscale"):
        wide, high = drawn["size"]
        showing.voice.say(
            f"then drawn at {wide}x{high}: {drawn['calls']} calls of the stage's network, about "
            f"{drawn['seconds']:.0f} s of the time below"
        )
    showing.voice.say(
        f"about {about['seconds']:.0f} s and {about['memory'] / 1e9:.1f} GB of memory on {about['device']}: "
        f"an estimate from {about['tried']} of {about['steps']} steps; nothing is left to download"
    )
