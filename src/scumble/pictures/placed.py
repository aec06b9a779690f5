"""A picture and its mask on a model's canvas, and the way back under the layer."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from scumble.core.machine import limits
from scumble.pictures.canvas import (
    VISIBLE,
    Box,
    Fit,
    crop,
    crop_box,
    finish,
    mask_to_canvas,
    to_canvas,
    upright,
)
from scumble.pictures.layer import Keep, Layer, lift, opaque
from scumble.pictures.reading import Picture, PictureMask

if TYPE_CHECKING:
    from torch import Tensor

    from scumble.core.prior import Prior


@dataclass(frozen=True, eq=False, kw_only=True)
class Placed:
    """A picture, its mask and its place on a prior's canvas; made once, shared by all edits of the picture.

    `box`: the part of the picture that is on the canvas, in pixels; None: the whole. `latent` and `before` ask the
    prior when they are first read, and are cached.
    """

    prior: Prior
    picture: Picture
    mask: PictureMask | None
    box: Box | None
    fit: Fit

    @classmethod
    def of(
        cls,
        picture: Picture,
        prior: Prior,
        *,
        mask: PictureMask | None = None,
        size: int | None = None,
        crop: str = "none",
    ) -> Placed:
        """The picture on the canvas of `prior`, whose long side is `size` pixels, by default the prior's own.

        crop: "auto": only the part around a small mask, at the full size of the canvas; "none": the whole.
        """
        box, fit = lie(picture, mask, size or prior.card.size, prior.card.multiple, crop)
        return cls(prior=prior, picture=picture, mask=mask, box=box, fit=fit)

    # What is on the canvas

    @cached_property
    def part(self) -> Picture:
        """The part of the picture that is on the canvas."""
        return crop(self.picture, self.box) if self.box else self.picture

    @cached_property
    def image(self) -> Tensor:
        """The part on the canvas: float32 (1, 3, H, W) in [-1, 1]."""
        with self._asking():
            return to_canvas(self.part, self.fit)

    @cached_property
    def opening(self) -> Tensor | None:
        """The mask on the canvas: float32 (1, 1, H, W), 1 = may change."""
        with self._asking():
            return None if self.mask is None else mask_to_canvas(self._mask(self.mask), self.fit)

    def put(self, picture: Picture) -> Tensor:
        """Another picture on this canvas, (1, 3, H, W): in this picture's place if it has its size, else fitted in."""
        if picture.size == self.picture.size:
            return to_canvas(crop(picture, self.box) if self.box else picture, self.fit)
        return to_canvas(picture, Fit.within(picture.size, self.fit.canvas))

    # What the prior makes of it

    @cached_property
    def latent(self) -> Tensor:
        """The part in the prior's latent space, (1, c, h, w)."""
        with self._asking():
            return self.prior.encode(self.image)

    @cached_property
    def before(self) -> Tensor:
        """D0, the prior's own copy of the part: encoded and decoded, (1, 3, H, W)."""
        with self._asking():
            return self.prior.decode(self.latent).to(self.image)

    @contextmanager
    def _asking(self) -> Generator[None]:
        from scumble.core.host import isolated

        with isolated(), limits(self.prior.loaded.get("device", "cpu")):
            yield

    # The way back

    def layer(self, after: Tensor, keep: str | float = "auto", before: Tensor | None = None) -> Layer:
        """The layer of a canvas image (1, 3, H, W) over the picture, at the picture's size, inside the mask.

        keep: "none" for a layer that covers everything, else as in `lift`. before: D0, if it is already decoded.
        """
        if keep == "none":
            return self.whole(opaque(after, self.fit))
        threshold: Keep = "auto" if keep == "auto" else float(keep)
        return self.whole(
            lift(self.before if before is None else before, after, self.part, self.fit, threshold)
        )

    def recoloured(self, after: Image.Image) -> Layer:
        """The part in other colours, at its own size, as a layer of the pixels whose colour differs."""
        opacity = (np.asarray(after) != np.asarray(self.part.rgb)).any(axis=2).astype(np.uint8) * 255
        return self.whole(Layer(after, Image.fromarray(opacity)))

    def whole(self, layer: Layer) -> Layer:
        """A layer of the part as a layer of the whole picture, inside the mask and on visible pixels only."""
        if self.part.alpha is not None and self.part.transparent:
            layer = layer.within(self.part.alpha.point(VISIBLE))
        if self.mask is not None:
            layer = layer.within(self._mask(self.mask))
        return layer if self.box is None else layer.placed(self.box, self.picture.size)

    def finished(self, layer: Layer) -> Image.Image:
        """The picture under a layer, with the picture's size, mode and colour profile."""
        return finish(layer.over(self.picture.rgb), self.picture)

    def upright(self, image: Tensor) -> Image.Image:
        """A canvas image (1, 3, H, W) without its padding, as an RGB image of the part's size."""
        return upright(image, self.fit)

    def _mask(self, mask: PictureMask) -> Image.Image:
        return mask.values.crop(self.box) if self.box else mask.values


def encode(several: Sequence[Placed]) -> None:
    """Find `latent` and `before` of several pictures on canvases of one size, by one call of the prior for each.

    They are equal to those found one by one, up to rounding. Raises MachineError where memory does not suffice.
    """
    import torch

    first = several[0]
    with first._asking():  # pyright: ignore[reportPrivateUsage]
        latents = first.prior.encode(torch.cat([each.image for each in several]))
        copies = first.prior.decode(latents)
    for i, each in enumerate(several):
        vars(each)["latent"] = latents[i : i + 1]  # where cached_property keeps it
        vars(each)["before"] = copies[i : i + 1].to(each.image)


def lie(
    picture: Picture, mask: PictureMask | None, long_side: int, multiple: int, crop: str = "none"
) -> tuple[Box | None, Fit]:
    """The part of a picture that is edited (None: the whole), and where it lies on a canvas of that long side."""
    box = crop_box(mask.values, picture.size, long_side) if mask and crop == "auto" else None
    part = picture.size if box is None else (box[2] - box[0], box[3] - box[1])
    return box, Fit.of(part, long_side, multiple)
