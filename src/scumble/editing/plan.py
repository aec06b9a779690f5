"""An edit whose inputs are checked and whose model is loaded; calling it makes the edit."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from scumble.artifacts import digest
from scumble.core.errors import InputError
from scumble.editing.checks import check_prompts, check_seed, check_words
from scumble.editing.passport import placeless, plain, versions

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scumble.core.prior import Prior
    from scumble.core.request import Edit, EditRequest, Method, OnStep
    from scumble.forms.lut import LUT
    from scumble.pictures.canvas import Box, Fit
    from scumble.pictures.layer import Keep, Layer
    from scumble.pictures.reading import Mask, Picture

Origin = str  # "user", "card" or "method"

Shared = dict[Hashable, object]
"""What edits of one picture on one model ask alike: `Plan.__call__` fills it."""

FORMS = ("latent", "lut")
SIZES = 16, 8192  # pixels of a canvas's long side


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How an edit is put on the canvas and back over the picture; the arguments of `scumble.edit`.

    Raises InputError for a value that cannot be.
    """

    keep: str | float = "auto"
    crop: str = "auto"
    form: str = "latent"
    size: int | None = None
    paper: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        keep, size = self.keep, self.size
        number = isinstance(keep, int | float) and not isinstance(keep, bool)
        if not (0 <= keep <= 2 if number else keep in ("auto", "none")):  # pyright: ignore[reportOperatorIssue]
            raise InputError(f"keep: {keep!r} must be 'auto', 'none' or a threshold between 0 and 2")
        if self.form == "lut" and number:
            raise InputError(
                "keep: through a table of colours all pixels of a colour change alike; leave it out"
            )
        if self.crop not in ("auto", "none"):
            raise InputError(f"crop: {self.crop!r} must be 'auto' or 'none'")
        if self.form not in FORMS:
            raise InputError(f"form: {self.form!r} must be one of {', '.join(map(repr, FORMS))}")
        if size is not None and (type(size) is not int or not SIZES[0] <= size <= SIZES[1]):
            raise InputError(f"size: {size!r} is not a whole number of pixels from {SIZES[0]} to {SIZES[1]}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """What an edit needs. `part` and `part_mask` are what of the picture and its mask is on the canvas:
    the whole, or what lies in `box`. `before` is the model's own copy of the part, (1, 3, H, W).
    """

    prior: Prior
    name: str
    method: Method
    origins: Mapping[str, Origin]
    manner: Manner
    picture: Picture
    mask: Mask | None
    box: Box | None
    part: Picture
    part_mask: Mask | None
    fit: Fit
    before: Tensor
    request: EditRequest

    def __call__(self, on_step: OnStep | None = None, shared: Shared | None = None) -> Edit:
        """Makes the edit; it takes from `shared`, and leaves there, what edits of one picture ask alike."""
        from scumble.core.machine import limits
        from scumble.pictures.canvas import finish

        started, lut = time.perf_counter(), self._lut()
        keys = {} if shared is None else self._shares()
        lent = {name: shared[key] for name, key in keys.items() if key in shared} if shared else {}
        given, keep = {**lent, **self.request.given}, (*self.request.keep, *keys)
        request = replace(self.request, given=given, keep=keep)
        if lut:
            request = replace(request, given={**given, "parametrization": lut}, keep=(*keep, "theta"))
        with limits(self.loaded.get("device", "cpu")):
            result = self.method(self.prior, request, on_step)
            if not result.raw.isfinite().all():
                raise InputError(
                    f"{self.name}: the values ran away to infinity; try smaller steps or less guidance"
                )
            # raw, not image: a soft mask must weigh once, and at the picture's own resolution.
            layer = (
                self._recoloured(lut, cast("Tensor", result.kept["theta"])) if lut else self.layer(result.raw)
            )
            picture = finish(layer.over(self.picture.rgb), self.picture)
        if shared is not None:
            shared |= {key: result.kept[name] for name, key in keys.items()}
        passport = {
            **self.promise(),
            "layer": {"threshold": layer.threshold, "changed": layer.changed},
            "evaluations": result.evaluations,
            "seconds": round(time.perf_counter() - started, 3),
        }
        return replace(result, picture=picture, layer=layer.rgba(), provenance=passport)

    @property
    def loaded(self) -> Mapping[str, Any]:
        """What is known of how the model was loaded: name, dtype, device, revision, lora, memory."""
        return getattr(self.prior, "loaded", {})

    def _shares(self) -> dict[str, Hashable]:
        """What the method would share with other edits of this picture: its name -> all that decides it."""
        told: Mapping[str, Sequence[str]] = getattr(self.method, "shares", {})
        return {
            name: (name, type(self.method), *(getattr(self.method, field) for field in fields),
                   self.request.source, self.request.seed)
            for name, fields in told.items()
        }  # fmt: skip

    def vary(self, *, target: str | None = None, seed: int | None = None) -> Plan:
        """The same edit with another target or seed, on the same model and canvas. Raises InputError."""
        request = self.request
        if target is not None:
            check_prompts(self.name, self.method.needs, str(request.source or ""), target, self.mask)
            check_words(self.prior.card, [target], self.manner.force)
            request = replace(request, target=target)
        if seed is not None:
            check_seed(seed)
            request = replace(request, seed=seed)
        return replace(self, request=request)

    def layer(self, raw: Tensor) -> Layer:
        """What a canvas image (1, 3, H, W) lays over the picture, at the picture's size, inside the mask."""
        from scumble.pictures.layer import lift, opaque

        keep = self.manner.keep
        if keep == "none":
            layer = opaque(raw, self.fit)
        else:
            layer = lift(self.before, raw, self.part, self.fit, cast("Keep", keep))
        return self._placed(layer)

    def _lut(self) -> LUT | None:
        if self.manner.form != "lut":
            return None
        from scumble.forms.lut import LUT

        assert self.request.image is not None
        return LUT(self.prior, self.request.image)

    def _recoloured(self, lut: LUT, theta: Tensor) -> Layer:
        """The picture through a table of colours at its own size: a layer where any colour differs."""
        import numpy as np
        from PIL import Image

        from scumble.pictures.layer import Layer

        after = lut.recolour(theta, self.part.rgb)
        opacity = (np.asarray(after) != np.asarray(self.part.rgb)).any(axis=2).astype(np.uint8) * 255
        return self._placed(Layer(after, Image.fromarray(opacity)))

    def _placed(self, layer: Layer) -> Layer:
        """The layer of the part inside the mask, as a layer of the whole picture."""
        if self.part_mask is not None:
            layer = layer.within(self.part_mask.values)
        return layer if self.box is None else layer.placed(self.box, self.picture.size)

    def show(self, image: Tensor) -> Image.Image:
        """A canvas image (1, 3, H, W), such as a step's preview, as the finished picture would be."""
        from scumble.pictures.canvas import finish

        return finish(self.layer(image).over(self.picture.rgb), self.picture)

    def promise(self) -> dict[str, Any]:
        """The passport as far as it is known before the edit is made: all that decides what comes out."""
        import scumble

        request = self.request
        file, colon, kind = self.name.rpartition(":")  # "./file.py:Class"
        settings = {k: {"value": plain(getattr(self.method, k)), "from": o} for k, o in self.origins.items()}
        return {
            "scumble": scumble.__version__,
            "method": f"{placeless(file)}:{kind}" if colon else self.name,
            "settings": settings,
            "source": request.source,
            "target": request.target,
            "negative": request.negative,
            "given": {name: digest(x) for name, x in request.given.items()},
            "seed": request.seed,
            **asdict(self.manner),
            "model": self._model(),
            "input": {
                "name": Path(self.picture.name).name,
                "sha256": self.picture.sha256,
                "size": list(self.picture.size),
            },
            "mask": {"name": Path(self.mask.name).name, "sha256": self.mask.sha256} if self.mask else None,
            "box": list(self.box) if self.box else None,
            "versions": versions(),
        }

    def _model(self) -> dict[str, Any]:
        card, loaded = self.prior.card, self.loaded
        return {
            "name": placeless(str(loaded.get("name", card.id))),
            "id": card.id,
            "hash": card.hash,
            "licence": card.licence,
            "dtype": loaded.get("dtype"),
            "device": loaded.get("device"),
            "revision": loaded.get("revision"),
            "lora": [{**lora, "name": placeless(lora["name"])} for lora in loaded.get("lora") or ()],
            "memory": list(loaded.get("memory") or ()),
        }
