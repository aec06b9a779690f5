"""Heat maps over the picture: where a model looks for each word of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scumble.pictures.sheets import RAMP, Cell

if TYPE_CHECKING:
    from PIL import Image

    from scumble.attention.maps import Maps
    from scumble.pictures.placed import Placed

LEVELS = 10  # of noise, at which the model is asked


def heat_maps(placed: Placed, prompt: str, words: Sequence[str], seed: int = 0) -> list[Cell]:
    """The picture, then one cell per word: the picture under a heat map of the model's cross-attention to the word.

    Raises InputError for a word that is not in the prompt.
    """
    from scumble.core.noise import Noise
    from scumble.loops.observe import observe

    prior = placed.prior
    width, height = placed.fit.canvas
    text = prior.embed([prompt], size=(height, width))
    for word in words:
        text.spans(word)
    schedule = prior.schedule.on(width * height // prior.card.multiple**2)
    times = [t for t, _ in schedule.grid(LEVELS)]
    maps = observe(prior, placed.latent, text, times, Noise(seed))
    return [Cell(placed.picture.rgb, ["the picture"]), *(_cell(maps, word, placed) for word in words)]


def _cell(maps: Maps, word: str, placed: Placed) -> Cell:
    """A word's map, scaled from its minimum to its maximum."""
    from scumble.attention.maps import resized

    heat = resized(maps[word], placed.fit.canvas[::-1]).cpu()
    least, most = float(heat.min()), float(heat.max())
    level = 2 * (heat - least) / max(most - least, 1e-12) - 1
    over = _glow(placed.picture.rgb, placed.upright(level.expand(1, 3, -1, -1)).convert("L"))
    return Cell(over, [word, f"{100 * least:.1f} to {100 * most:.1f} % of the attention"])


def _glow(below: Image.Image, heat: Image.Image) -> Image.Image:
    """The picture in grey under the colours of `heat` (0 to 255): the hotter, the more opaque."""
    import numpy as np
    from PIL import Image

    place = np.linspace(0, len(RAMP) - 1, 256)
    table = np.stack([np.interp(place, range(len(RAMP)), c) for c in zip(*RAMP, strict=True)], -1)
    colours = Image.fromarray(table.round().astype(np.uint8)[np.asarray(heat)])
    grey = below.convert("L").convert("RGB")
    return Image.composite(colours, grey, heat.point([70 + value * 150 // 255 for value in range(256)]))
