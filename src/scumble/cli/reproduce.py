"""`scumble reproduce`: the experiments of a paper on any model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scumble.cli import flags, options
from scumble.cli.voice import Voice
from scumble.core.errors import InputError
from scumble.core.loading import Loading

if TYPE_CHECKING:
    from scumble.reproduce.experiment import Experiment, Verdict
    from scumble.reproduce.material import Material
    from scumble.reproduce.run import Run

DDS_EXAMPLES = (
    "scumble reproduce dds -o runs/dds",
    "scumble reproduce dds --figure identity --figure gradient-maps --n 4 --split validation -o runs/look",
)
SPLITS = ("test", "validation")


@flags.takes(Loading)
def dds(
    loading: Loading,
    figure: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Make only this figure; repeats. Default: all.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Your own pictures: data.jsonl with image, source, target, mask, truth (docs/bench.md). Default: the "
            "scenes world, which the built-in model knows.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder to write to, or to continue in.")
    ] = Path("runs/reproduce"),
    n: Annotated[
        int | None, typer.Option("--n", help="Number of pictures per figure. Default: set by the figure.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of every descent. Default: set by the figure.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="Guidance of SDS and DDS. Default: the model's recommendation, else the paper's."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Picture i uses seed + i.")] = 0,
    split: Annotated[str, typer.Option(help="test, or validation, of the scenes world.")] = "test",
    batch: Annotated[int, typer.Option(min=1, help="Batch size: pictures per call of the network.")] = 16,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Estimate the work and the time; write nothing.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Make figures again that have other settings.")
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Repeat the experiments of the DDS paper: a figure, its numbers, and whether the claim holds.

    Finished figures are not made again: the same command continues a stopped run.
    """
    if split not in SPLITS:
        raise InputError(f"--split {split}: there are {' and '.join(SPLITS)}")
    voice = Voice(quiet)
    from scumble.editing import loading as models
    from scumble.editing.recipe import check_seed
    from scumble.measuring.tasks import folder_tasks
    from scumble.reproduce import setup
    from scumble.reproduce.drawing import check_matplotlib
    from scumble.reproduce.figures import chosen
    from scumble.reproduce.material import Material
    from scumble.reproduce.run import Run

    experiments = chosen(figure or (), n=n, steps=steps)
    check_matplotlib()
    check_seed(seed)
    listed = folder_tasks(data, n) if data else None
    with voice.waiting(f"loading {loading.model}"):
        prior = models.load(loading)
    if listed is None and prior.card.words is None:
        voice.say(
            f"note: {prior.card.id} was not made for the scenes world; use --data for your own pictures"
        )
    w = setup.guidance_on(prior.card, guidance)
    if listed is None:
        tasks, prompts = setup.drawn(experiments, cast(Any, split), prior.card.size)
    else:
        skip = None if figure else lambda why: voice.say(f"left out: {why}")
        experiments, tasks, prompts = setup.allowed(experiments, listed, skip), listed, []

    material = Material.of(prior, tasks.all, seed=seed, guidance=w, batch=batch, prompts=prompts)

    def tell(name: str, rows: int, total: int, left: float) -> None:
        voice.say(f"{name}: {rows}/{total} evaluations, {left / 60:.0f} min left")

    run = Run(out=out, material=material, world=tasks.world, overwrite=overwrite, progress=tell)
    todo = [one for one in experiments if not run.finished(one)]
    _announce(todo, material, voice, dry_run)
    if not dry_run:
        perform(run, experiments, voice)


def perform(run: Run, experiments: Sequence[Experiment], voice: Voice) -> None:
    """Make all figures, with a new report after each. Prints the verdicts and the written files to stdout."""
    try:
        run.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{run.out}: cannot be made ({error.strerror}); choose another with -o") from error
    verdicts: list[Verdict] = []
    for one in experiments:
        verdicts.append(run.make(one))
        run.report()
        typer.echo(run.file(one.name, ".png"))
        voice.say(f"{one.name}: {verdicts[-1].sentence}")
    typer.echo(run.out / "report.md")
    typer.echo(run.sheet(experiments, verdicts))


def _announce(todo: Sequence[Experiment], material: Material, voice: Voice, dry_run: bool) -> None:
    from scumble.reproduce.run import estimate

    if not todo:
        voice.say("all figures are measured already")
        return
    rows, seconds = estimate(todo, material)
    names = ", ".join(f"{one.name} (n = {one.n})" for one in todo)
    voice.say(f"{'dry run: ' if dry_run else ''}{names}: at guidance {material.guidance:g}")
    voice.say(f"{rows} evaluations of the network, about {max(seconds / 60, 1):.0f} min on this machine")
