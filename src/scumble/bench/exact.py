"""The reduced world: a few thousand scenes that can all be listed, so that the exact score of the set is known.

Running the same method on the same edits, once with the network and once with the exact score, separates the method's
errors from the network's. Codec, schedule, pictures and prompts are the same. A caption leaves the exact position of
an object open, here among five positions close together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from itertools import cycle, product

import torch

from scumble.core.noise import Noise
from scumble.core.pixels import to_images
from scumble.core.prior import Card, Prior
from scumble.core.types import Image, Latent
from scumble.priors.exact import FinitePrior
from scumble.scenes import (
    KINDS,
    Scene,
    SceneEdit,
    Split,
    Thing,
    full_caption,
    generator,
    read,
    render,
)
from scumble.scenes.edits import change
from scumble.scenes.world import JITTER, fits

SHAPES = ("circle", "square", "star", "heart")
COLOURS = ("red", "yellow", "green", "blue")
OFFSETS = ((0.0, 0.0), *((x, y) for x in (-JITTER, JITTER) for y in (-JITTER, JITTER)))
BATCH = 50


@cache
def reduced_scenes() -> tuple[Scene, ...]:
    """3,840 scenes of one object in two textures, sizes and places on three backgrounds by day and night, and
    2,400 of two plain objects, side by side on white.
    """
    looks = tuple(product(("white", "grey", "brick"), ("day", "night")))
    one = (
        Scene(things=(thing,), background=background, look=look)
        for thing in _things(("plain", "striped"), ("medium", "large"), OFFSETS)
        for background, look in looks
    )
    some, others = (list(_things(("plain",), ("medium",), offsets)) for offsets in (OFFSETS, OFFSETS[:1]))
    two = (Scene(things=pair) for pair in product(some, others) if fits(pair) and _differ(*pair))
    return (*one, *two)


def _things(
    textures: Sequence[str], sizes: Sequence[str], offsets: Sequence[tuple[float, float]]
) -> Iterator[Thing]:
    choices = product(SHAPES, COLOURS, textures, sizes, ("left", "right"), offsets)
    for shape, colour, texture, size, place, (dx, dy) in choices:
        yield Thing(shape=shape, colour=colour, texture=texture, size=size, place=place, dx=dx, dy=dy)


def _differ(a: Thing, b: Thing) -> bool:
    return (a.shape, a.colour) != (b.shape, b.colour)


def reduced_edits(
    split: Split, seed: int, scenes: Sequence[Scene] | None = None, kinds: Sequence[str] = KINDS
) -> Iterator[SceneEdit]:
    """An endless stream of edits within the reduced world, cycling through the kinds. The sources and all targets
    belong to it.

    scenes: another world, in which each of `kinds` must be possible.
    """
    world = scenes or reduced_scenes()
    known, rng = frozenset(world), generator(split, seed)
    for kind in cycle(kinds):
        edit, targets = None, ()
        while edit is None or not targets:
            edit = change(world[int(rng.integers(len(world)))], kind, rng)
            targets = tuple(t for t in edit.targets if t in known) if edit else ()
        yield replace(edit, targets=targets)


class ExactScore(FinitePrior):
    """The exact score of a set of scenes in the latent space of another prior, with that prior's codec.

    A prompt selects the scenes that it describes; the empty prompt selects all.
    """

    def __init__(self, base: Prior, scenes: Sequence[Scene] | None = None):
        """Encodes all scenes (default: the reduced world), once."""
        scenes = scenes or reduced_scenes()
        self._base = base
        captions = [full_caption(scene) for scene in scenes]
        by_caption = dict(zip(captions, scenes, strict=True))
        constraints = lru_cache(read)

        @lru_cache(maxsize=2 * len(scenes))  # scenes that differ by their offsets have one caption
        def matches(prompt: str, caption: str) -> bool:
            return constraints(prompt).allows(by_caption[caption])

        super().__init__(encoded(base, scenes), captions, matches, base.schedule)
        self.card: Card = exact_card(base.card)
        self.loaded = base.loaded

    def encode(self, image: Image, noise: Noise | None = None) -> Latent:
        return self._base.encode(image, noise)

    def decode(self, latent: Latent) -> Image:
        return self._base.decode(latent)


def exact_card(card: Card) -> Card:
    """The card of the exact score in place of a prior: the same recommended values, without attention control."""
    return replace(card, hash=f"exact-{card.hash}", capabilities=frozenset({"text", "gradient"}))


@torch.no_grad()
def encoded(prior: Prior, scenes: Sequence[Scene]) -> Latent:
    """The latents of scenes on the prior's canvas, on the CPU."""
    side = prior.card.size
    batches = (scenes[i : i + BATCH] for i in range(0, len(scenes), BATCH))
    return torch.cat([prior.encode(to_images([render(s, side) for s in some])).cpu() for some in batches])
