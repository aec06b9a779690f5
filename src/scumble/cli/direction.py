"""`scumble train direction`: one edit, learned from two phrases and a CLIP."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from scumble.artifacts.store import SUFFIX, check_output
from scumble.cli import flags, options, values
from scumble.cli.stopping import stopping
from scumble.cli.tune import found
from scumble.cli.voice import Voice
from scumble.core.atomic import claimed
from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.editing.inputs import inputs

if TYPE_CHECKING:
    from scumble.core.judges import Embedder
    from scumble.core.prior import Prior
    from scumble.core.request import Step
    from scumble.core.types import Image

EXAMPLES = (
    'scumble train direction "a picture by day" "a picture at night" --clip clip-vit-base-patch16',
    'scumble train direction "a cat" "a dog" --method diffusionclip --clip CLIP --pictures cats -o dog.tuned',
)


@flags.takes(Loading)
def command(
    loading: Loading,
    source: Annotated[str, typer.Argument(help="What the pictures show.")],
    target: Annotated[str, typer.Argument(help="What they should show.")],
    method: Annotated[str, typer.Option(help="asyrp or diffusionclip.")] = "asyrp",
    clip: Annotated[
        str | None,
        typer.Option(help='The folder of a CLIP, which measures the edit; "scenes": the built-in model\'s.'),
    ] = None,
    pictures: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures like those to edit; for the built-in model they are drawn."),
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many pictures are drawn, or read at most.")] = 24,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A value of the training; repeats."),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="The seed of the first weights and of the drawn pictures.")
    ] = 0,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="The file to write.  \\[default: TARGET.safetensors]")
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Learn an edit from two phrases and a CLIP, for any number of pictures (`asyrp`, `diffusionclip`).

    Ctrl-C stops it after the current step; the same command goes on from there.
    """
    from scumble.editing.loading import load
    from scumble.train import direction

    voice, settings = Voice(quiet), values.settings(set_ or [])
    out = out or Path(re.sub(r"\W+", "-", target.strip()).strip("-") + SUFFIX)
    _check(source, target, method, clip, out)
    files = [] if pictures is None else _files(pictures)
    check_output(out, [*files, clip, *inputs(loading)], overwrite=overwrite)
    direction.check(method, settings)
    judge = _judge(cast(str, clip))
    with voice.waiting(f"loading {loading.model}"):
        dtype = "float32" if loading.dtype == "auto" else loading.dtype
        prior = load(replace(loading, dtype=dtype))
    voice.say(f"model {prior.card.id}: {prior.card.domain}")
    asked = direction.Asked(
        method=method,
        source=source,
        target=target,
        recipe=direction.values(method, settings, prior.card),
        seed=seed,
    )
    seen = _pictures(prior, files[:n], n, seed)
    with claimed(out), stopping(voice) as stop:
        made = _train(direction, (prior, judge, seen, asked, out), stop, voice)
    typer.echo(out)
    voice.say(f"use it with: scumble edit IN.png --method {method} --given {made.name}={out}")


def _check(source: str, target: str, method: str, clip: str | None, out: Path) -> None:
    for name, words in {"source": source, "target": target}.items():
        if not words.strip():
            raise InputError(
                f"{name}: empty; describe in a few words what the pictures show before and after"
            )
    if clip is None:
        raise InputError(
            "clip: missing; name the folder of a CLIP with --clip, which measures the edit, or --clip scenes"
        )
    if method == "asyrp" and out.suffix != SUFFIX:
        raise InputError(f"{out}: the name of a direction must end in {SUFFIX}")


def _judge(clip: str) -> Embedder:
    from scumble.editing.given import network

    return cast("Embedder", network("clip", clip))


def _files(folder: Path) -> list[Path]:
    """The pictures of a folder. Raises InputError where there are none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name one with pictures like those that will be edited")
    return found([folder])


def _pictures(prior: Prior, files: Sequence[Path], n: int, seed: int) -> list[Image]:
    """The pictures in the files, or as many drawn ones."""
    from scumble.pictures import reading
    from scumble.train import direction

    if not files:
        return direction.drawn(prior, n, seed)
    return direction.pictures_of(prior, [reading.read(file).rgb for file in files])


def _train(direction: Any, given: tuple[Any, ...], stop: Callable[[], bool], voice: Voice) -> Any:
    out: Path = given[-1]
    last: list[Mapping[str, float]] = []
    with voice.steps("training") as tell:

        def on_step(step: Step, shown: Mapping[str, float]) -> None:
            last[:] = [shown]
            tell(step)

        try:
            made = direction.train_direction(*given, on_step=on_step, stop=stop)
        except direction.Stopped:
            voice.say(f"stopped; the same command goes on from {out.name}.resume.pt")
            raise KeyboardInterrupt from None
    if last:
        voice.say(", ".join(f"{name} {value:.3f}" for name, value in last[0].items()))
    return made
