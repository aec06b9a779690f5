"""`scumble train`: runs a training recipe and shows its reports."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from scumble.core.errors import InputError

PRIOR_EXAMPLES = (
    "scumble train prior -o runs/scenes --minutes 120",
    "scumble train prior -o runs/longer --from runs/scenes --keep-codec",
)
EDITOR_EXAMPLES = (
    "scumble train editor recipes/scenes-editor.yaml",
    "scumble train editor recipes/scenes-editor.yaml -o runs/scenes-editor --skip-bad",
)
SR3_EXAMPLES = (
    "scumble train sr3 -o runs/scenes-x2 --minutes 60",
    "scumble train sr3 -o runs/scenes-x2 --minutes 120 --workers 4",
)
SNAPSHOT_EXAMPLES = (
    "scumble train snapshot runs/scenes.log runs/so-far",
    "scumble train snapshot runs/longer.log runs/longer-so-far",
)
CARD_EXAMPLES = ("scumble train card runs/scenes", "scumble train card runs/scenes --scale 0.1")


def prior(
    name: Annotated[str, typer.Argument(help="The recipe; the only one is scenes.")] = "scenes",
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A new folder; OUT.log next to it has logs and checkpoints.")
    ] = Path("runs/scenes"),
    minutes: Annotated[float, typer.Option(help="The budget, in minutes of wall time.")] = 120,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Warm-start from this prior, with a fresh optimiser.")
    ] = None,
    keep_codec: Annotated[
        bool, typer.Option("--keep-codec", help="Keep the codec of --from unchanged.")
    ] = False,
    bank: Annotated[int | None, typer.Option(min=1, help="How many pictures the denoiser sees.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Pictures of a step of the denoiser; a GPU takes 512.  \\[default: 32]",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes that draw pictures; 0: this one. A GPU needs 8 or more.")
    ] = 0,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Let torch.compile make the denoiser faster first (a minute).")
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="The seed of the initial weights and of the data's order.  \\[default: 0]",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="The denoiser's recipe in a JSON file, such as a prior's recipe.json."),
    ] = None,
) -> None:
    """Train the built-in prior from nothing but its generator of scenes; continues a run that was cut off."""
    asked = {"bank": bank, "batch": batch, "seed": seed}
    choice = {name: value for name, value in asked.items() if value is not None}
    machine: dict[str, object] = {"batch": 32, "seed": 0, "workers": workers, "compiled": compiled, **choice}
    if recipe is not None:
        for option in choice:
            raise InputError(
                f"--{option}: the recipe has its own; leave --{option} out, or change it in {recipe}"
            )
        from scumble.train.denoiser_recipe import read_recipe

        machine["recipe"] = read_recipe(recipe)
    run(name, out, minutes=minutes, from_=from_, keep_codec=keep_codec, **machine)


def editor(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file; recipes/ has examples.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            help="A folder for the editor; OUT.log next to it has logs, grids and checkpoints.  "
            "\\[default: runs/ and the recipe's name]",
        ),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out pictures without text or that cannot be read.")
    ] = False,
) -> None:
    """Train an editor: a network that edits in one forward pass; continues a run that was cut off."""
    from scumble.train.editor_recipe import read

    wanted = read(recipe)
    report()
    from scumble.train.editor import train_editor

    place = out or Path("runs") / wanted.name
    try:
        done = train_editor(wanted, place, folder=recipe.parent, skip_bad=skip_bad)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command goes on where it stopped", err=True)
        raise
    typer.echo(
        f"the editor is in {done}; use it with: scumble apply {done} IN.png --task {wanted.tasks[0].name}"
    )


def sr3(
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A folder for the stage; OUT.log next to it has checkpoints.")
    ] = Path("runs/scenes-x2"),
    minutes: Annotated[float, typer.Option(min=0, help="The budget, in minutes of wall time.")] = 60,
    n: Annotated[int, typer.Option("--n", min=1, help="How many scenes the stage learns from.")] = 2000,
    batch: Annotated[int, typer.Option(min=1, help="Crops of a step; a GPU takes 1024.")] = 32,
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw scenes; 0: this one.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The seed of the initial weights and of the data.")] = 0,
) -> None:
    """Train a stage that doubles the resolution of drawings; continues a run that was cut off."""
    report()
    from scumble.train.place import alone
    from scumble.train.sr3 import SR3Recipe
    from scumble.train.sr3_gates import train_sr3

    with alone(out):
        found = train_sr3(out, SR3Recipe(minutes=minutes, bank=n, batch=batch, seed=seed), workers)
    typer.echo(
        f"the stage is in {out}, {found['better_by_db']:+.2f} dB against bicubic on scenes of the test split"
    )
    typer.echo(f"use it with: scumble upscale IN.png --stage {out}")


def snapshot(
    log: Annotated[Path, typer.Argument(help="The .log folder of a training that has reached the denoiser.")],
    out: Annotated[Path, typer.Argument(help="A new folder for the model.")],
) -> None:
    """Write the model that an unfinished training would give now. The training goes on undisturbed."""
    from scumble.train.prior import snapshot as write

    typer.echo(f"the prior so far is in {write(log, out)}")


def card(
    folder: Annotated[Path, typer.Argument(help="A prior that `scumble train prior` made.")],
    guidance: Annotated[float, typer.Option(min=1, help="The guidance that the card recommends.")] = 3.0,
    scale: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the full sample counts; 1 takes half an hour.")
    ] = 1.0,
    dtype: Annotated[
        str, typer.Option(help="Precision of the network calls: auto, float32, bfloat16.")
    ] = "auto",
) -> None:
    """Measure a trained prior on the test split and write its model card."""
    measure(folder, guidance=guidance, scale=scale, dtype=dtype)


def run(name: str, out: Path, **options: Any) -> None:
    if name != "scenes":
        raise InputError(f"train prior: there is no recipe {name!r}; the only one is scenes")
    report()
    from scumble.train.place import alone
    from scumble.train.prior import train_prior

    with alone(out):
        done = train_prior(out, **options)
    typer.echo(f"the prior is in {done}; `scumble train card` measures it")


def measure(folder: Path, **options: Any) -> None:
    if not (folder / "card.json").exists():
        raise InputError(
            f"{folder}: no card.json there; name the folder of a prior made by `scumble train prior`"
        )
    report()
    from scumble.train.card import make_card

    typer.echo(json.dumps(make_card(folder, **options), indent=1, default=vars))
    typer.echo(f"written: {folder / 'README.md'}")


def report() -> None:
    """Send the log of the recipes (loss, pictures, minutes) to stderr."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("scumble").setLevel(logging.INFO)
