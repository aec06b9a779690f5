"""The families of checkpoints: their parts, the classes that read them, and the relatives that are refused.

Nothing here imports torch: configs are judged before anything large is read or fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

Half = Literal["float16", "bfloat16"]

CLIP, PROJECTED = "transformers:CLIPTextModel", "transformers:CLIPTextModelWithProjection"
CLIP_TOKENIZER, T5_TOKENIZER = "transformers:CLIPTokenizer", "transformers:T5TokenizerFast"
T5 = "transformers:T5EncoderModel"
QWEN3, QWEN_TOKENIZER = "transformers:Qwen3Model", "transformers:Qwen2TokenizerFast"
QWEN3_LM, QWEN_VL = "transformers:Qwen3ForCausalLM", "transformers:Qwen2_5_VLForConditionalGeneration"
MISTRAL, MISTRAL_TOKENIZER = "transformers:Mistral3ForConditionalGeneration", "transformers:AutoTokenizer"
GEMMA, GEMMA_TOKENIZER = "transformers:Gemma2Model", "transformers:GemmaTokenizerFast"
TEXT_KINDS: Mapping[str, tuple[str, str]] = {
    CLIP: ("clip", "a CLIP"), PROJECTED: ("clip", "a CLIP"), T5: ("t5", "a T5"), QWEN3: ("qwen3", "a Qwen3"),
    QWEN3_LM: ("qwen3", "a Qwen3"), QWEN_VL: ("qwen2_5_vl", "a Qwen2.5-VL"), MISTRAL: ("mistral3", "a Mistral 3"),
    GEMMA: ("gemma2", "a Gemma 2"),
}  # fmt: skip
"""How the `model_type` of a text encoder begins, and what it is called."""
UNET = "diffusers.models.unets.unet_2d_condition:UNet2DConditionModel"
VAE = "diffusers.models.autoencoders.autoencoder_kl:AutoencoderKL"
FLUX2_VAE = "diffusers.models.autoencoders.autoencoder_kl_flux2:AutoencoderKLFlux2"
QWEN_VAE = "diffusers.models.autoencoders.autoencoder_kl_qwenimage:AutoencoderKLQwenImage"
DC_AE = "diffusers.models.autoencoders.autoencoder_dc:AutoencoderDC"
FLUX2 = "diffusers.models.transformers.transformer_flux2:Flux2Transformer2DModel"


@dataclass(frozen=True)
class Family:
    """`parts` and `tokenizers`: the folders of a checkpoint and what reads them, as "module:Class"; `optional`:
    parts that may be absent. `prior`: what drives it. `half`: the precision that "auto" takes on an accelerator.
    `patch`: the side of a token of its transformer, in cells of the latent.
    """

    title: str
    prior: str
    parts: Mapping[str, str]
    tokenizers: Mapping[str, str] = field(default_factory=dict[str, str])
    optional: frozenset[str] = frozenset()
    half: Half = "float16"
    patch: int = 2

    @property
    def network(self) -> str:
        """The part that is asked for noise: "unet" or "transformer"."""
        return next(iter(self.parts))


FAMILIES: Mapping[str, Family] = {
    "pixel": Family(
        "a pixel model",
        "scumble.priors.pixel:PixelPrior",
        {"unet": "diffusers.models.unets.unet_2d:UNet2DModel"},
    ),
    "latent": Family(
        "Stable Diffusion 1.x / 2.x",
        "scumble.priors.stable_diffusion:StableDiffusionPrior",
        {"unet": UNET, "vae": VAE, "text_encoder": CLIP},
        {"tokenizer": CLIP_TOKENIZER},
    ),
    "sdxl": Family(
        "Stable Diffusion XL",
        "scumble.priors.sdxl:SDXLPrior",
        {"unet": UNET, "vae": VAE, "text_encoder": CLIP, "text_encoder_2": PROJECTED},
        {"tokenizer": CLIP_TOKENIZER, "tokenizer_2": CLIP_TOKENIZER},
    ),
    "sd3": Family(
        "Stable Diffusion 3 / 3.5",
        "scumble.priors.sd3:SD3Prior",
        {
            "transformer": "diffusers.models.transformers.transformer_sd3:SD3Transformer2DModel",
            "vae": VAE,
            "text_encoder": PROJECTED,
            "text_encoder_2": PROJECTED,
            "text_encoder_3": T5,
        },
        {"tokenizer": CLIP_TOKENIZER, "tokenizer_2": CLIP_TOKENIZER, "tokenizer_3": T5_TOKENIZER},
        optional=frozenset({"text_encoder_3", "tokenizer_3"}),
    ),
    "flux": Family(
        "FLUX.1",
        "scumble.priors.flux:FluxPrior",
        {
            "transformer": "diffusers.models.transformers.transformer_flux:FluxTransformer2DModel",
            "vae": VAE,
            "text_encoder": CLIP,
            "text_encoder_2": T5,
        },
        {"tokenizer": CLIP_TOKENIZER, "tokenizer_2": T5_TOKENIZER},
        half="bfloat16",
    ),
    "pixart": Family(
        "PixArt",
        "scumble.priors.pixart:PixArtPrior",
        {
            "transformer": "diffusers.models.transformers.pixart_transformer_2d:PixArtTransformer2DModel",
            "vae": VAE,
            "text_encoder": T5,
        },
        {"tokenizer": T5_TOKENIZER},
    ),
    "zimage": Family(
        "Z-Image",
        "scumble.priors.zimage:ZImagePrior",
        {
            "transformer": "diffusers.models.transformers.transformer_z_image:ZImageTransformer2DModel",
            "vae": VAE,
            "text_encoder": QWEN3,
        },
        {"tokenizer": QWEN_TOKENIZER},
        half="bfloat16",
    ),
    "qwen": Family(
        "Qwen-Image",
        "scumble.priors.qwen:QwenImagePrior",
        {
            "transformer": "diffusers.models.transformers.transformer_qwenimage:QwenImageTransformer2DModel",
            "vae": QWEN_VAE,
            "text_encoder": QWEN_VL,
        },
        {"tokenizer": QWEN_TOKENIZER},
        half="bfloat16",
    ),
    "flux2": Family(
        "FLUX.2 dev",
        "scumble.priors.flux2:Flux2Prior",
        {"transformer": FLUX2, "vae": FLUX2_VAE, "text_encoder": MISTRAL},
        {"tokenizer": MISTRAL_TOKENIZER},
        half="bfloat16",
    ),
    "klein": Family(
        "FLUX.2 klein",
        "scumble.priors.flux2:KleinPrior",
        {"transformer": FLUX2, "vae": FLUX2_VAE, "text_encoder": QWEN3_LM},
        {"tokenizer": QWEN_TOKENIZER},
        half="bfloat16",
    ),
    "sana": Family(
        "Sana",
        "scumble.priors.sana:SanaPrior",
        {
            "transformer": "diffusers.models.transformers.sana_transformer:SanaTransformer2DModel",
            "vae": DC_AE,
            "text_encoder": GEMMA,
        },
        {"tokenizer": GEMMA_TOKENIZER},
        half="bfloat16",
        patch=1,
    ),
}
"""By the name that `Folder.family` gives; "latent" is the first that was supported."""

NETWORKS: Mapping[str, str] = {
    "SD3Transformer2DModel": "sd3",
    "FluxTransformer2DModel": "flux",
    "PixArtTransformer2DModel": "pixart",
    "ZImageTransformer2DModel": "zimage",
    "QwenImageTransformer2DModel": "qwen",
    "Flux2Transformer2DModel": "flux2",  # or klein: its text encoder tells
    "SanaTransformer2DModel": "sana",
}
"""The family of a transformer, by its class."""

CASCADE = (
    "a stage of DeepFloyd IF, which edits nothing: of a folder on this disk `scumble paint` draws by the first stage, "
    "and `scumble upscale --stage` by the second (docs/models.md)"
)
RELATIVES: Mapping[str, str] = {
    "KolorsPipeline": "Kolors, an SDXL network whose text is read by ChatGLM",
    "KolorsImg2ImgPipeline": "Kolors, an SDXL network whose text is read by ChatGLM",
    "FluxKontextPipeline": "FLUX Kontext, which is shown the picture beside the noise",
    "FluxFillPipeline": "FLUX Fill, an inpainting model",
    "FluxControlPipeline": "FLUX Control, which is shown a depth map or edges",
    "FluxControlNetPipeline": "a FLUX with a ControlNet",
    "ChromaPipeline": "Chroma, a FLUX whose guidance was taken out",
    "QwenImageEditPipeline": "Qwen-Image-Edit, whose text encoder is shown the picture",
    "QwenImageEditPlusPipeline": "Qwen-Image-Edit, whose text encoder is shown the picture",
    "QwenImageLayeredPipeline": "Qwen-Image-Layered, which paints layers",
    "Flux2KleinKVPipeline": "FLUX.2 klein KV, which is shown pictures beside the noise",
    "SanaSprintPipeline": "Sana-Sprint, which was distilled along another path than a straight one",
    "SanaVideoPipeline": "Sana-Video",
    "IFPipeline": CASCADE,
    "IFSuperResolutionPipeline": CASCADE,
    "Kandinsky3Pipeline": "Kandinsky 3, whose text encoder (FLAN-UL2) and codec (MoVQ) no other family has",
    "Kandinsky3Img2ImgPipeline": "Kandinsky 3, whose text encoder (FLAN-UL2) and codec (MoVQ) no other family has",
    "HunyuanDiTPipeline": "HunyuanDiT",
}
"""Pipelines that look like ours and are not driven: their `_class_name`, and what they are."""


def load_class(place: str) -> Any:
    """ "module:Class" -> the class."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)
