"""The rows of the bench: a method with its parameters, the origin of each value, and extra inputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

from scumble.bench.baselines import BASELINES, SEEDLESS
from scumble.core.errors import InputError, article, nearest
from scumble.core.prior import Card
from scumble.core.request import Method
from scumble.editing.checks import check_model, check_settings, method_class
from scumble.editing.passport import plain
from scumble.editing.plan import choose

EXTRAS = {
    "mask": "the true mask",
    "layer": "the finished picture under the layer, not the method's own",
    "reduced": "the edits of the reduced world",
    "exact": "the exact score instead of the network, on the edits of the reduced world",
}


_EXTRAS = re.compile(r"(.*?)((?:\+[a-z]+)*)", re.DOTALL)
_COMMA = re.compile(r",(?![^(\[]*[)\]])")  # but not those within brackets


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A row of the table, as requested. `label` names the row: "sdedit:strength=0.5+mask"."""

    label: str
    name: str
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    extras: frozenset[str] = frozenset()

    @property
    def stem(self) -> str:
        """The label as a file name."""
        return re.sub(r"[^\w.=,+-]+", "-", self.label).strip("-.")

    @property
    def frames(self) -> bool:
        """Whether it is a reference row, not an editor."""
        return self.name in BASELINES

    @property
    def world(self) -> str:
        """The stage that it runs on: "whole", "reduced" or "exact"."""
        return next((w for w in ("exact", "reduced") if w in self.extras), "whole")

    @property
    def seeds(self) -> int | None:
        """How many seeds give different results; None: all do."""
        return 1 if self.name in SEEDLESS else None

    def kind(self) -> type[Any]:
        """The class of the method. Raises InputError for an unknown method or parameter, or a value out of range."""
        kind = BASELINES.get(self.name) or method_class(self.name)
        check_settings(self.name, kind, self.settings)
        return kind


@dataclass(frozen=True, kw_only=True)
class Ready:
    """A contestant with its method; `parameters`: name -> value and its origin. `given`: networks and artifacts."""

    contestant: Contestant
    method: Method
    parameters: Mapping[str, Mapping[str, object]]
    given: Mapping[str, object] = field(default_factory=dict[str, object])


def split(text: str) -> tuple[str, list[str], frozenset[str]]:
    """ "NAME:a=1,b=2+mask" -> (NAME, ["a=1", "b=2"], {"mask"}); NAME may be "./file.py:Class".

    Raises:
        InputError: not of this form, or an extra that there is not.
    """
    head, tail = _EXTRAS.fullmatch(text.strip()).groups()  # pyright: ignore[reportOptionalMemberAccess]
    file, py, rest = head.partition(".py:")
    name, _, said = rest.partition(":") if py else head.partition(":")
    if not name.strip() or (not py and "+" in name):  # an extra before the parameters
        raise InputError(
            f"--method {text!r}: write it as NAME, NAME:PARAMETER=VALUE,... or NAME+mask, with +mask at the end"
        )
    extras = tail.split("+")[1:]
    for extra in extras:
        if extra not in EXTRAS:
            known = ", ".join(f"+{e}" for e in EXTRAS)
            raise InputError(
                f"--method {text}: there is no +{extra}{nearest(extra, EXTRAS)}; known are {known}"
            )
    settings = [part for part in _COMMA.split(said) if part.strip()]
    return f"{file}{py}{name}" if py else name, settings, frozenset(extras)


def make_ready(
    contestant: Contestant, card: Card, given: Mapping[str, object] = MappingProxyType({})
) -> Ready:
    """Make the method: the contestant's values over the card's over the method's own.

    given: networks and artifacts, for the methods that need them.

    Raises:
        InputError: what `Contestant.kind` refuses, a model that cannot run it, or a method that needs what the bench
            does not give it.
    """
    name, kind = contestant.name, contestant.kind()
    check_model(card, name, kind.needs, "a target")
    if kind.needs.mask and "mask" not in contestant.extras:
        raise InputError(f"--method {contestant.label}: {name} needs a mask; write {contestant.label}+mask")
    missing = [need for need in kind.needs.given if need not in given]
    if missing:
        raise InputError(
            f"--method {contestant.label}: {name} needs {article(missing[0])}; give it with --given {missing[0]}=..."
        )
    method, origins = choose(name, kind, _recommending(card, name, kind), contestant.settings)
    parameters = {k: {"value": plain(getattr(method, k)), "from": origin} for k, origin in origins.items()}
    taken = {need: given[need] for need in kind.needs.given if need in given}
    return Ready(contestant=contestant, method=method, parameters=parameters, given=taken)


def _recommending(card: Card, name: str, kind: type[Any]) -> Card:
    """The card; for a baseline, with the values that it recommends for sdedit, which samples in the same way."""
    if name not in BASELINES:
        return card
    known = {f.name for f in fields(kind)}
    known_values = {k: v for k, v in card.recommended.get("sdedit", {}).items() if k in known}
    return replace(card, recommended={name: known_values})
