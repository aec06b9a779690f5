"""What a tuning is asked: the method, its values, and the words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import import_module
from typing import Any, cast

from scumble.core.errors import InputError, nearest
from scumble.core.prior import Card
from scumble.tuning.adaptation import Adaptation

METHODS: Mapping[str, str] = {
    "dreambooth": "scumble.tuning.dreambooth:DreamBooth",
    "imagic": "scumble.tuning.imagic:ImagicTuning",
    "textual_inversion": "scumble.tuning.textual_inversion:TextualInversion",
    "unitune": "scumble.tuning.unitune:UniTuning",
}
"""The ways to tune a model: name -> "module:Class"."""

PRECISIONS = "no", "bf16", "fp16"


def kind(method: str) -> type[Adaptation]:
    """Raises InputError for a method that tunes nothing."""
    if method not in METHODS:
        raise InputError(
            f"method: {method!r} tunes no model{nearest(method, METHODS)}; these do: {', '.join(METHODS)}"
        )
    module, _, name = METHODS[method].partition(":")
    return cast("type[Adaptation]", getattr(import_module(module), name))


def values(method: str, settings: Mapping[str, object], card: Card | None = None) -> Adaptation:
    """A method's values: the user's, else what the model's card recommends for "tune METHOD", else its own.

    Raises InputError for a value that it does not have, or one out of its range.
    """
    made = kind(method)
    names = [f.name for f in fields(made)]
    for name in settings:
        if name not in names:
            raise InputError(
                f"tune {method} has no parameter {name!r}{nearest(name, names)}; it has {', '.join(names)}"
            )
    recommended = {} if card is None else card.recommended.get(f"tune {method}", {})
    given: dict[str, Any] = {**recommended, **settings}
    return made(**given)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is tuned: by which values, on what, and in which precision (of PRECISIONS) the network runs.

    prompt: for unitune, which trains on the word alone, the word where it is empty.
    checkpointing: less memory for more time (`Prior.checkpointed`); the result is the same.
    """

    recipe: Adaptation
    prompt: str
    word: str = ""
    class_prompt: str = ""
    seed: int = 0
    precision: str = "no"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: {self.precision!r} must be one of {', '.join(PRECISIONS)}")
        if self.recipe.name == "unitune" and not self.prompt.strip():
            object.__setattr__(self, "prompt", self.word.strip())


def class_prompt(asked: Asked) -> str:
    """What pictures of the class show: what is asked, else the prompt without the identifier."""
    if asked.class_prompt.strip():
        return asked.class_prompt
    parts = asked.word.split()
    if not parts:
        return " ".join(asked.prompt.split())
    inner = r"\s+".join(map(re.escape, parts))
    word = rf"(?<![\w'-]){inner}(?![\w'-])"  # no part of another word
    left = re.sub(rf"\s*,\s*{word}\s*$|{word}\s*,?", "", asked.prompt, flags=re.IGNORECASE)
    return " ".join(left.split())


def wanted(asked: Asked) -> int:
    """How many pictures of the class the training needs."""
    recipe: Any = asked.recipe
    return recipe.class_n if getattr(recipe, "preservation", 0) else 0
