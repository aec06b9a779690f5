"""Draw the pictures of README.md, docs/first-edit.md and other guides anew, with the built-in model.

    python scripts/pictures.py [FOLDER]

Run it after the weights have changed, and look at every picture. FOLDER: by default docs/pictures.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

import scumble
from scumble.cli.app import app
from scumble.scenes import Scene, Thing, full_caption
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

LOOKED_AT = (
    (
        ("cyan", "diamond", "background", "night"),
        Scene(
            things=(Thing(shape="diamond", colour="cyan", texture="striped", size="medium", place="centre"),),
            background="grey",
            look="night",
        ),
    ),
    (
        ("red", "star", "yellow", "circle"),
        Scene(
            things=(
                Thing(shape="star", colour="red", texture="dotted", size="medium", place="right"),
                Thing(shape="circle", colour="yellow", size="small", place="bottom"),
            ),
            background="sand",
        ),
    ),
)
EXAMPLES = {"neural_field": "field", "recolour": "lut"}  # docs/engine.md


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


def demo(folder: Path) -> None:
    """The pictures of `scumble demo`, and the sweep of docs/sweep.md."""
    with TemporaryDirectory() as place:
        run("demo", "-o", place)
        names = {"before": "before", "after": "after", "after.compare": "compare", "two.edits": "two_edits"}
        for name, to in (names | {"before.tasks": "tasks"}).items():
            keep(Path(place) / f"{name}.png", folder / f"{to}.png")
        change = ("--source", "a red circle on a white background", "--change", "red=blue")
        over = ("--over", "guidance=1.5,2.5,4", "--over", "steps=6,12,24")
        run("sweep", f"{place}/before.png", *change, *over, "-o", f"{place}/sweep")
        keep(Path(place) / "sweep/sheet.png", folder / "sweep.png")


def heat(folder: Path) -> None:
    """Where the model looks, one drawing over the other."""
    with TemporaryDirectory() as place:
        sheets: list[Image.Image] = []
        for words, scene in LOOKED_AT:
            drawing, sheet = Path(place) / "in.png", Path(place) / f"{len(sheets)}.png"
            Image.fromarray(render(scene, 256)).save(drawing)
            asked = [part for word in words for part in ("--word", word)]
            run("attention", str(drawing), "--prompt", full_caption(scene), *asked, "-o", str(sheet))
            sheets.append(Image.open(sheet).convert("RGB"))
    size = max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)
    both = Image.new("RGB", size, sheets[0].getpixel((0, 0)))
    for k, sheet in enumerate(sheets):
        both.paste(sheet, (0, k * sheets[0].height))
    both.save(folder / "heat.png", optimize=True)


def moved(folder: Path) -> None:
    """What the examples make whose form is not a picture."""
    for example, name in EXAMPLES.items():
        with TemporaryDirectory() as place:
            script = Path(__file__).parents[1] / "examples" / f"{example}.py"
            subprocess.run([sys.executable, script, "--out", place], check=True)
            keep(Path(place) / "source.png", folder / f"{name}_before.png", 128)
            keep(Path(place) / "edited.png", folder / f"{name}_after.png", 128)


def run(*words: str) -> None:
    """A command of scumble."""
    app([*words, "--quiet"], standalone_mode=False)


def keep(made: Path, to: Path, side: int | None = None) -> None:
    """side: the long side's pixels; by default as they are."""
    with Image.open(made) as picture:
        shown = picture.convert("RGB")
    if side:
        shown.thumbnail((side, side), Image.Resampling.LANCZOS)
    shown.save(to, optimize=True)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs/pictures"
    strip().save(folder / "strip.png", optimize=True)
    demo(folder)
    heat(folder)
    moved(folder)


if __name__ == "__main__":
    main()
