"""Warnings about a checkpoint that loads but may be used wrongly, each given once."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from scumble.priors._card import full_size
from scumble.priors._conditions import Config
from scumble.priors._folder import Folder
from scumble.priors._published import distilled


def advise(folder: Folder, loras: Sequence[str] = ()) -> None:
    """Warns of a size that the config understates, and of weights that look distilled. `loras`: names of files."""
    unet = folder.config(folder.kin.network)
    for warning in (_size(folder, unet), _distilled(folder, loras), _absent(folder)):
        if warning:
            warnings.warn(f"model '{folder.name}': {warning}", UserWarning, stacklevel=4)


def _absent(folder: Folder) -> str | None:
    gone = folder.kin.optional & folder.kin.parts.keys() - set(folder.parts)
    if not gone:
        return None
    return f"it has no {min(gone)} (T5): it follows long prompts and lettering less well"


def _size(folder: Folder, unet: Config) -> str | None:
    sample = unet.get("sample_size") or 64
    side = sample if isinstance(sample, int) else max(sample)
    if side >= 64 or not full_size(unet) or (folder.path / "card.json").is_file():
        return None
    return (
        f"its config says {side * 8} px, as old conversions of full-size networks do; it edits at 512 px "
        f"(--size {side * 8} if it was made for that)"
    )


def _distilled(folder: Folder, loras: Sequence[str]) -> str | None:
    sign = distilled(folder, loras)
    return sign and (
        f"it looks distilled for few steps ({sign}): such models want little guidance, --guidance 1 to 2, and edits "
        "by score distillation may be weak"
    )
