"""`scumble attention`: where a model looks for each word in a picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import flags, options
from scumble.cli.voice import Voice
from scumble.core.errors import InputError
from scumble.core.loading import check_text
from scumble.core.outputs import Inputs
from scumble.editing.inputs import inputs
from scumble.editing.recipe import Recipe
from scumble.editing.results import default, kept
from scumble.pictures import sheets

EXAMPLES = (
    'scumble attention in.png --prompt "a red circle"',
    'scumble attention in.png --prompt "a red circle" --word circle -o circle.png',
)


@flags.takes(
    Recipe,
    only=("image", "seed", "size", "force"),
    helps={"seed": "The seed of the noise that is added to the picture."},
)
def command(
    recipe: Recipe,
    prompt: Annotated[str, typer.Option(help="What the picture shows.")] = "",
    word: Annotated[
        list[str] | None,
        typer.Option(help="A word of the prompt, or several as a phrase; default: every word."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG, JPEG or WebP.  [default: IN.attention.png]")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Draw a heat map over the picture for every word of a prompt."""
    from scumble.editing import loading
    from scumble.editing.checks import check_words
    from scumble.editing.heat import heat_maps
    from scumble.pictures import reading, writing
    from scumble.pictures.placed import Placed

    picture = Path(str(recipe.image))
    voice, out = Voice(quiet), out or default(picture, "attention")
    words = word or list(dict.fromkeys(re.findall(r"\w+", prompt)))
    if not words:
        raise InputError('prompt: empty; describe what the picture shows, such as --prompt "a red circle"')
    check_text("prompt", prompt)
    image = reading.read(picture)
    writing.check_output(out, Inputs(inputs(recipe)), overwrite=overwrite)
    with voice.waiting(f"loading {recipe.model}"):
        prior = loading.load(recipe)
    if prior.card.capabilities.isdisjoint(("control", "joint")):
        raise InputError(f"attention: model '{prior.card.id}' has no attention that can be read")
    voice.say(f"model {prior.card.id}: {prior.card.domain}")
    check_words(prior.card, [prompt], recipe.force)
    cells = heat_maps(Placed.of(image, prior, size=recipe.size), prompt, words, recipe.seed)
    sheet = sheets.sheet(cells, title=prompt)
    typer.echo(kept(out, lambda free: writing.save(sheet, free, replace=overwrite)))
