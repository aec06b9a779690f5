"""What goes into an edit, what comes out of it, and what a method is."""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from types import MappingProxyType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast, get_args, get_type_hints, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.loading import COUNTS, plain
from scumble.core.noise import Noise
from scumble.core.prediction import Prediction
from scumble.core.prior import Prior
from scumble.core.types import Image, Latent, Mask, Time

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Cancelled(Exception):
    """Raised by on_step to stop an edit; everything a method changed is restored on the way out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class EditRequest:
    """The data of an edit; hyper-parameters belong to the method.

    `image` (b, 3, H, W) in [-1, 1], on the prior's canvas; `size` (H, W) where there is no image; `latent`: the
    image as the prior encodes it without noise, where that is known already. `source` and `target`: one prompt, one
    per picture, or, for one picture, K targets (K rows that share its noise). `also`: further prompts, each with
    its weight, that the picture follows together with the target, for methods that compose (Liu et al. 2022,
    arXiv:2206.01714). `mask` (b or 1, 1, H, W) at the picture's or the latent's resolution, 1 = may change. Picture
    i draws from seed + i, or all draws come from `noise`. `given`: what `needs.given` names. `keep`: what the Edit
    is to keep besides ("trajectory": every x of the loop; of methods that control attention, "attention": the maps
    of every word, "source": the picture that the source's branch ends with).
    """

    image: Image | None = None
    size: tuple[int, int] | None = None
    latent: Float[Tensor, "b c _ _"] | None = None  # not the mask's h and w
    source: str | Sequence[str] | None = None
    target: str | Sequence[str] | None = None
    negative: str | Sequence[str] = ""
    also: Sequence[tuple[str, float]] = ()
    mask: Mask | None = None
    reference: Image | None = None
    seed: int = 0
    noise: Noise | None = None
    given: Mapping[str, object] = field(default_factory=dict[str, object])
    keep: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Edit:
    """The result of an edit.

    `image`: (b, 3, H, W), outside a mask the input's own. `raw`: the method's own decoded picture. `latent`:
    what was decoded. `picture`: the finished picture at the input's size, where the edit was made from a
    file; `layer`: what lies over the input there, RGBA, transparent where the input's pixels are kept.
    `maps`: masks and maps the method made. `kept`: what `request.keep` asked for. `evaluations`: of the
    network, per picture, rounded up.
    """

    image: Image
    raw: Image
    latent: Latent
    evaluations: int
    seed: int
    picture: "Picture | None" = None
    layer: "Picture | None" = None
    maps: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    kept: Mapping[str, object] = field(default_factory=dict[str, object])
    provenance: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def mask(self) -> Tensor:
        """The mask that the method found, 1 where the picture may change.

        Raises InputError where the method makes none.
        """
        if "mask" not in self.maps:
            raise InputError("mask: this method makes none; DiffEdit does")
        return self.maps["mask"]

    @property
    def attention(self) -> Mapping[str, Any]:
        """The cross-attention maps of every branch: attention["target"]["tiger"] is (b, 1, h, w).

        Raises InputError where the request did not keep them, or the method has none to show.
        """
        if "attention" not in self.kept:
            raise InputError("attention: it was not kept; ask for it with EditRequest(keep=('attention',))")
        return cast(Mapping[str, Any], self.kept["attention"])


@dataclass(frozen=True, eq=False)
class Step:
    """Step k of n (from 1) is done: the state is x (b, c, h, w), at time t. `preview()`: what it looks like now."""

    k: int
    n: int
    t: float
    x: Latent
    preview: Callable[[], Image]
    evaluations: int


OnStep = Callable[[Step], None]

Watch = Callable[[int, int, float, Latent, Latent], None]
"""What a loop reports to after every step: (k, n, t, x, the clean latent as seen now)."""

Each = Callable[[Latent, Prediction, float, float], Latent]
"""After a step from t to s: (x_s, p, t, s) -> x_s. Pastes, blends, filters and teacher forcing go here."""

Shift = Callable[[Latent, Tensor, Latent, Prediction, Time], Latent]
"""Gradient guidance: (mean, var, x_t, p, t) -> mean of the step, before its noise is added; p is the prediction at
x_t (Dhariwal & Nichol 2021, arXiv:2105.05233, Algorithm 1). Deterministic steps have no variance: guide their score
(`core.guidance.steered`).
"""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a method cannot do without; of the model: a gradient through it, control of its attention, a null text."""

    image: bool = True
    prompt: bool = True  # of any kind, where the model takes text
    source: bool = False
    target: bool = False
    mask: bool = False
    reference: bool = False
    gradient: bool = False
    single: bool = False  # the gradient is taken through one prediction alone, not through a guided pair
    control: bool = False
    joint: bool = False  # joint attention will do for control
    null: bool = False
    given: tuple[str, ...] = ()  # names in EditRequest.given
    takes: tuple[str, ...] = ()  # what it uses where it is there: "reference", names in given


@dataclass(frozen=True, kw_only=True)
class Paper:
    """Where a method comes from. `departures`: where we differ from the paper or its code, and why."""

    title: str
    arxiv: str
    bibtex: str
    departures: tuple[str, ...] = ()


@runtime_checkable
class Score(Protocol):
    """A gradient field over clean latents: SDS, DDS, ..."""

    def __call__(self, x: Latent, t: Time, noise: Noise) -> Latent:
        """The gradient at x, per element, in units of eps; draws what it needs from noise."""
        ...


@runtime_checkable
class Artifact(Protocol):
    """The costly first half of an edit as a value: an inversion, tuned weights, an edit direction.

    `name` is what it is called in `EditRequest.given`. `restore` undoes `tensors` and `about` (JSON), and
    raises InputError where they contradict each other.
    """

    name: ClassVar[str]

    def tensors(self) -> Mapping[str, Tensor]: ...

    def about(self) -> Mapping[str, Any]: ...

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "Artifact": ...


@runtime_checkable
class Method(Protocol):
    """One paper: a frozen, keyword-only dataclass of hyper-parameters, derived from this. Data arrives as arguments.

    `paper`, `needs`: every method states them; the rest has defaults. `identity`: equal prompts leave the picture
    as it is. `forms`: what an edit can be made as ("latent", "lut": see `scumble.forms`). `prepares`: the artifact
    that `prepare` makes, None for a method of one part. `shares`: artifacts that edits of the same picture can
    reuse -> the fields that decide them; the source prompt and the seed always do. `composes`: it follows several
    prompts at once (`EditRequest.also`). An edit is given what `needs` names and these imply: `editing.checks.taken`.
    """

    paper: ClassVar[Paper]
    needs: ClassVar[Needs]
    identity: ClassVar[bool] = False
    forms: ClassVar[tuple[str, ...]] = ("latent",)
    prepares: ClassVar[type[Artifact] | None] = None
    shares: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    composes: ClassVar[bool] = False

    def prepare(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Artifact:
        """The costly first half of an edit, for `EditRequest.given` of later ones.

        Raises InputError where `prepares` is None.
        """
        raise InputError(f"prepare: {type(self).__name__} has no artifact to prepare; edit with it")

    def __call__(self, prior: Prior, request: EditRequest, on_step: OnStep | None = None) -> Edit:
        """Makes the edit, with the artifacts in `request.given` or, without them, with its own."""
        ...


def pull(x: Tensor, grad: Tensor) -> Tensor:
    """A scalar whose derivative with respect to x is grad: to train a network that outputs x with a score."""
    return (x * grad.detach()).sum()


@runtime_checkable
class Parametrization(Protocol):
    """What an optimising method really moves: parameters theta whose g(theta) is the latent it edits.

    theta is (b, ...): row i is picture i's, and g(theta)[i] depends on it alone. A g that makes pictures
    encodes them itself (`prior.encode` is differentiable). Given to a method as
    `EditRequest.given["parametrization"]`.
    """

    def start(self, x: Latent) -> Tensor:
        """theta with g(theta) = x, or as near as g can come."""
        ...

    def __call__(self, theta: Tensor) -> Latent:
        """g(theta), differentiable."""
        ...


@runtime_checkable
class Painting(Parametrization, Protocol):
    """One that paints pictures and encodes them: its pictures are the edit's, and no decoder touches them."""

    def picture(self, theta: Tensor) -> Image:
        """The pictures (b, 3, H, W) whose latents are g(theta)."""
        ...


def param(
    default: Any,
    *,
    help: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    choices: Sequence[object] | None = None,
    try_: object = None,
    needs: str | None = None,
) -> Any:
    """A hyper-parameter: a dataclass field whose bounds, help and a second value worth trying travel with it.

    `try_` is another valid value that changes the result, given `needs` (for the test of every field).
    """
    about = {"min": ge, "above": gt, "max": le, "below": lt, "choices": choices, "try": try_, "needs": needs}
    return field(
        default=default, metadata={"help": help, **{k: v for k, v in about.items() if v is not None}}
    )


def validate(settings: Any) -> None:
    """Checks type, finiteness, bounds and choices of every `param`. Raises InputError naming the field."""
    hints = get_type_hints(cast("type[Any]", settings.__class__))
    for f in fields(settings):
        value, meta = getattr(settings, f.name), f.metadata
        if value is None and f.default is None:
            continue
        hint = hints[f.name]
        expected = get_args(hint)[0] if isinstance(hint, UnionType) else hint  # "float | None" -> float
        object.__setattr__(settings, f.name, value := plain(value, expected))
        if type(value) is int and abs(value) > (most := sys.float_info.max if expected is float else COUNTS):
            raise InputError(f"{f.name}: the number is too large; give at most {most:,}")
        if expected is float and type(value) is int:
            object.__setattr__(settings, f.name, value := float(value))
        if expected in (int, float, bool, str) and type(value) is not expected:
            default = "" if f.default is MISSING else f", such as {f.default!r}"
            raise InputError(f"{f.name}: {value!r} is not {_A[expected]}{default}")
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{f.name}: {value} is not a finite number")
        for bound, holds, words in _BOUNDS:
            if bound in meta and not holds(value, meta[bound]):
                raise InputError(f"{f.name}: {value} must be {words} {meta[bound]}")
        if "choices" in meta and value not in meta["choices"]:
            raise InputError(f"{f.name}: {value!r} must be one of {', '.join(map(repr, meta['choices']))}")


_A = {int: "a whole number", float: "a number", bool: "True or False", str: "a word"}
_BOUNDS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("min", lambda value, bound: value >= bound, "at least"),
    ("above", lambda value, bound: value > bound, "greater than"),
    ("max", lambda value, bound: value <= bound, "at most"),
    ("below", lambda value, bound: value < bound, "less than"),
)
