"""Gradients at the start of a descent: where they lie, how long they are, and what they have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from scumble.core.request import param
from scumble.reproduce import drawing
from scumble.reproduce.experiment import (
    MOST_OF,
    Experiment,
    Measured,
    TableRow,
    Verdict,
    levels,
    mean,
    percent,
    rows_of_guidance,
    share,
    some,
    values,
)
from scumble.reproduce.material import Material
from scumble.reproduce.measure import cosine, energy, inside, norm
from scumble.reproduce.paths import times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAPS = ("SDS, target prompt", "SDS, source prompt", "DDS")
SHOWN = 3


@dataclass(frozen=True, kw_only=True)
class GradientMaps(Experiment):
    """Figure 4, bottom, averaged over times and noise."""

    name: ClassVar[str] = "gradient-maps"
    title: ClassVar[str] = "Where the gradients lie"
    claim: ClassVar[str] = (
        "The gradient of DDS lies on what the prompts change, that of SDS all over the picture."
    )
    criterion: ClassVar[str] = (
        "the share of the energy inside the true mask is larger for DDS than for SDS in at least three quarters of "
        "the pictures, and its mean by at least 10 points"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"mask"})
    height: ClassVar[float] = 4.6

    n: int = param(8, ge=1, help="pictures")
    draws: int = param(64, ge=1, help="times, each with noise of its own")

    def evaluations(self, guidance: float) -> int:
        return self.n * self.draws * 4 * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        draws = [(t, material.seed + k) for k, t in enumerate(times(self.draws))]
        scores = (lambda m: m.sds(m.target), lambda m: m.sds(m.source), lambda m: m.dds())
        rows: list[TableRow] = []
        maps: list[torch.Tensor] = []
        for name, score in zip(MAPS, scores, strict=True):
            each = torch.stack([energy(g) for g in material.gradients(score, material.z, draws)])
            within = inside(each.mean(0), material.mask.double()).tolist()
            area = material.mask.double().mean((1, 2, 3)).tolist()
            rows += [
                {"picture": p.task.id, "kind": p.task.kind, "score": name, "inside": w, "area": a}
                for p, w, a in zip(material.cases, within, area, strict=True)
            ]
            maps.append(each.sqrt().mean(0))
        few = material.first(SHOWN)
        pictures = {
            "before": few.drawn(few.z),
            "mask": np.stack([p.mask()[0, 0].numpy() > 0 for p in few.cases]),
            "maps": torch.stack(maps, dim=1)[:SHOWN].float().cpu().numpy(),
        }
        return Measured(rows, pictures)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        sds, dds = (some(rows, score=name) for name in (MAPS[0], MAPS[2]))
        more = share(values(dds, "inside") > values(sds, "inside"))
        return Verdict(
            mean(dds, "inside") >= mean(sds, "inside") + 0.1 and more >= MOST_OF,
            f"{percent(mean(dds, 'inside'))} of the energy of DDS lies inside the true mask, which is "
            f"{percent(mean(dds, 'area'))} of the picture, and {percent(mean(sds, 'inside'))} of that of SDS; it is "
            f"more in {percent(more)} of {len(dds)} pictures",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        left, right = drawing.beside(figure, (1.7, 1))
        pictures, most = measured.pictures, float(measured.pictures["maps"].max())
        sources = np.stack(
            [drawing.outlined(*both) for both in zip(pictures["before"], pictures["mask"], strict=True)]
        )
        maps = drawing.heat(pictures["maps"], most, sources.shape[1:3])
        heads = [name.replace(", ", ",\n") for name in ("source, true mask", *MAPS)]
        shown = drawing.grid(left, np.concatenate([sources[:, None], maps], axis=1), heads)
        drawing.scale(left, shown, most, "mean |gradient| of a cell")
        axis = right.subplots()
        area = values(some(measured.rows, score="DDS"), "area")
        axis.plot([0, 100], [0, 100], color=drawing.FAINT, linestyle=":", label="evenly spread")
        for i, name in enumerate(MAPS):
            within = values(some(measured.rows, score=name), "inside")
            shade = drawing.COLOURS[2] if i == 1 else drawing.colour(name)
            axis.plot(100 * area, 100 * within, drawing.MARKERS[i], color=shade, label=name)
        axis.set(xlabel="area of the mask [% of picture]", title="energy inside the mask [%]")
        axis.legend(loc="lower right")


PAIRS = ("matched pair", "random pair", "matched, other noise")


@dataclass(frozen=True, kw_only=True)
class Bias(Experiment):
    """The paper's assumption: similar pairs of a picture and its own prompt have the same bias."""

    name: ClassVar[str] = "bias"
    title: ClassVar[str] = "What SDS gradients of matched pictures and prompts share"
    claim: ClassVar[str] = (
        "SDS gradients of two alike pictures, each with its own prompt, point the same way under the same noise; those "
        "of unlike pictures less so, and those under other noise not at all."
    )
    criterion: ClassVar[str] = (
        "the mean cosine of matched pairs is at least 0.5 and larger than that of random pairs by at least 0.1, and "
        "that under other noise is between -0.1 and 0.1"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"truth"})
    height: ClassVar[float] = 2.9

    n: int = param(16, ge=2, help="pictures")
    levels: int = param(8, ge=1, help="times")
    draws: int = param(4, ge=1, help="draws of noise at each")

    def evaluations(self, guidance: float) -> int:
        return self.n * self.levels * self.draws * 3 * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        at = [t for t in times(self.levels) for _ in range(self.draws)]
        same = [(t, material.seed + k) for k, t in enumerate(at)]
        other = [(t, seed + len(at)) for t, seed in same]
        before = material.gradients(lambda m: m.sds(m.source), material.z, same)
        after = material.gradients(lambda m: m.sds(m.target), material.truth, same)
        anew = material.gradients(lambda m: m.sds(m.target), material.truth, other)
        pairs = zip(PAIRS, (after, after.roll(1, 1), anew), strict=True)
        rows: list[TableRow] = []
        for name, partner in pairs:
            found = torch.stack([cosine(a, b) for a, b in zip(before, partner, strict=True)])
            found = found.reshape(self.levels, self.draws, -1).mean(1)
            rows += [
                {"pair": name, "time": t, "picture": p.task.id, "kind": p.task.kind, "cosine": float(c)}
                for t, row in zip(times(self.levels), found, strict=True)
                for p, c in zip(material.cases, row, strict=True)
            ]
        return Measured(rows)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        matched, random, other = (mean(some(rows, pair=name), "cosine") for name in PAIRS)
        n = len(levels(rows, "picture"))
        return Verdict(
            matched >= max(0.5, random + 0.1) and abs(other) <= 0.1,
            f"the mean cosine is {matched:.2f} for matched pairs, {random:.2f} for random pairs under the same noise, "
            f"and {other:.2f} for matched pairs under other noise (n = {n})",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        (axis,) = drawing.paths(figure, measured.rows, "pair", ["cosine"], "time")
        axis.axhline(0, color=drawing.FAINT, linewidth=0.8)
        axis.set_ylim(-0.15, 1.15)
        axis.legend(loc="upper center", ncols=3)


PROMPTS = ("its own prompt", "another's prompt")


@dataclass(frozen=True, kw_only=True)
class Norms(Experiment):
    """The length of the SDS gradient, where nothing should change and where much should."""

    name: ClassVar[str] = "norms"
    title: ClassVar[str] = "The length of the SDS gradient"
    claim: ClassVar[str] = (
        "The SDS gradient is shorter where prompt and picture match than where they do not, but it is not zero there."
    )
    criterion: ClassVar[str] = (
        "over all times the gradient is shorter with its own prompt in at least three quarters of the pictures, and "
        "its mean is still at least a tenth of the other's"
    )
    height: ClassVar[float] = 2.9

    n: int = param(16, ge=2, help="pictures")
    levels: int = param(10, ge=1, help="times")
    draws: int = param(4, ge=1, help="draws of noise at each")

    def evaluations(self, guidance: float) -> int:
        return self.n * self.levels * self.draws * 2 * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        at = [t for t in times(self.levels) for _ in range(self.draws)]
        draws = [(t, material.seed + k) for k, t in enumerate(at)]
        others = dict(zip(material.source, [*material.source[1:], material.source[0]], strict=True))
        rows: list[TableRow] = []
        for name in PROMPTS:
            grads = material.gradients(
                lambda m, name=name: m.sds(m.source if name == PROMPTS[0] else [others[s] for s in m.source]),
                material.z,
                draws,
            )
            found = torch.stack([norm(g) for g in grads]).reshape(self.levels, self.draws, -1).mean(1)
            rows += [
                {"prompt": name, "time": t, "picture": p.task.id, "norm": float(v)}
                for t, row in zip(times(self.levels), found, strict=True)
                for p, v in zip(material.cases, row, strict=True)
            ]
        return Measured(rows)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        own, other = (
            np.array([mean(some(rows, prompt=name, picture=p), "norm") for p in levels(rows, "picture")])
            for name in PROMPTS
        )
        shorter = share(own < other)
        return Verdict(
            shorter >= MOST_OF and own.mean() >= 0.1 * other.mean(),
            f"the root mean square of the gradient is {own.mean():.3f} with the picture's own prompt and "
            f"{other.mean():.3f} with another's; it is shorter in {percent(shorter)} of {len(own)} pictures",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        (axis,) = drawing.paths(figure, measured.rows, "prompt", ["norm"], "time")
        axis.set_ylim(bottom=0)
        axis.legend(loc="upper center", ncols=2)
