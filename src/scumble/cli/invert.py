"""`scumble invert`: makes the inversion of a picture once and keeps it in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli import flags, options
from scumble.cli.voice import Voice, prepare
from scumble.core.errors import InputError
from scumble.editing.inputs import inputs
from scumble.editing.recipe import Recipe
from scumble.editing.results import kept

if TYPE_CHECKING:
    from scumble.core.request import Artifact, Step

EXAMPLES = (
    'scumble invert in.png --source "a red circle" -o in.inv',
    'scumble invert in.png --source "a red circle" --method null_text --set inner_steps=5 -o in.inv',
)


@flags.takes(
    Recipe,
    only=("image", "source", "method", "negative", "seed", "settings", "size", "paper", "force"),
    usual={"method": "direct_inversion"},
    helps={
        "method": "direct_inversion, null_text, npi, ddim_inversion, or an editor that inverts.",
        "seed": "The seed, if the method draws noise.",
    },
)
def command(
    recipe: Recipe,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write.  \\[default: IN.inv]")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Invert a picture once, for any number of edits (--given inversion=FILE)."""
    from scumble import artifacts
    from scumble.pictures import reading

    picture = Path(str(recipe.image))
    voice, out = Voice(quiet), out or picture.with_suffix(".inv")
    check_method(recipe)
    image = reading.read(picture)
    artifacts.check_output(out, inputs(recipe), overwrite=overwrite)
    plan = prepare(voice, replace(recipe, image=image, target=recipe.source))
    last: list[Step] = []
    with voice.steps(plan.name) as tell:

        def on_step(step: Step) -> None:
            last[:] = [step]
            tell(step)

        made: Artifact = plan.method.prepare(plan.prior, plan.request, on_step)
    out = kept(out, lambda free: artifacts.save(made, free, replace=overwrite))
    typer.echo(out)
    evaluations = last[0].evaluations if last else 0
    voice.say(f"{evaluations} evaluations; use it with: scumble edit {picture} --given {made.name}={out}")


def check_method(recipe: Recipe) -> None:
    """Raises InputError for a method that makes no inversion, or that lacks the prompt it needs."""
    from scumble.editing.checks import check_given, check_needs, method_class, method_names

    name = str(recipe.method)
    kind = method_class(name)
    if kind.prepares is None:
        able = ", ".join(n for n in method_names() if method_class(n).prepares is not None)
        raise InputError(f"--method {name}: it makes no inversion; these do: {able}")
    check_given(name, kind, recipe.given)
    check_needs(name, replace(kind.needs, target=False, mask=False), recipe)
