"""Which rows are made in one call: those of one model, method, values and canvas; targets of one picture together."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import islice
from typing import TYPE_CHECKING

from scumble.batch.rows import model_key
from scumble.editing.recipe import Recipe
from scumble.pictures.canvas import Fit

if TYPE_CHECKING:
    from scumble.batch.check import Checked
    from scumble.batch.rows import Row

APART = {"image", "source", "target", "mask", "reference", "negative", "seed", "keep", "force"}
"""Fields that rows of one call may differ in; of those that may be missing, all have it or none."""
ALONE = {"inversion", "bank", "tuned"}  # artifacts that belong to one picture or one edit
AVERAGED = {("diffedit", "pipeline"), ("blended_diffusion", "authors")}
"""Methods and values of `compat` that take a mean over all rows of a call, as the code that they follow does."""
SHARING = 3  # targets of one picture from which on sharing its source is better than filling batches


def groups(rows: Iterable[Row], checked: Checked, most: int) -> Iterator[list[Row]]:
    """Groups of at most `most` rows, each for one call. Rows keep their order as far as groups allow."""
    alike: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        alike.setdefault(kind_of(row.recipe, checked), {}).setdefault(_source(row.recipe), []).append(row)
    for sources in alike.values():
        single: list[Row] = []
        for some in sources.values():
            if _lonely(some[0].recipe):
                yield from ([row] for row in some)
            elif len(some) >= min(SHARING, most):
                yield from _chunks(some, most)
            else:
                single += some
        yield from _chunks(single, most)


def kind_of(recipe: Recipe, checked: Checked) -> str:
    """What rows of one call have in common."""
    key = model_key(recipe)
    same = {f.name: getattr(recipe, f.name) for f in fields(Recipe) if f.name not in APART}
    there = [getattr(recipe, name) is None for name in ("source", "target", "mask", "reference")]
    card, size = checked.cards.get(key), checked.sizes.get(str(recipe.image))
    canvas = Fit.of(size, recipe.size or card.size, card.multiple).canvas if card and size else None
    return json.dumps([same, there, canvas], sort_keys=True, default=str)


def _source(recipe: Recipe) -> str:
    """What rows have in common that can share the source's part."""
    return json.dumps(
        [str(recipe.image), str(recipe.mask), str(recipe.reference), recipe.source, recipe.seed]
    )


def _lonely(recipe: Recipe) -> bool:
    averaged = (recipe.method, recipe.settings.get("compat")) in AVERAGED
    return averaged or recipe.form != "latent" or bool(ALONE & recipe.given.keys())


def _chunks(rows: list[Row], most: int) -> Iterator[list[Row]]:
    left = iter(rows)
    while some := list(islice(left, most)):
        yield some
