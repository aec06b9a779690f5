"""`scumble tune`: a model tuned on one's own pictures, kept as an artifact.

accelerate gives mixed precision. The state is written beside the result from time to time and where the training is
stopped; from it another process goes on to the same result, bit for bit on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scumble import artifacts
from scumble.artifacts.origin import digests
from scumble.artifacts.tuned import TunedWeights
from scumble.core.atomic import atomic
from scumble.core.host import isolated
from scumble.core.job import Counted
from scumble.core.prior import Prior
from scumble.core.types import Image
from scumble.tuning.adaptation import Material, Stages

from .state import State
from .state import Stopped as Stopped
from .tune_asked import Asked as Asked
from .tune_asked import class_prompt as class_prompt
from .tune_asked import kind as kind
from .tune_asked import values as values
from .tune_asked import wanted as wanted
from .tune_checks import check as check
from .tune_checks import check_class as check_class
from .tune_checks import check_model, check_precision
from .tune_checks import class_pictures as class_pictures
from .tune_run import Cheaper, Report, Runner


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
    another training at that name, and where the loss diverges; MachineError, with the next cheaper setting, where
    memory runs out.
    """
    check_model(prior, asked.recipe.name)
    check_precision(prior, asked)
    prior = Counted(prior)
    state = State(out.with_name(f"{out.name}.resume.pt"), _fingerprint(prior, pictures, others, asked))
    with isolated(), Cheaper(asked, str(prior.loaded.get("device", "cpu"))):
        material = _material(prior, pictures, others, asked)
        stages = asked.recipe.stages(prior, material)
        with prior.checkpointed() if asked.checkpointing else nullcontext():
            Runner(prior, stages, asked.precision, material.latents[0]).run(state, on_step, stop)
        made = _artifact(prior, stages, _recipe(asked, pictures))
    artifacts.save(made, out)
    export(made, out)
    state.path.unlink(missing_ok=True)
    return made


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
