"""Reading and checking pictures, masks and passports."""

from __future__ import annotations

import hashlib
import io
import json
import os
import threading
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from scumble.core.errors import InputError
from scumble.pictures import handed, png
from scumble.pictures.masks import mask_values

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
LIGHT = 200
"""Mean level of what is visible above which a white ground would hide it."""

MAX_PIXELS = 200_000_000
LOST = {b"GRAY": "grey", b"CMYK": "CMYK"}  # colour profiles that would misread RGB pixels
PASSPORT = "scumble"  # the key of the PNG text chunk
IMAGE_DESCRIPTION = 0x010E  # the EXIF tag that carries the passport in JPEG and WebP

_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16L", "I;16B"}
_pillow_lock = threading.Lock()


@dataclass(frozen=True)
class Picture:
    """A picture as its user sees it: upright, 8-bit RGB, alpha set aside.

    rgb: transparent pixels have a neutral colour, so that no hidden colour affects an edit. hidden: the colours as
    stored; None if they are the same.
    """

    rgb: Image.Image
    alpha: Image.Image | None
    grey: bool
    icc: bytes | None
    sha256: str
    name: str
    path: Path | None = None
    hidden: Image.Image | None = None

    @property
    def transparent(self) -> bool:
        """Whether any pixel is not opaque."""
        return self.alpha is not None and self.alpha.getextrema()[0] != 255

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.rgb.size


PictureLike: TypeAlias = (
    "str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor | bytes | IO[bytes] | Picture"
)
"""What `read` takes."""


@dataclass(frozen=True)
class PictureMask:
    """8-bit grey, of the picture's size: 255 may change, 0 stays."""

    values: Image.Image
    sha256: str
    name: str = "mask"


def read(source: PictureLike, name: str | None = None) -> Picture:
    """Read a picture from a path, a PIL image, an array or tensor (see `handed.to_image`), a file's bytes or an open
    file.

    Raises:
        InputError: missing, unreadable, truncated or animated file, a folder, not a PNG, JPEG or WebP
            picture, zero size, more than 200 megapixels (known from the header, before anything is decoded).
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        name = name or str(path)
        return _from_bytes(read_bytes(path, name), name, path)
    name = name or "picture"
    if isinstance(source, Image.Image):
        return _normalise(source, name, _digest(_pixels(source, name)))
    if (array := handed.to_array(source)) is not None:
        return _normalise(handed.to_image(array, name), name, _digest(array.tobytes()))
    if (data := handed.to_bytes(source, name)) is not None:
        return _from_bytes(data, name)
    raise InputError(
        f"{name}: {_kind(source)} is no picture; give a path, a PIL image, an array, a tensor, bytes or an open file"
    )


def read_mask(source: PictureLike, size: tuple[int, int]) -> PictureMask:
    """Read a mask (white may change, black stays, grey is soft) of exactly `size` = (width, height).

    Other kinds of masks are read if they are clear, with a warning that says how (`masks.mask_values`).

    Raises:
        InputError: what `read` raises, another size than the picture's, or nothing that may change.
    """
    name = f"mask {source}" if isinstance(source, str | os.PathLike) else "mask"
    picture = read(source, name)
    if picture.size != size:
        raise InputError(
            f"{name}: {_times(picture.size)} pixels, but the picture has {_times(size)}; "
            "draw the mask at the picture's own size"
        )
    values = mask_values(picture.hidden or picture.rgb, picture.alpha, name)
    if values.getextrema()[1] == 0:
        raise InputError(f"{name}: all black, so nothing may change; paint white what may change")
    return PictureMask(
        values, picture.sha256, str(source) if isinstance(source, str | os.PathLike) else "mask"
    )


def _from_bytes(data: bytes, name: str, path: Path | None = None) -> Picture:
    image = _decode(data, name)
    _tell_lost_colours(data, image, name)
    return _normalise(image, name, _digest(data), path)


def _pixels(image: Image.Image, name: str) -> bytes:
    """A PIL image with its pixels loaded. Raises InputError if they cannot be read: Pillow reads them late."""
    try:
        return image.tobytes()
    except MemoryError:
        raise
    except Exception as error:  # as in `open_picture`
        raise InputError(f"{name}: broken or truncated picture ({error})") from error


def _kind(source: object) -> str:
    return "None" if source is None else f"a {type(source).__name__}"


def read_bytes(path: Path, name: str) -> bytes:
    """A file's bytes. Raises InputError for what is missing, no file, or cannot be read."""
    try:
        if path.is_dir():
            raise InputError(f"{name}: a folder, not a picture; name a PNG, JPEG or WebP file")
        if not path.exists():
            raise InputError(f"{name}: no such file")
        if not path.is_file():
            raise InputError(f"{name}: not a regular file")
        data = path.read_bytes()
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a ValueError for a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read ({reason}); check name and permissions") from error
    return data


def _decode(data: bytes, name: str) -> Image.Image:
    """Open, check the header, decode. A PNG with a broken ancillary chunk is read without it."""
    found = png.mended(data)
    if found is None:
        return open_picture(data, name)
    data, dropped = found
    image = open_picture(data, name)
    what = f"{name}: dropped broken or very large PNG chunks: {', '.join(dropped)}; the pixels are whole"
    warnings.warn(what, stacklevel=4)
    return image


def _tell_lost_colours(data: bytes, image: Image.Image, name: str) -> None:
    """Warn of colour information that the result will lose."""
    gamma, lost = png.gamma(data), list[str]()
    if gamma is not None and abs(gamma - 1 / 2.2) > 0.01:
        lost.append(f"gamma of {gamma:.3f}")
    if "cICP" in png.names(data):
        lost.append("cICP chunk (a wide or HDR colour space)")
    if (space := (image.info.get("icc_profile") or b"")[16:20]) in LOST:
        lost.append(f"{LOST[space]} colour profile")
    for what in lost:
        warnings.warn(
            f"{name}: its {what} is ignored and not kept; convert the picture to sRGB first", stacklevel=4
        )


def open_picture(data: bytes, name: str, *, load: bool = True) -> Image.Image:
    """Opens a picture and judges its header; decodes it unless `load` is False. Raises InputError."""
    if not data:
        raise InputError(f"{name}: the file is empty")
    try:
        with _no_pillow_limit():
            image = Image.open(io.BytesIO(data), formats=sorted(set(FORMATS.values())))
        _check_size(image.size, name)
        # A JPEG of several pictures (MPO: phones add a preview or a depth map) is its first picture.
        if image.format != "MPO" and getattr(image, "is_animated", False):
            raise InputError(f"{name}: an animated picture; save the frame to edit as a separate picture")
        if load:
            image.load()
    except (InputError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not a PNG, JPEG or WebP picture (or its header is broken)") from error
    except Exception as error:  # Pillow's parsers raise whatever they run into
        raise InputError(f"{name}: broken or truncated picture ({error})") from error
    return image


@contextmanager
def _no_pillow_limit() -> Generator[None]:
    """Lift Pillow's pixel limit for one opening: it is lower than ours, only warns, and is a global setting."""
    with _pillow_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _check_size(size: tuple[int, int], name: str) -> None:
    if min(size) == 0:
        raise InputError(f"{name}: {_times(size)} pixels; there is nothing to edit")
    if size[0] * size[1] > MAX_PIXELS:
        raise InputError(
            f"{name}: {_times(size)} is {size[0] * size[1] / 1e6:.0f} megapixels; "
            f"the limit is {MAX_PIXELS // 10**6}: make it smaller"
        )


def _normalise(image: Image.Image, name: str, sha256: str, path: Path | None = None) -> Picture:
    _check_size(image.size, name)
    if image.mode not in _MODES:
        raise InputError(f"{name}: pictures of mode {image.mode} are not supported; convert it to RGB")
    icc = image.info.get("icc_profile")
    icc = icc if icc and icc[16:20] == b"RGB " else None  # see LOST
    grey = image.mode in {"1", "L", "LA", "I;16", "I;16L", "I;16B"}
    image = _upright(image, name)
    alpha = None
    if image.mode.startswith("I;16"):
        levels, clear = np.asarray(image), image.info.get("transparency")
        if isinstance(clear, int):  # one level of grey is transparent
            alpha = Image.fromarray(np.where(levels == clear, 0, 255).astype(np.uint8))
        image = Image.fromarray(np.rint(levels / 257).astype(np.uint8))
    elif image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
    rgb = image.convert("RGB")
    rgb.info = {}  # comments and other metadata would find their way into results
    shown = rgb if alpha is None else _over_ground(rgb, alpha)
    return Picture(shown, alpha, grey, icc, sha256, name, path, None if shown is rgb else rgb)


def _over_ground(rgb: Image.Image, alpha: Image.Image) -> Image.Image:
    """The picture with its fully transparent pixels white, or grey if the visible part is light."""
    seen = np.asarray(alpha) > 0
    if seen.all():
        return rgb
    colours = np.asarray(rgb).copy()
    light = seen.any() and colours[seen].mean() > LIGHT
    colours[~seen] = 128 if light else 255
    return Image.fromarray(colours)


def _upright(image: Image.Image, name: str) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # as above
        warnings.warn(f"{name}: its EXIF data are broken; the picture is used as stored", stacklevel=4)
        return image


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _times(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def read_passport(path: Path) -> dict[str, Any] | None:
    """The passport that `save` wrote into a file, or None. Raises InputError if the file is no picture."""
    image = _decode(read_bytes(path, str(path)), str(path))
    try:
        passport = json.loads(image.info.get(PASSPORT) or image.getexif()[IMAGE_DESCRIPTION])
    except Exception:  # as above: no EXIF, broken EXIF, no JSON
        return None
    return cast("dict[str, Any]", passport) if isinstance(passport, dict) else None
