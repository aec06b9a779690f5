"""The model of a recipe, given by name or already loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scumble.core.errors import InputError
from scumble.core.loading import Loading

if TYPE_CHECKING:
    from scumble.core.prior import Prior


def load(asked: Loading) -> Prior:
    """The prior that `asked.model` names, or is.

    Raises:
        InputError: no such model, or a checkpoint that is not supported, incomplete or has pickled weights; options
            for a model that is already loaded.
        MachineError: it cannot be downloaded, or does not fit into memory.
    """
    if isinstance(asked.model, str | Path):
        from scumble.priors.load import load_painter, load_prior

        return (load_painter if asked.paints else load_prior)(asked)
    if not hasattr(asked.model, "predict"):
        raise InputError(
            f"model: {asked.model!r} is none; give a name, a path, or what scumble.load returned"
        )
    for name, value in asked.options.items():
        if value and value != getattr(Loading, name):
            raise InputError(f"{name}: the model is loaded already; give it to scumble.load")
    return asked.model


def usual_method(model: str | Path | Prior) -> str:
    """A model's default method: the one that its card names, else "dds". Loads nothing."""
    if not isinstance(model, str | Path):
        return model.card.method if hasattr(model, "card") else "dds"  # what is no model, loading says
    from scumble.priors.load import usual_method

    return usual_method(str(model)) or "dds"
