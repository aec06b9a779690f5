"""What settings of an edit change: guidance, optimizer, a pull to the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scumble.core.request import param
from scumble.loops.optimizers import OPTIMIZERS
from scumble.methods.dds import DDS
from scumble.reproduce import drawing
from scumble.reproduce.descents import SHOWN, strip, table
from scumble.reproduce.experiment import (
    MOST_OF,
    Experiment,
    Floats,
    Measured,
    TableRow,
    Verdict,
    curve,
    levels,
    mean,
    percent,
    rows_of_guidance,
    share,
    some,
    values,
)
from scumble.reproduce.material import Material
from scumble.reproduce.measure import norm
from scumble.reproduce.paths import Pulled, stops, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARGIN = 16  # evaluations of a picture's direction, whose start is taken too


@dataclass(frozen=True, kw_only=True)
class Guidance(Experiment):
    """Figure 5."""

    name: ClassVar[str] = "guidance"
    title: ClassVar[str] = "The guidance scale of DDS"
    claim: ClassVar[str] = (
        "Low guidance follows the target prompt less; high guidance is less faithful to the source."
    )
    criterion: ClassVar[str] = (
        "the direction gained at the lowest guidance is at most 0.8 of the best one's, and the highest guidance ends "
        "farther from the source than the lowest in at least three quarters of the pictures"
    )

    n: int = param(8, ge=1, help="pictures")
    steps: int = param(200, ge=1, help="steps of each descent")
    scales: tuple[float, ...] = (1.0, 3.0, 5.0, 7.5, 15.0)

    def evaluations(self, guidance: float) -> int:
        rows = sum(self.steps * 2 * rows_of_guidance(w) + 2 * MARGIN for w in self.scales)
        return self.n * rows

    def measure(self, material: Material) -> Measured:
        rows: list[TableRow] = []
        ends: list[np.ndarray] = []
        for w in self.scales:
            (x,) = material.path(lambda m, w=w: m.dds(guidance=w), [self.steps])
            seen = zip(material.seen(x), material.directions(x), strict=True)
            rows += [{"guidance": w, **row, "direction": d} for row, d in seen]
            ends.append(material.drawn(x[:SHOWN]))
        before = material.drawn(material.z[:SHOWN])
        return Measured(rows, {"pictures": np.stack([before, *ends], axis=1)})

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        scales = sorted(levels(rows, "guidance"))
        low, high = (some(rows, guidance=w) for w in (scales[0], scales[-1]))
        gained = {w: mean(some(rows, guidance=w), "direction") for w in scales}
        best = max(gained, key=lambda w: gained[w])
        farther = share(values(high, "distance") > values(low, "distance"))
        return Verdict(
            gained[scales[0]] <= 0.8 * gained[best] and farther >= MOST_OF,
            f"w = {scales[0]:g} gains {gained[scales[0]]:+.4f} of direction at {mean(low, 'distance'):.1f} 8-bit steps "
            f"from the source, w = {best:g} gains the most, {gained[best]:+.4f}, and w = {scales[-1]:g} ends "
            f"{mean(high, 'distance'):.1f} away, farther than w = {scales[0]:g} in {percent(farther)} of {len(low)}",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        above, below = drawing.stacked(figure, (1, 1.2))
        rows = [{**row, "method": "DDS"} for row in measured.rows]
        axes = drawing.paths(above, rows, "method", ["direction", "distance", "achieved"], "guidance")
        scales = levels(measured.rows, "guidance")
        for axis in axes:
            axis.set_xscale("log")
            axis.set_xticks(scales, [f"{w:g}" for w in scales])
            axis.minorticks_off()
        drawing.grid(below, measured.pictures["pictures"], ["source", *(f"w = {w:g}" for w in scales)])


@dataclass(frozen=True, kw_only=True)
class Regularised(Experiment):
    """SDS with an L2 term that pulls to the source, for several weights."""

    name: ClassVar[str] = "regularised"
    title: ClassVar[str] = "SDS pulled back to the source, against DDS"
    claim: ClassVar[str] = "An L2 term does not save SDS: it blurs still, or does not edit."
    criterion: ClassVar[str] = (
        "no weight of the pull gives SDS both at least 0.95 of the sharpness of DDS and at least its direction"
    )

    n: int = param(8, ge=1, help="pictures")
    steps: int = param(200, ge=1, help="steps of each descent")
    weights: tuple[float, ...] = (0.0, 0.03, 0.1, 0.3, 1.0)

    def evaluations(self, guidance: float) -> int:
        descents = (len(self.weights) + 2) * self.steps * rows_of_guidance(guidance)
        return self.n * (descents + 2 * MARGIN * (len(self.weights) + 1))

    def measure(self, material: Material) -> Measured:
        rows: list[TableRow] = []
        ends: list[np.ndarray] = []
        for weight in (*self.weights, None):
            (x,) = material.path(
                lambda m, weight=weight: m.dds() if weight is None else Pulled(m.sds(m.target), m.z, weight),
                [self.steps],
            )
            name = {"score": "DDS" if weight is None else "SDS", "weight": weight}
            seen = zip(material.seen(x), material.directions(x), strict=True)
            rows += [{**name, **row, "direction": d} for row, d in seen]
            ends.append(material.drawn(x[:SHOWN]))
        before = material.drawn(material.z[:SHOWN])
        return Measured(rows, {"pictures": np.stack([before, *ends], axis=1)})

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        dds = some(rows, score="DDS")
        goal = mean(dds, "sharpness"), mean(dds, "direction")
        found = {w: some(rows, score="SDS", weight=w) for w in levels(some(rows, score="SDS"), "weight")}
        reached = {w: (mean(part, "sharpness"), mean(part, "direction")) for w, part in found.items()}
        equal = [w for w, (s, d) in reached.items() if s >= 0.95 * goal[0] and d >= goal[1]]
        near = min(reached, key=lambda w: abs(reached[w][1] - goal[1]))
        return Verdict(
            not equal,
            f"DDS ends with {goal[0]:.2f} of the right sharpness and {goal[1]:+.4f} of direction; SDS comes nearest to "
            f"that direction with weight {near:g}, at {reached[near][1]:+.4f}, with {reached[near][0]:.2f} of the "
            f"sharpness (n = {len(dds)})",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        above, below = drawing.stacked(figure, (1, 0.75))
        axes = above.subplots(1, 2)
        weights = levels(some(measured.rows, score="SDS"), "weight")
        for axis, column in zip(axes, ("sharpness", "distance"), strict=True):
            points = [some(measured.rows, score="SDS", weight=w) for w in weights]
            xs, ys = ([mean(part, c) for part in points] for c in (column, "direction"))
            axis.plot(xs, ys, color=drawing.colour("SDS"), marker="s", label="SDS + weight (x - source)")
            for x, y, w in zip(xs, ys, weights, strict=True):
                axis.annotate(f"{w:g}", (x, y), (4, 4), textcoords="offset points", fontsize=7)
            dds = some(measured.rows, score="DDS")
            axis.plot(
                mean(dds, column), mean(dds, "direction"), "o", ms=7, color=drawing.colour("DDS"), label="DDS"
            )
            axis.set(xlabel=drawing.LABELS[column], title=drawing.LABELS["direction"])
        axes[0].legend()
        heads = ["source", "SDS", *(f"pull {w:g}" for w in weights[1:]), "DDS"]
        drawing.grid(below, measured.pictures["pictures"], heads)


@dataclass(frozen=True, kw_only=True)
class Optimizers(Experiment):
    """The same gradients with different steps. The rates are chosen so that all first steps have the same size."""

    name: ClassVar[str] = "optimizers"
    title: ClassVar[str] = "How the gradient of DDS becomes a step"
    claim: ClassVar[str] = (
        "Adam amplifies the noise of the gradient and changes the whole picture; plain SGD does not."
    )
    criterion: ClassVar[str] = (
        "to achieve as much of the change inside the mask (0.9 of what the weaker of the two reaches), Adam changes "
        "at least a quarter more outside it than SGD"
    )
    needs: ClassVar[frozenset[str]] = frozenset({"mask", "truth"})

    n: int = param(8, ge=1, help="pictures")
    steps: int = param(200, ge=1, help="steps of each descent")

    def evaluations(self, guidance: float) -> int:
        return self.n * (len(OPTIMIZERS) * self.steps + 16) * 2 * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        draws = [(t, material.seed + k) for k, t in enumerate(times(16))]
        size = float(norm(material.gradients(lambda m: m.dds(), material.z, draws).flatten(0, 1)).mean())
        rates = {"sgd": 1.0, "momentum": 0.1}  # the sum of a momentum of 0.9 is ten gradients
        at, shown = stops(self.steps), stops(self.steps, (0.25, 1))
        rows: list[TableRow] = []
        pictures: dict[str, np.ndarray] = {}
        for name, optimizer in OPTIMIZERS.items():
            rate = DDS.rate * rates.get(name, size)
            states = material.path(lambda m: m.dds(), at, rate=rate, optimizer=optimizer)
            rows += table(material, states, at, optimizer=name, rate=rate)
            pictures[name] = strip(material, states, at, shown)
        return Measured(rows, pictures)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        found = {name: _trade(some(rows, optimizer=name)) for name in ("sgd", "adam")}
        goal = 0.9 * min(achieved.max() for _, achieved in found.values())
        price = {name: _price(*path, goal) for name, path in found.items()}
        n = len(levels(rows, "picture"))
        return Verdict(
            goal > 0 and price["adam"] >= 1.25 * price["sgd"],
            f"when {percent(goal)} of the change is achieved, Adam has changed what lies outside the mask by "
            f"{price['adam']:.1f} 8-bit steps, SGD by {price['sgd']:.1f}; their best are "
            f"{percent(found['adam'][1].max())} and {percent(found['sgd'][1].max())} (n = {n})",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        left, right = drawing.beside(figure, (0.85, 1))
        axis = left.subplots()
        for i, name in enumerate(levels(measured.rows, "optimizer")):
            outside, achieved = _trade(some(measured.rows, optimizer=name))
            shade = drawing.COLOURS[i]
            axis.plot(outside, achieved, color=shade, marker=drawing.MARKERS[i], label=name)
        axis.set(xlabel=f"change {drawing.LABELS['outside']}", title=drawing.LABELS["achieved"])
        axis.legend()
        at = stops(max(row["iteration"] for row in measured.rows), (0.25, 1))
        columns = next(iter(measured.pictures.values())).shape[1]
        drawing.strips(right, measured.pictures, [*map(str, at), "true edit"][:columns])


def _trade(rows: Sequence[TableRow]) -> tuple[Floats, Floats]:
    """What a path changed outside the mask and achieved inside it: means over the pictures at every stop."""
    return curve(rows, "iteration", "outside")[1], curve(rows, "iteration", "achieved")[1]


def _price(outside: Floats, achieved: Floats, goal: float) -> float:
    """What was changed outside when `goal` was first achieved, by linear interpolation between stops."""
    k = int(np.argmax(achieved >= goal))
    if k == 0:
        return float(outside[0])
    part = (goal - achieved[k - 1]) / (achieved[k] - achieved[k - 1])
    return float(outside[k - 1] + part * (outside[k] - outside[k - 1]))
