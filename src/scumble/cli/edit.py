"""`scumble edit`: one picture in, one edited picture out for every target and seed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli import estimate, options, results, values
from scumble.cli.results import Delivery, Film, advice, record, summary
from scumble.cli.voice import Voice, perform, prepare
from scumble.pictures import sheets
from scumble.pictures.sheets import Cell

if TYPE_CHECKING:
    from scumble.editing.plan import Plan, Shared

EXAMPLES = (
    'scumble edit in.png --source "a red circle" --change red=blue',
    'scumble edit in.png --source "a red circle" --target "a red star" --steps 48 -o star.png --compare',
)


def command(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="A PNG, JPEG or WebP picture of any size.")],
    source: options.Source = "",
    target: Annotated[list[str] | None, typer.Option(help="What it shall show; repeats.")] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="Instead of --target: the source with words changed; repeats."),
    ] = None,
    method: options.Method = None,
    model: options.Model = "scenes",
    mask: options.MaskFile = None,
    negative: options.Negative = "",
    seed: Annotated[
        list[str] | None,
        typer.Option(metavar="N|N-M", help="The same seed gives the same edit; repeats.  \\[default: 0]"),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Short for --set steps=...")] = None,
    guidance: Annotated[float | None, typer.Option(help="Short for --set guidance=...")] = None,
    strength: Annotated[float | None, typer.Option(help="Short for --set strength=...")] = None,
    settings: options.Settings = None,
    given: options.Given = None,
    paper: options.Paper = False,
    keep: options.Keep = "auto",
    crop: options.Crop = "auto",
    form: options.Form = "latent",
    size: options.Size = None,
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
        bool, typer.Option("--save-layer", help="Also OUT.layer.png: what lies over the input, transparent.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Also OUT.compare.png: before, after and their difference.")
    ] = False,
    film: Annotated[bool, typer.Option("--film", help="Also OUT.film.gif: the edit as it went.")] = False,
    no_metadata: options.NoMetadata = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    revision: options.Revision = None,
    offline: options.Offline = False,
    lora: options.Lora = None,
    memory: options.Memory = None,
    force: options.Force = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would take, after trying two steps; write nothing.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Edit a picture, once or for every --target and --seed."""
    from scumble import artifacts

    voice = Voice(quiet)
    targets = values.targets(source, target or [], change or [])
    if change:
        voice.say(f'target: "{targets[0]}"')
    extras = {"layer": save_layer, "compare": compare, "film": film}
    delivery = Delivery(out, tuple(k for k, v in extras.items() if v), overwrite, not no_metadata, as_json)
    run(
        picture, targets, values.seeds(seed or []), delivery, voice, dry_run,
        settings=values.settings(settings or [], {"steps": steps, "guidance": guidance, "strength": strength}),
        source=source, method=method, mask=mask, negative=negative, paper=paper, keep=values.keep(keep),
        crop=crop, form=form, size=size, force=force, model=model, device=device, dtype=dtype,
        revision=revision, offline=offline, lora=lora or (), memory=values.listed(memory or []),
        given=artifacts.given(given or []),
    )  # fmt: skip


def run(
    picture: Path,
    targets: Sequence[str],
    seeds: Sequence[int],
    delivery: Delivery,
    voice: Voice,
    dry_run: bool = False,
    **what: Any,
) -> None:
    """Check everything, load, edit, save. Raises InputError before any work is done where that can be."""
    from scumble import api
    from scumble.pictures import reading, writing

    image = reading.read(picture)
    what["method"] = what["method"] or api.usual_method(what["model"])
    paths, sheet = delivery.paths(picture, what["method"], targets, seeds)
    delivery.check([*paths, *sheet], image, [picture, what["mask"]])
    if dry_run and estimate.download(
        what["model"], what["revision"], what["offline"], voice, delivery.as_json
    ):
        return
    plan = prepare(voice, image, target=targets[0], seed=seeds[0], **what)
    plans = [plan.vary(target=target or None, seed=seed) for target in targets for seed in seeds]
    if dry_run:
        estimate.estimate(plan, len(plans), voice, delivery.as_json)
        return
    if sheet:
        results.make_folder(sheet[0].parent)
    shared: Shared = {}
    cells = [make(plan, path, delivery, voice, shared) for plan, path in zip(plans, paths, strict=True)]
    for path in sheet:
        start = Cell(sheets.panel(image.rgb, 200, 400), ["input", what["source"]])
        writing.save(sheets.sheet([start, *cells]), path)
        delivery.tell([path])


def make(plan: Plan, path: Path, delivery: Delivery, voice: Voice, shared: Shared) -> Cell:
    """Make an edit, save it, tell it; the picture and what it is called on a contact sheet."""
    film = Film(plan) if "film" in delivery.extras else None
    edit = perform(plan, voice, film, shared)
    assert edit.picture is not None
    delivery.save(path, edit, plan, film)
    told = record(path, edit, plan)
    delivery.tell([path, *delivery.beside(path)], told)
    voice.say(summary(told))
    if line := advice(told, plan):
        voice.say(line)
    lines = [str(told["target"]), f"seed {told['seed']}, {sheets.percent(told['changed'])} changed"]
    return Cell(sheets.panel(edit.picture, 200, 400), lines)
