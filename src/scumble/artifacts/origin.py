"""Checks of artifacts: what they were made from, and whether they are complete."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.prior import Card
from scumble.core.types import Image


@runtime_checkable
class PictureArtifact(Protocol):
    """An artifact that was made from pictures with a prior, and records both."""

    name: ClassVar[str]

    @property
    def prior(self) -> str: ...
    @property
    def prior_hash(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    @property
    def pictures(self) -> tuple[str, ...]: ...
    @property
    def prompts(self) -> tuple[str, ...]: ...


def check_origin(made: PictureArtifact, card: Card, image: Image, prompts: Sequence[str], again: str) -> None:
    """Raises InputError unless the artifact was made with this prior, at this size, from these pictures and source
    prompts.

    `again`: the remedy in the message.
    """
    if (made.prior, made.prior_hash) != (card.id, card.hash):
        raise InputError(
            f"{made.name}: made with model '{made.prior}' (hash {made.prior_hash[:8]}), but this edit uses "
            f"'{card.id}' ({card.hash[:8]}); {again} with it"
        )
    if made.size != tuple(image.shape[-2:]):
        ours, theirs = (f"{width} x {height}" for height, width in (made.size, image.shape[-2:]))
        raise InputError(f"{made.name}: made at {ours} pixels, but this edit has {theirs}; {again}")
    if made.pictures != digests(image):
        raise InputError(f"{made.name}: made of another picture; {again}")
    if made.prompts != tuple(prompts) * (len(made.prompts) // len(prompts)):
        raise InputError(
            f"{made.name}: made with the source prompt {made.prompts[0]!r}, but this edit's is "
            f"{prompts[0]!r}; give the same one, or {again}"
        )


def digests(image: Image) -> tuple[str, ...]:
    """Digests of pictures: sha256 over the 8-bit values of each, shortened."""
    pixels = ((image.clamp(-1, 1) + 1) * 127.5).round().to("cpu", torch.uint8)
    return tuple(hashlib.sha256(p.contiguous().numpy().tobytes()).hexdigest()[:16] for p in pixels)


@runtime_checkable
class Checked(Protocol):
    """An artifact that knows whether its parts fit together."""

    @property
    def whole(self) -> bool: ...


M = TypeVar("M", bound=Checked)


def restored(
    name: str,
    kind: Callable[..., M],
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    parts: Sequence[str],
) -> M:
    """The value whose parts a file holds: `tensors`, and `about`, of which `parts` must be there.

    Raises InputError where parts are missing, of another type, no numbers, or do not fit together.
    """
    if not all(bool(x.isfinite().all()) for x in tensors.values()):
        raise InputError(f"{name}: it holds values that are not numbers; make it again")
    try:
        made = kind(**{part: _tuples(about[part]) for part in parts}, **tensors)
        if not made.whole:
            raise ValueError("their sizes differ")
        return made
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{name}: its parts do not fit together ({error}); make it again") from None


def _tuples(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(_tuples(each) for each in cast("list[Any]", value)) if isinstance(value, list) else value
