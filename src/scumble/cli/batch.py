"""`scumble batch`: a manifest of edits, made into a folder."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.batch.workers import Crew
from scumble.cli import flags, options
from scumble.cli.stopping import stopping
from scumble.cli.voice import Voice
from scumble.core.atomic import claimed
from scumble.core.errors import InputError, MachineError
from scumble.core.places import exists
from scumble.editing.recipe import Recipe
from scumble.editing.results import check_folder, make_folder

if TYPE_CHECKING:
    from scumble.batch.check import Checked
    from scumble.batch.ledger import Ledger, Record
    from scumble.batch.run import Batch, Make

EXAMPLES = (
    "scumble batch edits.csv -o edited --dry-run",
    'scumble batch photos/ --source "a red mug" --target "a blue mug" -o edited --name "{image}.png"',
)


@flags.takes(Recipe, without=("image",), short=flags.SHORT)
def command(
    recipe: Recipe,
    manifest: Annotated[
        Path,
        typer.Argument(
            metavar="MANIFEST",
            help="CSV, JSONL or Parquet, one edit per row, its columns named as the flags' fields (image, source, "
            "target, settings.steps, ...); or a folder of pictures.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to, or to continue in.")],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEMPLATE",
            help="Names of the results, such as {image}-{seed}.png; from columns, and {row}, {image}, {identity}.  "
            "\\[default: {id}.png, without such a column {image}.{identity}.png]",
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="A column that is no field; repeats.")
    ] = None,
    batch: Annotated[
        int, typer.Option(metavar="N", help="At most this many edits in one call of the model.")
    ] = 8,
    workers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Processes that make edits, each with the model; 0: this one alone.  \\[default: 0; with --ray: all "
            "that there is room for]",
        ),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS", help="A Ray cluster to make edits on, as HOST:PORT, or auto: see docs."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(metavar="N", help="Threads of each worker.")] = 1,
    gpus: Annotated[
        float, typer.Option(metavar="SHARE", help="GPUs of each worker, such as 1 or 0.5.")
    ] = 0.0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Make the good rows although others have faults.")
    ] = False,
    max_errors: Annotated[
        int | None, typer.Option(metavar="N", min=0, help="Stop when more rows than this have failed.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace files in the way that are not this batch's; never an input."
        ),
    ] = False,
    no_sheets: Annotated[bool, typer.Option("--no-sheets", help="Draw no contact sheets.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Check all rows, estimate time and memory; write nothing."),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make many edits: one for every row of a manifest.

    All rows are checked before the first is made. The same command goes on where a run stopped, and makes again only
    what has changed.
    """
    voice = Voice(quiet)
    for flag, number, least in ("batch", batch, 1), ("threads", threads, 1), ("workers", workers or 0, 0):
        if number < least:
            raise InputError(f"--{flag} {number}: it must be at least {least}")
    if not 0 <= gpus <= 64:
        raise InputError(f"--gpus {gpus}: it must be a number of GPUs, or the part of one that a worker gets")
    hiring = bool(workers or (ray and workers is None))  # --workers 0: this process alone
    for flag, said in (f"--threads {threads}", threads > 1), (f"--gpus {gpus:g}", gpus > 0):
        if said and not hiring:
            raise InputError(
                f"{flag}: it is for workers, and there are none; add --workers N, or leave it out"
            )
    crew = Crew(workers, ray, threads, gpus) if hiring else None
    checked = _check(recipe, manifest, out, name, ignore or [], voice, as_json, skip_bad)
    from scumble.batch.run import Batch

    name = (
        manifest.name if manifest.name not in ("", "..") else manifest.resolve().name
    )  # "." is a folder, too
    made = Batch(checked, out, name, batch, overwrite, manifest)
    check_folder(out)
    if dry_run:
        _estimate(made, voice, as_json)
        return
    make_folder(out)
    with claimed(out / "results"):
        _run(made, crew, voice, as_json=as_json, sheets=not no_sheets, max_errors=max_errors)


def _check(
    recipe: Recipe,
    manifest: Path,
    out: Path,
    name: str | None,
    ignored: list[str],
    voice: Voice,
    as_json: bool,
    skip: bool,
) -> Checked:
    """The manifest, checked. Raises InputError after the table of all faults, unless they are skipped."""
    from scumble.batch import check
    from scumble.batch.manifest import base, read
    from scumble.batch.rows import Namer, Reading

    reading = Reading(_absolute(recipe), base(manifest).absolute(), tuple(ignored))
    with voice.waiting(f"checking {manifest}"):
        checked = check.check(read(manifest, out), reading, Namer(name))
    bad = len({fault.row for fault in checked.faults})
    for line in check.table(checked.faults):
        if not as_json:
            typer.echo(line, err=True)
    for fault in checked.faults if as_json else ():
        typer.echo(json.dumps({"row": fault.row, "error": fault.message}))
    voice.say(f"{manifest}: {len(checked.rows)} rows are good, {bad} are not")
    if bad and not skip:
        raise InputError(f"{manifest}: {bad} rows cannot be made; mend them, or --skip-bad makes the others")
    if not checked.rows:
        raise InputError(f"{manifest}: no row can be made")
    return checked


def _absolute(recipe: Recipe) -> Recipe:
    """The recipe with the files that flags name, wherever rows are made."""

    def place(value: Any) -> Any:
        if isinstance(value, str | Path) and exists(value) and os.sep in str(Path(value).absolute()):
            return str(Path(value).absolute())
        return value

    files: dict[str, Any] = {name: place(getattr(recipe, name)) for name in ("mask", "reference", "vae")}
    files["given"] = {name: place(value) for name, value in recipe.given.items()}
    return replace(recipe, **files)


def _run(
    batch: Batch, crew: Crew | None, voice: Voice, *, as_json: bool, sheets: bool, max_errors: int | None
) -> None:
    """Make what is missing; tell how to go on where it stops."""
    from scumble.batch.ledger import Ledger
    from scumble.batch.run import Pace

    batch.clear()
    started, ledger = time.monotonic(), Ledger(batch.out)
    rows = batch.missing(ledger)
    voice.say(f"{len(batch.checked.rows) - len(rows)} rows are made already, {len(rows)} are to be made")
    pace, made = Pace(len(rows)), set[str]()

    def on_group(records: Sequence[Record]) -> None:
        for record in records:
            made.add(record["identity"])
            if as_json:
                typer.echo(json.dumps(record))
            elif record["error"] is None:
                typer.echo(str(batch.out / record["output"]))
            if record["error"] is not None:
                typer.echo(f"row {record['row']} failed: {record['error']}", err=True)
        voice.say(pace.step(len(records)))

    whole = False
    try:
        with (
            stopping(voice, "the rows in flight") as stop,
            _makers(batch, crew if rows else None, stop) as make,
        ):
            whole = batch.run(ledger, rows, make, on_group=on_group, max_errors=max_errors)
        if not whole:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, MachineError):
        typer.echo(f"{len(made)} of {len(rows)} rows are done; run the same command to continue", err=True)
        raise
    finally:
        summary = batch.close(ledger, batch.checked.faults, time.monotonic() - started)
    _tell(batch, ledger, summary, made if sheets else None, voice, as_json)


@contextmanager
def _makers(batch: Batch, crew: Crew | None, stop: Callable[[], bool]) -> Iterator[Make]:
    """What makes groups: this process, or a crew of workers."""
    from scumble.batch.making import Maker
    from scumble.batch.run import here
    from scumble.batch.workers import hired

    if crew is None:
        yield here(Maker(batch.out, batch.manifest), stop)
    else:
        with hired(crew, batch.out, batch.manifest, stop) as make:
            yield make


def _tell(
    batch: Batch, ledger: Ledger, summary: dict[str, Any], made: set[str] | None, voice: Voice, as_json: bool
) -> None:
    """Sheets and the summary. Raises InputError where rows have failed."""
    for path in batch.sheets(ledger, made) if made is not None else ():
        typer.echo(json.dumps({"file": str(path)}) if as_json else str(path))
    if as_json:
        typer.echo(json.dumps({"summary": summary}))
    voice.say(
        f"{summary['made']} of {summary['rows']} rows are made, {summary['failed']} failed, {summary['skipped']} "
        f"skipped; {summary['evaluations']} evaluations in {summary['edit_seconds']:.0f} s of editing"
    )
    if not summary["table"]:
        voice.say("results.jsonl has the results; for results.parquet, too: pip install 'scumble[batch]'")
    if summary["failed"]:
        raise InputError(
            f"{batch.manifest}: {summary['failed']} rows failed; {ledger.path} says why, and the same command tries "
            "them again"
        )


def _estimate(batch: Batch, voice: Voice, as_json: bool) -> None:
    """Say what is left to do, and what it would take; nothing is written."""
    from scumble.batch.estimate import estimate
    from scumble.batch.ledger import Ledger

    rows = batch.missing(Ledger(batch.out))
    about = estimate(batch, rows)
    if as_json:
        typer.echo(json.dumps(about))
        return
    voice.say(
        f"dry run: {len(batch.checked.rows) - len(rows)} rows are made already, {len(rows)} are to be made"
    )
    if rows:
        voice.say(
            f"about {about['seconds']:.0f} s, {about['evaluations']} evaluations of the network and "
            f"{about['memory'] / 1e9:.1f} GB of memory: an estimate from the first steps of {about['tried']} of "
            f"{about['kinds']} kinds of edits"
        )
    if drawn := about.get("upscale"):
        voice.say(
            f"of these, {drawn['seconds']:.0f} s draw results larger, in {drawn['calls']} calls of the stage's network"
        )
