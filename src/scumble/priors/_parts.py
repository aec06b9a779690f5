"""Reading a latent checkpoint's components off the disk, and choosing where and how precisely they run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from scumble.core.errors import InputError
from scumble.priors._folder import Folder
from scumble.priors._single_file import SingleFile, load_modules
from scumble.priors._vocabulary import read_tokenizer

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_parts(
    folder: Folder, device: torch.device, dtype: torch.dtype, home: torch.device | None = None
) -> tuple[dict[str, Any], Folder]:
    """unet, vae, text_encoder (frozen, in eval mode, at `home`, by default the device) and tokenizer of a checked
    folder or file; and the folder again, which may know more by now.

    Raises InputError for files that cannot be read or do not fill their component.
    """
    # The precise modules: importing diffusers' pipelines would double the time to start.
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    home = home or device
    with quiet():
        try:  # before gigabytes are read
            if isinstance(folder, SingleFile):
                tokenizer = read_tokenizer(folder)
            else:
                tokenizer = CLIPTokenizer.from_pretrained(folder.path / "tokenizer", local_files_only=True)
        except InputError:
            raise
        except Exception as error:
            raise _unreadable(folder, "tokenizer", error) from error
        if isinstance(folder, SingleFile):
            modules, folder = load_modules(folder, device, dtype)
        else:
            classes = {"unet": UNet2DConditionModel, "vae": AutoencoderKL, "text_encoder": CLIPTextModel}
            modules = {part: load_part(folder, part, cls, dtype) for part, cls in classes.items()}
        parts = {part: module.to(home).eval().requires_grad_(False) for part, module in modules.items()}
    return {**parts, "tokenizer": tokenizer}, folder


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


def resolve_dtype(dtype: str | torch.dtype, device: torch.device) -> torch.dtype:
    """float16 on cuda and float32 elsewhere for "auto". Raises InputError for a name not in DTYPES.

    float16 and not bfloat16: DDS subtracts nearly equal predictions, and its gradient was 8 times less wrong
    (bench/studies/dtypes.py).
    """
    name = str(dtype).removeprefix("torch.")
    if name == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
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


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no reports on unused weights while components load; settings come back."""
    from diffusers.utils import logging as of_diffusers
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from transformers.utils import logging as of_transformers

    logs = (of_diffusers, of_transformers)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    hub_bars = not are_progress_bars_disabled()
    for log in logs:
        log.set_verbosity_error()
        log.disable_progress_bar()
    try:
        yield
    finally:
        for log, (verbosity, bars) in zip(logs, before, strict=True):
            log.set_verbosity(verbosity)
            if bars and hub_bars:
                log.enable_progress_bar()
        if hub_bars:
            enable_progress_bars()
