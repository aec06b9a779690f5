"""Scene -> caption, in varied words; caption -> constraints, against which any scene can be checked.

    [on a B background,] a [SIZE] [TEXTURE] [COLOUR] SHAPE [PLACE] [and a ...] [on a B background] [at night]

What a caption leaves unsaid is free. "a red circle on a white background" is always among a scene's captions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from .world import BACKGROUNDS, COLOURS, LOOKS, PLACES, SHAPES, SIZES, TEXTURES, Scene, Thing

ATTRIBUTES = ("shape", "colour", "texture", "size", "place")
PLACE_PHRASE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "centre": "in the centre",
}
LOOK_PHRASE = {"day": "by day", "night": "at night"}
SYNONYMS = {"gray": "grey", "center": "centre", "middle": "centre", "an": "a", "picture": "", "of": ""}
GLUE = ("a", "and", "with", "next", "to", "on", "in", "at", "by", "the", "background", "picture", "of")
WORDS = frozenset(
    [
        *SHAPES,
        *COLOURS,
        *TEXTURES,
        *SIZES,
        *PLACES,
        *BACKGROUNDS,
        *LOOKS,
        *GLUE,
        "gray",
        "center",
        "middle",
        "an",
    ]
)
"""Every word the world understands."""

ARTICLE = {"orange": "an"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a caption says of one object; None is unsaid."""

    shape: str | None = None
    colour: str | None = None
    texture: str | None = None
    size: str | None = None
    place: str | None = None

    def allows(self, thing: Thing) -> bool:
        return all(getattr(self, a) in (None, getattr(thing, a)) for a in ATTRIBUTES)

    @property
    def named(self) -> tuple[str, ...]:
        return tuple(a for a in ATTRIBUTES if getattr(self, a) is not None)


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What a whole caption says. Objects are all named: a scene with more or fewer does not match."""

    things: tuple[Wanted, ...]
    background: str | None = None
    look: str | None = None

    def allows(self, scene: Scene) -> bool:
        """Whether the scene is one that the caption describes."""
        if self.background not in (None, scene.background) or self.look not in (None, scene.look):
            return False
        return self.assignment(scene.things) is not None

    def assignment(self, things: tuple[Thing, ...]) -> tuple[int, ...] | None:
        """For each wanted object the index of a thing that fulfils it, all different; None where there is no such."""
        if len(things) != len(self.things):
            return None
        for order in permutations(range(len(things))):
            if all(w.allows(things[i]) for w, i in zip(self.things, order, strict=True)):
                return order
        return None


def describe(thing: Thing, say: Iterable[str] = ATTRIBUTES, *, rng: np.random.Generator | None = None) -> str:
    """An object in words: "a small striped red circle on the left". The shape is always said.

    say: which attributes to name. rng: vary the wording ("on the left a small ..."); None: the plain form.
    """
    say = set(say)
    noun = [getattr(thing, a) for a in ("size", "texture", "colour") if a in say] + [thing.shape]
    phrase = f"{ARTICLE.get(noun[0], 'a')} {' '.join(noun)}"
    if "place" not in say:
        return phrase
    where = PLACE_PHRASE[thing.place]
    if rng is not None and rng.random() < 0.3:
        where = where.replace("centre", "middle" if rng.random() < 0.5 else "center")
    return f"{where} {phrase}" if rng is not None and rng.random() < 0.25 else f"{phrase} {where}"


def full_caption(scene: Scene, order: Iterable[int] | None = None) -> str:
    """Everything said, plainly: the caption used for measurements."""
    things = [scene.things[i] for i in order] if order is not None else scene.things
    return (
        " and ".join(map(describe, things)) + f" on a {scene.background} background {LOOK_PHRASE[scene.look]}"
    )


def short_caption(scene: Scene) -> str:
    """Colours, shapes and background: "a red circle on a white background"."""
    look = " at night" if scene.look == "night" else ""
    objects = " and ".join(describe(t, ("colour",)) for t in scene.things)
    return f"{objects} on a {scene.background} background{look}"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption in random words, with random attributes left unsaid."""
    if rng.random() < 0.1:
        return short_caption(scene)
    order = rng.permutation(len(scene.things))
    phrases = [_phrase(scene.things[int(i)], rng) for i in order]
    objects = (" and " if rng.random() < 0.8 else " next to ").join(phrases)
    look = ""
    if rng.random() < (0.9 if scene.look == "night" else 0.3):
        look = " " + LOOK_PHRASE[scene.look]
    if rng.random() < 0.15:
        return objects + look
    ground = "gray" if scene.background == "grey" and rng.random() < 0.3 else scene.background
    form = rng.random()
    if form < 0.6:
        return f"{objects} on a {ground} background{look}"
    if form < 0.75:
        return f"on a {ground} background, {objects}{look}"
    if form < 0.9:
        return f"a {ground} background with {objects}{look}"
    return f"{objects}, {ground} background{look}"


def _phrase(thing: Thing, rng: np.random.Generator) -> str:
    chance = {"colour": 0.95, "texture": 0.8 if thing.texture != "plain" else 0.45, "size": 0.6, "place": 0.7}
    return describe(thing, [a for a, p in chance.items() if rng.random() < p], rng=rng)


def words_of(text: str) -> list[str]:
    """Lower-case words, punctuation dropped."""
    return re.findall(r"[a-z]+", text.lower())


def unknown_words(text: str) -> list[str]:
    """The words of a text that the world does not understand, in order."""
    return [w for w in words_of(text) if w not in WORDS]


_ANY = {
    "shape": "|".join(SHAPES),
    "colour": "|".join(COLOURS),
    "texture": "|".join(TEXTURES),
    "size": "|".join(SIZES),
    "place": "|".join(PLACES),
}
_WHERE = "(?:(?:on|at|in) the (?P<{}>" + _ANY["place"] + ") )?"
_OBJECT = re.compile(
    _WHERE.format("before")
    + f"a (?:(?P<size>{_ANY['size']}) )?(?:(?P<texture>{_ANY['texture']}) )?"
    + f"(?:(?P<colour>{_ANY['colour']}) )?(?P<shape>{_ANY['shape']}) "
    + _WHERE.format("after")
)
_GROUND = re.compile(f"(?:on |with )?(?:a )?(?P<ground>{'|'.join(BACKGROUNDS)}) background ")
_LOOK = re.compile(f"(?:at|by) (?P<look>{'|'.join(LOOKS)}) ")


def read(text: str) -> Constraints:
    """The constraints a caption states.

    Raises ValueError, naming the words, for a text that is not of the grammar.
    """
    words = [SYNONYMS.get(w, w) for w in words_of(text)]
    rest = " ".join(w for w in words if w) + " "
    background, rest = _take(_GROUND, "ground", rest)
    look, rest = _take(_LOOK, "look", rest)
    things: list[Wanted] = []
    for found in _OBJECT.finditer(rest):
        said = found.groupdict()
        place = said.pop("before") or said.pop("after")
        said.pop("after", None)
        things.append(Wanted(place=place, **said))
    left = [w for w in _OBJECT.sub("", rest).split() if w not in ("and", "with", "next", "to", "on")]
    if left or not things:
        trouble = f"not understood: {' '.join(left)!r}" if left else "no object named"
        raise ValueError(f"caption {text!r}: {trouble}")
    return Constraints(things=tuple(things), background=background, look=look)


def _take(pattern: re.Pattern[str], group: str, text: str) -> tuple[str | None, str]:
    found = pattern.search(text)
    if found is None:
        return None, text
    return found[group], text[: found.start()] + text[found.end() :]
