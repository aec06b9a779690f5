"""Prompt-to-Prompt on a network of random weights: what holds whatever the network says."""

from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.core.errors import InputError
from scumble.core.guidance import guide
from scumble.core.noise import Noise
from scumble.core.prior import Card
from scumble.core.request import EditRequest
from scumble.loops.ddim import ddim
from scumble.methods.p2p import P2P
from scumble.priors.stable_diffusion import StableDiffusionPrior
from tests.conformance import tiny

STEPS = 5
SIZE = (8, 16)


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Letters are tokens; latents are half as wide as pictures; attention at strides 1 and 2."""
    folder = tiny.save(tmp_path_factory.mktemp("tiny"))
    prior: Any = StableDiffusionPrior.from_pretrained(str(folder), device="cpu", dtype="float32")
    able = frozenset({"text", "control"})
    prior._card = lambda: Card(id="tiny", hash="", domain="Noise.", size=16, multiple=4, capabilities=able)
    return prior


def paint(
    prior: Any, source: str, target: str | list[str], keep: tuple[str, ...] = ("source",), **settings: Any
) -> Any:
    request = EditRequest(size=SIZE, source=source, target=target, seed=3, keep=keep)
    return P2P(**{"steps": STEPS, "self_stride": 1, **settings})(prior, request)


def edit(prior: Any, source: str, target: str, request: dict[str, Any] | None = None, **settings: Any) -> Any:
    image = Noise(1).like(torch.empty(1, 3, *SIZE)).clamp(-1, 1)
    asked = EditRequest(image=image, source=source, target=target, keep=("source",), **(request or {}))
    return P2P(**{"steps": STEPS, "self_stride": 1, **settings})(prior, asked)


@torch.no_grad()
def sample(prior: Any, prompt: str, w: float) -> Tensor:
    """Plain sampling from the same noise."""
    z = Noise(3).like(prior.encode(torch.zeros(1, 3, *SIZE)))
    denoise = guide(prior, prior.embed([prompt]), prior.embed([""]), w)
    return prior.decode(ddim(denoise, z, prior.schedule.grid(STEPS), prior.schedule))


@pytest.mark.parametrize("kind", ["replace", "refine", "reweight"])
@pytest.mark.parametrize("compat", ["", "authors"])
def test_equal_prompts_give_the_source_bit_for_bit(kind: str, compat: str, prior: Any) -> None:
    settings: dict[str, Any] = {"edit": kind, "compat": compat, "reweight": "cat=1", "windows": "cat=0.2:0.6"}
    made = paint(prior, "a cat", "a cat", blend="cat", **settings)
    assert torch.equal(made.raw, made.kept["source"])


def test_shut_windows_leave_two_plain_samples(prior: Any) -> None:
    made = paint(prior, "a cat", "a dog", cross_end=0, self_end=0, guidance=3)
    torch.testing.assert_close(made.kept["source"], sample(prior, "a cat", 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(made.raw, sample(prior, "a dog", 3), atol=1e-4, rtol=0)


def test_the_source_is_never_touched(prior: Any) -> None:
    made = paint(prior, "a cat", "a dog", edit="replace", reweight="dog=3", cross_end=1, self_end=1)
    torch.testing.assert_close(made.kept["source"], sample(prior, "a cat", 7.5), atol=1e-3, rtol=0)


def test_a_weight_of_one_is_none(prior: Any) -> None:
    weighed, plain = (paint(prior, "a cat", "a red cat", reweight=w) for w in ("red=1", ""))
    assert torch.equal(weighed.raw, plain.raw)
    assert not torch.equal(paint(prior, "a cat", "a red cat", reweight="red=2").raw, plain.raw)


@pytest.mark.slow
def test_targets_of_one_picture_do_not_know_each_other(prior: Any) -> None:
    targets = ["a dog", "a red cat"]
    together = paint(prior, "a cat", targets)
    assert together.kept["source"].shape[0] == 1
    assert together.evaluations == STEPS * 3  # (1 source + 2 targets) x 2, over two rows
    for k, target in enumerate(targets):
        alone = paint(prior, "a cat", target)
        torch.testing.assert_close(together.raw[k : k + 1], alone.raw, atol=1e-4, rtol=0)


def test_a_real_picture_keeps_its_chain_under_direct_inversion(prior: Any) -> None:
    """The source's branch ends where the picture began, at any guidance; without forcing it drifts off."""
    start = {kind: edit(prior, "a cat", "a dog", inversion=kind) for kind in ("direct", "ddim")}
    image = Noise(1).like(torch.empty(1, 3, *SIZE)).clamp(-1, 1)
    clean = prior.decode(prior.encode(image))
    assert torch.equal(start["direct"].kept["source"], clean)
    assert (start["ddim"].kept["source"] - clean).abs().max() > 1e-2


@pytest.mark.slow
def test_an_inversion_is_made_once_and_used_again(prior: Any) -> None:
    image = Noise(1).like(torch.empty(1, 3, *SIZE)).clamp(-1, 1)
    method = P2P(steps=STEPS, inversion="null_text")
    request = EditRequest(image=image, source="a cat", target="a dog")
    given = {"inversion": method.prepare(prior, request)}
    again = P2P(steps=STEPS)(prior, EditRequest(image=image, source="a cat", target="a dog", given=given))
    assert torch.equal(again.latent, method(prior, request).latent)
    assert again.evaluations == STEPS * 4
    with pytest.raises(InputError, match="source prompt 'a cat', but this edit's is 'a cow'"):
        method(prior, EditRequest(image=image, source="a cow", target="a dog", given=given))


def test_a_mask_keeps_the_sources_background(prior: Any) -> None:
    mask = torch.zeros(1, 1, *SIZE)
    mask[..., :8] = 1
    made = edit(prior, "a cat", "a dog", {"mask": mask})
    source = prior.encode(Noise(1).like(torch.empty(1, 3, *SIZE)).clamp(-1, 1))
    assert torch.equal(made.latent[..., 4:], source[..., 4:])
    assert not torch.equal(made.latent[..., :4], source[..., :4])


def test_a_blend_is_shown_and_holds(prior: Any) -> None:
    made = edit(prior, "a cat", "a dog", blend="cat | dog", blend_threshold=0.9, blend_start=0)
    mask = made.maps["blend"]
    source = prior.encode(Noise(1).like(torch.empty(1, 3, *SIZE)).clamp(-1, 1))
    assert mask.shape == (1, 1, 4, 8)
    assert 0 < mask.mean() < 1
    assert torch.equal(torch.where(mask > 0, source, made.latent), source)


def test_attention_is_kept_when_asked_for(prior: Any) -> None:
    made = paint(prior, "a cat", ["a dog", "a red cat"], keep=("attention",))
    assert made.attention["source"]["cat"].shape == (1, 1, 4, 8)
    assert made.attention["target"]["dog"].shape == (2, 1, 4, 8)
    for maps in made.attention["source"].strides.values():
        torch.testing.assert_close(maps.sum(1), torch.ones_like(maps[:, 0]))
    with pytest.raises(InputError, match="was not kept"):
        _ = paint(prior, "a cat", "a dog").attention


def test_recording_changes_nothing(prior: Any) -> None:
    with_maps, without = (paint(prior, "a cat", "a dog", keep) for keep in (("attention",), ()))
    torch.testing.assert_close(with_maps.raw, without.raw, atol=1e-4, rtol=0)


BAD = [
    ({"edit": "replace"}, "a cat", "a red cat", "as many words as the source has, 2, not 3"),
    ({"reweight": "tiger=2"}, "a cat", "a dog", "'tiger' is in none of the prompts"),
    ({"windows": "tiger=0.2"}, "a cat", "a dog", "'tiger' is in none of the prompts"),
    ({"blend": "cat | tiger"}, "a cat", "a dog", "'tiger' is in none of the prompts"),
    ({"blend": "cat | dog | dog"}, "a cat", "a dog", "2 regions for 1 targets"),
]


@pytest.mark.parametrize(("settings", "source", "target", "message"), BAD)
def test_bad_words_are_refused_before_any_work(
    settings: Any, source: str, target: str, message: str, prior: Any
) -> None:
    asked: list[object] = []
    image = torch.zeros(1, 3, *SIZE)
    request = EditRequest(image=image, source=source, target=target)
    with pytest.raises(InputError, match=message):
        P2P(**settings)(prior, request, asked.append)
    assert not asked


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"edit": "reweight"}, "reweight: empty"),
        ({"reweight": "striped"}, "reweight: 'striped' is not WORD=VALUE"),
        ({"windows": "cat=2"}, "windows: cat=2"),
        ({"blend": "|"}, "blend: '|' names no word"),
        ({"inversion": "magic"}, "inversion: 'magic' must be one of"),
    ],
)
def test_bad_settings_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(InputError) as refused:
        P2P(**settings)
    assert message in str(refused.value)


def test_a_painting_needs_a_size_that_fits_and_no_mask(prior: Any) -> None:
    with pytest.raises(InputError, match="give the picture to edit, or the size of one to generate"):
        P2P()(prior, EditRequest(source="a", target="b"))
    with pytest.raises(InputError, match=r"size: \(8, 10\); both sides must be multiples of 4"):
        P2P()(prior, EditRequest(size=(8, 10), source="a", target="b"))
    with pytest.raises(InputError, match="no picture to keep outside it"):
        P2P()(prior, EditRequest(size=SIZE, mask=torch.ones(1, 1, *SIZE), source="a", target="b"))
