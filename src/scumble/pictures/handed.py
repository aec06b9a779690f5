"""Conversion of pictures that programs pass in: arrays, tensors, bytes and open files."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from scumble.core.errors import InputError

CHANNELS = 1, 3, 4
SLACK = 1e-3
"""How far a float may lie outside its range: what resizing and half precision do."""


def to_bytes(source: object, name: str) -> bytes | None:
    """The contents of a picture file, from bytes or an open file; None for anything else.

    Raises InputError for a file that was opened as text or cannot be read.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(cast("bytes", source))
    read = getattr(source, "read", None)
    if not callable(read):
        return None
    try:
        data = read()
    except Exception as error:  # closed, opened for writing, or whatever stands behind it
        raise InputError(
            f"{name}: cannot be read ({error}); hand over a file that is open for reading"
        ) from error
    if not isinstance(data, bytes):
        raise InputError(f"{name}: the file is open as text; open it as bytes, open(path, 'rb')")
    return data


def to_array(source: object) -> NDArray[Any] | None:
    """An array, or a torch tensor as an array in the same layout; None for anything else.

    Raises InputError for a tensor whose values cannot be read: a sparse one, or one without data.
    """
    if isinstance(source, np.ndarray):
        return cast("NDArray[Any]", source)
    if type(source).__module__.partition(".")[0] != "torch" or not hasattr(source, "detach"):
        return None
    try:
        tensor = cast(Any, source).detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (NotImplementedError, RuntimeError, TypeError) as error:
        raise InputError(
            f"a tensor whose values cannot be read ({error}); hand over a dense one with data"
        ) from None


def to_image(array: NDArray[Any], name: str) -> Image.Image:
    """A PIL image from pixels.

    Shapes: (h, w), (h, w, c), (c, h, w), or a batch of one of these; c is 1, 3 or 4. Values: uint8; bool; floats in
    [0, 1], or in [-1, 1] if any is below 0.

    Raises InputError, which names `name`, for other shapes, types and values.
    """
    pixels = _last(array)
    if pixels is None or (pixels.dtype.kind not in "bf" and pixels.dtype != np.uint8):
        raise InputError(
            f"{name}: an array must be uint8, bool or float, of shape (h, w), (h, w, 3), (h, w, 4) or (3, h, w), "
            f"not {array.dtype} {array.shape}"
        )
    if 0 in pixels.shape:
        raise InputError(f"{name}: {pixels.shape[1]}x{pixels.shape[0]} pixels; there is nothing to edit")
    pixels = _eight_bits(pixels, name)
    grey = pixels.ndim == 3 and pixels.shape[2] == 1
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if grey else pixels))


def _last(array: NDArray[Any]) -> NDArray[Any] | None:
    """One picture with its channels last, or None if the shape is not that of a picture."""
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 2:
        return array
    if array.ndim != 3:
        return None
    if array.shape[2] in CHANNELS:
        return array
    return np.moveaxis(array, 0, -1) if array.shape[0] in CHANNELS else None


def _eight_bits(pixels: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * np.uint8(255)
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if not (low >= -1 - SLACK and high <= 1 + SLACK):  # NaN is neither
        raise InputError(
            f"{name}: its values go from {low:.4g} to {high:.4g}; floats must be in [0, 1] or [-1, 1], "
            "levels up to 255 must be uint8"
        )
    scaled = (values + 1) / 2 if low < -SLACK else values
    return np.rint(scaled.clip(0, 1) * 255).astype(np.uint8)
