"""What the command line says about a result: its cost, how much changed, and what to try next."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scumble.core.request import Edit
    from scumble.editing.plan import Plan

LITTLE, MUCH = 0.005, 0.8  # shares of what may change that call for advice
GLOBAL = frozenset(  # words of edits that concern a whole picture
    {"anime", "autumn", "background", "cartoon", "dawn", "day", "drawing", "fog", "light", "look", "night"}
    | {"painting", "photo", "photograph", "rain", "season", "sketch", "sky", "snow", "spring", "style"}
    | {"summer", "sunset", "watercolour", "watercolor", "weather", "winter"}
)


def record(path: Path, edit: Edit, plan: Plan) -> dict[str, Any]:
    """The --json record of a result: memory in bytes, `changed` as a share of the picture in [0, 1]."""
    from scumble.core import machine

    passport: dict[str, Any] = dict(edit.provenance)
    return {
        "file": str(path),
        "target": passport["target"],
        "seed": passport["seed"],
        "seconds": passport["seconds"],
        "evaluations": edit.evaluations,
        "peak_memory": machine.peak(str(plan.loaded.get("device") or "cpu")),
        "changed": passport["layer"]["changed"],
        "passport": passport,
    }


def summary(record: Mapping[str, Any]) -> str:
    """A one-line summary of an edit: its cost and how much changed."""
    from scumble.pictures.sheets import percent

    return (
        f"{record['file']}: {record['seconds']:.1f} s, {record['evaluations']} evaluations of the network, "
        f"peak memory {record['peak_memory'] / 1e9:.2f} GB, {percent(record['changed'])} of the picture changed, "
        f"seed {record['seed']}"
    )


def advice(record: Mapping[str, Any], plan: Plan) -> str | None:
    """A line of advice if hardly anything changed, or nearly everything although the prompts do not ask for it."""
    recipe, mask, size = plan.recipe, plan.placed.mask, plan.placed.picture.size
    may = 1 - mask.values.histogram()[0] / (size[0] * size[1]) if mask else 1.0
    if record["changed"] / may < LITTLE:
        return (
            "hardly anything changed: describe the change, and the object that changes, in more detail in both "
            "prompts; then try more steps, guidance or strength"
        )
    wished = concerns_all(recipe.source or "", str(recipe.target))
    if record["changed"] <= MUCH or recipe.form != "latent" or wished:
        return None
    if recipe.keep == "none":
        return "nothing was kept of the input: without --keep none, everything that was not edited stays as it was"
    return (
        "nearly everything changed: use the same words in both prompts for what should stay, less guidance or "
        "strength, or a --mask"
    )


def concerns_all(source: str, target: str) -> bool:
    """Whether the prompts differ in something that concerns the whole picture: its background, light or style.

    It looks at the words that differ and the words after them: "a white background" to "a sky background".
    """
    from difflib import SequenceMatcher

    a, b = (re.findall(r"\w+", text.lower()) for text in (source, target))
    said: set[str] = set()
    for kind, a0, a1, b0, b1 in SequenceMatcher(a=a, b=b, autojunk=False).get_opcodes():
        if kind != "equal":
            said |= {*a[a0 : a1 + 1], *b[b0 : b1 + 1]}
    return not source or not said.isdisjoint(GLOBAL)
