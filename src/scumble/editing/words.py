"""Values as people write them in one line of text: on a command line, in a table's cell."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable


def value(text: str) -> object:
    """A Python literal's value, "true", "false" and "none" in any case; anything else stays a word."""
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    try:
        if text.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
            return float(text)
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return text if isinstance(found, int) and abs(found) > sys.float_info.max else found


def keep(text: str) -> str | float:
    """ "auto", "none" or a number; what is neither stays a word, for the edit's own check."""
    found = value(text) if text.lower() not in ("auto", "none") else text.lower()
    return found if isinstance(found, int | float) and not isinstance(found, bool) else text.lower()


def weighted(texts: Iterable[str]) -> tuple[tuple[str, float], ...]:
    """["a blue star:0.8"] to (("a blue star", 0.8),); without a number the weight is 1."""
    found: list[tuple[str, float]] = []
    for text in texts:
        prompt, colon, weight = text.rpartition(":")
        number = value(weight.strip()) if colon else None
        if isinstance(number, int | float) and not isinstance(number, bool):
            found.append((prompt.strip(), float(number)))
        else:
            found.append((text.strip(), 1.0))
    return tuple(found)
