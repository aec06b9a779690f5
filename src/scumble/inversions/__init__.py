"""Makes an `Inversion`, the way from a picture to noise, and samples from it. Every editor can use every kind.

Not here: the value and its file format (`artifacts`), and methods (`methods`).
"""

from scumble.inversions.editing import begin, prepare, replay, resample, told
from scumble.inversions.kinds import (
    KINDS,
    DDIMInverter,
    DirectInverter,
    EditFriendlyInverter,
    Inverter,
    NPIInverter,
    NullTextInverter,
    RegularisedInverter,
    off_the_chain,
)

__all__ = [
    "KINDS",
    "DDIMInverter",
    "DirectInverter",
    "EditFriendlyInverter",
    "Inverter",
    "NPIInverter",
    "NullTextInverter",
    "RegularisedInverter",
    "begin",
    "off_the_chain",
    "prepare",
    "replay",
    "resample",
    "told",
]
