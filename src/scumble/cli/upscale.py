"""`scumble upscale`: a picture at twice or four times its size."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import options
from scumble.cli.voice import Voice
from scumble.core.atomic import claimed
from scumble.editing.enlarging import Enlarging
from scumble.editing.results import Delivery
from scumble.editing.upscale import STAGE, UPSCALING, Upscaling

EXAMPLES = (
    "scumble upscale in.png -o large.png",
    'scumble upscale in.png --stage ./IF-II-L-v1.0 --prompt "a red panda" -o large.png',
)


def command(
    image: Annotated[Path, typer.Argument(metavar="IN", help="A PNG, JPEG or WebP picture of any size.")],
    factor: Annotated[
        int | None,
        typer.Option(
            help="2, or 4 in two passes; a stage that takes text needs 4.  \\[default: 2; with text 4]"
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            help="What the picture shows, for a stage that takes text; the built-in one takes none."
        ),
    ] = None,
    negative: Annotated[
        str | None, typer.Option(help="What it does not show, for a stage that takes text.")
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(help="For a stage that takes text: how strongly it follows the prompt.  \\[default: 4]"),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            help="Moves of the sampler in each pass; one call of the network each.  \\[default: 4; with text 50]"
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Noise added to the picture first, so that flaws are drawn anew; 0: none.  \\[default: 0; with "
            "text what was published]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = Upscaling.seed,
    stage: Annotated[
        str,
        typer.Option(
            help="The built-in stage, a folder that `scumble train sr3` made, or a folder with the second stage of IF."
        ),
    ] = STAGE,
    device: Annotated[
        str, typer.Option(help="The device: cpu, an accelerator, or auto for the best available.")
    ] = "auto",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG, JPEG or WebP.  \\[default: IN.upscale.png]")
    ] = None,
    overwrite: options.Overwrite = False,
    no_metadata: options.NoMetadata = False,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Upscale a picture by a super-resolution stage; the built-in kind works in tiles that leave no seams."""
    asked = Enlarging(
        stage=stage,
        factor=factor,
        steps=steps,
        level=level,
        seed=seed,
        prompt=prompt,
        negative=negative,
        guidance=guidance,
    )
    with ExitStack() as claims:
        run(
            image, asked, device, Delivery(out, (), overwrite, not no_metadata), Voice(quiet), as_json, claims
        )


def run(
    image: Path,
    asked: Enlarging,
    device: str,
    delivery: Delivery,
    voice: Voice,
    as_json: bool,
    claims: ExitStack,
) -> None:
    """Check everything, load, upscale, save. Raises InputError before any work is done where that can be."""
    from scumble.core import machine
    from scumble.editing import upscale
    from scumble.editing.enlarging import enlarged
    from scumble.pictures.reading import read

    picture = read(image)
    asked.check(picture)
    (path,), _ = delivery.paths(image, UPSCALING, [""], [asked.seed], claims)
    delivery.check([path], picture, [image])
    if delivery.out:
        claims.enter_context(claimed(delivery.out))
    where = upscale.chosen(device)
    with voice.waiting(f"loading {asked.stage}"):
        drawer = asked.load(where)
    drawer.check(picture)
    delivery.check_passport(upscale.passport(picture, drawer.stated()), path)
    began = time.perf_counter()
    with voice.calls("upscale") as tell:
        made = enlarged(picture, drawer, tell)
    told = upscale.passport(picture, drawer.stated(), time.perf_counter() - began)
    done = delivery.write(made, path, told if delivery.metadata else None)
    about = {
        "file": str(done),
        "beside": [],
        "size": list(made.size),
        "seed": asked.seed,
        "seconds": told["seconds"],
        "peak_memory": machine.peak(where),
        "passport": told,
    }
    typer.echo(json.dumps(about) if as_json else str(done))
    voice.say(f"{done}: {made.width}x{made.height}, {told['seconds']:.1f} s, stage {drawer.name}")
