"""Checks of all rows before the first is made: their faults in one table, their identities."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from scumble import artifacts
from scumble.artifacts import ARTIFACTS
from scumble.batch import shards
from scumble.batch.rows import Namer, Reading, Row, identity, loading_of, model_key
from scumble.core.errors import InputError, MachineError
from scumble.editing import given, loading
from scumble.editing.checks import (
    check_also,
    check_form,
    check_given,
    check_model,
    check_needs,
    check_settings,
    check_words,
    method_class,
    taken,
)
from scumble.editing.inputs import inputs
from scumble.editing.plan import choose
from scumble.editing.recipe import Recipe, weighted
from scumble.pictures.glance import Glance, glance

if TYPE_CHECKING:
    from scumble.batch.manifest import Entry
    from scumble.core.loading import Loading
    from scumble.core.prior import Card, Prior

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a row."""

    row: int
    message: str
    id: str | None = None


@dataclass(frozen=True)
class Checked:
    """A manifest's good rows, the faults of the others, and the size of every picture by its path."""

    rows: Sequence[Row]
    faults: Sequence[Fault]
    sizes: Mapping[str, tuple[int, int]]
    cards: Mapping[str, Card] = field(default_factory=dict[str, "Card"])
    """By what `model_key` says of a recipe."""
    files: Collection[Path] = ()
    """The names of all that rows read, also those with faults."""


def check(
    entries: Iterable[Entry], reading: Reading, namer: Namer, on_row: Callable[[int], None] | None = None
) -> Checked:
    """Check every row: its columns, files, method, values, words and output name, and that no two rows collide.

    Each file is read once, and each model is loaded once for its card. All faults of a row are found. Raises
    InputError only where the manifest itself cannot be read.
    """
    checker = _Checker(reading, namer)
    for entry in entries:
        checker.add(entry)
        if on_row:
            on_row(entry.number)
    return Checked(checker.rows, checker.faults, checker.sizes(), checker.cards(), checker.files)


def table(faults: Sequence[Fault], most: int = 40) -> list[str]:
    """The faults as lines "rows 3, 7-9: message"; equal messages share a line."""
    rows: dict[str, list[int]] = {}
    for fault in faults:
        rows.setdefault(fault.message, []).append(fault.row)
    lines = [f"{_ranges(numbers)}: {message}" for message, numbers in list(rows.items())[:most]]
    left = len(rows) - most
    return lines + ([f"and {left} other messages (--json prints all)"] if left > 0 else [])


def _ranges(numbers: Sequence[int]) -> str:
    """[3, 7, 8, 9] as "rows 3, 7-9"."""
    spans: list[list[int]] = []
    for number in sorted(set(numbers)):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    words = [str(a) if a == b else f"{a}-{b}" for a, b in spans]
    shown = ", ".join(words[:12]) + (f" and {len(words) - 12} more" if len(words) > 12 else "")
    return f"row{'s' if len(numbers) > 1 else ''} {shown}"


class _Checker:
    """One pass over the rows; whatever rows share is looked at once."""

    def __init__(self, reading: Reading, namer: Namer):
        self._reading, self._namer = reading, namer
        self.rows: list[Row] = []
        self.faults: list[Fault] = []
        self.files = set[Path]()
        self._known: dict[object, Any] = {}  # results and errors by key
        self._taken: dict[str, int] = {}  # outputs and identities -> row
        self._failed = False
        self._id: str | None = None  # of the row that is looked at

    def sizes(self) -> dict[str, tuple[int, int]]:
        return {key[1]: seen.size for key, seen in self._found("picture") if isinstance(seen, Glance)}

    def cards(self) -> dict[str, Card]:
        return {key[1]: card for key, card in self._found("card") if not isinstance(card, Exception)}

    def _found(self, what: str) -> Iterable[tuple[tuple[str, str], Any]]:
        return [
            (cast("tuple[str, str]", key), value)
            for key, value in self._known.items()
            if isinstance(key, tuple) and key[0] == what
        ]

    def _once(self, key: object, find: Callable[[], T]) -> T:
        """What `find` returns or raises, which is asked once for a key."""
        if key not in self._known:
            try:
                self._known[key] = find()
            except (InputError, MachineError) as error:
                self._known[key] = error
        if isinstance(found := self._known[key], Exception):
            raise found
        return cast(T, found)

    def _try(self, row: int, find: Callable[[], T]) -> T | None:
        """What `find` returns; an error is noted as a fault of the row."""
        try:
            return find()
        except (InputError, MachineError) as error:
            self.faults.append(Fault(row, str(error), self._id))
            self._failed = True
            return None

    def add(self, entry: Entry) -> None:
        """Check a row, and note it or its faults."""
        number, self._failed = entry.number, False
        id = entry.values.get("id")
        self._id = None if id is None else str(id)
        recipe = self._try(number, lambda: self._reading.recipe(entry))
        if recipe is None:
            return
        self.files.update(inputs(recipe))
        card = self._try(number, lambda: self._card(recipe))
        contents: dict[str, str] = {}
        self._files(number, recipe, contents, self._given_names(recipe, card))
        values = self._try(number, lambda: self._values(recipe, card))
        if card is not None:
            self._try(number, lambda: _check_words(card, recipe))
            contents["model"] = card.hash
        if self._failed or values is None:
            return
        named = identity(recipe, values, contents)
        output = self._try(number, lambda: self._namer.name(entry, recipe, named))
        if output is not None and self._try(number, lambda: self._free(number, named, output)):
            self.rows.append(Row(number, self._id, recipe, named, output))

    def _free(self, number: int, named: str, output: str) -> bool:
        for what, key in (("the same edit", named), (f"the same output name, {output},", output.lower())):
            if (other := self._taken.setdefault(key, number)) != number:
                raise InputError(f"{what} as row {other}; leave one of the two out, or give each an id")
        return True

    # Files

    def _files(self, number: int, recipe: Recipe, contents: dict[str, str], takes: Container[str]) -> None:
        image = self._try(number, lambda: self._look(recipe.image))
        if image is not None:
            contents["image"] = image.sha256
        if recipe.mask is not None:
            mask = self._try(number, lambda: self._look(recipe.mask))
            if mask is not None and image is not None:
                contents["mask"] = mask.sha256
                self._try(number, lambda: _check_size(str(recipe.mask), mask, image))
        if recipe.reference is not None:
            seen = self._try(number, lambda: self._look(recipe.reference))
            contents |= {"reference": seen.sha256} if seen else {}
        for name, value in recipe.given.items():
            if name not in takes:  # `_values` says so
                continue
            found = self._try(number, lambda name=name, text=str(value): self._given(name, text))
            contents |= {f"given.{name}": found} if found else {}

    def _given(self, name: str, text: str) -> str:
        return self._once(("given", name, text), lambda: _digest(name, text))

    def _look(self, file: Any) -> Glance:
        name = str(file)
        return self._once(("picture", name), lambda: glance(shards.contents(name) or Path(name), name))

    # Method and model

    def _card(self, recipe: Recipe) -> Card:
        return self._once(("card", model_key(recipe)), lambda: _card_of(loading_of(recipe)))

    def _method(self, recipe: Recipe, card: Card | None) -> tuple[str, type[Any]]:
        """The name and the class of the row's method. Raises InputError where there is none."""
        method = str(recipe.method or (card.method if card else loading.usual_method(str(recipe.model))))
        return method, self._once(("method", method), lambda: method_class(method))

    def _given_names(self, recipe: Recipe, card: Card | None) -> Container[str]:
        """What the row's method can be given; where there is no such method, all that the row gives."""
        try:
            return taken(self._method(recipe, card)[1])
        except InputError:
            return recipe.given

    def _values(self, recipe: Recipe, card: Card | None) -> dict[str, Any]:
        """All values of the row's method, and its name. Raises InputError for a method that cannot do this edit."""
        method, kind = self._method(recipe, card)
        said = json.dumps(recipe.settings, sort_keys=True, default=str)

        def chosen() -> dict[str, Any]:
            check_settings(method, kind, recipe.settings)
            if card is None:
                return {}
            return {"method": method, **asdict(choose(method, kind, card, recipe.settings, recipe.paper)[0])}  # pyright: ignore[reportArgumentType]

        values = self._once((method, said, recipe.paper, card and card.hash), chosen)
        check_given(method, kind, recipe.given)
        check_needs(method, kind.needs, recipe)
        check_also(method, kind, recipe.also)
        check_form(method, kind, recipe.form)
        if card is not None:
            trained = any(each in ARTIFACTS for each in kind.needs.given)
            shown = recipe.target or (recipe.source if recipe.given else None)
            check_model(card, method, kind.needs, shown or ("what it was trained for" if trained else None))
        return values


def _card_of(asked: Loading) -> Card:
    prior: Prior = loading.load(asked)
    return prior.card


def _check_words(card: Card, recipe: Recipe) -> None:
    import warnings

    also = [prompt for prompt, _ in weighted(recipe.also)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # forced words: said once more when the row is made
        check_words(card, [recipe.source or "", recipe.target or "", recipe.negative, *also], recipe.force)


def _check_size(name: str, mask: Glance, image: Glance) -> None:
    if mask.size != image.size:
        (w, h), (wide, high) = mask.size, image.size
        raise InputError(
            f"mask {name}: {w}x{h} pixels, but the picture has {wide}x{high}; draw the mask at the picture's own size"
        )


def _digest(name: str, text: str) -> str:
    """The hash of a given artifact or network. Raises InputError for what cannot be read."""
    return artifacts.digest(given.read({name: text})[name]) or text
