"""`scumble tune`: a model tuned on one's own pictures, kept as an artifact.

accelerate gives mixed precision. The state is written beside the result from time to time and where the training is
stopped; from it another process goes on to the same result, bit for bit on the CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from scumble import artifacts
from scumble.artifacts.origin import digests
from scumble.artifacts.tuned import TunedWeights
from scumble.core.atomic import atomic
from scumble.core.errors import InputError, MachineError, nearest
from scumble.core.host import isolated
from scumble.core.job import Counted
from scumble.core.machine import limits
from scumble.core.prior import Card, Prior
from scumble.core.request import Step
from scumble.core.types import Image, Latent
from scumble.tuning.adaptation import Adaptation, Material, Stages
from scumble.tuning.stages import Stage, tables

from .state import State, Stopped

METHODS: Mapping[str, str] = {
    "dreambooth": "scumble.tuning.dreambooth:DreamBooth",
    "imagic": "scumble.tuning.imagic:ImagicTuning",
    "textual_inversion": "scumble.tuning.textual_inversion:TextualInversion",
    "unitune": "scumble.tuning.unitune:UniTuning",
}
"""The ways to tune a model: name -> "module:Class"."""

PRECISIONS = "no", "bf16", "fp16"
SAVE_EVERY = 60
"""Seconds between two states on the disk."""

Report = Callable[[Step, Mapping[str, float]], None]
"""What the training reports to after every step: the step, and the loss."""


def kind(method: str) -> type[Adaptation]:
    """Raises InputError for a method that tunes nothing."""
    if method not in METHODS:
        raise InputError(
            f"method: {method!r} tunes no model{nearest(method, METHODS)}; these do: {', '.join(METHODS)}"
        )
    module, _, name = METHODS[method].partition(":")
    return cast("type[Adaptation]", getattr(import_module(module), name))


def values(method: str, settings: Mapping[str, object], card: Card | None = None) -> Adaptation:
    """A method's values: the user's, else what the model's card recommends for "tune METHOD", else its own.

    Raises InputError for a value that it does not have, or one out of its range.
    """
    made = kind(method)
    names = [f.name for f in fields(made)]
    for name in settings:
        if name not in names:
            raise InputError(
                f"tune {method} has no parameter {name!r}{nearest(name, names)}; it has {', '.join(names)}"
            )
    recommended = {} if card is None else card.recommended.get(f"tune {method}", {})
    given: dict[str, Any] = {**recommended, **settings}
    return made(**given)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is tuned: by which values, on what, and in which precision (of PRECISIONS) the network runs."""

    recipe: Adaptation
    prompt: str
    word: str = ""
    class_prompt: str = ""
    seed: int = 0
    precision: str = "no"

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InputError(f"precision: {self.precision!r} must be one of {', '.join(PRECISIONS)}")


def tune(
    prior: Prior,
    pictures: Sequence[Image],
    asked: Asked,
    out: Path,
    *,
    others: Sequence[Image] = (),
    on_step: Report | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> TunedWeights:
    """Tunes, or goes on with what was stopped, and writes the artifact to `out`.

    pictures: (1, 3, H, W) each, of one size; others: pictures of the class, for prior preservation. `stop` is asked
    between steps. Raises Stopped where it says so; InputError for a model that cannot be tuned, and for the state of
    another training at that name; MachineError, with the next cheaper setting, where memory runs out.
    """
    check_model(prior, asked.recipe.name)
    prior = Counted(prior)
    state = State(out.with_name(f"{out.name}.resume.pt"), _fingerprint(prior, pictures, others, asked))
    with isolated(), _cheaper(asked, str(prior.loaded.get("device", "cpu"))):
        material = _material(prior, pictures, others, asked)
        stages = asked.recipe.stages(prior, material)
        _Runner(prior, stages, asked.precision, material.latents[0]).run(state, on_step, stop)
        made = _artifact(prior, stages, _recipe(asked, pictures))
    artifacts.save(made, out)
    export(made, out)
    state.path.unlink(missing_ok=True)
    return made


def check(prior: Prior, asked: Asked) -> list[str]:
    """What the user should know before the training, a line each. Raises InputError for what cannot be tuned."""
    name, word = asked.recipe.name, asked.word.strip()
    check_model(prior, name)
    if not asked.prompt.strip():
        raise InputError(f"prompt: empty; tune {name} needs words, --prompt")
    if bool(word) is not asked.recipe.word:
        remedy = "leave it out" if word else "name a rare word with --word, such as sks"
        raise InputError(f"word: {word!r}; tune {name} binds {'no' if word else 'an'} identifier: {remedy}")
    if not word:
        return []
    if word.lower() not in asked.prompt.lower() and name != "unitune":
        raise InputError(
            f"prompt: {asked.prompt!r} does not contain the word {word!r}; write it where it belongs"
        )
    common = frequency(prior, word)
    return (
        [f"warning: word {word!r} is common: {common}; a rare one, such as sks, binds better"]
        if common
        else []
    )


COMMON = 0.9
"""Share of a vocabulary whose tokens count as common: they are numbered by their frequency, the most frequent first."""


def frequency(prior: Prior, word: str) -> str:
    """How common a word is for the model, in words; nothing for a rare one."""
    words = prior.card.words
    if words is not None:
        if word.lower() not in words:
            return ""
        if prior.card.id != "scenes":
            return f"it is one of the {len(words)} words that the model knows"
        from scumble.scenes.grammar import full_caption
        from scumble.scenes.world import generator, random_scene

        rng, n = generator("train", 0), 500
        seen = sum(word.lower() in full_caption(random_scene(rng)).split() for _ in range(n))
        return f"it is in {seen} of {n} captions that the model was trained on"
    text = prior.embed((word,))
    try:
        places = text.spans(word)[0]
    except InputError:
        return ""
    if text.ids is None or len(places) != 1:
        return ""
    size = max((len(table) for table in tables(prior).values()), default=0)
    number = int(text.ids[0, places[0]])
    return (
        f"its token is number {number} of {size}, the most frequent first" if number < COMMON * size else ""
    )


def class_prompt(asked: Asked) -> str:
    """What pictures of the class show: what is asked, else the prompt without the identifier."""
    if asked.class_prompt.strip():
        return asked.class_prompt
    left = [part for part in asked.prompt.split() if part.lower() != asked.word.lower()]
    return " ".join(left)


def wanted(asked: Asked) -> int:
    """How many pictures of the class the training needs."""
    recipe: Any = asked.recipe
    return recipe.class_n if getattr(recipe, "preservation", 0) else 0


def check_class(asked: Asked, pictures: Sequence[object]) -> None:
    """Raises InputError for fewer pictures of the class than there are to be."""
    if 0 < len(pictures) < wanted(asked):
        raise InputError(
            f"class pictures: {len(pictures)} there, and class_n={wanted(asked)} are asked for; add some, set "
            f"class_n={len(pictures)}, or leave --class-pictures out and the model makes them"
        )


def class_pictures(
    prior: Prior, asked: Asked, size: tuple[int, int], on_picture: Callable[[int, int], None]
) -> list[Image]:
    """Pictures of the class by the model itself, from seeds of the training's (DreamBooth, section 3.2)."""
    from scumble.core.request import EditRequest
    from scumble.methods.sampling import Sampling

    recommended: Mapping[str, Any] = prior.card.recommended.get("sampling", {})
    guidance = float(recommended.get("guidance", Sampling().guidance))
    method, made, n = Sampling(sampler="dpm", steps=20, guidance=guidance), list[Image](), wanted(asked)
    for k in range(n):
        request = EditRequest(size=size, target=class_prompt(asked), seed=(asked.seed << 20) + k)
        made.append(method(prior, request).raw.clamp(-1, 1))
        on_picture(k + 1, n)
    return made


def check_model(prior: Prior, method: str) -> None:
    """Raises InputError for a model that cannot be tuned."""
    card = prior.card
    if "text" not in card.capabilities:
        raise InputError(f"tune {method}: '{card.id}' takes no text; tune a model that does")
    if "gradient" not in card.capabilities:
        raise InputError(
            f"tune {method}: needs a model with gradient, which '{card.id}' does not have; load it unquantised, and "
            "without --memory sequential"
        )


def _artifact(prior: Prior, stages: Stages, recipe: Mapping[str, Any]) -> TunedWeights:
    return TunedWeights(
        prior=prior.card.id,
        prior_hash=prior.card.hash,
        form=stages.form,
        values={name: x.detach().cpu().clone() for name, x in stages.weights.values.items()},
        texts={name: text.tokens.detach().float().cpu() for name, text in stages.texts.items()},
        recipe=recipe,
    )


def export(made: TunedWeights, out: Path) -> Path | None:
    """Writes what other programs read beside the file: OUT.lora.safetensors, or WORD.safetensors of an embedding."""
    from safetensors.torch import save

    from scumble.priors._lora import written

    if made.form == "lora":
        place, tensors = out.with_name(f"{out.name}.lora.safetensors"), written(made.values)
    elif made.form == "rows" and len(made.changes) == 1:
        word = str(made.recipe["word"])
        place, tensors = out.with_name(f"{out.name}.{word}.safetensors"), {word: made.values[made.changes[0]]}
    else:
        return None
    with atomic(place) as temporary:
        temporary.write_bytes(save({name: x.contiguous() for name, x in tensors.items()}))
    return place


def _material(prior: Prior, pictures: Sequence[Image], others: Sequence[Image], asked: Asked) -> Material:
    height, width = pictures[0].shape[-2:]
    return Material(
        latents=[prior.encode(picture) for picture in pictures],
        size=(height, width),
        prompt=asked.prompt,
        word=asked.word,
        others=[prior.encode(picture) for picture in others],
        others_prompt=class_prompt(asked),
        seed=asked.seed,
    )


def _recipe(asked: Asked, pictures: Sequence[Image]) -> dict[str, Any]:
    return {
        "method": asked.recipe.name,
        "prompt": asked.prompt,
        "word": asked.word or None,
        "class_prompt": asked.class_prompt,
        "seed": asked.seed,
        "precision": asked.precision,
        "pictures": [digests(picture)[0] for picture in pictures],
        "size": list(pictures[0].shape[-2:]),
        "values": asdict(asked.recipe),
    }


def _fingerprint(
    prior: Prior, pictures: Sequence[Image], others: Sequence[Image], asked: Asked
) -> dict[str, Any]:
    """What a training that goes on must agree in."""
    recipe = _recipe(asked, pictures)
    chosen = recipe.pop("values")
    return {
        **recipe,
        **chosen,
        "model": prior.card.hash,
        "class pictures": [digests(each)[0] for each in others],
    }


class _cheaper:
    """Inside, running out of memory raises MachineError that names the next cheaper setting."""

    def __init__(self, asked: Asked, device: str):
        self._asked, self._limits = asked, limits(device)

    def __enter__(self) -> None:
        self._limits.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        try:
            return self._limits.__exit__(*error)
        except MachineError as exhausted:
            said = str(exhausted).partition("; try")[0]
            raise MachineError(
                f"{said}; try, one after the other: {'; '.join(cheaper(self._asked))}."
            ) from None


def cheaper(asked: Asked) -> list[str]:
    """Settings that need less memory, the mildest first."""
    chosen, found = asdict(asked.recipe), list[str]()
    if (batch := int(chosen.get("batch", 1))) > 1:
        found.append(f"--set batch={max(batch // 2, 1)} --set accumulate={2 * int(chosen['accumulate'])}")
    if chosen.get("form") == "weights":
        found.append("--set form=lora")
    if chosen.get("text_encoder"):
        found.append("--set text_encoder=false")
    if asked.precision == "no":
        found.append("--precision bf16")
    if chosen.get("optimizer") in ("adam", "adamw"):
        found.append("--set optimizer=adamw8bit")
    return [*found, "a smaller --size", "a smaller model"]


class _Runner:
    """Goes through stages, step by step."""

    def __init__(self, prior: Counted, stages: Stages, precision: str, shown: Latent):
        """`shown`: what a step shows, the latent of the first picture."""
        from accelerate import Accelerator

        device = str(prior.loaded.get("device", "cpu"))
        self.prior, self.stages, self.shown = prior, stages, shown
        self.accelerator = Accelerator(mixed_precision=precision, cpu=device == "cpu")
        self.done = 0

    def run(self, state: State, on_step: Report | None, stop: Callable[[], bool]) -> None:
        before = state.read() or {"done": 0, "tensors": [], "optimizer": None}
        self.done = int(before["done"])
        first, saved = 0, time.monotonic()
        for number, stage in enumerate(self.stages.stages):
            last = first + stage.steps
            behind = before["tensors"][number] if number < len(before["tensors"]) else None
            with stage.trained.open():
                if behind is not None:
                    _put(stage, behind)
                if self.done < last:
                    optimizer: Any = self.accelerator.prepare(optimiser(stage, stage.trained.tensors))
                    if behind is not None and self.done > first:
                        optimizer.load_state_dict(before["optimizer"])
                while self.done < last:
                    if stop():
                        self._save(state, number, optimizer)
                        raise Stopped
                    loss = self._step(stage, self.done - first, optimizer)
                    self.done += 1
                    if on_step is not None:
                        on_step(self._told(), {stage.name: loss})
                    if time.monotonic() - saved > SAVE_EVERY:
                        self._save(state, number, optimizer)
                        saved = time.monotonic()
            first = last

    def _step(self, stage: Stage, k: int, optimizer: Any) -> float:
        total, tensors = 0.0, list(stage.trained.tensors)
        for part in range(stage.accumulate):
            with torch.enable_grad():
                with self.accelerator.autocast():
                    loss = stage.loss(k * stage.accumulate + part) / stage.accumulate
                self.accelerator.backward(loss)  # it divides once more, so gradients are wanted here, too
            total += float(loss.detach())
        stage.trained.take()
        if stage.clip:
            self.accelerator.clip_grad_norm_(tensors, stage.clip)
        optimizer.step()
        for tensor in tensors:
            tensor.grad = None
        stage.trained.put()
        return total

    def _save(self, state: State, number: int, optimizer: Any) -> None:
        tensors = [[x.detach().cpu().clone() for x in stage.trained.tensors] for stage in self.stages.stages]
        state.keep({"done": self.done, "tensors": tensors[: number + 1], "optimizer": optimizer.state_dict()})

    def _told(self) -> Step:
        x, prior = self.shown, self.prior
        return Step(self.done, self.stages.steps, 0.0, x, lambda: prior.decode(x), prior.rows)


def _put(stage: Stage, values: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for tensor, value in zip(stage.trained.tensors, values, strict=True):
            tensor.copy_(value)
    stage.trained.put()


def optimiser(stage: Stage, tensors: Sequence[Tensor]) -> torch.optim.Optimizer:
    """A stage's optimiser. Raises InputError where bitsandbytes is wanted and missing."""
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if stage.optimizer == "adamw8bit":
        try:
            bnb: Any = import_module("bitsandbytes")

            kinds["adamw8bit"] = bnb.optim.AdamW8bit
        except ImportError:
            raise InputError(
                "optimizer: adamw8bit needs bitsandbytes, which is not installed; install it, or take adamw"
            ) from None
    made: torch.optim.Optimizer = kinds[stage.optimizer](
        list(tensors), lr=stage.rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=stage.decay
    )
    return made
