"""`scumble attention`: where a model looks for each word in a picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scumble.cli import options, values
from scumble.cli.results import default
from scumble.cli.voice import Voice
from scumble.core.errors import InputError
from scumble.pictures import sheets
from scumble.pictures.sheets import RAMP, Cell

if TYPE_CHECKING:
    from PIL import Image

    from scumble.attention.maps import Maps
    from scumble.core.prior import Prior
    from scumble.pictures.canvas import Fit
    from scumble.pictures.reading import Picture

EXAMPLES = (
    'scumble attention in.png --prompt "a red circle"',
    'scumble attention in.png --prompt "a red circle" --word circle -o circle.png',
)
LEVELS = 10  # of noise, at which the model is asked


def command(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="A PNG, JPEG or WebP picture of any size.")],
    prompt: Annotated[str, typer.Option(help="What the picture shows.")] = "",
    word: Annotated[
        list[str] | None,
        typer.Option(help="A word of the prompt, or several as a phrase; default: every one."),
    ] = None,
    model: options.Model = "scenes",
    seed: Annotated[int, typer.Option(help="Of the noise that the picture is seen through.")] = 0,
    size: options.Size = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG, JPEG or WebP.  [default: IN.attention.png]")
    ] = None,
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
    """Draw a heat map over the picture for every word of a prompt."""
    from scumble import api
    from scumble.editing.checks import check_seed, check_words
    from scumble.pictures import reading, writing

    voice, out = Voice(quiet), out or default(picture, "attention")
    words = word or list(dict.fromkeys(re.findall(r"\w+", prompt)))
    if not words:
        raise InputError('prompt: empty; say what the picture shows, such as --prompt "a red circle"')
    check_seed(seed)
    image = reading.read(picture)
    writing.check_output(out, [picture], overwrite=overwrite)
    with voice.waiting(f"loading {model}"):
        prior = api.load(
            model, device=device, dtype=dtype, revision=revision, offline=offline, lora=lora or (),
            memory=values.listed(memory or []),
        )  # fmt: skip
    if "control" not in prior.card.capabilities:
        raise InputError(f"attention: model '{prior.card.id}' has none that could be looked into")
    voice.say(f"model {prior.card.id}: {prior.card.domain}")
    check_words(prior.card, [prompt], force)
    cells = heat_maps(prior, image, prompt, words, seed=seed, size=size)
    writing.save(sheets.sheet(cells, title=prompt), out)
    typer.echo(out)


def heat_maps(
    prior: Prior,
    picture: Picture,
    prompt: str,
    words: Sequence[str],
    *,
    seed: int = 0,
    size: int | None = None,
) -> list[Cell]:
    """The picture, then for each word the picture under a heat map of where the model looks for it.

    Raises InputError for a word that is not in the prompt.
    """
    from scumble.core.noise import Noise
    from scumble.loops.observe import observe
    from scumble.pictures.canvas import Fit, to_canvas

    fit = Fit.of(picture.size, size or prior.card.size, prior.card.multiple)
    width, height = fit.canvas
    text = prior.embed([prompt], size=(height, width))
    for word in words:
        text.spans(word)
    times = [t for t, _ in prior.schedule.grid(LEVELS)]
    maps = observe(prior, prior.encode(to_canvas(picture, fit)), text, times, Noise(seed))
    return [Cell(picture.rgb, ["the picture"]), *(_cell(maps, word, picture, fit) for word in words)]


def _cell(maps: Maps, word: str, picture: Picture, fit: Fit) -> Cell:
    """A word's map from its least to its greatest value."""
    from scumble.attention.maps import resized
    from scumble.pictures.canvas import upright

    heat = resized(maps[word], fit.canvas[::-1]).cpu()
    least, most = float(heat.min()), float(heat.max())
    level = 2 * (heat - least) / max(most - least, 1e-12) - 1
    over = _glow(picture.rgb, upright(level.expand(1, 3, -1, -1), fit).convert("L"))
    return Cell(over, [word, f"{100 * least:.1f} to {100 * most:.1f} % of the attention"])


def _glow(below: Image.Image, heat: Image.Image) -> Image.Image:
    """The picture in grey, under colours that are the denser the hotter (0 to 255)."""
    import numpy as np
    from PIL import Image

    place = np.linspace(0, len(RAMP) - 1, 256)
    table = np.stack([np.interp(place, range(len(RAMP)), c) for c in zip(*RAMP, strict=True)], -1)
    colours = Image.fromarray(table.round().astype(np.uint8)[np.asarray(heat)])
    grey = below.convert("L").convert("RGB")
    return Image.composite(colours, grey, heat.point([70 + value * 150 // 255 for value in range(256)]))
