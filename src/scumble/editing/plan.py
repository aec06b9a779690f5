"""Plans: edits whose inputs are checked and whose model is loaded. Calling a plan makes the edit."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, cast

from scumble.artifacts import ARTIFACTS
from scumble.core.errors import InputError
from scumble.core.machine import limits
from scumble.editing import given, loading, upscaled
from scumble.editing.checks import (
    check_also,
    check_codec,
    check_form,
    check_given,
    check_model,
    check_needs,
    check_settings,
    check_words,
    method_class,
)
from scumble.editing.passport import describe
from scumble.editing.recipe import Recipe, weighted
from scumble.editing.upscale import UPSCALING

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scumble.core.prior import Card, Prior
    from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep
    from scumble.editing.upscaled import Tell, Upscaled
    from scumble.forms.lut import LUT
    from scumble.pictures.layer import Layer
    from scumble.pictures.placed import Placed
    from scumble.pictures.reading import Picture

Origin = str  # "user", "card" or "method"

Shared = dict[Hashable, object]
"""Results that edits of the same picture on one model can reuse: `Plan.__call__` fills it."""


def plan(recipe: Recipe, placed: Placed | None = None) -> Plan:
    """Prepare an edit up to its first step: make the cheap checks, load the model, make the other checks.

    placed: the picture on the model's canvas from an earlier plan with the same picture, mask, size and crop.

    Raises:
        InputError: the recipe cannot be used; the message says why, in one sentence.
        MachineError: there is not enough memory, or a model cannot be downloaded.
    """
    recipe = opened(recipe)
    method, name, kind = _method(recipe)
    check_settings(method, kind, recipe.settings)
    check_given(name, kind, recipe.given)
    check_needs(name, kind.needs, recipe)
    check_also(name, kind, recipe.also)
    check_form(name, kind, recipe.form)

    from scumble.core.request import EditRequest  # imports torch, so only now
    from scumble.pictures.placed import Placed

    prior = placed.prior if placed else loading.load(recipe)
    _check_model(prior.card, name, kind.needs, recipe)
    said = [
        recipe.source or "",
        recipe.target or "",
        recipe.negative,
        *(prompt for prompt, _ in weighted(recipe.also)),
    ]
    check_words(given.knowing(prior.card, recipe.given), said, recipe.force)
    upscaled.check(recipe.upscale, prior.card, cast(Any, recipe.image))
    chosen, origins = choose(method, kind, prior.card, recipe.settings, recipe.paper)
    if placed is None:
        picture, mask = cast(Any, recipe.image), cast(Any, recipe.mask)
        placed = Placed.of(picture, prior, mask=mask, size=recipe.size, crop=recipe.crop)
        check_codec(placed)
    request = EditRequest(
        image=placed.image,
        latent=placed.latent,
        source=recipe.source or None,
        target=recipe.target or None,
        negative=recipe.negative,
        also=weighted(recipe.also),
        mask=placed.opening,
        reference=None if recipe.reference is None else placed.put(cast(Any, recipe.reference)),
        seed=recipe.seed,
        given=recipe.given,
    )
    return Plan(recipe=recipe, placed=placed, name=name, method=chosen, origins=origins, request=request)


def opened(recipe: Recipe) -> Recipe:
    """The recipe with its files read (pictures, mask, artifacts) and with the default method if it names none.

    Raises InputError for a file that cannot be used.
    """
    from scumble.pictures import reading

    picture = reading.read(recipe.image)
    mask, reference = recipe.mask, recipe.reference
    return replace(
        recipe,
        image=picture,
        mask=mask
        if mask is None or isinstance(mask, reading.PictureMask)
        else reading.read_mask(mask, picture.size),
        reference=None if reference is None else reading.read(reference),
        given=given.read(recipe.given),
        method=loading.usual_method(recipe.model) if recipe.method is None else recipe.method,
    )


def _method(recipe: Recipe) -> tuple[str | Method, str, type[Any]]:
    """The method of an opened recipe, its name, and its class."""
    method = cast("str | Method", recipe.method)
    if isinstance(method, str) and method == "sampling":
        raise InputError("method: sampling makes pictures of words alone and edits none; use `scumble paint`")
    if isinstance(method, str):
        return method, method, method_class(method)
    if not hasattr(method, "needs"):
        raise InputError(
            f"method: {method!r} is none; give a name, such as 'dds', or an instance, scumble.DDS()"
        )
    return method, type(method).__name__, type(method)


def _check_model(card: Card, name: str, needs: Needs, recipe: Recipe) -> None:
    """`check_model`, where what is given may say what to show."""
    shown = recipe.target or (recipe.source if recipe.given else None)
    trained = any(each in ARTIFACTS for each in needs.given)  # such an artifact says it all
    check_model(card, name, needs, shown or ("what it was trained for" if trained else None))


def choose(
    method: str | Method, kind: type[Any], card: Card, settings: Mapping[str, object], paper: bool = False
) -> tuple[Method, dict[str, Origin]]:
    """The method with its values and the origin of each: the user, else the card (unless `paper`), else the method."""
    if not isinstance(method, str):
        return method, {f.name: "user" for f in fields(kind)}
    listed: Mapping[str, Any] = {} if paper else card.recommended.get(method, {})
    recommended: dict[str, Any] = {
        k: tuple(cast("list[Any]", v)) if isinstance(v, list) else v for k, v in listed.items()
    }
    origins = {
        f.name: "user" if f.name in settings else "card" if f.name in recommended else "method"
        for f in fields(kind)
    }
    return kind(**{**recommended, **settings}), origins


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Everything an edit needs. `recipe`: the request, with its files read; `request`: the same for methods."""

    recipe: Recipe
    placed: Placed
    name: str
    method: Method
    origins: Mapping[str, Origin]
    request: EditRequest

    @property
    def prior(self) -> Prior:
        return self.placed.prior

    @property
    def loaded(self) -> Mapping[str, Any]:
        """How the model was loaded: name, dtype, device, revision, lora, memory. Unknown entries are absent."""
        return self.prior.loaded

    def __call__(self, on_step: OnStep | None = None, shared: Shared | None = None) -> Edit:
        """Make the edit. `shared`: results that edits of the same picture can reuse; it is read and extended.

        on_step: called after every step of the method, and after every call of the stage that draws the result larger.
        """
        started, lut, stage = time.perf_counter(), self._lut(), self.upscaled
        told = upscaled.Continued(on_step, self.calls) if on_step and stage else None
        keys = {} if shared is None else self._shares()
        lent = {name: shared[key] for name, key in keys.items() if key in shared} if shared else {}
        lent, keep = {**lent, **self.request.given}, (*self.request.keep, *keys)
        request = replace(self.request, given=lent, keep=keep)
        if lut:
            request = replace(request, given={**lent, "parametrization": lut}, keep=(*keep, "theta"))
        from scumble.core.host import isolated
        from scumble.editing.given import tuned

        device = self.loaded.get("device", "cpu")
        with isolated(), limits(device), tuned(self.prior, self.request.given, self.method.needs):
            result = self.method(self.prior, request, told or on_step)
            if shared is not None:
                shared |= {key: result.kept[name] for name, key in keys.items()}
            return self.finish(result, started, lut, told and told.of(result), shared)

    def finish(
        self,
        result: Edit,
        started: float,
        lut: LUT | None = None,
        tell: Tell | None = None,
        shared: Shared | None = None,
    ) -> Edit:
        """A method's result with its picture, layer and passport. `started`: a reading of `time.perf_counter`.

        tell: called after every call of the stage that draws the result larger. shared: as in a call of the plan.

        Raises InputError if the values have diverged.
        """
        with limits(self.loaded.get("device", "cpu")):
            if not result.raw.isfinite().all():
                raise InputError(
                    f"{self.name}: the values diverged to infinity; try smaller steps or less guidance"
                )
            # raw, not image: a soft mask must weigh once, and at the picture's own resolution.
            if lut:
                theta = cast("Tensor", result.kept["theta"])
                layer = self.placed.recoloured(lut.recolour(theta, self.placed.part.rgb))
            else:
                layer = self.layer(result.raw)
            if stage := self.upscaled:
                picture, layer = stage.edit(layer, self.placed.picture, tell, shared)
            else:
                picture = self.placed.finished(layer)
        passport = {
            **self.promise(),
            "layer": {"threshold": layer.threshold, "changed": layer.changed},
            "evaluations": result.evaluations,
            "seconds": round(time.perf_counter() - started, 3),
        }
        return replace(result, picture=picture, layer=layer.rgba(), provenance=passport)

    def _shares(self) -> dict[str, Hashable]:
        """The results that other edits of this picture can reuse: name -> everything that decides the result."""
        shares: Mapping[str, Sequence[str]] = self.method.shares
        return {
            name: (name, type(self.method), *(getattr(self.method, field) for field in fields),
                   self.request.source, self.request.seed)
            for name, fields in shares.items()
        }  # fmt: skip

    def _lut(self) -> LUT | None:
        if self.recipe.form != "lut":
            return None
        from scumble.forms.lut import LUT

        return LUT(self.prior, self.placed.image)

    def vary(self, *, target: str | None = None, seed: int | None = None) -> Plan:
        """The same edit with another target or seed, on the same model and canvas. Raises InputError.

        A target of "" is none, and refused where `plan` refuses it.
        """
        recipe, request = self.recipe, self.request
        if target is not None:
            recipe, request = replace(recipe, target=target or None), replace(request, target=target or None)
            check_needs(self.name, self.method.needs, recipe)
            _check_model(self.prior.card, self.name, self.method.needs, recipe)
            check_words(given.knowing(self.prior.card, recipe.given), [target], recipe.force)
        if seed is not None:
            recipe, request = replace(recipe, seed=seed), replace(request, seed=seed)
        return replace(self, recipe=recipe, request=request)

    @property
    def upscaled(self) -> Upscaled | None:
        """How the result is made larger; None where it has the picture's size."""
        recipe, where = self.recipe, self.loaded.get("device", "cpu")
        return upscaled.of(recipe.upscale, recipe.seed, self.prior.card, where)

    @property
    def calls(self) -> int:
        """How often the stage's network is called to draw the picture before and after the edit."""
        stage = self.upscaled
        return 2 * stage.calls(self.placed.picture.size) if stage else 0

    def below(self, shared: Shared | None = None) -> Picture:
        """What the result's layer lies on: the picture, drawn larger where the result is."""
        picture, stage = self.placed.picture, self.upscaled
        return stage.below(picture, shared) if stage else picture

    def layer(self, raw: Tensor) -> Layer:
        """The layer of a canvas image (1, 3, H, W) over the picture, at the picture's size, inside the mask."""
        return self.placed.layer(raw, self.recipe.keep)

    def show(self, image: Tensor) -> Image.Image:
        """A canvas image (1, 3, H, W), such as a step's preview, as a picture like the result."""
        return self.placed.finished(self.layer(image))

    def promise(self) -> dict[str, Any]:
        """The part of the passport that is known before the edit: everything that decides the result."""
        stage = self.upscaled
        return {
            **describe(self.recipe, self.name, self.method, self.origins, self.placed),
            **({UPSCALING: stage.stated()} if stage else {}),
        }
