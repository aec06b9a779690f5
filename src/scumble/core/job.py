"""What all methods share: pictures, prompts and noise arranged in rows, progress, and the result."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, TypedDict, TypeVar

import torch
from torch import Tensor

from scumble.core.counted import Counted as Counted
from scumble.core.errors import InputError
from scumble.core.guidance import guide_several, within
from scumble.core.host import owned
from scumble.core.masks import blend
from scumble.core.noise import Noise
from scumble.core.prior import BOUND, Card, Denoiser, Prior, Text, clamped, thresholded
from scumble.core.request import Edit, EditRequest, Method, Needs, OnStep, Step, Watch
from scumble.core.schedule import Schedule
from scumble.core.text import Negative
from scumble.core.types import Image, Latent, Mask

Given = TypeVar("Given")


class Texts(TypedDict):
    """The texts of an edit's branches: the source's rows, the target's rows, and one null row per target."""

    source: Text
    target: Text
    null: Text


class Job:
    """One call of a method.

    b pictures give b rows. One picture with K targets gives K rows, which share its noise and its source (`sources`:
    the number of rows of a source branch). Without a picture, `image` is an empty canvas of the requested size. Raises
    InputError if the request lacks what the method needs, or its parts do not fit together.
    """

    def __init__(self, method: Method, prior: Prior, request: EditRequest, on_step: OnStep | None):
        self.method, self.request, self._on_step = method, _own(request), on_step
        self.prior = Counted(prior)
        self._check()
        self.image = self._canvas() if self.request.image is None else self.request.image
        cells = self.image.shape[-2] * self.image.shape[-1] // prior.card.multiple**2
        self.prior.schedule = prior.schedule.on(cells)
        self.source = _prompts(request.source)
        self.target = _prompts(request.target)
        self.negative = tuple(Negative(prompt) for prompt in _prompts(request.negative))
        counts = {"image": len(self.image), "source": len(self.source), "target": len(self.target)}
        counts["negative"] = len(self.negative)
        self.rows = max(counts.values())
        for name, count in counts.items():
            if count not in (1, self.rows):
                raise InputError(
                    f"{name}: {count} given where {self.rows} rows are edited; give 1 or {self.rows}"
                )
        self.sources = max(len(self.image), len(self.source))
        self.noise = request.noise or Noise(request.seed, len(self.image))
        self._kept: list[Latent] = []

    def _check(self) -> None:
        needs, request = self.method.needs, self.request
        wanted = {
            "image": (needs.image, "the picture to edit"),
            "source": (needs.source, "a prompt that describes the picture now"),
            "target": (needs.target, "a prompt that describes the picture as it should be"),
            "mask": (needs.mask, "a mask of what may change"),
            "reference": (needs.reference, "a reference picture"),
        }
        for name, (needed, words) in wanted.items():
            if needed and getattr(request, name) is None:
                raise InputError(f"{name}: missing; {type(self.method).__name__} needs {words}")
        for name in needs.given:
            if name not in request.given:
                raise InputError(f"given: {name!r} is missing; {type(self.method).__name__} needs it")
        if why := unable(type(self.method).__name__, self.method.needs, self.prior.card):
            raise InputError(why)
        also = [prompt for prompt, _ in request.also]
        texts = [*_prompts(request.source), *_prompts(request.target), *_prompts(request.negative), *also]
        if also and not self.method.composes:
            name = type(self.method).__name__
            raise InputError(f"also: {name} follows one target prompt; Sampling and SDEdit follow several")
        if any(texts) and "text" not in self.prior.card.capabilities:
            raise InputError(f"prompts: {self.prior.card.id} takes no text; leave source and target out")
        if request.image is None:
            self._check_size()
        image, latent = request.image, request.latent
        if latent is not None and (image is None or len(latent) != len(image)):
            raise InputError("latent: it must be that of the image; leave it out")

    def _canvas(self) -> Image:
        return torch.zeros(1, 3, *(self.request.size or (0, 0)), dtype=torch.float32, device="cpu")

    def _check_size(self) -> None:
        size, multiple = self.request.size, self.prior.card.multiple
        if size is None:
            raise InputError("image: missing; give the picture to edit, or the size of one to generate")
        if min(size) < multiple or any(side % multiple for side in size):
            raise InputError(f"size: {size}; both sides must be multiples of {multiple} for this model")
        if self.request.mask is not None:
            raise InputError("mask: there is no picture to keep outside it; leave the mask out")

    @property
    def schedule(self) -> Schedule:
        """The prior's schedule, with its grids fitted to this canvas. A method takes its times from it."""
        return self.prior.schedule

    def encode(self, *, sample: bool = False) -> Latent:
        """The pictures' latents (b, c, h, w): posterior means, or samples that draw from the job's noise."""
        known = self.request.latent
        if known is not None and not sample:
            return known
        return self.prior.encode(self.image, self.noise if sample else None)

    def spread(self, z: Latent) -> Tensor:
        """One picture's latent repeated in all rows; several pictures' latents unchanged."""
        return z.expand(self.rows, -1, -1, -1)

    def text(self, prompts: Sequence[str], rows: int | None = None) -> Text:
        """The embedded prompts in `rows` rows (default: all)."""
        height, width = self.image.shape[-2:]
        return self.prior.embed(prompts, size=(height, width)).expand(rows or self.rows)

    def texts(self) -> Texts:
        """All three texts. The source has one row if one picture with one source prompt has K targets."""
        return Texts(
            source=self.text(self.source, self.sources),
            target=self.text(self.target),
            null=self.text(self.negative),
        )

    def known(self, name: str, prompt: str) -> str:
        """A prompt that is a parameter of the method. Raises InputError for words that the prior does not know."""
        words = self.prior.card.words
        unknown = [
            word for word in re.findall(r"\w+", prompt.lower()) if words is not None and word not in words
        ]
        if unknown:
            raise InputError(
                f"{name}: model {self.prior.card.id!r} does not know {', '.join(map(repr, unknown))}; "
                f"set {name} to words that it knows"
            )
        return prompt

    def guide(
        self, w: float, *, rescale: float = 0.0, interval: tuple[float, float] = (0.0, 1.0)
    ) -> Denoiser:
        """The guided denoiser of the target prompts, and of those that the request adds (`EditRequest.also`).

        interval: shares of the model's times, 0 the clean end, between which it is guided; outside w is 1.
        """
        texts = [self.text(self.target), *(self.text((prompt,)) for prompt, _ in self.request.also)]
        weights = [1.0, *(float(weight) for _, weight in self.request.also)]
        null, (low, high) = self.text(self.negative), (share * self.schedule.T for share in interval)
        guided = guide_several(self.prior, texts, null, w, weights=weights, rescale=rescale)
        plain = guide_several(self.prior, texts, null, 1.0, weights=weights)
        return guided if interval == (0.0, 1.0) or w == 1 else within(guided, plain, low, high)

    def clamped(self, denoise: Denoiser, z: Latent) -> Denoiser:
        """The denoiser with x0 clamped to a picture's range. Raises InputError where the latents z are no pictures."""
        self._check_pixels("clamp", z)
        return clamped(denoise, self.prior.schedule)

    def thresholded(self, denoise: Denoiser, z: Latent, ratio: float) -> Denoiser:
        """The denoiser with x0 thresholded dynamically: `ratio` of its values stay, and the bound is at most BOUND.

        Raises InputError where the latents z are no pictures.
        """
        self._check_pixels("threshold", z)
        return thresholded(denoise, self.prior.schedule, ratio=ratio, most=BOUND)

    def _check_pixels(self, name: str, z: Latent) -> None:
        if z.shape[1:] != self.image.shape[1:]:
            card = self.prior.card
            raise InputError(f"{name}: {card.id!r} works on latents, which have no bounds; leave it out")

    def given(self, name: str, kind: type[Given], remedy: str) -> Given | None:
        """What the request gives under a name, or None. Raises InputError, with the remedy, for another type."""
        value = self.request.given.get(name)
        if value is not None and not isinstance(value, kind):
            raise InputError(f"{name}: {type(value).__name__} is not a {kind.__name__}; {remedy}")
        return value

    def mask(self, z: Latent) -> Mask | None:
        """The mask on the latent's grid: a cell may change as much as the pixel in it that may change most."""
        if self.request.mask is None:
            return None
        mask = self.request.mask.to(z)
        if float(mask.min()) < 0 or float(mask.max()) > 1:
            raise InputError("mask: values must be between 0 (keep) and 1 (may change)")
        if mask.shape[-2:] not in (z.shape[-2:], self.image.shape[-2:]):
            raise InputError(f"mask: {tuple(mask.shape[-2:])} fits neither the picture nor its latent")
        return torch.nn.functional.adaptive_max_pool2d(mask, z.shape[-2:])

    def watch(self, done: int = 0, n: int | None = None) -> Watch:
        """The callback for a loop's progress: its first step is step done + 1 of n (default: the loop's own number)."""

        def report(k: int, of: int, t: float, x: Latent, clean: Latent) -> None:
            if "trajectory" in self.request.keep:
                self._kept.append(x)
            if self._on_step is not None:
                step = Step(done + k, n or of, t, x, lambda: self.prior.decode(clean), self.evaluations)
                self._on_step(step)

        return report

    @property
    def evaluations(self) -> int:
        """Network evaluations so far, per row, rounded up."""
        return -(-self.prior.rows // self.rows)

    def edit(
        self,
        latent: Latent,
        maps: Mapping[str, Tensor] | None = None,
        kept: Mapping[str, object] | None = None,
        raw: Image | None = None,
    ) -> Edit:
        """The result: decoded, or made by the method itself; outside the mask it has the input's own pixels."""
        raw = image = self.prior.decode(latent) if raw is None else raw
        if self.request.mask is not None:
            mask = torch.nn.functional.interpolate(self.request.mask.to(raw), raw.shape[-2:])
            image = blend(self.image.to(raw), raw, mask)
        settings: dict[str, Any] = asdict(self.method)  # pyright: ignore[reportArgumentType]
        card = self.prior.card
        provenance = {"method": type(self.method).__name__, "settings": settings, "prior": card.id}
        prompts = {"source": self.source, "target": self.target, "negative": self.negative}
        prompts |= {"also": self.request.also} if self.request.also else {}
        return Edit(
            image=image,
            raw=raw,
            latent=latent,
            evaluations=self.evaluations,
            seed=self.request.seed,
            maps=maps or {},
            kept={
                **(kept or {}),
                **({"trajectory": self._kept} if "trajectory" in self.request.keep else {}),
            },
            provenance={**provenance, "prior_hash": card.hash, **prompts},
        )


JOINTLY = (
    "; it attends to picture and text together, and the method wants maps of words, resnets or a bottleneck"
)
APART = "; it attends to a masked text apart, or by linear attention, which no control reaches yet"


def unable(name: str, needs: Needs, card: Card) -> str | None:
    """Why a model with this card cannot run a method, in one sentence; None where it can."""
    for ability in ("gradient", "control"):
        if getattr(needs, ability) and not card.can(ability, joint=needs.joint):
            hint = "; load it unquantised, its layers not offloaded"
            if ability == "control":
                hint = (
                    JOINTLY if "joint" in card.capabilities else APART if "text" in card.capabilities else ""
                )
            return f"prior: {name} needs a model with {ability}, which {card.id!r} does not have{hint}"
    if needs.null and card.guidance != "free":
        return f"prior: {name} tunes the null text, and {card.id!r} was trained to run without one; use another one"
    return None


def _own(request: EditRequest) -> EditRequest:
    """The request with tensors that autograd takes."""
    pictures = {"image": owned(request.image), "latent": owned(request.latent)}
    return replace(request, **pictures, mask=owned(request.mask), reference=owned(request.reference))


def _prompts(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if given is None:
        return ("",)
    return (given,) if isinstance(given, str) else tuple(given)
