"""The two errors that are not bugs: bad input, and a machine that cannot do what is asked."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """The input cannot be used. The message names the input, what is wrong with it and what to do."""


class MachineError(RuntimeError):
    """Memory, network or disk did not suffice. The message says what was needed, what was available, and what to do."""


def article(noun: str) -> str:
    """ "an inversion", "a bank"; "a tuned model" for the name "tuned"."""
    named = "tuned model" if noun == "tuned" else noun
    return f"{'an' if named[0] in 'aeiouAEIOU' else 'a'} {named}"


def nearest(name: str, names: Iterable[str]) -> str:
    """ " (did you mean 'steps'?)", or nothing."""
    close = get_close_matches(name, sorted(names), n=1, cutoff=0.65)
    return f" (did you mean {close[0]!r}?)" if close else ""
