"""Messages and progress of a command, on stderr: few lines if that is not a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from scumble.core.request import Edit, OnStep, Step
    from scumble.editing.plan import Plan, Shared
    from scumble.editing.recipe import Recipe
    from scumble.pictures.placed import Placed


@dataclass(frozen=True)
class Voice:
    """The messages of a command; none if `quiet`."""

    quiet: bool = False

    def say(self, text: str) -> None:
        if not self.quiet:
            with suppress(OSError, ValueError):  # progress that nobody can read must not stop the work
                typer.echo(text, err=True)

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """A spinner on a terminal."""
        from rich.markup import escape

        with self._console().status(escape(text)):
            yield

    @contextmanager
    def steps(self, name: str) -> Iterator[OnStep]:
        """Progress: a bar on a terminal, else one line for every tenth of the steps."""
        from rich.markup import escape

        console = self._console()
        if self.quiet:
            yield lambda step: None
        elif not console.is_terminal:
            yield Tenths(name, self).tell
        else:
            with _bar(console) as bar:
                task = bar.add_task(escape(name), total=None, evaluations=0)
                yield lambda step: bar.update(
                    task, completed=step.k, total=step.n, evaluations=step.evaluations, refresh=True
                )

    @contextmanager
    def calls(self, name: str) -> Iterator[Callable[[int, int], None]]:
        """The same for work that reports (k, n) after every call of a network."""
        import torch

        from scumble.core.request import Step

        nothing = torch.zeros(1, 3, 1, 1)
        with self.steps(name) as tell:
            yield lambda k, n: tell(Step(k, n, 0.0, nothing, lambda: nothing, k))

    def _console(self) -> Console:
        from rich.console import Console

        return Console(stderr=True, quiet=self.quiet)


class Tenths:
    """Prints a line after every tenth of the steps."""

    def __init__(self, name: str, voice: Voice):
        self._name, self._voice = name, voice
        self._started, self._told = time.monotonic(), 0

    def tell(self, step: Step) -> None:
        tenths = 10 * step.k // step.n
        if tenths > self._told:
            self._told = tenths
            left = (time.monotonic() - self._started) * (step.n - step.k) / step.k
            self._voice.say(
                f"{self._name}: {step.k}/{step.n} steps, {step.evaluations} evaluations, {left:.0f} s left"
            )


def _bar(console: Console) -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps,"),
        TimeRemainingColumn(),
        TextColumn("left, {task.fields[evaluations]} evaluations"),
        console=console,
    )


def prepare(voice: Voice, recipe: Recipe, placed: Placed | None = None) -> Plan:
    """Make the plan of an edit and print the model's domain, and the part to be edited if it is not the whole."""
    from scumble.editing.plan import plan

    named = isinstance(recipe.model, str)
    with voice.waiting(f"loading {recipe.model}" if named else "looking at the picture"):
        made = plan(recipe, placed)
    if named:
        voice.say(f"model {made.prior.card.id}: {made.prior.card.domain}")
    if made.placed.box:
        left, top, right, bottom = made.placed.box
        voice.say(
            f"only the part around the mask is edited, {right - left}x{bottom - top} pixels from ({left}, {top}); "
            "the prompts describe that part (--crop none: the whole picture)"
        )
    return made


def perform(plan: Plan, voice: Voice, also: OnStep | None = None, shared: Shared | None = None) -> Edit:
    """Make the edit and show its progress. `also` is called at every step as well. `shared`: see `Plan`."""
    with voice.steps(plan.name) as tell:

        def on_step(step: Step) -> None:
            tell(step)
            if also:
                also(step)

        return plan(on_step, shared)


def hand_over(paths: Sequence[Path], record: Mapping[str, Any] | None = None, *, as_json: bool) -> None:
    """Print results to stdout: the paths of their files, or full JSON records."""
    if as_json:
        file, *beside = map(str, paths)
        typer.echo(json.dumps({"file": file, "beside": beside, **(record or {})}))
    else:
        for path in paths:
            typer.echo(str(path))
