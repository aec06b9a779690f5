"""`scumble train direction`: one edit, learned from two phrases and a CLIP, kept as an artifact of the model.

The state is written beside the result from time to time and where the training is stopped; from it another process goes
on to the same result, bit for bit.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from scumble import artifacts
from scumble.artifacts.h_space import Attribute, HSpaceDirection
from scumble.artifacts.origin import digests
from scumble.artifacts.tuned import TunedWeights
from scumble.core.control import Now, Site
from scumble.core.errors import InputError, nearest
from scumble.core.host import isolated
from scumble.core.job import Counted
from scumble.core.judges import Embedder
from scumble.core.noise import Noise
from scumble.core.pixels import to_images
from scumble.core.prior import Card, Prior
from scumble.core.request import Step
from scumble.core.types import Image
from scumble.networks.delta import DeltaBlock
from scumble.tuning.finetune import Finetune, Finetuning
from scumble.tuning.goal import Goal, Lessons, learn, plain
from scumble.tuning.h_space import HSpaceTrainer, HSpaceTraining

from .state import State, Stopped

if TYPE_CHECKING:
    from PIL import Image as Pillow

log = logging.getLogger(__name__)

METHODS: Mapping[str, type[Finetune] | type[HSpaceTraining]] = {
    "asyrp": HSpaceTraining,
    "diffusionclip": Finetune,
}
"""The methods that a direction is trained for -> the values of their training."""

Trained = Finetuning | HSpaceTrainer

SAVE_EVERY = 60
"""Seconds between two states on the disk."""

Report = Callable[[Step, Mapping[str, float]], None]
"""What the training reports to after every step: the step, and the loss with its terms."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is trained: `method` for the edit from `source` to `target`; `recipe`: the values of its training."""

    method: str
    source: str
    target: str
    recipe: Finetune | HSpaceTraining
    seed: int = 0


def check(method: str, settings: Mapping[str, object]) -> None:
    """Raises InputError for a method that is not trained, a value that it does not have, or one out of its range."""
    if method not in METHODS:
        raise InputError(f"method: {method} is not trained; these are: {', '.join(METHODS)}")
    kind = METHODS[method]
    names = [f.name for f in fields(kind)]
    for name in settings:
        if name not in names:
            raise InputError(
                f"{method}'s training has no parameter {name!r}{nearest(name, names)}; it has {', '.join(names)}"
            )
    given: dict[str, Any] = dict(settings)
    kind(**given)


def values(method: str, settings: Mapping[str, object], card: Card) -> Finetune | HSpaceTraining:
    """The recipe of a method: the user's values, else what the model's card recommends for its edits, else its own.

    Raises InputError as `check` does.
    """
    check(method, settings)
    shared = ("start", "edit_until")  # what must be the same in the edit
    recommended = {name: value for name, value in card.recommended.get(method, {}).items() if name in shared}
    given: dict[str, Any] = {**recommended, **settings}
    return METHODS[method](**given)


def pictures_of(prior: Prior, files: Sequence[Pillow.Image]) -> list[Image]:
    """The middle square of every picture on the model's canvas, (1, 3, side, side)."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    side = max(prior.card.size // prior.card.multiple, 1) * prior.card.multiple
    fitted = [ImageOps.fit(file.convert("RGB"), (side, side), Pillow.Resampling.LANCZOS) for file in files]
    return [to_images([_array(each)]) for each in fitted]


def _array(picture: Pillow.Image) -> Any:
    import numpy as np

    return np.asarray(picture)


def drawn(prior: Prior, n: int, seed: int) -> list[Image]:
    """Pictures of the world that the built-in model was trained on. Raises InputError for another model."""
    from scumble.scenes.world import generator
    from scumble.train.data import canonical

    if prior.card.id != "scenes":
        raise InputError(
            f"pictures: missing; only for the built-in model are they drawn, for '{prior.card.id}' name a folder of "
            "pictures like those that will be edited"
        )
    rng = generator("train", seed)
    return [to_images([canonical(rng).pixels]) for _ in range(n)]


def train_direction(
    prior: Prior,
    judge: Embedder,
    pictures: Sequence[Image],
    asked: Asked,
    out: Path,
    *,
    on_step: Report | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TunedWeights | HSpaceDirection:
    """Trains, or goes on with what was stopped, and writes the artifact to `out`.

    `stop` is asked between steps. Raises Stopped where it says so; InputError for a model that the method cannot be
    trained on, and for the state of another training at that name.
    """
    _refuse(prior, asked)
    prior = Counted(prior)
    judge.check(prior)
    state = State(out.with_name(f"{out.name}.resume.pt"), _fingerprint(prior, judge, pictures, asked))
    with isolated():
        goal, recipe = Goal.of(judge, asked.source, asked.target), asked.recipe
        before = state.read()
        if before is None:
            training = _training(
                prior, goal, learn(prior, goal, pictures, recipe.up(prior), _halt(stop)), asked
            )
        else:
            device, then = str(prior.loaded.get("device", "cpu")), before["training"]
            lessons = Lessons(*(part.to(device) for part in before["lessons"]))
            training = _training(prior, goal, lessons, asked)
            training.resume({**then, "x": [x.to(device) for x in then["x"]]})
        _run(prior, training, state, on_step, stop)
        made = _artifact(prior, judge, training, asked)
    artifacts.save(made, out)
    state.path.unlink(missing_ok=True)
    return made


def _halt(stop: Callable[[], bool]) -> Callable[[int, int], None]:
    def on_picture(k: int, n: int) -> None:
        log.info("picture %d of %d inverted", k, n)
        if stop():
            raise Stopped

    return on_picture


def _refuse(prior: Prior, asked: Asked) -> None:
    able, kind = prior.card.capabilities, asked.method
    needed = ("gradient", "control") if kind == "asyrp" else ("gradient",)
    for ability in needed:
        if ability not in able:
            hint = "; load it unquantised, and without --memory sequential" if ability == "gradient" else ""
            raise InputError(
                f"{kind} needs a model with {ability}, which '{prior.card.id}' does not have{hint}"
            )
    if kind == "asyrp" and not any(site.kind == "mid" for site in prior.sites()):
        raise InputError(f"asyrp needs a U-Net with a bottleneck, which '{prior.card.id}' is not")


def _fingerprint(prior: Prior, judge: Embedder, pictures: Sequence[Image], asked: Asked) -> dict[str, Any]:
    """What a training that goes on must agree in."""
    return {
        "method": asked.method,
        "source": asked.source,
        "target": asked.target,
        "seed": asked.seed,
        "model": prior.card.hash,
        "clip": judge.hash,
        "pictures": [digests(picture)[0] for picture in pictures],
        **asdict(asked.recipe),
    }


def _training(prior: Prior, goal: Goal, lessons: Lessons, asked: Asked) -> Trained:
    if isinstance(asked.recipe, Finetune):
        return Finetuning(prior, goal, lessons, asked.recipe)
    delta = DeltaBlock.drawn(_channels(prior, lessons), Noise(asked.seed)).to(lessons.latents.device)
    return HSpaceTrainer(prior, goal, lessons, delta, asked.recipe)


class _Probe:
    """Sees how wide the bottleneck is."""

    channels = 0

    def wants(self, site: Site) -> bool:
        return site.kind == "mid"

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        raise TypeError("the probe wants no attention")

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        self.channels = h.shape[1]
        return h


def _channels(prior: Prior, lessons: Lessons) -> int:
    probe = _Probe()
    with prior.control(probe):
        plain(prior, 1)(lessons.latents[:1], prior.schedule.time(1, 1), None)
    return probe.channels


def _run(
    prior: Counted, training: Trained, state: State, on_step: Report | None, stop: Callable[[], bool]
) -> None:
    saved = time.monotonic()
    try:
        while training.done < training.steps:
            if stop():
                raise Stopped
            shown = training.advance()
            if on_step is not None:
                on_step(_step(prior, training), shown)
            if time.monotonic() - saved > SAVE_EVERY:
                state.write(training, training.lessons)
                saved = time.monotonic()
    except Stopped:
        state.write(training, training.lessons)
        raise


def _step(prior: Counted, training: Trained) -> Step:
    x = training.x[0]
    return Step(training.done, training.steps, 0.0, x, lambda: prior.decode(x), prior.rows)


def _artifact(
    prior: Prior, judge: Embedder, training: Trained, asked: Asked
) -> TunedWeights | HSpaceDirection:
    card, weights = prior.card, {name: x.cpu() for name, x in training.result().items()}
    recipe = {
        "method": asked.method,
        "source": asked.source,
        "target": asked.target,
        "seed": asked.seed,
        "clip": {"id": judge.id, "hash": judge.hash},
        "values": asdict(asked.recipe),
    }
    if isinstance(asked.recipe, Finetune):
        return TunedWeights(prior=card.id, prior_hash=card.hash, values=weights, recipe=recipe)
    one = Attribute(
        source=asked.source, target=asked.target, steps=asked.recipe.steps, weights=weights, recipe=recipe
    )
    return HSpaceDirection(prior=card.id, prior_hash=card.hash, attributes=(one,))
