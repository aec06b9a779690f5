"""How a picture changes while it follows a score: SDS against DDS, equal prompts, and many more steps than usual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from scumble.core.request import param
from scumble.core.types import Latent
from scumble.reproduce import drawing
from scumble.reproduce.experiment import (
    MOST_OF,
    Experiment,
    Measured,
    TableRow,
    Verdict,
    mean,
    percent,
    rows_of_guidance,
    share,
    some,
    values,
)
from scumble.reproduce.material import Material
from scumble.reproduce.paths import stops, times

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 2  # pictures of a strip
WHERE = {"outside": "what lies outside the mask", "distance": "the picture"}
SHARES, LONG_SHARES = (0, 0.25, 0.5, 1), (0, 0.1, 0.5, 1)  # of the steps, after which they are shown


def table(material: Material, states: Latent, at: Sequence[int], **name: object) -> list[TableRow]:
    """The rows of a path: states (len(at), n, c, h, w) after `at` steps."""
    return [
        {**name, "iteration": k, **row} for k, x in zip(at, states, strict=True) for row in material.seen(x)
    ]


def strip(material: Material, states: Latent, at: Sequence[int], shown: Sequence[int]) -> np.ndarray:
    """The first pictures after `shown` of the `at` steps, and their true edits, (SHOWN, columns, h, w, 3)."""
    few = material.first(SHOWN)
    columns = [few.drawn(states[at.index(k)][: len(few)]) for k in shown]
    answers = few.answers()
    return np.stack(columns if answers is None else [*columns, answers], axis=1)


def kept(rows: Sequence[TableRow]) -> str:
    """The column that measures how much of the rest was changed: everywhere, if no mask is known."""
    return "outside" if len(values(rows, "outside")) else "distance"


def heads(measured: Measured, shares: Sequence[float]) -> list[str]:
    """The heads of the columns of such strips."""
    names = [str(k) for k in stops(max(row["iteration"] for row in measured.rows), shares)]
    columns = next(iter(measured.pictures.values())).shape[1]
    return [*names, "true edit"][:columns]


@dataclass(frozen=True, kw_only=True)
class SDSAgainstDDS(Experiment):
    """Figures 1, 3 and 4 of the paper."""

    name: ClassVar[str] = "sds-vs-dds"
    title: ClassVar[str] = "SDS against DDS over the iterations"
    claim: ClassVar[str] = "SDS blurs the picture as it edits it; DDS keeps it sharp and near its source."
    criterion: ClassVar[str] = (
        "after the last step SDS has at most 0.9 of the sharpness of the true edit (without one: of the source), DDS "
        "more than that, and SDS has changed more outside the true mask (without one: everywhere) in at least three "
        "quarters of the pictures"
    )

    n: int = param(12, ge=1, help="pictures")
    steps: int = param(200, ge=1, help="steps of each descent")

    def evaluations(self, guidance: float) -> int:
        return self.n * self.steps * 3 * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        at, shown = stops(self.steps), stops(self.steps, SHARES)
        rows: list[TableRow] = []
        pictures: dict[str, np.ndarray] = {}
        for name in ("SDS", "DDS"):
            states = material.path(lambda m, name=name: m.sds(m.target) if name == "SDS" else m.dds(), at)
            rows += table(material, states, at, score=name)
            pictures[name] = strip(material, states, at, shown)
        return Measured(rows, pictures)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        last = max(row["iteration"] for row in rows)
        sds, dds = (some(rows, score=name, iteration=last) for name in ("SDS", "DDS"))
        where = kept(rows)
        more = share(values(sds, where) > values(dds, where))
        sharp = mean(sds, "sharpness"), mean(dds, "sharpness")
        return Verdict(
            sharp[0] <= 0.9 < sharp[1] and more >= MOST_OF,
            f"after {last} steps SDS has {sharp[0]:.2f} of the right sharpness and has changed {WHERE[where]} by "
            f"{mean(sds, where):.1f} 8-bit steps, DDS has {sharp[1]:.2f} and {mean(dds, where):.1f}; SDS has changed "
            f"it more in {percent(more)} of {len(sds)} pictures",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        above, below = drawing.stacked(figure, (1, 1.15))
        drawing.paths(above, measured.rows, "score", ["sharpness", kept(measured.rows), "achieved"])
        drawing.strips(below, measured.pictures, heads(measured, SHARES))


@dataclass(frozen=True, kw_only=True)
class Identity(Experiment):
    """Figure 3, bottom: the target prompt equals the source prompt, so nothing should change."""

    name: ClassVar[str] = "identity"
    title: ClassVar[str] = "Equal prompts: where nothing should change"
    claim: ClassVar[str] = "With equal prompts SDS still changes the picture; the gradient of DDS is zero."
    criterion: ClassVar[str] = (
        "the latent of DDS is its start's to the last bit, and SDS is more than 5 8-bit steps from the source in at "
        "least three quarters of the pictures"
    )

    n: int = param(8, ge=1, help="pictures")
    steps: int = param(200, ge=1, help="steps of each descent")

    def evaluations(self, guidance: float) -> int:
        return self.n * self.steps * 3 * rows_of_guidance(guidance)

    def measure(self, material: Material) -> Measured:
        at, shown, still = stops(self.steps), stops(self.steps, SHARES), material.still()
        rows: list[TableRow] = []
        pictures: dict[str, np.ndarray] = {}
        for name in ("SDS", "DDS"):
            states = still.path(lambda m, name=name: m.sds(m.target) if name == "SDS" else m.dds(), at)
            moved = (states - states[0]).abs().amax(dim=(2, 3, 4)).flatten().tolist()
            found = table(still, states, at, score=name)
            rows += [{**row, "moved": m} for row, m in zip(found, moved, strict=True)]
            pictures[name] = strip(still, states, at, shown)
        return Measured(rows, pictures)

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        last = max(row["iteration"] for row in rows)
        sds = some(rows, score="SDS", iteration=last)
        moved = values(some(rows, score="DDS"), "moved").max()
        far = share(values(sds, "distance") > 5)
        still = "stays equal to its start to the last bit" if moved == 0 else f"moves by up to {moved:.2g}"
        return Verdict(
            moved == 0 and far >= MOST_OF,
            f"with equal prompts the latent of DDS {still}, while SDS is {mean(sds, 'distance'):.1f} 8-bit steps from "
            f"the source after {last} steps, with {mean(sds, 'sharpness'):.2f} of its sharpness",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        above, below = drawing.stacked(figure, (1, 1.15))
        drawing.paths(above, measured.rows, "score", ["distance", "sharpness"])
        drawing.strips(below, measured.pictures, heads(measured, SHARES))


@dataclass(frozen=True, kw_only=True)
class Long(Experiment):
    """FlowEdit's appendix L (Kulikov et al. 2024, arXiv:2412.08629)."""

    name: ClassVar[str] = "long"
    title: ClassVar[str] = "DDS for ten times its steps"
    claim: ClassVar[str] = (
        "The loss of DDS rises as it goes on, and the picture deteriorates after its 200 steps (FlowEdit, appendix L)."
    )
    criterion: ClassVar[str] = (
        "at the end the loss is higher than at the start, and outside the true mask (without one: everywhere) the "
        "picture is at least half as far again from the source as after a tenth of the steps"
    )

    n: int = param(4, ge=1, help="pictures")
    steps: int = param(2000, ge=1, help="steps of the descent")
    levels: int = param(10, ge=1, help="times at which the loss is taken")

    def evaluations(self, guidance: float) -> int:
        looks = len(self._at()) * self.levels
        return self.n * (self.steps + looks) * 2 * rows_of_guidance(guidance)

    def _at(self) -> list[int]:
        return stops(self.steps, (0, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1))

    def measure(self, material: Material) -> Measured:
        at, shown = self._at(), stops(self.steps, LONG_SHARES)
        states = material.path(lambda m: m.dds(), at)
        losses = [self._loss(material, x) for x in states]
        rows = [
            {**row, "loss": loss}
            for row, loss in zip(
                table(material, states, at, score="DDS"), np.concatenate(losses), strict=True
            )
        ]
        return Measured(rows, {"DDS": strip(material, states, at, shown)})

    def _loss(self, material: Material, x: Latent) -> np.ndarray:
        """The mean squared gradient at fixed times and noise, for every picture."""
        draws = [(t, material.seed + k) for k, t in enumerate(times(self.levels))]
        grads = material.gradients(lambda m: m.dds(), x, draws)
        return grads.double().square().mean(dim=(0, 2, 3, 4)).cpu().numpy()

    def judge(self, rows: Sequence[TableRow]) -> Verdict:
        at = sorted({row["iteration"] for row in rows})
        tenth = min(at, key=lambda k: abs(k - at[-1] / 10))
        first, early, last = (some(rows, iteration=k) for k in (at[0], tenth, at[-1]))
        where = kept(rows)
        loss = [mean(part, "loss") for part in (first, early, last)]
        apart = [mean(part, where) for part in (early, last)]
        sharp = [mean(part, "sharpness") for part in (early, last)]
        return Verdict(
            loss[2] > loss[0] and apart[1] >= 1.5 * apart[0],
            f"the loss goes from {loss[0]:.4f} over {loss[1]:.4f} after {tenth} steps to {loss[2]:.4f} after {at[-1]}, "
            f"and the change of {WHERE[where]} from {apart[0]:.1f} to {apart[1]:.1f} "
            f"8-bit steps (sharpness {sharp[0]:.2f} to {sharp[1]:.2f}, n = {len(last)})",
        )

    def draw(self, figure: Figure, measured: Measured) -> None:
        above, below = drawing.stacked(figure, (1, 0.62))
        drawing.paths(above, measured.rows, "score", ["loss", kept(measured.rows), "sharpness"])
        drawing.strips(below, measured.pictures, heads(measured, LONG_SHARES))
