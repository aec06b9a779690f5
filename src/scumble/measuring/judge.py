"""How good an edit is, against exact ground truth: arithmetic on 8-bit pictures, and the reader of scenes.

Nothing here knows how the edit was made. What cannot be known without a truth, a mask or a scene is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from scumble.core.connected import Bools
from scumble.core.pixels import Pixels, psnr, rms
from scumble.scenes import Scene, SceneEdit, mistakes, read_picture

SUCCESS = 0.25
"""An edit is done when at most this share of the source's squared error to the true edit is left inside the mask."""

MARGIN = 6.0
"""dB: what is kept may lose this much more than the codec alone loses there."""

BEST_CODEC = 40.0
"""dB: a codec that copies better counts as this; nobody sees the rest, and some copy exactly."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Known:
    """What is known of an edit's right answers.

    source: (h, w, 3). truths: the picture of every valid answer. masks: (h, w) for each truth, or one where there
    are no truths: True may change. scenes: what a right answer shows, any of them.
    """

    source: Pixels
    truths: tuple[Pixels, ...] = ()
    masks: tuple[Bools, ...] = ()
    scenes: tuple[Scene, ...] = ()

    @classmethod
    def of(cls, edit: SceneEdit, size: int | tuple[int, int]) -> Known:
        """All of it: `size` is the side of a square or (height, width)."""
        source, truths = edit.pictures(size)
        masks = tuple(edit.hard_mask(size, i) for i in range(len(truths)))
        return cls(source=source, truths=truths, masks=masks, scenes=edit.targets)

    @property
    def first(self) -> Known:
        """The first answer alone: what is right for whom its mask is given."""
        return replace(self, truths=self.truths[:1], masks=self.masks[:1], scenes=self.scenes[:1])


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The scores of one edit; None is not applicable.

    found: the reader finds the requested change, and everything else as it was.
    left: squared error to the nearest truth inside its mask, as a share of the source's; None for a no-op.
    preserved: PSNR to the source over the pixels outside the mask, dB; None where there are none.
    codec: what `preserved` would be if only the codec had touched the source.
    leaked: the share of all squared change that fell outside the mask.
    changed: RMS difference to the source over the whole picture, 8-bit steps: the error of a no-op.
    """

    found: bool | None
    left: float | None
    preserved: float | None
    codec: float | None
    leaked: float | None
    changed: float

    @property
    def done(self) -> bool | None:
        """Whether at most the share `SUCCESS` of the error is left."""
        return None if self.left is None else self.left <= SUCCESS

    @property
    def success(self) -> bool | None:
        """Done, and found if a scene says what there is to find."""
        return None if self.done is None else self.done and self.found is not False

    @property
    def joint(self) -> bool | None:
        """Success, and the kept part is within `MARGIN` of what the codec alone preserves."""
        if self.success is None or self.preserved is None or self.codec is None:
            return None
        return self.success and self.preserved >= min(self.codec, BEST_CODEC) - MARGIN


def judge(known: Known, result: Pixels, codec: Pixels | None = None, *, read: bool = True) -> Judged:
    """Scores a result (h, w, 3) against the nearest truth.

    codec: the codec's own picture of the source. read: whether to read the scene, which takes the most time.
    """
    errors = [_left(known.source, result, t, m) for t, m in zip(known.truths, known.masks, strict=False)]
    nearest = int(np.argmin([np.inf if e is None else e for e in errors])) if errors else 0
    mask = known.masks[nearest] if known.masks else None
    return Judged(
        found=_found(result, known.scenes) if read else None,
        left=errors[nearest] if errors else None,
        preserved=_kept(known.source, result, mask),
        codec=None if codec is None else _kept(known.source, codec, mask),
        leaked=_leaked(known.source, result, mask),
        changed=rms(known.source, result),
    )


def _found(result: Pixels, scenes: Sequence[Scene]) -> bool | None:
    if not scenes:
        return None
    seen = read_picture(result).scene
    return any(not mistakes(scene, seen) for scene in scenes)


def _left(source: Pixels, result: Pixels, truth: Pixels, mask: Bools) -> float | None:
    goal = truth[mask].astype(np.float64)
    asked = float(np.square(source[mask] - goal).sum())
    return float(np.square(result[mask] - goal).sum()) / asked if asked else None


def _kept(source: Pixels, result: Pixels, mask: Bools | None) -> float | None:
    return None if mask is None or mask.all() else psnr(source[~mask], result[~mask])


def _leaked(source: Pixels, result: Pixels, mask: Bools | None) -> float | None:
    if mask is None or mask.all() or not mask.any():
        return None
    change = np.square(source.astype(np.float64) - result).sum(-1)
    return float(change[~mask].sum() / change.sum()) if change.any() else None
