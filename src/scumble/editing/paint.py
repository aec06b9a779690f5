"""Pictures from text alone: the request (`PaintRecipe`), and the checked request with its model (`Painting`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from scumble.core.errors import InputError
from scumble.core.loading import Loading, check_text, whole
from scumble.core.machine import limits
from scumble.editing import given, loading, upscaled
from scumble.editing.checks import check_settings, check_words
from scumble.editing.passport import PAINTING, Passport, asked_of, model_of, plain, versions
from scumble.editing.plan import choose
from scumble.editing.recipe import SIZES, Recipe, check_factor, check_seed, weighted
from scumble.editing.upscale import UPSCALING

if TYPE_CHECKING:
    from scumble.core.prior import Prior
    from scumble.core.request import Edit, EditRequest, OnStep
    from scumble.editing.upscaled import Upscaled
    from scumble.methods.sampling import Sampling

_EDIT = {f.name: f for f in fields(Recipe)}


@dataclass(frozen=True)
class PaintRecipe(Loading):
    """Everything that decides one picture made from text. The arguments of `scumble.paint`.

    prompt: what the picture should show; empty for a model without text.
    also: further prompts that the picture follows as well: prompts, or pairs of a prompt and its weight (1 counts as
        much as `prompt`; below 0 leads away).
    negative: what the picture should not show.
    size: (width, height) in pixels, multiples of what the model asks for; None: the model's own, square.
    seed: the same seed gives the same picture.
    settings: parameters of `scumble.Sampling`: sampler, steps, guidance, ...; they override what the card recommends.
    paper: use the values of the method, not those that the card recommends.
    force: allow words that the model does not know.
    upscale: 2 (or True) or 4: the picture has that many times `size`; a stage that was made for the model draws it.
    given: {"tuned": weights that `scumble tune` made}, or the name of the file.
    model, device, dtype, revision, offline, lora, vae, embedding, clip_skip, memory: those of `scumble.load`, or a
        prior as `model`.

    Raises InputError for invalid values.
    """

    paints: ClassVar[bool] = True
    model: str | Path | Prior = field(
        default=Loading.model, kw_only=True, metadata=fields(Loading)[0].metadata
    )
    prompt: str = field(default="", metadata={"help": "What the picture should show."})
    __: KW_ONLY
    also: Sequence[str | tuple[str, float]] = field(
        default=(), metadata={"help": "A further prompt to follow; repeats.", "values": "PROMPT[:WEIGHT]"}
    )
    negative: str = field(default="", metadata=_EDIT["negative"].metadata)
    size: tuple[int, int] | None = field(
        default=None,
        metadata={"help": "Size in pixels; default: the model's own.", "values": "WIDTHxHEIGHT"},
    )
    seed: int = field(default=0, metadata=_EDIT["seed"].metadata)
    settings: Mapping[str, object] = field(
        default_factory=dict[str, object],
        metadata={
            "help": "A parameter of sampling; `scumble methods sampling` lists them.",
            "values": "NAME=VALUE",
        },
    )
    paper: bool = field(default=False, metadata=_EDIT["paper"].metadata)
    force: bool = field(default=False, metadata=_EDIT["force"].metadata)
    upscale: int = field(default=1, metadata=_EDIT["upscale"].metadata)
    given: Mapping[str, object] = field(
        default_factory=dict[str, object],
        metadata={"help": "What `scumble tune` made.", "values": "tuned=FILE"},
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "also", weighted(self.also))
        object.__setattr__(self, "seed", whole(self.seed))
        object.__setattr__(self, "negative", "" if cast(object, self.negative) is None else self.negative)
        for name in ("prompt", "negative"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name}: {getattr(self, name)!r} is not one prompt; paint once for each")
            check_text(name, getattr(self, name))
        if not isinstance(cast(object, self.settings), Mapping):
            raise InputError(f"settings: {self.settings!r} is not a dictionary of values by name")
        if not isinstance(cast(object, self.given), Mapping) or {*self.given} - {"tuned"}:
            raise InputError("given: a painting takes tuned weights alone; write it as tuned=FILE")
        object.__setattr__(self, "size", _size(self.size))
        check_seed(self.seed)
        object.__setattr__(self, "upscale", check_factor(self.upscale))

    @classmethod
    def of(cls, passport: Passport) -> PaintRecipe:
        """The recipe of a checked passport of a painting."""
        same = {name: passport[name] for name in ("negative", "seed", "paper", "force")}
        return cls(passport["target"] or "", size=tuple(passport["size"]), **same, **asked_of(passport))

    def on(self, prior: Prior) -> PaintRecipe:
        """The same recipe on a loaded model."""
        usual = {f.name: f.default for f in fields(Loading) if f.name != "model"}
        return replace(self, model=prior, **usual)


def _size(size: object) -> tuple[int, int] | None:
    """(width, height), or None. Raises InputError for anything else."""
    if size is None:
        return None
    given = cast("Sequence[object]", size) if isinstance(size, tuple | list) else (size,)
    sides = tuple(whole(side) for side in given)
    if len(sides) != 2 or not all(type(side) is int and SIZES[0] <= side <= SIZES[1] for side in sides):
        raise InputError(
            f"size: {size!r} is not (width, height), each a whole number of pixels from {SIZES[0]} to {SIZES[1]}"
        )
    return cast("tuple[int, int]", sides)


def paint(recipe: PaintRecipe) -> Painting:
    """Everything before the first step: load the model and make the checks.

    Raises:
        InputError: the recipe cannot be used; the message says why, in one sentence.
        MachineError: there is not enough memory, or a model cannot be downloaded.
    """
    from scumble.core.request import EditRequest  # imports torch, so only now
    from scumble.methods.sampling import Sampling

    check_settings(PAINTING, Sampling, recipe.settings)
    recipe = replace(recipe, given=given.read(recipe.given))
    prior = loading.load(recipe)
    card = prior.card
    if "text" in card.capabilities and not recipe.prompt.strip():
        raise InputError(
            f"prompt: empty; describe what the picture should show, because {card.id!r} takes text"
        )
    if "text" not in card.capabilities and (recipe.prompt.strip() or recipe.also or recipe.negative.strip()):
        raise InputError(f"prompt: {card.id!r} takes no text; leave it out")
    check_words(
        given.knowing(card, recipe.given),
        [recipe.prompt, recipe.negative, *(prompt for prompt, _ in weighted(recipe.also))],
        recipe.force,
    )
    width, height = recipe.size or (card.size, card.size)
    if width % card.multiple or height % card.multiple:
        near = "x".join(str(max(round(side / card.multiple), 1) * card.multiple) for side in (width, height))
        raise InputError(
            f"size: {width}x{height}; both sides must be multiples of {card.multiple} for {card.id!r}, such as {near}"
        )
    upscaled.check(recipe.upscale, card)
    method, origins = choose(PAINTING, Sampling, card, recipe.settings, recipe.paper)
    request = EditRequest(
        size=(height, width),
        target=recipe.prompt or None,
        negative=recipe.negative,
        also=weighted(recipe.also),
        seed=recipe.seed,
        given=recipe.given,
    )
    return Painting(
        recipe=recipe, prior=prior, method=cast("Sampling", method), origins=origins, request=request
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Painting:
    """A picture whose inputs are checked and whose model is loaded. Call it to make the picture."""

    recipe: PaintRecipe
    prior: Prior
    method: Sampling
    origins: Mapping[str, str]
    request: EditRequest
    name: str = PAINTING

    def __call__(self, on_step: OnStep | None = None) -> Edit:
        """Make the picture: `picture` of the `Edit` is a PIL image. Raises InputError if the values diverge."""
        from PIL import Image

        from scumble.core.host import isolated
        from scumble.core.pixels import to_pixels
        from scumble.pictures.reading import read

        started, stage = time.perf_counter(), self.upscaled
        told = None
        if on_step and stage:
            height, width = cast("tuple[int, int]", self.request.size)
            told = upscaled.Continued(on_step, stage.calls((width, height)))
        device = self.prior.loaded.get("device", "cpu")
        with isolated(), limits(device), given.tuned(self.prior, self.request.given, self.method.needs):
            made = self.method(self.prior, self.request, told or on_step)
            if not made.raw.isfinite().all():
                raise InputError("paint: the values diverged to infinity; try more steps or less guidance")
            picture = Image.fromarray(to_pixels(made.raw)[0])
            if stage:
                picture = stage.picture(read(picture), told and told.of(made)).rgb
        passport = {
            **self.promise(),
            "evaluations": made.evaluations,
            "seconds": round(time.perf_counter() - started, 3),
        }
        return replace(made, picture=picture, provenance=passport)

    def vary(self, seed: int) -> Painting:
        """The same picture with another seed, on the same model. Raises InputError for an invalid seed."""
        return replace(self, recipe=replace(self.recipe, seed=seed), request=replace(self.request, seed=seed))

    @property
    def upscaled(self) -> Upscaled | None:
        """How the picture is made larger; None where it has the size that was asked for."""
        where = self.prior.loaded.get("device", "cpu")
        return upscaled.of(self.recipe.upscale, self.recipe.seed, self.prior.card, where)

    def promise(self) -> dict[str, Any]:
        """The part of the passport that is known beforehand: everything that decides the picture."""
        import scumble
        from scumble.artifacts import digest

        stage = self.upscaled
        recipe, (height, width) = self.recipe, cast("tuple[int, int]", self.request.size)
        return {
            "scumble": scumble.__version__,
            "method": PAINTING,
            "target": recipe.prompt or None,
            **({"also": plain(recipe.also)} if recipe.also else {}),
            **{name: getattr(recipe, name) for name in ("negative", "seed", "paper", "force")},
            "size": [width, height],
            **({UPSCALING: stage.stated()} if stage else {}),
            **(
                {"given": {name: digest(each) for name, each in recipe.given.items()}} if recipe.given else {}
            ),
            "settings": {
                k: {"value": plain(getattr(self.method, k)), "from": o} for k, o in self.origins.items()
            },
            "model": model_of(self.prior),
            "versions": dict(versions()),
        }
