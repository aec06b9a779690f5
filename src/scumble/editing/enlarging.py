"""What `scumble upscale` is asked for, and by which kind of stage it is done: SR3's, or a later one of IF's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from scumble.core.errors import InputError
from scumble.core.loading import check_text
from scumble.core.machine import limits
from scumble.core.places import home
from scumble.editing import upscale
from scumble.editing.recipe import check_seed
from scumble.editing.upscale import STAGE, Upscaling

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

    from scumble.pictures.reading import Picture
    from scumble.priors.deepfloyd import IFPrior

FACTOR, STEPS, GUIDANCE, LEVEL = 4, 50, 4.0, 250
"""Of IF's second stage, as published. LEVEL: a step of its noising scheduler."""

WORDED = "prompt", "negative", "guidance"  # what a stage that takes no text does not know
Tell = Callable[[int, int], None]


class Drawer(Protocol):
    """A loaded stage and the values that it draws with."""

    @property
    def name(self) -> str: ...

    def check(self, picture: Picture) -> None:
        """Raises InputError for a picture that the stage cannot draw larger."""
        ...

    def picture(self, picture: Picture, tell: Tell | None = None) -> Picture: ...

    def stated(self) -> Mapping[str, Any]:
        """What a passport says: every value that decides the result."""
        ...


@dataclass(frozen=True, kw_only=True)
class Enlarging:
    """How a picture is drawn larger; None: the stage's own value.

    stage: the built-in one, a folder of `scumble train sr3`, or the folder of a cascade's later stage (IF's shape).
    factor, steps, level, seed: see `Upscaling`. prompt, negative, guidance: for stages that take text. Raises
    InputError for a seed that seeds nothing.
    """

    stage: str | Path = STAGE
    factor: int | None = None
    steps: int | None = None
    level: float | None = None
    seed: int = 0
    prompt: str | None = None
    negative: str | None = None
    guidance: float | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)

    def check(self, picture: Picture) -> None:
        """What can be said before anything is loaded. Raises InputError."""
        upscale.check_picture(picture.size, picture.name, self._factor)
        if not self.worded:
            self._plain()

    @property
    def worded(self) -> bool:
        """Whether the stage takes text: the folder of a whole pipeline."""
        return self.stage != STAGE and (home(self.stage) / "model_index.json").is_file()

    @property
    def _factor(self) -> int:
        return self.factor or (FACTOR if self.worded else Upscaling.factor)

    def load(self, device: str) -> Drawer:
        """Raises InputError for a stage that cannot be loaded, and for values that it cannot have."""
        if self.worded:
            return self._worded(device)
        from scumble.editing.upscaled import Upscaled

        asked = self._plain()
        return Upscaled(upscaling=asked, stage=upscale.load(asked), device=device)

    def _plain(self) -> Upscaling:
        for name in WORDED:
            if getattr(self, name) is not None:
                raise InputError(
                    f"{name}: the stage '{self.stage}' takes no text; leave --{name} out, or name the folder of one "
                    "that does with --stage"
                )
        values = {f.name: getattr(self, f.name) for f in fields(Upscaling)}
        return Upscaling(**{name: value for name, value in values.items() if value is not None})

    def _worded(self, device: str) -> Worded:
        from scumble.priors._folder import Folder
        from scumble.priors.deepfloyd import IFPrior
        from scumble.priors.load import readable

        with readable(Folder.open(self.stage)):
            prior = IFPrior.from_pretrained(self.stage, device=device)
        if prior.noising is None:
            raise InputError(
                f"stage {self.stage}: a first stage, which draws from text alone; name the folder of a later one"
            )
        if self._factor != FACTOR:
            raise InputError(
                f"factor: {self.factor}; {prior.card.id!r} was made for {FACTOR}, so leave --factor out"
            )
        prompt = self.prompt or ""
        if not prompt.strip():
            raise InputError(
                f"prompt: empty; describe the picture with --prompt, because {prior.card.id!r} takes text"
            )
        for name, words in (("prompt", prompt), ("negative", self.negative or "")):
            check_text(name, words)
        steps = STEPS if self.steps is None else self.steps
        if not 1 <= steps <= prior.schedule.T:
            raise InputError(f"steps: {steps}; choose 1 to {prior.schedule.T}")
        guidance = GUIDANCE if self.guidance is None else self.guidance
        if not 1 <= guidance < 1000:
            raise InputError(f"guidance: {guidance:g}; choose 1 (none) or more")
        return Worded(
            prior=prior,
            stage=self.stage,
            prompt=prompt,
            negative=self.negative or "",
            steps=steps,
            guidance=guidance,
            level=_step(self.level, prior),
            seed=self.seed,
        )


def _step(level: float | None, prior: IFPrior) -> int:
    """The step of the stage's noising scheduler whose noise has the standard deviation `level`, or the nearest."""
    assert prior.noising is not None
    if level is None:
        return min(LEVEL, prior.noising.T - 1)
    if not 0 <= level < 1:
        raise InputError(f"level: {level:g}; choose 0 (no noise) or more, but less than 1")
    return min(range(prior.noising.T), key=lambda k: abs(sigma(prior, k) - level))


def sigma(prior: IFPrior, step: int) -> float:
    """The standard deviation of the noise at a step of a later stage's noising scheduler."""
    assert prior.noising is not None
    return float(prior.noising.at(prior.noising.time(step, 1))[1])


@dataclass(frozen=True, kw_only=True)
class Worded:
    """A later stage of a cascade with the values that it draws with. `level`: a step of its noising scheduler."""

    prior: IFPrior
    stage: str | Path
    prompt: str
    negative: str
    steps: int
    guidance: float
    level: int
    seed: int

    @property
    def name(self) -> str:
        return self.prior.card.id

    def check(self, picture: Picture) -> None:
        """Raises InputError for a picture that is smaller than what the stage was trained to be given."""
        least, (width, height) = self.prior.card.size // FACTOR, picture.size
        if max(width, height) < least:
            raise InputError(
                f"{picture.name}: {width}x{height} pixels; {self.name!r} needs {least} or more on the long side"
            )

    def picture(self, picture: Picture, tell: Tell | None = None) -> Picture:
        """The picture at `FACTOR` times its size, in one piece: the stage's attention looks at all of it."""
        device = str(self.prior.device)
        with limits(device, upscale.remedy(device)):
            return upscale.redrawn(picture, lambda image: self._draw(image, tell), device)

    def _draw(self, image: Tensor, tell: Tell | None) -> Tensor:
        from torch.nn import functional as F

        from scumble.editing.cascade import Stage, draw

        height, width = image.shape[-2:]
        unit = self.prior.card.multiple // gcd(self.prior.card.multiple, FACTOR)
        image = F.pad(image, (0, -width % unit, 0, -height % unit), mode="replicate")
        stage = Stage(prior=self.prior, steps=self.steps, guidance=self.guidance, level=self.level)
        made = draw(
            [stage],
            self.prompt,
            negative=self.negative,
            seed=self.seed,
            factor=FACTOR,
            picture=image,
            on_step=tell,
        )
        return made[..., : FACTOR * height, : FACTOR * width]

    def stated(self) -> Mapping[str, Any]:
        from scumble.editing.passport import placeless

        card = self.prior.card
        return {
            "factor": FACTOR,
            "prompt": self.prompt,
            "negative": self.negative,
            "steps": self.steps,
            "guidance": self.guidance,
            "level": round(sigma(self.prior, self.level), 6),
            "noise_level": self.level,
            "seed": self.seed,
            "stage": {"name": placeless(str(self.stage)), "id": card.id, "hash": card.hash},
        }


def enlarged(picture: Picture, drawer: Drawer, tell: Tell | None = None) -> Image.Image:
    """A picture of any kind, drawn larger; transparency is upscaled by bicubic interpolation."""
    from scumble.pictures.canvas import finish

    drawn = drawer.picture(picture, tell)
    return finish(drawn.rgb, drawn)
