"""The public names."""

import pytest

import scumble
from scumble.methods import METHODS

NAMES = [
    "Asyrp", "BlendedDiffusion", "BlendedLatentDiffusion", "CDS", "Cancelled", "Card", "ClassifierGuidance",
    "DDIMInversion", "DDS", "DDSFast", "DiffEdit", "DiffusionCLIP", "DirectInversion", "Edit", "EditFriendly",
    "EditRequest", "FlowEdit", "IDS", "ILVR", "Imagic", "InputError", "Inversion", "LEDITSpp", "MachineError",
    "MasaCtrl", "NFSD", "NPI", "Noise", "NullText", "P2P", "PDS", "Pix2PixZero", "PlugAndPlay", "Prior", "RePaint",
    "SBP", "SDEdit", "SDG", "SDS", "Sampling", "Schedule", "Step", "Tape", "Text", "TrainedEditor", "UniTune", "edit",
    "load", "load_editor", "paint", "pull",
]  # fmt: skip


def test_public_names_are_frozen() -> None:
    assert scumble.__all__ == sorted(scumble.__all__) == NAMES
    assert set(NAMES) <= set(dir(scumble))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert getattr(scumble, name).__name__ == name


def test_every_method_is_there() -> None:
    classes = {place.partition(":")[2] for place in METHODS.values()}
    assert classes <= set(NAMES)


def test_no_other_name_is() -> None:
    with pytest.raises(AttributeError, match="sumble"):
        _ = scumble.sumble  # type: ignore[attr-defined]
