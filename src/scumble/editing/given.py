"""Values of `--given name=text`: an artifact in a file, or a network in a folder."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from scumble.artifacts import ARTIFACTS
from scumble.artifacts import given as artifact
from scumble.core.errors import InputError
from scumble.networks import NETWORKS, load
from scumble.priors._find import builtin

if TYPE_CHECKING:
    from scumble.core.judges import Judge
    from scumble.core.prior import Card, Prior
    from scumble.core.request import Needs

NAMES = (*ARTIFACTS, *NETWORKS)


def check_name(text: str) -> tuple[str, str]:
    """ "inversion=cat.inv" -> ("inversion", "cat.inv"). Raises InputError, which lists the known names."""
    name, equals, said = text.partition("=")
    if not equals or name not in NAMES:
        networks = ", ".join(f"{network}=FOLDER" for network in NETWORKS)
        raise InputError(
            f"--given {text}: write it as inversion=FILE, bank=FILE, tuned=FILE, {networks} or direction=A,B"
        )
    return name, said


def read(given: Mapping[str, Any]) -> dict[str, object]:
    """The values of a recipe's `given`, with files and folders read.

    A network called "scenes" is the one in the package that was made for the built-in model, where there is one. Raises
    InputError for one that cannot be read.
    """
    return {name: _read(name, value) if isinstance(value, str) else value for name, value in given.items()}


def _read(name: str, text: str) -> object:
    return network(name, text) if name in NETWORKS else artifact(name, text)


def network(name: str, text: str) -> Judge:
    """The network in a folder; with "scenes" the one in the package. Raises InputError for one that cannot be read."""
    return load(name, builtin(f"scenes-{name}") if text == "scenes" and packaged(name) else text)


def packaged(name: str) -> bool:
    """Whether the package has a network of this name for the built-in model."""
    return name in NETWORKS and builtin(f"scenes-{name}").is_dir()


def knowing(card: Card, given: Mapping[str, object]) -> Card:
    """The card of a model with the words that tuned weights add to those it knows.

    Raises InputError for weights of another model.
    """
    from scumble.artifacts.tuned import TunedWeights

    tuned = given.get("tuned")
    if tuned is None:
        return card
    if not isinstance(tuned, TunedWeights):
        raise InputError(f"given: tuned is a {type(tuned).__name__}; `scumble tune` makes what is needed")
    tuned.check(card)
    return card if card.words is None else replace(card, words=card.words | tuned.words)


@contextmanager
def tuned(prior: Prior, given: Mapping[str, object], needs: Needs) -> Generator[None]:
    """Inside, the model has the tuned weights that are given, unless the method puts them in itself."""
    from scumble.artifacts.tuned import TunedWeights
    from scumble.tuning.weights import changed

    values = given.get("tuned")
    if "tuned" in needs.given or not isinstance(values, TunedWeights):
        yield
        return
    values.check(prior.card)
    with changed(prior, values.weights(prior.parameters())):
        yield
