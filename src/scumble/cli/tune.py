"""`scumble tune`: a model tuned on pictures of your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from scumble.artifacts.store import check_output
from scumble.cli import flags, options, values
from scumble.cli.stopping import stopping
from scumble.cli.voice import Voice
from scumble.core.atomic import claimed
from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.editing.inputs import inputs

if TYPE_CHECKING:
    from scumble.core.prior import Prior
    from scumble.core.request import Step
    from scumble.core.types import Image

EXAMPLES = (
    'scumble tune imagic in.png --prompt "a blue circle" -o circle.tuned',
    'scumble tune dreambooth dogs --prompt "a photo of a sks dog" --word sks -o dog.tuned',
)
ENDINGS = ".png", ".jpg", ".jpeg", ".webp"


@flags.takes(Loading)
def command(
    loading: Loading,
    method: Annotated[str, typer.Argument(help="imagic, dreambooth, textual_inversion or unitune.")],
    pictures: Annotated[list[Path], typer.Argument(metavar="IN...", help="Pictures, or a folder of them.")],
    prompt: Annotated[
        str,
        typer.Option(
            help="What the pictures show; for imagic, what the picture should show; for unitune, by itself the word."
        ),
    ] = "",
    word: Annotated[
        str, typer.Option(help="The identifier, a rare word, that the pictures are bound to.")
    ] = "",
    class_prompt: Annotated[
        str,
        typer.Option(
            "--class-prompt",
            help="A prompt for other pictures of the same kind.  \\[default: --prompt without the word]",
        ),
    ] = "",
    class_pictures: Annotated[
        Path | None,
        typer.Option(
            "--class-pictures", help="A folder of others of the kind; default: the model makes them."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value of the training; repeats."),
    ] = None,
    precision: Annotated[str, typer.Option(help="Mixed precision of the network: no, bf16 or fp16.")] = "no",
    checkpointing: Annotated[
        bool,
        typer.Option("--checkpointing", help="Less memory for more time: activations are computed again."),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="The seed of the times and of the noise in the training.")
    ] = 0,
    size: options.Size = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write.  \\[default: METHOD.tuned]")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Tune a model on pictures of your own; edits and paintings take the file with --given tuned=FILE.

    Ctrl-C stops it after the current step; the same command goes on from there.
    """
    from scumble.editing.loading import load
    from scumble.train import tune

    voice, settings = Voice(quiet), values.settings(set_ or [])
    kind = tune.kind(method)
    tune.values(method, settings)
    out = out or Path(f"{method}.tuned")
    files = found(pictures)
    others = [] if class_pictures is None else found([class_pictures])
    check_output(out, [*files, *others, *inputs(loading)], overwrite=overwrite)
    if len(files) > 1 and not kind.several:
        raise InputError(f"{method}: {len(files)} pictures, and it learns from one; name one of them")
    with voice.waiting(f"loading {loading.model}"):
        dtype = "float32" if loading.dtype == "auto" else loading.dtype
        prior = load(replace(loading, dtype=dtype))
    voice.say(f"model {prior.card.id}: {prior.card.domain}")
    asked = tune.Asked(
        recipe=tune.values(method, settings, prior.card),
        prompt=prompt,
        word=word,
        class_prompt=class_prompt,
        seed=seed,
        precision=precision,
        checkpointing=checkpointing,
    )
    for line in tune.check(prior, asked):
        voice.say(line)
    tune.check_class(asked, others)
    with claimed(out), stopping(voice) as stop:
        seen = _on_canvas(prior, files, size, several=kind.several)
        kept = _on_canvas(prior, others, size, several=True)
        if not kept and tune.wanted(asked):
            kept = _class_pictures(prior, asked, seen, stop, voice)
        _run(tune, (prior, seen, asked, out), kept, stop, voice)
    typer.echo(out)
    voice.say(f"use it with: scumble {kind.use} --given tuned={out}")


def found(places: Sequence[Path]) -> list[Path]:
    """The pictures that are named, and those in folders that are. Raises InputError where there are none."""
    files = list[Path]()
    for place in places:
        if place.is_dir():
            inside = sorted(file for file in place.iterdir() if file.suffix.lower() in ENDINGS)
            if not inside:
                raise InputError(f"{place}: no pictures there; it takes PNG, JPEG and WebP files")
            files += inside
        else:
            files.append(place)
    return files


def _on_canvas(prior: Prior, files: Sequence[Path], size: int | None, *, several: bool) -> list[Image]:
    """One picture on the canvas that its edit has; several ones as the middle square of each."""
    from scumble.pictures import reading
    from scumble.pictures.placed import Placed
    from scumble.train import direction

    if several:
        return direction.pictures_of(prior, [reading.read(file).rgb for file in files])
    return [Placed.of(reading.read(file), prior, size=size).image for file in files]


def _class_pictures(
    prior: Prior, asked: Any, seen: Sequence[Image], stop: Callable[[], bool], voice: Voice
) -> list[Image]:
    from scumble.train import tune

    height, width = seen[0].shape[-2:]
    n = tune.wanted(asked)
    try:
        with voice.waiting(f'the model makes {n} pictures of "{tune.class_prompt(asked)}"'):
            return tune.class_pictures(prior, asked, (height, width), lambda k, of: None, stop)
    except tune.Stopped:
        voice.say("stopped before the training; the same command begins anew")
        raise KeyboardInterrupt from None


def _run(
    tune: Any,
    given: tuple[Any, ...],
    others: Sequence[Image],
    stop: Callable[[], bool],
    voice: Voice,
) -> None:
    out: Path = given[-1]
    last = dict[str, float]()
    with voice.steps("tuning") as tell:

        def on_step(step: Step, shown: Mapping[str, float]) -> None:
            last.update(shown)
            tell(step)

        try:
            tune.tune(*given, others=others, on_step=on_step, stop=stop)
        except tune.Stopped:
            voice.say(f"stopped; the same command goes on from {out.name}.resume.pt")
            raise KeyboardInterrupt from None
    if last:
        voice.say("last loss: " + ", ".join(f"{name} {value:.4f}" for name, value in last.items()))
