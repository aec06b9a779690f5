"""Results at twice or four times their size: a stage after an edit or a painting (CDM, arXiv:2106.15282).

An upscaled edit is an edit of the upscaled picture. The stage draws the picture before and after the edit, and the
edit's layer lies between the two, each of its pixels as a square of 2 x 2 or 4 x 4. So what the edit left alone is
what the stage alone makes of the picture, bit for bit. And where the stage's pictures, averaged over these squares,
give back what they were drawn from, the whole gives back the edit, to the same error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError
from scumble.core.machine import limits
from scumble.editing import upscale
from scumble.editing.upscale import Upscaling

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.prior import Card
    from scumble.networks.sr3 import SuperResolution
    from scumble.pictures.layer import Layer
    from scumble.pictures.reading import Picture


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """How the results of a model are made larger: the values and the loaded stage."""

    upscaling: Upscaling
    stage: SuperResolution
    device: str

    def picture(self, picture: Picture) -> Picture:
        """A picture at the larger size, as `scumble upscale` makes it."""
        with limits(self.device):
            return upscale.larger(picture, self.upscaling, self.stage, device=self.device)

    def edit(self, layer: Layer, picture: Picture) -> tuple[Image.Image, Layer]:
        """The edited picture and its layer at the larger size, from the layer over the input."""
        from PIL import Image

        from scumble.pictures.canvas import VISIBLE, finish

        below = self.picture(picture)
        shown = Image.composite(layer.colour, picture.rgb, layer.opacity.point(VISIBLE))
        colour = self.picture(replace(picture, rgb=shown, alpha=None, hidden=None)).rgb
        # Nearest: any wider kernel would open the layer outside the mask, and change the averages.
        opacity = layer.opacity.resize(colour.size, Image.Resampling.NEAREST)
        above = replace(layer, colour=colour, opacity=opacity)
        return finish(above.over(below.rgb), below), above

    def stated(self) -> dict[str, Any]:
        """The passport's entry: every value that decides the larger picture, and the stage by its hash."""
        return upscale.stated(self.upscaling, self.stage)


def check(factor: int, card: Card, picture: Picture | None = None) -> None:
    """Raises InputError where the results of a model, or an edit of this picture, cannot be made larger."""
    if factor == 1:
        return
    if card.upscaler is None:
        raise InputError(
            f"upscale: no stage was made for '{card.id}'; leave it out, or run `scumble upscale --stage FOLDER` on the "
            "result, with a stage of your own"
        )
    upscale.load(_values(factor, 0, card.upscaler))
    if picture is not None:
        upscale.check_picture(picture.size, picture.name, factor)


def of(factor: int, seed: int, card: Card, device: str) -> Upscaled | None:
    """How results of a model are made `factor` times as large; None for 1. Raises InputError like `check`."""
    if factor == 1:
        return None
    check(factor, card)
    values = _values(factor, seed, str(card.upscaler))
    return Upscaled(upscaling=values, stage=upscale.load(values), device=device)


def _values(factor: int, seed: int, stage: str) -> Upscaling:
    return Upscaling(factor=factor, seed=seed, stage=stage)
