"""`scumble invert`: the costly first half of an edit, made once and kept in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli import options, values
from scumble.cli.voice import Voice, prepare
from scumble.core.errors import InputError

if TYPE_CHECKING:
    from scumble.core.request import Artifact, Step

EXAMPLES = (
    'scumble invert in.png --source "a red circle" -o in.inv',
    'scumble invert in.png --source "a red circle" --method null_text --set inner_steps=5 -o in.inv',
)


def command(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="A PNG, JPEG or WebP picture of any size.")],
    source: options.Source = "",
    method: Annotated[
        str,
        typer.Option(
            "--method", help="direct_inversion, null_text, npi, ddim_inversion, or an editor that inverts."
        ),
    ] = "direct_inversion",
    model: options.Model = "scenes",
    negative: options.Negative = "",
    seed: Annotated[int, typer.Option(help="Where the method draws noise.")] = 0,
    settings: options.Settings = None,
    size: options.Size = None,
    paper: options.Paper = False,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="[default: IN.inv]")] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    revision: options.Revision = None,
    offline: options.Offline = False,
    lora: options.Lora = None,
    memory: options.Memory = None,
    force: options.Force = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn a picture into the chain of noise that leads to it, for any number of edits (--given inversion=FILE)."""
    from scumble import artifacts
    from scumble.pictures import reading

    voice, out = Voice(quiet), out or picture.with_suffix(".inv")
    check_method(method, source)
    image = reading.read(picture)
    artifacts.check_output(out)
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already; --overwrite replaces it")
    plan = prepare(
        voice, image, model=model, source=source, target=source, method=method, negative=negative, seed=seed,
        settings=values.settings(settings or [], {}), size=size, paper=paper, force=force, device=device,
        dtype=dtype, revision=revision, offline=offline, lora=lora or (), memory=values.listed(memory or []),
    )  # fmt: skip
    last: list[Step] = []
    with voice.steps(plan.name) as tell:

        def on_step(step: Step) -> None:
            last[:] = [step]
            tell(step)

        made: Artifact = plan.method.prepare(plan.prior, plan.request, on_step)  # pyright: ignore[reportAttributeAccessIssue]
    artifacts.save(made, out)
    typer.echo(out)
    evaluations = last[0].evaluations if last else 0
    voice.say(f"{evaluations} evaluations; use it with: scumble edit {picture} --given {made.name}={out}")


def check_method(name: str, source: str) -> None:
    """Raises InputError for a method that has no first half of its own, or lacks the prompt it needs."""
    from scumble.editing.checks import check_prompts, method_class, method_names

    kind = method_class(name)
    if not hasattr(kind, "prepare"):
        able = ", ".join(n for n in method_names() if hasattr(method_class(n), "prepare"))
        raise InputError(f"--method {name}: it inverts nothing; these do: {able}")
    check_prompts(name, replace(kind.needs, target=False, mask=False), source, None, None)
