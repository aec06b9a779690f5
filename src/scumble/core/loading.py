"""Which model, and how it is loaded: one value for recipes, `scumble.load` and the priors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields
from numbers import Real
from operator import index
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, SupportsIndex, cast

from scumble.core.errors import InputError

if TYPE_CHECKING:
    from scumble.core.prior import Prior


COUNTS = 10_000_000
"""The most that a whole number among a method's parameters may be: lists of more would fill the memory."""


def described(help: str, default: Any = None, *, values: str | None = None) -> Any:
    """A field with its help text. `values`: how a value is written on a command line."""
    return field(default=default, metadata={"help": help, "values": values})


@dataclass(frozen=True)
class Loading:
    """The model of an edit, and how it is loaded. The arguments of `scumble.load`.

    model: "scenes" (built in), a checkpoint folder or file, the id of one on the model hub, or a prior.
    device: "cpu", an accelerator's name, or "auto" for the best available.
    dtype: precision of the network calls: "float32", "float16", "bfloat16", or "auto" for what the device does best.
    revision: a branch, tag or commit of the hub.
    offline: use only local files; download nothing.
    lora: LoRA files; ":0.8" after the name sets the weight (default 1).
    vae: a codec file (.safetensors) that replaces the model's own.
    embedding: files of textual inversions; each adds a word, named by its tensor or by the file.
    clip_skip: how many of the last layers of the text encoder to leave out; 1 is what A1111 calls 2.
    memory: settings that trade time for memory: any of "slicing", "tiling", "text", "offload",
        "8bit", "4bit", "sequential".

    `paints`: what draws from text and edits nothing is welcome, too.
    """

    paints: ClassVar[bool] = False
    model: str | Path | Prior = described(
        '"scenes" (built in), a checkpoint folder or file, or the id of one on the hub.', "scenes"
    )
    _: KW_ONLY
    device: str = described("The device: cpu, an accelerator, or auto for the best available.", "auto")
    dtype: str = described("Precision of the network calls: auto, float32, float16, bfloat16.", "auto")
    revision: str | None = described("A branch, tag or commit of a model on the hub.")
    offline: bool = described("Download nothing.", False)
    lora: Sequence[str] = described("LoRA files for the model; repeats.", (), values="FILE[:WEIGHT]")
    vae: str | None = described("A codec that replaces the model's own.", values="FILE")
    embedding: Sequence[str] = described("Textual inversions for the model; repeats.", (), values="FILE")
    clip_skip: int = described(
        "Last layers of the text encoder to leave out (A1111's Clip skip, less one).", 0
    )
    memory: Sequence[str] = described(
        "Use less memory and more time: slicing, tiling, text, offload, 8bit, 4bit, sequential; repeats.",
        (),
        values="NAME",
    )

    @property
    def options(self) -> dict[str, Any]:
        """How the model is loaded: everything except its name."""
        return {f.name: getattr(self, f.name) for f in fields(Loading) if f.name != "model"}

    def __post_init__(self) -> None:
        """What other programs hand over, as the plain values they mean. Raises InputError for what means nothing."""
        for name, given in self.options.items():
            plain = _READERS[name](given)
            if plain is None and (given is not None or name not in ("revision", "vae")):
                raise InputError(f"{name}: {given!r} is not {_MEANT[name]}")
            object.__setattr__(self, name, plain)


def check_text(name: str, text: str) -> None:
    """Raises InputError for a text that no tokenizer reads and no file holds: it has surrogates, from bytes that are
    not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name}: {text!r} holds bytes that are not UTF-8; type it again") from None


def whole(number: object) -> object:
    """numpy's and torch's whole numbers as Python's; anything else as it is."""
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        return number
    try:
        return index(cast(SupportsIndex, number))
    except (TypeError, RuntimeError):  # no whole number, or a tensor without data
        return number


def switch(value: object) -> bool | None:
    """Python's and numpy's True and False, and None, which is False; None for anything else."""
    return bool(value) if value is None or type(value).__name__ in ("bool", "bool_") else None


def plain(value: object, expected: object) -> object:
    """A number, a switch or a text of numpy or torch as Python's, where `expected` is such a type."""
    if expected is int:
        return whole(value)
    if expected is float:
        number = isinstance(value, Real) and not isinstance(value, int)
        try:
            return float(cast(float, value)) if number else whole(value)
        except OverflowError:  # a fraction of long integers
            return value
    if expected is bool and value is not None:
        found = switch(value)
        return value if found is None else found
    return str(value) if expected is str and isinstance(value, str) else value


def _text(value: object) -> str | None:
    """A text or a path."""
    return fspath(cast("PathLike[str]", value)) if isinstance(value, PathLike) else _str(value)


def _str(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _torchs(value: object) -> str | None:
    """A name, or torch's object of that name."""
    return str(value) if type(value).__name__ in ("device", "dtype") else _str(value)


def _texts(value: object) -> Sequence[str] | None:
    """One text or path, or several."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        one = _text(value)
        return None if one is None else (one,)
    several = [_text(each) for each in cast("Sequence[object]", value)]
    return None if None in several else tuple(cast("list[str]", several))


def _count(value: object) -> int | None:
    number = 0 if value is None else whole(value)
    return number if isinstance(number, int) and not isinstance(number, bool) else None


_READERS: Mapping[str, Callable[[object], Any]] = {
    "device": _torchs, "dtype": _torchs, "revision": _str, "offline": switch, "lora": _texts, "vae": _text,
    "embedding": _texts, "clip_skip": _count, "memory": _texts,
}  # fmt: skip
_MEANT = {
    "device": "a name", "dtype": "a name", "revision": "a name", "offline": "True or False", "vae": "a file",
    "lora": "a list of files", "embedding": "a list of files", "clip_skip": "a whole number",
    "memory": "a list of names",
}  # fmt: skip
