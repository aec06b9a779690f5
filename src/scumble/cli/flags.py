"""Flags from fields: a command that takes a `Recipe` or a `Loading` gets one flag per field."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.models import OptionInfo

from scumble.cli import values
from scumble.core.loading import Loading
from scumble.editing.command import flag
from scumble.editing.recipe import Recipe

VARIABLES = {"model": "SCUMBLE_MODEL"}
READ: Mapping[str, Callable[[Any], Any]] = {
    "settings": values.settings,
    "also": values.weighted,
    "given": values.given,
    "keep": values.keep,
    "lora": tuple,
    "embedding": tuple,
    "memory": lambda words: tuple(values.listed(words)),
}
"""Converters from the words of a flag to a field's value, for flags that need one."""

SHORT = {"steps": int, "guidance": float, "strength": float}
"""Parameters that many methods have: --steps 100 is short for --set steps=100."""

_FIELDS = {f.name: f for f in fields(Recipe)}


def option(name: str) -> OptionInfo:
    """The flag of a recipe's field."""
    return _option(_FIELDS[name])


def _option(f: Field[Any], help: str | None = None) -> OptionInfo:
    return typer.Option(
        flag(f.name),
        metavar=f.metadata.get("values"),
        help=help or f.metadata["help"],
        envvar=VARIABLES.get(f.name),
    )


def takes(
    kind: type[Loading],
    *,
    only: Collection[str] | None = None,
    without: Collection[str] = (),
    short: Mapping[str, type[Any]] = MappingProxyType({}),
    usual: Mapping[str, object] | None = None,
    helps: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Turn a parameter of type `kind` into one flag per field, and the picture into an argument.

    Args:
        only: the fields of an edit that get a flag; None: all. A model's fields always get one.
        without: fields that get no flag.
        short: parameters of the method with a flag of their own, such as --steps, and their types.
        usual: defaults that replace the recipe's. helps: help texts that replace the recipe's.
    """
    loading = {f.name for f in fields(Loading)}
    own = [f for f in fields(kind) if f.name not in loading and (only is None or f.name in only)]
    own_names = {f.name for f in fields(kind)}
    ordered = [*own, *fields(Loading)]  # what is asked comes before the model
    flags = [f for f in ordered if f.name not in without]

    def give(command: Callable[..., None]) -> Callable[..., None]:
        called = inspect.signature(command, eval_str=True)
        place = next(p.name for p in called.parameters.values() if p.annotation is kind)

        def run(**words: Any) -> None:
            shorthands = {name: words.pop(name) for name in short}
            said = {f.name: words.pop(f.name) for f in flags}
            asked = {name: READ[name](word or ()) if name in READ else word for name, word in said.items()}
            if "image" in own_names and "image" not in asked:
                asked["image"] = ""  # the command has pictures of its own
            if short:
                asked["settings"] = values.settings(said["settings"] or (), shorthands)
            command(**{place: kind(**asked)}, **words)

        def shown() -> Iterator[inspect.Parameter]:
            """All flags. A parameter of the command replaces the field of the same name."""
            others = {name: p for name, p in called.parameters.items() if name != place}
            for f in ordered:
                if f.name in others:
                    yield others.pop(f.name)
                elif f in flags:
                    yield _parameter(f, (usual or {}).get(f.name), (helps or {}).get(f.name))
                if f.name == "settings":
                    yield from (_shorthand(name, each) for name, each in short.items())
            yield from others.values()

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in shown()]
        run.__doc__, run.__name__, run.__module__ = command.__doc__, command.__name__, command.__module__
        run.__signature__ = called.replace(parameters=parameters)  # pyright: ignore[reportFunctionMemberAccess]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return give


def _parameter(f: Field[Any], usual: object, help: str | None) -> inspect.Parameter:
    """The typer parameter of a field."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    if f.name == "image":
        argument = typer.Argument(metavar="IN", help=help or f.metadata["help"])
        return inspect.Parameter(f.name, keyword, annotation=Annotated[Path, argument])
    if f.name == "prompt":
        argument = typer.Argument(metavar="PROMPT", help=help or f.metadata["help"])
        return inspect.Parameter(f.name, keyword, default="", annotation=Annotated[str, argument])
    repeats = f.default_factory is not MISSING or isinstance(f.default, tuple)
    default = usual if usual is not None else None if repeats else f.default
    hint = Annotated[_hint(f, repeats), _option(f, help)]
    return inspect.Parameter(f.name, keyword, default=default, annotation=hint)


def _hint(f: Field[Any], repeats: bool) -> Any:
    """The type of a flag: a switch, a whole number, a file, or else text."""
    if repeats:
        return list[str] | None
    if "PictureLike" in str(f.type):
        return Path | None
    if isinstance(f.default, bool):
        return bool
    if "int" in str(f.type):
        return int if isinstance(f.default, int) else int | None
    return str if isinstance(f.default, str) else str | None


def _shorthand(name: str, kind: type[Any]) -> inspect.Parameter:
    hint = Annotated[kind | None, typer.Option(help=f"Short for --set {name}=...")]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=hint)
