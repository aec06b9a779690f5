"""What half precision costs Delta Denoising Score, which subtracts nearly equal numbers.

The built-in model in float16 and in bfloat16 against itself in float32, on edits of the test split:

* the gradient, at five times, where it is hardest: at the first step, when both branches see the same picture;
* the edited picture, from the same noise, beside how far the edit moved it.

`scumble.load` takes for `dtype="auto"` what comes out ahead, where an accelerator computes it fast.

    python -m scumble.bench.studies dtypes [--edits 20] [--steps 200] [--model scenes] [--device auto]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

import torch
from torch import Tensor

import scumble
from scumble.core.noise import Noise
from scumble.core.pixels import psnr, to_images, to_pixels
from scumble.core.prior import Prior
from scumble.core.request import EditRequest
from scumble.editing.plan import choose
from scumble.methods.dds import DDS
from scumble.scenes import KINDS, SceneEdit, edits, render
from scumble.scores.dds import DDSScore

TIMES = (100, 300, 500, 700, 900)
DTYPES = ("float16", "bfloat16")


@dataclass(frozen=True)
class Run:
    """One edit in one precision: the gradients at all times, and the picture."""

    gradients: Tensor
    picture: Tensor


@torch.no_grad()
def run(prior: Prior, edit: SceneEdit, steps: int) -> Run:
    size = prior.card.size
    image, words = to_images([render(edit.source, size)]), (edit.source_caption, edit.target_caption)
    request = EditRequest(image=image, source=words[0], target=words[1])
    method = cast(DDS, choose("dds", DDS, prior.card, {"steps": steps})[0])
    z = prior.encode(image)
    source, target, null = (prior.embed([each]) for each in (*words, ""))
    score = DDSScore(prior, reference=z, source=source, target=target, null=null, guidance=method.guidance)
    gradients = [score(z, torch.tensor([t]), Noise(t)).cpu() for t in TIMES]
    return Run(torch.cat(gradients), method(prior, request).raw.cpu())


def errors(ours: Sequence[Run], exact: Sequence[Run]) -> list[float]:
    """|g - g32| / |g32| of every edit and time."""
    return [
        ((a - b).norm() / b.norm()).item()
        for mine, true in zip(ours, exact, strict=True)
        for a, b in zip(mine.gradients, true.gradients, strict=True)
    ]


def distances(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[float]:
    """dB between pictures."""
    return [psnr(to_pixels(a), to_pixels(b)) for a, b in zip(ours, theirs, strict=True)]


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edits", type=int, default=20)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--model", default="scenes")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(words)

    some = list(islice(edits("test", 0, [kind for kind in KINDS if kind != "noop"]), options.edits))
    priors = {
        dtype: scumble.load(options.model, device=options.device, dtype=dtype)
        for dtype in ("float32", *DTYPES)
    }
    runs = {dtype: [run(prior, edit, options.steps) for edit in some] for dtype, prior in priors.items()}
    exact = runs["float32"]
    size = priors["float32"].card.size
    before = [to_images([render(edit.source, size)]) for edit in some]
    moved = statistics.median(distances([run.picture for run in exact], before))

    where = priors["float32"].loaded["device"]
    print(f"{options.edits} edits, {options.steps} steps, on {where}; the median edit moved {moved:.1f} dB\n")
    print("| dtype | gradient: median error | worst | picture: median distance, dB | worst |")
    print("|---|---|---|---|---|")
    for dtype in DTYPES:
        wrong = errors(runs[dtype], exact)
        far = distances([run.picture for run in runs[dtype]], [run.picture for run in exact])
        print(
            f"| {dtype} | {statistics.median(wrong):.2%} | {max(wrong):.2%} "
            f"| {statistics.median(far):.1f} | {min(far):.1f} |"
        )
