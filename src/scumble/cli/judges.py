"""`scumble train classifier` and `scumble train clip`: networks that judge a model's latents."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scumble.cli.train import report

CLASSIFIER_EXAMPLES = (
    "scumble train classifier -o runs/classifier --minutes 20",
    "scumble train classifier -o runs/classifier --codec scenes/vae --unet scenes/unet --text scenes/text_encoder",
)
CLIP_EXAMPLES = (
    "scumble train clip -o runs/clip --minutes 20",
    "scumble train clip -o runs/clip --pictures runs/classifier.log/pictures",
)

Out = Annotated[
    Path,
    typer.Option("-o", "--out", help="A new folder; OUT.log next to it has logs, checkpoints and pictures."),
]
Minutes = Annotated[float, typer.Option(help="The budget, in minutes of wall time.")]
Codec = Annotated[
    Path | None,
    typer.Option(help="The codec (an AutoencoderKL folder) whose latents are judged; default: scenes'."),
]
Text = Annotated[
    Path | None,
    typer.Option(help="The text encoder (a CLIPTextModel folder) to begin from; default: scenes'."),
]
Pictures = Annotated[
    Path | None, typer.Option(help="A folder of encoded pictures of another training, to use and to add to.")
]
Number = Annotated[int, typer.Option("--n", min=64, help="How many pictures the network learns from.")]
Seed = Annotated[int, typer.Option(min=0, help="The seed of the initial weights and of the data's order.")]


def classifier(
    out: Out = Path("runs/classifier"),
    minutes: Minutes = 20,
    codec: Codec = None,
    unet: Annotated[
        Path | None,
        typer.Option(help="The U-Net (a UNet2DConditionModel folder) to begin from; default: scenes'."),
    ] = None,
    text: Text = None,
    pictures: Pictures = None,
    n: Number = 16384,
    seed: Seed = 0,
) -> None:
    """Train a noise-aware classifier of shape, colour, texture and background; continues a run that was cut off."""
    report()
    from scumble.train.classifier import ClassifierRecipe, train_classifier, unet_of
    from scumble.train.judging import codec_of, text_of
    from scumble.train.place import alone

    recipe = ClassifierRecipe(minutes=minutes, pictures=n, seed=seed)
    with alone(out):
        train_classifier(codec_of(codec), unet_of(unet), text_of(text), out, recipe, pictures=pictures)
    _tell(out, "classifier_guidance", "classifier")


def clip(
    out: Out = Path("runs/clip"),
    minutes: Minutes = 20,
    codec: Codec = None,
    text: Text = None,
    pictures: Pictures = None,
    n: Number = 16384,
    seed: Seed = 0,
) -> None:
    """Train a small CLIP that knows noise; continues a run that was cut off."""
    report()
    from scumble.train.clip import ClipRecipe, train_clip
    from scumble.train.judging import codec_of, text_of
    from scumble.train.place import alone

    recipe = ClipRecipe(minutes=minutes, pictures=n, seed=seed)
    with alone(out):
        train_clip(codec_of(codec), text_of(text), out, recipe, pictures=pictures)
    _tell(out, "sdg", "clip")


def _tell(out: Path, method: str, name: str) -> None:
    typer.echo(f"the {name} is in {out}, its curve over noise levels in {out / 'gates.json'}")
    typer.echo(f"use it with: scumble edit --method {method} --given {name}={out}")
