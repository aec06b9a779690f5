"""What a .safetensors file contains, judged by the names of its tensors, for files given in the wrong place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scumble.priors._folder import SCOPE

FOLDERS_ONLY = (
    "single files are read of Stable Diffusion 1.x / 2.x alone yet: name a folder, or save this file as one with "
    "diffusers, from_single_file(FILE).save_pretrained(FOLDER) of the family's pipeline"
)
PEFT = "base_model.model."
# A piece of a tensor's name -> what a file with such a tensor is, and what to do with it. The first one decides.
FOREIGN: Mapping[str, str] = {
    PEFT: "it is a PEFT adapter; load it with diffusers and save it again with save_lora_weights, for --lora",
    "hada_w1": "it is a LoRA-like add-on (LoHa), not a checkpoint",
    "lokr_w": "it is a LoRA-like add-on (LoKr), not a checkpoint",
    "lora": "it is a LoRA; give the checkpoint with --model and this file with --lora",
    "conditioner.embedders.": f"it is of the SDXL family (two text encoders); {FOLDERS_ONLY}",
    "joint_blocks.": f"its network is a transformer, as in Stable Diffusion 3; {FOLDERS_ONLY}",
    "double_blocks.": f"its network is a transformer, as in FLUX; {FOLDERS_ONLY}",
    "transformer_blocks.0.norm1.linear": f"its network is a transformer; {SCOPE}",
    "control_model.": f"it is a ControlNet; {SCOPE}",
    "controlnet_": f"it is a ControlNet; {SCOPE}",
    "input_hint_block.": f"it is a ControlNet; {SCOPE}",
    "encoder.conv_in.": "it is a VAE alone; give the checkpoint with --model and this file with --vae",
    "down_blocks.": "it is one part of a checkpoint folder; name the folder that has unet/ in it",
    "text_model.": "it is a text encoder alone, not a checkpoint; name the checkpoint with --model",
    "string_to_param": "it is a textual inversion; give the checkpoint with --model and this file with --embedding",
    "emb_params": "it is a textual inversion; give the checkpoint with --model and this file with --embedding",
}
WITHIN = ("conditioner.embedders.", "control_model.")  # these stand beside a whole network


def foreign(names: Iterable[str], *, network: bool = False) -> str | None:
    """What a file of these tensors is, in a sentence without its end; None where nothing tells. `network`: it holds
    a whole network under the original names.
    """
    names = list(names)
    pieces = WITHIN if network else tuple(FOREIGN)
    return next((FOREIGN[piece] for piece in pieces if any(piece in name for name in names)), None)
