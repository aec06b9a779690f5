"""Trained editors on pictures: plans that share one model, run in batches of one canvas size."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError
from scumble.editing import loading
from scumble.editing.plan import Plan, plan
from scumble.editing.recipe import Loading, Recipe

if TYPE_CHECKING:
    from scumble.core.prior import Prior
    from scumble.core.request import Edit
    from scumble.networks.editor import Editor
    from scumble.pictures.reading import PictureLike


def read(path: str | Path) -> Editor:
    """The editor in a folder, or the built-in one, "scenes". Raises InputError if there is none."""
    from typing import cast

    from scumble.editing.given import network

    return cast("Editor", network("editor", str(path)))


def recipes(editor: Editor, tasks: Sequence[str], strength: float, asked: Recipe) -> list[Recipe]:
    """The recipes of one picture, one per task (all tasks if none is named).

    An editor that reads prompts has no named tasks: the target prompt says what it does. Raises InputError for an
    unknown task, or one that is named twice.
    """
    if twice := [task for k, task in enumerate(tasks) if task in tasks[:k]]:
        raise InputError(f"task: {twice[0]!r} is named twice; leave one of the two out")
    if editor.config.text:
        named: list[dict[str, object]] = [{}]
    else:
        named = [
            {"task": editor.tasks[editor.number(task)].name}
            for task in tasks or [t.name for t in editor.tasks]
        ]
    return [
        replace(asked, method="editor", given={"editor": editor}, settings={**task, "strength": strength})
        for task in named
    ]


def plans(recipes: Sequence[Recipe], prior: Prior) -> list[Plan]:
    """The plans of edits of one picture, which is placed on the canvas and encoded once."""
    first = plan(recipes[0].on(prior))
    return [first, *(plan(each.on(prior), first.placed) for each in recipes[1:])]


def together(plans: Sequence[Plan], batch: int) -> Iterator[Edit]:
    """The edits of the plans, in their order. Consecutive plans with the same method and canvas run as one batch."""
    waiting: list[Plan] = []
    for each in plans:
        if waiting and (len(waiting) == batch or not _alike(waiting[0], each)):
            yield from _batch(waiting)
            waiting = []
        waiting.append(each)
    yield from _batch(waiting)


def _alike(a: Plan, b: Plan) -> bool:
    return (
        a.method == b.method
        and a.placed.image.shape == b.placed.image.shape
        and a.recipe.target == b.recipe.target
    )


def _batch(plans: Sequence[Plan]) -> Iterator[Edit]:
    """One call of the method. Masks are applied to the layers, where they are exact."""
    import torch

    from scumble.core.host import isolated

    if len(plans) == 1:
        yield plans[0]()
        return
    started, first = time.perf_counter(), plans[0]
    request = replace(
        first.request,
        image=torch.cat([each.placed.image for each in plans]),
        latent=torch.cat([each.placed.latent for each in plans]),
        mask=None,
        source=None,
    )
    with isolated():
        made = first.method(first.prior, request)
        for k, each in enumerate(plans):
            row: dict[str, Any] = {
                name: getattr(made, name)[k : k + 1] for name in ("image", "raw", "latent")
            }
            yield each.finish(replace(made, **row, seed=each.request.seed), started)


class LoadedEditor:
    """An editor with the model whose codec it uses: call it on a picture."""

    def __init__(self, editor: Editor, prior: Prior):
        self.editor, self.prior = editor, prior
        editor.check(prior)

    @property
    def tasks(self) -> tuple[str, ...]:
        """The names of its tasks."""
        return tuple(task.name for task in self.editor.tasks)

    def __call__(self, image: PictureLike, *, task: str = "", strength: float = 1.0, **asked: Any) -> Edit:
        """Edit a picture in one forward pass; `asked`: further fields of `scumble.edit`, such as mask, keep, crop.

        task: may be left out where the editor has only one. Raises InputError as `scumble.edit` does.
        """
        wanted = Recipe(image, **asked)
        (recipe,) = recipes(self.editor, [task], strength, wanted)
        return plan(recipe.on(self.prior))()


def load_editor(path: str | Path, **how: Any) -> LoadedEditor:
    """An editor from its folder, with the model that it was trained with.

    how: arguments of `scumble.load`: another name of the model, its device, dtype, ...

    Raises:
        InputError: there is no editor, or the model has another codec than the one it was trained with.
    """
    editor = read(path)
    model = how.pop("model", None) or str(editor.about.get("prior", "scenes"))
    return LoadedEditor(editor, loading.load(Loading(model, **how)))
