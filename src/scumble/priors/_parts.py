"""Reading a latent checkpoint's components off the disk, and choosing where and how precisely they run."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn

from scumble.core.errors import InputError
from scumble.priors._addons import Addons
from scumble.priors._convert import load_module, load_modules
from scumble.priors._estimate import check_room
from scumble.priors._families import CLIP_TOKENIZER, load_class
from scumble.priors._folder import Folder
from scumble.priors._memory import Desk
from scumble.priors._prompts import Vectors
from scumble.priors._quantised import BITS, quantise
from scumble.priors._quiet import quiet
from scumble.priors._single_file import SingleFile
from scumble.priors._vocabulary import read_tokenizer

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def assemble(
    folder: Folder, desk: Desk, dtype: torch.dtype, addons: Addons
) -> tuple[dict[str, Any], Folder, Vectors]:
    """`load_parts` with `addons`, in as many bits as the desk's settings say, where the desk lets them wait; and the
    vectors of embeddings. Raises MachineError for what cannot fit the device.
    """
    check_room(folder, dtype, desk.device, desk.memory)
    bits = next((BITS[name] for name in desk.memory if name in BITS), None)
    parts, known = load_parts(folder, desk.device, dtype, torch.device("cpu") if bits else desk.home)
    vectors = addons.apply(parts, folder)
    for name, part in parts.items() if bits else ():
        if isinstance(part, nn.Module):
            if bits and name != "vae":
                quantise(part, bits, desk.device)
            part.to(desk.home)
    return parts, known, vectors


def load_text(folder: Folder, part: str, desk: Desk, dtype: torch.dtype, addons: Addons) -> nn.Module:
    """One text encoder as `assemble` leaves it. Errors are those of `load_parts`."""
    bits = next((BITS[name] for name in desk.memory if name in BITS), None)
    with quiet():
        if isinstance(folder, SingleFile) and part not in folder.outside():
            module = load_module(folder, part, _precision(folder, part, dtype))
        else:
            root = folder.beside if isinstance(folder, SingleFile) else folder
            place = load_class(folder.kin.parts[part])
            module = load_part(root, part, place, _precision(folder, part, dtype))
    module.to("cpu" if bits else desk.home).eval().requires_grad_(False)
    addons.apply_to_text(part, module, folder)
    if bits:
        quantise(module, bits, desk.device)
    return module.to(desk.home)


def load_parts(
    folder: Folder, device: torch.device, dtype: torch.dtype, home: torch.device | None = None
) -> tuple[dict[str, Any], Folder]:
    """The network, codec and text encoders (frozen, in eval mode, at `home`, by default the device) and tokenizers
    of a checked folder or file, None for optional ones that are absent; and the folder again, which may know more
    by now.

    Raises InputError for files that cannot be read or do not fill their component.
    """
    home = home or device
    family = folder.kin
    with quiet():
        # Before gigabytes are read.
        tokenizers = {
            name: load_tokenizer(folder, name, family.tokenizers[name]) for name in folder.tokenizers
        }
        found, modules, root = folder, dict[str, Any](), folder
        if isinstance(folder, SingleFile):
            modules, found = load_modules(folder, device, lambda part: _precision(folder, part, dtype))
            root = folder.beside
        for part in (part for part in folder.parts if part not in modules):
            cls, precision = load_class(family.parts[part]), _precision(folder, part, dtype)
            modules[part] = load_part(root, part, cls, precision)
        parts = {part: module.to(home).eval().requires_grad_(False) for part, module in modules.items()}
    absent: dict[str, Any] = dict.fromkeys(family.optional)
    return {**absent, **parts, **tokenizers}, found


def _precision(folder: Folder, part: str, dtype: torch.dtype) -> torch.dtype:
    """Of a part: a codec that says it overflows in float16 (`force_upcast` in SDXL's config) runs in float32."""
    said = part == "vae" and dtype == torch.float16 and folder.config("vae").get("force_upcast")
    return torch.float32 if said and folder.family() != "latent" else dtype


def load_tokenizer(folder: Folder, name: str, place: str) -> Any:
    """The tokenizer of a folder. Raises InputError where it cannot be read."""
    try:
        if isinstance(folder, SingleFile) and place == CLIP_TOKENIZER:
            return read_tokenizer(folder, name)
        root = folder.beside if isinstance(folder, SingleFile) else folder
        return load_class(place).from_pretrained(root.path / name, local_files_only=True)
    except InputError:
        raise
    except Exception as error:
        raise _unreadable(folder, name, error) from error


def load_part(folder: Folder, part: str, cls: Any, dtype: torch.dtype) -> Any:
    """One component, complete. Raises InputError where its weights are unreadable or not all there."""
    try:
        module, report = cls.from_pretrained(
            folder.path,
            subfolder=part,
            dtype=dtype,
            use_safetensors=True,
            variant=folder.variant(part),
            local_files_only=True,
            output_loading_info=True,
        )
    except InputError:
        raise
    except (
        Exception
    ) as error:  # the libraries raise anything from KeyError to SafetensorError for a broken file
        raise _unreadable(folder, part, error) from error
    absent = sorted(str(key) for key in report["missing_keys"])  # would be left at random values
    if absent:
        wrong = f"{part}/ lacks {len(absent)} of its weights ({absent[0]}, ...)"
        raise folder.error(wrong, "download or save the whole checkpoint again")
    return module


def _unreadable(folder: Folder, part: str, error: Exception) -> InputError:
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return folder.error(f"{part}/ cannot be read ({reason})", "download or save it again")


def resolve_device(device: str | torch.device) -> torch.device:
    """cuda, else mps, else cpu for "auto". Raises InputError for an unknown or absent device."""
    if str(device) == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = re.split(r"\n|\. ", str(error), maxsplit=1)[0]  # torch adds a page on its backends
        raise InputError(f"device: {str(device)!r} cannot be used here ({reason}); try cpu") from error


def resolve_dtype(dtype: str | torch.dtype, device: torch.device, half: str = "float16") -> torch.dtype:
    """`half` on cuda and float32 elsewhere for "auto". Raises InputError for a name not in DTYPES.

    float16 and not bfloat16 where the family allows it: DDS subtracts nearly equal predictions, and its gradient
    was 8 times less wrong (bench/studies/dtypes.py).
    """
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        return DTYPES[half] if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise InputError(f"dtype: {name!r}; known are auto, {', '.join(DTYPES)}")
    return DTYPES[name]


class Precision:
    """A module's dtype. diffusers walks through all modules for it; this only where the first weight has changed."""

    def __init__(self, module: Any):
        self._module = module
        self._known: tuple[torch.dtype, torch.dtype] | None = None

    def __call__(self) -> torch.dtype:
        first = next(self._module.parameters()).dtype
        if self._known is None or self._known[0] != first:
            self._known = (first, self._module.dtype)
        return self._known[1]
