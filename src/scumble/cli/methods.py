"""`scumble methods`: lists methods and their parameters, from the methods' dataclasses."""

from __future__ import annotations

from dataclasses import Field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from scumble.core.request import Needs

EXAMPLES = ("scumble methods", "scumble methods dds")


def command(
    name: Annotated[
        str | None, typer.Argument(help="Show the parameters and the paper of this method.")
    ] = None,
) -> None:
    """List the methods, or show one in detail."""
    show(name) if name else overview()


def overview() -> None:
    """One line per method."""
    from scumble.editing.checks import method_class, method_names

    papers = {name: method_class(name).paper for name in method_names()}
    table([(name, f"{paper.title} (arXiv {paper.arxiv})") for name, paper in papers.items()])
    typer.echo(
        "\n`scumble methods NAME` shows a method's parameters; --method ./file.py:Class runs your own. If you name "
        "no\nmethod, the model card chooses one: see `scumble models`."
    )


def show(name: str) -> None:
    """Everything that a method's class says about itself. Raises InputError for an unknown method."""
    from scumble.editing.checks import method_class

    kind = method_class(name)
    typer.echo(f"{name}: {kind.paper.title} (arXiv {kind.paper.arxiv})\n")
    typer.echo(" ".join((kind.__doc__ or "").split()))
    typer.echo(f"needs: {needs(kind.needs)}\n")
    table([("parameter", "default", "range", "meaning"), *(row(kind, f) for f in fields(kind))])
    for departure in kind.paper.departures:
        typer.echo(f"\ndifference from the paper or its code: {departure}")
    typer.echo(f"\nSet a parameter with --set NAME=VALUE.\n\n{kind.paper.bibtex}")


def needs(of: Needs) -> str:
    """The requirements of a method as text."""
    words = {
        "image": "a picture", "source": "--source", "target": "--target", "mask": "--mask",
        "reference": "a reference picture", "gradient": "the network's gradient", "control": "its attention",
        "null": "a model guided by an empty prompt",
    }  # fmt: skip
    given = [f"--given {name}=PATH" for name in of.given]
    return ", ".join([text for name, text in words.items() if getattr(of, name)] + given)


def row(kind: type[Any], f: Field[Any]) -> tuple[str, str, str, str]:
    """A parameter's name, default, range and meaning."""
    meta = f.metadata
    bounds = [("min", ">="), ("above", ">"), ("max", "<="), ("below", "<")]
    limits = " and ".join(f"{sign} {meta[key]:g}" for key, sign in bounds if key in meta)
    if "choices" in meta:
        limits = ", ".join(map(repr, meta["choices"]))
    hint = get_type_hints(kind)[f.name]
    default = f"{f.default:.6g}" if isinstance(f.default, float) else repr(f.default)
    limits = f"{getattr(hint, '__name__', str(hint))} {limits}".strip()
    return f.name, default, limits, meta.get("help", "")


def table(rows: list[tuple[str, ...]]) -> None:
    """Aligned columns; the last one is not padded."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]) - 1)]
    for r in rows:
        typer.echo("  ".join([*(cell.ljust(width) for cell, width in zip(r, widths, strict=False)), r[-1]]))
