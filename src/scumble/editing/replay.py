"""Replay of a result: finds the files that its passport names, and compares the two pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError
from scumble.editing.passport import Passport, check
from scumble.pictures import sheets

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.prior import Prior
    from scumble.editing.recipe import Recipe
    from scumble.pictures.reading import Picture

ROUNDING = 1  # 8-bit steps by which equal edits may differ from one machine to another


def read(picture: Path, force: bool) -> Passport:
    """The passport, checked. Raises InputError if it is missing, damaged or, unless `force`, from a later scumble."""
    from scumble import __version__
    from scumble.pictures import reading

    passport = reading.read_passport(picture)
    if passport is None:
        raise InputError(
            f"{picture}: it does not say how it was made; it is not a result of scumble, was made with "
            "--no-metadata, or another program has saved it"
        )
    if "sheet" in passport:
        raise InputError(f"{picture}: a contact sheet is not made by one edit; name one of its cells")
    version = str(passport.get("scumble"))
    if _numbers(version) > _numbers(__version__) and not force:
        raise InputError(
            f"{picture}: it was made by scumble {version}, and this is {__version__}; install that, or --force"
        )
    check(passport, picture)
    return passport


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", version)[:3]]


def found(recipe: Recipe, passport: Passport, picture: Path, named: Mapping[str, Path | None]) -> Recipe:
    """The recipe with the paths of its pictures: those in `named`, or else found by name (see `find`).

    Raises InputError for a picture that is missing or has changed.
    """
    from scumble.pictures import reading

    image = reading.read(find(passport["input"], "input", picture, named["input"]))
    same(image.sha256, passport["input"], "input", image.name, picture)
    others: dict[str, Path] = {}
    for what in ("mask", "reference"):
        if not passport.get(what):
            continue
        path = others[what] = find(passport[what], what, picture, named[what])
        read = reading.read_mask(path, image.size) if what == "mask" else reading.read(path)
        same(read.sha256, passport[what], what, path, picture)
    return replace(recipe, image=image, **others)


def loras(passport: Passport, picture: Path) -> list[str]:
    """The paths of the LoRA files, each with its weight. Raises InputError for a missing one."""
    return [f"{find(each, 'lora', picture)}:{each['weight']}" for each in passport["model"]["lora"]]


def prepared(named: Mapping[str, str], then: Mapping[str, str | None], picture: Path) -> dict[str, object]:
    """Prepared artifacts, read from files. Raises InputError unless their digests are those of `then`."""
    from scumble import artifacts
    from scumble.editing import given

    here = given.read({**_packaged(then), **named})
    check_given({name: artifacts.digest(each) for name, each in here.items()}, then, picture)
    return here


def _packaged(then: Mapping[str, str | None]) -> dict[str, str]:
    """The networks of the package that a picture was made with, by their digests: nobody needs to name them."""
    from scumble import artifacts
    from scumble.editing import given

    return {
        name: "scenes"
        for name, digest in then.items()
        if given.packaged(name) and artifacts.digest(given.network(name, "scenes")) == digest
    }


def find(passport: Passport, what: str, picture: Path, given: Path | None = None) -> Path:
    """The file that a passport names: `given`, or the file of that name beside the picture, one folder up, or here.

    A name in a passport is never used as a path, because the picture may come from anywhere. Raises InputError if
    there is no such file.
    """
    name = Path(passport["name"]).name
    folders = [picture.absolute().parent, picture.absolute().parent.parent, Path.cwd()]
    found = given or next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise InputError(f"{picture}: its {what}, {name!r}, is not next to it; name it with --{what}")
    return found


def added(passport: Passport, picture: Path, vae: str | None, embedding: Sequence[str]) -> dict[str, Any]:
    """The paths of the codec and the embeddings that a picture was made with: those named, or else found by name.

    Raises InputError for a missing file.
    """
    model = passport["model"]
    if not vae and "vae" in model:
        vae = str(find(model["vae"], "vae", picture))
    if not embedding:
        embedding = [str(find(each, "embedding", picture)) for each in model.get("embedding", ())]
    return {"vae": vae, "embedding": tuple(embedding)}


def same(sha256: str, passport: Passport, what: str, name: object, picture: Path) -> None:
    """Raises InputError for another file than the one that the picture was made from."""
    if sha256 != passport["sha256"]:
        raise InputError(
            f"{name}: not the {what} that {picture} was made from (sha256 {sha256[:12]}... here, "
            f"{passport['sha256'][:12]}... there); name the right one with --{what}"
        )


def check_given(here: Mapping[str, str | None], then: Mapping[str, str | None], picture: Path) -> None:
    """Raises InputError unless the prepared artifacts are the same. Both arguments: name -> digest."""
    for name in {**then, **here}:
        if name not in here:
            raise InputError(
                f"{picture}: its {name} was prepared in advance; name the file with --given {name}=FILE"
            )
        if name not in then:
            raise InputError(f"--given {name}: {picture} was made without one; leave it out")
        if here[name] != then[name]:
            raise InputError(
                f"--given {name}: not the one that {picture} was made with (hash {then[name]} then, {here[name]} now)"
            )


def named(recorded: str, given: str | None) -> str:
    """The method's name. Raises InputError for a file of the user's own that this command line does not name."""
    own = ".py:" in recorded
    if own and given is None:
        raise InputError(
            f"method {recorded}: a file runs only if you name it: --method FILE.py:{recorded.rpartition(':')[2]}"
        )
    if given is not None and not own:
        raise InputError(f"--method {given}: the picture was made by {recorded}; leave it out")
    return given or recorded


def check_output(out: Path, image: Picture | None = None) -> None:
    """Raises InputError for a path that exists or cannot be written."""
    from scumble.pictures import writing

    if out.exists():
        raise InputError(
            f"{out}: this file exists already, and replay overwrites nothing; choose another name"
        )
    alpha, size = (image.transparent, image.size) if image else (False, (0, 0))
    writing.check_output(out, alpha=alpha, size=size)


def check_model(prior: Prior, passport: Passport, picture: Path) -> None:
    """Raises InputError for another model, or other LoRAs, than the picture was made with."""
    model = passport["model"]
    added = [each["sha256"] for each in prior.loaded.get("lora", [])]
    for what, now, then in [
        ("model", prior.card.hash, model["hash"]),
        ("lora", ", ".join(added) or "none", ", ".join(each["sha256"] for each in model["lora"]) or "none"),
    ]:
        if now != then:
            raise InputError(
                f"{what}: {picture} was made with another one (hash {then} then, {now} now); name that one with "
                f"--{what}, or --force"
            )


def as_saved(picture: Image.Image, like: Path) -> Image.Image:
    """The picture after saving in the format of `like` and reading back, so that JPEG's loss is no difference."""
    from PIL import Image

    from scumble.pictures import reading, writing

    with Image.open(like) as image:
        suffix = {"WEBP": ".webp", "PNG": ".png"}.get(image.format or "", ".jpg")
    with TemporaryDirectory() as folder:
        writing.save(picture, Path(folder) / f"again{suffix}")
        return reading.read(Path(folder) / f"again{suffix}").rgb


def compare(before: Image.Image, after: Image.Image) -> dict[str, Any]:
    """The largest difference of any pixel in 8-bit steps, the share of pixels that differ, and the verdict."""
    steps = sheets.difference(before, after)
    largest = int(steps.max())
    return {"largest": largest, "share": float((steps > 0).mean()), "equal": largest <= ROUNDING}
