"""The card of a checkpoint folder: its own card.json where it carries one, else what the configs say."""

from __future__ import annotations

from typing import Any

from scumble.core.errors import InputError
from scumble.core.prior import Card
from scumble.priors._folder import Config, Folder


def read_card(folder: Folder) -> Card:
    """A latent checkpoint's card: card.json's fields over the configs', and the folder's content hash.

    Raises InputError where card.json is not readable or has other fields than a Card.
    """
    file = folder.path / "card.json"
    fields = {"id": folder.id, **latent_card(folder.config("unet"), folder.config("vae"))}
    if file.is_file():
        fields |= folder.json(file)
    for name in ("words", "capabilities"):
        if fields.get(name) is not None:
            fields[name] = frozenset(fields[name])
    try:
        return Card(**{**fields, "hash": folder.digest()})
    except TypeError as error:
        raise InputError(f"model '{folder.name}': card.json does not describe a model ({error}).") from error


def latent_card(unet: Config, vae: Config) -> dict[str, Any]:
    """What the configs of a text-conditional latent model say."""
    stride = 2 ** (len(vae["block_out_channels"]) - 1)
    sample = unet.get("sample_size") or 64
    side = sample if isinstance(sample, int) else max(sample)
    return {
        "domain": "Photographs and pictures at large.",
        "size": side * stride,
        "multiple": stride * 2 ** (len(unet["down_block_types"]) - 1),
        "licence": "see the checkpoint",
        "capabilities": frozenset({"text", "gradient", "control"}),
    }
