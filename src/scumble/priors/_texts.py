"""The text encoders of a prior: there all the time, or, to save memory, only while prompts are read."""

from __future__ import annotations

import gc
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

Load = Callable[[str], Any]  # a text encoder by the name of its folder


class TextEncoders(Mapping[str, Any]):
    """By the names of their folders. With `load`, those that `release` has dropped are loaded again when asked for.

    `forget` is told of every one that is dropped.
    """

    def __init__(
        self,
        encoders: Mapping[str, Any],
        load: Load | None = None,
        forget: Callable[[Any], None] | None = None,
    ):
        self._names, self._there = tuple(encoders), dict(encoders)
        self._load, self._forget, self._held = load, forget, 0

    def __getitem__(self, part: str) -> Any:
        """Raises what loading raises."""
        if part not in self._there and part in self._names and self._load is not None:
            self._there[part] = self._load(part)
        return self._there[part]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, part: object) -> bool:
        return part in self._names

    def release(self) -> None:
        """Drops them, where they can be loaded again and are not held."""
        if self._load is None or self._held or not self._there:
            return
        while self._there:
            _, encoder = self._there.popitem()
            if self._forget is not None:
                self._forget(encoder)
            del encoder  # the name would keep it
        gc.collect()

    @contextmanager
    def held(self) -> Generator[None]:
        """Inside, `release` drops none: what is changed in them stays."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
