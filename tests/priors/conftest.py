"""A Stable Diffusion in miniature, built from configs: random weights, a tokenizer of single letters."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scumble.priors.stable_diffusion import StableDiffusionPrior

LIMIT = 16  # tokens; every letter is one, and so are start and end
SCHEDULER = {
    "_class_name": "DDIMScheduler",
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
    "timestep_spacing": "leading",
}


def make_unet(**changes: object) -> UNet2DConditionModel:
    """Latents of 4x8x8; attention at strides 1 and 2, also in the middle."""
    config = {
        "sample_size": 8,
        "block_out_channels": (16, 32),
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 1,
        "norm_num_groups": 8,
        "cross_attention_dim": 16,
        "attention_head_dim": 4,
    }
    return UNet2DConditionModel(**{**config, **changes}).eval()


def make_tokenizer() -> CLIPTokenizer:
    letters = [chr(code) for code in range(33, 127)]
    pieces = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=LIMIT)


def write_scheduler(folder: Path, **changes: object) -> None:
    (folder / "scheduler").mkdir(parents=True, exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps({**SCHEDULER, **changes}))


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder. Shared: copy it (`folder`) to change it."""
    path = tmp_path_factory.mktemp("checkpoint") / "tiny"
    torch.manual_seed(0)
    make_unet().save_pretrained(path / "unet")
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, scaling_factor=0.2, shift_factor=0.1, **blocks
    )
    vae.save_pretrained(path / "vae")
    text = CLIPTextConfig(
        vocab_size=190, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=LIMIT, bos_token_id=188, eos_token_id=189, pad_token_id=189,
    )  # fmt: skip
    CLIPTextModel(text).save_pretrained(path / "text_encoder")
    make_tokenizer().save_pretrained(path / "tokenizer")
    write_scheduler(path)
    return path


@pytest.fixture
def folder(pristine: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint folder, to be changed at will."""
    return Path(shutil.copytree(pristine, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def prior(pristine: Path) -> StableDiffusionPrior:
    return StableDiffusionPrior.from_pretrained(str(pristine), device="cpu")


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """edit_json(file, key=value, ...): a JSON file with some values changed; a value None removes the key."""

    def edit(file: Path, **changes: object) -> None:
        read = {**json.loads(file.read_text()), **changes}
        file.write_text(json.dumps({key: value for key, value in read.items() if value is not None}))

    return edit
