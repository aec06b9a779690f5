"""SDXL, SD3 and FLUX.1 in miniature: random weights in the real classes, saved as diffusers saves them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

LETTERS = [chr(code) for code in range(33, 127)]
PIECES = [*LETTERS, *(c + "</w>" for c in LETTERS), "<|startoftext|>", "<|endoftext|>"]
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012, "steps_offset": 1}


def clip_tokenizer(pad: str = "<|endoftext|>") -> CLIPTokenizer:
    vocab = {piece: i for i, piece in enumerate(PIECES)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77, pad_token=pad)


def t5_tokenizer() -> T5Tokenizer:
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("\u2581", -2.0)]
    letters = [(c, -3.0) for c in "abcdefghijklmnopqrstuvwxyz"]
    return T5Tokenizer(vocab=[*special, *letters], extra_ids=0, model_max_length=512)


def clip(width: int, act: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=190, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=77, projection_dim=width, hidden_act=act, bos_token_id=188, eos_token_id=189,
        pad_token_id=189,
    )  # fmt: skip


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=32, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu",
            is_encoder_decoder=False, use_cache=False,
        )
    )  # fmt: skip


def vae(channels: int, scale: float, shift: float | None = None, **settings: Any) -> AutoencoderKL:
    """Stride 2."""
    return AutoencoderKL(
        latent_channels=channels, block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=4, sample_size=32, scaling_factor=scale,
        shift_factor=shift, **settings,
    )  # fmt: skip


BARE = {"use_quant_conv": False, "use_post_quant_conv": False}


def sdxl(**changes: Any) -> StableDiffusionXLPipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": 16, "block_out_channels": (16, 32, 32), "layers_per_block": 1, "norm_num_groups": 8,
        "transformer_layers_per_block": (1, 1, 2), "attention_head_dim": (2, 4, 4),
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "use_linear_projection": True, "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 6 * 8 + 32, "cross_attention_dim": 64,
    }  # fmt: skip
    return StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**{**config, **changes}).eval(),
        vae=vae(4, 0.13025).eval(),
        text_encoder=CLIPTextModel(clip(32)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(clip(32, "gelu")).eval(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer("!"),
        scheduler=EulerDiscreteScheduler(**BETAS, timestep_spacing="leading"),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )


def sd3(**changes: Any) -> StableDiffusion3Pipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": 32, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 4,
        "joint_attention_dim": 32, "caption_projection_dim": 32, "pooled_projection_dim": 32,
        "pos_embed_max_size": 32, "dual_attention_layers": (0,), "qk_norm": "rms_norm",
    }  # fmt: skip
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**{**config, **changes}).eval(),
        vae=vae(16, 1.5305, 0.0609, **BARE).eval(),
        text_encoder=CLIPTextModelWithProjection(clip(16)).eval(),
        text_encoder_2=CLIPTextModelWithProjection(clip(16, "gelu")).eval(),
        text_encoder_3=t5().eval(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer("!"),
        tokenizer_3=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def flux(*, dev: bool = True, **changes: Any) -> FluxPipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "in_channels": 64, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 32, "pooled_projection_dim": 32,
        "axes_dims_rope": (4, 4, 8), "guidance_embeds": dev,
    }  # fmt: skip
    shifts = {"shift": 3.0, "use_dynamic_shifting": True} if dev else {"shift": 1.0}
    return FluxPipeline(
        transformer=FluxTransformer2DModel(**{**config, **changes}).eval(),
        vae=vae(16, 0.3611, 0.1159, **BARE).eval(),
        text_encoder=CLIPTextModel(clip(32)).eval(),
        text_encoder_2=t5().eval(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(**shifts),
    )


def pixart(**changes: Any) -> PixArtAlphaPipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "sample_size": 16, "num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 3, "caption_channels": 32,
        "cross_attention_dim": 24, "use_additional_conditions": False,
    }  # fmt: skip
    return PixArtAlphaPipeline(
        transformer=PixArtTransformer2DModel(**{**config, **changes}).eval(),
        vae=vae(4, 0.18215).eval(),
        text_encoder=t5().eval(),
        tokenizer=t5_tokenizer(),
        scheduler=DDIMScheduler(beta_start=0.0001, beta_end=0.02, clip_sample=False),
    )


CHAT = (
    "{% for m in messages %}<|im_start|>{{m['role']}}\n{{m['content']}}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def qwen_tokenizer() -> Qwen2Tokenizer:
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet()) + special
    tokenizer = Qwen2Tokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=4096,
        additional_special_tokens=special[1:],
    )  # fmt: skip
    tokenizer.chat_template = CHAT
    return tokenizer


def zimage(**changes: Any) -> ZImagePipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "in_channels": 16, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
        "cap_feat_dim": 16, "axes_dims": [8, 4, 4], "axes_lens": [1024, 64, 64],
    }  # fmt: skip
    text = Qwen3Config(
        vocab_size=260, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=1024, bos_token_id=None, eos_token_id=258,
        pad_token_id=256,
    )  # fmt: skip
    network = ZImageTransformer2DModel(**{**config, **changes}).eval()
    with torch.no_grad():
        for token in (network.x_pad_token, network.cap_pad_token):
            token.normal_()
    return ZImagePipeline(
        transformer=network,
        vae=vae(16, 0.3611, 0.1159, **BARE).eval(),
        text_encoder=Qwen3Model(text).eval(),
        tokenizer=qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


MAKERS = {
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "schnell": lambda: flux(dev=False),
    "pixart": pixart,
    "zimage": zimage,
}


def save(pipe: Any, folder: Path) -> Path:
    pipe.save_pretrained(folder)
    return folder
