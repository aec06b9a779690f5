"""`scumble train classifier`: shape, colour, texture and background of a latent at any noise level."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F

from scumble.core.errors import InputError
from scumble.networks.classifier import ClassifierNetwork, LatentClassifier
from scumble.scenes.world import GROUNDS, Scene

from .curves import GROUPS, accuracies, truth
from .drawn import attributes_of
from .judging import JudgeRecipe, Noisy, about, begin, finish, learn, material, model_of
from .lessons import LabelHead, Watched
from .tokenizer import new_tokenizer

REACHED = 0.95
"""Accuracy on clean pictures that every attribute must reach."""


@dataclass(frozen=True, kw_only=True)
class ClassifierRecipe(JudgeRecipe):
    """cells: the weight of saying what is in every cell, which teaches shapes from far fewer pictures."""

    batch: int = 32
    rate: float = 5e-4
    ema: float = 0.998
    clean: float = 0.3
    low: float = 1.5
    cells: float = 1.0
    shift: int = 2


def classification(logits: Tensor, wanted: Tensor, counts: Tensor) -> Tensor:
    """The mean cross-entropy, summed over groups."""
    sizes = [len(group) for group in GROUPS.values()]
    losses = [
        -(part.float().log_softmax(1) * target).sum(1)
        for part, target in zip(logits.split(sizes, 1), wanted.split(sizes, 1), strict=True)
    ]
    return (torch.stack(losses, 1) * counts).mean(0).sum()


class Lesson(nn.Module):
    """What is learned beside the classes and dropped afterwards: which cell has what."""

    def __init__(self, width: int, scenes: list[Scene]):
        super().__init__()
        self.head = LabelHead(width)
        self.things = torch.from_numpy(np.stack([attributes_of(scene) for scene in scenes]))
        self.grounds = torch.tensor([GROUNDS.index(scene.background) for scene in scenes])

    def loss(self, features: Tensor, rows: Tensor, owners: Tensor) -> Tensor:
        owners = F.adaptive_max_pool2d(owners.float(), features.shape[2:]).long()
        things, grounds = (known[rows].long().to(features.device) for known in (self.things, self.grounds))
        return self.head.loss(features, owners, things, grounds)


def train_classifier(
    codec: Any, unet: Any, text: Any, out: Path, recipe: ClassifierRecipe, *, pictures: Path | None = None
) -> LatentClassifier:
    """Train a classifier on a codec's latents and write it to `out`, with its curve; returns it.

    unet, text: whose down half it begins from and how that hears the empty prompt, such as the built-in model's. Logs,
    checkpoints and, unless `pictures` names a folder of them, encoded pictures lie beside `out`, in `out` + ".log".
    Raises InputError for an occupied `out`, for a log of another recipe, and for a U-Net of other latents or texts.
    """
    log = begin(out, recipe)
    ids = cast(Any, new_tokenizer())("", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        null: Tensor = text(ids).last_hidden_state[0]
    _check_unet(unet, codec, null)
    data = material(codec, recipe, pictures or log / "pictures", things=1)
    wanted, counts = truth(data.train.scenes)
    torch.manual_seed(recipe.seed)
    config = {k: v for k, v in unet.config.items() if not k.startswith("_")}  # no path of where it was read
    network = ClassifierNetwork(config, null, wanted.shape[1])
    network.trunk.begin(unet)
    _fast(network)
    lesson = Lesson(network.width, data.train.scenes)

    def loss(network: nn.Module, rows: Tensor, noisy: Noisy) -> Tensor:
        classifier = cast(ClassifierNetwork, network)
        features = classifier.features(noisy.x, noisy.t)
        device = features.device
        said = classification(classifier.pooled(features), wanted[rows].to(device), counts[rows].to(device))
        return said + recipe.cells * lesson.loss(features, rows, noisy.owners)

    trained = learn("classifier", network, loss, data, recipe, log, lesson)
    groups = {name: list(group) for name, group in GROUPS.items()}
    told = {"unet": config, "null": list(null.shape), "groups": groups}
    made = LatentClassifier(out.name, trained, about("scumble-classifier", data, recipe, told))
    finish(made, out, {"accuracy": accuracies(made, data.test, recipe.seed)}, REACHED)
    return made


def _fast(network: nn.Module) -> None:
    """What trains a third faster on CPUs: channels last, and attention as in `Watched`."""
    cast(Any, network).to(memory_format=torch.channels_last)
    for module in network.modules():
        if isinstance(module, Attention):
            cast(Any, module).set_processor(Watched())


def _check_unet(unet: Any, codec: Any, null: Tensor) -> None:
    told = (unet.config.in_channels, unet.config.cross_attention_dim)
    known = (codec.config.latent_channels, null.shape[1])
    if told != known:
        raise InputError(
            f"--unet: it takes latents of {told[0]} channels and texts of width {told[1]}; the codec and the text "
            f"encoder make {known[0]} and {known[1]}. Name the U-Net of the same model"
        )


def unet_of(folder: Path | None) -> Any:
    """The U-Net in a folder, by default that of the built-in model. Raises InputError where there is none."""
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    return model_of(UNet2DConditionModel, folder, "unet", "unet").float()
