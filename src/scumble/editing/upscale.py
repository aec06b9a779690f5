"""Pictures at twice their size, by a stage of a cascade (SR3, arXiv:2104.07636; CDM, arXiv:2106.15282)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scumble.core.errors import InputError
from scumble.core.machine import limits
from scumble.editing.recipe import check_seed

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scumble.networks.sr3 import SuperResolution
    from scumble.pictures.reading import Picture

STAGE = "scenes-x2"
"""The stage that comes with the package."""

FACTORS = 2, 4
LEAST = 16  # pixels of a side
UPSCALING = "upscale"  # the method of an upscaled picture's passport


@dataclass(frozen=True, kw_only=True)
class Upscaling:
    """How a picture is upscaled; everything that decides the result beside the picture.

    factor: 2, or 4 by two passes.
    steps: moves of the sampler in each pass, each one call of the network. The picture is nearly decided by the given
        one, so few are enough.
    level: standard deviation of the noise that is added to the given picture before each pass, which hides its flaws
        from the stage and lets it draw them anew (conditioning augmentation); 0: none. The stage is told.
    seed: the same seed gives the same picture.
    stage: the built-in "scenes-x2", or the folder of one that `scumble train sr3` made.

    Raises InputError for values that no upscaling can have.
    """

    factor: int = 2
    steps: int = 4
    level: float = 0.0
    seed: int = 0
    stage: str | Path = STAGE

    def __post_init__(self) -> None:
        if self.factor not in FACTORS:
            raise InputError(
                f"factor: {self.factor}; the stage doubles a picture, so choose 2, or 4 for two passes"
            )
        if not 1 <= self.steps <= 1000:
            raise InputError(f"steps: {self.steps}; choose 1 to 1000")
        if not 0 <= self.level < 1:
            raise InputError(f"level: {self.level:g}; choose 0 (no noise) or more, but less than 1")
        check_seed(self.seed)


def load(upscaling: Upscaling) -> SuperResolution:
    """The stage of an upscaling. Raises InputError where there is none, or for a level that it never saw."""
    from scumble.networks.load import load
    from scumble.priors._find import builtin

    if upscaling.stage == STAGE:
        if not builtin(STAGE).is_dir():
            raise InputError(
                f"stage {STAGE}: its weights are not in this installation; make them with `scumble train sr3` and "
                "name the folder with --stage"
            )
        stage = _builtin(str(builtin(STAGE)))
    else:
        stage = cast("SuperResolution", load("stage", upscaling.stage))
    if upscaling.level > stage.noised:
        raise InputError(
            f"level: {upscaling.level:g}; {stage.id!r} was trained on levels up to {stage.noised:g}; choose less"
        )
    return stage


@cache
def _builtin(folder: str) -> SuperResolution:
    from scumble.networks.load import load

    return cast("SuperResolution", load("stage", folder))


def check_picture(size: tuple[int, int], name: str, factor: int) -> None:
    """Raises InputError for a picture that is too small for the stage, or whose result would be too large."""
    from scumble.pictures.reading import MAX_PIXELS

    width, height = size
    if min(size) < LEAST:
        raise InputError(f"{name}: {width}x{height} pixels; the stage needs {LEAST} or more a side")
    if width * height * factor**2 > MAX_PIXELS:
        raise InputError(
            f"{name}: {width}x{height} pixels would become {width * height * factor**2 / 1e6:.0f} megapixels; the "
            f"limit is {MAX_PIXELS // 10**6}: make it smaller, or choose a smaller --factor"
        )


def calls(size: tuple[int, int], upscaling: Upscaling, tile: int | None = None) -> int:
    """How often the stage's network is called for a picture of this size, (width, height): once per tile and step."""
    from scumble.networks.sr3 import FACTOR, TILE

    total, sides = 0, size
    for _ in range(passes(upscaling)):
        across, down = (-(-FACTOR * (side + side % 2) // (tile or TILE)) for side in sides)
        total += upscaling.steps * across * down
        sides = (FACTOR * sides[0], FACTOR * sides[1])
    return total


def passes(upscaling: Upscaling) -> int:
    """How often the stage runs."""
    return upscaling.factor.bit_length() - 1


def upscale(
    stage: SuperResolution,
    image: Tensor,
    upscaling: Upscaling,
    on_step: Callable[[int, int], None] | None = None,
    *,
    tile: int | None = None,
) -> Tensor:
    """(b, 3, h, w) in [-1, 1] -> (b, 3, factor h, factor w), clamped. Picture i draws from seed + i.

    on_step: (k, n) after every call of the network, see `calls`. tile: its side, in pixels of the result.
    """
    from scumble.core.host import isolated
    from scumble.core.noise import Noise

    n, done = calls((image.shape[-1], image.shape[-2]), upscaling, tile), 0

    def each() -> None:
        nonlocal done
        done += 1
        if on_step:
            on_step(done, n)

    noise = Noise(upscaling.seed, len(image))
    with isolated(), limits(str(image.device), remedy(str(image.device))):
        for _ in range(passes(upscaling)):
            image = _doubled(stage, image, upscaling, noise, each, tile)
    return image


def _doubled(
    stage: SuperResolution,
    image: Tensor,
    upscaling: Upscaling,
    noise: Any,
    each: Callable[[], None],
    tile: int | None,
) -> Tensor:
    """One pass: DDPM's posterior over a few levels of the stage's own schedule, x0 clamped."""
    from torch.nn import functional as F

    from scumble.core.prediction import Prediction
    from scumble.core.prior import clamped
    from scumble.loops.ddpm import ddpm
    from scumble.networks.sr3 import TILE, schedule, upsampled

    height, width = image.shape[-2:]
    image = F.pad(image, (0, width % 2, 0, height % 2), mode="replicate")
    if upscaling.level:
        image = (1 - upscaling.level**2) ** 0.5 * image + upscaling.level * noise.like(image)
    up, levels = upsampled(image), schedule()

    def denoise(x_t: Tensor, t: Tensor, at: Tensor | None = None) -> Prediction:
        level = levels.at(t)[0].flatten().float().to(x_t.device)
        x0 = stage.restore(x_t, up, level, upscaling.level, tile=tile or TILE, each=each)
        return levels.predict(x_t, t, x0=x0)

    moves = levels.grid(upscaling.steps, spacing="trailing")
    made = ddpm(clamped(denoise, levels), noise.like(up), moves, levels, noise=noise)
    return made[..., : 2 * height, : 2 * width].clamp(-1, 1)


def upscaled(
    picture: Picture,
    upscaling: Upscaling,
    stage: SuperResolution | None = None,
    *,
    device: str = "cpu",
    on_step: Callable[[int, int], None] | None = None,
) -> Image.Image:
    """A picture of any kind at `factor` times its size; transparency is upscaled by bicubic interpolation.

    Raises InputError for a picture that is too small or too large.
    """
    from scumble.pictures.canvas import finish

    check_picture(picture.size, picture.name, upscaling.factor)
    drawn = larger(picture, upscaling, stage or load(upscaling), device=device, on_step=on_step)
    return finish(drawn.rgb, drawn)


def larger(
    picture: Picture,
    upscaling: Upscaling,
    stage: SuperResolution,
    *,
    device: str,
    on_step: Callable[[int, int], None] | None = None,
) -> Picture:
    """A picture at `factor` times its size with its other properties, such as its colour profile."""
    return redrawn(picture, lambda image: upscale(stage, image, upscaling, on_step), device)


def remedy(device: str) -> str:
    """What to try where drawing larger runs out of memory."""
    return "a smaller picture" if device == "cpu" else "a smaller picture, --device cpu"


def redrawn(picture: Picture, draw: Callable[[Tensor], Tensor], device: str) -> Picture:
    """A picture whose RGB is drawn anew at another size: (1, 3, h, w) in [-1, 1] -> (1, 3, H, W).

    Transparency is resized by bicubic interpolation. What is seen through fully is drawn in the colours around it, as
    its own would show at the edges, and keeps its own.
    """
    from PIL import Image

    from scumble.core.pixels import to_images, to_pixels
    from scumble.pictures.canvas import VISIBLE, filled

    shown = picture.rgb if picture.alpha is None else filled(picture.rgb, picture.alpha)
    image = to_images(_pixels(shown)).to(device)
    rgb = Image.fromarray(to_pixels(draw(image))[0])

    def wider(part: Image.Image | None) -> Image.Image | None:
        return None if part is None else part.resize(rgb.size, Image.Resampling.BICUBIC)

    alpha = wider(picture.alpha)
    if alpha is not None and shown is not picture.rgb:
        ground = picture.rgb.resize(rgb.size, Image.Resampling.NEAREST)
        rgb = Image.composite(rgb, ground, alpha.point(VISIBLE))
    return replace(picture, rgb=rgb, alpha=alpha, hidden=wider(picture.hidden))


def _pixels(rgb: Image.Image) -> Any:
    import numpy as np

    return np.asarray(rgb)[None]


def stated(upscaling: Upscaling, stage: SuperResolution) -> dict[str, Any]:
    """What a passport says of an upscaling: every value that decides it, and the stage by its hash."""
    from scumble.editing.passport import placeless

    return {
        "factor": upscaling.factor,
        "steps": upscaling.steps,
        "level": upscaling.level,
        "seed": upscaling.seed,
        "stage": {"name": placeless(str(upscaling.stage)), "id": stage.id, "hash": stage.hash},
    }


def passport(
    picture: Picture, upscaling: Mapping[str, Any], seconds: float | None = None
) -> Mapping[str, Any]:
    """The passport of a picture that was upscaled only. upscaling: what is stated of how."""
    import scumble
    from scumble.editing.passport import versions

    return {
        "scumble": scumble.__version__,
        "method": UPSCALING,
        "input": {"name": Path(picture.name).name, "sha256": picture.sha256, "size": list(picture.size)},
        UPSCALING: dict(upscaling),
        "versions": dict(versions()),
        **({} if seconds is None else {"seconds": round(seconds, 3)}),
    }


def chosen(device: str) -> str:
    """The device that a user names; "auto" is the best available. Raises InputError for one that is not there."""
    from scumble.priors._parts import resolve_device

    return str(resolve_device(device))
