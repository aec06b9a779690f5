"""A model's name -> a Prior: built-in models, checkpoint folders, model hub ids."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

from scumble.core.errors import InputError
from scumble.core.prior import Card, Prior
from scumble.priors._folder import Folder
from scumble.priors._hub import fetch

BUILTIN = ("scenes",)


def load_prior(
    model: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    offline: bool = False,
) -> Prior:
    """The prior called `model`: "scenes", a diffusers folder, or a hub id such as "owner/name".

    `device` auto: cuda, else mps, else cpu. `dtype` auto: float16 on cuda, else float32. `revision` and
    `offline` concern the hub. Raises InputError in one sentence for anything that cannot be loaded.
    """
    folder = find(model, revision=revision, offline=offline)
    if folder.family() == "pixel":
        from scumble.priors._parts import resolve_device
        from scumble.priors.pixel import PixelPrior

        folder.check()
        if str(dtype) not in ("auto", "float32"):
            raise folder.error(f"it runs in float32, not in {dtype}", "leave dtype out")
        return PixelPrior.from_pretrained(folder.path, device=str(resolve_device(device)))
    from scumble.priors.stable_diffusion import StableDiffusionPrior

    return StableDiffusionPrior.from_folder(folder, device=device, dtype=dtype)


def models() -> dict[str, Card]:
    """The built-in models that are installed, by name."""
    from scumble.priors._card import read_card

    folders = {name: builtin(name) for name in BUILTIN}
    return {name: read_card(Folder(path, name, name)) for name, path in folders.items() if path.is_dir()}


def find(model: str, *, revision: str | None = None, offline: bool = False) -> Folder:
    """The checkpoint folder called `model`, fetched from the hub if that is what the name means.

    A built-in name first, then what starts like a path or exists, then owner/name on the hub. Raises
    InputError.
    """
    if model in BUILTIN:
        if not builtin(model).is_dir():
            remedy = f"make them with `scumble train prior {model}`"
            raise InputError(f"model '{model}': its weights are not in this installation; {remedy}.")
        return Folder(builtin(model), model, model)
    if model.startswith(("/", ".", "~")) or (model and Path(model).exists()):
        return Folder.open(model)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        return fetch(model, revision=revision, offline=offline)
    near = get_close_matches(model, BUILTIN, n=1)
    hint = (
        f"did you mean '{near[0]}'?"
        if near
        else f"known: {', '.join(BUILTIN)}, a folder, or a hub id (owner/name)."
    )
    raise InputError(f"model '{model}': there is no such built-in model, folder or hub id; {hint}")


def builtin(name: str) -> Path:
    """Where the package keeps a built-in model."""
    return Path(str(resources.files("scumble.priors"))) / "builtin" / name
