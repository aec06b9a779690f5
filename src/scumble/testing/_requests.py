"""What the conformance kit edits: pictures, masks, references, and what else a method needs."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from scumble.core.noise import Noise
from scumble.core.prior import Prior
from scumble.core.request import EditRequest

Given = Callable[[EditRequest], Mapping[str, object]]
"""A request -> what `EditRequest.given` is to hold for it."""


def picture(prior: Prior, b: int = 1, *, wide: bool = True, dtype: torch.dtype = torch.float64) -> Tensor:
    """b pictures in [-1, 1] on the prior's canvas, half as high as wide where it allows that."""
    side, multiple = prior.card.size, prior.card.multiple
    height = max(side // 2 // multiple, 1) * multiple if wide else side
    return Noise(11, b).like(torch.empty(b, 3, height, side, dtype=dtype)).clamp(-2, 2) / 2


def requests(
    method: Any,
    prior: Prior,
    source: str,
    target: str,
    wide: bool,
    dtype: torch.dtype,
    given: Given | None,
) -> Callable[..., EditRequest]:
    """request(b, **changes): b pictures to edit from source to target, or without prompts where none are read,
    with all that the method needs.
    """
    if "text" not in prior.card.capabilities:
        source = target = ""

    def request(b: int = 1, **changes: object) -> EditRequest:
        data: dict[str, Any] = {"image": picture(prior, b, wide=wide, dtype=dtype)}
        data |= {"source": source, "target": target, "seed": 5}
        if method.needs.mask:
            data["mask"] = left_half(data["image"])
        if method.needs.reference or "reference" in method.needs.takes:
            data["reference"] = -data["image"]
        return _equipped(method, prior, EditRequest(**{**data, **changes}), given)

    return request


def left_half(image: Tensor) -> Tensor:
    """A mask (1, 1, H, W) of what may change: the left half."""
    mask = torch.zeros_like(image[:1, :1])
    mask[..., : mask.shape[-1] // 2] = 1
    return mask


def _equipped(method: Any, prior: Prior, request: EditRequest, given: Given | None) -> EditRequest:
    """The request with what `needs.given` names. Raises AssertionError where nobody makes it."""
    made = {} if given is None else dict(given(request))
    own = method.prepares
    if own is not None and own.name in method.needs.given and own.name not in made:
        made[own.name] = method.prepare(prior, request)
    missing = [name for name in method.needs.given if name not in made]
    assert not missing, f"the method needs {', '.join(missing)}: make it in check_method(given=...)"
    return replace(request, given=made) if made else request


def picture_alone(method: Any, prior: Prior, batch: EditRequest, i: int, given: Given | None) -> EditRequest:
    """Picture i of a batch by itself, with the seed that it has there."""
    parts: dict[str, Any] = {"image": batch.image, "reference": batch.reference}
    parts = {name: x if x is None else x[i : i + 1] for name, x in parts.items()}
    return _equipped(method, prior, replace(batch, **parts, seed=batch.seed + i, given={}), given)
