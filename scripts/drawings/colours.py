"""The colours that people and their programs have, by the name that anybody gives them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from figures import RGB

from scumble.scenes.wide import KNOWN_AS
from scumble.scenes.world import COLOURS

# CSS, matplotlib's tab10, Material, "flat" interface colours; none that two people would name differently.
PAINTS: dict[str, tuple[RGB, ...]] = {
    "red": ((255, 0, 0), (220, 20, 60), (214, 39, 40), (244, 67, 54), (229, 57, 53), (178, 34, 34)),
    "orange": ((255, 165, 0), (255, 140, 0), (255, 127, 14), (255, 152, 0), (243, 156, 18)),
    "yellow": ((255, 255, 0), (255, 215, 0), (255, 235, 59), (253, 216, 53), (241, 196, 15)),
    "green": ((0, 128, 0), (50, 205, 50), (34, 139, 34), (44, 160, 44), (76, 175, 80), (39, 174, 96)),
    "cyan": ((0, 255, 255), (0, 188, 212), (23, 190, 207), (0, 206, 209), (64, 224, 208)),
    "blue": ((0, 0, 255), (65, 105, 225), (31, 119, 180), (30, 100, 255), (0, 0, 205), (41, 98, 255)),
    "purple": ((128, 0, 128), (102, 51, 153), (148, 103, 189), (156, 39, 176), (142, 68, 173)),
    "pink": ((255, 105, 180), (255, 192, 203), (227, 119, 194), (240, 98, 146), (255, 160, 200)),
}
GROUNDS: dict[str, tuple[tuple[RGB, ...], ...]] = {
    "white": (
        ((255, 255, 255),),
        ((255, 255, 255),),
        ((245, 245, 245),),
        ((250, 250, 250),),
        ((255, 253, 246),),
    ),
    "black": (((0, 0, 0),), ((0, 0, 0),), ((18, 18, 18),), ((30, 30, 34),)),
    "grey": (((128, 128, 128),), ((150, 150, 150),), ((169, 169, 169),), ((120, 124, 130),)),
    "sand": (((244, 221, 176),), ((230, 210, 165),)),
    "sky": (
        ((90, 165, 235), (215, 238, 255)),
        ((70, 140, 220), (190, 225, 250)),
        ((110, 180, 240), (235, 245, 255)),
    ),
    "red": (((198, 40, 40),), ((240, 80, 75),)),
    "orange": (((255, 167, 38),), ((255, 150, 40),)),
    "yellow": (((255, 241, 118),), ((255, 235, 59),), ((255, 255, 100),)),
    "green": (((129, 199, 132),), ((60, 160, 90),), ((144, 238, 144),)),
    "cyan": (((128, 222, 234),), ((60, 210, 220),)),
    "blue": (((33, 110, 220),), ((100, 149, 237),), ((25, 60, 150),)),
    "purple": (((123, 31, 162),), ((150, 110, 190),)),
    "pink": (((248, 187, 208),), ((255, 182, 193),)),
}
COMMON = {"white": 9.0, "black": 3.0, "grey": 2.0, "sky": 2.0, "blue": 1.5, "yellow": 1.5}
"""How much more often than others people draw on these grounds."""

PLAIN = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (135, 135, 135),
    "sand": (232, 214, 170),
    **COLOURS,
}


def apart(a: Sequence[float], b: Sequence[float]) -> float:
    """The squared distance of two colours."""
    return float(np.square(np.subtract(a, b, dtype=float)).sum())


def clear(before: Sequence[float], after: Sequence[float], name: str) -> bool:
    """Whether a change of colour is so plain that any fair reading of the new name counts as done.

    What people know by the name, put in place of `after`, must leave less than a fifth of the squared error; the
    bench allows a quarter.
    """
    asked = apart(before, after)
    known = [PLAIN[name], *KNOWN_AS.get(name, ())[:3]]
    return all(apart(other, after) <= 0.2 * asked for other in known)
