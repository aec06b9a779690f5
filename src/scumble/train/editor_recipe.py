"""The recipe of an editor: a YAML file, checked key by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from scumble.core.errors import InputError, nearest
from scumble.networks.editor import EditorConfig, Task
from scumble.train.editor_checks import check

SCORES = "dds", "sds", "cds", "pds"
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Pictures sampled from the prior: of the captions in a file, one per line."""

    captions: str
    count: int = 1000
    steps: int = 30
    guidance: float = 3.0
    sampler: str = "dpm"


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """Pictures of the scenes generator, with full captions. wide: half of them as people draw, as the built-in prior
    was trained: any colours near their names, any place, size and aspect ratio.
    """

    count: int = 4000
    objects: int = 1
    wide: bool = False


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the pictures and their captions come from: exactly one of these.

    folder: pictures with a metadata.jsonl ({"file_name": ..., "text": ...} a line). parquet, webdataset: files or
    patterns that `datasets` reads, with an image and a text column. held_out: pictures kept for the sample grids.
    """

    folder: str | None = None
    parquet: str | None = None
    webdataset: str | None = None
    samples: Samples | None = None
    scenes: Scenes | None = None
    text: str = "text"
    image: str = "image"
    held_out: int = 6


@dataclass(frozen=True, kw_only=True)
class Network:
    """The editor's size. text: tell it the task by the target prompt's vector. warm: start from the prior's U-Net."""

    widths: tuple[int, ...] = (64, 128, 128)
    layers: int = 1
    attention: tuple[bool, ...] = (False, True, True)
    head: int = 32
    groups: int = 16
    text: bool = False
    warm: bool = False

    def config(self, channels: int, text: int) -> EditorConfig:
        """For latents of `channels` and prompts of width `text`."""
        own = {
            f.name: getattr(self, f.name) for f in fields(EditorConfig) if f.name not in ("channels", "text")
        }
        return EditorConfig(channels=channels, text=text if self.text else 0, **own)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """score: of the engine, dds by default. guidance, identity: (first, last) values; guidance rises over `warm_up`
    steps, the identity term's weight falls over `identity_steps`, as half a cosine. t: times drawn from [t[0], t[1]).
    cycle: weight of |g(g(z, task), reverse) - z|^2 for tasks with a reverse. own: weight of |g(z, task) - z|^2 for
    pictures that show the target already.
    """

    score: str = "dds"
    guidance: tuple[float, float] = (1.0, 5.0)
    warm_up: int = 1000
    identity: tuple[float, float] = (3.0, 1.0)
    identity_steps: int = 1000
    t: tuple[int, int] = (50, 949)
    contrast: float = 1.0
    cycle: float = 0.0
    own: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Training:
    """batch: pictures per step and process; accumulate: batches per optimiser step."""

    steps: int = 4000
    batch: int = 16
    accumulate: int = 1
    rate: float = 3e-4
    rate_warm_up: int = 100
    cool_down: float = 0.2
    decay: float = 0.01
    ema: float = 0.999
    seed: int = 0
    save_every: int = 250
    grid_every: int = 500
    log_every: int = 25
    precision: str = "auto"
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class EditorRecipe:
    """Everything that decides an editor. words: lists of words that the templates' slots stand for. reverse: task ->
    the task that undoes it, for the cycle term.
    """

    name: str = "editor"
    prior: str = "scenes"
    size: int | None = None
    tasks: tuple[Task, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    reverse: Mapping[str, str] = field(default_factory=dict[str, str])
    data: Data = field(default_factory=Data)
    network: Network = field(default_factory=Network)
    loss: Loss = field(default_factory=Loss)
    training: Training = field(default_factory=Training)

    def __post_init__(self) -> None:
        if not self.tasks:
            raise InputError("tasks: none; a recipe needs at least one, with name, source and target")
        if self.loss.score not in SCORES:
            raise InputError(f"loss: score: {self.loss.score!r} must be one of {', '.join(SCORES)}")
        names = [task.name for task in self.tasks]
        for task, back in self.reverse.items():
            for name in (task, back):
                if name not in names:
                    raise InputError(f"reverse: there is no task {name!r}{nearest(name, names)}")
        if self.loss.cycle and not self.reverse:
            raise InputError("loss: cycle: no task has a reverse; add them under reverse, or leave cycle out")
        sources = [
            n for n in ("folder", "parquet", "webdataset", "samples", "scenes") if getattr(self.data, n)
        ]
        if len(sources) != 1:
            raise InputError(
                f"data: {' and '.join(sources) or 'nothing'} given; name one of folder, parquet, webdataset, "
                "samples, scenes"
            )
        if not 0 <= self.loss.t[0] < self.loss.t[1]:
            raise InputError(f"loss: t: {list(self.loss.t)} is not [lowest time, one above the highest]")
        t = self.training
        for name in ("steps", "batch", "accumulate", "save_every", "grid_every", "log_every"):
            if getattr(t, name) < 1:
                raise InputError(f"training: {name}: {getattr(t, name)} must be at least 1")
        if t.rate <= 0 or not 0 <= t.ema < 1 or not 0 <= t.cool_down <= 1:
            raise InputError("training: rate must be above 0, ema in [0, 1), cool_down in [0, 1]")
        check(self)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def read(path: Path) -> EditorRecipe:
    """The recipe in a YAML file. Raises InputError for a file that is none, unknown keys (with the nearest) and values
    of the wrong kind, each with the place where they stand.
    """
    import yaml

    try:
        said: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not YAML ({reason})") from error
    try:
        return _made(EditorRecipe, said, "recipe")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _made(kind: type[R], said: Any, place: str) -> R:
    """A dataclass from a mapping."""
    if not isinstance(said, Mapping):
        raise InputError(f"{place}: {_short(said)} is not a list of keys and values")
    given = cast("Mapping[object, Any]", said)
    known: dict[str, Field[Any]] = {f.name: f for f in fields(cast(Any, kind))}
    for name in given:
        if name not in known:
            raise InputError(
                f"{place}: there is no {name!r}{nearest(str(name), [*known])}; it has {', '.join(known)}"
            )
    for name, f in known.items():
        if f.default is MISSING and f.default_factory is MISSING and name not in given:
            raise InputError(f"{place}: {name} is missing")
    hints = get_type_hints(kind)
    within = "" if place == "recipe" else f"{place}: "
    return kind(
        **{str(name): typed(hints[str(name)], value, f"{within}{name}") for name, value in given.items()}
    )


def typed(hint: Any, said: Any, place: str) -> Any:
    """A value of YAML or JSON as a field's type has it. Raises InputError for one of another kind."""
    if isinstance(hint, UnionType):  # "X | None"
        if said is None:
            return None
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    origin = get_origin(hint)
    if origin is tuple:
        kinds = get_args(hint)
        if not isinstance(said, list):
            raise InputError(f"{place}: {_short(said)} is not a list")
        items = cast("list[Any]", said)
        if kinds[-1] is not Ellipsis and len(items) != len(kinds):
            raise InputError(f"{place}: {_short(items)} needs {len(kinds)} values")
        each = [kinds[0]] * len(items) if kinds[-1] is Ellipsis else kinds
        return tuple(typed(k, v, f"{place} {i}") for i, (k, v) in enumerate(zip(each, items, strict=True), 1))
    if origin is not None:  # a mapping
        if not isinstance(said, Mapping):
            raise InputError(f"{place}: {_short(said)} is not a list of keys and values")
        of = get_args(hint)[1]
        return {str(k): typed(of, v, f"{place} {k}") for k, v in cast("Mapping[Any, Any]", said).items()}
    if hasattr(hint, "__dataclass_fields__"):
        return _made(hint, said, place)
    if hint is float and type(said) is int:
        return float(said)
    if type(said) is not hint:
        kinds = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise InputError(f"{place}: {_short(said)} is not {kinds.get(hint, hint.__name__)}")
    return said


def _short(said: Any) -> str:
    text = repr(said)
    return text if len(text) < 60 else f"{text[:57]}..."


def captions_of(path: Path) -> Sequence[str]:
    """The lines of a file of captions. Raises InputError where there are none."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    if not any(lines):
        raise InputError(f"{path}: contains no captions; write one per line")
    return [line for line in lines if line]
