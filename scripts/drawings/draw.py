"""Draw the pictures of `scumble bench drawings` anew: the same ones at every call, with the pinned versions.

    pip install -e ".[drawings]" -c constraints.txt
    python scripts/drawings/draw.py

It writes data.jsonl and the pictures into src/scumble/measuring/drawings, or into the folder named as its argument.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from figures import Drawing
from numpy.typing import NDArray
from PIL import Image
from plan import EACH, KINDS, Plan, plan
from programs import PROGRAMS

HOME = Path(__file__).parents[2] / "src" / "scumble" / "measuring" / "drawings"

FAINT = 6  # 8-bit steps that nobody sees: a JPEG's blocks differ by them far from where anything changed


def main(home: Path) -> None:
    """Everything, into `home`."""
    pictures = home / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.iterdir():
        old.unlink()
    lines: list[str] = []
    for number in range(EACH * len(KINDS)):
        made = plan(number)
        name = f"{made.kind}-{number // len(KINDS) + 1:02}"
        entry: dict[str, object] = {
            "id": name,
            "split": made.split,
            "kind": made.kind,
            "program": made.program,
        }
        entry |= {"source": made.source, "target": made.target}
        digest = hashlib.sha256()
        for role, data, ending in files(made):
            digest.update(data)
            path = pictures / f"{name}{'' if role == 'image' else f'-{role}'}.{ending}"
            path.write_bytes(data)
            entry[role] = path.relative_to(home).as_posix()
        entry["sha256"] = digest.hexdigest()[:16]
        if made.moves:
            entry["moves"] = made.moves
        lines.append(json.dumps(entry))
    (home / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def files(made: Plan) -> list[tuple[str, bytes, str]]:
    """(role, contents, ending) of an edit's picture, true edit and mask."""
    draw = PROGRAMS[made.program]
    pair = [draw(drawing) for drawing in (made.before, made.after)]
    if made.quality is None:
        ending, encoded = "png", [png(picture) for picture in pair]
    else:
        ending, encoded = "jpg", [jpeg(picture, made.quality) for picture in pair]
    shown = (Image.open(io.BytesIO(data)).convert("RGB") for data in encoded)
    differs = _differ(*shown, by=0 if made.quality is None else FAINT)
    mask = Image.fromarray(differs | about(made, draw)).convert("1")
    return [("image", encoded[0], ending), ("truth", encoded[1], ending), ("mask", png(mask), "png")]


def about(made: Plan, draw: Callable[[Drawing], Image.Image]) -> NDArray[np.bool_]:
    """(h, w): every pixel that belongs to what the edit is about, before any JPEG."""
    mask = np.zeros(made.before.size[::-1], bool)
    for drawing in (made.before, made.after):
        rest = replace(drawing, figures=tuple(f for f in drawing.figures if f not in made.about))
        if len(rest.figures) < len(drawing.figures):
            mask |= _differ(draw(drawing), draw(rest))
    return mask


def _differ(a: Image.Image, b: Image.Image, by: int = 0) -> NDArray[np.bool_]:
    return (np.abs(np.asarray(a, np.int16) - np.asarray(b)) > by).any(-1)


def png(picture: Image.Image) -> bytes:
    """As small as it gets without loss: with a palette where there are at most 256 colours."""
    forms = [picture]
    if picture.mode == "RGB" and (counted := picture.getcolors(256)):
        palette = Image.new("P", (1, 1))
        palette.putpalette([v for _, rgb in sorted(counted, reverse=True) for v in rgb])
        small = picture.quantize(palette=palette, dither=Image.Dither.NONE)
        if (np.asarray(small.convert("RGB")) == np.asarray(picture)).all():
            forms.append(small)
    return min((_saved(form, "PNG", optimize=True) for form in forms), key=len)


def jpeg(picture: Image.Image, quality: int) -> bytes:
    """As programs save it."""
    return _saved(picture, "JPEG", quality=quality)


def _saved(picture: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HOME)
