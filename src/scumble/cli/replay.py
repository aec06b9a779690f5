"""`scumble replay`: makes a result again from the passport in its file, and reports how far the two differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.cli import flags, options, values
from scumble.cli.voice import Voice, perform, prepare
from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.editing.passport import Passport, differences, other_versions, painted, recipe_of
from scumble.pictures.sheets import percent

if TYPE_CHECKING:
    from scumble.core.prior import Prior
    from scumble.core.request import Edit

EXAMPLES = ("scumble replay out.png", "scumble replay in.sweep/guidance-3.png --input in.png -o again.png")


@flags.takes(Loading, without=("model", "dtype", "revision", "lora", "vae", "embedding", "clip_skip"))
def command(
    loading: Loading,
    picture: Annotated[Path, typer.Argument(metavar="OUT", help="A result of scumble, with its metadata.")],
    source: Annotated[
        Path | None,
        typer.Option(
            "--input",
            help="The picture that was edited.  \\[default: found by name, next to OUT or one folder up]",
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("--mask", help="The mask that was used.  \\[default: found in the same way]"),
    ] = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference", help="The reference picture that was used.  \\[default: found in the same way]"
        ),
    ] = None,
    given: options.Given = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="./file.py:Class, if its method is in a file: files run only if you name them."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model that was used, if it has another name here."),
    ] = None,
    lora: Annotated[
        list[str] | None,
        typer.Option(
            "--lora", metavar="FILE[:WEIGHT]", help="The LoRA files, if they are elsewhere; repeats."
        ),
    ] = None,
    vae: Annotated[
        str | None, typer.Option("--vae", metavar="FILE", help="The codec, where it is elsewhere.")
    ] = None,
    embedding: Annotated[
        list[str] | None,
        typer.Option(
            "--embedding", metavar="FILE", help="The embeddings, where they are elsewhere; repeats."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Save the new picture here; no file is overwritten.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="Precision of the network calls.  \\[default: as recorded]")
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Continue with another model, or with a picture from a later version of scumble."
        ),
    ] = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make a result again from the record in its file, and report the largest difference of any pixel.

    The same machine and versions give the same picture. On other machines, arithmetic differs in the last bits: up to
    1 step of 255 counts as equal. A larger difference is reported with what has changed since. The exit code is 0 in
    both cases, because the picture could be made.
    """
    from scumble.editing import replay
    from scumble.editing.paint import PaintRecipe, paint
    from scumble.pictures import reading

    voice = Voice(quiet)
    passport = replay.read(picture, force)
    where: dict[str, Any] = {  # the model and its files where they are here
        "device": loading.device,
        "offline": loading.offline,
        **({"model": model, "revision": None} if model else {}),
        **({"dtype": dtype} if dtype else {}),
        **({"memory": loading.memory} if loading.memory else {}),
        "lora": tuple(lora or replay.loras(passport, picture)),
        **replay.added(passport, picture, vae, embedding or ()),
    }
    if painted(passport):
        for name, value in {"input": source, "mask": mask, "reference": reference, "method": method}.items():
            if value is not None:
                raise InputError(f"--{name}: {picture} was painted from words alone; leave it out")
        if out:
            replay.check_output(out)
        recipe = PaintRecipe.of(passport)
        tuned = replay.prepared(values.given(given or []), passport.get("given", {}), picture)
        recipe = replace(recipe, force=recipe.force or force, given=tuned, **where)
        prior = load(recipe, passport, picture, force, named=model is not None, voice=voice)
        painting = paint(recipe.on(prior))
        with voice.steps(painting.name) as tell:
            made = painting(tell)
        finish(made, painting.promise(), passport, Again(picture, out, voice, as_json))
        return
    recipe = replay.found(
        recipe_of(passport), passport, picture, {"input": source, "mask": mask, "reference": reference}
    )
    image = reading.read(recipe.image)
    recipe = replace(
        recipe,
        image=image,
        method=replay.named(passport["method"], method),
        given=replay.prepared(values.given(given or []), passport["given"], picture),
        force=recipe.force or force,
    )
    if out:
        replay.check_output(out, image)
    if reading.read(picture).size != tuple(recipe.upscale * side for side in image.size):
        raise InputError(f"{picture}: its size is not the input's, so it was changed after it was made")
    recipe = replace(recipe, **where)
    prior = load(recipe, passport, picture, force, named=model is not None, voice=voice)
    plan = prepare(voice, recipe.on(prior))
    finish(perform(plan, voice), plan.promise(), passport, Again(picture, out, voice, as_json))


@dataclass(frozen=True)
class Again:
    """A replay: the old picture, the path for the new one, and how the comparison is reported."""

    picture: Path
    out: Path | None
    voice: Voice
    as_json: bool


def finish(edit: Edit, promise: Passport, passport: Passport, again: Again) -> None:
    """Save the new picture if requested, and report how far the two differ."""
    from scumble.editing import replay
    from scumble.pictures import reading, writing

    assert edit.picture is not None
    if again.out:
        writing.save(edit.picture, again.out, {**edit.provenance, "settings": passport["settings"]})
    before = reading.read(again.picture).rgb
    if before.size != edit.picture.size:
        raise InputError(
            f"{again.picture}: its size is another one than it says, so it was changed after it was made"
        )
    report = replay.compare(before, replay.as_saved(edit.picture, again.picture)) | {
        "file": str(again.picture),
        "again": str(again.out) if again.out else None,
        "not_as_it_was": differences(promise, passport) + other_versions(promise, passport),
    }
    again.voice.say(words(report))
    if again.as_json:
        typer.echo(json.dumps(report))
    elif again.out:
        typer.echo(str(again.out))


def load(
    recipe: Loading, passport: Passport, picture: Path, force: bool, *, named: bool, voice: Voice
) -> Prior:
    """The model that the picture was made with. Raises InputError for another one unless `force`."""
    from scumble.editing import loading
    from scumble.editing.replay import check_model

    try:
        with voice.waiting(f"loading {recipe.model}"):
            prior = loading.load(recipe)
    except InputError as error:
        if named:
            raise
        raise InputError(
            f"{error} {picture} was made with {passport['model']['id']}; if it is on this machine, name it with --model"
        ) from error
    voice.say(f"model {prior.card.id}: {prior.card.domain}")
    if not force:
        check_model(prior, passport, picture)
    return prior


def words(report: Mapping[str, Any]) -> str:
    """The result of the comparison in one or two sentences."""
    largest, where = report["largest"], f"in {percent(report['share'])} of the pixels"
    if largest == 0:
        return f"{report['file']}: identical in every pixel"
    if report["equal"]:
        return f"{report['file']}: identical up to rounding: {largest} step of 255 at most, {where}"
    changed = "; ".join(report["not_as_it_was"]) or "nothing that the file records"
    return f"{report['file']}: NOT identical: up to {largest} steps of 255, {where}; changed since: {changed}"
