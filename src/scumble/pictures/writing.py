"""Writing pictures, completely or not at all."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.core.outputs import Inputs, check_place
from scumble.pictures.reading import FORMATS, IMAGE_DESCRIPTION, PASSPORT

LONGEST = {"PNG": 2**31 - 1, "JPEG": 65_500, "WEBP": 16_383}  # pixels of a side that the formats hold

LONGEST_PASSPORT = {
    "PNG": 900_000,
    "JPEG": 65_000,
    "WEBP": 900_000,
}  # bytes: of EXIF in JPEG, or what we read back


def check_output(
    path: Path,
    inputs: Inputs | Sequence[Path | None] = (),
    *,
    alpha: bool = False,
    size: tuple[int, int] = (0, 0),
    overwrite: bool = True,
    also: Sequence[str] = (),
) -> None:
    """Check, before any work is done, that `save` (or another writer, for suffixes in `also`: ".gif") can write `path`.

    Raises:
        InputError: unknown extension, missing or read-only folder, a folder, one of the inputs or (unless
            `overwrite`) any existing file; or a format without transparency (`alpha`), or too small for `size`, which
            is (width, height) in pixels.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None and path.suffix not in also:
        raise InputError(f"{path}: the name must end in {', '.join(FORMATS)}")
    if alpha and kind == "JPEG":
        raise InputError(
            f"{path}: the picture has transparency, which JPEG cannot hold; choose .png or .webp"
        )
    if kind and max(size) > LONGEST[kind]:
        raise InputError(f"{path}: {kind} holds at most {LONGEST[kind]} pixels a side; choose .png")
    files = inputs if isinstance(inputs, Inputs) else Inputs(inputs)
    check_place(path, files, overwrite=overwrite)


def check_passport(passport: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for a passport that the format cannot hold because its prompts are very long."""
    if len(_written(passport)) > LONGEST_PASSPORT[FORMATS[path.suffix.lower()]]:
        raise InputError(
            f"{path}: its prompts and values are too long to be written into a {path.suffix} file; "
            "shorten them, choose .png, or use --no-metadata"
        )


def _written(passport: Mapping[str, Any]) -> str:
    return json.dumps(passport, ensure_ascii=True, sort_keys=True, allow_nan=False)


def save(
    image: Image.Image, path: Path, passport: Mapping[str, Any] | None = None, *, replace: bool = True
) -> None:
    """Write `image` in the format of the suffix, completely or not at all, with the passport inside.

    PNG holds the passport in an iTXt chunk named "scumble", JPEG and WebP in EXIF's ImageDescription. PNG and WebP
    are lossless, JPEG is not. A passport that the format cannot hold is left out, with a warning.

    Raises:
        MachineError: the disk is full or fails.
        FileExistsError: the file exists by now, and `replace` is False.
    """
    text = _written(passport) if passport else None
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    kind = FORMATS[path.suffix.lower()]
    if text and len(text) > LONGEST_PASSPORT[kind]:
        warnings.warn(f"{path}: saved without its passport, which is too long for {kind}", stacklevel=2)
        text = None
    if kind == "JPEG" and image.mode in ("RGBA", "LA"):  # opaque, or `check_output` has refused it
        image = image.convert(image.mode[:-1])
    if kind == "PNG":
        options["pnginfo"] = info = PngInfo()
        if text:
            info.add_itxt(PASSPORT, text)
    else:
        options |= {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True, "exact": True}
        if text:
            exif = Image.Exif()
            exif[IMAGE_DESCRIPTION] = text
            options["exif"] = exif
    with atomic(path, replace=replace) as part:
        image.save(part, kind, **options)
