"""The functions of the package: load, edit, paint, plan. Their arguments are the fields of `Loading` and of recipes."""

from __future__ import annotations

from collections.abc import Callable
from inspect import Parameter, cleandoc, signature
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from scumble.core.errors import InputError
from scumble.core.loading import Loading
from scumble.editing import loading
from scumble.editing import paint as painting
from scumble.editing import plan as planning
from scumble.editing.paint import PaintRecipe
from scumble.editing.recipe import Recipe

if TYPE_CHECKING:
    from dataclasses import KW_ONLY, dataclass

    from scumble.core.prior import Prior
    from scumble.core.request import Edit, OnStep
    from scumble.editing.plan import Plan

    @dataclass(frozen=True)
    class _Edit(Recipe):
        """The arguments of `edit`, for type checkers."""

        ___: KW_ONLY
        on_step: OnStep | None = None

    @dataclass(frozen=True)
    class _Paint(PaintRecipe):
        """The arguments of `paint`, for type checkers."""

        ____: KW_ONLY
        on_step: OnStep | None = None


P = ParamSpec("P")
R = TypeVar("R")


def _takes(
    kind: type[Any], like: Callable[P, Any], *also: Parameter
) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Gives a function the arguments of a dataclass, for type checkers (`like`) and for `help` (`kind`, `also`)."""

    def give(function: Callable[..., R]) -> Callable[P, R]:
        shown = signature(kind)
        fields = cleandoc(kind.__doc__ or "").split("\n\n")
        function.__signature__ = shown.replace(  # pyright: ignore[reportFunctionMemberAccess]
            parameters=[*shown.parameters.values(), *also],
            return_annotation=function.__annotations__["return"],
        )
        arguments = "".join(f"    {line}\n" for line in fields[1].splitlines())
        function.__doc__ = cleandoc(function.__doc__ or "").replace("Args:\n", f"Args:\n{arguments}")
        return cast("Callable[P, R]", function)

    return give


@_takes(Loading, Loading)
def load(*model: Any, **options: Any) -> Prior:
    """A prior by name: "scenes" (built in), a checkpoint folder or file, or the id of one on the model hub.

    Args:

    Raises:
        InputError: no such model, or a checkpoint that is not supported, incomplete or has pickled weights.
        MachineError: it cannot be downloaded, or does not fit into memory.
    """
    return loading.load(Loading(*model, **options))


@_takes(
    Recipe, _Edit if TYPE_CHECKING else Recipe, Parameter("on_step", Parameter.KEYWORD_ONLY, default=None)
)
def edit(*image: Any, on_step: OnStep | None = None, **asked: Any) -> Edit:
    """Edit a picture that shows `source` so that it shows `target`.

    Args:
        on_step: called after every step; raise `scumble.Cancelled` from it to stop.

    Returns:
        Edit: `picture` has the input's size; `layer` is the overlay on the input; `raw` is the method's own
        picture; `provenance` records how it was made, value by value.

    Raises:
        InputError: the input cannot be used; the message says why, in one sentence.
        MachineError: there is not enough memory, or a model cannot be downloaded.
    """
    if not (on_step is None or callable(on_step)):
        raise InputError(f"on_step: {on_step!r} is not a function; it is called with each scumble.Step")
    return planning.plan(Recipe(*image, **asked))(on_step)


@_takes(
    PaintRecipe,
    _Paint if TYPE_CHECKING else PaintRecipe,
    Parameter("on_step", Parameter.KEYWORD_ONLY, default=None),
)
def paint(*prompt: Any, on_step: OnStep | None = None, **asked: Any) -> Edit:
    """Paint a picture that shows what `prompt` says.

    Args:
        on_step: called after every step; raise `scumble.Cancelled` from it to stop.

    Returns:
        Edit: `picture` is the picture (PIL); `raw` the same as a tensor (1, 3, H, W) in [-1, 1]; `provenance` records
        how it was made, value by value.

    Raises:
        InputError: the input cannot be used; the message says why, in one sentence.
        MachineError: there is not enough memory, or a model cannot be downloaded.
    """
    return painting.paint(PaintRecipe(*prompt, **asked))(on_step)


@_takes(Recipe, Recipe)
def plan(*image: Any, **asked: Any) -> Plan:
    """Everything that `edit` does before the first step: make the cheap checks, load the model, make the other checks.

    Args:

    """
    return planning.plan(Recipe(*image, **asked))
