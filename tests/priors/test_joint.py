"""Controls reach the layers of transformers that attend to picture and text together."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from scumble.attention.inject import Borrow, Edits, Window, seen
from scumble.attention.maps import Record
from scumble.core.control import SOURCE, TARGET, Now, Row, Site
from scumble.core.errors import InputError
from scumble.core.prior import Prior, ask
from scumble.priors.load import load_prior

from .families import MAKERS, save

ALWAYS = Window.of([1000.0, 0.0], 0, 1)
NAMES = ("sd3", "flux", "schnell", "flux2", "klein", "qwen", "zimage")
PROMPTS = (
    "a cat",
    "a red dog that is asleep under a tree by a river",
)  # of unequal length: some families mask
# kind -> block -> the number of sites of the tiny networks
SITES = {
    "sd3": {("joint", "double"): 2, ("self_out", "double"): 2, ("self", "double"): 1},
    "flux": {("joint", "double"): 1, ("self_out", "double"): 1, ("joint", "single"): 2},
    "qwen": {("joint", "double"): 2, ("self_out", "double"): 2},
    "zimage": {("joint", "single"): 2, ("self_out", "single"): 2},
}
LATENT = (16, 24)  # 96 tokens


@pytest.fixture(scope="module")
def priors(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("joint")
    return {name: load_prior(str(save(MAKERS[name](), root / name)), device="cpu") for name in NAMES}


class Plain:
    """Attends as the network does, and notes what it sees."""

    def __init__(self, *kinds: str):
        self.kinds, self.seen = kinds, list[tuple[Site, tuple[int, ...], slice | None]]()

    def wants(self, site: Site) -> bool:
        return site.kind in self.kinds

    def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
        self.seen.append((site, tuple(q.shape), now.text))
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=seen(now))

    def feature(self, site: Site, h: Tensor, now: Now) -> Tensor:
        self.seen.append((site, tuple(h.shape), now.text))
        return h


def asked(prior: Prior, control: Any = None, latent: tuple[int, int] = LATENT) -> dict[Row, Tensor]:
    """eps of two rows with other texts and other pictures."""
    g = torch.Generator().manual_seed(0)
    channels = prior.encode(torch.zeros(1, 3, 32, 32)).shape[1]
    x = torch.randn(2, channels, *latent, generator=g)
    texts = [prior.embed([prompt]) for prompt in PROMPTS]
    rows = {row: (x[i : i + 1], texts[i]) for i, row in enumerate((SOURCE, TARGET))}
    t = prior.schedule.time(600, 1)
    with torch.no_grad():
        if control is None:
            return {row: p.eps for row, p in ask(prior, rows, t).items()}
        with prior.control(control):
            return {row: p.eps for row, p in ask(prior, rows, t).items()}


@pytest.mark.parametrize("name", NAMES)
def test_plain_attention_changes_nothing(name: str, priors: dict[str, Any]) -> None:
    prior = priors[name]
    control = Plain("joint", "self", "self_out")
    before, found = asked(prior), asked(prior, control)
    for row, eps in before.items():
        torch.testing.assert_close(found[row], eps, rtol=0, atol=1e-6)
    after = asked(prior)
    assert all(torch.equal(after[row], before[row]) for row in before), "the network is as it was"
    counts: dict[tuple[str, str], int] = {}
    for site, shape, text in control.seen:
        counts[site.kind, site.block] = counts.get((site.kind, site.block), 0) + 1
        assert site.grid(LATENT) == (8, 12)
        if site.kind == "joint":
            tokens, length = torch.arange(shape[2])[text], prior.embed(PROMPTS).tokens.shape[1]
            assert len(tokens) == (-(-length // 32) * 32 if name == "zimage" else length)
            assert shape[2] - len(tokens) == 96
        else:
            assert shape[2 if site.kind == "self" else 1] == 96
    assert counts == SITES[name if name in SITES else "flux"]


@pytest.mark.parametrize("name", ["qwen", "zimage"])
@pytest.mark.parametrize("latent", [LATENT, (16, 20)])
def test_what_pads_a_text_is_not_looked_at(
    name: str, latent: tuple[int, int], priors: dict[str, Any]
) -> None:
    """80 tokens of a picture of (16, 20) are filled up to 96 in Z-Image."""
    prior, masks = priors[name], list[Tensor]()

    class Looks(Plain):
        def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
            assert now.mask is not None
            assert now.mask.shape == (2, k.shape[2])
            masks.append(now.mask)
            return super().attend(site, q, k, v, now)

    control, record = Looks("joint"), Record((SOURCE,))
    free = asked(prior, latent=latent)
    for found in (asked(prior, control, latent), asked(prior, Edits(maps=[record]), latent)):
        for row, eps in free.items():
            torch.testing.assert_close(found[row], eps, rtol=0, atol=1e-5)
    assert masks
    assert all(bool(mask[1].all()) and not bool(mask[0].all()) for mask in masks)
    assert record.at(SOURCE, 2).shape[-2:] == (latent[0] // 2, latent[1] // 2)
    unseen = record.at(SOURCE, 2)[0, ~masks[0][0][asked_text(prior, latent)]]
    assert len(unseen)
    assert not bool(unseen.any())


def asked_text(prior: Any, latent: tuple[int, int]) -> slice:
    return prior._place(prior.embed(PROMPTS), latent)


@pytest.mark.parametrize("name", NAMES)
def test_rows_borrow_the_pictures_tokens_alone(name: str, priors: dict[str, Any]) -> None:
    prior = priors[name]
    checked = list[Site]()

    class Spy(Edits):
        def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
            assert now.text is not None
            borrowed = borrow.joint(k, now)
            text = torch.arange(k.shape[2])[now.text]
            image = torch.tensor([i for i in range(k.shape[2]) if i not in set(text.tolist())])
            source, target = now.find(SOURCE)[0], now.find(TARGET)[0]
            assert torch.equal(borrowed[target][:, image], k[source][:, image])
            assert torch.equal(borrowed[target][:, text], k[target][:, text])
            assert torch.equal(borrowed[source], k[source])
            checked.append(site)
            return super().attend(site, q, k, v, now)

    borrow = Borrow(lambda site: site.kind == "joint", "kv", [(TARGET, SOURCE)], ALWAYS)
    free, held = asked(prior), asked(prior, Spy(borrow=[borrow]))
    torch.testing.assert_close(held[SOURCE], free[SOURCE], rtol=0, atol=1e-6)
    assert float((held[TARGET] - free[TARGET]).abs().max()) > 1e-5
    assert checked


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_the_texts_share_of_the_whole(name: str, priors: dict[str, Any]) -> None:
    prior = priors[name]
    record, wholes = Record((SOURCE,)), list[Tensor]()

    class Whole(Edits):
        def attend(self, site: Site, q: Tensor, k: Tensor, v: Tensor, now: Now) -> Tensor:
            logits = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5
            mask = torch.ones(len(q), k.shape[2], dtype=torch.bool) if now.mask is None else now.mask
            maps = logits.masked_fill(~mask[:, None, None], -torch.inf).softmax(-1)
            ours = torch.ones(q.shape[2], dtype=torch.bool)
            ours[now.text] = False
            wholes.append(maps[now.find(SOURCE)][:, :, ours][..., now.text].mean(1))
            return super().attend(site, q, k, v, now)

    asked(prior, Whole(maps=[record]))
    text = prior.embed(["a cat"])
    found = record.maps(SOURCE, text)
    expected = torch.stack(wholes).mean(0).transpose(1, 2).unflatten(2, (8, 12))
    torch.testing.assert_close(found.strides[2], expected, rtol=1e-4, atol=1e-6)
    assert 0 < float(found.strides[2].sum(1).max()) < 1
    assert found["cat"].shape == (1, 1, 8, 12)
    assert float(found["cat"].min()) > 0


def test_unknown_processors_are_refused(priors: dict[str, Any]) -> None:
    prior, attn = priors["flux"], priors["flux"]._network.transformer_blocks[0].attn
    before = attn.processor

    class Strange:
        def __call__(self, *_: Any, **__: Any) -> None: ...

    attn.set_processor(Strange())
    try:
        with pytest.raises(InputError, match="has added key and value projections"):
            asked(prior, Plain("joint"))
    finally:
        attn.set_processor(before)


def test_what_only_maps_can_do_is_refused(priors: dict[str, Any], tmp_path: Path) -> None:
    from scumble.core.request import EditRequest
    from scumble.methods.masactrl import MasaCtrl
    from scumble.methods.p2p import P2P

    request = EditRequest(size=(32, 32), source="a cat", target="a dog")
    for method, why in (
        (
            P2P(steps=2, reweight="dog=2", guidance=1.0),
            "reweight: this model attends to picture and text together",
        ),
        (P2P(steps=2, windows="dog=0.2", guidance=1.0), "windows: this model attends"),
        (MasaCtrl(steps=2, foreground="cat|dog", guidance=1.0), "foreground: this model attends"),
    ):
        with pytest.raises(InputError, match=why):
            method(priors["sd3"], request)
