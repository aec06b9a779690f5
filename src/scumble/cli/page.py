"""`scumble page`: edit in a browser."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from scumble.cli import flags
from scumble.cli.voice import Voice
from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.page.options import PASSWORD_VARIABLE, Options

EXAMPLES = (
    "scumble page --open",
    "scumble page --model scenes --model ./my-checkpoint --port 8000",
)


@flags.takes(Loading, without=("model",))
def command(
    loading: Loading,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="A model that the page offers; repeats. The first is the default.  \\[default: scenes]",
        ),
    ] = None,
    editor: Annotated[
        list[Path] | None,
        typer.Option("--editor", help="The folder of a trained editor that the page offers; repeats."),
    ] = None,
    cached: Annotated[
        bool,
        typer.Option("--cached", help="Also offer the checkpoints in the hub's cache; download nothing."),
    ] = False,
    loaded: Annotated[
        int | None,
        typer.Option(
            "--loaded",
            help="The most models that stay in memory; the one used longest ago goes first.  \\[default: all]",
        ),
    ] = None,
    port: Annotated[int, typer.Option(help="The port; 0 takes any that is free.")] = 7860,
    host: Annotated[
        str, typer.Option(help="The address to listen at; others than this machine's need --password.")
    ] = "127.0.0.1",
    password: Annotated[
        str | None,
        typer.Option(
            help="Ask everyone for this password. Better in the environment, where other users cannot see it.",
            envvar=PASSWORD_VARIABLE,
        ),
    ] = None,
    open: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Edit pictures in a browser.

    Only this machine can reach the page, unless --host names another address and --password protects it. Pictures
    stay on this machine, and are deleted when the page closes.
    """
    how = {name: value for name, value in loading.options.items() if value != getattr(Loading, name)}
    if cached:
        from scumble.priors.load import cached as in_cache

    options = Options(
        models=tuple(dict.fromkeys(model or [os.environ.get("SCUMBLE_MODEL") or str(loading.model)])),
        cached=tuple(in_cache()) if cached else (),
        editors=named(editor or []),
        loading=how,
        loaded=loaded,
        host=host,
        port=port,
        password=password,
    )
    if any(find_spec(name) is None for name in ("starlette", "uvicorn")):
        raise InputError(
            "page: starlette and uvicorn are not installed; install them: pip install 'scumble[web]'"
        )
    from scumble.page.serve import serve

    voice = Voice()

    def ready(url: str) -> None:
        typer.echo(url)
        voice.say("Ctrl-C closes the page and deletes its pictures")
        if open:
            import webbrowser

            webbrowser.open(url)

    try:
        serve(options, ready)
    except KeyboardInterrupt:
        voice.say("the page is closed, and its pictures are deleted")


def named(editors: list[Path]) -> dict[str, str]:
    """The editors by the names of their folders. Raises InputError for a missing folder, and for two of the same
    name.
    """
    found: dict[str, str] = {}
    for folder in editors:
        name = folder.resolve().name
        if not folder.is_dir():
            raise InputError(f"editor: {folder}: no such folder")
        if name in found:
            raise InputError(f"editor: two folders are called {name!r}; rename one")
        found[name] = str(folder)
    return found
