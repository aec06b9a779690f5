"""Masks of various kinds: clear ones are read with a note, doubtful ones cause a warning, faint noise is ignored."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]

NOISE = 16
"""Levels of 255 from black or white that count as black or white: compression rings, and some programs leave a 1."""

PAINTED = 64
"""A pixel is painted where its strongest channel is above this."""

COLOURED = 0.25
"""Least chroma (1 - weakest / strongest channel) of a paint that is a colour, not grey."""

ONE_COLOUR = 0.12
"""Most that painted pixels may differ in hue, per channel, to be of one colour."""

LABELS = 3
"""A coloured mask with this many paints or more looks like a map of labels."""


def mask_values(rgb: Image.Image, alpha: Image.Image | None, name: str) -> Image.Image:
    """An 8-bit grey mask (255 may change) from a picture that serves as a mask. Warns unless it is plain grey.

    These kinds are read: grey from black to white; the values 0 and 1; one colour on black; one colour or white on
    a transparent sheet; the transparent hole of a picture. An `alpha` that is None or opaque is ignored.
    """
    colours = np.asarray(rgb)
    shown = None if alpha is None else np.asarray(alpha)
    if shown is not None and shown.min() < 255:
        values = _of_sheet(colours, shown, name)
    else:
        values = _of_paint(colours, name)
    values = np.where(values < NOISE, 0, np.where(values > 255 - NOISE, 255, values))
    return Image.fromarray(values.astype(np.uint8))


def _of_sheet(colours: Bytes, shown: Bytes, name: str) -> Bytes:
    """A mask from a picture with transparency: paint on an empty sheet, or a picture with a hole."""
    painted = colours[shown > 127].reshape(-1, 3).astype(np.float32)
    if not len(painted):
        return np.zeros_like(shown)
    spread = np.percentile(painted, 95, axis=0) - np.percentile(painted, 5, axis=0)
    if spread.max() > 60 and _grey(painted):  # black and white, some of it cut away
        return (_luma(colours) * (shown / 255.0)).astype(np.uint8)
    if spread.max() > 60:
        _say(name, "a picture with a transparent hole; what is transparent may change")
        return 255 - shown
    if painted.mean() > 255 - 2 * NOISE:
        if _framed(shown):  # or is it a picture on a white ground, and the hole is meant?
            _say(
                name,
                "white around a transparent hole; what is white may change. Is this the mask that you want?",
            )
        return shown
    if painted.max() < NOISE:
        _say(name, "black paint on a transparent sheet; what is painted may change")
    else:
        _say(name, "one colour on a transparent sheet; what is painted may change")
    return shown


def _framed(shown: Bytes) -> bool:
    """Whether most of the border is opaque."""
    border = np.concatenate([shown[0], shown[-1], shown[:, 0], shown[:, -1]])
    return float((border > 127).mean()) > 0.5


def _of_paint(colours: Bytes, name: str) -> Bytes:
    strongest = colours.max(axis=2)
    if strongest.max() == 1 and (colours.min(axis=2) == strongest).all():
        _say(name, "its values are 0 and 1; they are taken as black and white")
        return strongest * np.uint8(255)
    painted = strongest > PAINTED
    if not painted.any():
        return _luma(colours)
    hues = colours[painted].astype(np.float32) / strongest[painted][:, None]
    usual = np.median(hues, axis=0)
    if 1 - usual.min() < COLOURED and np.percentile(1 - hues.min(axis=1), 99) < COLOURED:
        return _luma(colours)
    if np.percentile(np.abs(hues - usual).max(axis=1), 75) < ONE_COLOUR and (~painted).any():
        _say(name, "one colour on black; what is painted may change")
        full = float(np.percentile(strongest[painted], 90))
        return np.clip(np.rint(strongest * (255 / full)), 0, 255).astype(np.uint8)
    paints = len(np.unique(colours[::2, ::2].reshape(-1, 3) // 32, axis=0))
    what = f"it has {paints} colours, like a map of labels" if LABELS <= paints <= 40 else "it has colours"
    _say(
        name,
        f"{what}; it is read by brightness: white may change, black stays. Is this the mask that you want?",
    )
    return _luma(colours)


def _grey(pixels: NDArray[np.float32]) -> bool:
    return float(np.percentile(np.ptp(pixels, axis=1), 95)) < 2 * NOISE


def _luma(colours: Bytes) -> Bytes:
    return np.asarray(Image.fromarray(colours).convert("L"))


def _say(name: str, reading: str) -> None:
    warnings.warn(f"{name}: {reading}", stacklevel=4)
