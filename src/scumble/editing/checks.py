"""Checks of an edit except its pictures: method, parameters, prompts, limits of the model."""

from __future__ import annotations

import re
import string
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError, article, nearest

if TYPE_CHECKING:
    from scumble.core.prior import Card
    from scumble.core.request import Method, Needs
    from scumble.editing.recipe import Recipe
    from scumble.pictures.placed import Placed

A_REAL_CHECKPOINT = "stable-diffusion-v1-5/stable-diffusion-v1-5"
PUNCTUATION = string.punctuation + "\u2018\u2019\u201c\u201d\u00ab\u00bb\u2026\u2013\u2014\u3001\u3002"
# dB; below it the model's own round trip already loses the picture
CODEC_FLOOR = 22.0
# Of a model that knows few words: the built-in codec copies 120 drawings of other programs at 26.1 dB and more,
# and four of five photographs at 22.9 to 25.3.
SMALL_WORLD_FLOOR = 25.5


class DomainWarning(UserWarning):
    """The picture or the words are outside the domain that the model was trained on."""


def method_class(name: str) -> type[Any]:
    """The class of a method by its name, or by "./file.py:Class" (which runs that file).

    Raises:
        InputError: no such method, file or class, or a class that is not a method.
    """
    from importlib.metadata import entry_points

    from scumble import methods

    file, colon, attribute = name.rpartition(":")
    if not (colon and file.endswith(".py")):
        plugged = entry_points(group="scumble.methods", name=name)
        return next(iter(plugged)).load() if plugged and name not in methods.METHODS else methods.get(name)
    kind = getattr(_run(Path(file)), attribute, None)
    from scumble.core.request import Method  # imports torch, so only now

    if not (
        isinstance(kind, type) and is_dataclass(kind) and Method in kind.__mro__ and hasattr(kind, "needs")
    ):
        raise InputError(
            f"method {name}: {file} has no method {attribute}, a dataclass that derives from "
            "scumble.core.request.Method, with paper and needs"
        )
    return kind


def method_names() -> list[str]:
    """The names of all methods: ours, and those of installed packages (entry points "scumble.methods")."""
    from importlib.metadata import entry_points

    from scumble import methods

    return sorted({*methods.METHODS, *(point.name for point in entry_points(group="scumble.methods"))})


def _run(file: Path) -> Any:
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(file.stem, file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise InputError(f"method {file}: no such file")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise InputError(f"method {file}: it does not run ({type(error).__name__}: {error})") from error
    return module


def check_settings(method: str | Method, kind: type[Any], settings: Mapping[str, object]) -> None:
    """Raises InputError for a parameter that the method does not have, or a value outside its range."""
    if settings and not isinstance(method, str):
        raise InputError(f"settings: pass them to the class, {kind.__name__}(...), or name the method")
    names = [f.name for f in fields(kind)]
    for name in settings:
        if name not in names:
            raise InputError(
                f"{method} has no parameter {name!r}{nearest(name, names)}; it has {', '.join(names)}"
            )
    kind(**settings)


def check_form(method: str, kind: type[Any], form: str) -> None:
    """Raises InputError if a method cannot edit in that form (see `scumble.forms`)."""
    if form not in kind.forms:
        raise InputError(
            f"form: {method} edits latents only; {form!r} is for methods that descend, such as dds"
        )


def check_also(method: str, kind: type[Any], also: Sequence[object]) -> None:
    """Raises InputError for further prompts if the method follows only one."""
    if also and not kind.composes:
        raise InputError(
            f"also: {method} follows one target prompt; sdedit and `scumble paint` follow several"
        )


def taken(kind: type[Any]) -> set[str]:
    """The names in `given` that a method uses: those in its needs, what it prepares and shares, and the
    parametrization of one that edits in further forms. Every method takes tuned weights, which a plan puts in.
    """
    needs: Needs = kind.needs
    own = {kind.prepares.name} if kind.prepares else set[str]()
    form = {"parametrization"} if len(kind.forms) > 1 else set[str]()
    return {*needs.given, *needs.takes, *kind.shares, *own, *form, "tuned"} - {"reference"}


def check_given(method: str, kind: type[Any], given: Mapping[str, object]) -> None:
    """Raises InputError for an artifact or a network that the method would not use."""
    known = sorted(taken(kind))
    for name in given:
        if name not in known:
            raise InputError(
                f"given: {method} takes no {name!r}{nearest(name, known)}, only {' and '.join(known)}; leave it out"
            )


def check_needs(method: str, needs: Needs, recipe: Recipe) -> None:
    """Raises InputError if something that the method needs is missing, or for a reference that it does not take."""
    if needs.target and not (recipe.target or "").strip():
        raise InputError(
            f"target: empty; {method} needs a prompt that describes what the picture should show"
        )
    if needs.source and not (recipe.source or "").strip():
        raise InputError(f"source: empty; {method} needs a prompt that describes what the picture shows now")
    if needs.mask and recipe.mask is None:
        raise InputError(f"mask: missing; {method} needs a picture that is white where it may change")
    if needs.reference and recipe.reference is None:
        raise InputError(f"reference: missing; {method} needs a picture to follow")
    if recipe.reference is not None and not (needs.reference or "reference" in needs.takes):
        raise InputError(f"reference: {method} takes no reference picture; leave it out")
    for name in needs.given:
        if name not in recipe.given:
            raise InputError(
                f"given: {method} needs {article(name)}; name its file or folder with --given {name}=PATH"
            )


def check_model(card: Card, method: str, needs: Needs, target: str | None) -> None:
    """Raises InputError for a model that lacks what the method needs, or a missing prompt if the model takes text."""
    wanted = {"text": needs.target, "gradient": needs.gradient, "control": needs.control}
    for ability, needed in wanted.items():
        if needed and not card.can(ability, joint=needs.joint):
            hint = "; load it unquantised, and without --memory sequential" if ability == "gradient" else ""
            raise InputError(f"{method} needs a model with {ability}, which '{card.id}' does not have{hint}")
    if needs.prompt and "text" in card.capabilities and not (target or "").strip():
        raise InputError(
            f"target: empty; describe what the picture should show, because '{card.id}' takes text"
        )


def check_words(card: Card, prompts: Iterable[str], force: bool) -> None:
    """Raises InputError for words that a model with a fixed vocabulary does not know. Warns instead with `force`.

    For an open-vocabulary model, warns of prompts without any word, such as emoji alone.
    """
    if card.words is None:
        for prompt in prompts:
            if prompt.strip() and not re.search(r"\w", prompt):
                said = (
                    f"prompt {prompt[:40]!r}: it has no words, so the model makes anything of it; use words"
                )
                warnings.warn(said, DomainWarning, stacklevel=2)
        return
    said = dict.fromkeys(word for prompt in prompts for word in words_of(prompt))
    unknown = [word for word in said if word not in card.words]
    if not unknown:
        return
    offered = [word for word in card.words if len(word) > 2]  # no "at" for "cat"
    which = ", ".join(repr(word) + nearest(word, offered) for word in unknown)
    if force:
        warnings.warn(f"model '{card.id}' does not know {which}", DomainWarning, stacklevel=2)
        return
    raise InputError(
        f"model '{card.id}' does not know {which}; it is made for: {card.domain.rstrip('.')}. For other pictures "
        f"name a real checkpoint, such as {A_REAL_CHECKPOINT} (--model); --force (force=True) tries anyway."
    )


def words_of(prompt: str) -> list[str]:
    """The parts of a prompt that a model must know: words and symbols such as emoji; punctuation if that is all."""
    found = re.findall(rf"\w+|[^\w\s{re.escape(PUNCTUATION)}]+", prompt.lower())
    return found or prompt.split()


def codec_floor(card: Card) -> float:
    """The PSNR in dB that a model's own round trip should reach."""
    return SMALL_WORLD_FLOOR if card.words else CODEC_FLOOR


def check_codec(placed: Placed) -> None:
    """Warns if the codec alone, encoding and decoding, damages the picture too much."""
    from scumble.core.pixels import psnr, to_pixels

    copied = psnr(to_pixels(placed.image), to_pixels(placed.before))
    card = placed.prior.card
    floor = codec_floor(card)
    if copied < floor:
        why = (
            f"it is made for something else: {card.domain}"
            if card.words
            else "its codec (VAE) fits it badly, or is damaged, unless the picture is all fine noise; `scumble doctor "
            "--model NAME` tells"
        )
        warnings.warn(
            f"{placed.picture.name}: model '{card.id}' cannot reproduce this picture ({copied:.1f} dB; at "
            f"least {floor:g} needed); {why}",
            DomainWarning,
            stacklevel=3,
        )
