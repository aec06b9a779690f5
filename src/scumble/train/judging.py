"""`scumble train classifier` and `scumble train clip`: small networks that judge the built-in model's latents.

Both look at x_t at any noise level, so that they can guide sampling. They learn from the generator's own truth.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.core.errors import InputError
from scumble.networks import _latents
from scumble.networks.classifier import ClassifierNetwork, LatentClassifier
from scumble.networks.clip import ClipNetwork, LatentClip
from scumble.networks.tower import TowerConfig, angles
from scumble.priors._find import builtin
from scumble.scenes.world import VERSION

from .bank import encoder
from .captions import prompt
from .curves import GROUPS, accuracies, retrievals, truth
from .denoiser import SCHEDULER, alphas_cumprod, digest
from .gallery import Gallery
from .run import Run
from .tokenizer import LENGTH, new_tokenizer

CLASSIFIED, RETRIEVED = 0.95, 0.90  # what clean pictures must reach


@dataclass(frozen=True, kw_only=True)
class JudgeRecipe:
    """Everything that decides the network's weights, apart from the machine's arithmetic."""

    minutes: float = 20
    seed: int = 0
    pictures: int = 16_384
    tests: int = 1_024
    batch: int = 64
    rate: float = 1e-3
    ema: float = 0.999
    clean: float = 0.2
    width: int = 64
    tower: TowerConfig = field(default_factory=TowerConfig)


@dataclass(frozen=True)
class Material:
    """The pictures of a training, and what its codec is."""

    train: Gallery
    test: Gallery
    codec: str
    probed: Tensor


def material(codec: Any, recipe: JudgeRecipe, folder: Path) -> Material:
    """The pictures, encoded now or before. `folder` keeps them for other trainings on the same codec."""
    encode, digested = encoder(codec, nullcontext, torch.device("cpu")), digest(codec)
    fill: Callable[..., Gallery] = lambda n, split: Gallery.fill(folder, encode, digested, n, split)  # noqa: E731
    test = fill(recipe.tests, "test")
    return Material(fill(recipe.pictures, "train"), test, digested, encode(_latents.probe()))


def codec_of(folder: Path | None) -> Any:
    """The codec in a folder, by default that of the built-in model. Raises InputError where there is none."""
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

    return _model(AutoencoderKL, folder, "vae", "codec").float()


def text_of(folder: Path | None) -> Any:
    """The text encoder in a folder, by default that of the built-in model. Raises InputError where there is none."""
    from transformers import CLIPTextModel

    encoder = _model(CLIPTextModel, folder, "text_encoder", "text").float()
    known = (len(cast(Any, new_tokenizer())), LENGTH)
    if (encoder.config.vocab_size, encoder.config.max_position_embeddings) != known:
        raise InputError(
            "--text: this text encoder was trained with another vocabulary than this version's; name one that "
            "`scumble train prior` made with it"
        )
    return encoder


def _model(kind: Any, folder: Path | None, part: str, option: str) -> Any:
    folder = builtin("scenes") / part if folder is None else folder
    if not (folder / "config.json").is_file():
        raise InputError(f"--{option} {folder}: no config.json there; name the folder of an {kind.__name__}")
    return kind.from_pretrained(folder)


# The classifier


def classification(logits: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """The mean cross-entropy, summed over groups."""
    sizes = [len(group) for group in GROUPS.values()]
    losses = [
        -(part.float().log_softmax(1) * target).sum(1)
        for part, target in zip(logits.split(sizes, 1), wanted.split(sizes, 1), strict=True)
    ]
    return (torch.stack(losses, 1) * counts).mean(0).sum()


def train_classifier(
    codec: Any, out: Path, recipe: JudgeRecipe, *, pictures: Path | None = None
) -> LatentClassifier:
    """Train a classifier on a codec's latents and write it to `out`, with its curve; returns it.

    Logs, checkpoints and, unless `pictures` names a folder of them, encoded pictures lie beside `out`, in `out` +
    ".log". Raises InputError for an occupied `out`, and for a log of another recipe.
    """
    log = _begin(out, recipe)
    data = material(codec, recipe, pictures or log / "pictures")
    wanted, counts = truth(data.train.scenes)
    torch.manual_seed(recipe.seed)
    network = ClassifierNetwork(recipe.tower, wanted.shape[1])

    def loss(network: nn.Module, rows: Tensor, x: Tensor, angle: Tensor) -> Tensor:
        return classification(network(x, angle), wanted[rows], counts[rows])

    trained = _train("classifier", network, loss, data, recipe, log)
    told = {"tower": asdict(recipe.tower), "groups": {name: list(group) for name, group in GROUPS.items()}}
    made = LatentClassifier(out.name, trained, _about("scumble-classifier", data, recipe, told))
    _finish(made, out, {"accuracy": accuracies(made, data.test, recipe.seed)}, CLASSIFIED)
    return made


# CLIP


def train_clip(
    codec: Any, text: Any, out: Path, recipe: JudgeRecipe, *, pictures: Path | None = None
) -> LatentClip:
    """Train a CLIP on a codec's latents and captions, and write it to `out`, with its curve; returns it.

    text: the text tower to begin from, such as the built-in model's. Folders and errors are those of
    `train_classifier`.
    """
    log = _begin(out, recipe)
    data = material(codec, recipe, pictures or log / "pictures")
    torch.manual_seed(recipe.seed)
    network, tokenizer = ClipNetwork(recipe.tower, text, recipe.width), cast(Any, new_tokenizer())
    rng = np.random.default_rng([31, recipe.seed])

    def loss(network: nn.Module, rows: Tensor, x: Tensor, angle: Tensor) -> Tensor:
        clip = cast(ClipNetwork, network)
        told = [prompt(data.train.scenes[int(k)], rng, unprompted=0, full=0.3) for k in rows]
        ids = tokenizer(told, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return contrast(clip.pictures(x, angle), clip.texts(ids), clip.log_scale)

    trained = _train("clip", network, loss, data, recipe, log)
    stated = {"tower": asdict(recipe.tower), "text": text.config.to_dict(), "width": recipe.width}
    made = LatentClip(out.name, trained, _about("scumble-clip", data, recipe, stated), tokenizer)
    _finish(made, out, {"retrieval": retrievals(made, data.test, recipe.seed)}, RETRIEVED)
    return made


def contrast(pictures: Tensor, texts: Tensor, log_scale: Tensor) -> Tensor:
    """Which text belongs to which picture, and the reverse (Radford et al. 2021, fig. 3)."""
    logits = log_scale.exp().clamp(max=100) * pictures.float() @ texts.float().mT
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.mT, own)) / 2


# Both


def _train(
    name: str,
    network: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor, Tensor], Tensor],
    data: Material,
    recipe: JudgeRecipe,
    log: Path,
) -> nn.Module:
    """The averaged network after the budget; each batch is noised to times of its own, a part of it not at all."""
    told = asdict(recipe) | {"world": VERSION, "codec": data.codec}
    run = Run(name, log, network, rate=recipe.rate, minutes=recipe.minutes, ema=recipe.ema, recipe=told)
    torch.manual_seed(recipe.seed + 1 + run.step)
    alpha, sigma = alphas_cumprod().sqrt(), (1 - alphas_cumprod()).sqrt()
    with run:
        while run.going():
            rows = torch.randint(len(data.train), (recipe.batch,))
            x0 = data.train.latents[rows].float()
            t = ((torch.arange(recipe.batch) + torch.rand(recipe.batch)) / recipe.batch * len(alpha)).long()
            clean = torch.rand(recipe.batch) < recipe.clean
            a, s = torch.where(clean, 1, alpha[t]), torch.where(clean, 0, sigma[t])
            x = a[:, None, None, None] * x0 + s[:, None, None, None] * torch.randn_like(x0)
            run.update(
                loss(run.model, rows, x.to(run.device), angles(a, s).to(run.device)), pictures=recipe.batch
            )
            if run.due:
                run.save()
    return run.finish()


def _begin(out: Path, recipe: JudgeRecipe) -> Path:
    if not recipe.minutes > 0:
        raise InputError(f"minutes: {recipe.minutes}; the budget must be positive")
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise InputError(f"{out}: not an empty folder; choose a new one for the trained network")
    return out.with_name(out.name + ".log")


def _about(kind: str, data: Material, recipe: JudgeRecipe, more: dict[str, Any]) -> dict[str, Any]:
    made = {"codec": data.codec, "recipe": {k: v for k, v in asdict(recipe).items() if k != "tower"}}
    return _latents.about(kind, "scenes", SCHEDULER, data.probed, **more, **made)


def _finish(made: LatentClassifier | LatentClip, out: Path, curve: dict[str, Any], gate: float) -> None:
    """Writes the network, and gates.json: the curve over noise levels and whether the clean end passes."""
    made.save(out)
    (rates,) = curve.values()
    worst = min(rates["clean"].values())
    told = {**curve, "gate": gate, "clean": worst, "passed": worst >= gate}
    (out / "gates.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
