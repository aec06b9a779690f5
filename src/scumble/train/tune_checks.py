"""What is checked before a tuning, and the pictures of the class that the model makes for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from scumble.core.errors import InputError
from scumble.core.prior import Prior
from scumble.core.request import Step
from scumble.core.types import Image
from scumble.tuning.stages import tables

from .state import Stopped
from .tune_asked import Asked, class_prompt, wanted


def check(prior: Prior, asked: Asked) -> list[str]:
    """What the user should know before the training, a line each. Raises InputError for what cannot be tuned."""
    name, word = asked.recipe.name, asked.word.strip()
    check_model(prior, name)
    check_precision(prior, asked)
    if not asked.prompt.strip():
        raise InputError(f"prompt: empty; tune {name} needs words, --prompt")
    if bool(word) is not asked.recipe.word:
        remedy = "leave it out" if word else "name a rare word with --word, such as sks"
        raise InputError(f"word: {word!r}; tune {name} binds {'no' if word else 'an'} identifier: {remedy}")
    if not word:
        return []
    lines = list[str]()
    if word.lower() not in asked.prompt.lower():
        if name != "unitune":
            raise InputError(
                f"prompt: {asked.prompt!r} does not contain the word {word!r}; write it where it belongs"
            )
        lines.append(
            f"warning: prompt: {asked.prompt!r} does not contain the word {word!r}, which is then not trained; leave "
            "--prompt out"
        )
    if wanted(asked) and class_prompt(asked) == " ".join(asked.prompt.split()):
        raise InputError(
            f"class prompt: {class_prompt(asked)!r} is the prompt itself; say with --class-prompt what others of the "
            "kind are called"
        )
    common = frequency(prior, word)
    return lines + (
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


def check_class(asked: Asked, pictures: Sequence[object]) -> None:
    """Raises InputError for fewer pictures of the class than there are to be."""
    if 0 < len(pictures) < wanted(asked):
        raise InputError(
            f"class pictures: {len(pictures)} there, and class_n={wanted(asked)} are asked for; add some, set "
            f"class_n={len(pictures)}, or leave --class-pictures out and the model makes them"
        )


def class_pictures(
    prior: Prior,
    asked: Asked,
    size: tuple[int, int],
    on_picture: Callable[[int, int], None],
    stop: Callable[[], bool] = lambda: False,
) -> list[Image]:
    """Pictures of the class by the model itself, from seeds of the training's (DreamBooth, section 3.2).

    `stop` is asked after every step. Raises Stopped where it says so.
    """

    def watch(_: Step) -> None:
        if stop():
            raise Stopped

    from scumble.core.request import EditRequest
    from scumble.methods.sampling import Sampling

    recommended: Mapping[str, Any] = prior.card.recommended.get("sampling", {})
    guidance = float(recommended.get("guidance", Sampling().guidance))
    method, made, n = Sampling(sampler="dpm", steps=20, guidance=guidance), list[Image](), wanted(asked)
    for k in range(n):
        request = EditRequest(size=size, target=class_prompt(asked), seed=(asked.seed << 20) + k)
        made.append(method(prior, request, watch).raw.clamp(-1, 1))
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


def check_precision(prior: Prior, asked: Asked) -> None:
    """Raises InputError for fp16 on a CPU, where the network would run in float32 without a word."""
    if asked.precision == "fp16" and str(prior.loaded.get("device", "cpu")) == "cpu":
        raise InputError("precision: fp16 does nothing on a CPU; take bf16 or no, or another --device")
