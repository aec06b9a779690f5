"""`scumble models`: lists models, from their cards."""

from __future__ import annotations

from typing import Annotated

import typer

from scumble.cli.methods import table

EXAMPLES = ("scumble models scenes", "scumble models --table")


def command(
    name: Annotated[str | None, typer.Argument(help="Show the card of this model.")] = None,
    abilities: Annotated[
        bool, typer.Option("--table", help="Show which kind of model runs which method.")
    ] = False,
) -> None:
    """List the models, or show one in detail."""
    if abilities:
        capabilities()
    elif name:
        show(name)
    else:
        overview()


def capabilities() -> None:
    """The table of methods by kind of model, with the reasons why a kind cannot run a method."""
    from scumble.editing.abilities import abilities, reasons

    rows, refused = abilities()
    table(rows)
    typer.echo("\nequal: to the published pipeline, in a test; given: with what was trained for that model")
    typer.echo("-: refused:\n")
    for line in reasons(refused):
        typer.echo(line)


def overview() -> None:
    """The built-in models, and how to name others."""
    from scumble.editing.checks import A_REAL_CHECKPOINT
    from scumble.priors import load

    installed = load.models()
    for name in load.BUILTIN:
        card = installed.get(name)
        typer.echo(
            f"{name}: {card.domain}; default method: {card.method}"
            if card
            else f"{name}: not in this installation"
        )
    typer.echo(
        f"""
Stable Diffusion 1.x / 2.x, SDXL, SD 3 / 3.5, FLUX.1, FLUX.2, PixArt, Sana, Qwen-Image and Z-Image checkpoints work,
too: a folder (./name) or a hub id, such as {A_REAL_CHECKPOINT}; the default method is the
card's, else dds for Stable Diffusion 1.x / 2.x, SDXL and PixArt, flowedit for the others.
`scumble models --table` shows which of them run which method.
`scumble models NAME` shows the card of a model on this machine."""
    )


def show(name: str) -> None:
    """A model's card. Nothing is loaded or downloaded. Raises InputError for a model that is not on this machine."""
    from scumble.priors.load import card_of, needs

    card = card_of(name)
    typer.echo(f"{card.id}: {card.domain}\n")
    table(
        [
            ("licence", card.licence),
            ("hash", card.hash),
            ("canvas", f"long side {card.size} px, both sides multiples of {card.multiple}"),
            ("method", f"{card.method} by default"),
            ("steps", "as many as you like" if card.steps is None else f"made for {card.steps}"),
            ("precision", f"{card.dtype} on an accelerator, float32 on a CPU"),
            *needs(name),
            ("can", ", ".join(sorted(card.capabilities))),
            ("words", "open" if card.words is None else " ".join(sorted(card.words))),
            *(
                (f"recommended for {name}", ", ".join(f"{k}={_short(v)}" for k, v in values.items()))
                for name, values in sorted(card.recommended.items())
            ),
        ]
    )


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value
