"""Guidance: the one place that turns (text, null, w) into rows of a network call, and answers into a prediction.

A model says in `Card.guidance` how it is guided:

| kind | rows asked | w |
|---|---|---|
| "free" | null and text; at w = 1 the text alone | null + w (text - null) (Ho & Salimans 2022, arXiv:2207.12598) |
| "embedded" | text | in `Text.extra["guidance"]` (b,): the network was distilled to take it as an input |
| "none" | text | must be 1 |

A model without text is asked its one row, whatever w. Where `Card.norm` says so, the combination keeps the norms of the
text's own output, patch by patch (`normed`). Combinations of other rows are functions over what `ask`
returns: `chained`, `composed`, `rescaled`; `within` limits guidance to an interval of times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

from scumble.core.control import Row
from scumble.core.errors import InputError
from scumble.core.prediction import Prediction
from scumble.core.prior import Card, Denoiser, NullText, Panel, Prior
from scumble.core.rescaling import normed as normed
from scumble.core.rescaling import rescaled as rescaled
from scumble.core.schedule import Schedule
from scumble.core.text import Text
from scumble.core.types import Coef, Latent, Mask, Time


@dataclass(frozen=True, eq=False)
class Branch:
    """One role with guidance in a call: the rows that it needs, and how their predictions combine. Made by `branch`.

    `null` is None if no null row is needed; `w` is a number or (b,), one per row; `norm`: see `Card`.
    """

    role: str
    text: Text
    null: NullText | None
    w: float | Tensor
    norm: int = 0

    @property
    def rows(self) -> tuple[Row, ...]:
        """The null row, if there is one, then the text row."""
        text: Row = (self.role, "text")
        return (text,) if self.null is None else ((self.role, "null"), text)

    def texts(self, t: Time) -> dict[Row, Text]:
        """The text of every row at times t."""
        texts: dict[Row, Text] = {(self.role, "text"): self.text}
        if self.null is not None:
            texts[self.role, "null"] = self.null(t) if callable(self.null) else self.null
        return texts

    def combine(self, p: Mapping[Row, Prediction], schedule: Schedule, at: Time) -> Prediction:
        """null + w (text - null) of this role's rows, which stand at level `at`, with the text's norms where the model
        keeps them; the text alone if there is no null row.
        """
        text = p[self.role, "text"]
        if self.null is None:
            return text
        w = self.w.to(text.eps).reshape(-1, 1, 1, 1) if isinstance(self.w, Tensor) else self.w
        guided = p[self.role, "null"].toward(text, w)
        return normed(schedule, at, guided, text, self.norm) if self.norm else guided


def branch(card: Card, role: str, text: Text, null: NullText | None, w: float | Tensor) -> Branch:
    """The branch of a role on a model with this card. `null` None: the role has no guidance.

    Raises InputError if the model does not support the requested guidance: w other than 1, or its own null text (a
    negative prompt, null-text inversion), on a model whose guidance has no null row.
    """
    if null is None or "text" not in card.capabilities:
        return Branch(role, _embedded(card, text, 1.0), None, 1.0)
    if card.guidance != "free":
        _refuse(card, null, w)
        return Branch(role, _embedded(card, text, w), None, w)
    alone = not isinstance(w, Tensor) and w == 1
    return Branch(role, text, None if alone else null, w, card.norm)


def _embedded(card: Card, text: Text, w: float | Tensor) -> Text:
    if card.guidance != "embedded":
        return text
    weights = torch.as_tensor(w, dtype=torch.float32).to(text.tokens.device).expand(len(text))
    return replace(text, extra={**text.extra, "guidance": weights})


def _refuse(card: Card, null: NullText, w: float | Tensor) -> None:
    if card.guidance == "none" and bool(torch.as_tensor(w != 1).any()):
        raise InputError(f"guidance: {w}; model {card.id!r} was trained to run without it: set guidance to 1")
    if callable(null) or any(null.prompts):
        which = "a tuned null text" if callable(null) else repr(next(filter(None, null.prompts)))
        raise InputError(
            f"negative: {which}; model {card.id!r} reads the target prompt alone, so nothing can stand in for "
            "the empty one: leave it out, or use another method"
        )


class Guided:
    """Several branches in one call: the null rows of all roles first, then their text rows."""

    def __init__(self, prior: Prior, branches: Sequence[Branch]):
        self._prior = prior
        self.branches = {branch.role: branch for branch in branches}
        rows = [row for branch in branches for row in branch.rows]
        self.rows = tuple(sorted(rows, key=lambda row: row[1]))  # "null" before "text"; stable
        self._changing = any(callable(branch.null) for branch in branches)
        self._panels: dict[tuple[Row, ...], Panel] = {}

    def ask(
        self, x: Mapping[str, Tensor], t: Time, at: Time | None = None, *, rows: Sequence[Row] | None = None
    ) -> dict[Row, Prediction]:
        """One network call: takes the state of each role at times t and returns the predictions of rows (default:
        all).
        """
        rows = self.rows if rows is None else tuple(rows)
        return self._panel(rows, t).ask(self._prior, {row: x[row[0]] for row in rows}, t, at)

    def __call__(self, x: Mapping[str, Tensor], t: Time, at: Time | None = None) -> dict[str, Prediction]:
        """One network call: from the state of each role at times t to the prediction of each role, with guidance."""
        p = self.ask(x, t, at)
        level, schedule = t if at is None else at, self._prior.schedule
        return {
            role: branch.combine(p, schedule, level[: len(x[role])]) for role, branch in self.branches.items()
        }

    def _panel(self, rows: tuple[Row, ...], t: Time) -> Panel:
        if rows in self._panels and not self._changing:
            return self._panels[rows]
        texts: dict[Row, Text] = {}
        for one in self.branches.values():
            texts |= one.texts(t)
        self._panels[rows] = Panel({row: texts[row] for row in rows})
        return self._panels[rows]


def guide(prior: Prior, text: Text, null: NullText, w: float | Tensor) -> Denoiser:
    """The guided denoiser of one branch, whose rows a control sees as "target".

    w is a number or (b,), one per row; a negative prompt is just another null. Raises InputError as `branch` does.
    """
    guided = Guided(prior, [branch(prior.card, "target", text, null, w)])
    return lambda x_t, t, at=None: guided({"target": x_t}, t, at)["target"]


def guide_several(
    prior: Prior,
    texts: Sequence[Text],
    null: NullText,
    w: float,
    *,
    weights: Sequence[float] | None = None,
    rescale: float = 0.0,
) -> Denoiser:
    """null + w sum over k of v_k (text_k - null): one picture under several prompts, each with its weight v_k
    (default 1), and the guided output `rescaled`. One prompt of weight 1, not rescaled, is `guide`.

    A control sees the first prompt's rows as "target", the others' as "target 2", ... Raises InputError for a model
    whose guidance has no null row, and as `branch` does.
    """
    weights = weights or [1.0] * len(texts)
    if list(weights) == [1.0] and (not rescale or w == 1):
        return guide(prior, texts[0], null, w)
    if prior.card.guidance != "free" or "text" not in prior.card.capabilities:
        what = "several prompts" if len(texts) > 1 else "a weighted prompt" if weights[0] != 1 else "rescale"
        raise InputError(
            f"{what}: model {prior.card.id!r} is not guided by the difference of two prompts; use one prompt, and "
            "no rescale"
        )
    empty: Row = ("target", "null")
    rows: dict[Row, Text] = {(_role(k), "text"): text for k, text in enumerate(texts, 1)}
    shares = dict(zip(rows, weights, strict=True))

    def denoise(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        panel = Panel({empty: null(t) if callable(null) else null, **rows})
        p = panel.ask(prior, dict.fromkeys([empty, *rows], x_t), t, at)
        guided = composed(p, empty, {row: w * v for row, v in shares.items()})
        level, said = t if at is None else at, composed(p, empty, shares)
        if prior.card.norm:
            guided = normed(prior.schedule, level, guided, said, prior.card.norm)
        return rescaled(prior.schedule, x_t, level, guided, said, rescale) if rescale else guided

    return denoise


def _role(k: int) -> str:
    return "target" if k == 1 else f"target {k}"


def guide_branches(
    prior: Prior, texts: Mapping[str, Text], nulls: Mapping[str, NullText], w: float
) -> Denoiser:
    """Guidance for several branches in one call: x_t holds the rows of each role, one below the other.

    `texts` and `nulls` hold a role's rows each, by role ("source", "target", ...). A role without a null has no
    guidance. A control sees the rows by name.
    """
    guided = Guided(
        prior, [branch(prior.card, role, text, nulls.get(role), w) for role, text in texts.items()]
    )
    ends = dict(zip(texts, accumulate(len(text) for text in texts.values()), strict=True))

    def denoise(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        parts = guided(
            {role: x_t[end - len(texts[role]) : end] for role, end in ends.items()}, t, at
        ).values()
        return Prediction(torch.cat([part.x0 for part in parts]), torch.cat([part.eps for part in parts]))

    return denoise


# Other combinations of rows


def chained(p: Mapping[Row, Prediction], rows: Sequence[Row], weights: Sequence[float | Coef]) -> Prediction:
    """p[r_0] + sum over k of w_k (p[r_k] - p[r_(k-1)]): each row leads on from the one before.

    Of three rows (nothing; picture; picture and text) it is the guidance of InstructPix2Pix (Brooks et al. 2023,
    arXiv:2211.09800, eq. 3), of (null; text) classifier-free guidance. `weights`: one for each row but the first.
    """
    found = total = p[rows[0]]
    for row, w in zip(rows[1:], weights, strict=True):
        step = found.toward(p[row], w)
        total = Prediction(total.x0 + (step.x0 - found.x0), total.eps + (step.eps - found.eps), step.var)
        found = p[row]
    return total


def composed(
    p: Mapping[Row, Prediction], null: Row, weights: Mapping[Row, float | Coef | Mask]
) -> Prediction:
    """p[null] + sum over rows of w (p[row] - p[null]): several prompts at once (Liu et al. 2022,
    arXiv:2206.01714, eq. 11). A weight below 0 leads away; a weight may be a mask (b, 1, h, w).
    """
    total = p[null]
    for row, w in weights.items():
        step = p[null].toward(p[row], w)
        total = Prediction(total.x0 + (step.x0 - p[null].x0), total.eps + (step.eps - p[null].eps), total.var)
    return total


def steered(
    denoise: Denoiser, schedule: Schedule, gradient: Callable[[Latent, Prediction, Time], Latent]
) -> Denoiser:
    """eps - sigma gradient(x_t, p, t), gradient = d/dx_t log p(y | x_t): gradient guidance in the form that moves
    the score, for deterministic steps and flows as well (Dhariwal & Nichol 2021, arXiv:2105.05233, Algorithm 2).
    Pure noise says nothing about y: the prediction there stays as it is.
    """

    def steer(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        p, level = denoise(x_t, t, at), t if at is None else at
        if not bool(schedule.at(level)[0].any()):
            return p
        eps = p.eps - schedule.at(level)[1].to(x_t) * gradient(x_t, p, t)
        return schedule.predict(x_t, level, eps=eps, var=p.var)

    return steer


def within(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """`guided` at the times low..high, both included, `plain` at all others: guidance in a limited interval
    (Kynkäänniemi et al. 2024, arXiv:2404.07724). A call costs what the one it takes costs.
    """

    def denoise(x_t: Latent, t: Time, at: Time | None = None) -> Prediction:
        inside = (low <= t) & (t <= high)
        if bool(inside.all()) or not bool(inside.any()):
            return (guided if bool(inside.all()) else plain)(x_t, t, at)
        return plain(x_t, t, at).toward(guided(x_t, t, at), inside.to(x_t).reshape(-1, 1, 1, 1))

    return denoise
