"""`scumble edit`: one picture in, one picture out."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli.options import Model, Settings
from scumble.core.errors import InputError

if TYPE_CHECKING:
    from scumble.api import Plan
    from scumble.core.request import Edit, OnStep, Step

EXAMPLES = (
    'scumble edit in.png --source "a red circle" --target "a blue circle"',
    'scumble edit in.png --source "a red circle" --target "a red star" --set steps=100 -o star.png',
)


def command(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="A PNG, JPEG or WebP picture of any size.")],
    source: Annotated[str, typer.Option(help="What the picture shows now.")] = "",
    target: Annotated[str, typer.Option(help="What it shall show.")] = "",
    method: Annotated[
        str, typer.Option(help="`scumble methods` lists them; ./file.py:Class runs your own.")
    ] = "dds",
    model: Model = "scenes",
    mask: Annotated[
        Path | None, typer.Option(help="A picture of the same size: white may change, black stays exactly.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What it shall not show.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same edit.")] = 0,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG, JPEG or WebP; default: IN-edited.png.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute; auto takes the best there is.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Try words that the model does not know.")] = False,
) -> None:
    """Edit one picture."""
    run(
        picture, out, mask, model, device, settings or [],
        source=source, target=target, method=method, negative=negative, seed=seed, force=force,
    )  # fmt: skip


def run(
    picture: Path,
    out: Path | None,
    mask: Path | None,
    model: str,
    device: str,
    settings: Iterable[str],
    **what: Any,
) -> None:
    """Check everything, load, edit, save. Raises InputError before any work is done where that can be."""
    from scumble import files

    out = out or picture.with_name(f"{picture.stem}-edited.png")
    image = files.read(picture)
    files.check_output(out, [picture, mask], alpha=image.alpha is not None)
    plan = prepare(image, model, device, mask=mask, settings=parse(settings), **what)
    started = time.perf_counter()
    edit = perform(plan)
    assert edit.picture is not None
    files.save(edit.picture, out, edit.provenance)
    typer.echo(f"{out}: {summary(edit, time.perf_counter() - started)}")


def prepare(image: Any, model: str, device: str = "auto", **what: Any) -> Plan:
    """The plan of an edit, announced: the first line of output says what the model is for."""
    from rich.console import Console

    from scumble import api

    with Console(stderr=True).status(f"loading {model}"):
        plan = api.plan(image, model=model, device=device, **what)
    typer.echo(f"model {plan.prior.card.id}: {plan.prior.card.domain}")
    return plan


def perform(plan: Plan, also: OnStep | None = None) -> Edit:
    """Make the edit behind a progress bar; `also` is told of every step, too."""
    with progress(plan.name) as bar:

        def on_step(step: Step) -> None:
            bar(step)
            if also:
                also(step)

        return plan(on_step)


@contextmanager
def progress(name: str) -> Iterator[OnStep]:
    """A bar on stderr: steps, time left, evaluations of the network."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps,"),
        TimeRemainingColumn(),
        TextColumn("left, {task.fields[evaluations]} evaluations"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=None, evaluations=0)
        yield lambda step: bar.update(
            task, completed=step.k, total=step.n, evaluations=step.evaluations, refresh=step.k == step.n
        )


def summary(edit: Edit, seconds: float) -> str:
    """What an edit cost."""
    return f"{seconds:.1f} s, {edit.evaluations} evaluations of the network, seed {edit.seed}"


def parse(settings: Iterable[str]) -> dict[str, object]:
    """["steps=100", "guidance=5.5"] to values; what is no Python literal stays a word."""
    parsed: dict[str, object] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip():
            raise InputError(f"--set {setting}: write it as NAME=VALUE, such as --set steps=100")
        parsed[name.strip()] = _value(text.strip())
    return parsed


def _value(text: str) -> object:
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        return (
            float(text) if text.lower().lstrip("+-") in {"nan", "inf", "infinity"} else ast.literal_eval(text)
        )
    except (ValueError, SyntaxError):
        return text
