"""What the methods with a contrastive term on attention features (Nam et al. 2024) share: its hyper-parameters."""

from dataclasses import dataclass
from typing import TypedDict

from scumble.core.errors import InputError
from scumble.core.request import param
from scumble.methods._distillation import Distillation


class Looks(TypedDict):
    """The arguments that `CDSScore` and `IDSScore` take."""

    contrast: float
    patches: int
    sizes: tuple[int, ...]
    temperature: float


@dataclass(frozen=True, kw_only=True)
class Contrastive(Distillation):
    """Raises InputError for patch sizes that are no whole numbers from 1 on."""

    contrast: float = param(
        0.0,
        ge=0,
        try_=60.0,
        help="weight of the contrastive loss, per element: higher keeps more, 0 is none",
    )
    patches: int = param(
        256,
        ge=1,
        try_=2,
        needs="contrast=6",
        help="positions compared in every layer, drawn again in every step",
    )
    patch_sizes: str = param(
        "1,2", try_="1", needs="contrast=6", help="sides of the patches compared, in features"
    )
    temperature: float = param(
        0.07, gt=0, try_=0.5, needs="contrast=6", help="of the contrast: lower looks at the nearest alone"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.looks()

    def looks(self) -> Looks:
        try:
            sizes = tuple(int(size) for size in self.patch_sizes.split(","))
        except ValueError:
            sizes = ()
        if not sizes or min(sizes) < 1:
            raise InputError(
                f"patch_sizes: {self.patch_sizes!r}; give whole numbers from 1 on, such as '1,2'"
            )
        return {
            "contrast": self.contrast,
            "patches": self.patches,
            "sizes": sizes,
            "temperature": self.temperature,
        }
