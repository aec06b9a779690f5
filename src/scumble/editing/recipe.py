"""Everything that decides an edit, as one value. Flags, forms, sweep cells and passports are derived from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from math import isfinite
from numbers import Real
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from scumble.core.errors import InputError, nearest
from scumble.core.loading import Loading, check_text, described, switch, whole

if TYPE_CHECKING:
    from scumble.core.prior import Prior
    from scumble.core.request import Method
    from scumble.pictures.reading import PictureLike, PictureMask

FORMS = "latent", "lut"
SIZES = 16, 8192  # pixels of a canvas's long side
UPSCALES = 1, 2, 4


@dataclass(frozen=True)
class Recipe(Loading):
    """Everything that decides one edit: the request and the model. The arguments of `scumble.edit`.

    image: of any size: a path, a PIL image, a file's bytes, an open file, or an array or tensor of uint8, or of floats
        in [0, 1] or [-1, 1]; see `scumble.pictures.handed`.
    source: what the picture shows now.
    target: what the picture should show.
    method: a name ("dds"), which uses the values that the model card recommends; an instance
        (`scumble.DDS(steps=100)`), which is used exactly as given; or "./file.py:Class", which runs that file.
        None: the model card chooses one ("dds_fast" for "scenes"), else "dds".
    settings: values for a method given by name; they override the card's and the method's defaults.
    seed: the same seed gives the same edit.
    negative: what the picture should not show.
    also: further prompts that the picture should follow as well, for methods that sample, such as SDEdit: prompts, or
        pairs of a prompt and its weight (1 counts as much as the target; below 0 leads away).
    mask: white may change, black stays exactly as it is; it has the picture's size.
    reference: a picture that the method follows, if it takes one (`needs.reference`).
    given: prepared artifacts, such as {"inversion": ...} from `scumble invert`; see `scumble.artifacts`.
    keep: "auto": pixels that hardly changed stay exactly the input's; a number from 0 to 2: so do pixels
        that changed by less (colours have a range of 2); "none": the method's own picture everywhere.
    crop: "auto": if the mask is small, edit only the part around it, at the model's full resolution; the
        prompts then describe that part. "none": always the whole picture.
    form: "latent": any change; "lut": only colours change, through one curve for the whole picture, so
        that nothing can move (for methods that optimise).
    size: the long side of the model's canvas in pixels; None: the model's own size.
    upscale: 2 (or True) or 4: the result has that many times the picture's size; a stage that was made for the model
        draws it. 1: the picture's size.
    paper: use the values of the method's paper, not those that the card recommends.
    force: allow words that the model does not know.
    model, device, dtype, revision, offline, lora, vae, embedding, clip_skip, memory: those of `scumble.load`, or a
        prior as `model`.

    It can be written as JSON if pictures, method, model and artifacts are given by name. Raises InputError for
    invalid values.
    """

    model: str | Path | Prior = field(
        default=Loading.model, kw_only=True, metadata=fields(Loading)[0].metadata
    )
    image: PictureLike = field(metadata={"help": "A PNG, JPEG or WebP picture of any size."})
    __: KW_ONLY
    source: str | None = described("What the picture shows now.")
    target: str | None = described("What the picture should show.")
    method: str | Method | None = described(
        "`scumble methods` lists them; ./file.py:Class runs your own.  \\[default: the model card's choice "
        "(for scenes: dds_fast), else dds]"
    )
    mask: PictureLike | PictureMask | None = described(
        "A picture of the same size: white may change, black stays exactly."
    )
    reference: PictureLike | None = described("A reference picture, for methods that take one.")
    negative: str = described("What the picture should not show.", "")
    also: Sequence[str | tuple[str, float]] = described(
        "A further prompt to follow, for methods that sample; repeats.", (), values="PROMPT[:WEIGHT]"
    )
    seed: int = described("The same seed gives the same edit.", 0)
    settings: Mapping[str, object] = field(
        default_factory=dict[str, object],
        metadata={
            "help": "A parameter of the method; `scumble methods NAME` lists them.",
            "values": "NAME=VALUE",
        },
    )
    given: Mapping[str, object] = field(
        default_factory=dict[str, object],
        metadata={
            "help": "A prepared artifact: inversion=IN.inv from scumble invert; or direction=cat,dog (two words, or "
            "two files or folders of sentences).",
            "values": "NAME=FILE",
        },
    )
    paper: bool = described(
        "Use the values of the method's paper, not those that the model recommends.", False
    )
    keep: str | float = described(
        "Pixels that changed less than this stay exactly the input's; none: the model's picture everywhere.",
        "auto",
        values="auto|none|0.1",
    )
    crop: str = described(
        "Edit only the part around a small mask, enlarged; the prompts then describe that part.",
        "auto",
        values="auto|none",
    )
    form: str = described(
        "lut: change only colours, through one table; nothing can move.", "latent", values="latent|lut"
    )
    size: int | None = described("Long side of the model's canvas in pixels; default: the model's own.")
    upscale: int = described(
        "Draw the result at 2 or 4 times the picture's size, by the model's stage; alone: 2.", 1, values="2|4"
    )
    force: bool = described("Allow words that the model does not know.", False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._plain()
        keep, size = self.keep, self.size
        number = isinstance(keep, int | float) and not isinstance(keep, bool)
        if not (0 <= keep <= 2 if number else keep in ("auto", "none")):  # pyright: ignore[reportOperatorIssue]
            raise InputError(f"keep: {keep!r} must be 'auto', 'none' or a threshold between 0 and 2")
        if self.form == "lut" and number:
            raise InputError(
                "keep: a table of colours changes all pixels of a colour in the same way; leave --keep out"
            )
        if self.crop not in ("auto", "none"):
            raise InputError(f"crop: {self.crop!r} must be 'auto' or 'none'")
        if self.form not in FORMS:
            raise InputError(f"form: {self.form!r} must be one of {', '.join(map(repr, FORMS))}")
        if size is not None and (type(size) is not int or not SIZES[0] <= size <= SIZES[1]):
            raise InputError(f"size: {size!r} is not a whole number of pixels from {SIZES[0]} to {SIZES[1]}")
        check_seed(self.seed)
        object.__setattr__(self, "upscale", check_factor(self.upscale))

    def _plain(self) -> None:
        """Convert values of other libraries, such as numpy's, to plain ones. Raises InputError for any other type."""
        plain: dict[str, Any] = {name: whole(getattr(self, name)) for name in ("seed", "size")}
        keep, negative = cast("object", self.keep), cast("object", self.negative)  # hosts do not check types
        if not isinstance(keep, str | int | float) and isinstance(keep, Real):
            plain["keep"] = float(keep)
        elif not isinstance(keep, str | int | float):
            raise InputError(f"keep: {keep!r} must be 'auto', 'none' or a threshold between 0 and 2")
        for name in ("paper", "force"):
            plain[name] = switch(getattr(self, name))
            if plain[name] is None:
                raise InputError(f"{name}: {getattr(self, name)!r} is not True or False")
        plain["negative"] = "" if negative is None else negative  # as pipelines have it
        for name in ("settings", "given"):
            plain[name] = {} if getattr(self, name) is None else getattr(self, name)
            if not isinstance(plain[name], Mapping) or not all(isinstance(key, str) for key in plain[name]):
                raise InputError(f"{name}: {plain[name]!r} is not a dictionary of values by name")
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        for name in ("crop", "form"):
            if not isinstance(getattr(self, name), str):
                raise InputError(f"{name}: {getattr(self, name)!r} is not a word")
        for name in ("source", "target", "negative"):
            words = getattr(self, name)
            if words is not None and not isinstance(words, str):
                raise InputError(f"{name}: {words!r} is not one prompt; edit once for each, with a text")
            check_text(name, words or "")
        object.__setattr__(self, "also", weighted(self.also))
        if isinstance(self.method, type):
            raise InputError(
                f"method: the class {self.method.__name__}; give its name, or {self.method.__name__}()"
            )

    def on(self, prior: Prior) -> Self:
        """The same edit on a loaded model."""
        usual = {f.name: f.default for f in fields(Loading) if f.name != "model"}
        return replace(self, model=prior, **usual)

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON, for `from_json`. Raises InputError for objects that exist only in memory."""
        return {f.name: _json(f.name, getattr(self, f.name)) for f in fields(self)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """A recipe from its fields; missing fields have their defaults.

        Raises InputError for a missing picture, an unknown field or an invalid value.
        """
        names = [f.name for f in fields(cls)]
        if "image" not in values:
            raise InputError("image: missing; a recipe names the picture to edit")
        for name in values:
            if name not in names:
                raise InputError(
                    f"recipe: there is no {name!r}{nearest(name, names)}; it has {', '.join(names)}"
                )
        return cls(**{name: _tuples(value) for name, value in values.items()})


def _json(name: str, value: Any) -> Any:
    if isinstance(value, PathLike):
        return fspath(cast("PathLike[str]", value))
    if isinstance(value, Mapping):
        several = cast("Mapping[str, Any]", value)
        return {key: _json(f"{name} {key}", each) for key, each in several.items()}
    if isinstance(value, tuple | list):
        return [_json(name, each) for each in cast("Sequence[Any]", value)]
    if not isinstance(value, str | int | float | bool | None):
        raise InputError(f"{name}: a {type(value).__name__} in memory; give its file or its name")
    return value


def _tuples(value: Any) -> Any:
    """Converts lists back to tuples, so that the recipe equals the original."""
    if isinstance(value, list):
        return tuple(_tuples(each) for each in cast("list[Any]", value))
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in cast("dict[str, Any]", value).items()}
    return value


def weighted(also: object) -> tuple[tuple[str, float], ...]:
    """Pairs of prompt and weight; the weight is 1 if none is given. Raises InputError for anything else."""
    if isinstance(also, str) or not isinstance(also, Sequence):
        raise InputError(f"also: {also!r} is not a list of prompts, or of pairs (prompt, weight)")
    return tuple(_weighted(each) for each in cast("Sequence[object]", also))


def _weighted(each: object) -> tuple[str, float]:
    pair = (each, 1.0) if isinstance(each, str) else each
    if isinstance(pair, tuple | list) and len(cast("Sequence[object]", pair)) == 2:
        prompt, weight = cast("Sequence[object]", pair)
        number = isinstance(weight, Real) and weight is not True and weight is not False
        if isinstance(prompt, str) and prompt.strip() and number and isfinite(cast(float, weight)):
            check_text("also", prompt)
            return prompt, float(cast(float, weight))
    raise InputError(f"also: {each!r} is not a prompt, or a pair of a prompt and a finite weight")


def check_factor(factor: object) -> int:
    """1, 2 or 4; True is 2, False and None are 1. Raises InputError for anything else."""
    asked = switch(factor)
    number = whole(factor) if asked is None else 1 + asked
    if type(number) is not int or number not in UPSCALES:
        raise InputError(
            f"upscale: {factor!r}; a stage doubles a picture, so choose 2, or 4 for two passes; 1 is none"
        )
    return number


def check_seed(seed: object) -> None:
    """Raises InputError for a value that cannot seed a generator: it must be a whole number from 0 to 2**64 - 1."""
    if type(seed) is not int or not 0 <= seed < 2**64:
        raise InputError(f"seed: {seed!r} is not a whole number from 0 to 2**64 - 1")
