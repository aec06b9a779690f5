"""`scumble doctor`: checks this installation and says what to do about problems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import flags, options
from scumble.cli.voice import Voice, perform
from scumble.core.loading import Loading

EXAMPLES = ("scumble doctor", "scumble doctor --model ./my-checkpoint -o doctor.png")


@flags.takes(Loading, without=("model",))
def command(
    loading: Loading,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", help="Also test a model: its codec, its predictions, a sample and two edits."
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(
            "-o", "--out", help="The sheet with the pictures that --model made; an existing file is replaced."
        ),
    ] = Path("doctor.png"),
    quiet: options.Quiet = False,
) -> None:
    """Check this installation, or a model."""
    if model is None:
        raise typer.Exit(run())
    raise typer.Exit(examine(replace(loading, model=model), out, Voice(quiet)))


def examine(asked: Loading, out: Path, voice: Voice) -> int:
    """Examine a model, write the sheet and print the report. Returns 0 if all checks passed, else 1."""
    from scumble.bench.checkup import Finding, Patient, drawn, report
    from scumble.cli.methods import table
    from scumble.editing import loading, room
    from scumble.pictures import writing

    writing.check_output(out, overwrite=True)
    if about := room.lines(asked):
        table(about)
        typer.echo("")
    with voice.waiting(f"loading {asked.model}"):
        prior = loading.load(asked)
    patient, findings = Patient(prior, lambda plan: perform(plan, voice)), list[Finding]()
    for finding in patient.findings():
        findings.append(finding)
        typer.echo(finding.line)
    writing.save(drawn(patient, findings), out)
    typer.echo(f"\nto paste into an issue, with {out}:\n\n{report(prior, findings)}")
    return 0 if all(finding.passed for finding in findings) else 1


def run() -> int:
    """Print one line per check. Returns 0 if there are no problems, else 1."""
    from scumble.bench.installation import findings

    well = True
    for good, line in findings():
        well &= good
        typer.echo(f"{'ok' if good else '!!'}  {line}")
    typer.echo("no problems found" if well else "see the lines that begin with !!")
    return 0 if well else 1
