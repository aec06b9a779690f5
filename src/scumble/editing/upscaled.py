"""Results at twice or four times their size: a stage after an edit or a painting (CDM, arXiv:2106.15282).

An upscaled edit is an edit of the upscaled picture. The stage draws the picture before and after the edit, and the
edit's layer lies between the two, each of its pixels as a square of 2 x 2 or 4 x 4. So what the edit left alone is
what the stage alone makes of the picture, bit for bit. And where the stage's pictures, averaged over these squares,
give back what they were drawn from, the whole gives back the edit, to the same error.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from scumble.core.errors import InputError
from scumble.core.machine import limits
from scumble.editing import upscale
from scumble.editing.upscale import Upscaling

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.prior import Card
    from scumble.core.request import Edit, OnStep, Step
    from scumble.networks.sr3 import SuperResolution
    from scumble.pictures.layer import Layer
    from scumble.pictures.reading import Picture


BELOW = "below"
"""The key of the upscaled input in what edits of a picture share."""

Tell = Callable[[int, int], None]
"""Called after every call of the stage's network: (k, n), for one picture."""


@dataclass(frozen=True, kw_only=True)
class Upscaled:
    """How the results of a model are made larger: the values and the loaded stage."""

    upscaling: Upscaling
    stage: SuperResolution
    device: str

    @property
    def name(self) -> str:
        return self.stage.id

    def check(self, picture: Picture) -> None:
        """Raises InputError for a picture that is too small or too large."""
        upscale.check_picture(picture.size, picture.name, self.upscaling.factor)

    def calls(self, size: tuple[int, int]) -> int:
        """How often the stage's network is called for one picture of this size, (width, height)."""
        return upscale.calls(size, self.upscaling)

    def picture(self, picture: Picture, tell: Tell | None = None) -> Picture:
        """A picture at the larger size, as `scumble upscale` makes it."""
        with limits(self.device, upscale.remedy(self.device)):
            return upscale.larger(picture, self.upscaling, self.stage, device=self.device, on_step=tell)

    def below(
        self, picture: Picture, shared: dict[Hashable, object] | None, tell: Tell | None = None
    ) -> Picture:
        """The input of an edit at the larger size. `shared` keeps the last one: the targets of one seed have it in
        common.
        """
        key = (self.stage.hash, self.upscaling, picture.sha256)
        known = shared.get(BELOW) if shared is not None else None
        if isinstance(known, tuple) and known[0] == key:
            return cast("Picture", known[1])
        drawn = self.picture(picture, tell)
        if shared is not None:
            shared[BELOW] = (key, drawn)
        return drawn

    def edit(
        self,
        layer: Layer,
        picture: Picture,
        tell: Tell | None = None,
        shared: dict[Hashable, object] | None = None,
    ) -> tuple[Image.Image, Layer]:
        """The edited picture and its layer at the larger size, from the layer over the input."""
        from PIL import Image

        from scumble.pictures.canvas import VISIBLE, finish

        def after(k: int, n: int) -> None:
            if tell:
                tell(n + k, n)

        below = self.below(picture, shared, tell)
        shown = Image.composite(layer.colour, picture.rgb, layer.opacity.point(VISIBLE))
        colour = self.picture(replace(picture, rgb=shown, hidden=None), after).rgb
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


class Continued:
    """An `on_step` that goes on: the steps of a method first, then as many `calls` of the stage's network."""

    def __init__(self, on_step: OnStep, calls: int):
        self._on_step, self._calls, self._n = on_step, calls, 0

    def __call__(self, step: Step) -> None:
        self._n = step.n
        self._on_step(replace(step, n=step.n + self._calls))

    def of(self, result: Edit) -> Tell:
        """Reports the calls after the method's result, which is what they show."""
        from scumble.core.request import Step

        def tell(k: int, n: int) -> None:
            self._on_step(
                Step(
                    self._n + k,
                    self._n + self._calls,
                    0.0,
                    result.latent,
                    lambda: result.raw,
                    result.evaluations,
                )
            )

        return tell
