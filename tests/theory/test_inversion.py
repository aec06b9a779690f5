"""Inversions on a Gaussian per prompt, where the drift that each kind mends can be seen to machine precision."""

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scumble import artifacts
from scumble.artifacts.inversion import Inversion
from scumble.core.errors import InputError
from scumble.core.grids import upward
from scumble.core.guidance import guide, guide_branches
from scumble.core.job import Job
from scumble.core.noise import Noise
from scumble.core.request import EditRequest
from scumble.core.text import Text
from scumble.inversions import KINDS, DDIMInverter, begin, replay
from scumble.inversions.kinds import EditFriendlyInverter
from scumble.loops.ddim import ddim
from scumble.loops.invert import invert
from scumble.methods.ddim_inversion import DDIMInversion
from scumble.methods.direct_inversion import DirectInversion
from scumble.methods.edit_friendly import EditFriendly
from scumble.methods.sdedit import SDEdit
from scumble.priors.exact import GaussianPrior
from scumble.tuning.null_text import Tuning, tune_null_text

STEPS, W = 12, 5.0
PRIOR = GaussianPrior({"": 0.1, "a": (0.6, -0.2, 0.0), "b": (-0.3, 0.4, 0.9)}, 0.5)


def picture(b: int = 1) -> Tensor:
    return Noise(3, b).like(torch.empty(b, 3, 4, 6, dtype=torch.float64)).clamp(-2, 2) / 2


def job(image: Tensor | None = None, prior: Any = PRIOR, **request: Any) -> Job:
    image = picture() if image is None else image
    return Job(
        SDEdit(), prior, EditRequest(**{"image": image, "source": "a", "target": "b", **request}), None
    )  # pyright: ignore


def invert_all(kind: str, image: Tensor) -> Inversion:
    with torch.no_grad():
        return KINDS[kind](STEPS, W)(job(image), 2 * STEPS)


@cache
def inverted(kind: str) -> Inversion:
    return invert_all(kind, picture())


@torch.no_grad()
def again(inversion: Inversion, image: Tensor | None = None, prompt: str = "a") -> Tensor:
    """What guided sampling makes of an inversion on one branch."""
    frame = job(image)
    n = len(inversion)
    null = inversion.null(frame.text(("",), n))
    return replay(inversion, guide(PRIOR, frame.text((prompt,), n), null, W), PRIOR.schedule, n)


def test_guidance_loses_the_picture_and_null_texts_bring_it_back() -> None:
    error = {
        kind: float((again(inverted(kind)) - picture()).abs().max()) for kind in ("ddim", "npi", "null_text")
    }
    assert error["ddim"] > 1
    assert error["npi"] < error["ddim"] / 5
    assert error["null_text"] < error["npi"]


class Pooling(GaussianPrior):
    """Also embeds a prompt as one vector, as SDXL does."""

    def embed(self, prompts: Sequence[str], **extra: Any) -> Text:
        text = super().embed(prompts, **extra)
        return replace(text, pooled=text.tokens.mean(1))


def test_negative_prompt_inversion_puts_all_of_the_source_prompt_in_the_nulls_place(tmp_path: Path) -> None:
    prior = Pooling({"": 0.1, "a": (0.6, -0.2, 0.0), "b": 0.5}, 0.5)
    with torch.no_grad():
        frame = job(prior=prior)
        made = KINDS["npi"](STEPS, W)(frame, STEPS)
    artifacts.save(made, tmp_path / "a.inv")
    for inversion in (made, artifacts.load(tmp_path / "a.inv")):
        assert isinstance(inversion, Inversion)
        null = inversion.null(frame.text(("",), 1))
        assert callable(null)
        at, source = null(torch.tensor([inversion.pairs[0][0]])), frame.text(("a",), 1)
        assert torch.equal(at.tokens, source.tokens)
        assert at.pooled is not None
        assert source.pooled is not None
        assert torch.equal(at.pooled, source.pooled)


def test_a_forced_source_is_the_picture_exactly_whatever_the_guidance() -> None:
    inversion, frame = inverted("direct"), job()
    texts = {"source": frame.text(("a",), 1), "target": frame.text(("b",), 1)}
    for w in (1.0, 30.0):
        denoise = guide_branches(PRIOR, texts, dict.fromkeys(texts, frame.text(("",), 1)), w)
        with torch.no_grad():
            x = replay(inversion, denoise, PRIOR.schedule, 1, 1)
        assert torch.equal(x[:1], picture())
        assert not torch.allclose(x[1:], picture())
    assert not torch.allclose(again(inversion), picture())  # one branch alone is no source


def test_teacher_forcing_takes_no_pass_of_its_own() -> None:
    request = EditRequest(image=picture(), source="a", target="b")
    plain = DirectInversion(steps=STEPS, guidance=W)
    forced, stored = (replace(plain, compat=compat)(PRIOR, request) for compat in ("", "authors"))
    assert forced.evaluations == STEPS + 4 * STEPS  # up, and both branches guided down
    assert stored.evaluations == forced.evaluations + 2 * STEPS  # the source's branch once more, beforehand
    torch.testing.assert_close(forced.latent, stored.latent, atol=1e-12, rtol=0)


def test_branches_are_guided_as_they_would_be_alone() -> None:
    inversion, frame = inverted("null_text"), job()
    texts = {"source": frame.text(("a",), 1), "target": frame.text(("b",), 1)}
    nulls = dict.fromkeys(texts, inversion.null(frame.text(("",), 1)))
    with torch.no_grad():
        both = replay(inversion, guide_branches(PRIOR, texts, nulls, W), PRIOR.schedule, 1, 1)
    assert torch.equal(both, torch.cat([again(inversion, prompt=prompt) for prompt in "ab"]))


def test_a_refined_move_is_the_inverse_of_the_step_back_down() -> None:
    text, schedule = PRIOR.embed(["a"]), PRIOR.schedule
    denoise, moves = guide(PRIOR, text, text, 1), schedule.grid(STEPS)

    def error(refine: int) -> float:
        x = invert(denoise, picture(), upward(moves), schedule, refine=refine)
        return float((ddim(denoise, x, moves, schedule) - picture()).abs().max())

    assert error(3) < error(0) / 10
    assert error(60) < 1e-12


def test_a_picture_is_tuned_as_it_would_be_alone() -> None:
    together = invert_all("null_text", picture(2))
    assert together.nulls is not None
    for i in range(2):
        alone = invert_all("null_text", picture(2)[i : i + 1]).nulls
        assert alone is not None
        assert torch.allclose(together.nulls[:, i : i + 1], alone, atol=1e-9)


def test_skipping_starts_lower() -> None:
    inversion = inverted("ddim")
    rest = inversion.skip(5)
    assert torch.equal(rest.start(1), inversion.trajectory[5])
    assert rest.pairs == inversion.pairs[5:]
    assert float((again(rest) - picture()).abs().max()) < float((again(inversion) - picture()).abs().max())
    with pytest.raises(InputError, match="at least one must be left"):
        inversion.skip(STEPS)


def test_outside_a_mask_stands_the_inversion() -> None:
    mask = torch.zeros(1, 1, 4, 6, dtype=torch.float64)
    mask[..., :2] = 1
    request = EditRequest(image=picture(), source="a", target="b", mask=mask)
    free, held = (DDIMInversion(steps=STEPS)(PRIOR, replace(request, mask=m)) for m in (None, mask))
    assert torch.equal(held.raw[..., 2:], picture()[..., 2:])
    assert torch.allclose(held.raw[..., :2], free.raw[..., :2])  # a Gaussian's pixels do not see each other


def test_noise_maps_lead_back_through_every_state_whatever_the_guidance() -> None:
    inversion, frame, states = inverted("edit_friendly"), job(), list[Tensor]()
    texts = [frame.text((prompt,), 1) for prompt in ("a", "")]
    w = float(inversion.settings["guidance"])

    def keep(x_s: Tensor, *_: Any) -> Tensor:
        states.append(x_s)
        return x_s

    with torch.no_grad():
        replay(inversion, guide(PRIOR, texts[0], texts[1], w), PRIOR.schedule, 1, each=keep)
    assert torch.allclose(torch.stack(states), inversion.trajectory[1:], atol=1e-12)
    noise, levels = Noise(0), [t for t, _ in inversion.pairs]
    for k in range(1, STEPS + 1):  # each level is noised on its own, from the cleanest up
        assert torch.equal(
            inversion.trajectory[-1 - k], PRIOR.schedule.mix(picture(), noise.like(picture()), levels[-k])
        )


def test_noise_that_cannot_be_made_white_is_refused() -> None:
    with pytest.raises(InputError, match="diverged to infinity; use smaller weights"):
        inverted("regularised")  # a Gaussian's eps shrinks with the level


def test_replayed_noise_maps_are_edit_friendly_editing() -> None:
    method = EditFriendly(steps=STEPS, strength=1.0, guidance=W, source_guidance=W)
    lockstep = method(PRIOR, EditRequest(image=picture(), source="a", target="b"))
    assert torch.allclose(again(inverted("edit_friendly"), prompt="b"), lockstep.latent, atol=1e-12)
    request = EditRequest(image=picture(), source="a", target="b")
    lower = replace(method, strength=0.5)
    given = {"inversion": method.prepare(PRIOR, request)}
    lockstep, replayed = lower(PRIOR, request), lower(PRIOR, replace(request, given=given))
    assert torch.allclose(replayed.latent, lockstep.latent, atol=1e-12)
    assert replayed.evaluations == 2 * STEPS // 2
    with pytest.raises(InputError, match="eta: an inversion that is kept is of eta 1"):
        EditFriendly(eta=0.5).prepare(PRIOR, request)


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"regularised"}))  # a Gaussian's eps is not white
def test_a_file_gives_the_inversion_back(kind: str, tmp_path: Path) -> None:
    inversion = inverted(kind)
    artifacts.save(inversion, tmp_path / "cat.inv")
    loaded = artifacts.given("inversion", str(tmp_path / "cat.inv"))
    assert isinstance(loaded, Inversion)
    assert loaded.about() == {**inversion.about(), "settings": dict(inversion.settings)}
    assert loaded.tensors().keys() == inversion.tensors().keys()
    assert all(torch.equal(x, inversion.tensors()[name]) for name, x in loaded.tensors().items())
    frame = job(given={"inversion": loaded})
    assert begin(frame, KINDS[kind](STEPS, W), guidance=W, then=1)[0].about() == loaded.about()
    assert frame.evaluations == 0


def renamed(**changes: Any) -> GaussianPrior:
    """The same prior under another name, or with other weights."""
    other = copy(PRIOR)
    other.card = replace(PRIOR.card, **changes)
    return other


@pytest.mark.parametrize(
    ("says", "changes"),
    [
        ("made with model 'gaussian'", {"prior": renamed(id="other")}),
        ("made with model 'gaussian'", {"prior": renamed(hash="0123456789abcdef")}),
        ("made at 6 x 4 pixels", {"image": torch.zeros(1, 3, 4, 8, dtype=torch.float64)}),
        ("of another picture", {"image": picture() / 2}),
        ("source prompt 'a', but this edit's is 'b'", {"source": "b"}),
        ("is not a Inversion; `scumble invert` makes one", {"given": {"inversion": "cat.inv"}}),
    ],
)
def test_an_inversion_of_something_else_is_refused(says: str, changes: dict[str, Any]) -> None:
    frame = job(**{"given": {"inversion": inverted("ddim")}, **changes})
    with pytest.raises(InputError, match=says):
        begin(frame, DDIMInverter(steps=STEPS), guidance=W, then=1)


def test_another_grid_or_guidance_is_refused() -> None:
    frame = job(given={"inversion": inverted("null_text")})
    with pytest.raises(InputError, match=r"grid of 12 steps .* takes 13 .* set steps=12"):
        begin(frame, DDIMInverter(steps=13), guidance=W, then=1)
    with pytest.raises(InputError, match="tuned for guidance 5, but this edit's is 7"):
        begin(frame, DDIMInverter(steps=STEPS), guidance=7, then=1)


def test_another_negative_prompt_is_refused_where_a_null_text_stands_for_it() -> None:
    for kind in ("null_text", "npi"):
        frame = job(given={"inversion": inverted(kind)}, negative="b")
        with pytest.raises(InputError, match="replaces the negative prompt '', but this edit's is 'b'"):
            begin(frame, DDIMInverter(steps=STEPS), guidance=W, then=1)
    for kind in ("ddim", "direct", "edit_friendly"):  # whose editors listen to it themselves
        begin(
            job(given={"inversion": inverted(kind)}, negative="b"),
            DDIMInverter(steps=STEPS),
            guidance=W,
            then=1,
        )
    with pytest.raises(InputError, match="npi uses the source prompt instead; leave it out"):
        KINDS["npi"](STEPS, W)(job(negative="b"), STEPS)


def test_files_that_are_no_inversion_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cat.inv"
    with pytest.raises(InputError, match="no such file"):
        artifacts.load(path)
    path.write_bytes(b"not a file of ours")
    with pytest.raises(InputError, match="not a file that scumble saved"):
        artifacts.load(path)
    artifacts.save(inverted("ddim"), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InputError, match="not a file that scumble saved"):
        artifacts.load(path)
    broken = inverted("ddim")
    artifacts.save(replace(broken, trajectory=broken.trajectory[1:]), path)
    with pytest.raises(InputError, match="do not fit together"):
        artifacts.load(path)
    artifacts.save(replace(broken, trajectory=broken.trajectory / 0), path)
    with pytest.raises(InputError, match="not numbers"):
        artifacts.load(path)
    with pytest.raises(InputError, match="write it as inversion=FILE"):
        artifacts.given("shape", "cat.inv")
    with pytest.raises(InputError, match="no such folder"):
        artifacts.save(broken, tmp_path / "nowhere" / "cat.inv")


def test_noise_maps_of_second_order_start_where_they_were_made() -> None:
    """Each of them needs the move before it."""
    second = EditFriendlyInverter(steps=STEPS, order=2)(job(), STEPS)
    assert second.skip(0).pairs == second.pairs
    with pytest.raises(InputError, match="its moves build on each other"):
        second.skip(1)


def test_null_texts_are_tuned_for_the_guidance_that_sampling_uses() -> None:
    """Also where a model keeps the norms of the text's output (Qwen-Image)."""
    prior = copy(PRIOR)
    prior.card = replace(PRIOR.card, norm=2)
    frame, inversion = job(prior=prior), inverted("ddim")
    text, null = frame.text(("a",), 1), frame.text(("",), 1)
    tuned = tune_null_text(
        frame.prior, inversion.trajectory, inversion.pairs, text, null, W, Tuning(inner_steps=2)
    )
    given, states = replace(inversion, nulls=tuned.tokens), list[Tensor]()
    with torch.no_grad():
        denoise = guide(frame.prior, text, given.null(null), W)
        ddim(denoise, given.start(1), given.pairs, PRIOR.schedule, each=lambda x, *_: states.append(x) or x)
    torch.testing.assert_close(torch.stack(states), tuned.path[1:])


def test_small_losses_of_null_texts_have_gradients_in_half_precision() -> None:
    """Their gradients are below what float16 can hold."""
    prior = GaussianPrior({"": 0.0, "a": 0.0}, 0.5)

    class Half(GaussianPrior):
        def x0(self, x_t: Tensor, t: Tensor, text: Text) -> Tensor:
            mu = text.tokens.half().movedim(1, 2)[..., None]
            return mu.expand_as(x_t).contiguous().to(x_t)

    half = Half({"": 0.0, "a": 0.0}, 0.5)
    x = torch.zeros(1, 3, 64, 64, dtype=torch.float64)
    frame = job(x, prior=half, source="a", target="a")
    text, null = frame.text(("a",), 1), frame.text(("",), 1)
    (t, s) = prior.schedule.grid(STEPS)[-2]
    (alpha_t, sigma_t), (alpha_s, sigma_s) = map(prior.schedule.at, (t, s))
    wanted = x + 1e-4 * (alpha_s - alpha_t * sigma_s / sigma_t)
    tuned = tune_null_text(
        frame.prior, torch.stack([x, wanted]), [(t, s)], text, null, 2.0, Tuning(inner_steps=1, early_stop=0)
    )
    assert float(tuned.tokens.mean()) < -1e-3


@pytest.mark.parametrize("kind", ["npi", "null_text"])
def test_a_model_without_null_text_is_refused_before_the_inversion(kind: str) -> None:
    prior = copy(PRIOR)
    prior.card = replace(PRIOR.card, guidance="embedded")
    frame = job(prior=prior)
    with pytest.raises(InputError, match="tunes the null text"):
        KINDS[kind](STEPS, W)(frame, STEPS)
    assert frame.evaluations == 0
