"""The methods, one paper per file (RePaint: `repaint.py`). `METHODS` lists them; each is imported when it is used.

Not here: loops, scores, networks or models. No method imports another; code that several share is in a module with `_`.
"""

from difflib import get_close_matches
from importlib import import_module
from typing import Any

from scumble.core.errors import InputError

METHODS: dict[str, str] = {
    "asyrp": "scumble.methods.asyrp:Asyrp",
    "blended_diffusion": "scumble.methods.blended_diffusion:BlendedDiffusion",
    "blended_latent_diffusion": "scumble.methods.blended_latent_diffusion:BlendedLatentDiffusion",
    "cds": "scumble.methods.cds:CDS",
    "classifier_guidance": "scumble.methods.classifier_guidance:ClassifierGuidance",
    "ddim_inversion": "scumble.methods.ddim_inversion:DDIMInversion",
    "dds": "scumble.methods.dds:DDS",
    "dds_fast": "scumble.methods.dds_fast:DDSFast",
    "diffedit": "scumble.methods.diffedit:DiffEdit",
    "diffusionclip": "scumble.methods.diffusionclip:DiffusionCLIP",
    "direct_inversion": "scumble.methods.direct_inversion:DirectInversion",
    "editor": "scumble.methods.editor:TrainedEditor",
    "edit_friendly": "scumble.methods.edit_friendly:EditFriendly",
    "flowedit": "scumble.methods.flowedit:FlowEdit",
    "ledits_pp": "scumble.methods.ledits_pp:LEDITSpp",
    "masactrl": "scumble.methods.masactrl:MasaCtrl",
    "ilvr": "scumble.methods.ilvr:ILVR",
    "ids": "scumble.methods.ids:IDS",
    "imagic": "scumble.methods.imagic:Imagic",
    "nfsd": "scumble.methods.nfsd:NFSD",
    "npi": "scumble.methods.npi:NPI",
    "null_text": "scumble.methods.null_text:NullText",
    "p2p": "scumble.methods.p2p:P2P",
    "pds": "scumble.methods.pds:PDS",
    "pix2pix_zero": "scumble.methods.pix2pix_zero:Pix2PixZero",
    "plug_and_play": "scumble.methods.plug_and_play:PlugAndPlay",
    "repaint": "scumble.methods.repaint:RePaint",
    "sbp": "scumble.methods.sbp:SBP",
    "sdedit": "scumble.methods.sdedit:SDEdit",
    "sdg": "scumble.methods.sdg:SDG",
    "sds": "scumble.methods.sds:SDS",
    "unitune": "scumble.methods.unitune:UniTune",
}

SAMPLING = {"sampling": "scumble.methods.sampling:Sampling"}
"""Makes a picture of words alone: no method of editing, but described, chosen and set as they are."""


def get(name: str) -> type[Any]:
    """The class of a method by its name. Raises InputError, with the nearest name, if there is none."""
    places = METHODS | SAMPLING
    if name not in places:
        near = get_close_matches(name, METHODS, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(METHODS)}"
        raise InputError(f"method: {name!r} is unknown; {hint}")
    module, _, attribute = places[name].partition(":")
    return getattr(import_module(module), attribute)
