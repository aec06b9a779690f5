"""`scumble train classifier` and `scumble train clip`: small networks that judge the built-in model's latents.

Both look at x_t at any noise level, so that they can guide sampling. They learn from the generator's own truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from scumble.core.errors import InputError
from scumble.core.precision import fast_dtype
from scumble.networks import _latents
from scumble.networks.classifier import LatentClassifier
from scumble.networks.clip import LatentClip
from scumble.networks.tower import angles
from scumble.priors._find import builtin
from scumble.scenes.world import VERSION

from .bank import encoder
from .denoiser import SCHEDULER, alphas_cumprod, digest
from .gallery import Gallery
from .run import Run
from .tokenizer import LENGTH, new_tokenizer


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """Everything that decides a network's weights, apart from the machine's arithmetic.

    clean: the share of pictures without noise. low: above 1, times crowd at the clean end, as u^low of a uniform u.
    shift: by how many cells pictures are moved at most (`Gallery.some`).
    """

    minutes: float = 20
    seed: int = 0
    pictures: int = 16_384
    tests: int = 1_024
    batch: int = 64
    rate: float = 1e-3
    ema: float = 0.999
    clean: float = 0.2
    low: float = 1.0
    shift: int = 0


@dataclass(frozen=True)
class Material:
    """The pictures of a training, and what its codec is."""

    train: Gallery
    test: Gallery
    codec: str
    probed: Tensor


def material(codec: Any, recipe: JudgeRecipe, folder: Path, *, things: int | None = None) -> Material:
    """The pictures, encoded now or before; of so many `things`. `folder` keeps them for other trainings on the codec.

    Those of the training are encoded in the precision that is fast here, which costs 0.005 of a standard deviation.
    """
    here, digested = torch.device("cpu"), digest(codec)
    exact = fast = encoder(codec, nullcontext, here)
    if fast_dtype("cpu") == torch.bfloat16:
        fast = encoder(codec, lambda: torch.autocast("cpu", torch.bfloat16), here)
    test = Gallery.fill(folder, exact, digested, recipe.tests, "test", things=things)
    train = Gallery.fill(folder, fast, digested, recipe.pictures, "train", things=things)
    return Material(train, test, digested, exact(_latents.probe()))


def codec_of(folder: Path | None) -> Any:
    """The codec in a folder, by default that of the built-in model. Raises InputError where there is none."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return model_of(AutoencoderKL, folder, "vae", "codec").float()


def text_of(folder: Path | None) -> Any:
    """The text encoder in a folder, by default that of the built-in model. Raises InputError where there is none."""
    from transformers import CLIPTextModel

    encoder = model_of(CLIPTextModel, folder, "text_encoder", "text").float()
    known = (len(cast(Any, new_tokenizer())), LENGTH)
    if (encoder.config.vocab_size, encoder.config.max_position_embeddings) != known:
        raise InputError(
            "--text: this text encoder was trained with another vocabulary than this version's; name one that "
            "`scumble train prior` made with it"
        )
    return encoder


def model_of(kind: Any, folder: Path | None, part: str, option: str) -> Any:
    folder = builtin("scenes") / part if folder is None else folder
    if not (folder / "config.json").is_file():
        raise InputError(f"--{option} {folder}: no config.json there; name the folder of an {kind.__name__}")
    return kind.from_pretrained(folder)


class Noisy(NamedTuple):
    """x (n, C, h, w), its times t (n,), 0 for clean ones, noise levels as `tower.angles` has them, and owners."""

    x: Tensor
    t: Tensor
    angle: Tensor
    owners: Tensor


def learn(
    name: str,
    network: nn.Module,
    loss: Callable[[nn.Module, Tensor, Noisy], Tensor],
    data: Material,
    recipe: JudgeRecipe,
    log: Path,
    extra: nn.Module | None = None,
) -> nn.Module:
    """The averaged network after the budget; each batch is noised to times of its own, a part of it not at all."""
    told = asdict(recipe) | {"world": VERSION, "codec": data.codec}
    del told["pictures"], told["tests"]  # a run may go on with more of them
    run = Run(
        name, log, network, rate=recipe.rate, minutes=recipe.minutes, ema=recipe.ema, recipe=told, extra=extra
    )
    torch.manual_seed(recipe.seed + 1 + run.step)
    alpha, sigma = alphas_cumprod().sqrt(), (1 - alphas_cumprod()).sqrt()
    with run:
        while run.going():
            rows = torch.randint(len(data.train), (recipe.batch,))
            x0, owners = data.train.some(rows, recipe.shift)
            strata = (torch.arange(recipe.batch) + torch.rand(recipe.batch)) / recipe.batch
            t = (strata**recipe.low * len(alpha)).long()
            clean = torch.rand(recipe.batch) < recipe.clean
            a, s = alpha[t].masked_fill(clean, 1), sigma[t].masked_fill(clean, 0)
            t = t.masked_fill(clean, 0)
            x = a[:, None, None, None] * x0 + s[:, None, None, None] * torch.randn_like(x0)
            noisy = Noisy(*(part.to(run.device) for part in (x, t, angles(a, s), owners)))
            with run.autocast():
                found = loss(run.model, rows, noisy)
            run.update(found, pictures=recipe.batch)
            if run.due:
                run.save()
    return run.finish().cpu()  # as the pictures that it is measured on


def begin(out: Path, recipe: JudgeRecipe) -> Path:
    if not recipe.minutes > 0:
        raise InputError(f"minutes: {recipe.minutes}; the budget must be positive")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out}: not an empty folder; choose a new one for the trained network")
    return out.with_name(out.name + ".log")


def about(kind: str, data: Material, recipe: JudgeRecipe, more: dict[str, Any]) -> dict[str, Any]:
    made = {"codec": data.codec, "recipe": {k: v for k, v in asdict(recipe).items() if k != "tower"}}
    return _latents.about(kind, "scenes", SCHEDULER, data.probed, **more, **made)


def finish(made: LatentClassifier | LatentClip, out: Path, curve: dict[str, Any], gate: float) -> None:
    """Writes the network, and gates.json: the curve over noise levels and whether the clean end passes."""
    made.save(out)
    (rates,) = curve.values()
    worst = min(rates["clean"].values())
    told = {**curve, "gate": gate, "clean": worst, "passed": worst >= gate}
    (out / "gates.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
