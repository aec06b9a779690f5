"""Rows as plans: their model, pictures and artifacts, which are loaded once for all rows that share them."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, TypeVar

from scumble.batch import shards
from scumble.batch.rows import loading_of, model_key
from scumble.core.errors import InputError, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scumble.batch.rows import Row
    from scumble.core.prior import Prior
    from scumble.editing.plan import Plan
    from scumble.editing.recipe import Recipe
    from scumble.pictures.placed import Placed
    from scumble.pictures.reading import Picture

T = TypeVar("T")
PLACED = 64  # pictures that are kept with their latents, for their next target


@dataclass(frozen=True, eq=False)
class Task:
    """A row, its plan, and what was said while it was planned."""

    row: Row
    plan: Plan
    warning: str | None


class Planner:
    """Plans rows. Its model, pictures and artifacts stay loaded from one group to the next."""

    def __init__(self) -> None:
        self._prior: tuple[str, Prior] | None = None
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()

    def lend(self, recipe: Recipe, prior: Prior) -> None:
        """Use a model that is loaded already for rows like `recipe`."""
        self._prior = model_key(recipe), prior

    def __call__(self, rows: Sequence[Row]) -> tuple[list[Task], list[tuple[Row, str]]]:
        """The tasks of rows, and why others have none; pictures that are new are encoded together.

        Raises MachineError where a model cannot be loaded.
        """
        placed: list[tuple[Row, Placed, list[str]]] = []
        tasks: list[Task] = []
        faults: list[tuple[Row, str]] = []
        for row in rows:
            with heard() as said:
                try:
                    placed.append((row, self._placed(row.recipe), said))
                except InputError as error:
                    faults.append((row, str(error)))
        self._encode(each for _, each, _ in placed)
        for row, on, said in placed:
            with heard() as more:
                try:
                    plan = self._plan(row.recipe, on)
                except InputError as error:
                    faults.append((row, str(error)))
                    continue
            tasks.append(Task(row, plan, " / ".join([*said, *more]) or None))
        return tasks, faults

    def _plan(self, recipe: Recipe, placed: Placed) -> Plan:
        from scumble.editing import given
        from scumble.editing.checks import check_codec
        from scumble.editing.plan import plan

        files = {
            name: self._keep(("given", name, text), lambda n=name, t=text: given.read({n: t})[n])
            for name, text in recipe.given.items()
        }
        recipe = replace(recipe.on(placed.prior), given=files, image=placed.picture, mask=placed.mask)
        if recipe.reference is not None:
            file = str(recipe.reference)
            recipe = replace(recipe, reference=self._keep(("picture", file), lambda: _picture(file)))
        planned = plan(recipe, placed)
        check_codec(placed)
        return planned

    def _placed(self, recipe: Recipe) -> Placed:
        """A row's picture and mask on the model's canvas. Raises InputError for what is broken inside."""
        from scumble.pictures import reading
        from scumble.pictures.placed import Placed

        prior = self._model(recipe)

        def place() -> Placed:
            picture = _picture(str(recipe.image))
            mask = None if recipe.mask is None else str(recipe.mask)
            values = None if mask is None else reading.read_mask(shards.contents(mask) or mask, picture.size)
            return Placed.of(picture, prior, mask=values, size=recipe.size, crop=recipe.crop)

        key = "placed", str(recipe.image), str(recipe.mask), recipe.size, recipe.crop, id(prior)
        return self._keep(key, place)

    def _encode(self, placed: Iterable[Placed]) -> None:
        """What the model makes of pictures that it has not seen yet."""
        from scumble.pictures.placed import encode

        new = {id(each): each for each in placed if "latent" not in vars(each)}
        for _, some in groupby(sorted(new.values(), key=_canvas), key=_canvas):
            with suppress(MachineError):  # out of memory: then one by one
                encode([*some])

    def _model(self, recipe: Recipe) -> Prior:
        from scumble.editing import loading

        key = model_key(recipe)
        if self._prior is None or self._prior[0] != key:
            self._prior = None  # before the next one takes its memory
            self._kept.clear()
            self._prior = key, loading.load(loading_of(recipe))
        return self._prior[1]

    def _keep(self, key: Hashable, find: Callable[[], T]) -> T:
        if key not in self._kept:
            self._kept[key] = find()
        self._kept.move_to_end(key)
        while len(self._kept) > PLACED:
            self._kept.popitem(last=False)
        return self._kept[key]


def _picture(name: str) -> Picture:
    """The picture of a path, or of a name inside a tar file. Raises InputError."""
    from scumble.pictures import reading

    inside = shards.contents(name)
    return reading.read(name) if inside is None else reading.read(inside, name)


def _canvas(placed: Placed) -> tuple[int, int]:
    return placed.fit.canvas


def shape(task: Task) -> tuple[int, int]:
    """The size of the canvas that a task is made on."""
    return _canvas(task.plan.placed)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Inside, warnings for users are noted instead of said: they belong to rows."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    said += [str(each.message) for each in caught if issubclass(each.category, UserWarning)]
