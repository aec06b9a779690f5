"""Whether the built-in x2 stage makes the errors of the model before it larger, and what noise in its input changes.

The first stage is the built-in model's codec: scenes of the test split are encoded and decoded at 128 px, which leaves
errors whose truth is known. The stage draws both, the copy and the renderer's own picture, at 256 px:

* PSNR of each against the renderer's own 256 px picture, beside bicubic interpolation;
* amplification: mean squared difference of the two at 256 px, over that of their inputs at 128 px. Above 1, the stage
  makes the errors of the first stage larger.

Each at several levels of conditioning augmentation (Ho et al. 2021, arXiv:2106.15282, section 4.2). Then two passes,
against the renderer's own 512 px picture.

    python -m scumble.bench.studies cascade [--scenes 8] [--steps 4] [--large 4]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from itertools import islice
from statistics import mean

import numpy as np
import torch
from torch import Tensor

import scumble
from scumble.core.pixels import psnr, to_images, to_pixels
from scumble.editing.upscale import Upscaling, load, upscale
from scumble.networks.sr3 import upsampled
from scumble.scenes import Scene, render, scenes

LEVELS = 0.0, 0.05, 0.1, 0.2, 0.3
Draw = Callable[[Tensor], Tensor]


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="cascade")
    parser.add_argument("--scenes", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--large", type=int, default=4)
    options = parser.parse_args(words)
    some = list(islice(scenes("test", 0), options.scenes))
    prior, steps = scumble.load("scenes", device="cpu"), options.steps
    with torch.no_grad():
        given = [to_images([render(scene, 128)]) for scene in some]
        copies = [prior.decode(prior.encode(image)).clamp(-1, 1) for image in given]
    before = mean(_psnr(a, b) for a, b in zip(copies, given, strict=True))
    print(f"{len(some)} test scenes, {steps} steps; the codec's copies at 128 px: {before:.1f} dB\n")
    print("| 256 px by | from the true picture, dB | from the copy, dB | amplification |")
    print("|---|--:|--:|--:|", flush=True)
    print(_row("bicubic", lambda image: upsampled(image).clamp(-1, 1), given, copies, some), flush=True)
    for level in LEVELS:
        asked = Upscaling(steps=steps, level=level)
        print(_row(f"the stage, level {level:g}", _drawing(asked), given, copies, some), flush=True)
    print(f"\n| 512 px, {options.large} scenes | from the true picture, dB |\n|---|--:|", flush=True)
    twice: Draw = lambda image: upsampled(upsampled(image)).clamp(-1, 1)  # noqa: E731
    for name, draw in (("bicubic", twice), ("two passes", _drawing(Upscaling(steps=steps, factor=4)))):
        far = [_psnr(draw(x), _true(s, 512)) for x, s in zip(given[: options.large], some, strict=False)]
        print(f"| {name} | {mean(far):.1f} |", flush=True)


def _drawing(asked: Upscaling) -> Draw:
    stage = load(asked)
    return lambda image: upscale(stage, image, asked)


def _row(
    name: str, draw: Draw, given: Sequence[Tensor], copies: Sequence[Tensor], some: Sequence[Scene]
) -> str:
    clean, copied = [draw(image) for image in given], [draw(image) for image in copies]
    far = [
        mean(_psnr(image, _true(scene, 256)) for image, scene in zip(images, some, strict=True))
        for images in (clean, copied)
    ]
    after = sum(float((a - b).square().mean()) for a, b in zip(clean, copied, strict=True))
    before = sum(float((a - b).square().mean()) for a, b in zip(given, copies, strict=True))
    return f"| {name} | {far[0]:.1f} | {far[1]:.1f} | {after / before:.2f} |"


def _true(scene: Scene, size: int) -> Tensor:
    return to_images([render(scene, size)])


def _psnr(a: Tensor, b: Tensor) -> float:
    ours, theirs = (np.asarray(to_pixels(image)[0]) for image in (a, b))
    return psnr(ours, theirs)
