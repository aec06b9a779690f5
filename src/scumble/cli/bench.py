"""`scumble bench`: methods against exact ground truth, and tables of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scumble.cli import flags, options, values
from scumble.cli.voice import Voice
from scumble.core.errors import InputError
from scumble.core.loading import Loading

if TYPE_CHECKING:
    from scumble.bench.contestants import Contestant
    from scumble.bench.run import Bench
    from scumble.bench.stages import Stages

SCENES_EXAMPLES = (
    "scumble bench scenes --method dds --method sdedit:strength=0.5 --n 600 --seeds 3 -o runs/test",
    "scumble bench scenes --method dds:guidance=5 --split validation -o runs/validation",
)
DRAWINGS_EXAMPLES = (
    "scumble bench drawings --method dds_fast --method dds:steps=100 --split validation -o runs/drawings",
    "scumble bench drawings --method dds_fast --raw -o runs/drawings-raw",
)
REPORT_EXAMPLES = (
    "scumble bench report runs/test/dds.jsonl runs/test/copy.jsonl",
    "scumble bench report runs/test/dds.jsonl runs/test/sdedit-strength=0.5.jsonl --format latex",
)
SPLITS = ("test", "validation")
N = 200  # edits, where nothing else is said
DRAWINGS_FRAME = ("copy", "ceiling")


@flags.takes(Loading)
def scenes(
    method: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:PARAMETER=VALUE,...][+EXTRA]",
            help="Repeats. +mask: give it the true mask; +layer: score the finished picture with the layer; +reduced, "
            "+exact: on the reduced world, with the network or the exact score.",
        ),
    ],
    loading: Loading,
    split: Annotated[
        str, typer.Option(help="test, or validation, which is for choosing parameters.")
    ] = "test",
    n: Annotated[
        int | None, typer.Option("--n", help="Number of edits. Default: 200; with --data: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds for each edit.")] = 1,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="A folder of your own pictures: data.jsonl with image, source, target."
        ),
    ] = None,
    given_: Annotated[
        list[str] | None,
        typer.Option(
            "--given", metavar="NAME=FILE", help="What a method needs, as in `scumble edit`; repeats."
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder to write to, or to continue in.")
    ] = Path("runs/bench"),
    batch: Annotated[int, typer.Option(help="Batch size: pictures per call of a method.")] = 16,
    back: Annotated[
        bool, typer.Option(help="Also edit the results of the first seed back to the source.")
    ] = True,
    frame: Annotated[
        bool, typer.Option(help="Also measure the reference rows: copy, resample, ceiling.")
    ] = True,
    quiet: options.Quiet = False,
) -> None:
    """Make edits with exact ground truth and score them. The same command continues a stopped run."""
    if split not in SPLITS:
        raise InputError(f"--split {split}: there are {' and '.join(SPLITS)}")
    asked = [contestant(text) for text in method]
    voice = Voice(quiet)
    from scumble.bench.run import Bench
    from scumble.bench.stages import Stages, framing
    from scumble.editing import given
    from scumble.editing import loading as models
    from scumble.measuring.tasks import folder_tasks, scene_tasks

    known = given.read(dict(given.check_name(text) for text in given_ or ()))

    bench = Bench(out=out, seeds=seeds, batch=batch, back=back)
    listed = folder_tasks(data, n) if data else None
    if listed and any(c.world != "whole" for c in asked):
        raise InputError(
            "--data: +reduced and +exact exist only for edits of the scenes world; leave them out"
        )
    if frame:
        asked = [*framing(asked, has_truths=listed is None or listed.has_truths), *asked]
    with voice.waiting(f"loading {loading.model}"):
        prior = models.load(loading)
    count = N if n is None else n
    side = prior.card.size
    tasks = listed or scene_tasks(cast(Any, split), count, side)
    perform(bench, Stages(prior, tasks, cast(Any, split), count, known), asked, voice)


@flags.takes(Loading)
def drawings(
    method: Annotated[
        list[str],
        typer.Option(
            metavar="NAME[:PARAMETER=VALUE,...][+mask]", help="Repeats. +mask: give it the true mask."
        ),
    ],
    loading: Loading,
    split: Annotated[
        str, typer.Option(help="test, or validation, which is for choosing parameters.")
    ] = "test",
    n: Annotated[
        int | None, typer.Option("--n", help="Number of drawings. Default: all 60 of the split.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Number of seeds for each edit.")] = 1,
    raw: Annotated[
        bool,
        typer.Option("--raw", help="Score the method's own picture, not the finished one under the layer."),
    ] = False,
    out: Annotated[
        Path, typer.Option("-o", "--out", help="The folder to write to, or to continue in.")
    ] = Path("runs/drawings"),
    batch: Annotated[int, typer.Option(help="Batch size: pictures per call of a method.")] = 16,
    frame: Annotated[bool, typer.Option(help="Also measure the reference rows: copy, ceiling.")] = True,
    quiet: options.Quiet = False,
) -> None:
    """Edit drawings made with other programs, whose true edits are known, and score the finished pictures."""
    if split not in SPLITS:
        raise InputError(f"--split {split}: there are {' and '.join(SPLITS)}")
    asked = [contestant(text) for text in method]
    for one in asked:
        if one.world != "whole":
            raise InputError(
                f"--method {one.label}: +reduced and +exact exist only for edits of the scenes world; leave them out"
            )
    from scumble.bench.run import Bench
    from scumble.bench.stages import Stages, framing
    from scumble.editing import loading as models
    from scumble.measuring.drawings import drawing_tasks

    voice = Voice(quiet)
    bench = Bench(out=out, seeds=seeds, batch=batch, back=False)
    tasks = drawing_tasks(split, n)
    if frame:
        asked = [*framing(asked, names=DRAWINGS_FRAME), *asked]
    if not raw:
        asked = [finished(one) for one in asked]
    with voice.waiting(f"loading {loading.model}"):
        prior = models.load(loading)
    perform(bench, Stages(prior, tasks), asked, voice)


def report(
    rows: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE.jsonl...", help="The files that `bench scenes` and `bench drawings` wrote."
        ),
    ],
    form: Annotated[str, typer.Option("--format", help="md, csv or latex.")] = "md",
    against: Annotated[
        str | None, typer.Option(help="The method to compare with. Default: the first editor.")
    ] = None,
) -> None:
    """Make tables: means with 95 % intervals and paired differences, overall and by kind of edit."""
    from scumble.bench.report import report

    typer.echo(report(rows, form, against), nl=False)


def contestant(text: str) -> Contestant:
    """ "NAME:PARAMETER=VALUE,...+EXTRA" as a row of the table. Raises InputError for what there is not."""
    from scumble.bench.contestants import Contestant, split

    name, settings, extras = split(text)
    found = Contestant(label=text.strip(), name=name, settings=values.settings(settings), extras=extras)
    found.kind()
    return found


def finished(asked: Contestant) -> Contestant:
    """The contestant, scored by its finished picture under the layer instead of its raw one."""
    if "layer" in asked.extras:
        return asked
    return replace(asked, label=f"{asked.label}+layer", extras=asked.extras | {"layer"})


def perform(bench: Bench, stages: Stages, asked: Sequence[Contestant], voice: Voice) -> None:
    """Check everything, run everything, draw the sheets, and print the written files to stdout."""
    from scumble.bench import contact

    for stem, some in groupby(sorted(c.stem for c in asked)):
        if len(list(some)) > 1:
            raise InputError(f"--method {stem}: given twice")
    ready = [(stages.of(c).ready(c), stages.of(c)) for c in asked]
    try:
        bench.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{bench.out}: cannot be made ({error.strerror}); choose another with -o") from error

    def tell(label: str, done: int, total: int, refused: int, left: float) -> None:
        of_them = f" ({refused} refused)" if refused else ""
        voice.say(f"{label}: {done}/{total} edits{of_them}, {left / 60:.0f} min left")

    for method, stage in ready:
        typer.echo(bench.run(method, stage, tell))
    for world, some in groupby(sorted(asked, key=_world), _world):
        chosen = list(some)
        path = bench.out / f"sheet{world}.png"
        contact.draw(path, bench, chosen, stages.of(chosen[0]).tasks)
        typer.echo(path)


def _world(contestant: Contestant) -> str:
    return "" if contestant.world == "whole" else "-reduced"
