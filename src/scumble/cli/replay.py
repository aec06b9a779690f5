"""`scumble replay`: make a result again from what its own file says of it, and say how far the two differ."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli import options, recipe, values
from scumble.cli.recipe import Passport
from scumble.cli.voice import Voice, perform, prepare
from scumble.core.errors import InputError
from scumble.pictures import sheets

if TYPE_CHECKING:
    from PIL import Image

    from scumble.core.prior import Prior
    from scumble.pictures.reading import Picture

EXAMPLES = ("scumble replay out.png", "scumble replay in.sweep/guidance-3.png --input in.png -o again.png")

ROUNDING = 1  # 8-bit steps by which equal edits may differ from one machine to another


def command(
    picture: Annotated[Path, typer.Argument(metavar="OUT", help="A result of scumble, with its metadata.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--input", help="The picture it was made of.  \\[default: by its name, beside OUT or above]"
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option("--mask", help="The mask it was made with.  \\[default: likewise]")
    ] = None,
    given: options.Given = None,
    method: Annotated[
        str | None,
        typer.Option("--method", help="./file.py:Class, where it was made by one: files run only if named."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model it was made with, where it has another name here."),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", metavar="FILE[:WEIGHT]", help="The LoRA files, where they are elsewhere; repeats."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Keep the new picture here; nothing is overwritten.")
    ] = None,
    device: options.Device = "auto",
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Of the network calls.  \\[default: as it was made]")
    ] = None,
    memory: options.Memory = None,
    offline: options.Offline = False,
    force: Annotated[
        bool, typer.Option("--force", help="Go on with another model, or after a later version of scumble.")
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a result again from what its own file says, and report the largest difference of any pixel.

    The same machine and versions give the same picture. Elsewhere arithmetic differs in the last bits: up to 1 step
    of 255 counts as equal. A larger difference is reported with what is not as it was; the exit code is 0, for the
    picture could be made.
    """
    from scumble import artifacts
    from scumble.pictures import reading, writing

    voice = Voice(quiet)
    told = read(picture, force)
    image = reading.read(find(told["input"], "input", picture, source))
    same(image.sha256, told["input"], "input", image.name, picture)
    drawn = told["mask"] and find(told["mask"], "mask", picture, mask)
    if drawn:
        same(reading.read_mask(drawn, image.size).sha256, told["mask"], "mask", drawn, picture)
    prepared = artifacts.given(given or [])
    check_given({name: artifacts.digest(each) for name, each in prepared.items()}, told["given"], picture)
    what = recipe.asked(told) | {"method": named(told["method"], method), "mask": drawn, "given": prepared}
    if out:
        check_output(out, image)
    before = reading.read(picture).rgb
    if before.size != image.size:
        raise InputError(f"{picture}: it is not of the input's size, so it was changed since it was made")
    loading = {
        "device": device,
        "dtype": dtype or told["model"]["dtype"] or "auto",
        "memory": values.listed(memory or []) or told["model"]["memory"],
        "offline": offline,
        "lora": lora or [f"{find(each, 'lora', picture)}:{each['weight']}" for each in told["model"]["lora"]],
    }
    prior = load(told["model"], picture, model, force, voice, **loading)
    plan = prepare(voice, image, prior, **what, force=told["force"] or force)
    edit = perform(plan, voice)
    assert edit.picture is not None
    if out:
        writing.save(edit.picture, out, {**edit.provenance, "settings": told["settings"]})
    report = compare(before, as_saved(edit.picture, picture)) | {
        "file": str(picture),
        "again": str(out) if out else None,
        "not_as_it_was": recipe.differences(plan.promise(), told) + recipe.versions(plan.promise(), told),
    }
    voice.say(words(report))
    if as_json:
        typer.echo(json.dumps(report))
    elif out:
        typer.echo(str(out))


def read(picture: Path, force: bool) -> Passport:
    """The passport, checked. Raises InputError where it is missing, damaged or, unless `force`, of a later scumble."""
    from scumble import __version__
    from scumble.pictures import reading

    told = reading.read_passport(picture)
    if told is None:
        raise InputError(
            f"{picture}: it does not say how it was made; it is no result of scumble, was made with --no-metadata, or "
            "another program has written it since"
        )
    if "sheet" in told:
        raise InputError(f"{picture}: a contact sheet is not made by one edit; name one of its cells")
    version = str(told.get("scumble"))
    if _numbers(version) > _numbers(__version__) and not force:
        raise InputError(
            f"{picture}: it was made by scumble {version}, and this is {__version__}; install that, or --force"
        )
    recipe.check(told, picture)
    return told


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d{1,9}", version)[:3]]


def find(told: Passport, what: str, picture: Path, given: Path | None = None) -> Path:
    """The file that a passport names: `given`, or beside the picture, in the folder above it, or in the current one.

    A name from a passport is never a path, for the file may come from anywhere. Raises InputError.
    """
    name = Path(told["name"]).name
    folders = [picture.absolute().parent, picture.absolute().parent.parent, Path.cwd()]
    found = given or next((folder / name for folder in folders if (folder / name).is_file()), None)
    if found is None:
        raise InputError(f"{picture}: its {what}, {name!r}, is not beside it; name it with --{what}")
    return found


def same(sha256: str, told: Passport, what: str, name: object, picture: Path) -> None:
    """Raises InputError for another file than the one that the picture was made of."""
    if sha256 != told["sha256"]:
        raise InputError(
            f"{name}: another file than the {what} {picture} was made of (sha256 {sha256[:12]}... here, "
            f"{told['sha256'][:12]}... there); name the right one with --{what}"
        )


def check_given(here: Mapping[str, str | None], then: Mapping[str, str | None], picture: Path) -> None:
    """Raises InputError unless the same was prepared before. Both: a digest by name."""
    for name in {**then, **here}:
        if name not in here:
            raise InputError(
                f"{picture}: its {name} was prepared before; name the file with --given {name}=FILE"
            )
        if name not in then:
            raise InputError(f"--given {name}: {picture} was made without; leave it out")
        if here[name] != then[name]:
            raise InputError(
                f"--given {name}: another one than {picture} was made with (hash {then[name]} then, {here[name]} now)"
            )


def named(told: str, given: str | None) -> str:
    """The method: a file of the user's own only where this command line names it. Raises InputError."""
    own = ".py:" in told
    if own and given is None:
        raise InputError(
            f"method {told}: a file runs only if you name it: --method FILE.py:{told.rpartition(':')[2]}"
        )
    if given is not None and not own:
        raise InputError(f"--method {given}: the picture was made by {told}; leave it out")
    return given or told


def check_output(out: Path, image: Picture) -> None:
    """Raises InputError for a name that cannot be written, or is taken."""
    from scumble.pictures import writing

    if out.exists():
        raise InputError(
            f"{out}: there is such a file already, and replay overwrites nothing; choose another name"
        )
    writing.check_output(out, alpha=image.alpha is not None, size=image.size)


def load(
    told: Passport, picture: Path, model: str | None, force: bool, voice: Voice, **loading: Any
) -> Prior:
    """The model that the picture was made with. Raises InputError for another one unless `force`."""
    from scumble import api

    name = model or told["name"]
    revision = None if model else told["revision"]
    try:
        with voice.waiting(f"loading {name}"):
            prior = api.load(name, revision=revision, **loading)
    except InputError as error:
        if model:
            raise
        raise InputError(
            f"{error} {picture} was made with {told['id']}; name it with --model if it is here"
        ) from error
    voice.say(f"model {prior.card.id}: {prior.card.domain}")
    added = [each["sha256"] for each in getattr(prior, "loaded", {}).get("lora", [])]
    for what, now, then in [
        ("model", prior.card.hash, told["hash"]),
        ("lora", ", ".join(added) or "none", ", ".join(each["sha256"] for each in told["lora"]) or "none"),
    ]:
        if now != then and not force:
            raise InputError(
                f"{what}: {picture} was made with another one (hash {then} then, {now} now); name that one with "
                f"--{what}, or --force"
            )
    return prior


def as_saved(picture: Image.Image, like: Path) -> Image.Image:
    """The picture as it reads after being saved in the format of a file: what JPEG rounds is no difference."""
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


def words(report: Mapping[str, Any]) -> str:
    """The verdict in a sentence or two."""
    largest, where = report["largest"], f"in {sheets.percent(report['share'])} of the pixels"
    if largest == 0:
        return f"{report['file']}: the same again, to the last pixel"
    if report["equal"]:
        return f"{report['file']}: the same again, up to rounding: {largest} step of 255 at most, {where}"
    changed = "; ".join(report["not_as_it_was"]) or "nothing that the file tells"
    return f"{report['file']}: NOT the same: up to {largest} steps of 255, {where}; not as it was: {changed}"
