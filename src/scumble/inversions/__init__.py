"""From a picture to an Inversion and on from there. Which inversion and which editor are two independent choices.

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
