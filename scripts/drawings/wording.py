"""Captions as people write them, within the words of the scenes grammar that every built-in model knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from figures import Drawing, Figure

ARTICLE = {"orange": "an"}


@dataclass(frozen=True)
class Style:
    """How a caption is put. `ground`: whether it tells the background."""

    put: Callable[[Drawing, list[str], list[str]], str]
    ground: bool


def _a(name: str) -> str:
    return f"{ARTICLE.get(name, 'a')} {name}"


def _on(drawing: Drawing) -> str:
    """ "on white", where people say so."""
    return f"on a {drawing.name} background" if drawing.name in ("sky", "sand") else f"on {drawing.name}"


def _and(phrases: list[str]) -> str:
    return " and ".join(phrases)


# Each takes the drawing and its objects, with articles ("a red circle") and without ("red circle").
STYLES = (
    Style(lambda d, whole, bare: f"{_and(whole)} on {_a(d.name)} background", True),
    Style(lambda d, whole, bare: f"{_and(bare)} {_on(d)}", True),
    Style(lambda d, whole, bare: f"{_and(bare)}, {d.name} background", True),
    Style(lambda d, whole, bare: f"{_and(whole).capitalize()} on {_a(d.name)} background.", True),
    Style(lambda d, whole, bare: f"{_and(whole)} {_on(d)}", True),
    Style(lambda d, whole, bare: f"{_and(bare)} with {_a(d.name)} background", True),
    Style(lambda d, whole, bare: f"Picture of {_and(whole)} on {_a(d.name)} background", True),
    Style(lambda d, whole, bare: _and(bare).capitalize(), False),
    Style(lambda d, whole, bare: _and(whole), False),
    Style(lambda d, whole, bare: f"a picture of {_and(whole)}", False),
)


@dataclass(frozen=True)
class Said:
    """What is said of one object beyond its colour and shape: "small", "on the left"."""

    size: str = ""
    place: str = ""


def caption(style: Style, drawing: Drawing, said: list[Said]) -> str:
    """The drawing in words."""
    pairs = list(zip(drawing.figures, said, strict=True))
    return style.put(drawing, [_whole(*pair) for pair in pairs], [_bare(*pair) for pair in pairs])


def _bare(figure: Figure, said: Said) -> str:
    return " ".join(filter(None, (said.size, figure.name, figure.shape, said.place)))


def _whole(figure: Figure, said: Said) -> str:
    phrase = _bare(figure, said)
    return f"{ARTICLE.get(phrase.split()[0], 'a')} {phrase}"
