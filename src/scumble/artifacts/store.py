"""Artifacts as files: safetensors, with a description in JSON in the header.

The file holds numbers only; loading one runs no code. The name in
the header says which class reads it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import import_module
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.atomic import atomic
from scumble.core.errors import InputError, article
from scumble.core.outputs import Inputs, check_input, check_place
from scumble.core.places import exists

if TYPE_CHECKING:
    from scumble.core.request import Artifact

VERSION = 1
SUFFIX = (
    ".safetensors"  # of a trained direction's file: by it a command line tells it from a bank of sentences
)
ARTIFACTS: dict[str, str] = {
    "bank": "scumble.artifacts.bank:SourceBank",
    "direction": "scumble.artifacts.direction:Direction",
    "inversion": "scumble.artifacts.inversion:Inversion",
    "tuned": "scumble.artifacts.tuned:TunedWeights",
}
"""The artifacts that an edit can be given: name in `EditRequest.given` -> "module:Class"."""

KINDS: dict[str, str] = {**ARTIFACTS, "h_space": "scumble.artifacts.h_space:HSpaceDirection"}
"""What a file can hold: the kind in its header -> "module:Class". Two kinds can be given by one name."""


def check_output(path: Path, inputs: Iterable[str | Path | None] = (), *, overwrite: bool = True) -> None:
    """Check, before any work is done, that `save` can write there.

    inputs: files that are read, and folders of which all files are. Raises InputError for one of them, (unless
    `overwrite`) for any existing file, and for what cannot be written.
    """
    read = Inputs(inputs, folders=True)
    check_input(path, read)
    if not overwrite and exists(path) and not path.is_dir():
        raise InputError(f"{path}: exists already; --overwrite replaces it")
    check_place(path, read)


def save(artifact: Artifact, path: Path, *, replace: bool = True) -> None:
    """Writes the file whole or not at all.

    Raises InputError as `check_output` does, MachineError where there is no room, FileExistsError where there is such a
    file by now and `replace` is False.
    """
    from safetensors.torch import save as serialised

    check_output(path)
    about = {"scumble": VERSION, "name": _kind(artifact), "about": artifact.about()}
    tensors = {name: x.detach().cpu().contiguous() for name, x in artifact.tensors().items()}
    with atomic(path, replace=replace) as temporary:
        temporary.write_bytes(serialised(tensors, {"scumble": json.dumps(about, allow_nan=False)}))


def load(path: Path) -> Artifact:
    """Reads a file that `save` wrote. Raises InputError for any other file, and for an incomplete or damaged one."""
    from safetensors import SafetensorError, safe_open

    if not (exists(path) and path.is_file()):
        raise InputError(f"{path}: no such file")
    try:
        opened: Any = safe_open(path, "pt")  # its stubs say nothing
        with opened as file:
            metadata: dict[str, str] = file.metadata() or {}
            header = json.loads(metadata["scumble"])
            tensors = {str(name): file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        name, about = header["name"], dict(header["about"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a file that scumble saved ({error})") from None
    if header.get("scumble") != VERSION or name not in KINDS:
        raise InputError(f"{path}: saved by another version of scumble; make it again")
    try:
        return _class(name).restore(tensors, about)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def given(name: str, text: str) -> Artifact:
    """The value of `--given name=text`: a file that `save` wrote or, for "direction", two banks of sentences
    or trained directions (see `_direction`).

    Raises InputError, naming what is wrong.
    """
    if name not in ARTIFACTS:
        raise InputError(f"--given {name}={text}: write it as inversion=FILE, bank=FILE or direction=A,B")
    if name == "direction":
        return _direction(text)
    artifact = load(Path(text))
    if artifact.name != name:
        raise InputError(
            f"--given {name}={text}: the file holds {article(artifact.name)}, not {article(name)}"
        )
    return artifact


def _direction(text: str) -> Artifact:
    """ "A,B" are banks: each a text file of one sentence per line, a folder of such files, or a word.
    "FILE.safetensors[:WEIGHT],..." are directions that `scumble train direction` made.
    """
    from scumble.artifacts.direction import Direction

    parts = [part.strip() for part in text.split(",")]
    files = [part.rpartition(SUFFIX) for part in parts]
    if all(name and (not rest or rest.startswith(":")) for name, _, rest in files):
        return _trained([(Path(name + SUFFIX), rest[1:]) for name, _, rest in files])
    if len(parts) != 2 or not all(parts):
        raise InputError(
            f"--given direction={text}: write it as A,B, such as cat,dog or cats.txt,dogs.txt, or as the file of a "
            f"trained direction, NAME{SUFFIX}"
        )
    source, target = (_bank(part) for part in parts)
    return Direction(source=source, target=target)


def _trained(files: Sequence[tuple[Path, str]]) -> Artifact:
    """Trained directions at once, each with its weight in words, if any."""
    from scumble.artifacts.h_space import HSpaceDirection

    loaded = [load(path) for path, _ in files]
    for (path, _), artifact in zip(files, loaded, strict=True):
        if artifact.name != "direction":
            raise InputError(
                f"--given direction={path}: the file holds {article(artifact.name)}, not a direction"
            )
    if len(loaded) == 1 and not isinstance(loaded[0], HSpaceDirection):
        return loaded[0]
    directions = [one for one in loaded if isinstance(one, HSpaceDirection)]
    if len(directions) < len(loaded):
        raise InputError(
            "direction: only trained ones can be joined; name one pair of banks, or trained ones"
        )
    return HSpaceDirection.joined(directions, [_weight(path, words) for path, words in files])


def _weight(path: Path, words: str) -> float | None:
    if not words:
        return None
    try:
        return float(words) if isfinite(float(words)) else float("x")
    except ValueError:
        raise InputError(f"{path}:{words}: the weight is not a number; write it as {path.name}:0.5") from None


def _bank(text: str) -> tuple[str, ...]:
    """The sentences of a file, of all .txt files of a folder, or a few plain ones around a word."""
    from scumble.artifacts.direction import TEMPLATES

    path = Path(text)
    if not path.exists():
        if path.suffix or len(path.parts) > 1:
            raise InputError(f"{path}: no such file")
        return tuple(template.format(text) for template in TEMPLATES)
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    try:
        lines = [line.strip() for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    if not any(lines):
        raise InputError(
            f"{path}: contains no sentences; write one per line" + " of .txt files" * path.is_dir()
        )
    return tuple(line for line in lines if line)


def digest(artifact: object) -> str | None:
    """A digest of an artifact: sha256 over all of it, shortened; a network's own hash; None for other objects."""
    from scumble.core.judges import Judge
    from scumble.core.request import Artifact

    if isinstance(artifact, Judge):
        return artifact.hash
    if not isinstance(artifact, Artifact):
        return None
    total = hashlib.sha256(json.dumps(artifact.about(), sort_keys=True).encode())
    for name, x in sorted(artifact.tensors().items()):
        total.update(name.encode() + x.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def _kind(artifact: Artifact) -> str:
    """What the header of its file says."""
    place = f"{type(artifact).__module__}:{type(artifact).__qualname__}"
    return next((kind for kind, known in KINDS.items() if known == place), artifact.name)


def _class(kind: str) -> Any:
    module, _, attribute = KINDS[kind].partition(":")
    return getattr(import_module(module), attribute)
