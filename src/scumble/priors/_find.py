"""From a model's name to its checkpoint: a built-in folder, a folder or file on this disk, or a model of the hub."""

import re
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from scumble.core.errors import InputError
from scumble.core.places import exists, home
from scumble.priors._folder import Folder
from scumble.priors._hub import fetch, fetch_file
from scumble.priors._single_file import SingleFile

BUILTIN = ("scenes",)


def find(model: str, *, revision: str | None = None, offline: bool = False) -> Folder:
    """The checkpoint called `model`, fetched from the hub if that is what the name means.

    A built-in name first, then what starts like a path or exists, then owner/name on the hub. Raises
    InputError or MachineError.
    """
    if revision is not None and not (is_id(model) or is_file_of_hub(model)):
        raise InputError(f"revision: only a model of the hub has revisions, and '{model}' is none")
    if model in BUILTIN:
        if not builtin(model).is_dir():
            remedy = f"make them with `scumble train prior {model}`"
            raise InputError(f"model '{model}': its weights are not in this installation; {remedy}.")
        return Folder(builtin(model), model, model)
    if _is_path(model):
        if home(model).is_file():
            return SingleFile.read(model)
        return Folder.open(model)
    if is_file_of_hub(model):
        return SingleFile.read(fetch_file(model, revision=revision, offline=offline), model)
    if is_id(model):
        return fetch(model, revision=revision, offline=offline)
    near = get_close_matches(model, BUILTIN, n=1)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"known: {', '.join(BUILTIN)}, a folder, or a hub id (owner/name)."
    )
    raise InputError(f"model '{model}': there is no such built-in model, folder or hub id; {hint}")


def _is_path(model: str) -> bool:
    return model.startswith(("/", ".", "~")) or bool(model and exists(model))


def is_id(model: str) -> bool:
    """Whether a model's name is an id of the hub, "owner/name"."""
    return not _is_path(model) and bool(re.fullmatch(r"[\w.-]+/[\w.-]+", model))


def is_file_of_hub(model: str) -> bool:
    """Whether a model's name is that of a single file on the hub, "owner/name:file.safetensors" or .gguf."""
    return not _is_path(model) and bool(re.fullmatch(r"[\w.-]+/[\w.-]+:[^:]+\.(safetensors|gguf)", model))


def builtin(name: str) -> Path:
    """The folder of a built-in model in the package."""
    return Path(str(resources.files("scumble.priors"))) / "builtin" / name
