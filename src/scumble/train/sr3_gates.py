"""What an x2 stage does on scenes of the test split, against the renderer's own picture and against bicubic."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from scumble.core.atomic import atomic
from scumble.core.errors import InputError
from scumble.core.pixels import psnr, to_images, to_pixels
from scumble.core.types import Image
from scumble.editing.upscale import Upscaling, upscale
from scumble.measuring.measures import ssim
from scumble.networks.sr3 import MODEL_TYPE, SR3Network, SuperResolution, save, upsampled
from scumble.train.place import replaceable
from scumble.train.sr3 import SIDE, SR3Recipe, bank, train_stage

log = logging.getLogger(__name__)

GATE = 3.0
"""dB of PSNR, at least, by which a stage must be better than bicubic."""

SEED = 9_000  # of the scenes that are measured on
BATCH = 8


def measured(stage: SuperResolution, upscaling: Upscaling, count: int = 64) -> Mapping[str, Any]:
    """Means over `count` test scenes, drawn at 128 and at 256 px: PSNR and SSIM of the stage and of bicubic.

    `again`: PSNR of the result, averaged over 2 x 2 pixels, against the picture that was given.
    """
    high, low = bank(count, SEED, "test")
    rows: dict[str, list[float]] = {
        name: [] for name in ("psnr", "ssim", "bicubic_psnr", "bicubic_ssim", "again")
    }
    for start in range(0, count, BATCH):
        true, given = (_images(part[start : start + BATCH]) for part in (high, low))
        made = upscale(stage, given, upscaling)
        for name, found in (("", made), ("bicubic_", upsampled(given))):
            for ours, theirs in zip(to_pixels(found), to_pixels(true), strict=True):
                rows[f"{name}psnr"].append(psnr(ours, theirs))
                rows[f"{name}ssim"].append(ssim(ours, theirs))
        small = F.avg_pool2d(made, 2)
        rows["again"] += [psnr(a, b) for a, b in zip(to_pixels(small), to_pixels(given), strict=True)]
    means = {name: round(sum(values) / count, 4) for name, values in rows.items()}
    better = round(means["psnr"] - means["bicubic_psnr"], 3)
    return {"scenes": count, **means, "better_by_db": better, "passed": better >= GATE}


def train_sr3(out: Path, recipe: SR3Recipe, workers: int = 0, *, tested: int = 64) -> Mapping[str, Any]:
    """Render the bank, train (log and checkpoints in OUT.log), write the stage and what was measured to `out`.

    tested: scenes of the test split that the stage is measured on. Returns what `measured` does, which gates.json
    holds, too. Raises InputError where `out` holds something else.
    """
    if out.exists() and not (out.is_dir() and any(out.iterdir()) and replaceable(out, MODEL_TYPE)):
        raise InputError(f"{out}: there is something else in its place; name a new folder with -o")
    log.info("rendering %d scenes at %d and %d px", recipe.bank, SIDE, SIDE // 2)
    high, low = bank(recipe.bank, recipe.seed, workers=workers)
    network = train_stage(high, low, recipe, out.with_name(f"{out.name}.log"))
    return write(out, network, recipe, tested)


def write(out: Path, network: SR3Network, recipe: SR3Recipe, tested: int = 64) -> Mapping[str, Any]:
    """The stage as a folder: config.json, model.safetensors, gates.json."""
    stated = {key: value for key, value in asdict(recipe).items() if key != "minutes"}
    save(out, network, noised=recipe.noised, recipe=stated)
    found = measured(SuperResolution.from_folder(out), Upscaling(), tested)
    with atomic(out / "gates.json") as part:
        part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return found


def _images(pixels: torch.Tensor) -> Image:
    return to_images(pixels.movedim(1, -1).numpy())
