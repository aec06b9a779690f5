"""How much memory a model and an edit with it will take, said before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from scumble.core.loading import Loading

if TYPE_CHECKING:
    from scumble.editing.recipe import Recipe
    from scumble.priors._estimate import Estimate


@dataclass(frozen=True)
class Room:
    """An edit before its model is loaded, in bytes. `kept`: what its gradients keep, empty where it takes none."""

    estimate: Estimate
    method: str
    canvas: tuple[int, int]
    pictures: Mapping[str, int]
    kept: Mapping[str, int]

    @property
    def record(self) -> dict[str, Any]:
        """For --json."""
        from scumble.priors._estimate import named

        known = self.estimate
        return {
            "dtype": named(known.dtype),
            "weights": dict(known.weights),
            "resident": known.resident,
            "pictures": dict(self.pictures),
            "gradients": dict(self.kept),
        }

    @property
    def lines(self) -> Iterable[str]:
        """What a user reads of it."""
        from scumble.priors._estimate import amount, flags, named, shares

        known, (width, height) = self.estimate, self.canvas
        at_once = (
            f"; with {flags(known.memory)} at most {amount(known.resident)} at the same time"
            if known.memory and known.resident < sum(known.weights.values())
            else ""
        )
        whole = amount(sum(known.weights.values()))
        yield f"weights: {whole} in {named(known.dtype)} on {known.device} ({shares(known.weights)}){at_once}"
        gradient = (
            f"; the gradients of {self.method} keep about {amount(sum(self.kept.values()))} more ({shares(self.kept)})"
            if self.kept
            else f"; {self.method} takes no gradient through them"
        )
        most = amount(max(self.pictures.values()))
        yield f"pictures: about {most} more at {width}x{height} ({shares(self.pictures)}){gradient}"


def room(recipe: Recipe) -> Room | None:
    """What an opened recipe will take; None for what says no figures (`load.weighed`), and for a model that is loaded.

    Raises InputError and MachineError as loading the model does.
    """
    from scumble.pictures.placed import lie
    from scumble.priors import load

    known = load.weighed(recipe) if isinstance(recipe.model, str) else None
    if known is None:
        return None
    _, fit = lie(
        cast(Any, recipe.image),
        cast(Any, recipe.mask),
        recipe.size or known.side,
        known.multiple,
        recipe.crop,
    )
    width, height = fit.canvas
    name, through = _through(recipe, known.rows)
    kept = known.gradients((height, width))
    return Room(
        known,
        name,
        fit.canvas,
        known.pictures((height, width)),
        {part: rows * kept[part] for part, rows in through.items() if rows},
    )


def _through(recipe: Recipe, guided: int) -> tuple[str, dict[str, int]]:
    """The method's name, and through which parts it takes gradients, of how many rows."""
    from scumble.editing.checks import method_class

    method: Any = recipe.method
    kind: type[Any] = method_class(method) if isinstance(method, str) else cast("type[Any]", type(method))
    name = method if isinstance(method, str) else kind.__name__
    judges = [each for each in recipe.given.values() if hasattr(each, "noisy")]
    clean = [cast(Any, judge).space for judge in judges if not cast(Any, judge).noisy]
    rows = 1 if kind.needs.single else guided
    return name, {
        "network": rows if kind.needs.gradient or clean else 0,
        "codec": int("pixels" in clean or recipe.form == "lut"),
    }


def lines(asked: Loading) -> list[tuple[str, str]]:
    """What is to be said of a model before it is loaded: (what, figures); nothing of a pixel model.

    Raises InputError and MachineError as loading does.
    """
    from scumble.priors import _estimate, load

    known = load.weighed(asked)
    return [] if known is None else list(_estimate.lines(known.folder, known.dtype, known.memory))
