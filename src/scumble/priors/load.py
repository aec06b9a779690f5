"""A model's name -> a Prior: built-in models, checkpoint folders and files, model hub ids."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.core.errors import InputError, MachineError
from scumble.core.loading import Loading
from scumble.core.places import home
from scumble.core.prior import Card, Prior
from scumble.priors._families import CASCADE, RELATIVES, load_class
from scumble.priors._find import BUILTIN, builtin, find, is_file_of_hub, is_id
from scumble.priors._folder import Folder
from scumble.priors._hub import Download, fetch, file_of, survey
from scumble.priors._single_file import SingleFile

if TYPE_CHECKING:
    from scumble.priors._estimate import Estimate


def load_prior(model: str | Path | Loading, **options: Any) -> Prior:
    """The prior that `model` names, loaded as `Loading` says.

    `load_prior("scenes", dtype="float32")` is short for `load_prior(Loading("scenes", dtype="float32"))`. Its model is
    a name here: "scenes", a diffusers folder, a .safetensors file, or a hub id ("owner/name"). dtype "auto" is the
    family's half precision on cuda (float16; FLUX: bfloat16), else float32. What was chosen stands in the prior's
    `loaded`.

    Raises:
        InputError: in one sentence, anything that cannot be loaded.
        MachineError: memory, disk or network do not suffice.
    """
    from scumble.core.host import isolated
    from scumble.core.precision import warn_if_slow
    from scumble.priors._addons import Addons
    from scumble.priors._card import auto_dtype
    from scumble.priors._memory import check_memory, explained
    from scumble.priors._parts import resolve_device, resolve_dtype

    asked = replace(model, **options) if isinstance(model, Loading) else Loading(model, **options)
    name, memory = str(asked.model), check_memory(asked.memory)
    addons = Addons.parse(asked.lora, asked.vae, asked.embedding, asked.clip_skip)
    where = resolve_device(asked.device)
    wished = resolve_dtype(asked.dtype, where)  # a name that is unknown is said before anything is looked for
    warn_if_slow(wished, where.type)
    folder = find(name, revision=asked.revision, offline=asked.offline)
    with isolated(), readable(folder), explained(where, memory):
        precision = resolve_dtype(asked.dtype, where, auto_dtype(folder))
        if folder.family() == "pixel":
            from scumble.priors.pixel import PixelPrior

            if str(asked.dtype) not in ("auto", "float32"):
                raise folder.error(f"it runs in float32, not in {asked.dtype}", "leave dtype out")
            if addons or memory:
                raise folder.error(
                    "a pixel model takes neither LoRAs nor memory settings",
                    "leave them out",
                )
            precision = resolve_dtype("float32", where)
            prior = PixelPrior.from_folder(folder, device=str(where))
        else:
            driver = load_class(folder.kin.prior)
            prior = driver.from_folder(folder, device=where, dtype=precision, addons=addons, memory=memory)
    prior.loaded = {
        "name": name,
        "dtype": str(precision).removeprefix("torch."),
        "device": where.type,
        "revision": folder.revision,
        **addons.passport,
        "memory": list(memory),
    }
    return prior


def load_painter(asked: Loading) -> Prior:
    """As `load_prior`; the folder may also hold the first stage of a cascade (DeepFloyd IF), which draws from text."""
    place = home(str(asked.model))
    if not (place / "model_index.json").is_file():
        return load_prior(asked)
    folder = Folder.open(str(asked.model))
    if RELATIVES.get(str(folder.index.get("_class_name"))) != CASCADE:
        return load_prior(asked)
    from scumble.core.host import isolated
    from scumble.priors._memory import explained
    from scumble.priors._parts import resolve_device
    from scumble.priors.deepfloyd import IFPrior

    for name, value in asked.options.items():
        plain = value == getattr(Loading, name) or (name == "dtype" and value == "float32")
        if not plain and name not in ("device", "offline"):
            raise folder.error(
                f"{name}: a stage of IF is loaded as its folder has it, in float32", "leave it out"
            )
    where = resolve_device(asked.device)
    with isolated(), readable(folder), explained(where):
        prior = IFPrior.from_pretrained(folder.path, device=where)
    if prior.noising is not None:
        raise folder.error(
            "it is a later stage, which draws a given picture larger",
            "paint with the first stage, then run `scumble upscale --stage FOLDER --prompt TEXT`",
        )
    prior.loaded = {"name": str(asked.model), "dtype": "float32", "device": where.type, "revision": None}
    return prior


@contextmanager
def readable(folder: Folder) -> Generator[None]:
    """Raises InputError for whatever is raised inside because a checkpoint's files are wrong.

    Its configs and weights can contradict each other in any way, and the libraries that read them say so by any
    exception.
    """
    try:
        yield
    except (InputError, MachineError):
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        remedy = "download or save the whole checkpoint again"
        raise folder.error(f"it cannot be loaded ({reason})", remedy) from error


def obtain(model: str, *, revision: str | None = None, to: Path | None = None) -> Path:
    """Where `model` lies, after downloading the missing files: into the hub's cache, or the folder `to`.

    Of a single file that is nothing. Errors are those of `load_prior`.
    """
    if to is not None and not is_id(model):
        raise InputError(f"model '{model}': only a model of the hub is fetched to a folder; leave --to out")
    folder = fetch(model, revision=revision, to=to) if to else find(model, revision=revision)
    folder.check()
    return folder.file if isinstance(folder, SingleFile) else folder.path


def models() -> dict[str, Card]:
    """The built-in models that are installed, by name."""
    from scumble.priors._card import read_card

    folders = {name: builtin(name) for name in BUILTIN}
    return {name: read_card(Folder(path, name, name)) for name, path in folders.items() if path.is_dir()}


def card_of(model: str) -> Card:
    """The card of a model on this machine, as its files say it; no weights are loaded. Errors are those of `find`."""
    from scumble.priors._card import read_card

    folder = find(model, offline=True)
    with readable(folder):
        folder.check()
        return read_card(folder)


def needs(model: str) -> list[tuple[str, str]]:
    """What is to be said of the memory that a model on this disk takes on an accelerator; nothing of pixel models."""
    from scumble.priors._card import auto_dtype
    from scumble.priors._estimate import lines
    from scumble.priors._parts import DTYPES

    folder = find(model, offline=True)
    return [] if folder.family() == "pixel" else list(lines(folder, DTYPES[auto_dtype(folder)]))


def weighed(asked: Loading) -> Estimate | None:
    """What the model will take where it is loaded so; of one that is not downloaded yet, only the configs are fetched.

    None for pixel models, and for single files that are still on the hub. Errors are those of `load_prior`.
    """
    from scumble.priors._card import auto_dtype
    from scumble.priors._estimate import Estimate
    from scumble.priors._memory import check_memory
    from scumble.priors._parts import resolve_device, resolve_dtype

    name, memory, where = str(asked.model), check_memory(asked.memory), resolve_device(asked.device)
    resolve_dtype(asked.dtype, where)
    if name not in BUILTIN and is_id(name):
        folder, _ = survey(name, revision=asked.revision, offline=asked.offline)
    elif is_file_of_hub(name) and outstanding(name, revision=asked.revision, offline=asked.offline):
        return None
    else:
        folder = find(name, revision=asked.revision, offline=asked.offline)
    with readable(folder):
        if folder.family() == "pixel":
            return None
        dtype = resolve_dtype(asked.dtype, where, auto_dtype(folder))
        made = Estimate(folder, dtype, memory, where.type)
        return made if made.weights and made.side else None


def cached() -> list[str]:
    """The ids of checkpoints in the hub's cache, complete or not; nothing is opened."""
    from huggingface_hub import constants

    folders = Path(constants.HF_HUB_CACHE).glob("models--*--*")
    found = [folder for folder in folders if any(folder.glob("snapshots/*/model_index.json"))]
    return sorted(folder.name.removeprefix("models--").replace("--", "/", 1) for folder in found)


def usual_method(model: str) -> str | None:
    """The default method of a model on this disk, from its card or family. Loads nothing."""
    from scumble.priors._card import describe, told

    folder = builtin(model) if model in BUILTIN else home(model)
    try:
        named = json.loads((folder / "card.json").read_text(encoding="utf-8")).get("method")
    except (OSError, ValueError, AttributeError):
        named = None  # what is wrong with it, loading says
    if named is None and (folder.is_dir() or folder.is_file()):
        try:
            read = Folder.open(folder) if folder.is_dir() else SingleFile.read(folder)
            named = describe(read.family(), told(read)).get("method")
        except (InputError, KeyError, TypeError):
            return None
    return named if isinstance(named, str) else None


def outstanding(model: str, *, revision: str | None = None, offline: bool = False) -> Download | None:
    """What would be downloaded before `model` is loaded, None for nothing; only its configs are fetched.

    Errors are those of `find`.
    """
    if model not in BUILTIN and is_file_of_hub(model):
        _, download = file_of(model, revision=revision, offline=offline)
        return download if download.missing else None
    if model in BUILTIN or not is_id(model):
        return None
    _, download = survey(model, revision=revision, offline=offline)
    return download if download and download.missing else None
