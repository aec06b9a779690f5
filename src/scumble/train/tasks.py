"""An editor's tasks, matched to captions: which pictures a task starts from, and what it asks of each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scumble.core.errors import InputError, nearest
from scumble.networks.editor import Task

ANY_WORD = r"[^\s,.;]+"
_SLOT = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Match:
    """A caption that a task fits: the task's number, and the caption as it should become."""

    task: int
    target: str


class Matcher:
    """Tasks as patterns of whole words.

    A source template is looked for anywhere in a caption; what it finds becomes the target template, the rest stays.
    "{colour}" stands for one of `words["colour"]`, or for any one word where `words` has no such list; the target may
    use what the source found. Letters' case does not matter. Raises InputError for a target that uses a slot which
    its source does not have, and for an empty template.
    """

    def __init__(self, tasks: Sequence[Task], words: Mapping[str, Sequence[str]] | None = None):
        self._tasks = tasks
        self._patterns = [_pattern(task, words or {}) for task in tasks]

    def __call__(self, caption: str) -> list[Match]:
        """Every task that fits and changes something, in the tasks' order."""
        found: list[Match] = []
        for k, (task, pattern) in enumerate(zip(self._tasks, self._patterns, strict=True)):
            match = pattern.search(caption)
            if match is None:
                continue
            said = _SLOT.sub(lambda slot, match=match: match[slot[1]], task.target)
            target = " ".join((caption[: match.start()] + said + caption[match.end() :]).split())
            if target.lower() != " ".join(caption.split()).lower():
                found.append(Match(k, target))
        return found


def _pattern(task: Task, words: Mapping[str, Sequence[str]]) -> re.Pattern[str]:
    if not task.source.strip():
        raise InputError(
            f"task {task.name}: its source template is empty; write words that its captions have"
        )
    slots = _SLOT.findall(task.source)
    for slot in _SLOT.findall(task.target):
        if slot not in slots:
            raise InputError(
                f"task {task.name}: the target uses {{{slot}}}{nearest(slot, slots)}, which the source does not have"
            )
    for slot in slots:
        if not slot.isidentifier():
            raise InputError(
                f"task {task.name}: the slot {{{slot}}} begins with a digit; give it another name"
            )
    if len(set(slots)) < len(slots):
        raise InputError(f"task {task.name}: a slot appears twice in the source; give each its own name")
    parts: list[str] = []
    for k, part in enumerate(_SLOT.split(task.source.strip())):
        if k % 2 == 0:
            parts.append(r"\s+".join(re.escape(word) for word in re.split(r"\s+", part)))
        else:
            choice = "|".join(re.escape(word) for word in sorted(words.get(part, ()), key=len, reverse=True))
            parts.append(f"(?P<{part}>{choice or ANY_WORD})")
    return re.compile(rf"(?<!\w){''.join(parts)}(?!\w)", re.IGNORECASE)
