"""How well networks that judge latents do at every noise level, on pictures of the test split."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scumble.networks.classifier import LatentClassifier
from scumble.networks.clip import LatentClip
from scumble.scenes.grammar import read
from scumble.scenes.world import COLOURS, GROUNDS, SHAPES, TEXTURES, Scene

from .captions import prompt
from .gallery import Gallery

GROUPS: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "background": tuple(f"{ground} background" for ground in GROUNDS),
}
LEVELS = (None, 100, 200, 300, 400, 500, 600, 700, 800, 900)  # where a curve is measured; None is clean
AMONG = 100  # captions that the right one is told from


def truth(scenes: list[Scene]) -> tuple[Tensor, Tensor]:
    """What a classifier should say: probabilities (n, classes), and which groups count (n, groups).

    Of several objects any one may be meant. A group does not count where the scene's value lies between two names.
    """
    names = [name for group in GROUPS.values() for name in group]
    wanted, counts = torch.zeros(len(scenes), len(names)), torch.ones(len(scenes), len(GROUPS))
    for k, scene in enumerate(scenes):
        wanted[k, names.index(f"{scene.background} background")] = 1
        for thing in scene.things:
            for g, attribute in enumerate(("shape", "colour", "texture")):
                wanted[k, names.index(getattr(thing, attribute))] += 1 / len(scene.things)
                counts[k, g] *= attribute not in thing.vague
    return wanted, counts


@torch.no_grad()
def accuracies(made: LatentClassifier, test: Gallery, seed: int) -> dict[str, dict[str, float]]:
    """Level -> group -> share of one-object pictures of the test split that are classified rightly."""
    alone = [k for k, scene in enumerate(test.scenes) if len(scene.things) == 1]
    wanted, counts = (part[alone] for part in truth(test.scenes))
    latents, found = test.latents[alone].float(), dict[str, dict[str, float]]()
    for level in LEVELS:
        x, t = _noised(made, latents, level, seed)
        said = made.log_prob(x, t)
        right = [(said[:, g].argmax(1) == wanted[:, g].argmax(1)).float() for g in map(list, made.groups)]
        rates = [float((r * c).sum() / c.sum().clamp(min=1)) for r, c in zip(right, counts.T, strict=True)]
        found[_name(level)] = {name: round(rate, 4) for name, rate in zip(GROUPS, rates, strict=True)}
    return found


@torch.no_grad()
def retrievals(made: LatentClip, test: Gallery, seed: int) -> dict[str, dict[str, float]]:
    """Level -> share of the test split's pictures whose caption is found among `AMONG` that do not describe it."""
    rng = np.random.default_rng([32, seed])
    captions = [prompt(scene, rng, unprompted=0, full=0.3) for scene in test.scenes]
    texts = torch.cat([made.embed_text(captions[k : k + 256]) for k in range(0, len(captions), 256)])
    wrong = [_distractors(scene, k, captions, rng) for k, scene in enumerate(test.scenes)]
    found = dict[str, dict[str, float]]()
    for level in LEVELS:
        x, t = _noised(made, test.latents.float(), level, seed)
        seen = made.embed_image(x, t) @ texts.mT
        right = [bool((seen[k, k] > seen[k, others]).all()) for k, others in enumerate(wrong)]
        found[_name(level)] = {"right": round(float(np.mean(right)), 4)}
    return found


def _distractors(scene: Scene, k: int, captions: list[str], rng: np.random.Generator) -> list[int]:
    """Other captions, none of which describes the scene."""
    order = [int(i) for i in rng.permutation(len(captions)) if i != k]
    picked = list[int]()
    for i in order:
        if len(picked) < AMONG and not read(captions[i]).allows(scene):
            picked.append(i)
    return picked


def _noised(
    made: LatentClassifier | LatentClip, latents: Tensor, level: int | None, seed: int
) -> tuple[Tensor, Tensor | None]:
    if level is None:
        return latents, None
    eps = torch.randn(latents.shape, generator=torch.Generator().manual_seed(seed))
    t = torch.full((len(latents),), level)
    return made.schedule.mix(latents, eps, t), t


def _name(level: int | None) -> str:
    return "clean" if level is None else str(level)
