"""SDXL, SD3 and FLUX.1 in miniature: random weights in the real classes, saved as diffusers saves them."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
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
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
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


def qwen3() -> Qwen3Config:
    return Qwen3Config(
        vocab_size=260, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=1024, bos_token_id=None, eos_token_id=258,
        pad_token_id=256,
    )  # fmt: skip


def zimage(**changes: Any) -> ZImagePipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "in_channels": 16, "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2,
        "cap_feat_dim": 16, "axes_dims": [8, 4, 4], "axes_lens": [1024, 64, 64],
    }  # fmt: skip
    network = ZImageTransformer2DModel(**{**config, **changes}).eval()
    with torch.no_grad():
        for token in (network.x_pad_token, network.cap_pad_token):
            token.normal_()
    return ZImagePipeline(
        transformer=network,
        vae=vae(16, 0.3611, 0.1159, **BARE).eval(),
        text_encoder=Qwen3Model(qwen3()).eval(),
        tokenizer=qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
    )


def qwen(**changes: Any) -> QwenImagePipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "in_channels": 64, "out_channels": 16, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 2,
        "joint_attention_dim": 16, "axes_dims_rope": (4, 4, 8),
    }  # fmt: skip
    rope = {"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1e6}
    text = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": 260, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 2, "rope_parameters": rope,
        },
        vision_config={"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16},
        image_token_id=256, video_token_id=256, vision_start_token_id=257, vision_end_token_id=258,
    )  # fmt: skip
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(**{**config, **changes}).eval(),
        vae=AutoencoderKLQwenImage(
            base_dim=8, z_dim=16, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[True]
        ).eval(),
        text_encoder=Qwen2_5_VLForConditionalGeneration(text).eval(),
        tokenizer=qwen_tokenizer(),
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.5,
            max_shift=0.9,
            max_image_seq_len=8192,
            shift_terminal=0.02,
        ),
    )


def flux2_parts(**changes: Any) -> dict[str, Any]:
    """Network, codec and scheduler of FLUX.2."""
    config: dict[str, Any] = {
        "in_channels": 32, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 48, "timestep_guidance_channels": 16,
        "axes_dims_rope": (4, 4, 4, 4), "guidance_embeds": False,
    }  # fmt: skip
    codec = AutoencoderKLFlux2(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, layers_per_block=1, latent_channels=8, norm_num_groups=4,
        sample_size=32, **BARE,
    ).eval()  # fmt: skip
    codec.bn.running_mean.normal_()
    codec.bn.running_var.uniform_(0.5, 2)
    return {
        "transformer": Flux2Transformer2DModel(**{**config, **changes}).eval(),
        "vae": codec,
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    }


def klein(*, distilled: bool = False, **changes: Any) -> Flux2KleinPipeline:
    torch.manual_seed(0)
    return Flux2KleinPipeline(
        **flux2_parts(**changes),
        text_encoder=Qwen3ForCausalLM(qwen3()).eval(),
        tokenizer=qwen_tokenizer(),
        is_distilled=distilled,
    )


def mistral_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes, padded on the left as Mistral's; its template takes what is said in pieces."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=qwen_tokenizer().backend_tokenizer, pad_token="<|endoftext|>", padding_side="left"
    )
    tokenizer.chat_template = CHAT.replace("m['content']", "m['content'][0]['text']")
    return tokenizer


def flux2(**changes: Any) -> Flux2Pipeline:
    torch.manual_seed(0)
    text = Mistral3Config(
        text_config={
            "model_type": "mistral", "vocab_size": 260, "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
            "max_position_embeddings": 1024,
        },
        vision_config={
            "model_type": "pixtral", "num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 16,
            "num_attention_heads": 2, "head_dim": 8, "image_size": 32, "patch_size": 16,
        },
        image_token_index=256,
    )  # fmt: skip
    return Flux2Pipeline(
        **flux2_parts(guidance_embeds=True, **changes),
        text_encoder=Mistral3ForConditionalGeneration(text).eval(),
        tokenizer=mistral_tokenizer(),
    )


def gemma_tokenizer() -> GemmaTokenizer:
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = [*special, "\u2581", *(chr(code) for code in range(10, 127) if chr(code).isprintable()), "\n"]
    return GemmaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], add_bos_token=True)


def sana(**changes: Any) -> SanaPipeline:
    torch.manual_seed(0)
    config: dict[str, Any] = {
        "in_channels": 4, "out_channels": 4, "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 8,
        "num_cross_attention_heads": 2, "cross_attention_head_dim": 8, "cross_attention_dim": 16,
        "caption_channels": 16, "sample_size": 8,
    }  # fmt: skip
    blocks = ("ResBlock", "EfficientViTBlock")
    codec = AutoencoderDC(
        latent_channels=4, attention_head_dim=2, encoder_block_types=blocks, decoder_block_types=blocks,
        encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)), encoder_layers_per_block=(1, 1), decoder_layers_per_block=(1, 1),
        downsample_block_type="conv", upsample_block_type="interpolate", decoder_norm_types="rms_norm",
        decoder_act_fns="silu", scaling_factor=0.41407,
    )  # fmt: skip
    text = Gemma2Config(
        vocab_size=130, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, max_position_embeddings=4096, bos_token_id=2, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    return SanaPipeline(
        transformer=SanaTransformer2DModel(**{**config, **changes}).eval(),
        vae=codec.eval(),
        text_encoder=Gemma2Model(text).eval(),
        tokenizer=gemma_tokenizer(),
        # Sana's own, of the first order, so that it is our step.
        scheduler=DPMSolverMultistepScheduler(
            use_flow_sigmas=True, flow_shift=3.0, prediction_type="flow_prediction", solver_order=1
        ),
    )


MAKERS = {
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "schnell": lambda: flux(dev=False),
    "pixart": pixart,
    "zimage": zimage,
    "qwen": qwen,
    "flux2": flux2,
    "klein": klein,
    "klein4": lambda: klein(distilled=True),
    "sana": sana,
}


def save(pipe: Any, folder: Path) -> Path:
    pipe.save_pretrained(folder)
    return folder
