"""What SDS generates from noise, compared with samples of the same model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.request import param
from scumble.loops.ddim import ddim
from scumble.reproduce import drawing
from scumble.reproduce.experiment import (
    Experiment,
    Measured,
    TableRow,
    Verdict,
    levels,
    mean,
    rows_of_guidance,
    some,
    values,
)
from scumble.reproduce.material import Material
from scumble.reproduce.measure import apart
from scumble.reproduce.paths import follow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAINTERS = ("DDIM", "SDS")
SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class ModeSeeking(Experiment):
    """Figure 2: every result starts from its own noise."""

    name: ClassVar[str] = "mode-seeking"
    title: ClassVar[str] = "SDS from noise, against samples"
    claim: ClassVar[str] = "SDS from noise paints nearly the same picture whatever the noise; samples differ."
    criterion: ClassVar[str] = (
        "for every prompt the mean distance between results is at most 0.8 of that of samples"
    )
    height: ClassVar[float] = 3.6

    n: int = param(6, ge=2, help="results of every prompt")
    prompts: int = param(2, ge=1, help="prompts")
    steps: int = param(300, ge=1, help="steps of SDS")
    sampling: int = param(50, ge=1, help="steps of DDIM")

    @property
    def pictures(self) -> int:
        return self.prompts

    def within(self, count: int) -> Experiment:
        return replace(self, prompts=min(self.prompts, count))

    def evaluations(self, guidance: float) -> int:
        return self.prompts * self.n * (self.steps + self.sampling) * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        prompts = list(dict.fromkeys(material.prompts or material.target))[: self.prompts]
        rows: list[TableRow] = []
        pictures: dict[str, np.ndarray] = {}
        for k, prompt in enumerate(prompts):
            for name in PAINTERS:
                made = self._painted(material, prompt, name)
                rows += [
                    {"prompt": prompt, "painter": name, "first": i, "second": j, "distance": d}
                    for i, j, d in apart(made)
                ]
                pictures[f"{name} {k}"] = made[:SHOWN]
        return Measured(rows, pictures)

    @torch.no_grad()
    def _painted(self, material: Material, prompt: str, name: str) -> np.ndarray:
        """The pictures of one prompt, (n, h, w, 3)."""
        one, found = material.first(1), list[np.ndarray]()
        for i in range(0, self.n, material.batch):
            rows = min(material.batch, self.n - i)
            noise = Noise(material.seed + i, rows)
            start = noise.like(one.z.expand(rows, -1, -1, -1))
            said = [prompt] * rows
            if name == "SDS":
                (x,) = follow(one.sds(said), start, noise, [self.steps])
            else:
                denoise = guide(one.prior, one.text(said), one.text([""] * rows), one.guidance)
                schedule = one.prior.schedule
                x = ddim(denoise, start, schedule.grid(self.sampling), schedule)
            found.append(one.drawn(x))
        return np.concatenate(found)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        findings, ratios = [], []
        for prompt in levels(rows, "prompt"):
            sds, ddim = (
                mean(some(rows, prompt=prompt, painter=name), "distance") for name in ("SDS", "DDIM")
            )
            ratios.append(sds / ddim if ddim else np.inf)
            findings.append(f'{sds:.0f} against {ddim:.0f} for "{prompt}"')
        pairs = len(rows) // (2 * len(findings))
        return Verdict(
            max(ratios) <= 0.8,
            f"the mean distance between two results of SDS, against that of two samples, in 8-bit steps: "
            f"{'; '.join(findings)} ({pairs} pairs each)",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        left, right = drawing.beside(figure, (1, 2.3))
        axis = left.subplots()
        prompts = levels(measured.rows, "prompt")
        for i, name in enumerate(PAINTERS):
            for k, prompt in enumerate(prompts):
                ys = values(some(measured.rows, painter=name, prompt=prompt), "distance")
                at = k + 0.4 * (i - 0.5)
                xs = at + 0.12 * np.linspace(-1, 1, len(ys))
                shade = drawing.colour(name)
                axis.plot(xs, np.sort(ys), ".", ms=3, color=shade, alpha=0.6, label=name if k == 0 else None)
                axis.plot([at - 0.15, at + 0.15], [ys.mean()] * 2, color=shade, linewidth=2.5)
        axis.set(title="between two results [8-bit steps]", xlim=(-0.5, len(prompts) - 0.5))
        axis.set_xticks(range(len(prompts)), [f"prompt {k + 1}" for k in range(len(prompts))])
        axis.set_ylim(bottom=0)
        axis.legend()
        names = [f"{name} {k}" for k in range(len(prompts)) for name in PAINTERS]
        sides = [f"{name}, {k + 1}" for k in range(len(prompts)) for name in PAINTERS]
        drawing.grid(right, np.stack([measured.pictures[name] for name in names]), sides=sides)
