"""What a .safetensors file contains, judged by the names of its tensors, for files given in the wrong place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from scumble.priors._folder import SCOPE

PEFT = "base_model.model."
# A piece of a tensor's name -> the relative of a supported family that it tells; what to do, where that is special.
RELATIVES: Mapping[str, str] = {
    "conditioner.embedders.0.model.": "the SDXL refiner, which finishes pictures of the base model",
    "edm_mean": "Playground 2.5, whose noise is preconditioned otherwise",
    "encoder_hid_proj.": "Kolors, an SDXL network whose text is read by ChatGLM",
    "distilled_guidance_layer.": "Chroma, a FLUX whose guidance was taken out",
    "early_stream_modulations.": "FLUX.3",
    "individual_token_refiner.": "HunyuanVideo",
    "txtfusion.": "Krea 2",
    "double_layers.0.attn.w2q": "AuraFlow",
    "double_stream_blocks.": "HiDream",
    "cfg_embedder.": "Sana-Sprint, which was distilled along another path than a straight one",
    "txt_in.text_norm.": "Qwen-Image 2.1, another network than Qwen-Image's",
    "addition_t_embedding.": "Qwen-Image-Layered, which paints layers",
    "control_layers.0.": "a ControlNet of Z-Image",
    "layers.0.adaLN_modulation.1.": "Lumina 2",
    "blocks.0.mlp.fc1.": "PixArt under its authors' names, which diffusers does not read from one file; name the "
    "folder of such a checkpoint in diffusers' layout, or its id on the hub",
    "head.modulation": "Wan, a video model",
    "patchify_proj.": "LTX, a video model",
    "scaled_fp8": "in scaled float8, which only ComfyUI reads",
    "scale_weight": "in scaled float8, which only ComfyUI reads",
    "weight_scale": "in scaled float8, which only ComfyUI reads",
    "comfy_quant": "quantised as only ComfyUI reads it",
}
PART = "it is the transformer of a checkpoint folder; name the folder that has transformer/ in it"
GGUF = "only transformers (of SD3, FLUX.1, FLUX.2, Qwen-Image, Z-Image and Sana) are read from GGUF"
# A piece of a tensor's name -> what a file with such a tensor is, and what to do with it. The first one decides.
FOREIGN: Mapping[str, str] = {
    PEFT: "it is a PEFT adapter; load it with diffusers and save it again with save_lora_weights, for --lora",
    "hada_w1": "it is a LoRA-like add-on (LoHa), not a checkpoint; only plain LoRAs are read, with --lora",
    "lokr_w": "it is a LoRA-like add-on (LoKr), not a checkpoint; only plain LoRAs are read, with --lora",
    "lora": "it is a LoRA; give the checkpoint with --model and this file with --lora",
    "all_x_embedder.": PART,
    "time_embed.emb.timestep_embedder.": PART,
    "adaln_single.": PART,
    "time_guidance_embed.": PART,
    "transformer_blocks.0.norm1.linear": PART,
    "control_model.": f"it is a ControlNet; {SCOPE}",
    "controlnet_": f"it is a ControlNet; {SCOPE}",
    "input_hint_block.": f"it is a ControlNet; {SCOPE}",
    "encoder.conv_in.": "it is a VAE alone; give the checkpoint with --model and this file with --vae",
    "down_blocks.": "it is one part of a checkpoint folder; name the folder that has unet/ in it",
    "text_model.": "it is a text encoder alone, not a checkpoint; name the checkpoint with --model",
    "enc.blk.0.": f"it is a text encoder in GGUF; {GGUF}",
    "blk.0.": f"it is a language model in GGUF; {GGUF}",
    "string_to_param": "it is a textual inversion; give the checkpoint with --model and this file with --embedding",
    "emb_params": "it is a textual inversion; give the checkpoint with --model and this file with --embedding",
}
WITHIN = ("control_model.",)  # stands beside a whole network

LYCORIS: Mapping[str, str] = {
    r"\.hada_\w+$": "a LoHa", r"\.lokr_\w+$": "a LoKr", r"\.oft_(blocks|diag)$": "an OFT", r"\.on_input$": "an (IA)^3",
    r"\.lora_mid(\.weight)?$": "a LoCon in Tucker's form", r"\.[ab][12](\.weight)?$": "a GLoRA",
    r"\.diff(_b)?$": "a full change of weights", r"\.[wb]_norm$": "a change of norms",
}  # fmt: skip
"""How names of tensors end in other additions than LoRAs, and what LyCORIS calls them."""


def foreign(names: Iterable[str], *, network: bool = False) -> str | None:
    """What a file of these tensors is, in a sentence without its end; None where nothing tells. `network`: it holds
    a whole network under the original names.
    """
    names = list(names)
    relative = next((what for piece, what in RELATIVES.items() if any(piece in name for name in names)), None)
    if relative:
        return f"it is {relative}" if "; " in relative else f"it is {relative}; {SCOPE}"
    pieces = WITHIN if network else tuple(FOREIGN)
    return next((FOREIGN[piece] for piece in pieces if any(piece in name for name in names)), None)
