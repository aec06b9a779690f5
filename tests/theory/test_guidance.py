"""How rows are chosen and combined: models guided by a null row, by an input of their own, or not at all."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from scumble.core.control import SOURCE, TARGET, TARGET_NULL
from scumble.core.errors import InputError
from scumble.core.guidance import (
    Guided,
    branch,
    chained,
    composed,
    guide,
    guide_branches,
    normed,
    rescaled,
    within,
)
from scumble.core.job import Counted
from scumble.core.prediction import Prediction
from scumble.core.prior import Guidance, Text, ask
from scumble.core.request import EditRequest
from scumble.core.schedule import Schedule
from scumble.core.types import Latent, Time
from scumble.methods.dds import DDS
from scumble.methods.npi import NPI
from scumble.methods.null_text import NullText
from scumble.priors.exact import GaussianPrior

from .common import MEANS, SCHEDULES, finite, gaussian, normal, picture


class Distilled(GaussianPrior):
    """A Gaussian prior distilled to take guidance as an input, or to do without."""

    def __init__(self, kind: Guidance):
        super().__init__(MEANS, 0.5)
        self.card = replace(self.card, guidance=kind)

    def embed(self, prompts: object, **extra: object) -> Text:
        text = super().embed(prompts)
        return replace(text, extra={**text.extra, "guidance": torch.ones(len(text))})

    def predict(self, x_t: Latent, t: Time, text: Text, at: Time | None = None) -> Prediction:
        null = super().predict(x_t, t, super().embed([""] * len(text)), at)
        w = text.extra["guidance"].reshape(-1, 1, 1, 1).to(x_t)
        return null.toward(super().predict(x_t, t, text, at), w)


T = torch.tensor([400, 700])


def texts(prior: GaussianPrior) -> tuple[Text, Text]:
    return prior.embed(["cat", "tiger"]), prior.embed(["", ""])


@pytest.mark.parametrize("w", [1.0, 3.5, torch.tensor([2.0, 7.0])], ids=["1", "3.5", "per row"])
def test_guidance_as_an_input_is_guidance_by_a_null_row(w: float | Tensor) -> None:
    free, embedded, x = gaussian(), Counted(Distilled("embedded")), normal(2, 3, 4, 6)
    ours, theirs = (guide(prior, *texts(prior), w)(x, T, None) for prior in (embedded, free))
    torch.testing.assert_close(ours.eps, theirs.eps)
    assert embedded.rows == 2


def test_dds_costs_half_where_guidance_is_an_input() -> None:
    request = EditRequest(image=picture(), source="cat", target="tiger", seed=3)
    free, embedded = (DDS(steps=20)(prior, request) for prior in (gaussian(), Distilled("embedded")))
    torch.testing.assert_close(embedded.latent, free.latent)
    assert (free.evaluations, embedded.evaluations) == (80, 40)


def test_a_model_without_guidance_is_asked_for_the_text_alone() -> None:
    prior, x = Counted(Distilled("none")), normal(2, 3, 4, 6)
    torch.testing.assert_close(
        guide(prior, *texts(prior), 1)(x, T, None).eps, prior.predict(x, T, texts(prior)[0]).eps
    )
    assert prior.rows == 4
    with pytest.raises(InputError, match="guidance: 7.5; .* set guidance to 1"):
        DDS()(Distilled("none"), EditRequest(image=picture(), source="cat", target="tiger"))


@pytest.mark.parametrize("kind", ["embedded", "none"])
@pytest.mark.parametrize("method", [DDS(guidance=1), NPI(guidance=1), NullText(guidance=2)])
def test_what_stands_in_for_the_null_text_is_refused_where_there_is_none(kind: Guidance, method: DDS) -> None:
    negative = "cat" if isinstance(method, DDS) else ""
    request = EditRequest(image=picture(), source="cat", target="tiger", negative=negative)
    with pytest.raises(
        InputError, match=r"^negative: .* leave it out|^guidance: |^prior: .* tunes the null text"
    ):
        method(Distilled(kind), request)


def test_null_rows_come_first_and_a_role_without_a_null_is_not_guided() -> None:
    prior = gaussian()
    text, null = texts(prior)
    both = Guided(
        prior, [branch(prior.card, "source", text, None, 3), branch(prior.card, "target", text, null, 3)]
    )
    assert both.rows == (TARGET_NULL, SOURCE, TARGET)
    x = normal(2, 3, 4, 6)
    p = both({"source": x, "target": x}, T)
    torch.testing.assert_close(p["source"].eps, prior.predict(x, T, text).eps)
    torch.testing.assert_close(p["target"].eps, guide(prior, text, null, 3)(x, T, None).eps)
    stacked = guide_branches(prior, {"source": text, "target": text}, {"target": null}, 3)
    found = stacked(torch.cat([x, x]), torch.cat([T, T]), None).eps
    torch.testing.assert_close(found, torch.cat([p["source"].eps, p["target"].eps]))


def asked(
    schedule: Schedule | None = None,
) -> tuple[GaussianPrior, Tensor, dict[tuple[str, str], Prediction]]:
    prior, x = finite(schedule), normal(2, 3, 4, 4)
    words = {("a", "null"): "", ("b", "text"): "red", ("c", "text"): "dot"}
    return prior, x, ask(prior, {row: (x, prior.embed([word] * 2)) for row, word in words.items()}, T)


def test_two_rows_chained_or_composed_are_classifier_free_guidance() -> None:
    _, _, p = asked()
    plain = p["a", "null"].toward(p["b", "text"], 3.0)
    for found in (
        chained(p, [("a", "null"), ("b", "text")], [3.0]),
        composed(p, ("a", "null"), {("b", "text"): 3.0}),
    ):
        torch.testing.assert_close((found.x0, found.eps), (plain.x0, plain.eps))


def test_three_rows_chained_are_instruct_pix2pix() -> None:
    _, _, p = asked()
    nothing, image, both = (p[row].eps for row in p)
    found = chained(p, list(p), [1.5, 7.5])
    torch.testing.assert_close(found.eps, nothing + 1.5 * (image - nothing) + 7.5 * (both - image))


def test_composed_prompts_add_up_and_masks_say_where() -> None:
    prior, x, p = asked()
    left = torch.zeros(1, 1, 4, 4, dtype=x.dtype)
    left[..., :2] = 1
    found = composed(p, ("a", "null"), {("b", "text"): 2 * left, ("c", "text"): -1.0})
    null, b, c = (p[row].eps for row in p)
    torch.testing.assert_close(found.eps, null + 2 * left * (b - null) - (c - null))
    torch.testing.assert_close(prior.schedule.mix(found.x0, found.eps, T), x)


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("output", ["eps", "v", "x0", "flow"])
def test_rescaling_gives_the_output_the_spread_of_the_texts(name: str, output: str) -> None:
    schedule = replace(SCHEDULES[name], prediction=output)
    at = T.clamp(max=40) if schedule.T == 50 else T
    x, (x0, eps) = normal(2, 3, 4, 4), (normal(2, 3, 4, 4, seed=s) for s in (1, 2))
    strong, own = schedule.predict(x, at, x0=3 * x0), schedule.predict(x, at, eps=eps)
    assert torch.allclose(rescaled(schedule, x, at, strong, own, 0.0).eps, strong.eps)
    found = rescaled(schedule, x, at, strong, own, 1.0)
    alpha, sigma = schedule.at(at)
    spread = {
        "eps": lambda p: p.eps,
        "x0": lambda p: p.x0,
        "v": lambda p: alpha * p.eps - sigma * p.x0,
        "flow": lambda p: p.eps - p.x0,
    }[output]
    torch.testing.assert_close(spread(found).flatten(1).std(1), spread(own).flatten(1).std(1))
    torch.testing.assert_close(schedule.mix(found.x0, found.eps, at), x)


def test_guidance_within_an_interval_costs_one_evaluation_outside() -> None:
    prior, x = Counted(gaussian()), normal(2, 3, 4, 6)
    guided, plain = (guide(prior, *texts(prior), w) for w in (5, 1))
    limited = within(guided, plain, 500, 800)
    torch.testing.assert_close(limited(x, T, None).eps[0], plain(x, T, None).eps[0])
    torch.testing.assert_close(limited(x, T, None).eps[1], guided(x, T, None).eps[1])
    before = prior.rows
    limited(x, T.clamp(max=450), None)
    assert prior.rows - before == 2
    limited(x, T.clamp(min=500), None)
    assert prior.rows - before == 6


def test_guidance_that_keeps_norms() -> None:
    """Patch by patch the guided output has the norm of the text's; both ends stay those of the same state."""
    schedule, noise = Schedule.flow(), torch.Generator().manual_seed(0)
    x, text, guided = (torch.randn(2, 3, 4, 6, generator=noise, dtype=torch.float64) for _ in range(3))
    t = torch.tensor([1000.0, 250.0], dtype=torch.float64)
    p, q = (schedule.predict(x, t, flow=flow) for flow in (text, guided))
    kept = normed(schedule, t, q, p, patch=2)
    norms = [
        each.unfold(2, 2, 2).unfold(3, 2, 2).square().sum((1, 4, 5)) for each in (text, kept.eps - kept.x0)
    ]
    torch.testing.assert_close(*norms)
    alpha, sigma = schedule.at(t)
    torch.testing.assert_close(alpha * kept.x0 + sigma * kept.eps, x)
    torch.testing.assert_close(normed(schedule, t, p, p, patch=2).eps, p.eps)
