"""Text-driven image editing with diffusion models.

    import scumble

    edit = scumble.edit("in.png", source="a red circle on a white background",
                        target="a blue circle on a white background", method=scumble.DDS(steps=100))
    edit.picture.save("out.png")

Names are resolved on first use (PEP 562): `import scumble` imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scumble.api import edit, load, paint
    from scumble.artifacts.inversion import Inversion
    from scumble.core.errors import InputError, MachineError
    from scumble.core.noise import Noise, Tape
    from scumble.core.prior import Card, Prior, Text
    from scumble.core.request import Cancelled, Edit, EditRequest, Step, pull
    from scumble.core.schedule import Schedule
    from scumble.editing.apply import load_editor
    from scumble.methods.asyrp import Asyrp
    from scumble.methods.blended_diffusion import BlendedDiffusion
    from scumble.methods.blended_latent_diffusion import BlendedLatentDiffusion
    from scumble.methods.cds import CDS
    from scumble.methods.classifier_guidance import ClassifierGuidance
    from scumble.methods.ddim_inversion import DDIMInversion
    from scumble.methods.dds import DDS
    from scumble.methods.dds_fast import DDSFast
    from scumble.methods.diffedit import DiffEdit
    from scumble.methods.diffusionclip import DiffusionCLIP
    from scumble.methods.direct_inversion import DirectInversion
    from scumble.methods.edit_friendly import EditFriendly
    from scumble.methods.editor import TrainedEditor
    from scumble.methods.flowedit import FlowEdit
    from scumble.methods.ids import IDS
    from scumble.methods.ilvr import ILVR
    from scumble.methods.imagic import Imagic
    from scumble.methods.ledits_pp import LEDITSpp
    from scumble.methods.masactrl import MasaCtrl
    from scumble.methods.nfsd import NFSD
    from scumble.methods.npi import NPI
    from scumble.methods.null_text import NullText
    from scumble.methods.p2p import P2P
    from scumble.methods.pds import PDS
    from scumble.methods.pix2pix_zero import Pix2PixZero
    from scumble.methods.plug_and_play import PlugAndPlay
    from scumble.methods.repaint import RePaint
    from scumble.methods.sampling import Sampling
    from scumble.methods.sbp import SBP
    from scumble.methods.sdedit import SDEdit
    from scumble.methods.sdg import SDG
    from scumble.methods.sds import SDS
    from scumble.methods.unitune import UniTune

__version__ = "0.1.0"

__all__ = [
    "Asyrp",
    "BlendedDiffusion",
    "BlendedLatentDiffusion",
    "CDS",
    "Cancelled",
    "Card",
    "ClassifierGuidance",
    "DDIMInversion",
    "DDS",
    "DDSFast",
    "DiffEdit",
    "DiffusionCLIP",
    "DirectInversion",
    "Edit",
    "EditFriendly",
    "EditRequest",
    "FlowEdit",
    "IDS",
    "ILVR",
    "Imagic",
    "InputError",
    "Inversion",
    "LEDITSpp",
    "MachineError",
    "MasaCtrl",
    "NFSD",
    "NPI",
    "Noise",
    "NullText",
    "P2P",
    "PDS",
    "Pix2PixZero",
    "PlugAndPlay",
    "Prior",
    "RePaint",
    "SBP",
    "SDEdit",
    "SDG",
    "SDS",
    "Sampling",
    "Schedule",
    "Step",
    "Tape",
    "Text",
    "TrainedEditor",
    "UniTune",
    "edit",
    "load",
    "load_editor",
    "paint",
    "pull",
]

_HOME = {
    "Asyrp": "methods.asyrp",
    "BlendedDiffusion": "methods.blended_diffusion",
    "BlendedLatentDiffusion": "methods.blended_latent_diffusion",
    "CDS": "methods.cds",
    "Cancelled": "core.request",
    "Card": "core.prior",
    "ClassifierGuidance": "methods.classifier_guidance",
    "DDIMInversion": "methods.ddim_inversion",
    "DDS": "methods.dds",
    "DDSFast": "methods.dds_fast",
    "DiffEdit": "methods.diffedit",
    "DiffusionCLIP": "methods.diffusionclip",
    "DirectInversion": "methods.direct_inversion",
    "Edit": "core.request",
    "EditFriendly": "methods.edit_friendly",
    "EditRequest": "core.request",
    "FlowEdit": "methods.flowedit",
    "IDS": "methods.ids",
    "ILVR": "methods.ilvr",
    "Imagic": "methods.imagic",
    "InputError": "core.errors",
    "Inversion": "artifacts.inversion",
    "LEDITSpp": "methods.ledits_pp",
    "MachineError": "core.errors",
    "MasaCtrl": "methods.masactrl",
    "NFSD": "methods.nfsd",
    "NPI": "methods.npi",
    "Noise": "core.noise",
    "NullText": "methods.null_text",
    "P2P": "methods.p2p",
    "PDS": "methods.pds",
    "Pix2PixZero": "methods.pix2pix_zero",
    "PlugAndPlay": "methods.plug_and_play",
    "Prior": "core.prior",
    "RePaint": "methods.repaint",
    "SBP": "methods.sbp",
    "SDEdit": "methods.sdedit",
    "SDG": "methods.sdg",
    "SDS": "methods.sds",
    "Sampling": "methods.sampling",
    "Schedule": "core.schedule",
    "Step": "core.request",
    "Tape": "core.noise",
    "Text": "core.prior",
    "TrainedEditor": "methods.editor",
    "UniTune": "methods.unitune",
    "edit": "api",
    "load": "api",
    "load_editor": "editing.apply",
    "paint": "api",
    "pull": "core.request",
}


def __getattr__(name: str) -> Any:
    """Import `name` from the module that defines it and remember it here."""
    if name not in _HOME:
        raise AttributeError(f"module 'scumble' has no attribute {name!r}")
    value = getattr(import_module(f"scumble.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
