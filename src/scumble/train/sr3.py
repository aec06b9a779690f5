"""Training the x2 stage on scenes: SR3's continuous noise levels, CDM's conditioning augmentation.

    s_t = sqrt(abar_t) of SR3's schedule;  t ~ U{1..T},  nu ~ U(s_t, s_{t-1})     (Saharia et al. 2021, section 2.4)
    x = nu HR + sqrt(1 - nu^2) eps;   minimise |f(x, up(aug(LR)), nu, level) - HR| / sqrt(1 - nu^2)

The error of the clean picture, divided by the noise, is the error of v; it is capped, for the last levels have hardly
any noise. t is drawn per picture, not per batch as in the published code. Everything happens on crops, from pictures
held in memory on the device.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from scumble.core.schedule import Schedule
from scumble.core.types import Image
from scumble.loops.sr3 import levels as table_of
from scumble.loops.sr3 import noisy
from scumble.networks import sr3
from scumble.networks.sr3 import SR3Config, SR3Network, upsampled
from scumble.scenes.render import PALETTE, render
from scumble.scenes.wide import random_wide_scene
from scumble.scenes.world import Split, generator, random_scene
from scumble.train.data import JITTERED, jittered_palette
from scumble.train.run import Run

SIDE = 256
"""Side of the pictures of the bank."""

LEAST_NOISE = 0.25
"""Standard deviation of the noise, at least, that an error is divided by."""

CHOICE = 8
"""Crops that each crop of a batch is chosen from."""

CHUNK = 250
"""Pictures that one process renders at a time."""

Pictures = UInt8[Tensor, "n 3 H W"]


@dataclass(frozen=True, kw_only=True)
class SR3Recipe:
    """Everything that decides the stage's weights, apart from the machine's arithmetic.

    noised: the highest level of conditioning augmentation, drawn uniformly for a share `corrupted` of the pictures;
    blurred: the share with a blur of 3 x 3 pixels, of a standard deviation drawn from `blur` (Ho et al. 2021).
    """

    minutes: float = 40
    seed: int = 0
    bank: int = 2000
    crop: int = 32
    batch: int = 32
    rate: float = 1.5e-3
    widths: tuple[int, int] = (32, 64)
    blocks: int = 2
    noised: float = 0.3
    corrupted: float = 0.25
    blurred: float = 0.15
    blur: tuple[float, float] = (0.4, 0.6)

    @property
    def config(self) -> SR3Config:
        return SR3Config(widths=self.widths, blocks=self.blocks)


def bank(count: int, seed: int = 0, split: Split = "train", workers: int = 0) -> tuple[Pictures, Pictures]:
    """`count` scenes, each rendered at 256 and at 128 px: uint8 (count, 3, 256, 256) and (count, 3, 128, 128).

    workers: processes that render; 0: this one. The pictures are the same for any number.
    """
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    work: list[tuple[Split, int, int, int]] = [(split, seed, k, size) for k, size in enumerate(sizes)]
    if workers:
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(_rendered, work))
    else:
        parts = [_rendered(one) for one in work]
    high, low = (
        torch.from_numpy(np.concatenate(side)).movedim(-1, 1).contiguous()
        for side in zip(*parts, strict=True)
    )
    return high, low


def _rendered(work: tuple[Split, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    split, seed, part, size = work
    high, low = np.empty((size, SIDE, SIDE, 3), np.uint8), np.empty((size, SIDE // 2, SIDE // 2, 3), np.uint8)
    rng = generator(split, 1_000_003 * (seed + 1) + part)
    for k in range(size):
        palette = PALETTE
        if rng.random() < 0.5:
            scene = random_wide_scene(rng, aspect=1.0)
        else:
            scene = random_scene(rng)
            palette = jittered_palette(rng) if rng.random() < JITTERED else PALETTE
        high[k], low[k] = (render(scene, side, palette=palette) for side in (SIDE, SIDE // 2))
    return high, low


def levels(schedule: Schedule, count: int, device: torch.device) -> Float[Tensor, " b"]:
    """sqrt(abar), drawn evenly between two neighbouring steps of the schedule."""
    table = table_of(schedule).float().to(device)
    t = torch.randint(1, len(table), (count,), device=device)
    return torch.lerp(table[t - 1], table[t], torch.rand(count, device=device))


def hard_crops(high: Pictures, low: Pictures | None, count: int, side: int) -> tuple[Image, Image]:
    """Of every `CHOICE` random crops the one that is hardest for bicubic: a drawing is mostly plain."""
    big, small = crops(high, low, count * CHOICE, side)
    error = (big - upsampled(small)).square().mean((1, 2, 3)).reshape(count, CHOICE)
    best = error.argmax(1) + CHOICE * torch.arange(count, device=big.device)
    return big[best], small[best]


def crops(high: Pictures, low: Pictures | None, count: int, side: int) -> tuple[Image, Image]:
    """Random crops of random pictures, some mirrored, and the same at half the resolution: in [-1, 1].

    The small ones are the given `low` for half of the crops, means of 2 x 2 pixels or bicubic for the others.
    """
    device, n, size = high.device, len(high), high.shape[-1]
    which = torch.randint(n, (count,), device=device)[:, None, None, None]
    corner = 2 * torch.randint((size - side) // 2 + 1, (2, count, 1, 1, 1), device=device)
    span, half = torch.arange(side, device=device), torch.arange(side // 2, device=device)
    colour = torch.arange(3, device=device)[:, None, None]
    big = _image(high[which, colour, corner[0] + span[:, None], corner[1] + span])
    small = _coin(count, 0.5, big, F.avg_pool2d(big, 2), _halved(big))
    if low is not None:
        there = low[which, colour, corner[0] // 2 + half[:, None], corner[1] // 2 + half]
        small = _coin(count, 0.5, big, _image(there), small)
    mirrored = torch.rand(count, 1, 1, 1, device=device) < 0.5
    small = (small * 127.5).round() / 127.5  # as a file of 8 bits has it
    return torch.where(mirrored, big.flip(-1), big), torch.where(mirrored, small.flip(-1), small)


def augmented(small: Image, recipe: SR3Recipe) -> tuple[Image, Float[Tensor, " b"]]:
    """(the small pictures, some blurred, some with noise; the level of that noise) (Ho et al. 2021, section 4)."""
    count, device = len(small), small.device
    sigma = torch.empty(count, 1, 1, 1, device=device).uniform_(*recipe.blur)
    small = _coin(count, recipe.blurred, small, blurred(small, sigma), small)
    chosen = torch.rand(count, device=device) < recipe.corrupted
    level = recipe.noised * torch.rand(count, device=device) * chosen
    std = level[:, None, None, None]
    return (1 - std**2).sqrt() * small + std * torch.randn_like(small), level


def blurred(image: Image, sigma: Tensor) -> Image:
    """A Gaussian of 3 x 3 pixels and the given standard deviation (b, 1, 1, 1), mirrored at the border."""
    side = (-0.5 / sigma**2).exp()
    for dim, pad in ((-1, (1, 1, 0, 0)), (-2, (0, 0, 1, 1))):
        wide, size = F.pad(image, pad, mode="reflect"), image.shape[dim]
        a, b, c = (wide.narrow(dim, k, size) for k in range(3))
        image = (b + side * (a + c)) / (1 + 2 * side)
    return image


def train_stage(
    high: Pictures, low: Pictures | None, recipe: SR3Recipe, folder: Path, start: SR3Network | None = None
) -> SR3Network:
    """Train on pictures in memory, log to `folder/sr3.jsonl`, checkpoint, resume; the averaged weights.

    high: uint8 (n, 3, H, W), kept on the training's device. low: the same scenes at half the resolution, or None.
    start: a network to begin from instead of random weights.
    """
    torch.manual_seed(recipe.seed)
    network = start or SR3Network(recipe.config)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # a fifth faster on a CPU
    run = Run(
        "sr3", folder, network, rate=recipe.rate, minutes=recipe.minutes, ema=0.999, decay=1e-4,
        recipe=asdict(recipe),
    )  # fmt: skip
    torch.manual_seed(recipe.seed + 1 + run.step)  # a resumed run sees other crops than its beginning
    high, low = high.to(run.device), None if low is None else low.to(run.device)
    schedule = sr3.schedule()

    def lesson() -> dict[str, Tensor]:
        big, small = hard_crops(high, low, recipe.batch, recipe.crop)
        small, noised = augmented(small, recipe)
        level = levels(schedule, recipe.batch, run.device)
        sigma = (1 - level**2).clamp(min=0).sqrt()[:, None, None, None]
        x_t = noisy(big, level, torch.randn_like(big))
        with run.autocast():
            found = run.model(x_t, upsampled(small), level, noised)
        error = found.float() - big
        loss = (error.abs() / sigma.clamp(min=LEAST_NOISE)).mean()
        return {"loss": loss, "psnr": -10 * torch.log10(error.detach().square().mean() / 4)}

    with run:
        while run.going():
            run.repeat(lesson, pictures=recipe.batch)
            if run.due:
                run.save()
    network = run.finish()
    assert isinstance(network, SR3Network)
    return network


def _image(pixels: Tensor) -> Image:
    return pixels.float() / 127.5 - 1


def _halved(image: Image) -> Image:
    return F.interpolate(image, scale_factor=0.5, mode="bicubic", antialias=True).clamp(-1, 1)


def _coin(count: int, share: float, like: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """`first` for a share of the rows, `second` for the others."""
    return torch.where(torch.rand(count, 1, 1, 1, device=like.device) < share, first, second)
