"""One edit from a picture and words: prior + canvas + method, below every surface."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scumble.checks import (
    check_codec,
    check_model,
    check_prompts,
    check_settings,
    check_words,
    method_class,
)
from scumble.core.errors import InputError

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scumble.canvas import Fit
    from scumble.core.prior import Card, Prior
    from scumble.core.request import Edit, EditRequest, Method, OnStep
    from scumble.files import Mask, Picture, PictureLike

Origin = str  # "user", "card" or "method"


def load(
    model: str | Path = "scenes",
    *,
    device: str = "auto",
    dtype: str = "auto",
    revision: str | None = None,
    offline: bool = False,
) -> Prior:
    """A prior by name: "scenes" (built in), a checkpoint folder, or the id of one on the model hub.

    Raises:
        InputError: no such model, a checkpoint that we cannot drive, with a missing part or pickled weights.
    """
    from scumble.priors.load import load_prior

    return load_prior(str(model), device=device, dtype=dtype, revision=revision, offline=offline)


def edit(
    image: PictureLike,
    *,
    source: str | None = None,
    target: str | None = None,
    method: str | Method = "dds",
    model: str | Path | Prior = "scenes",
    mask: PictureLike | None = None,
    negative: str = "",
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    keep: str = "none",
    force: bool = False,
    on_step: OnStep | None = None,
) -> Edit:
    """Edit a picture: it shows `source`, it shall show `target`.

    Args:
        image: a path, a PIL image or a uint8 array, of any size; see `scumble.files`.
        method: a name ("dds"), which takes the values that the model's card recommends; an instance
            (`scumble.DDS(steps=100)`), which is taken literally; or "./file.py:Class", which runs that file.
        model: what `load` takes, or a prior.
        mask: white may change, black stays exactly as it is; of the picture's size.
        settings: values for a method given by name, above the card's and the method's own.
        keep: "none": the method's own picture everywhere (inside the mask).
        force: try words that the model does not know.
        on_step: called after every step; raise `scumble.Cancelled` from it to stop.

    Returns:
        Edit: `picture` has the input's size; `provenance` says how it was made, value by value.

    Raises:
        InputError: anything about the input that cannot be used, in one sentence.
    """
    return plan(
        image, source=source, target=target, method=method, model=model, mask=mask,
        negative=negative, seed=seed, settings=settings, keep=keep, force=force,
    )(on_step)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """An edit whose inputs are checked and whose model is loaded; calling it makes the edit."""

    prior: Prior
    name: str
    method: Method
    origins: Mapping[str, Origin]
    picture: Picture
    mask: Mask | None
    fit: Fit
    request: EditRequest

    def __call__(self, on_step: OnStep | None = None) -> Edit:
        result = self.method(self.prior, self.request, on_step)
        if not result.raw.isfinite().all():
            raise InputError(
                f"{self.name}: the values ran away to infinity; try smaller steps or less guidance"
            )
        # raw, not image: a soft mask must weigh once, and at the picture's own resolution.
        return replace(result, picture=self.show(result.raw), provenance=self._passport(result))

    def show(self, image: Tensor) -> Image.Image:
        """A canvas image (1, 3, H, W), such as a step's preview, at the input's size and inside the mask."""
        from scumble.canvas import from_canvas

        return from_canvas(image, self.picture, self.fit, self.mask and self.mask.values)

    def _passport(self, result: Edit) -> dict[str, Any]:
        import scumble

        card, request = self.prior.card, self.request
        return {
            "scumble": scumble.__version__,
            "method": self.name,
            "settings": {
                k: {"value": plain(getattr(self.method, k)), "from": o} for k, o in self.origins.items()
            },
            "source": request.source,
            "target": request.target,
            "negative": request.negative,
            "seed": request.seed,
            "keep": "none",
            "model": {"id": card.id, "hash": card.hash, "licence": card.licence},
            "input": {"sha256": self.picture.sha256, "size": list(self.picture.size)},
            "mask": {"sha256": self.mask.sha256} if self.mask else None,
            "evaluations": result.evaluations,
            "versions": versions(),
        }


def plan(
    image: PictureLike,
    *,
    source: str | None = None,
    target: str | None = None,
    method: str | Method = "dds",
    model: str | Path | Prior = "scenes",
    mask: PictureLike | None = None,
    negative: str = "",
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    keep: str = "none",
    force: bool = False,
    device: str = "auto",
) -> Plan:
    """What `edit` does before the first step: check what is cheap, load the model, check the rest.

    Arguments and errors are those of `edit`.
    """
    from scumble import files
    from scumble.canvas import Fit, mask_to_canvas, to_canvas

    if keep != "none":
        raise InputError(f"keep: {keep!r} is not available; the only value is 'none'")
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise InputError(f"seed: {seed!r} is not a whole number from 0 to 2**63 - 1")
    picture = files.read(image)
    drawn = None if mask is None else files.read_mask(mask, picture.size)
    kind = method_class(method) if isinstance(method, str) else type(method)
    check_settings(method, kind, settings or {})
    name = method if isinstance(method, str) else kind.__name__
    check_prompts(name, kind.needs, source, target, mask)

    from scumble.core.request import EditRequest  # imports torch, so only now

    prior = load(model, device=device) if isinstance(model, str | Path) else model
    check_model(prior.card, name, kind.needs, target)
    check_words(prior.card, [source or "", target or "", negative], force)
    chosen, origins = choose(method, kind, prior.card, settings or {})
    fit = Fit.of(picture.size, prior.card.size, prior.card.multiple)
    on_canvas = to_canvas(picture, fit)
    check_codec(prior, on_canvas, picture.name)
    request = EditRequest(
        image=on_canvas,
        source=source or None,
        target=target or None,
        negative=negative,
        mask=None if drawn is None else mask_to_canvas(drawn.values, fit),
        seed=seed,
    )
    return Plan(prior, name, chosen, origins, picture, drawn, fit, request)


def choose(
    method: str | Method, kind: type[Any], card: Card, settings: Mapping[str, object]
) -> tuple[Method, dict[str, Origin]]:
    """The method with its values, user over card over method, and where each came from."""
    if not isinstance(method, str):
        return method, {f.name: "user" for f in fields(kind)}
    recommended = {
        k: tuple(v) if isinstance(v, list) else v for k, v in card.recommended.get(method, {}).items()
    }
    origins = {
        f.name: "user" if f.name in settings else "card" if f.name in recommended else "method"
        for f in fields(kind)
    }
    return kind(**{**recommended, **settings}), origins


def plain(value: object) -> object:
    """A parameter's value as JSON can hold it."""
    if isinstance(value, tuple | list):
        return [plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | None) else repr(value)


def versions() -> dict[str, str]:
    """Python's, scumble's and its dependencies' versions."""
    from importlib import metadata

    found = {"python": platform.python_version()}
    try:
        required = metadata.requires("scumble") or []
    except metadata.PackageNotFoundError:  # run from a source tree
        return found
    names = sorted(re.split(r"[^\w.-]", line)[0] for line in required if "extra ==" not in line)
    return found | {name: metadata.version(name) for name in names}
