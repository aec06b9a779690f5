"""CLIP models of other people (Radford et al. 2021, arXiv:2103.00020), read from a folder of transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from scumble.core.errors import InputError
from scumble.core.judges import Embedder
from scumble.core.prior import Prior
from scumble.core.types import Image, Time

MAPS = 5  # how many feature maps it shows, from evenly spaced layers
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
Resample = Literal["nearest", "bilinear", "bicubic", "area"]
RESAMPLE: dict[int, Resample] = {0: "nearest", 1: "bicubic", 2: "bilinear", 3: "bicubic", 4: "area"}


@dataclass(frozen=True)
class Preprocessing:
    """Pictures in [-1, 1] as a picture tower takes them: resized, cut out at the centre, normalised.

    `short`: pixels of the short side after resizing, or (height, width), whatever the aspect ratio was; `crop`: side
    of the square that is cut out. PIL's filters are stood in for by torch's with antialiasing, so that gradients pass.
    """

    short: int | tuple[int, int]
    crop: int | None
    resample: Resample = "bicubic"
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD

    @classmethod
    def read(cls, folder: Path, side: int) -> Preprocessing:
        """What a folder's preprocessor_config.json says; without one, CLIP's own for a tower of `side` pixels."""
        file = folder / "preprocessor_config.json"
        if not file.is_file():
            return cls(side, side)
        settings: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        short, crop = _length(settings.get("size", side)), _length(settings.get("crop_size", side))
        return cls(
            short,
            (crop if isinstance(crop, int) else crop[0]) if settings.get("do_center_crop", True) else None,
            RESAMPLE[settings.get("resample", 3)],
            tuple(settings.get("image_mean", MEAN)),
            tuple(settings.get("image_std", STD)),
        )

    def __call__(self, image: Image) -> Tensor:
        """(b, 3, H, W) in [-1, 1] -> what the network takes; differentiable."""
        height, width = image.shape[-2:]
        if isinstance(self.short, int):
            short = min(height, width)
            size = (
                max(height * self.short // short, self.short),
                max(width * self.short // short, self.short),
            )
        else:
            size = self.short
        x = (image + 1) / 2
        if size != (height, width):
            smooth = self.resample in ("bilinear", "bicubic")
            x = (
                F.interpolate(x, size, mode=self.resample, antialias=smooth)
                if smooth
                else F.interpolate(x, size, mode=self.resample)
            )
        if self.crop is not None:
            top, left = ((side - self.crop) // 2 for side in size)
            x = x[..., top : top + self.crop, left : left + self.crop]
        mean, std = (x.new_tensor(values).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return (x - mean) / std


def _length(size: Any) -> int | tuple[int, int]:
    """A size as configs write it: a number, {"shortest_edge": n} or {"height": h, "width": w}."""
    if isinstance(size, int):
        return size
    return (
        int(size["shortest_edge"]) if "shortest_edge" in size else (int(size["height"]), int(size["width"]))
    )


class PretrainedClip(Embedder):
    """A transformers CLIPModel, with the preprocessing and the tokenizer of its folder. It looks at clean pictures."""

    space = "pixels"
    noisy = False

    def __init__(self, id: str, hash: str, network: Any, tokenizer: Any, preprocess: Preprocessing):
        self.id, self.hash = id, hash
        self.network = network.eval().requires_grad_(False)
        self.tokenizer, self.preprocess = tokenizer, preprocess

    @classmethod
    def from_folder(cls, folder: Path) -> PretrainedClip:
        """Reads safetensors only: a pickle can run any code. Raises InputError where there are none."""
        from transformers import CLIPModel, CLIPTokenizer

        model, words = cast(Any, CLIPModel), cast(Any, CLIPTokenizer)
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise InputError(f"clip {folder}: no .safetensors there; save the model again with safetensors")
        with _quiet():
            network, report = model.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = words.from_pretrained(folder, local_files_only=True)
        if report["missing_keys"]:
            first = sorted(report["missing_keys"])[0]
            raise InputError(f"clip {folder}: weights are missing, such as {first}; download it again")
        total = hashlib.sha256()
        for file in weights:
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
        side: int = network.config.vision_config.image_size
        return cls(
            folder.resolve().name,
            total.hexdigest()[:16],
            network,
            tokenizer,
            Preprocessing.read(folder, side),
        )

    def check(self, prior: Prior) -> None:
        """It judges the pictures of any prior."""

    def embed_image(self, x: Image, t: Time | None = None) -> Float[Tensor, "b d"]:
        """Unit vectors of pictures (b, 3, H, W) in [-1, 1]."""
        seen = self.network.to(x.device).vision_model(pixel_values=self.preprocess(x.float()))
        return F.normalize(self.network.visual_projection(seen.pooler_output), dim=-1)

    def embed_text(self, prompts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit vectors. Raises InputError for a prompt that is longer than the network reads."""
        most: int = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(list(prompts), padding=True, return_tensors="pt")
        if tokens.input_ids.shape[1] > most:
            long = max(prompts, key=len)
            raise InputError(
                f"clip: the prompt {long[:40]!r}... has more than the {most} tokens that {self.id} reads"
            )
        read = self.network.text_model(**tokens.to(self.network.device))
        return F.normalize(self.network.text_projection(read.pooler_output), dim=-1)

    def maps(self, x: Image, t: Time | None = None) -> tuple[Tensor, ...]:
        """`MAPS` layers' tokens on their grid of patches, from evenly spaced layers: (b, d, h, w) each."""
        pixels = self.preprocess(x.float())
        patch: int = self.network.config.vision_config.patch_size
        h, w = (side // patch for side in pixels.shape[-2:])
        seen = self.network.to(x.device).vision_model(pixel_values=pixels, output_hidden_states=True)
        layers: Sequence[Tensor] = seen.hidden_states
        picked: list[Tensor] = [layers[round(k * (len(layers) - 1) / MAPS)] for k in range(1, MAPS + 1)]
        return tuple(layer[:, 1:].mT.reshape(len(x), -1, h, w) for layer in picked)


@contextmanager
def _quiet() -> Generator[None]:
    """No progress bar and no report on unused weights while a model loads; the tokens come back."""
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
