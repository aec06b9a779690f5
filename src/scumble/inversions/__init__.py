"""Makes an `Inversion` of a picture, and samples from one. Inversion and editor can be combined freely.

Not here: the file format (`artifacts`), and methods (`methods`).
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
