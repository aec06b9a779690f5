"""The commands and their flags. Nothing heavy is imported before a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="scumble",
    help="Edit a picture with words: say what it shows and what it shall show.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
train = typer.Typer(help="Train what the package ships.", no_args_is_help=True)
app.add_typer(train, name="train")

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A parameter of the method; `scumble methods dds` lists them."
    ),
]
Model = Annotated[
    str,
    typer.Option("--model", help='"scenes" (built in), a checkpoint folder, or the id of one on the hub.'),
]


def _version(asked: bool) -> None:
    if asked:
        from scumble import __version__

        typer.echo(f"scumble {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None: ...


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="The folder to write to.")] = Path("demo"),
    model: Model = "scenes",
    settings: Settings = None,
) -> None:
    """Draw a scene, edit it, and write before, after, compare and a film."""
    from scumble.cli.demo import run

    run(out, model, settings or [])


@app.command()
def edit(
    picture: Annotated[Path, typer.Argument(metavar="IN", help="A PNG, JPEG or WebP picture of any size.")],
    source: Annotated[str, typer.Option(help="What the picture shows now.")] = "",
    target: Annotated[str, typer.Option(help="What it shall show.")] = "",
    method: Annotated[
        str, typer.Option(help="`scumble methods` lists them; ./file.py:Class runs your own.")
    ] = "dds",
    model: Model = "scenes",
    mask: Annotated[
        Path | None, typer.Option(help="A picture of the same size: white may change, black stays exactly.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What it shall not show.")] = "",
    seed: Annotated[int, typer.Option(help="The same seed gives the same edit.")] = 0,
    settings: Settings = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="PNG, JPEG or WebP; default: IN-edited.png.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to compute; auto takes the best there is.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Try words that the model does not know.")] = False,
) -> None:
    """Edit one picture."""
    from scumble.cli.edit import run

    run(
        picture, out, mask, model, device, settings or [],
        source=source, target=target, method=method, negative=negative, seed=seed, force=force,
    )  # fmt: skip


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with all it has to say.")] = None,
) -> None:
    """List the methods, or show all about one."""
    from scumble.cli import show

    show.method(name) if name else show.methods()


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="One model, with all that its card says.")] = None,
) -> None:
    """List the models, or show all about one."""
    from scumble.cli import show

    show.model(name) if name else show.models()


@app.command()
def doctor() -> None:
    """Check this installation."""
    from scumble.cli.doctor import run

    raise typer.Exit(run())


@train.command()
def prior(
    name: Annotated[str, typer.Argument(help="The only recipe there is: scenes.")] = "scenes",
    out: Annotated[
        Path, typer.Option("-o", "--out", help="A new folder; OUT.log beside it holds logs and checkpoints.")
    ] = Path("runs/scenes"),
    minutes: Annotated[float, typer.Option(help="The budget, of the clock on the wall.")] = 120,
    from_: Annotated[
        Path | None, typer.Option("--from", help="Warm-start from this prior, with a fresh optimiser.")
    ] = None,
    keep_codec: Annotated[
        bool, typer.Option("--keep-codec", help="Take the codec of --from as it is.")
    ] = False,
    bank: Annotated[int | None, typer.Option(min=1, help="How many pictures the denoiser sees.")] = None,
    seed: Annotated[int, typer.Option(help="Of the initial weights and the data's order.")] = 0,
) -> None:
    """Train the built-in prior from nothing but its generator of scenes; continues a run that was cut off."""
    from scumble.cli.train import run

    choice = {} if bank is None else {"bank": bank}
    run(name, out, minutes=minutes, from_=from_, keep_codec=keep_codec, seed=seed, **choice)


@train.command()
def card(
    folder: Annotated[Path, typer.Argument(help="A prior that `scumble train prior` made.")],
    guidance: Annotated[float, typer.Option(min=1, help="What the card will recommend.")] = 3.0,
    scale: Annotated[
        float, typer.Option(min=0.01, max=1, help="Share of the full sample counts; 1 takes half an hour.")
    ] = 1.0,
    dtype: Annotated[str, typer.Option(help="Of the network calls: auto, float32, bfloat16.")] = "auto",
) -> None:
    """Measure a trained prior on the test split and write its model card."""
    from scumble.cli.train import measure

    measure(folder, guidance=guidance, scale=scale, dtype=dtype)
