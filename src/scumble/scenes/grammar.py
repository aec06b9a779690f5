"""From a scene to a caption, in varied words; from a caption to constraints, which any scene can be checked against.

    [on a B background,] a [SIZE] [TEXTURE] [COLOUR] SHAPE [PLACE] [and a ...] [on a B background] [at night]

What a caption does not say is open. "a red circle on a white background" is always among a scene's captions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from .world import CELLS, COLOURS, GROUNDS, LOOKS, SHAPES, SIZES, TEXTURES, Scene, Thing

ATTRIBUTES = ("shape", "colour", "texture", "size", "place")
PLACE_PHRASE = {
    "left": "on the left",
    "right": "on the right",
    "top": "at the top",
    "bottom": "at the bottom",
    "centre": "in the centre",
    **{corner: f"at the {corner}" for corner in CELLS if " " in corner},
}
LOOK_PHRASE = {"day": "by day", "night": "at night"}
SYNONYMS = {
    "gray": "grey", "center": "centre", "middle": "centre", "an": "a", "solid": "plain", "spotted": "dotted",
    "big": "large", "little": "small", "tiny": "small", "violet": "purple", "turquoise": "cyan", "disc": "circle",
    "plus": "cross", "rhombus": "diamond", "upper": "top", "lower": "bottom",
}  # fmt: skip
"""Other words for the world's own."""

SILENT = ("picture", "drawing", "image", "of", "the", "corner")
GLUE = ("a", "and", "with", "next", "to", "on", "in", "at", "by", "background", *SILENT)
WORDS = frozenset(
    word
    for names in (SHAPES, COLOURS, TEXTURES, SIZES, CELLS, GROUNDS, LOOKS, GLUE, SYNONYMS)
    for name in names
    for word in name.split()
)
"""Every word the world understands."""

ARTICLE = {"orange": "an"}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a caption says about one object; None means not said."""

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
    """What a whole caption says. It names all objects: a scene with more or fewer does not match."""

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
    """An object in words: "a small striped red circle on the left". The shape is always said, a vague value never.

    say: which attributes to name. rng: vary the wording ("on the left a small ..."); None: the plain form.
    """
    say = set(say) - set(thing.vague)
    order = ("size", "texture", "colour")
    if rng is not None and rng.random() < 0.25:
        order = ("size", "colour", "texture")
    noun = [getattr(thing, a) for a in order if a in say] + [thing.shape]
    if rng is not None:
        noun = [_varied(word, rng) for word in noun]
    phrase = f"{ARTICLE.get(noun[0], 'a')} {' '.join(noun)}"
    if "place" not in say:
        return phrase
    where = PLACE_PHRASE[thing.place]
    if rng is not None:
        if thing.place == "centre" and rng.random() < 0.3:
            where = where.replace("centre", "middle" if rng.random() < 0.5 else "center")
        if " " in thing.place and rng.random() < 0.6:
            where = f"in the {thing.place} corner"
        if rng.random() < 0.25:
            return f"{where} {phrase}"
    return f"{phrase} {where}"


_OTHERS = {own: [w for w, meant in SYNONYMS.items() if meant == own] for own in SYNONYMS.values()}


def _varied(word: str, rng: np.random.Generator) -> str:
    """The word, or now and then another word for it."""
    others = _OTHERS.get(word)
    return others[int(rng.integers(len(others)))] if others and rng.random() < 0.12 else word


def full_caption(scene: Scene, order: Iterable[int] | None = None) -> str:
    """Everything said, plainly: the caption used for measurements."""
    things = [scene.things[i] for i in order] if order is not None else scene.things
    objects = " and ".join(map(describe, things))
    return f"{objects} on {_ground(scene.background)} {LOOK_PHRASE[scene.look]}"


def short_caption(scene: Scene) -> str:
    """Colours, shapes and background: "a red circle on a white background"."""
    look = " at night" if scene.look == "night" else ""
    objects = " and ".join(describe(t, ("colour",)) for t in scene.things)
    return f"{objects} on {_ground(scene.background)}{look}"


def _ground(name: str) -> str:
    return f"{ARTICLE.get(name, 'a')} {name} background"


def caption(scene: Scene, rng: np.random.Generator) -> str:
    """A caption in random words, with random attributes omitted."""
    if rng.random() < 0.1:
        return short_caption(scene)
    text = _caption(scene, rng)
    return re.sub(r"\ban? ", "", text) if rng.random() < 0.15 else text  # many people leave the articles out


def _caption(scene: Scene, rng: np.random.Generator) -> str:
    order = rng.permutation(len(scene.things))
    phrases = [_phrase(scene.things[int(i)], rng) for i in order]
    objects = (" and " if rng.random() < 0.8 else " next to ").join(phrases)
    look = ""
    if rng.random() < (0.9 if scene.look == "night" else 0.3):
        look = " " + LOOK_PHRASE[scene.look]
    if rng.random() < 0.15:
        return objects + look
    name = _varied(scene.background, rng)
    ground, form = _ground(name), rng.random()
    if form < 0.55:
        return f"{objects} on {ground}{look}"
    if form < 0.65:
        return f"{objects} on {name}{look}"
    if form < 0.8:
        return f"on {ground}, {objects}{look}"
    if form < 0.9:
        return f"{ground} with {objects}{look}"
    return f"{objects}, {name} background{look}"


def _phrase(thing: Thing, rng: np.random.Generator) -> str:
    chance = {"colour": 0.95, "texture": 0.8 if thing.texture != "plain" else 0.45, "size": 0.6, "place": 0.7}
    return describe(thing, [a for a, p in chance.items() if rng.random() < p], rng=rng)


def words_of(text: str) -> list[str]:
    """Lower-case words, punctuation dropped."""
    return re.findall(r"[a-z]+", text.lower())


def unknown_words(text: str) -> list[str]:
    """The words of a text that the world does not understand, in order."""
    return [w for w in words_of(text) if w not in WORDS]


def _any(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=len, reverse=True))


_ADJECTIVES = {"size": SIZES, "texture": TEXTURES, "colour": COLOURS}
_ADJECTIVE = _any([*SIZES, *TEXTURES, *COLOURS])
_WHERE = "(?:(?:on|at|in) (?P<{}>" + _any(CELLS) + ") )?"
_OBJECT = re.compile(
    _WHERE.format("before")
    + rf"(?:\ba )?(?P<adjectives>(?:\b(?:{_ADJECTIVE}) )*)\b(?P<shape>{_any(SHAPES)}) "
    + _WHERE.format("after")
)
_GROUND = re.compile(
    rf"(?:\b(?:on|with) )?(?:\ba )?(?:\bplain )?\b(?P<ground>{_any(GROUNDS)}) background "
    rf"|\bon (?P<bare>{_any(GROUNDS)}) (?=(?:at|by|\.) |$)"
)
_LOOK = re.compile(rf"\b(?:at|by) (?P<look>{_any(LOOKS)}) ")


def read(text: str) -> Constraints:
    """The constraints a caption states.

    Raises ValueError, naming the words, for a text that is not of the grammar.
    """
    return parse(text)[0]


def parse(text: str) -> tuple[Constraints, tuple[int | None, ...]]:
    """The constraints a caption states, and for each of its words the object that it speaks of (None: of none).

    The second counts the words of `words_of(text)` and numbers objects as `Constraints.things` does; articles and
    prepositions speak of none. Raises ValueError, naming the words, for a text that is not of the grammar.
    """
    words = [SYNONYMS.get(w, w) for w in words_of(text)]
    kept = [i for i, w in enumerate(words) if w not in SILENT]
    rest = "".join(words[i] + " " for i in kept)
    background, rest = _take(_GROUND, rest)
    look, rest = _take(_LOOK, rest)
    things: list[Wanted] = []
    owners: list[int | None] = [None] * len(words)
    for found in _OBJECT.finditer(rest):
        first = rest.count(" ", 0, found.start())
        for k, word in enumerate(found[0].split()):
            if word not in GLUE:
                owners[kept[first + k]] = len(things)
        things.append(_wanted(found))
    left = [
        w for w in _OBJECT.sub("", rest).split() if w not in ("and", "with", "next", "to", "on", "a", _GONE)
    ]
    if left or not things:
        trouble = f"not understood: {' '.join(left)!r}" if left else "no object named"
        raise ValueError(f"caption {text!r}: {trouble}")
    return Constraints(things=tuple(things), background=background, look=look), tuple(owners)


def _wanted(found: re.Match[str]) -> Wanted:
    adjectives = found["adjectives"].split()
    said = {kind: [w for w in adjectives if w in names] for kind, names in _ADJECTIVES.items()}
    for kind, names in said.items():
        if len(names) > 1:
            raise ValueError(f"caption: {' and '.join(names)} are two names of one {kind}")
    one = {kind: names[0] for kind, names in said.items() if names}
    return Wanted(shape=found["shape"], place=found["before"] or found["after"], **one)


_GONE = "."
"""Stands for a word that has been understood, so that the others keep their numbers."""


def _take(pattern: re.Pattern[str], text: str) -> tuple[str | None, str]:
    """What the pattern names (its first group that took part), and the text with its words crossed out."""
    found = pattern.search(text)
    if found is None:
        return None, text
    name = next(g for g in found.groups() if g is not None)
    return name, text[: found.start()] + f"{_GONE} " * found[0].count(" ") + text[found.end() :]
