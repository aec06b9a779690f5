"""From a picture to an Inversion, and on from there: the kinds there are, and what every editor does with any of
them. Which inversion and which editor are two choices, not one.
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
