"""Draw the pictures of README.md and docs/first-edit.md anew, with the built-in model and its default method.

    python scripts/pictures.py [FOLDER]

Run it after the weights have changed, and look at every picture. FOLDER: by default docs/pictures.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

import scumble
from scumble.scenes import Scene, Thing
from scumble.scenes.render import render

SIZE = 192  # pixels of a picture in the strip
GAP = 6

DRAWN = Scene(
    things=(
        Thing(shape="circle", colour="red", size="medium", place="left"),
        Thing(shape="square", colour="green", size="medium", place="right"),
    ),
    background="white",
)
SOURCE = "a medium red circle on the left and a medium green square on the right on a white background by day"
CHANGES = (
    ("red", "blue"),
    ("circle", "star"),
    ("white", "sky"),
    ("green", "striped green"),
    (" and a medium green square on the right", ""),
    ("by day", "at night"),
)


def strip() -> Image.Image:
    """The drawing, and what each change makes of it."""
    before = Image.fromarray(render(DRAWN, 256))
    model = scumble.load("scenes")
    pictures = [before]
    for old, new in CHANGES:
        edit = scumble.edit(before, source=SOURCE, target=SOURCE.replace(old, new), model=model)
        assert edit.picture is not None
        pictures.append(edit.picture)
    row = Image.new("RGB", (len(pictures) * (SIZE + GAP) - GAP, SIZE), "#d8d8d8")
    for k, picture in enumerate(pictures):
        row.paste(
            picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS), (k * (SIZE + GAP), 0)
        )
    return row


def circle(folder: Path) -> None:
    """The pictures of `scumble demo`, smaller."""
    from tempfile import TemporaryDirectory

    from scumble.cli.app import app

    with TemporaryDirectory() as place:
        app(["demo", "-o", place, "--quiet"], standalone_mode=False)
        names = {"before": "before", "after": "after", "after.compare": "compare", "two.edits": "two_edits"}
        for name, to in (names | {"before.tasks": "tasks"}).items():
            with Image.open(Path(place) / f"{name}.png") as picture:
                picture.convert("RGB").save(folder / f"{to}.png", optimize=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs/pictures"
    strip().save(folder / "strip.png", optimize=True)
    circle(folder)


if __name__ == "__main__":
    main()
