"""Edits as minimal changes of a scene: two captions, an instruction, and the exact true result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .grammar import LOOK_PHRASE, PLACE_PHRASE, describe, full_caption
from .render import Floats, Pixels, mask_of, render
from .world import (
    BACKGROUNDS,
    COLOURS,
    LOOKS,
    PLACES,
    SHAPES,
    SIZES,
    TEXTURES,
    Scene,
    Split,
    Thing,
    fits,
    generator,
    random_scene,
    random_thing,
)

Size = int | tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class SceneEdit:
    """One edit with its exact ground truth.

    targets: every scene that is a correct answer, the canonical one first. There is more than one only if the position
    of an added object is left open. The captions name all attributes, so that the changed one and its object are
    unambiguous.
    """

    kind: str
    source: Scene
    targets: tuple[Scene, ...]
    source_caption: str
    target_caption: str
    instruction: str

    def pictures(self, size: Size = 128) -> tuple[Pixels, tuple[Pixels, ...]]:
        """(source picture, picture of every valid target)."""
        return render(self.source, size), tuple(render(t, size) for t in self.targets)

    def hard_mask(self, size: Size = 128, target: int = 0) -> np.ndarray:
        """bool (height, width): every pixel that differs or belongs to what the edit is about; all others must stay."""
        differs = (render(self.source, size) != render(self.targets[target], size)).any(-1)
        return differs | (self.soft_mask(size, target) > 0) if self.kind != "noop" else differs

    def soft_mask(self, size: Size = 128, target: int = 0) -> Floats:
        """float32 (height, width) in [0, 1]: how much of each pixel belongs to what the edit is about."""
        height, width = (size, size) if isinstance(size, int) else size
        after = self.targets[target]
        if self.source.look != after.look:
            return np.ones((height, width), np.float32)
        if self.source.background != after.background:
            return 1 - _cover(self.source.things, (height, width))
        changed = set(self.source.things) ^ set(after.things)
        return _cover(tuple(changed), (height, width))


def _cover(things: Sequence[Thing], size: Size) -> Floats:
    blank = np.zeros(size if isinstance(size, tuple) else (size, size), np.float32)
    return np.maximum.reduce([blank, *(mask_of(t, size) for t in things)])


class _NoRoom(Exception):
    """The drawn scene does not allow this edit; draw another."""


Change = tuple[list[Scene], str]
Maker = Callable[[Scene, np.random.Generator], Change]


def _another(rng: np.random.Generator, names: Sequence[str], old: str) -> str:
    rest = [n for n in names if n != old]
    return rest[int(rng.integers(len(rest)))]


def _one(scene: Scene, rng: np.random.Generator) -> tuple[int, Thing, str]:
    """A thing to change: its index, itself, and a phrase that singles it out."""
    i = int(rng.integers(len(scene.things)))
    return i, scene.things[i], f"the {scene.things[i].colour} {scene.things[i].shape}"


def _with(scene: Scene, i: int, thing: Thing) -> Scene:
    things = (*scene.things[:i], thing, *scene.things[i + 1 :])
    if not fits(things) or len({(t.shape, t.colour) for t in things}) < len(things):
        raise _NoRoom
    return replace(scene, things=things)


def _recolour(scene: Scene, rng: np.random.Generator) -> Change:
    i, thing, name = _one(scene, rng)
    colour = _another(rng, tuple(COLOURS), thing.colour)
    return [_with(scene, i, replace(thing, colour=colour, paint=None))], f"make {name} {colour}"


def _reshape(scene: Scene, rng: np.random.Generator) -> Change:
    i, thing, name = _one(scene, rng)
    shape = _another(rng, SHAPES, thing.shape)
    return [_with(scene, i, replace(thing, shape=shape))], f"turn {name} into a {shape}"


def _retexture(scene: Scene, rng: np.random.Generator) -> Change:
    i, thing, name = _one(scene, rng)
    texture = _another(rng, TEXTURES, thing.texture)
    return [_with(scene, i, replace(thing, texture=texture))], f"make {name} {texture}"


def _resize(scene: Scene, rng: np.random.Generator) -> Change:
    i, thing, name = _one(scene, rng)
    size = _another(rng, tuple(SIZES), thing.size)
    return [_with(scene, i, replace(thing, size=size, radius=None))], f"make {name} {size}"


def _move(scene: Scene, rng: np.random.Generator) -> Change:
    i, thing, name = _one(scene, rng)
    place = _another(rng, tuple(PLACES), thing.place)
    where = PLACE_PHRASE[place].split(" ", 1)[1]
    return [_with(scene, i, replace(thing, place=place))], f"move {name} to {where}"


def _add(scene: Scene, rng: np.random.Generator) -> Change:
    new = replace(random_thing(rng, held_out=True), dx=0.0, dy=0.0)
    targets: list[Scene] = []
    for place in PLACES:
        try:
            after = replace(scene, things=(*scene.things, new))
            targets.append(_with(after, len(scene.things), replace(new, place=place)))
        except _NoRoom:
            continue
    if not targets:
        raise _NoRoom
    return targets, f"add {describe(new, ('size', 'texture', 'colour'))}"


def _remove(scene: Scene, rng: np.random.Generator) -> Change:
    if len(scene.things) < 2:
        raise _NoRoom
    i, _, name = _one(scene, rng)
    return [replace(scene, things=(*scene.things[:i], *scene.things[i + 1 :]))], f"remove {name}"


def _background(scene: Scene, rng: np.random.Generator) -> Change:
    ground = _another(rng, BACKGROUNDS, scene.background)
    return [replace(scene, background=ground, ground=())], f"change the background to {ground}"


def _look(scene: Scene, rng: np.random.Generator) -> Change:
    look = _another(rng, LOOKS, scene.look)
    return [replace(scene, look=look)], f"make it look as {LOOK_PHRASE[look]}"


def _noop(scene: Scene, rng: np.random.Generator) -> Change:
    return [scene], "change nothing"


MAKERS: dict[str, Maker] = {
    "recolour": _recolour,
    "reshape": _reshape,
    "retexture": _retexture,
    "resize": _resize,
    "move": _move,
    "add": _add,
    "remove": _remove,
    "background": _background,
    "look": _look,
    "noop": _noop,
}
KINDS = tuple(MAKERS)


def random_edit(rng: np.random.Generator, kind: str, *, held_out: bool = False) -> SceneEdit:
    """An edit of one kind on a random scene of one or two objects ("add": one; "remove": two).

    Raises ValueError for an unknown kind.
    """
    if kind not in MAKERS:
        raise ValueError(f"no edit kind {kind!r}; there are {', '.join(KINDS)}")
    count = {"add": 1, "remove": 2}.get(kind)
    while True:
        edit = change(random_scene(rng, count, held_out=held_out), kind, rng)
        if edit is not None:
            return edit


def change(scene: Scene, kind: str, rng: np.random.Generator) -> SceneEdit | None:
    """An edit of one kind on a given scene; None if there is no room for what was drawn."""
    try:
        targets, instruction = MAKERS[kind](scene, rng)
    except _NoRoom:
        return None
    after = full_caption(targets[0])
    if kind == "add":  # its place is left open: every free place is right
        new = targets[0].things[-1]
        after = after.replace(describe(new), describe(new, ("size", "texture", "colour")))
    return SceneEdit(
        kind=kind,
        source=scene,
        targets=tuple(targets),
        source_caption=full_caption(scene),
        target_caption=after,
        instruction=instruction,
    )


def edits(split: Split, seed: int = 0, kinds: Sequence[str] = KINDS) -> Iterator[SceneEdit]:
    """An endless stream of edits of one split, cycling through the kinds."""
    rng = generator(split, seed)
    while True:
        for kind in kinds:
            yield random_edit(rng, kind, held_out=split == "test")
